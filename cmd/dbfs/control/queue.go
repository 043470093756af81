package control

import (
	"context"
	"net/http"
	"time"
)

// Queue is a Daemon that can be asked what has not been sent, and told what is to go first.
type Queue interface {
	// Queue tells of the edits below a path that wait, in the order in which they go.
	Queue(ctx context.Context, req QueueRequest, emit func(*QueueItem) error) (*QueueSummary, error)
	// Bump lets the edits of some paths go first, with those that they build on.
	Bump(ctx context.Context, paths []string) (*BumpResult, error)
	// Retry tries at once what waits after a failure: of some paths, or with none everything.
	Retry(ctx context.Context, paths []string) (*RetryResult, error)
}

// QueueRequest asks for edits.
type QueueRequest struct {
	Path  string `json:"path"`
	Limit int    `json:"limit,omitempty"` // 0: all
}

// A QueueState says in one word how an edit stands.
type QueueState string

const (
	QueueWaiting QueueState = "waiting"
	QueueSending QueueState = "sending"
	QueueOpen    QueueState = "open" // a program writes to it, or it waits for its way to another namespace
	QueueHeld    QueueState = "held"
	QueueFailing QueueState = "failing"
	QueuePaused  QueueState = "paused"
	QueueOffline QueueState = "offline"
)

// A QueueItem is an edit that has not reached the server.
type QueueItem struct {
	Namespace string     `json:"namespace"`
	Path      string     `json:"path"`
	From      string     `json:"from,omitempty"` // where it was before it was moved
	What      string     `json:"what"`
	Size      int64      `json:"size"`
	Up        int64      `json:"up"`      // bytes that the server has, of those to send
	ToSend    int64      `json:"to_send"` // bytes of chunks that have changed
	Time      time.Time  `json:"time,omitzero"`
	State     QueueState `json:"state"`
	Bumped    bool       `json:"bumped,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Retry     time.Time  `json:"retry,omitzero"`
	Command   string     `json:"command,omitempty"` // what to type next
}

// QueueSummary says how many edits there are in all, below whatever path.
type QueueSummary struct {
	Edits int   `json:"edits"`
	Bytes int64 `json:"bytes"` // of the files among them
	More  bool  `json:"more"`  // there are more than were asked for
}

// BumpResult says how many edits go first now.
type BumpResult struct {
	Edits int `json:"edits"`
}

// RetryResult says what came of it.
type RetryResult struct {
	Before int    `json:"before"` // edits, in the namespaces that were tried
	Left   int    `json:"left"`
	Error  string `json:"error,omitempty"` // why it still does not go
	Paused bool   `json:"paused,omitempty"`
}

type pathsRequest struct {
	Paths []string `json:"paths"`
}

// queueRoutes adds the requests of Queue.
func queueRoutes(mux *http.ServeMux, q Queue) {
	mux.HandleFunc("POST /v1/queue", stream(func(ctx context.Context, req QueueRequest, out *streamWriter) (any, error) {
		return q.Queue(ctx, req, func(item *QueueItem) error { return out.item(item) })
	}))
	mux.HandleFunc("POST /v1/queue/bump", post(func(ctx context.Context, req pathsRequest) (*BumpResult, error) { return q.Bump(ctx, req.Paths) }))
	mux.HandleFunc("POST /v1/queue/retry", post(func(ctx context.Context, req pathsRequest) (*RetryResult, error) { return q.Retry(ctx, req.Paths) }))
}

// Queue is Queue's, as are Bump and Retry.
func (c *Client) Queue(ctx context.Context, req QueueRequest, emit func(*QueueItem) error) (*QueueSummary, error) {
	return follow[QueueItem, QueueSummary](ctx, c, "queue", req, emit)
}

func (c *Client) Bump(ctx context.Context, paths []string) (*BumpResult, error) {
	return askFor[BumpResult](ctx, c, http.MethodPost, "queue/bump", pathsRequest{paths})
}

func (c *Client) Retry(ctx context.Context, paths []string) (*RetryResult, error) {
	return askFor[RetryResult](ctx, c, http.MethodPost, "queue/retry", pathsRequest{paths})
}
