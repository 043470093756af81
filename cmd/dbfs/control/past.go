package control

import (
	"context"
	"net/http"
	"time"

	"github.com/dbfs/dbfs"
)

// Past is a Daemon that can be asked what files were, and bring it back.
type Past interface {
	// Versions lists the contents that the server has kept of a file, oldest first.
	Versions(ctx context.Context, path string) (*Versions, error)

	// RestoreVersion gives a file a content that it had, or makes another file of it. What the
	// file has now stays in its history; ErrBusy: that has not reached the server.
	RestoreVersion(ctx context.Context, req RestoreRequest) (*RestoreResult, error)
}

// Versions is what a file was.
type Versions struct {
	Path     string        `json:"path"`
	Versions []FileVersion `json:"versions"`
}

// FileVersion is a content that a file had.
type FileVersion struct {
	Version dbfs.JID  `json:"version"` // what restore calls it
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mtime"`
	Time    time.Time `json:"time,omitzero"`    // when the server got it; zero: not known any more
	Device  string    `json:"device,omitempty"` // that made it, by name or else by id; empty: not known any more
	Until   time.Time `json:"until,omitzero"`   // when the file got another one
	Expires time.Time `json:"expires,omitzero"` // until when it is kept at most
	Present bool      `json:"present,omitempty"`
}

// RestoreRequest says which content to bring back: by its number, or what the file had at a time.
type RestoreRequest struct {
	Path    string    `json:"path"`
	Version dbfs.JID  `json:"version,omitempty"`
	At      time.Time `json:"at,omitzero"`
	To      string    `json:"to,omitempty"` // a new file; empty: Path itself
}

// RestoreResult says what was brought back, and where.
type RestoreResult struct {
	Path    string      `json:"path"`
	Version FileVersion `json:"version"`
}

// pastRoutes adds the requests of Past.
func pastRoutes(mux *http.ServeMux, p Past) {
	mux.HandleFunc("POST /v1/versions", post(func(ctx context.Context, req pathRequest) (*Versions, error) {
		return p.Versions(ctx, req.Path)
	}))
	mux.HandleFunc("POST /v1/restore", post(p.RestoreVersion))
}

// Versions is Past's, as is RestoreVersion.
func (c *Client) Versions(ctx context.Context, path string) (*Versions, error) {
	return askFor[Versions](ctx, c, http.MethodPost, "versions", pathRequest{path})
}

func (c *Client) RestoreVersion(ctx context.Context, req RestoreRequest) (*RestoreResult, error) {
	return askFor[RestoreResult](ctx, c, http.MethodPost, "restore", req)
}
