package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

// A Hub wakes those who wait for namespaces. What it says is a hint: whoever is woken reads
// the head from the store. It is told after a commit, never before.
type Hub struct {
	mu       sync.Mutex // guards what follows
	waiting  map[dbfs.NamespaceID]map[*subscription]struct{}
	parked   int           // subscriptions there are
	drained  bool          // whether draining is closed
	draining chan struct{} // closed when everybody shall go home
}

// A subscription collects hints for one waiter.
type subscription struct {
	hub  *Hub
	on   []dbfs.NamespaceID
	wake chan struct{} // of size one

	hinted map[dbfs.NamespaceID]bool // guarded by hub.mu
}

func newHub() *Hub {
	return &Hub{waiting: make(map[dbfs.NamespaceID]map[*subscription]struct{}), draining: make(chan struct{})}
}

// subscribe starts collecting hints. Who subscribes first and reads heads then misses nothing.
func (h *Hub) subscribe(on []dbfs.NamespaceID) *subscription {
	s := &subscription{hub: h, on: on, wake: make(chan struct{}, 1), hinted: make(map[dbfs.NamespaceID]bool)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parked++
	for _, ns := range on {
		if h.waiting[ns] == nil {
			h.waiting[ns] = make(map[*subscription]struct{})
		}
		h.waiting[ns][s] = struct{}{}
	}
	return s
}

func (s *subscription) close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parked--
	for _, ns := range s.on {
		delete(h.waiting[ns], s)
		if len(h.waiting[ns]) == 0 {
			delete(h.waiting, ns)
		}
	}
}

// take returns the namespaces hinted at since the last call.
func (s *subscription) take() []dbfs.NamespaceID {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	list := make([]dbfs.NamespaceID, 0, len(s.hinted))
	for ns := range s.hinted {
		list = append(list, ns)
	}
	clear(s.hinted)
	return list
}

// publish wakes everybody who waits for a namespace.
func (h *Hub) publish(ns dbfs.NamespaceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.waiting[ns] {
		s.hinted[ns] = true
		select {
		case s.wake <- struct{}{}:
		default: // it has not yet heard the last one
		}
	}
}

func (h *Hub) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.drained {
		h.drained = true
		close(h.draining)
	}
}

// herd is over how long the waiters should spread their return if all of them lost their
// connection now.
func (h *Hub) herd(acceptBudget int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.parked) * time.Second / time.Duration(acceptBudget)
}

const (
	maxPoll = remote.MaxPollTime * time.Second

	// A drained waiter comes back within restartTime, more where many have to.
	restartTime    = 2 * time.Second
	maxRestartTime = time.Minute

	// strangerRetry keeps a device that goes on asking for a namespace it may not read from
	// asking all the time.
	strangerRetry = time.Second
)

// Wait is dbfs.Notifier's. A namespace that the account may not read, or in which its role
// changes while it waits, counts as changed: asking for it tells why.
func (se *Session) Wait(ctx context.Context, at map[dbfs.NamespaceID]dbfs.Cursor, timeout time.Duration) (dbfs.Hint, error) {
	if len(at) > remote.MaxPoll {
		return dbfs.Hint{}, fmt.Errorf("%w: waiting for %d namespaces; the limit is %d", dbfs.ErrInvalid, len(at), remote.MaxPoll)
	}
	on := make([]dbfs.NamespaceID, 0, len(at))
	for ns := range at {
		on = append(on, ns)
	}
	w := se.park(on, at)
	defer w.sub.close()
	timeout = min(max(timeout, 0), maxPoll)
	return w.wait(ctx, time.Duration(float64(timeout)*(0.7+0.3*se.s.opts.Rand())))
}

// park subscribes, and then will look at all namespaces once.
func (se *Session) park(on []dbfs.NamespaceID, at map[dbfs.NamespaceID]dbfs.Cursor) *waiter {
	w := &waiter{se: se, at: at, next: on, roles: make(map[dbfs.NamespaceID]dbfs.Role, len(at)), sub: se.s.hub.subscribe(on)}
	if fault.Bug(fault.PollBlind) {
		w.next = nil
	}
	return w
}

// A waiter is one poll.
type waiter struct {
	se    *Session
	at    map[dbfs.NamespaceID]dbfs.Cursor
	roles map[dbfs.NamespaceID]dbfs.Role // when it began
	sub   *subscription
	next  []dbfs.NamespaceID // to look at
}

func (w *waiter) wait(ctx context.Context, timeout time.Duration) (dbfs.Hint, error) {
	hub := w.se.s.hub
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		hint, err := w.look(ctx, w.next)
		hint.Herd = hub.herd(w.se.s.opts.AcceptBudget)
		if err != nil || len(hint.Changed) > 0 {
			return hint, err
		}
		select {
		case <-w.sub.wake:
			w.next = w.sub.take()
		case <-hub.draining:
			spread := min(max(hint.Herd, restartTime), maxRestartTime)
			hint.Retry = time.Duration(float64(spread) * w.se.s.opts.Rand())
			return hint, nil
		case <-timer.C:
			return hint, nil
		case <-ctx.Done():
			return dbfs.Hint{}, ctx.Err()
		}
	}
}

// look reads the store for those of the namespaces that have changed.
func (w *waiter) look(ctx context.Context, list []dbfs.NamespaceID) (dbfs.Hint, error) {
	hint := dbfs.Hint{Changed: []dbfs.NamespaceID{}}
	readable := false
	for _, ns := range list {
		m, err := w.se.s.member(ctx, ns, w.se.account)
		if err != nil {
			return hint, err
		}
		changed, err := w.changed(ctx, ns, m.Role)
		if err != nil {
			return hint, err
		}
		if changed {
			hint.Changed = append(hint.Changed, ns)
			readable = readable || m.Role != dbfs.RoleNone
		}
	}
	if len(hint.Changed) > 0 && !readable {
		hint.Retry = strangerRetry
	}
	return hint, nil
}

func (w *waiter) changed(ctx context.Context, ns dbfs.NamespaceID, role dbfs.Role) (bool, error) {
	before, known := w.roles[ns]
	w.roles[ns] = role
	if role == dbfs.RoleNone || known && before != role {
		return true, nil
	}
	head, err := w.se.s.head(ctx, ns)
	at := w.at[ns]
	// A cursor beyond the head is of a log that was restored to an older state.
	return head.Epoch != at.Epoch || head.JID != at.JID, err
}
