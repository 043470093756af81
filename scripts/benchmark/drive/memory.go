package drive

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Memory is what processes, and their children, hold for themselves: RssAnon and RssShmem, in bytes. Pages
// of files, which the kernel may take back, do not count.
func Memory(pids []int) int64 {
	var sum int64
	for _, pid := range pids {
		sum += private(pid)
		sum += Memory(children(pid))
	}
	return sum
}

func private(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // ended
	}
	var kib int64
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 2 && (f[0] == "RssAnon:" || f[0] == "RssShmem:") {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			kib += n
		}
	}
	return kib << 10
}

// children are the processes that any thread of one has started.
func children(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var pids []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// A Watch remembers the most memory that a drive had.
type Watch struct {
	peak   atomic.Int64
	cancel context.CancelFunc
	done   chan struct{}
}

const lookEvery = 50 * time.Millisecond

// Look starts to watch what pids returns.
func Look(pids func() []int) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			w.look(pids())
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
			}
		}
	}()
	return w
}

func (w *Watch) look(pids []int) {
	if now := Memory(pids); now > w.peak.Load() {
		w.peak.Store(now)
	}
}

// Peak ends the watch and returns what was seen.
func (w *Watch) Peak() int64 {
	w.cancel()
	<-w.done
	return w.peak.Load()
}

// moduleVersion is the version of a module that a Go program was built with.
func moduleVersion(program, path string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Path + " " + dep.Version
		}
	}
	return "unknown"
}
