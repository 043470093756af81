package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// space is the syncing of one namespace.
type space struct {
	s        *Syncer
	journal  *journal.Journal
	receipts *receipts
	cancel   context.CancelFunc
	work     sync.WaitGroup
	news     chan struct{} // cap 1: there may be something to pull
	limit    int           // of a batch's ops, less while a bad one is searched; of the goroutine that syncs
	bumps    atomic.Int64  // how often something was bumped
	turns    atomic.Int64  // that ended
	rounds   atomic.Int64  // of uploads that ended, also without anything to upload
	behind   bool          // the log is to be read before anything is sent; likewise

	mu        sync.Mutex // guards what follows
	role      dbfs.Role
	state     State
	uploading bool                // whatever the state
	err       error               // why it does not go on; nil: it does
	since     time.Time           // of err
	pulled    chan struct{}       // closed and replaced after each attempt to pull
	told      bool                // of news that no pull has brought yet
	unwatched bool                // left out of the poll
	reset     bool                // the log cannot be continued: list anew
	lost      []dbfs.Op           // copies whose bytes are nowhere
	confirmed time.Time           // when a pull last came to the log's end
	flying    map[dbfs.NodeID]int // chunks that are on their way
	turnAt    time.Time           // when it is tried again after err
	roundAt   time.Time           // … and uploading
	sent      int64               // bytes put
	dedup     int64               // bytes that the server had already
	listed    int64               // nodes that the last listing has had
}

// State is what a namespace is busy with.
type State string

const (
	Idle      State = "idle"
	Listing   State = "listing"
	Pulling   State = "pulling"
	Pushing   State = "pushing"
	Uploading State = "uploading"
	Waiting   State = "waiting" // after a failure
)

func newSpace(s *Syncer, j *journal.Journal, role dbfs.Role) *space {
	sp := &space{
		s: s, journal: j, role: role, state: Idle, limit: dbfs.MaxBatchOps, receipts: newReceipts(s.cfg.Clock),
		news: make(chan struct{}, 1), pulled: make(chan struct{}), behind: true, flying: make(map[dbfs.NodeID]int),
	}
	poke(sp.news)
	return sp
}

func (sp *space) end() {
	if sp.cancel != nil {
		sp.cancel()
	}
	sp.work.Wait()
}

func (sp *space) setRole(r dbfs.Role) {
	sp.mu.Lock()
	changed := sp.role != r
	sp.role = r
	sp.mu.Unlock()
	if changed {
		sp.look()
	}
}

// look makes the namespace pull soon, and not wait out a failure.
func (sp *space) look() {
	poke(sp.news)
	sp.receipts.retry()
}

// tell lets the namespace pull: the server says that there is news.
func (sp *space) tell() {
	sp.mu.Lock()
	sp.told = true
	sp.mu.Unlock()
	poke(sp.news)
}

// awaitPull returns when a namespace that was told of news has tried to get them.
func (sp *space) awaitPull(ctx context.Context) {
	sp.mu.Lock()
	told, pulled := sp.told, sp.pulled
	sp.mu.Unlock()
	if !told {
		return
	}
	select {
	case <-pulled:
	case <-ctx.Done():
	}
}

// watch returns the cursor to poll with. Before the first listing, and while there is news to
// be pulled, there is nothing to poll for; when that is over the poll is begun anew.
func (sp *space) watch() (dbfs.Cursor, bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	c := sp.journal.Reading()
	sp.unwatched = sp.told || c == (dbfs.Cursor{})
	return c, !sp.unwatched
}

// sync is the loop of list, pull, push and rest.
func (sp *space) sync(ctx context.Context) {
	for failures := 0; sp.s.gate(ctx) == nil; {
		// Taken before the turn, so that what happens during it is not slept over.
		moved, arrived := sp.journal.Moved(), sp.receipts.arrived()
		begun := sp.s.cfg.Clock()
		err := sp.turn(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			took := sp.s.cfg.Clock().Sub(begun)
			if sp.behind = sp.rest(ctx, moved, arrived); ctx.Err() != nil {
				return
			}
			sp.gather(ctx, took)
			continue
		}
		wait := backoff(failures, sp.s.cfg.MaxBackoff)
		failures++
		if !temporary(err) && !errors.Is(err, dbfs.ErrHeld) {
			sp.s.cfg.Log.Warn("sync failed", "namespace", sp.journal.NS(), "err", err, "again in", wait)
		}
		sp.tryAt(&sp.turnAt, wait)
		sleep(ctx, wait, sp.news)
	}
}

// turn does what there is to do now, and notes how it went.
func (sp *space) turn(ctx context.Context) error {
	err := sp.step(ctx)
	if ctx.Err() != nil {
		return err
	}
	err = errors.Join(err, sp.s.carryOn(sp.journal.NS()))
	sp.attempted(err)
	sp.turns.Add(1)
	if err != nil {
		sp.behind = true
		return err
	}
	sp.setState(Idle)
	sp.receipts.forget(sp.journal.Needs)
	return nil
}

