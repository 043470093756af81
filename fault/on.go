//go:build faults

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Enabled reports whether the switches exist in this program.
const Enabled = true

// DBFS_FAILPOINT=POINT[:N] lets the process die, as by kill -9, when it comes to a place for
// the Nth time (1).
var (
	deadly, countdown = deadlyPoint(os.Getenv("DBFS_FAILPOINT"))
	bug               atomic.Value // a Mutant
	hook              atomic.Value // a func(Point)
)

// DBFS_BUG=MUTANT puts a bug in from the start, for a suite that does not know of bugs.
func init() {
	if name := os.Getenv("DBFS_BUG"); name != "" {
		Switch(Mutant(name))
	}
}

func deadlyPoint(setting string) (Point, *atomic.Int64) {
	name, times, _ := strings.Cut(setting, ":")
	left := new(atomic.Int64)
	left.Store(1)
	if n, err := strconv.ParseInt(times, 10, 64); err == nil {
		left.Store(n)
	}
	return Point(name), left
}

// Here is a place where a test may let the process die.
func Here(p Point) {
	if f, _ := hook.Load().(func(Point)); f != nil {
		f(p)
	}
	if p == deadly && countdown.Add(-1) == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}

// Bug reports whether a test has switched a bug on.
func Bug(m Mutant) bool {
	on, _ := bug.Load().(Mutant)
	return on == m
}

// Switch puts one bug in, or with "" takes it out. Only tests call it.
func Switch(m Mutant) { bug.Store(m) }

// DBFS_CLOCK=DURATION lets a server's clock be ahead by so much, for what takes weeks.
var ahead, _ = time.ParseDuration(os.Getenv("DBFS_CLOCK"))

// Now is what a server takes for the time.
func Now() time.Time { return time.Now().Add(ahead) }

// OnPoint calls f at every place from now on; it may panic to end what is under way. Only
// tests call it.
func OnPoint(f func(Point)) { hook.Store(f) }
