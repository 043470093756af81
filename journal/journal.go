// Package journal keeps the user's unsent edits, the view they make, and the rules of
// reconciling them with what others did.
//
// An edit is recorded in the metadata database before the user is told that it is done,
// is sent with others in a batch, and leaves the journal when the namespace's log shows
// it. The view is the tree (what the server said) with the pending edits laid on top; it
// is what every reader sees, and never stored. When the log brings other devices' entries,
// the pending edits are reconciled with them, one by one, in one transaction with the tree.
//
// There is one Journal per namespace. Readers and editors may come from any goroutine;
// the calls that speak for the server (Batch, Refused, Advance, the Listing) from one.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// Tree is what the journal wants of the tree below it. Its methods work inside the given
// transaction; cache.Tree says more about each.
type Tree interface {
	Load(txn dbfs.Txn) (dbfs.Cursor, error)
	SetCursor(txn dbfs.Txn, c dbfs.Cursor) error
	Node(txn dbfs.Txn, id dbfs.NodeID) (dbfs.Node, error)
	Child(txn dbfs.Txn, parent dbfs.NodeID, name string) (dbfs.NodeID, error)
	Alike(txn dbfs.Txn, parent dbfs.NodeID, name string, fn func(name string, id dbfs.NodeID) bool) error
	Children(txn dbfs.Txn, parent dbfs.NodeID, after string, fn func(name string, id dbfs.NodeID) bool) error
	Nodes(txn dbfs.Txn, after dbfs.NodeID, fn func(dbfs.Node) bool) error
	Put(txn dbfs.Txn, n dbfs.Node, newIno func() uint64) error
	SetIno(txn dbfs.Txn, id dbfs.NodeID, ino uint64) error
	Bind(txn dbfs.Txn, ino uint64, id dbfs.NodeID) error

	PutNext(txn dbfs.Txn, n dbfs.Node, newIno func() uint64) error
	NextNode(txn dbfs.Txn, id dbfs.NodeID) (dbfs.Node, error)
	Swap(txn dbfs.Txn, c dbfs.Cursor) error
	ClearOthers(txn dbfs.Txn, limit int) (bool, error)
}

// Config is what a Journal is made of. All fields but Names, NewID, Guard, HoldID, Observe, Unpin, Trace
// and Log are needed.
type Config struct {
	NS     dbfs.NamespaceID
	KV     dbfs.KV
	Tree   Tree
	Device dbfs.DeviceID
	Name   string // of this device, as conflicted copies show it
	Names  dbfs.NameRule

	// Inodes sets n inode numbers aside; see cache.Inodes.Reserve.
	Inodes  func(n int) (take func() uint64, err error)
	RootIno uint64 // of the namespace's root directory; 0: one is taken and remembered

	Clock func() time.Time
	NewID func() dbfs.NodeID // of nodes made here; nil: dbfs.NewNodeID at Clock. Both from any goroutine

	// Guard says what is held as too much at once; nil: nothing is. HoldID numbers what is held,
	// the same number never twice; nil: from 1 on.
	Guard  *Budget
	HoldID func() uint64

	// Observe hears which nodes look different now. It is called with no lock held, in
	// order for remote changes, and must only queue.
	Observe func([]Change)
	// Unpin hears which chunks no pending edit names any more, once that is durable.
	Unpin func([]dbfs.ChunkRef)
	// Trace hears of every case that reconciling met. It must not call the journal. nil: nobody counts.
	Trace func(Cell)
	// TxnBytes is about how many bytes a transaction may write; 0: what the database takes.
	TxnBytes int
	Log      *slog.Logger
}

// Journal is one namespace as the user sees it, and the edits the server has yet to take.
type Journal struct {
	cfg Config
	log *log

	carrying sync.Mutex // held while something moves to another namespace, or is let go on there; before mu, of any journal
	known    known      // of the tree

	observing sync.RWMutex // held while changes of the server's doing can be seen and Observe has not heard of them; after mu

	mu        sync.RWMutex // guards what follows
	broken    error        // the database could not be read back: nothing is known; else nil
	view      *view
	pending   *pending
	cursor    dbfs.Cursor
	aside     map[dbfs.OpID]Aside // by the edits' numbers; some may be gone, or have changed
	inflight  *Batch              // sent or about to be, not yet seen in the log
	st        logState            // as it is in the database, or will be when the transaction is through
	nextN     uint64              // the next OpID.N
	open      map[dbfs.NodeID]*hold
	needed    map[dbfs.ChunkID]int
	arrived   map[dbfs.Origin]bool // moved here and at the server, or not wanted any more; those there have yet to hear of it
	sets      uint64               // how often an edit got a content
	synced    uint64               // of those, how many the last Sync has made durable
	syncing   uint64               // … and the Sync that began last will have
	unpin     []dbfs.ChunkRef      // not needed any more, once the next Sync is through
	fading    map[dbfs.ChunkID]int // those, as often as they are in unpin or in a Sync under way
	notices   []Notice             // lasting ones, oldest first
	refusals  map[dbfs.NodeID]int  // how often the server has refused a batch that deleted that tree
	shifted   map[dbfs.NodeID]bool // directories that others have moved since the last reconciling; only for Trace
	clashes   map[place]string     // by place: the other name that it is taken by, as the server said
	ahead     map[dbfs.NodeID]bool // whose edits go first; of some nothing may be pending any more
	apart     map[dbfs.OpID]bool   // edits that begin a batch, since they were refused for another of theirs
	moved     chan struct{}        // closed and replaced when pending, inflight or cursor change
	holds     []*Hold              // oldest first
	out, in   *guard               // of what is sent and of what the log brings; nil: nothing is held
	abandoned map[*edit]bool       // dropped by the reconciling under way; nil: none
}

