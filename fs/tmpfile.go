package fs

import (
	"context"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// A file without a name (O_TMPFILE) is a ghost that never was anything else: an inode, an open file
// and a draft, of which the journal knows nothing. It goes with its last handle, or gets a name
// by linkat(2), and is recorded then with what has been written to it.

// Tmpfile makes a file without a name in a directory, and opens it.
func (fs *FS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	sp, n, err := fs.makeNameless(in)
	if err != nil {
		return fs.status(err)
	}
	fs.haunt(sp, n)
	n.Deleted = true
	f, fh, err := fs.open(sp, n, true)
	if err != nil {
		fs.unhaunt(n.Ino)
		return fs.status(err)
	}
	f.mu.Lock()
	f.own, f.deleted, f.nameless = &n, true, true
	f.mu.Unlock()
	f.fresh.Do(func() { f.pagesAre() }) // the kernel has none
	fs.entry(&n, &out.EntryOut)
	out.Fh = fh
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (fs *FS) makeNameless(in *fuse.CreateIn) (*space, dbfs.Node, error) {
	sp, dir, err := fs.findWritable(in.NodeId)
	if err == nil && dir.Deleted {
		err = dbfs.ErrNotExist
	}
	if err != nil {
		return nil, dir, err
	}
	what := journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid}}
	fs.inherit(dir, in.Umask, &what)
	take, err := fs.cfg.Inodes.Reserve(1)
	if err != nil {
		return nil, dir, err
	}
	now := fs.cfg.Clock()
	return sp, dbfs.Node{ID: dbfs.NewNodeID(now), Kind: what.Kind, Attr: what.Attr, CTime: now.UnixNano(), Ino: take()}, nil
}

// nameFirst gives a file that has none its first name.
func (fs *FS) nameFirst(f *file, dir dbfs.NodeID, name string) (dbfs.Node, error) {
	f.sealing.Lock()
	defer f.sealing.Unlock()
	f.mu.RLock()
	draft, nameless := f.draft, f.nameless
	f.mu.RUnlock()
	if !nameless {
		return dbfs.Node{}, fmt.Errorf("link to what has no name: %w", dbfs.ErrNotExist)
	}
	content := dbfs.Content{}
	if draft != nil {
		var err error
		if content, err = draft.Seal(context.Background()); err != nil {
			return dbfs.Node{}, fmt.Errorf("seal %s: %w", f.id, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	attr := f.own.Attr
	if draft != nil {
		attr.MTime = f.mtime
	}
	n, err := f.space.journal.Create(dir, name, journal.NewNode{ID: f.id, Kind: dbfs.KindFile, Attr: attr, Content: &content, Ino: f.ino, Held: f.writers > 0 && !f.held})
	if err != nil {
		return n, err
	}
	f.base, f.own, f.deleted, f.nameless = content, nil, false, false
	f.held = f.writers > 0
	f.notePages()
	f.fs.unhaunt(f.ino)
	return n, nil
}

// linkNameless gives the file behind an inode without a name its first one.
func (fs *FS) linkNameless(n dbfs.Node, dir dbfs.NodeID, name string) (dbfs.Node, error) {
	f := fs.openFile(n.Ino)
	if f == nil {
		return n, fmt.Errorf("link to what has no name: %w", syscall.ENOENT)
	}
	return fs.nameFirst(f, dir, name)
}
