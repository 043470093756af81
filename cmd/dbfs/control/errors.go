package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/dbfs/dbfs"
)

// Errors of the tool and its socket, besides those of the root package.
var (
	ErrNoDaemon  = errors.New("the daemon is not running")
	ErrNotSynced = errors.New("not yet synced")
	ErrAttention = errors.New("something needs your attention")
	ErrUsage     = errors.New("usage") // the command line is wrong
)

// A Kind is an error's word in JSON, on the socket and in the tool's --json output.
type Kind string

// KindFailed stands for every error that has no kind of its own.
const KindFailed Kind = "failed"

// kinds maps errors to their words and to HTTP statuses, and back. The first row that
// fits counts.
var kinds = []struct {
	err    error
	kind   Kind
	status int
}{
	{ErrNoDaemon, "no_daemon", http.StatusServiceUnavailable},
	{ErrNotSynced, "not_synced", http.StatusConflict},
	{ErrAttention, "attention", http.StatusConflict},
	{ErrUsage, "usage", http.StatusBadRequest},
	{dbfs.ErrNotExist, "not_found", http.StatusNotFound},
	{dbfs.ErrExist, "exists", http.StatusConflict},
	{dbfs.ErrNotEmpty, "not_empty", http.StatusConflict},
	{dbfs.ErrNotDir, "not_directory", http.StatusConflict},
	{dbfs.ErrIsDir, "is_directory", http.StatusConflict},
	{dbfs.ErrInvalid, "invalid", http.StatusBadRequest},
	{dbfs.ErrNameTooLong, "name_too_long", http.StatusBadRequest},
	{dbfs.ErrTooLarge, "too_large", http.StatusRequestEntityTooLarge},
	{dbfs.ErrLoop, "loop", http.StatusConflict},
	{dbfs.ErrReadOnly, "read_only", http.StatusForbidden},
	{dbfs.ErrForbidden, "forbidden", http.StatusForbidden},
	{dbfs.ErrAuth, "auth", http.StatusUnauthorized},
	{dbfs.ErrOffline, "offline", http.StatusServiceUnavailable},
	{dbfs.ErrCorrupt, "corrupt", http.StatusInternalServerError},
	{dbfs.ErrNoSpace, "no_space", http.StatusInsufficientStorage},
	{dbfs.ErrVersion, "version", http.StatusInternalServerError},
	{dbfs.ErrLocked, "locked", http.StatusConflict},
	{dbfs.ErrBusy, "busy", http.StatusConflict},
	{dbfs.ErrNoAttr, "no_attribute", http.StatusNotFound},
	{dbfs.ErrUnsupported, "unsupported", http.StatusNotImplemented},
	{dbfs.ErrHeld, "held", http.StatusConflict},
	{dbfs.ErrReset, "reset", http.StatusConflict},
	{dbfs.ErrStaleSeq, "stale_seq", http.StatusConflict},
	{context.DeadlineExceeded, "timeout", http.StatusGatewayTimeout},
	{context.Canceled, "interrupted", http.StatusServiceUnavailable},
}

// An Error is an error as people and programs are shown it.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // the next thing to do
	Path    string `json:"path,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is find the error that the kind stands for.
func (e *Error) Is(target error) bool {
	for _, row := range kinds {
		if row.err == target {
			return row.kind == e.Kind
		}
	}
	return false
}

// ErrorOf puts any error but nil into that form. The message is the whole of err, with
// everything it was wrapped in; hint and path come from an *Error inside, if there is one.
func ErrorOf(err error) *Error {
	e := Error{Kind: KindFailed, Message: err.Error()}
	if inner, ok := errors.AsType[*Error](err); ok {
		e.Kind, e.Hint, e.Path = inner.Kind, inner.Hint, inner.Path
		return &e
	}
	for _, row := range kinds {
		if errors.Is(err, row.err) {
			e.Kind = row.kind
			break
		}
	}
	return &e
}

// Errorf returns an error of the kind of err whose message is only what the format says.
func Errorf(err error, format string, args ...any) error {
	e := ErrorOf(err)
	e.Message = fmt.Sprintf(format, args...)
	return e
}

// WithHint adds the next thing to do to an error.
func WithHint(err error, hint string) error {
	e := ErrorOf(err)
	e.Hint = hint
	return e
}

// WithPath adds the path that an error is about.
func WithPath(err error, path string) error {
	e := ErrorOf(err)
	e.Path = path
	return e
}

func (e *Error) status() int {
	for _, row := range kinds {
		if row.kind == e.Kind {
			return row.status
		}
	}
	return http.StatusInternalServerError
}