// Open reads the journal of a namespace and makes its view.
func Open(cfg Config) (*Journal, error) {
	if cfg.NewID == nil {
		cfg.NewID = func() dbfs.NodeID { return dbfs.NewNodeID(cfg.Clock()) }
	}
	if cfg.Observe == nil {
		cfg.Observe = func([]Change) {}
	}
	if cfg.Unpin == nil {
		cfg.Unpin = func([]dbfs.ChunkRef) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{cfg: cfg, log: &log{ns: cfg.NS}, known: newKnown(), sets: 1, fading: make(map[dbfs.ChunkID]int), open: make(map[dbfs.NodeID]*hold), refusals: make(map[dbfs.NodeID]int), aside: make(map[dbfs.OpID]Aside), clashes: make(map[place]string), ahead: make(map[dbfs.NodeID]bool), apart: make(map[dbfs.OpID]bool), moved: make(chan struct{})}
	if cfg.Guard != nil {
		j.out, j.in = newGuard(*cfg.Guard), newGuard(*cfg.Guard)
	}
	if err := j.start(); err != nil {
		return nil, fmt.Errorf("open the journal of namespace %s: %w", cfg.NS, err)
	}
	return j, nil
}

// start loads the journal and finishes what a crash may have cut short. What of that fails
// now, for want of space perhaps, is tried again later.
func (j *Journal) start() error {
	if err := j.begin(); err != nil {
		return err
	}
	if err := j.load(); err != nil {
		return err
	}
	if err := j.stampEdits(); err != nil {
		return err
	}
	if err := errors.Join(j.clearEdits(), j.reconcileIfDue(newLooks())); err != nil {
		j.cfg.Log.Warn("journal not tidied", "namespace", j.cfg.NS, "err", err)
		return j.load()
	}
	return nil
}

// begin writes down, once, where a new journal's counts begin and the root's inode number.
func (j *Journal) begin() error {
	var st logState
	err := j.cfg.KV.View(func(txn dbfs.Txn) (err error) {
		st, err = j.log.state(txn)
		return err
	})
	if err != nil || st.rootIno != 0 {
		return err
	}
	firstNumbers(&st, j.cfg.Clock().UnixMilli())
	if st.rootIno = j.cfg.RootIno; st.rootIno == 0 {
		take, err := j.cfg.Inodes(1)
		if err != nil {
			return err
		}
		st.rootIno = take()
	}
	return j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := j.cfg.Tree.Bind(txn, st.rootIno, dbfs.RootNode); err != nil {
			return err
		}
		return j.log.setState(txn, st)
	})
}

// load reads everything but the holds from the database.
func (j *Journal) load() error {
	j.known.forget()
	j.view, j.pending, j.inflight = newView(), newPending(), nil
	j.needed = make(map[dbfs.ChunkID]int)
	return j.cfg.KV.View(func(txn dbfs.Txn) error {
		var err error
		if j.cursor, err = j.cfg.Tree.Load(txn); err != nil {
			return err
		}
		if j.st, err = j.log.state(txn); err != nil {
			return err
		}
		j.log.gen = j.st.gen
		j.countOn()
		if err := j.loadEdits(txn); err != nil {
			return err
		}
		if j.inflight, err = j.log.inflight(txn, j.pending); err != nil {
			return err
		}
		if j.inflight != nil {
			j.inflight.mark(true)
		}
		if j.notices, err = j.log.notices(txn); err != nil {
			return err
		}
		if j.arrived, err = j.log.arrived(txn); err != nil {
			return err
		}
		j.holds, err = j.log.holds(txn)
		return err
	})
}

