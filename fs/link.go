package fs

import (
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// A hard link is a node that is a name only (see journal.Link). The kernel never hears of it: its
// name leads to the inode of the file, which has all else.

// Link gives a file one more name.
func (fs *FS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	asOf := fs.moment()
	sp, n, err := fs.link(in.Oldnodeid, in.NodeId, name)
	if err != nil {
		return fs.status(err)
	}
	n = fs.live(sp, n, asOf)
	fs.entry(&n, out)
	return fuse.OK
}

func (fs *FS) link(ino, dirIno uint64, name string) (*space, dbfs.Node, error) {
	sp, dir, err := fs.find(dirIno)
	if err != nil {
		return sp, dir, err
	}
	other, n, err := fs.find(ino)
	switch {
	case err != nil:
		return sp, n, err
	case sp.ns != other.ns:
		return sp, n, fmt.Errorf("between namespaces: %w", syscall.EXDEV)
	}
	if err := sp.mayWrite(); err != nil {
		return sp, n, err
	}
	if n.Deleted {
		n, err = fs.linkNameless(n, dir.ID, name)
	} else {
		n, err = sp.journal.Link(n.ID, dir.ID, name)
	}
	if err != nil {
		return sp, n, err
	}
	fs.dirChanged(dirIno)
	return sp, n, nil
}

// goesOn reports whether a node whose name has been taken away is still there, under another one.
func (fs *FS) goesOn(sp *space, n dbfs.Node) bool {
	if n.Kind == dbfs.KindLink {
		return false
	}
	now, err := sp.journal.Node(n.ID)
	return err == nil && now.Ino == n.Ino && len(n.Links) > 0
}

// forgetLinks makes the kernel look up the other names of a node, too.
func (t *teller) forgetLinks(n *dbfs.Node) {
	for _, id := range n.Links {
		if link, err := t.sp.journal.Node(id); err == nil {
			t.forgetName(&link)
		}
	}
}

// linkChanged makes the kernel ask how many names a node has that has got or lost one.
func (t *teller) linkChanged(c journal.Change) {
	for _, link := range []*dbfs.Node{c.Before, c.After} {
		if link == nil || link.Kind != dbfs.KindLink {
			continue
		}
		if n, err := t.sp.journal.Node(link.Link); err == nil {
			t.fs.server.InodeNotify(n.Ino, -1, 0)
		}
	}
}
