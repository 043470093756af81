package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote/syncer"
)

// Version says what is running.
func (d *Daemon) Version(context.Context) (control.Version, error) {
	v := d.set.Version
	v.PID = os.Getpid()
	return v, nil
}

// Status is the daemon's state in one screen.
func (d *Daemon) Status(ctx context.Context) (*control.Status, error) {
	version, _ := d.Version(ctx)
	st := &control.Status{
		Version: version, Profile: d.set.Profile, Account: d.me.Name, Server: d.set.Server, Mount: d.set.Mount,
		Since: d.start, State: d.set.State,
	}
	st.Reads, st.ReadsWhy = d.fs.Mode()
	sync := d.syncer.Status()
	d.syncStatus(st, sync)
	for _, sp := range sync.Spaces {
		if ours := d.space(sp.NS); ours != nil {
			st.Namespaces = append(st.Namespaces, d.namespaceStatus(ours, sp))
		}
	}
	d.cacheStatus(&st.Cache)
	d.searchStatus(&st.Search)
	d.attention(st, sync)
	return st, nil
}

// syncStatus sums up what is on its way.
func (d *Daemon) syncStatus(st *control.Status, sync syncer.Status) {
	s := &st.Sync
	s.Word, s.Link = control.UpToDate, control.Online
	for _, sp := range d.all() {
		b := sp.journal.Backlog()
		s.Ops += b.Edits
		s.Files += b.Files
		s.Bytes += b.Bytes
		if b.Oldest != 0 && (s.Oldest.IsZero() || s.Oldest.UnixNano() > b.Oldest) {
			s.Oldest = time.Unix(0, b.Oldest)
		}
	}
	if s.Ops > 0 {
		s.Word = control.Pending
	}
	for _, sp := range sync.Spaces {
		if sp.State == syncer.Uploading || sp.State == syncer.Pushing {
			s.Word = control.Uploading
		}
		if sp.Err != nil && s.LastError == "" {
			s.LastError, s.Retry = sp.Err.Error(), sp.Retry
		}
	}
	if limit := d.throttled(); limit.Limit != "off" {
		s.Limit = limit
	}
	switch {
	case sync.Paused:
		s.Link = control.Paused
		d.mu.Lock()
		s.PausedUntil = d.pausedUntil
		d.mu.Unlock()
	case sync.Err != nil:
		s.Link = control.Offline
		s.LastError = sync.Err.Error()
	case !sync.Online:
		s.Link = control.Connecting
	}
	if s.Word == control.Uploading && s.Link == control.Online {
		s.Rate = d.rate.now()
	}
}

func (d *Daemon) namespaceStatus(sp *space, sync syncer.SpaceStatus) control.NamespaceStatus {
	d.mu.Lock()
	ns := sp.ns
	d.mu.Unlock()
	return control.NamespaceStatus{
		ID: ns.ID, Name: ns.Name, Role: ns.Role, Cursor: sync.Cursor, Ops: sp.journal.Backlog().Edits,
		Loading: sync.State == syncer.Listing, Confirmed: sync.Confirmed,
	}
}

func (d *Daemon) cacheStatus(st *control.CacheStatus) {
	c := d.cache.Stats()
	*st = control.CacheStatus{
		Used: c.Clean, Budget: c.Size, Unsent: c.Unsent, UnsentBudget: c.Limit,
		Fetched: c.Fetched, Evicted: c.Evicted, Hits: c.Hits, Misses: c.Misses, Refused: d.shield.Refused(),
	}
	st.Pinned, _ = d.cache.Kept() // what cannot be read counts as nothing here
}

func (d *Daemon) searchStatus(st *control.SearchStatus) {
	st.Word = "current"
	for _, sp := range d.all() {
		s := sp.feed.index.Stats()
		st.Documents += int64(s.Names)
		st.Bytes += s.Disk
		n, since, walking := sp.feed.waiting()
		st.Waiting += int64(n)
		if !since.IsZero() {
			st.Behind = max(st.Behind, time.Since(since))
		}
		if walking || n > 0 {
			st.Word = "indexing"
		}
	}
}

// attention lists what a person should look at.
func (d *Daemon) attention(st *control.Status, sync syncer.Status) {
	conflicts, _ := d.Conflicts(context.Background())
	if n := len(conflicts); n > 0 {
		st.Attention = append(st.Attention, control.Attention{
			Kind: "conflict", Message: fmt.Sprintf("%d conflicted %s", n, plural(n, "copy", "copies")), Command: "dbfs conflicts", Since: conflicts[0].Time,
		})
	}
	d.heldAttention(st)
	d.recoveredAttention(st)
	if errors.Is(sync.Err, dbfs.ErrAuth) {
		st.Attention = append(st.Attention, control.Attention{Kind: "error", Message: sync.Err.Error(), Command: "dbfs login"})
	}
	for _, sp := range sync.Spaces {
		if sp.Err != nil && !temporary(sp.Err) && !errors.Is(sp.Err, dbfs.ErrHeld) {
			st.Attention = append(st.Attention, control.Attention{Kind: "error", Message: sp.Err.Error(), Since: sp.Since})
		}
	}
	for _, sp := range d.all() {
		for _, a := range sp.journal.Asides() {
			st.Attention = append(st.Attention, control.Attention{
				Kind: "error", Message: fmt.Sprintf("an edit of %q in %s is kept on this disk, because the server does not take it: %v", a.Name, d.named(sp), a.Why), Since: a.Time,
			})
		}
	}
	for _, sp := range d.gone() {
		if n := sp.journal.Backlog().Edits; n > 0 {
			st.Attention = append(st.Attention, control.Attention{
				Kind: "error", Message: fmt.Sprintf("%d unsent %s of %q, which this account has no more, %s kept on this disk", n, plural(n, "edit", "edits"), d.named(sp), plural(n, "is", "are")),
			})
		}
	}
	st.Attention = append(st.Attention, d.pins.attention()...)
	if c := st.Cache; c.UnsentBudget > 0 && c.Unsent > c.UnsentBudget*9/10 {
		st.Attention = append(st.Attention, control.Attention{
			Kind: "disk", Message: "the room for unsent data is nearly full: writers will have to wait", Command: "dbfs wait",
		})
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (d *Daemon) sentBytes() int64 {
	return d.syncer.SentBytes()
}

// rate measures bytes a second over the last few samples, which come once a second.
type rate struct {
	mu      sync.Mutex
	samples [5]int64 // a ring
	next    int
}

func (r *rate) sample(total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples[r.next%len(r.samples)] = total
	r.next++
}

func (r *rate) now() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(r.next, len(r.samples))
	if n < 2 {
		return 0
	}
	last := r.samples[(r.next-1)%len(r.samples)]
	first := r.samples[(r.next-n)%len(r.samples)]
	return max(0, last-first) / int64(n-1)
}

// Pause stops transfers for a while, or with zero until Resume.
func (d *Daemon) Pause(_ context.Context, dur time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endPause()
	d.syncer.Pause()
	if dur > 0 {
		d.pausedUntil = time.Now().Add(dur)
		d.paused = time.AfterFunc(dur, func() { d.Resume(context.Background()) })
	}
	return nil
}

// Resume ends a Pause.
func (d *Daemon) Resume(context.Context) error {
	d.mu.Lock()
	d.endPause()
	d.mu.Unlock()
	d.syncer.Resume()
	d.syncer.Kick()
	d.pins.retry()
	return nil
}

// endPause forgets when a pause was to end. Called with mu held.
func (d *Daemon) endPause() {
	if d.paused != nil {
		d.paused.Stop()
	}
	d.paused, d.pausedUntil = nil, time.Time{}
}