func (j *Journal) loadEdits(txn dbfs.Txn) error {
	edits, err := j.log.edits(txn)
	if err != nil {
		return err
	}
	s := j.snapshot(txn)
	for _, e := range edits {
		e.set = j.sets
		s.lay(e)
		j.pending.add(e)
	}
	_, err = j.log.stands(txn, j.pending)
	for _, e := range edits {
		j.needEdit(e)
	}
	return errors.Join(s.err, err)
}

// clearEdits removes the edits of generations that do not count, a little at a time.
func (j *Journal) clearEdits() error {
	for {
		var keys [][]byte
		err := j.cfg.KV.View(func(txn dbfs.Txn) (err error) {
			keys, err = j.log.others(txn, 2000)
			return err
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
			for _, k := range keys {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// reload reads everything anew after a step failed half way. What is recorded is safe in the
// database; if it cannot even be read, nothing is shown or accepted any more.
// Called with mu held.
func (j *Journal) reload() {
	if j.broken = j.load(); j.broken != nil {
		j.broken = fmt.Errorf("the journal of namespace %s cannot be read back: %w", j.cfg.NS, j.broken)
		j.cfg.Log.Error("journal stopped", "err", j.broken)
	}
}

// Close waits for readers and editors. The database belongs to the caller.
func (j *Journal) Close() { j.mu.Lock(); defer j.mu.Unlock() }

// Rule returns how names are told apart.
func (j *Journal) Rule() dbfs.NameRule { return j.cfg.Names }

// NS returns the namespace.
func (j *Journal) NS() dbfs.NamespaceID { return j.cfg.NS }

// Cursor returns how far the tree has got. The zero Cursor: it has never been listed, and
// a name that is not there is not known to be absent.
func (j *Journal) Cursor() dbfs.Cursor {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.cursor
}

// Moved returns a channel that is closed when edits were recorded, sent or settled, or the cursor moved.
func (j *Journal) Moved() <-chan struct{} {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.moved
}

// Sync returns when everything recorded so far survives a loss of power. Chunks that have
// become free by then are handed to Unpin.
func (j *Journal) Sync() error {
	j.mu.Lock()
	free, sets := j.unpin, j.sets
	j.syncing = sets
	j.unpin = nil
	j.mu.Unlock()
	if err := j.cfg.KV.Sync(); err != nil {
		j.mu.Lock()
		j.unpin = append(free, j.unpin...)
		j.mu.Unlock()
		return fmt.Errorf("sync the journal: %w", err)
	}
	fault.Here(fault.EditSynced)
	j.mu.Lock()
	j.synced = max(j.synced, sets)
	for _, r := range free {
		if j.fading[r.ID]--; j.fading[r.ID] == 0 {
			delete(j.fading, r.ID)
		}
	}
	free = j.stillFree(free)
	j.mu.Unlock()
	if len(free) > 0 {
		j.cfg.Unpin(free)
	}
	return nil
}

func (j *Journal) stillFree(refs []dbfs.ChunkRef) []dbfs.ChunkRef {
	var free []dbfs.ChunkRef
	for _, r := range refs {
		if j.needed[r.ID] == 0 || fault.Bug(fault.EvictPinned) {
			free = append(free, r)
		}
	}
	return free
}

// Needs reports whether a pending edit names the chunk, or did and could again after a loss
// of power.
func (j *Journal) Needs(id dbfs.ChunkID) bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.needed[id] > 0 || j.fading[id] > 0
}

// need counts the chunks of a content as named by one more pending edit.
func (j *Journal) need(c *dbfs.Content) {
	if c == nil {
		return
	}
	for _, r := range c.Refs() {
		if fault.Bug(fault.EvictPinned) {
			j.unpin = append(j.unpin, r)
		}
		j.needed[r.ID]++
	}
}

// release is need taken back.
func (j *Journal) release(c *dbfs.Content) {
	if c == nil {
		return
	}
	for _, r := range c.Refs() {
		if j.needed[r.ID]--; j.needed[r.ID] == 0 {
			delete(j.needed, r.ID)
			j.unpin = append(j.unpin, r)
			j.fading[r.ID]++
		}
	}
}

// hasMoved wakes those who wait for Moved. Called with mu held.
func (j *Journal) hasMoved() {
	close(j.moved)
	j.moved = make(chan struct{})
}

func (j *Journal) snapshot(txn dbfs.Txn) *snapshot {
	return &snapshot{txn: txn, tree: j.cfg.Tree, view: j.view, rootIno: j.st.rootIno, rule: j.cfg.Names, clashes: j.clashes}
}

// read runs fn over a snapshot of the view.
func (j *Journal) read(fn func(*snapshot) error) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.broken != nil {
		return j.broken
	}
	return j.cfg.KV.View(func(txn dbfs.Txn) error {
		s := j.snapshot(txn)
		s.known = j.known
		err := fn(s)
		if s.err != nil {
			return s.err
		}
		return err
	})
}