// gather lets edits come together for as long as looking at what is pending took: with a
// hundred thousand waiting, every new one would otherwise have all of them looked at again.
func (sp *space) gather(ctx context.Context, took time.Duration) {
	if wait := min(took, 200*time.Millisecond); wait > time.Millisecond {
		sleep(ctx, wait, nil)
	}
	sp.s.giveWay(ctx, max(took, leastGather))
}

// leastGather makes edits come together for at least half a second while somebody makes many:
// a batch of hundreds is one request, one transaction and two syncs, as one of few is.
const leastGather = 500 * time.Millisecond / giveWayShare

// step lists, pulls and pushes, each as far as there is something to.
func (sp *space) step(ctx context.Context) error {
	if sp.wantsListing() {
		if err := sp.list(ctx); err != nil {
			return err
		}
		sp.behind = true // what was listed is of several moments
	}
	if sp.behind {
		if err := sp.pull(ctx); err != nil {
			return err
		}
		sp.behind = false
	}
	if err := sp.dropLost(); err != nil {
		return err
	}
	return sp.push(ctx)
}

// rest waits until there is something to do, and reports whether that may be news.
func (sp *space) rest(ctx context.Context, moved, arrived <-chan struct{}) (news bool) {
	// A lost hint is made up for here.
	safety := time.NewTimer(10 * time.Minute)
	defer safety.Stop()
	select {
	case <-sp.news:
		return true
	case <-safety.C:
		return true
	case <-moved:
	case <-arrived:
	case <-ctx.Done():
	}
	return false
}

func (sp *space) wantsListing() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.reset || sp.journal.Cursor() == (dbfs.Cursor{})
}

// listAnew makes the next step begin with a listing.
func (sp *space) listAnew() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.reset = true
}

// attempted notes how a round went.
func (sp *space) attempted(err error) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	switch {
	case err == nil:
		sp.err = nil
	case sp.err == nil:
		sp.since = sp.s.cfg.Clock()
		fallthrough
	default:
		sp.err, sp.state = err, Waiting
	}
}

func (sp *space) setState(st State) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.state = st
}

// pageEntries is how many entries are asked for at once: a transaction's worth.
const pageEntries = 500

// pull reads the log to its end, or lists the tree anew if the log cannot be continued.
func (sp *space) pull(ctx context.Context) error {
	err := sp.readLog(ctx)
	if errors.Is(err, dbfs.ErrReset) {
		err = sp.list(ctx)
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	close(sp.pulled)
	sp.pulled = make(chan struct{})
	if err != nil {
		return err
	}
	sp.confirmed, sp.told = sp.s.cfg.Clock(), false
	if sp.unwatched {
		sp.unwatched = false
		poke(sp.s.repoll)
	}
	return nil
}

// readLog advances by the log to its end, or looks at what is held of it. dbfs.ErrReset: it does not continue what is here,
// and the next step lists anew.
func (sp *space) readLog(ctx context.Context) error {
	sp.setState(Pulling)
	for {
		page, err := sp.s.cfg.Meta.Log(ctx, sp.journal.NS(), sp.journal.Reading(), pageEntries)
		if errors.Is(err, dbfs.ErrReset) {
			sp.listAnew()
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if page.State {
			err = sp.journal.Jump(page.Nodes, page.Next, page.Head)
		} else {
			err = sp.journal.Advance(page.Entries, page.Next)
		}
		if err != nil {
			return err
		}
		if !page.More {
			return nil
		}
	}
}

func (sp *space) setListed(nodes int64) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.listed = nodes
}

// list builds the tree anew, and then reads the log from where the listing began.
func (sp *space) list(ctx context.Context) error {
	if sp.journal.HoldsBack() {
		return fmt.Errorf("the tree is not listed anew while changes of other devices are held: %w", dbfs.ErrHeld)
	}
	sp.setState(Listing)
	listed := int64(0)
	sp.setListed(listed)
	listing, err := sp.journal.List()
	if err != nil {
		return err
	}
	var after dbfs.NodeID
	var begin dbfs.Cursor
	for first := true; ; first = false {
		page, err := sp.s.cfg.Meta.Tree(ctx, sp.journal.NS(), after, pageEntries)
		if err != nil {
			return fmt.Errorf("list the tree: %w", err)
		}
		if first {
			begin = page.Cursor
		} else if page.Cursor.Epoch != begin.Epoch {
			return fmt.Errorf("the log was restored during the listing: %w", dbfs.ErrOffline)
		}
		if err := listing.Add(page.Nodes); err != nil {
			return err
		}
		listed += int64(len(page.Nodes))
		sp.setListed(listed)
		if after = page.Next; !page.More {
			break
		}
	}
	if err := listing.Finish(begin); err != nil {
		return err
	}
	sp.mu.Lock()
	sp.reset = false
	sp.mu.Unlock()
	sp.receipts.clear()
	return sp.readLog(ctx)
}
