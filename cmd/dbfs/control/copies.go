package control

import (
	"context"
	"net/http"
)

// Copies is a Daemon that keeps copies of files on this device and can be asked about them.
type Copies interface {
	// Pin says that what is below a path is to be on this device, now and later; or, with Off,
	// that it is not.
	Pin(ctx context.Context, req PinRequest) error
	// Pins lists what was said so, in order of path.
	Pins(ctx context.Context) ([]Pin, error)

	// Warm brings what is below a path to this device, once. ErrOffline and ErrNoSpace end it.
	Warm(ctx context.Context, req WarmRequest, progress func(Progress) error) (*WarmResult, error)
	// Free removes what is below a path from this device, as far as the server has it and nobody
	// wants it to stay. ErrBusy: that was a single file, and it has to stay.
	Free(ctx context.Context, req FreeRequest, progress func(Progress) error) (*FreeResult, error)

	// ClearCache evicts everything that may be evicted.
	ClearCache(ctx context.Context) (*ClearResult, error)
	// CheckCache reads all clean data and compares it with its names.
	CheckCache(ctx context.Context, progress func(Progress) error) (*CheckResult, error)
}

// PinRequest says what is to be kept on this device.
type PinRequest struct {
	Path  string   `json:"path"`
	Globs []string `json:"globs,omitempty"` // only files whose names match one, as in path.Match
	Off   bool     `json:"off,omitempty"`   // take it back; below a pinned directory: make an exception
}

// A Pin is what was said of one path. The nearest one above a file decides.
type Pin struct {
	Path  string   `json:"path"`
	Globs []string `json:"globs,omitempty"`
	Off   bool     `json:"off,omitempty"` // an exception
}

// WarmRequest asks for what is below Path.
type WarmRequest struct {
	Path   string `json:"path"`
	Check  bool   `json:"check,omitempty"`  // only count
	Pinned bool   `json:"pinned,omitempty"` // only what is pinned
}

// WarmResult counts what is below a path.
type WarmResult struct {
	Files      int64 `json:"files"`
	Bytes      int64 `json:"bytes"`
	LocalFiles int64 `json:"local_files"` // all of whose bytes are on this device
	LocalBytes int64 `json:"local_bytes"`
	Fetched    int64 `json:"fetched"` // bytes that came for this request
}

// FreeRequest asks for what is below Path to leave this device.
type FreeRequest struct {
	Path string `json:"path"`
}

// FreeResult counts files, but for Bytes, which are those that are free now.
type FreeResult struct {
	Bytes  int64 `json:"bytes"`
	Files  int64 `json:"files"`  // looked at
	Pinned int64 `json:"pinned"` // these stay
	Unsent int64 `json:"unsent"` // and these, until the server has them
	Open   int64 `json:"open"`   // and these, as long as a program uses them
}

// ClearResult says how many bytes were evicted.
type ClearResult struct {
	Bytes int64 `json:"bytes"`
}

// CheckResult says how many bytes were read, and how many of them were damaged: those are not
// here any more, and come again when somebody reads them.
type CheckResult struct {
	Bytes   int64 `json:"bytes"`
	Damaged int64 `json:"damaged"`
}

type pinList struct {
	Pins []Pin `json:"pins"`
}

// copiesRoutes adds the requests of Copies.
func copiesRoutes(mux *http.ServeMux, c Copies) {
	mux.HandleFunc("POST /v1/pin", post(func(ctx context.Context, req PinRequest) (empty, error) {
		return empty{}, c.Pin(ctx, req)
	}))
	mux.HandleFunc("GET /v1/pins", get(func(ctx context.Context) (pinList, error) {
		list, err := c.Pins(ctx)
		return pinList{orEmpty(list)}, err
	}))
	mux.HandleFunc("POST /v1/warm", stream(func(ctx context.Context, req WarmRequest, w *streamWriter) (any, error) {
		return c.Warm(ctx, req, func(p Progress) error { return w.item(p) })
	}))
	mux.HandleFunc("POST /v1/free", stream(func(ctx context.Context, req FreeRequest, w *streamWriter) (any, error) {
		return c.Free(ctx, req, func(p Progress) error { return w.item(p) })
	}))
	mux.HandleFunc("POST /v1/cache/clear", post(func(ctx context.Context, _ empty) (*ClearResult, error) {
		return c.ClearCache(ctx)
	}))
	mux.HandleFunc("POST /v1/cache/check", stream(func(ctx context.Context, _ empty, w *streamWriter) (any, error) {
		return c.CheckCache(ctx, func(p Progress) error { return w.item(p) })
	}))
}

func (c *Client) Pin(ctx context.Context, req PinRequest) error {
	return c.ask(ctx, http.MethodPost, "pin", req, &empty{})
}

func (c *Client) Pins(ctx context.Context) ([]Pin, error) {
	var list pinList
	err := c.ask(ctx, http.MethodGet, "pins", nil, &list)
	return list.Pins, err
}

func (c *Client) Warm(ctx context.Context, req WarmRequest, progress func(Progress) error) (*WarmResult, error) {
	return follow[Progress, WarmResult](ctx, c, "warm", req, func(p *Progress) error { return progress(*p) })
}

func (c *Client) Free(ctx context.Context, req FreeRequest, progress func(Progress) error) (*FreeResult, error) {
	return follow[Progress, FreeResult](ctx, c, "free", req, func(p *Progress) error { return progress(*p) })
}

func (c *Client) ClearCache(ctx context.Context) (*ClearResult, error) {
	return askFor[ClearResult](ctx, c, http.MethodPost, "cache/clear", empty{})
}

func (c *Client) CheckCache(ctx context.Context, progress func(Progress) error) (*CheckResult, error) {
	return follow[Progress, CheckResult](ctx, c, "cache/check", empty{}, func(p *Progress) error { return progress(*p) })
}
