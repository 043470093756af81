package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func TestExitCodes(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("of no kind"), 1},
		{dbfs.ErrExist, 1}, {dbfs.ErrNotEmpty, 1}, {dbfs.ErrNotDir, 1}, {dbfs.ErrIsDir, 1}, {dbfs.ErrNameTooLong, 1},
		{dbfs.ErrTooLarge, 1}, {dbfs.ErrLoop, 1}, {dbfs.ErrVersion, 1}, {dbfs.ErrNoAttr, 1}, {dbfs.ErrUnsupported, 1},
		{dbfs.ErrReset, 1}, {dbfs.ErrStaleSeq, 1},
		{control.ErrUsage, 2}, {dbfs.ErrInvalid, 2},
		{errPartial, 3},
		{dbfs.ErrNotExist, 4},
		{control.ErrNoDaemon, 5},
		{dbfs.ErrOffline, 6}, {dbfs.ErrBusy, 6}, {context.DeadlineExceeded, 6},
		{dbfs.ErrAuth, 7}, {dbfs.ErrForbidden, 7}, {dbfs.ErrReadOnly, 7},
		{control.ErrNotSynced, 8},
		{control.ErrAttention, 9},
		{dbfs.ErrCorrupt, 10},
		{dbfs.ErrLocked, 11},
		{dbfs.ErrNoSpace, 12},
		{context.Canceled, 130},
		{&exitError{code: 42}, 42},
		{&exitError{2, dbfs.ErrNotExist}, 2},
	}
	for _, test := range tests {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
		if test.err == nil {
			continue
		}
		if got := exitCode(fmt.Errorf("wrapped: %w", test.err)); got != test.want {
			t.Errorf("wrapped %v: %d, want %d", test.err, got, test.want)
		}
		// An error keeps its code on the way through the control socket.
		if _, ours := errors.AsType[*exitError](test.err); ours || test.err == errPartial {
			continue
		}
		if got := exitCode(control.ErrorOf(test.err)); got != test.want {
			t.Errorf("%v from a daemon: %d, want %d", test.err, got, test.want)
		}
	}
}

// What somebody is told to type next leads to the drive that they asked about.
func TestHintsNameTheProfile(t *testing.T) {
	for _, test := range []struct{ profile, hint, want string }{
		{"work", "dbfs unpin /a", "dbfs unpin /a --profile work"},
		{"work", "dbfs mount -d --profile other", "dbfs mount -d --profile other"},
		{"work", "close them, or use --force", "close them, or use --force"},
		{"work", "dbfs restore a, or ask", "dbfs restore a, or ask"},
		{defaultProfile, "dbfs unpin /a", "dbfs unpin /a"},
		{"", "dbfs unpin /a", "dbfs unpin /a"},
		{"work", "", ""},
	} {
		tool := &tool{profile: test.profile}
		if got := tool.describe(control.WithHint(dbfs.ErrBusy, test.hint)).Hint; got != test.want {
			t.Errorf("%q in profile %q: %q, want %q", test.hint, test.profile, got, test.want)
		}
	}
}

func TestServerUnderADaemonThatIsNotThere(t *testing.T) {
	// Both are true; what to do about it is to start the daemon.
	err := fmt.Errorf("%w: %w", dbfs.ErrOffline, control.ErrNoDaemon)
	if got := exitCode(err); got != 5 {
		t.Errorf("exit %d, want 5", got)
	}
}

func TestReport(t *testing.T) {
	s := newSession(t)
	s.profile = "work"
	s.report(fmt.Errorf("ask: %w", control.ErrNoDaemon))
	if got, want := s.errs.String(), "dbfs: ask: the daemon is not running\n  next: dbfs mount -d --profile work\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s.out.Len() > 0 {
		t.Errorf("on stdout: %q", s.out.String())
	}
	s.errs.Reset()
	s.json = true
	s.report(control.WithPath(dbfs.ErrNotExist, "/a"))
	if got, want := s.out.String(), `{"error":{"kind":"not_found","message":"no such file or directory","path":"/a"}}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.out.Reset()
	s.report(fmt.Errorf("ask: %w", context.Canceled))
	if got, want := s.out.String(), `{"error":{"kind":"interrupted","message":"interrupted"}}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.out.Reset()
	for _, quiet := range []error{&exitError{code: 1}, fmt.Errorf("write output: %w", syscall.EPIPE)} {
		if s.report(quiet); s.out.Len()+s.errs.Len() > 0 {
			t.Errorf("%v was reported: %q %q", quiet, s.out.String(), s.errs.String())
		}
	}
}
