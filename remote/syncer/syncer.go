// Package syncer carries edits from the journals to the server and the server's log back.
//
// For each namespace one goroutine speaks with the metadata service, in this order for ever:
//
//	list    if the tree was never listed, or the log cannot be continued
//	pull    if there may be news: read the log, advance the journal
//	push    if there are edits that may be sent: commit a batch, advance by its entries
//	rest    until the journal moves, a hint comes, or a failure's time is up
//
// Another goroutine of the namespace uploads the chunks that pending edits name, a few of
// each file at a time, and keeps the receipts that a commit wants. One more goroutine for all
// holds the long poll and tells the namespaces what moved. A failure is never final: every
// wait is bounded and drawn at random between zero and a doubling limit, so that many clients
// do not come back at once.
//
// The network is this package's business alone: everybody else talks to journal and cache.
package syncer

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// Config is what a Syncer works with.
type Config struct {
	Meta     dbfs.Meta
	Notifier dbfs.Notifier
	Chunks   dbfs.ChunkStore
	Device   dbfs.DeviceID

	// Read returns chunk i of a file from this machine, verified. The bytes belong to the
	// caller until done is called.
	Read func(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, i int, ref dbfs.ChunkRef) (raw []byte, done func(), err error)

	// Journal returns the journal of a namespace for which something waits that was moved there,
	// synced or not; nil: it is not here any more. No function: what is not synced is waited for.
	Journal func(ns dbfs.NamespaceID) *journal.Journal

	// Namespaces hears what the account may see, each time the server is reached anew.
	Namespaces func([]dbfs.Namespace)

	// Busy reports whether somebody on this machine makes many changes just now. Transfers then take
	// a part of the machine only, and never less than that; nil: nobody does. See pace.go.
	Busy func() bool

	Uploads    int           // whole chunks on their way at once, for each namespace; 0: 8
	MaxBackoff time.Duration // the longest wait after a failure; 0: 30 s
	PollTime   time.Duration // how long a poll may be parked; 0: 55 s
	Clock      func() time.Time
	Log        *slog.Logger
}

// Syncer syncs the namespaces that it is given. All methods may be called from any goroutine.
type Syncer struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	spaces  map[dbfs.NamespaceID]*space
	paused  bool
	resumed chan struct{} // closed when paused ends; nil while not paused
	online  bool
	asked   bool          // for the list of namespaces
	polled  error         // why the last poll failed
	repoll  chan struct{} // cap 1: what to poll for has changed
	run     *running      // nil before Run
}

type running struct {
	ctx  context.Context
	wait sync.WaitGroup
}

// New returns a Syncer. Nothing happens before Run.
func New(cfg Config) *Syncer {
	if cfg.Uploads == 0 {
		cfg.Uploads = 8
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = 30 * time.Second
	}
	if cfg.PollTime == 0 {
		cfg.PollTime = 55 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Busy == nil {
		cfg.Busy = func() bool { return false }
	}
	if cfg.Namespaces == nil {
		cfg.Namespaces = func([]dbfs.Namespace) {}
	}
	return &Syncer{cfg: cfg, spaces: make(map[dbfs.NamespaceID]*space), repoll: make(chan struct{}, 1)}
}

// Add syncs one more namespace, or tells what may be done in it now.
func (s *Syncer) Add(j *journal.Journal, role dbfs.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp, ok := s.spaces[j.NS()]; ok {
		sp.setRole(role)
		return
	}
	sp := newSpace(s, j, role)
	s.spaces[j.NS()] = sp
	if s.run != nil {
		s.start(sp)
	}
	poke(s.repoll)
}

// Remove stops syncing a namespace and waits until nothing of it is under way.
func (s *Syncer) Remove(ns dbfs.NamespaceID) {
	s.mu.Lock()
	sp := s.spaces[ns]
	delete(s.spaces, ns)
	s.mu.Unlock()
	if sp != nil {
		sp.end()
	}
	poke(s.repoll)
}

// Run syncs until ctx ends, and returns when everything that was under way has stopped.
func (s *Syncer) Run(ctx context.Context) {
	s.mu.Lock()
	s.run = &running{ctx: ctx}
	run := s.run
	for _, sp := range s.spaces {
		s.start(sp)
	}
	s.mu.Unlock()
	s.poll(ctx)
	run.wait.Wait()
}

// start is called with mu held.
func (s *Syncer) start(sp *space) {
	ctx, cancel := context.WithCancel(s.run.ctx)
	sp.cancel = cancel
	sp.work.Add(2)
	s.run.wait.Add(2)
	go func() {
		defer s.run.wait.Done()
		defer sp.work.Done()
		sp.sync(ctx)
	}()
	go func() {
		defer s.run.wait.Done()
		defer sp.work.Done()
		sp.upload(ctx)
	}()
}

// Kick tries again at once whatever waits after a failure, and looks for news.
func (s *Syncer) Kick() {
	for _, sp := range s.all() {
		sp.look()
	}
	poke(s.repoll)
}

// all returns the namespaces in order of id.
func (s *Syncer) all() []*space {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*space, 0, len(s.spaces))
	for _, ns := range slices.Sorted(maps.Keys(s.spaces)) {
		all = append(all, s.spaces[ns])
	}
	return all
}

// Pause stops transfers after those under way, both ways; edits go on being recorded.
func (s *Syncer) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.paused {
		s.paused, s.resumed = true, make(chan struct{})
	}
}

// Resume ends a Pause.
func (s *Syncer) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused {
		s.paused = false
		close(s.resumed)
	}
}

// gate waits while transfers are paused.
func (s *Syncer) gate(ctx context.Context) error {
	s.mu.Lock()
	paused, resumed := s.paused, s.resumed
	s.mu.Unlock()
	if !paused {
		return ctx.Err()
	}
	select {
	case <-resumed:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Refresh asks anew, soon, what the account may see.
func (s *Syncer) Refresh() {
	s.mu.Lock()
	s.asked = true
	s.mu.Unlock()
	poke(s.repoll)
}

// backoff returns how long to wait after the given number of failures in a row: anything up
// to a limit that doubles ("full jitter").
func backoff(failures int, limit time.Duration) time.Duration {
	bound := min(limit, time.Second<<min(failures, 20))
	return time.Duration(rand.Int64N(int64(bound)) + 1)
}

// sleep waits for d, for wake, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// temporary reports whether trying again, unchanged, may help.
func temporary(err error) bool {
	return errors.Is(err, dbfs.ErrOffline) || errors.Is(err, context.DeadlineExceeded)
}
