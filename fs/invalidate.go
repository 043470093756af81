package fs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// maxChanges is how many changes wait for the kernel to be told. Whoever brings more waits.
const maxChanges = 10_000

// changes is the queue between the journals and the goroutine that tells the kernel.
type changes struct {
	mu      sync.Mutex
	moved   *sync.Cond // the queue got longer, was taken, or closed
	queue   []change
	due     map[uint64]int // by inode number: how many changes of it have not been told
	opening map[uint64]*opening
	telling uint64 // the inode of whose bytes the kernel is being told; 0: none
	serving bool   // somebody takes from the queue
	closed  bool
}

// opening is an inode that is being opened.
type opening struct {
	count   int  // by how many
	changed bool // before that or meanwhile, and the kernel may not know
}

type change struct {
	ns dbfs.NamespaceID
	journal.Change
	forget *spelling // not nil: that is all
}

func newChanges() *changes {
	c := &changes{due: make(map[uint64]int), opening: make(map[uint64]*opening)}
	c.moved = sync.NewCond(&c.mu)
	return c
}

// ino returns the inode number that the kernel may know the node by.
func (c *change) ino() uint64 {
	if c.forget != nil {
		return c.forget.dir
	}
	if c.Before != nil {
		return c.Before.Ino
	}
	return c.After.Ino
}

// serve says that from now on somebody takes.
func (c *changes) serve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = true
}

func (c *changes) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.moved.Broadcast()
}

// room waits while the queue is full and somebody takes from it. No request of the kernel may
// wait here: telling it may have to wait for the request.
func (c *changes) room() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) >= maxChanges && c.serving && !c.closed {
		c.moved.Wait()
	}
}

// add queues changes.
func (c *changes) add(ns dbfs.NamespaceID, cs []journal.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range cs {
		c.enqueue(change{ns: ns, Change: one})
	}
	c.moved.Broadcast()
}

// forget queues that the kernel is to look a name up again.
func (c *changes) forget(ns dbfs.NamespaceID, what spelling) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueue(change{ns: ns, forget: &what})
	c.moved.Broadcast()
}

// enqueue is called with mu held.
func (c *changes) enqueue(one change) {
	if c.closed {
		return
	}
	c.queue = append(c.queue, one)
	c.due[one.ino()]++
	if o := c.opening[one.ino()]; o != nil {
		o.changed = true
	}
}

func (c *changes) take() ([]change, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.closed {
		c.moved.Wait()
	}
	q := c.queue
	c.queue = nil
	c.moved.Broadcast()
	return q, len(q) > 0 && !c.closed
}

// told says that the kernel knows of a change.
func (c *changes) told(one change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ino := one.ino()
	if c.due[ino]--; c.due[ino] <= 0 {
		delete(c.due, ino)
	}
}

// tell says of which inode's bytes the kernel is being told now; 0: of none.
func (c *changes) tell(ino uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling = ino
	c.moved.Broadcast()
}

// open says that an inode is being opened, until opened is called.
func (c *changes) open(ino uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.opening[ino]
	if o == nil {
		o = new(opening)
		c.opening[ino] = o
	}
	o.count++
	o.changed = o.changed || c.due[ino] > 0
}

// changed reports whether an inode that is being opened has changed and the kernel may not
// have known when that began. While the kernel is being told, it waits.
func (c *changes) changed(ino uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.telling == ino {
		c.moved.Wait()
	}
	return c.opening[ino].changed
}

// opened ends what open began.
func (c *changes) opened(ino uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.opening[ino]
	if o.count--; o.count == 0 {
		delete(c.opening, ino)
	}
}

// idle reports whether the kernel knows of all changes.
func (c *changes) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.due) == 0
}

// Changed hears from a journal which nodes look different now. Of other devices' changes the
// kernel is told soon after, by a goroutine of its own; only when that is far behind does
// Changed wait for it. The user's own edits the kernel knows.
func (fs *FS) Changed(ns dbfs.NamespaceID, cs []journal.Change) {
	sp, err := fs.space(ns)
	if err != nil {
		return // shown no more, or not yet
	}
	var remote []journal.Change
	for _, c := range cs {
		switch {
		case !c.Remote:
			continue
		case c.Follow != (dbfs.NodeID{}):
			fs.follow(sp, c)
			continue
		case c.After == nil:
			fs.haunt(sp, *c.Before)
		}
		remote = append(remote, c)
	}
	if len(remote) > 0 {
		fs.changes.room()
		fs.changes.add(ns, remote)
	}
}

// invalidate tells the kernel what other devices changed, one thing after the other. A
// notification can wait for a request that the kernel has under way, so no lock is held.
func (fs *FS) invalidate() {
	for {
		queue, ok := fs.changes.take()
		if !ok {
			return
		}
		gone := removedDirs(queue)
		for _, c := range queue {
			if c.forget != nil {
				fs.server.EntryNotify(c.forget.dir, c.forget.name)
				fs.server.InodeNotify(c.forget.dir, 0, 0) // with its listing
			} else if sp, err := fs.space(c.ns); err == nil {
				(&teller{fs, sp, gone}).tell(c.Change)
			}
			fs.changes.told(c)
		}
	}
}

// removedDirs returns the inode numbers of the directories that changes remove: the names in
// them have to be forgotten too, by whoever stands there.
func removedDirs(queue []change) map[dbfs.NodeID]uint64 {
	gone := make(map[dbfs.NodeID]uint64)
	for _, c := range queue {
		if c.Before != nil && c.After == nil && c.Before.Kind.IsDir() {
			gone[c.Node] = c.Before.Ino
		}
	}
	return gone
}

