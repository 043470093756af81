package fs

import (
	"errors"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// A ghost is a node that was removed while the kernel has its inode: somebody may have it
// open, or stand in it, or be about to open it. It is as it was, without a name, until the
// kernel forgets the inode; only then do its bytes go.
type ghost struct {
	space *space
	node  dbfs.Node
}

// haunt keeps a node that is about to be removed. It comes before the removal, so that
// nobody finds neither; it changes nothing for a node that stays.
func (fs *FS) haunt(sp *space, n dbfs.Node) {
	n.Deleted = true
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.ghosts[n.Ino] = ghost{sp, n}
}

// unhaunt takes a ghost back: its node was not removed, or the kernel does not have it.
func (fs *FS) unhaunt(ino uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.ghosts, ino)
}

// ghost returns the node that an inode was, if it is gone and not forgotten.
func (fs *FS) ghost(ino uint64) (*space, dbfs.Node, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	g, ok := fs.ghosts[ino]
	return g.space, g.node, ok
}

// setGhostAttr changes attributes that only those can see who hold on to what is gone.
func (fs *FS) setGhostAttr(ino uint64, mask dbfs.AttrMask, attr dbfs.Attr) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if g, ok := fs.ghosts[ino]; ok {
		g.node.Attr.Set(mask, attr)
		fs.ghosts[ino] = g
	}
}

// Forget says that the kernel has dropped an inode. Nothing is remembered but of ghosts.
func (fs *FS) Forget(ino, lookups uint64) {
	fs.mu.Lock()
	g, ok := fs.ghosts[ino]
	delete(fs.ghosts, ino)
	fs.mu.Unlock()
	if ok {
		fs.forget(g.space, g.node)
	}
}

// forget drops the bytes of a node that is gone, unless it has come back.
func (fs *FS) forget(sp *space, n dbfs.Node) {
	if n.Kind != dbfs.KindFile {
		return
	}
	if _, err := sp.journal.Node(n.ID); !errors.Is(err, dbfs.ErrNotExist) {
		return
	}
	if err := fs.cfg.Cache.Forget(cache.File{NS: sp.ns, Node: n.ID}); err != nil {
		fs.cfg.Log.Warn("bytes of a deleted file stay in the cache", "node", n.ID, "err", err)
	}
}

// forgetGhosts drops the bytes of all of them, when there is no kernel to say so.
func (fs *FS) forgetGhosts() {
	fs.mu.Lock()
	ghosts := fs.ghosts
	fs.ghosts = make(map[uint64]ghost)
	fs.mu.Unlock()
	for _, g := range ghosts {
		fs.forget(g.space, g.node)
	}
}
