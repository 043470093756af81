package e2e

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// patience is how long anything in a story may take.
const patience = 30 * time.Second

// fetchTime is how long a daemon of a story tries to get a chunk.
const fetchTime = 2 * time.Second

// A device is a daemon in this process, with a mount and directories of its own.
type device struct {
	t    *testing.T
	name string
	site *site
	line *line
	dir  string // holds mount/, state/, cache/
	set  daemon.Settings
	log  *logBook

	hands hands
	near  *near // nil: it has a mount
	on    bool  // it runs

	d     *daemon.Daemon // nil: it does not run
	stop  context.CancelFunc
	ended chan error
}

// newDevice makes a device of an account, with a mount, and starts it.
func newDevice(t *testing.T, s *site, account, name string, change func(*daemon.Settings)) *device {
	t.Helper()
	return makeDevice(t, s, account, name, true, change)
}

// makeDevice makes a device of an account, mounted or not, and starts it.
func makeDevice(t *testing.T, s *site, account, name string, mounted bool, change func(*daemon.Settings)) *device {
	t.Helper()
	v := &device{t: t, name: name, site: s, line: newLine(t, s.addr), dir: tempDir(t), log: &logBook{}}
	v.set = daemon.Settings{
		Profile: name, Mount: v.path("mount"), State: v.path("state"), Cache: v.path("cache"), Socket: v.path("s"),
		Server: v.line.url(), Token: s.login(account, name), Device: name,
		CacheSize: 1 << 30, UnsentSize: 1 << 30, MinFree: 1 << 20, FetchTimeout: fetchTime, Preserve: true,
		Source: "dbfs-" + name, Log: slog.New(slog.NewTextHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&v.set)
	}
	if v.hands = (mountHands{v}); !mounted {
		v.near = &near{v: v}
		v.hands = v.near
	}
	t.Cleanup(func() {
		v.end()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, v.log.tail(60))
		}
	})
	v.start()
	return v
}

func (v *device) path(name string) string { return filepath.Join(v.dir, name) }

// start runs the daemon until it has mounted.
func (v *device) start() {
	v.t.Helper()
	for _, dir := range []string{v.set.Mount, v.set.State, v.set.Cache} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			v.t.Fatal(err)
		}
	}
	v.on = true
	if v.near != nil {
		if err := v.near.start(); err != nil {
			v.t.Fatalf("%s does not start: %v", v.name, err)
		}
		return
	}
	d, err := daemon.New(v.set)
	if err != nil {
		v.t.Fatalf("%s does not start: %v", v.name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Run(ctx, func() { close(ready) }) }()
	v.d, v.stop, v.ended = d, stop, ended
	select {
	case <-ready:
	case err := <-ended:
		v.d = nil
		v.t.Fatalf("%s does not mount: %v", v.name, err)
	case <-time.After(patience):
		v.t.Fatalf("%s does not mount", v.name)
	}
}

// end unmounts and lets the daemon end in order.
func (v *device) end() {
	v.t.Helper()
	if !v.on {
		return
	}
	v.on = false
	if v.near != nil {
		if err := v.near.end(); err != nil {
			v.t.Errorf("%s ended: %v", v.name, err)
		}
		return
	}
	if v.d == nil {
		return
	}
	v.d = nil
	v.stop()
	select {
	case err := <-v.ended:
		if err != nil {
			v.t.Errorf("%s ended: %v", v.name, err)
		}
	case <-time.After(patience):
		unix.Unmount(v.set.Mount, unix.MNT_DETACH)
		v.t.Fatalf("%s does not end", v.name)
	}
}

// at is where a path of the drive is in the mount.
func (v *device) at(path string) string { return filepath.Join(v.set.Mount, path) }

func (v *device) status() *control.Status {
	v.t.Helper()
	st, err := v.d.Status(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	return st
}

// sent waits until everything that was done here is at the server.
func (v *device) sent() {
	v.t.Helper()
	if v.near != nil {
		if err := v.near.sent(); err != nil {
			v.t.Fatalf("%s: %v", v.name, err)
		}
		return
	}
	last := control.Progress{}
	_, err := v.d.Wait(within(v.t, patience), control.WaitRequest{Path: "/"}, func(p control.Progress) error {
		last = p
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		v.t.Fatalf("%s still has %d files to send, the first %q; %+v", v.name, last.Files, last.Item, v.status().Sync)
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

// A logBook is what a daemon has logged.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// tail returns the last n lines.
func (l *logBook) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-n):], "")
}

// says reports whether there is a line with all of the words.
func (l *logBook) says(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for _, line := range l.lines {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		return true
	}
	return false
}