// A teller tells the kernel of changes in one namespace.
type teller struct {
	fs   *FS
	sp   *space
	gone map[dbfs.NodeID]uint64 // directories that are gone: their inode numbers
}

func (t *teller) tell(c journal.Change) {
	defer t.linkChanged(c)
	switch before, after := c.Before, c.After; {
	case before == nil:
		t.appear(after)
	case after == nil:
		t.remove(before)
	default:
		if before.Parent != after.Parent || before.Name != after.Name || before.Ino != after.Ino {
			t.forgetName(before)
		}
		if after.Kind == dbfs.KindFile && !before.Content.Equal(after.Content) {
			t.newContent(before, after)
		} else {
			t.forgetAttr(before)
		}
		if before.Parent != after.Parent || before.Name != after.Name {
			t.forgetName(after)
		}
	}
}

// remove tells that a node is gone. Who has it open keeps it, as a ghost, which it is already.
func (t *teller) remove(n *dbfs.Node) {
	if f := t.fs.openFile(n.Ino); f != nil && f.is(n.ID) {
		f.detach(*n, false)
	}
	t.forgetName(n)
	if t.fs.server.InodeNotify(n.Ino, -1, 0) != fuse.OK { // it is not there to be forgotten later
		t.fs.Forget(n.Ino, 0)
	}
}

// appear tells that a node is there, for the first time or again.
func (t *teller) appear(n *dbfs.Node) {
	t.renew(n.Ino, n.ID)
	t.forgetName(n)
}

// newContent tells of new bytes. If the file is open with other ones, its handles keep the
// version they have, and the name gets a new inode.
func (t *teller) newContent(before, after *dbfs.Node) {
	t.await(after)
	if !t.renew(before.Ino, after.ID) {
		return
	}
	if f := t.fs.openFile(before.Ino); f != nil && f.is(before.ID) {
		f.detach(*before, false)
	}
	t.forgetName(after)
}

// renew makes the kernel ask for the attributes of a node anew; older bytes it drops when the
// file is opened. If the inode is open with other bytes than the node has now, they are for
// its handles to keep: then the node gets another inode, and renamed is true.
func (t *teller) renew(ino uint64, id dbfs.NodeID) (renamed bool) {
	t.fs.changes.tell(ino)
	defer t.fs.changes.tell(0)
	now, err := t.sp.journal.Node(id)
	f := t.fs.openFile(ino)
	switch {
	case err != nil: // gone again
		return false
	case now.Ino != ino:
		return true
	case f == nil || f.is(id) && f.isCurrent():
		// Who opened it may have told the kernel, which then has asked for the size. To be told once more while it asks makes
		// it throw the answer away, and go on with the size of before: readers of a file that has become shorter saw zeros.
		if f == nil || !f.isTold(now.Content) {
			t.fs.server.InodeNotify(ino, -1, 0)
		}
		return false
	}
	if _, err := t.sp.journal.NewInode(id); err != nil {
		t.fs.cfg.Log.Error("an open file shows a newer version than it was opened with", "node", id, "err", err)
	}
	return true
}

// forgetAttr makes the kernel ask for the attributes anew.
func (t *teller) forgetAttr(n *dbfs.Node) {
	t.await(n)
	t.fs.server.InodeNotify(n.Ino, -1, 0)
}

// await returns when the kernel has no LOOKUP and no READDIR under way in a node's directory,
// whose replies could otherwise come after what it is told now, and be believed for ever. It
// is the notification of a name that cannot be: all it does is take the directory's lock.
func (t *teller) await(n *dbfs.Node) {
	if dir, ok := t.dir(n); ok {
		t.fs.server.EntryNotify(dir, ".")
	}
}

// dir returns the inode number of the directory that a node is in.
func (t *teller) dir(n *dbfs.Node) (ino uint64, ok bool) {
	if ino, ok := t.gone[n.Parent]; ok {
		return ino, true
	}
	dir, err := t.sp.journal.Node(n.Parent)
	return dir.Ino, err == nil
}

// forgetName makes the kernel look a name up again, and the directory's listing with it.
func (t *teller) forgetName(n *dbfs.Node) {
	dir, ok := t.dir(n)
	if !ok {
		return // nobody can see it there
	}
	t.fs.dirChanged(dir)
	s := t.fs.server.EntryNotify(dir, n.Name)
	if s != fuse.OK && s != fuse.ENOENT {
		t.fs.cfg.Log.Warn("the kernel did not forget a name", "name", n.Name, "status", s)
	}
	t.fs.server.InodeNotify(dir, 0, 0)
	t.forgetLinks(n)
}

// follow lets open files of a node go on as the node that took their bytes or their place.
func (fs *FS) follow(sp *space, c journal.Change) {
	to, err := sp.journal.Node(c.Follow)
	if err != nil {
		return // gone again
	}
	for _, f := range fs.openFiles() {
		if f.at().ns != sp.ns {
			continue
		}
		news, err := f.followTo(c.Node, to)
		if err != nil {
			fs.cfg.Log.Error("an open file has lost its name", "node", c.Node, "now", c.Follow, "err", err)
		}
		fs.changes.add(sp.ns, news)
	}
}

// whereabouts returns, as changes for the kernel, where nodes are that an open file has left
// or become. What they are in may have come back with them.
func (fs *FS) whereabouts(sp *space, ids ...dbfs.NodeID) []journal.Change {
	var all []journal.Change
	for _, id := range ids {
		for id != dbfs.RootNode {
			n, err := sp.journal.Node(id)
			if err != nil {
				break
			}
			all = append(all, journal.Change{Node: id, After: &n, Remote: true})
			id = n.Parent
		}
	}
	return all
}
