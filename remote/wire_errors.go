package remote

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dbfs/dbfs"
)

// ErrorReply is the body of every answer that is not 2xx.
type ErrorReply struct {
	Code    string `json:"code"`    // a word of the table below
	Message string `json:"message"` // for people
}

// The one table between errors and the wire. The first row that fits decides.
var wireErrors = []struct {
	err    error
	code   string
	status int
}{
	{dbfs.ErrAuth, "auth", http.StatusUnauthorized},
	{dbfs.ErrForbidden, "forbidden", http.StatusForbidden},
	{dbfs.ErrReadOnly, "read_only", http.StatusForbidden},
	{dbfs.ErrReset, "reset", http.StatusGone},
	{dbfs.ErrStaleSeq, "stale_seq", http.StatusConflict},
	{dbfs.ErrTooLarge, "too_large", http.StatusRequestEntityTooLarge},
	{dbfs.ErrNameTooLong, "name_too_long", http.StatusBadRequest},
	{dbfs.ErrInvalid, "invalid", http.StatusBadRequest},
	{dbfs.ErrNotExist, "not_exist", http.StatusNotFound},
	{dbfs.ErrExist, "exist", http.StatusConflict},
	{dbfs.ErrNotEmpty, "not_empty", http.StatusConflict},
	{dbfs.ErrNotDir, "not_dir", http.StatusConflict},
	{dbfs.ErrIsDir, "is_dir", http.StatusConflict},
	{dbfs.ErrLoop, "loop", http.StatusConflict},
	{dbfs.ErrBusy, "busy", http.StatusConflict},
	{dbfs.ErrUnsupported, "unsupported", http.StatusBadRequest},
	{dbfs.ErrManyLinks, "many_links", http.StatusBadRequest},
	{dbfs.ErrCorrupt, "corrupt", http.StatusUnprocessableEntity},
	{dbfs.ErrVersion, "version", http.StatusBadRequest},
	{dbfs.ErrNoSpace, "no_space", http.StatusInsufficientStorage},
	{dbfs.ErrOffline, "offline", http.StatusServiceUnavailable},
}

// EncodeError says how an error travels. One that is not in the closed list is the
// server's own trouble: status 500, and its text stays there.
func EncodeError(err error) (status int, reply ErrorReply) {
	for _, row := range wireErrors {
		if errors.Is(err, row.err) {
			return row.status, ErrorReply{Code: row.code, Message: err.Error()}
		}
	}
	return http.StatusInternalServerError, ErrorReply{Code: "internal", Message: "the server failed; its log says why"}
}

// decodeError turns an answer that is not 2xx into an error of the closed list. A server
// that is too busy or broken is as good as none.
func decodeError(status int, reply ErrorReply, retryAfter time.Duration) error {
	text := reply.Message
	if text == "" {
		text = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return &BusyError{After: retryAfter, Message: text}
	}
	for _, row := range wireErrors {
		if row.code == reply.Code {
			return &wireError{text, row.err}
		}
	}
	switch status {
	case http.StatusUnauthorized:
		return &wireError{text, dbfs.ErrAuth}
	case http.StatusForbidden:
		return &wireError{text, dbfs.ErrForbidden}
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w by this server: %s", dbfs.ErrUnsupported, text)
	case http.StatusRequestEntityTooLarge:
		return &wireError{text, dbfs.ErrTooLarge}
	}
	return fmt.Errorf("%w: %s", dbfs.ErrInvalid, text)
}

// A wireError is an error of the closed list in the server's words.
type wireError struct {
	text string
	kind error
}

func (e *wireError) Error() string { return e.text }
func (e *wireError) Unwrap() error { return e.kind }

// A BusyError is a dbfs.ErrOffline from a server that is there but cannot help now. After
// is the least time to wait before trying again; zero where it did not say.
type BusyError struct {
	After   time.Duration
	Message string
}

func (e *BusyError) Error() string { return dbfs.ErrOffline.Error() + ": " + e.Message }
func (e *BusyError) Unwrap() error { return dbfs.ErrOffline }
