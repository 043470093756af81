package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// errPartial says that some of the things asked for failed, and that each has been named.
var errPartial = errors.New("some items failed")

// exits maps errors to exit codes. The first row that fits counts; 1 is everything else.
// Codes may be added, never changed.
var exits = []struct {
	err  error
	code int
}{
	{control.ErrUsage, 2},
	{dbfs.ErrInvalid, 2},
	{errPartial, 3},
	{dbfs.ErrNotExist, 4},
	{control.ErrNoDaemon, 5},
	{dbfs.ErrOffline, 6},
	{dbfs.ErrBusy, 6},
	{context.DeadlineExceeded, 6},
	{dbfs.ErrAuth, 7},
	{dbfs.ErrForbidden, 7},
	{dbfs.ErrReadOnly, 7},
	{control.ErrNotSynced, 8},
	{control.ErrAttention, 9},
	{dbfs.ErrHeld, 9},
	{dbfs.ErrCorrupt, 10},
	{dbfs.ErrLocked, 11},
	{dbfs.ErrNoSpace, 12},
	{context.Canceled, 130},
}

// exitError ends a command with a code of its own tradition, as grep has one. A nil
// error has already said all there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	for _, row := range exits {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return 1
}

// hints says what to do next about errors that do not bring their own hint. A command
// gets the profile it is about.
var hints = []struct {
	err  error
	hint string
}{
	{control.ErrNoDaemon, "dbfs mount -d"},
	{dbfs.ErrAuth, "dbfs login --server URL --token TOKEN"},
	{dbfs.ErrVersion, "a newer dbfs has been here: use that one"},
}

// report tells the error of a command, if there is one, and returns the exit code: as
// JSON on stdout for programs, in words on stderr for people.
func (t *tool) report(err error) int {
	code := exitCode(err)
	if exit, ok := errors.AsType[*exitError](err); err == nil || ok && exit.err == nil {
		return code
	}
	if errors.Is(err, syscall.EPIPE) {
		return code // whoever read this has had enough
	}
	e := t.describe(err)
	if t.json {
		b, _ := json.Marshal(map[string]*control.Error{"error": e}) // strings always encode
		fmt.Fprintf(t.out, "%s\n", b)
		return code
	}
	t.note("%s", e.Message)
	if e.Hint != "" {
		fmt.Fprintf(t.errs, "  next: %s\n", e.Hint)
	}
	return code
}

// describe is control.ErrorOf with the hints of this tool.
func (t *tool) describe(err error) *control.Error {
	e := control.ErrorOf(err)
	switch {
	case errors.Is(err, errPartial):
		e.Kind = "partial"
	case errors.Is(err, context.Canceled):
		e.Message = "interrupted"
	}
	if e.Hint == "" && t.asked != "" && errors.Is(err, dbfs.ErrOffline) {
		e.Hint = "see that the server at " + t.asked + " runs and can be reached from here, then do it again"
	}
	for _, row := range hints {
		if e.Hint != "" || !errors.Is(err, row.err) {
			continue
		}
		e.Hint = row.hint
	}
	e.Hint = t.ours(e.Hint)
	return e
}

// ours adds the profile to a command that somebody is told to type next, if it is not the usual
// one. Hints that are more than a command stay as they are.
func (t *tool) ours(hint string) string {
	command := strings.HasPrefix(hint, "dbfs ") && !strings.ContainsAny(hint, ",;:\"")
	if !command || t.profile == "" || t.profile == defaultProfile || strings.Contains(hint, "--profile") {
		return hint
	}
	return hint + " --profile " + t.profile
}
