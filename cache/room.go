package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// room is the budget of unsent bytes. Who wants more than there is waits for the network
// to take some away.
type room struct {
	limit int64

	mu    sync.Mutex // guards what follows
	used  int64
	freed chan struct{} // closed, and made anew, when bytes are given back
}

func (r *room) init(limit int64) {
	r.limit = limit
	r.freed = make(chan struct{})
}

func (r *room) bytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// add counts bytes without asking; n may be negative.
func (r *room) add(n int64) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used += n
	if n < 0 {
		close(r.freed)
		r.freed = make(chan struct{})
	}
}

// take counts n bytes as soon as the budget has them; ErrNoSpace after waiting for
// patience, or the context's error.
func (r *room) take(ctx context.Context, n int64, patience time.Duration) error {
	freed, ok := r.try(n)
	if ok {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience,
		fmt.Errorf("%w: more than %d bytes wait to be sent", dbfs.ErrNoSpace, r.limit))
	defer cancel()
	for !ok {
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		freed, ok = r.try(n)
	}
	return nil
}

func (r *room) try(n int64) (freed chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 && r.used+n > r.limit {
		return r.freed, false
	}
	r.used += n
	return nil, true
}
