package fs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// changes is the queue between the journals and the goroutine that tells the kernel. Its
// length is bounded by what one page of the log brings: the pull that fills it waits.
type changes struct {
	mu     sync.Mutex
	more   *sync.Cond
	queue  []change
	closed bool
}

type change struct {
	ns dbfs.NamespaceID
	journal.Change
}

func newChanges() *changes {
	c := &changes{}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *changes) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.more.Broadcast()
}

func (c *changes) take() ([]change, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.closed {
		c.more.Wait()
	}
	q := c.queue
	c.queue = nil
	return q, len(q) > 0
}

// Changed hears from a journal which nodes look different now. It only queues; the kernel is
// told soon after by a goroutine of its own.
func (fs *FS) Changed(ns dbfs.NamespaceID, cs []journal.Change) {
	fs.changes.mu.Lock()
	defer fs.changes.mu.Unlock()
	for _, c := range cs {
		if c.Remote {
			fs.changes.queue = append(fs.changes.queue, change{ns, c})
		}
	}
	fs.changes.more.Signal()
}

// invalidate tells the kernel what other devices changed, one thing after the other. A
// notification can wait for a request that the kernel has under way, so no lock is held.
func (fs *FS) invalidate() {
	for {
		queue, ok := fs.changes.take()
		if !ok {
			return
		}
		for _, c := range queue {
			sp, err := fs.space(c.ns)
			if err == nil {
				fs.tell(sp, c.Change)
			}
		}
	}
}

func (fs *FS) tell(sp *space, c journal.Change) {
	if c.Follow != (dbfs.NodeID{}) {
		fs.follow(sp, c)
		return
	}
	before, after := c.Before, c.After
	if before != nil && (after == nil || before.Parent != after.Parent || before.Name != after.Name || before.Ino != after.Ino) {
		fs.forgetName(sp, before)
	}
	if before != nil {
		fs.tellFile(sp, before, after)
	}
	if after != nil && (before == nil || before.Parent != after.Parent || before.Name != after.Name) {
		fs.forgetName(sp, after)
	}
	if after == nil && before.Kind == dbfs.KindFile && fs.openFile(before.Ino) == nil {
		fs.forget(sp, c.Node)
	}
}

// tellFile tells of new bytes or attributes. If the file is open, its handles keep the
// version they have, and the name gets a new inode.
func (fs *FS) tellFile(sp *space, before, after *dbfs.Node) {
	f := fs.openFile(before.Ino)
	switch {
	case after == nil:
		if f != nil && f.is(before.ID) {
			f.detach(*before, false)
		}
	case after.Kind == dbfs.KindFile && !before.Content.Equal(after.Content):
		if f == nil {
			fs.server.InodeNotify(before.Ino, 0, 0)
			return
		}
		if f.is(before.ID) {
			f.detach(*before, false)
		}
		if _, err := sp.journal.NewInode(after.ID); err != nil {
			fs.cfg.Log.Error("an open file shows a newer version than it was opened with", "node", after.ID, "err", err)
		}
		fs.forgetName(sp, after)
	default:
		fs.server.InodeNotify(before.Ino, -1, 0)
	}
}

// is reports whether the file's handles stand for that node.
func (f *file) is(id dbfs.NodeID) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.id == id
}

// follow lets open files of a node go on as the node that took their bytes or their place.
func (fs *FS) follow(sp *space, c journal.Change) {
	fs.mu.Lock()
	var open []*file
	for _, f := range fs.files {
		if f.space.ns == sp.ns {
			open = append(open, f)
		}
	}
	fs.mu.Unlock()
	to, err := sp.journal.Node(c.Follow)
	if err != nil {
		return // gone again
	}
	for _, f := range open {
		f.mu.Lock()
		// A conflicted copy has the bytes of who wrote; readers keep the version they opened. A
		// node that was adopted is the same inode, for everybody.
		if f.id == c.Node && (f.draft != nil || to.Ino == f.ino) {
			f.follow(c.Follow)
		}
		f.mu.Unlock()
	}
}

// forgetName makes the kernel look a name up again, and the directory's listing with it.
func (fs *FS) forgetName(sp *space, n *dbfs.Node) {
	dir, err := sp.journal.Node(n.Parent)
	if err != nil {
		return // gone with everything in it
	}
	fs.dirChanged(dir.Ino)
	if s := fs.server.EntryNotify(dir.Ino, n.Name); s != fuse.OK && s != fuse.ENOENT {
		fs.cfg.Log.Warn("the kernel did not forget a name", "name", n.Name, "status", s)
	}
	fs.server.InodeNotify(dir.Ino, 0, 0)
}
