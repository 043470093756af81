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
	serving bool           // somebody takes from the queue
	closed  bool
}

type change struct {
	ns dbfs.NamespaceID
	journal.Change
}

func newChanges() *changes {
	c := &changes{due: make(map[uint64]int)}
	c.moved = sync.NewCond(&c.mu)
	return c
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

// add waits while the queue is full and somebody takes from it.
func (c *changes) add(ns dbfs.NamespaceID, cs []journal.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) >= maxChanges && c.serving && !c.closed {
		c.moved.Wait()
	}
	if c.closed {
		return
	}
	for _, one := range cs {
		c.queue = append(c.queue, change{ns, one})
		if one.Before != nil {
			c.due[one.Before.Ino]++
		}
	}
	c.moved.Broadcast()
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
	if one.Before == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due[one.Before.Ino]--; c.due[one.Before.Ino] <= 0 {
		delete(c.due, one.Before.Ino)
	}
}

// untold reports whether the kernel does not know yet of a change to an inode.
func (c *changes) untold(ino uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.due[ino] > 0
}

// Changed hears from a journal which nodes look different now. Of other devices' changes the
// kernel is told soon after, by a goroutine of its own; only when that is far behind does
// Changed wait for it. The user's own edits the kernel knows.
func (fs *FS) Changed(ns dbfs.NamespaceID, cs []journal.Change) {
	var remote []journal.Change
	for _, c := range cs {
		if c.Remote {
			remote = append(remote, c)
		}
	}
	if len(remote) > 0 {
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
			if sp, err := fs.space(c.ns); err == nil {
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
	switch before, after := c.Before, c.After; {
	case c.Follow != (dbfs.NodeID{}):
		t.follow(c)
	case before == nil:
		t.forgetName(after)
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

// remove tells that a node is gone. Who has it open keeps it.
func (t *teller) remove(n *dbfs.Node) {
	if f := t.fs.openFile(n.Ino); f != nil && f.is(n.ID) {
		f.detach(*n, false)
	}
	t.fs.haunt(t.sp, *n)
	t.forgetName(n)
	if t.fs.server.InodeNotify(n.Ino, -1, 0) != fuse.OK { // it is not there to be forgotten later
		t.fs.Forget(n.Ino, 0)
	}
}

// newContent tells of new bytes. If the file is open with other ones, its handles keep the
// version they have, and the name gets a new inode.
func (t *teller) newContent(before, after *dbfs.Node) {
	f := t.fs.openFile(before.Ino)
	if f == nil || f.shows(after) {
		t.await(after)
		t.fs.server.InodeNotify(before.Ino, 0, 0)
		return
	}
	if f.is(before.ID) {
		f.detach(*before, false)
	}
	if _, err := t.sp.journal.NewInode(after.ID); err != nil {
		t.fs.cfg.Log.Error("an open file shows a newer version than it was opened with", "node", after.ID, "err", err)
	}
	t.forgetName(after)
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
}

// follow lets open files of a node go on as the node that took their bytes or their place.
func (t *teller) follow(c journal.Change) {
	to, err := t.sp.journal.Node(c.Follow)
	if err != nil {
		return // gone again
	}
	for _, f := range t.fs.openFiles() {
		if f.space.ns == t.sp.ns {
			f.followTo(c.Node, to)
		}
	}
}

// appeared tells the kernel of a node that sealing a file brought about or back: it asked for
// a write, not for a new name.
func (fs *FS) appeared(sp *space, n dbfs.Node) {
	told := []journal.Change{{Node: n.ID, After: &n, Remote: true}}
	for dir := n.Parent; dir != dbfs.RootNode; {
		d, err := sp.journal.Node(dir) // which may be back as well
		if err != nil {
			break
		}
		told = append(told, journal.Change{Node: d.ID, After: &d, Remote: true})
		dir = d.Parent
	}
	fs.Changed(sp.ns, told)
}
