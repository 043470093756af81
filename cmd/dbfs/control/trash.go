package control

import (
	"context"
	"net/http"
	"time"

	"github.com/dbfs/dbfs"
)

// Trash is a Daemon that can be asked what was deleted, and bring it back.
type Trash interface {
	// Trash tells what was deleted at or below a path, what went last first. What lies in a directory that was deleted, too, is
	// part of that, unless the path leads there. It wants the server.
	Trash(ctx context.Context, req TrashRequest, emit func(*TrashItem) error) (*TrashSummary, error)

	// Untrash makes anew what was deleted, with its attributes, and of a directory what went with it; directories that are there again
	// it fills. ErrExist: something else has the name now.
	Untrash(ctx context.Context, req UntrashRequest) (*UntrashResult, error)
}

// TrashRequest asks for what was deleted.
type TrashRequest struct {
	Path  string    `json:"path,omitempty"` // "": the whole drive
	Since time.Time `json:"since,omitzero"`
	Limit int       `json:"limit,omitempty"` // 0: all
}

// A TrashItem is something that was deleted.
type TrashItem struct {
	Path    string      `json:"path"`
	ID      dbfs.NodeID `json:"id"`
	Kind    dbfs.Kind   `json:"kind"`
	Deleted time.Time   `json:"deleted"`
	Size    int64       `json:"size"`             // with what went with it
	Files   int         `json:"files"`            // that, counted
	Expires time.Time   `json:"expires,omitzero"` // of a file: until when its content is kept at most
	Kept    bool        `json:"kept"`             // false: a file whose content is not kept any more
	Taken   bool        `json:"taken,omitempty"`  // something else is there now
}

// TrashSummary ends a list.
type TrashSummary struct {
	Items   int  `json:"items"`   // in all
	Pending int  `json:"pending"` // edits that the server does not know of, deletions perhaps among them
	More    bool `json:"more"`    // there are more than were asked for
}

// UntrashRequest says what to bring back: what was deleted last at a path, or one of them by its id.
type UntrashRequest struct {
	Path string      `json:"path"`
	ID   dbfs.NodeID `json:"id,omitzero"`
	To   string      `json:"to,omitempty"` // another place, in the same namespace
}

// UntrashResult says what is back.
type UntrashResult struct {
	Path  string `json:"path"`
	Files int    `json:"files"`
	Dirs  int    `json:"dirs"`
	Bytes int64  `json:"bytes"`
	Lost  int    `json:"lost"`  // files whose content is not kept any more
	Taken int    `json:"taken"` // names that something else has now
	Left  int    `json:"left"`  // what had been deleted there before, and stays deleted
}

// trashRoutes adds the requests of Trash.
func trashRoutes(mux *http.ServeMux, t Trash) {
	mux.HandleFunc("POST /v1/trash", stream(func(ctx context.Context, req TrashRequest, out *streamWriter) (any, error) {
		return t.Trash(ctx, req, func(item *TrashItem) error { return out.item(item) })
	}))
	mux.HandleFunc("POST /v1/trash/restore", post(t.Untrash))
}

// Trash is Trash's, as is Untrash.
func (c *Client) Trash(ctx context.Context, req TrashRequest, emit func(*TrashItem) error) (*TrashSummary, error) {
	return follow[TrashItem, TrashSummary](ctx, c, "trash", req, emit)
}

func (c *Client) Untrash(ctx context.Context, req UntrashRequest) (*UntrashResult, error) {
	return askFor[UntrashResult](ctx, c, http.MethodPost, "trash/restore", req)
}
