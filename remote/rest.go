package remote

import (
	"sync"
	"time"
)

// A rest is how long somebody who answers has asked to be left alone. For concurrent use.
type rest struct {
	what string // who it is, for messages

	mu    sync.Mutex // guards until
	until time.Time
}

func (r *rest) ask(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := time.Now().Add(d); d > 0 && at.After(r.until) {
		r.until = at
	}
}

// over returns a BusyError as long as the rest is not over.
func (r *rest) over() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := time.Until(r.until); left > 0 {
		return &BusyError{After: left, Message: r.what + " asked to be left alone for now"}
	}
	return nil
}
