package fs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/cache"
)

// request is the context of a FUSE request about a file's bytes. It ends when who asks is to be ended, and it knows who
// that is. Both are found out only where a request has to wait.
//
// The kernel says INTERRUPT at any signal that the thread has a handler for. On a disk nothing is interrupted by one, and
// programs do not expect it: a timer that draws a bar would make reads fail. So only those signals count that mean the end, or a
// user's ^C. The kernel says it once, so the others are looked for as long as the thread waits.
type request struct {
	context.Context
	cancel <-chan struct{} // closed at INTERRUPT, and when the mount is gone
	file   *file
	of     cache.File // what the file was when this began: Value is called where its lock must not be taken
	tid    int
	writes bool

	watch sync.Once
	done  chan struct{} // nil: nobody has waited
	over  chan struct{}
}

// reading is the context of a request to read a file. It has to be ended.
func reading(cancel <-chan struct{}, in *fuse.InHeader, f *file) *request {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return &request{Context: context.Background(), cancel: cancel, file: f, of: f.nodeFile(), tid: int(in.Pid)}
}

// writing is the context of a request to change a file. It has to be ended.
func writing(cancel <-chan struct{}, in *fuse.InHeader, f *file) *request {
	r := reading(cancel, in, f)
	r.writes = true
	return r
}

// end says that the request is answered.
func (r *request) end() {
	r.watch.Do(func() {})
	if r.over != nil {
		close(r.over)
	}
}

func (r *request) Done() <-chan struct{} {
	r.watch.Do(func() {
		r.done, r.over = make(chan struct{}), make(chan struct{})
		go r.wait()
	})
	return r.done
}

const lookForSignals = 50 * time.Millisecond

// wait closes done when the request is to end before it is over.
func (r *request) wait() {
	select {
	case <-r.cancel:
	case <-r.over:
		return
	}
	for isWaiting(r.tid) && !isToEnd(r.tid) {
		select {
		case <-time.After(lookForSignals):
		case <-r.over:
			return
		}
	}
	close(r.done)
}

func (r *request) Err() error {
	select {
	case <-r.Done():
		return context.Canceled
	default:
		return nil
	}
}

func (r *request) Value(key any) any {
	asker := r.file.fs.cfg.Asker
	if _, ok := key.(cache.AskerKey); !ok || asker == nil {
		return nil
	}
	return asker(r.tid, r.of, r.writes)
}

// isWaiting reports whether a thread is known to wait for an answer from FUSE. Where the mount has been taken away by force, none does.
// One that has just been interrupted is between two waits for a moment.
func isWaiting(tid int) bool {
	for range 3 {
		where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", tid))
		switch {
		case err != nil:
			return false
		case strings.HasPrefix(string(where), "request_wait_answer"):
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// ending are the signals for which a wait is given up: a bit for each, the first for number 1. What ends a process without
// being handled is SIGKILL by the time that the thread sees it.
const ending = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGTERM-1) | 1<<(unix.SIGHUP-1) | 1<<(unix.SIGQUIT-1) |
	1<<(unix.SIGABRT-1) | 1<<(unix.SIGXCPU-1)

// isToEnd reports whether one of those signals waits for a thread, which it does not block.
func isToEnd(tid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return true
	}
	var pending, blocked uint64
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		bits, _ := strconv.ParseUint(value, 16, 64)
		switch key {
		case "SigPnd", "ShdPnd":
			pending |= bits
		case "SigBlk":
			blocked = bits
		}
	}
	return pending&^blocked&ending != 0
}
