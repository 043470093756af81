package drive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 5 * time.Minute // for a mount to answer, or a server

// A Mount is a drive that one process shows through FUSE.
type Mount struct {
	site  *Site
	at    string              // the mount point
	cache string              // what may be deleted while it is not mounted; empty: nothing
	keeps string              // all that it has on this machine
	who   *syscall.Credential // who runs the process, and works in the drive
	env   []string
	argv  []string

	settle func(ctx context.Context) error       // nil: writes go to the store before they return
	again  func(context.Context) (*Mount, error) // nil: there is no store; not started
	after  func() error                          // when it has ended

	process atomic.Pointer[process] // nil: not shown. PIDs reads it at any time
}

func (m *Mount) Path() string              { return m.at }
func (m *Mount) Stored() bool              { return m.again != nil }
func (m *Mount) User() *syscall.Credential { return m.who }

// Show starts the process and returns when the mount answers.
func (m *Mount) Show(ctx context.Context) error {
	if err := makeDirs(m.who, m.at); err != nil {
		return err
	}
	p, err := spawn(m.who, m.at+".log", m.env, m.argv...)
	if err != nil {
		return err
	}
	m.process.Store(p)
	err = within(ctx, patience, "mount", func() (bool, error) {
		if p.ended() {
			return false, fmt.Errorf("it ended instead of mounting: %s", p.lastWords())
		}
		return mounted(m.at) && m.answers(ctx), nil
	})
	if err != nil {
		return errors.Join(err, m.Hide())
	}
	return nil
}

// answers reports whether who works in the drive sees it: nobody else may, not even root.
func (m *Mount) answers(ctx context.Context) bool {
	if m.who != nil {
		_, err := run(ctx, m.who, nil, "stat", "-f", m.at)
		return err == nil
	}
	var st unix.Statfs_t
	return unix.Statfs(m.at, &st) == nil
}

// Hide ends the process, which takes its mount away, or has it taken away.
func (m *Mount) Hide() error {
	p := m.process.Swap(nil)
	if p == nil {
		return nil
	}
	orderly := p.ask()
	err := unmount(m.at)
	p.kill()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.at, err)
	}
	if !orderly {
		return fmt.Errorf("%s did not end within %v of being asked to, and was killed", filepath.Base(m.argv[0]), grace)
	}
	return nil
}

// unmount takes away what is mounted at a directory, if anything is.
func unmount(at string) error {
	for mounted(at) {
		if os.Geteuid() == 0 {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
				return err
			}
			continue
		}
		if out, err := exec.Command("fusermount3", "-u", "-z", at).CombinedOutput(); err != nil && mounted(at) {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
	}
	return nil
}

// mounted looks in the kernel's list: a dead mount does not answer.
func mounted(at string) bool {
	list, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == at {
			return true
		}
	}
	return false
}

// Runs reports whether the drive is shown, and its process has not ended by itself.
func (m *Mount) Runs() bool {
	p := m.process.Load()
	return p != nil && !p.ended()
}

// LastWords is the end of what its process said.
func (m *Mount) LastWords() string {
	b, err := os.ReadFile(m.at + ".log")
	if err != nil {
		return err.Error()
	}
	return tail(b)
}

func (m *Mount) PIDs() []int {
	if p := m.process.Load(); p != nil {
		return []int{p.pid()}
	}
	return nil
}

func (m *Mount) Settle(ctx context.Context) error {
	if m.settle == nil {
		return nil
	}
	return m.settle(ctx)
}

func (m *Mount) Forget(ctx context.Context) error {
	if m.again == nil {
		return ErrNone
	}
	if err := m.Settle(ctx); err != nil {
		return err
	}
	if err := m.Hide(); err != nil {
		return err
	}
	if m.cache != "" {
		if err := os.RemoveAll(m.cache); err != nil {
			return err
		}
		if err := makeDirs(m.who, m.cache); err != nil {
			return err
		}
	}
	return m.Show(ctx)
}

func (m *Mount) Again(ctx context.Context) (Drive, error) {
	if m.again == nil {
		return nil, ErrNone
	}
	other, err := m.again(ctx)
	if err != nil {
		return nil, err
	}
	return other, other.Show(ctx)
}

func (m *Mount) Stop() error {
	err := m.Hide()
	if m.after != nil {
		err = errors.Join(err, m.after())
	}
	if mounted(m.at) {
		return errors.Join(err, fmt.Errorf("%s is still mounted; nothing below it is removed", m.at))
	}
	return errors.Join(err, os.RemoveAll(m.keeps))
}
