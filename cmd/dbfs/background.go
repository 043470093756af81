package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// A daemon in the background is this program run again in a session of its own, with a
// pipe to the process that started it. It writes JSON lines there, readyLine: how far it is, and one when
// its mount answers or when it has failed; closing the pipe without one is a crash.

const (
	readyTimeout = 60 * time.Second // from one sign of life to the next, until it is ready
	statTimeout  = 10 * time.Second // for the mount to answer then
	endTimeout   = 5 * time.Second  // for a daemon that failed to end
)

// readyLine is what the daemon tells the process that started it: lines of how far it is, and one of how it ended.
type readyLine struct {
	Listed int64          `json:"listed,omitempty"` // names, so far; more lines come
	Mount  string         `json:"mount,omitempty"`
	PID    int            `json:"pid,omitempty"`
	Error  *control.Error `json:"error,omitempty"`
}

// mountReply is what mount -d --json prints.
type mountReply struct {
	Profile string `json:"profile"`
	Mount   string `json:"mount"`
	PID     int    `json:"pid"`
	Log     string `json:"log"`
}

// mountInBackground starts the daemon and returns when its mount answers a stat.
func (t *tool) mountInBackground(s daemon.Settings) error {
	log, err := openLog(logName(s.State), maxLog, false)
	if err != nil {
		return err
	}
	defer log.f.Close()
	begin := log.size
	child, pipe, err := t.startChild(log.f)
	if err != nil {
		return err
	}
	defer pipe.Close()
	report := t.listingReport()
	line, err := awaitReady(pipe, report)
	report(0)
	if err == nil && line.Error != nil {
		child.Wait()
		return line.Error
	}
	if err == nil {
		err = answers(line.Mount)
	}
	if err != nil {
		endChild(child)
		return control.WithHint(fmt.Errorf("%w: %w%s", control.ErrNoDaemon, err, lastError(log.name, begin)), "see "+log.name)
	}
	if t.json {
		return t.printJSON(mountReply{s.Profile, line.Mount, line.PID, log.name})
	}
	t.printf("mounted at %s\n", t.name(line.Mount))
	return nil
}

// startChild runs this command line again, detached. The pipe ends when the child does.
func (t *tool) startChild(log *os.File) (*exec.Cmd, *os.File, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("start daemon: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start daemon: %w", err)
	}
	defer w.Close()
	child := exec.Command(exe, t.args...)
	const firstExtra = 3
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", variable("ready-fd"), firstExtra))
	child.ExtraFiles = []*os.File{w}
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		r.Close()
		return nil, nil, fmt.Errorf("start daemon: %w", err)
	}
	return child, r, nil
}

func awaitReady(pipe *os.File, listing func(names int64)) (readyLine, error) {
	for lines := json.NewDecoder(pipe); ; {
		var line readyLine
		if err := pipe.SetReadDeadline(time.Now().Add(readyTimeout)); err != nil {
			return line, fmt.Errorf("start daemon: %w", err)
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return line, fmt.Errorf("nothing happens for %v", readyTimeout)
		case err != nil:
			return line, errors.New("it ended before it was ready")
		case line.Listed == 0:
			return line, nil
		}
		listing(line.Listed)
	}
}

// answers returns nil once a stat of the directory shows a FUSE mount.
func answers(dir string) error {
	got := make(chan error, 1) // a stat of a mount that hangs cannot be taken back
	go func() {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil && fs.Type != unix.FUSE_SUPER_MAGIC {
			err = fmt.Errorf("%s is not a mount", dir)
		}
		if err == nil {
			_, err = os.Stat(dir)
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-time.After(statTimeout):
		return fmt.Errorf("%w: the mount does not answer", dbfs.ErrBusy)
	}
}

// endChild gives a daemon that will not do a moment to end, and to say in its log why.
func endChild(child *exec.Cmd) {
	child.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(endTimeout, func() { child.Process.Kill() })
	defer late.Stop()
	child.Wait()
}

// lastError returns the last error line that a log got after its first begin bytes, as
// an addition to a message.
func lastError(name string, begin int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 1 << 20
	b, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, begin, tail), tail))
	if err != nil {
		return ""
	}
	found := ""
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if strings.Contains(text, "level=ERROR") || strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") {
			found = ": " + text
		}
	}
	return found
}

// mountReporting is mountHere for a process in the background.
func (t *tool) mountReporting(ctx context.Context, s daemon.Settings, flags mountFlags) error {
	pipe := os.NewFile(uintptr(flags.readyFD), "ready")
	if pipe == nil {
		return control.Errorf(control.ErrUsage, "ready-fd %d", flags.readyFD)
	}
	defer pipe.Close()
	unix.CloseOnExec(flags.readyFD)
	os.Unsetenv(variable("ready-fd"))
	log, err := openLog(logName(s.State), maxLog, true)
	if err == nil {
		s.Log, err = newLog(log, flags.logLevel)
	}
	if err == nil {
		err = os.Chdir("/") // keep no other file system busy
	}
	if err == nil {
		lines := json.NewEncoder(pipe)
		s.Listing = func(names int64) { lines.Encode(readyLine{Listed: names}) } // if nobody listens, the mount comes all the same
		err = t.mountHere(ctx, s, flags.nonempty, func() {
			lines.Encode(readyLine{Mount: s.Mount, PID: os.Getpid()})
			pipe.Close()
		})
	}
	if err != nil {
		json.NewEncoder(pipe).Encode(readyLine{Error: t.describe(err)}) // nobody listens any more once ready
		if s.Log != nil {
			s.Log.Error("daemon ended", "err", err)
		}
		return &exitError{code: exitCode(err)}
	}
	return nil
}

// newLog returns a log of at least that level.
func newLog(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, control.Errorf(dbfs.ErrInvalid, "log-level %q: it is debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
