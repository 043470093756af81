package fs

import (
	"context"

	"github.com/dbfs/dbfs"
)

// A new file that is renamed over an old one may become that one's next version (see
// journal.Move): what the kernel knows by an inode number is another node from one moment to
// the next. Who opens a file holds FS.opening from looking the number up until the file is
// on the list, where move finds it.

// sealBeforeSave records what has been written to a file that is renamed over another. Otherwise
// a crash before it is closed could leave neither the old bytes nor the new ones.
func (fs *FS) sealBeforeSave(n dbfs.Node) error {
	if f := fs.openFile(n.Ino); f != nil {
		return f.seal(context.Background())
	}
	return nil
}

// move runs a rename of a node in or to a namespace, over victim unless that is nil. In one moment the
// open file of the node, which rename is given locked, or nil, goes on as what the node has become, and
// that of victim loses its name: what is written to it is recorded before, or is nobody's business.
func (fs *FS) move(to *space, n dbfs.Node, victim *dbfs.Node, rename func(f *file) error) error {
	fs.opening.Lock()
	defer fs.opening.Unlock()
	f := fs.openFile(n.Ino)
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	var old *file
	if victim != nil {
		old = fs.openFile(victim.Ino)
	}
	if old != nil {
		old.mu.Lock()
		defer old.mu.Unlock()
	}
	if err := rename(f); err != nil {
		return err
	}
	if old != nil && !fs.goesOn(to, *victim) {
		old.detachLocked(*victim, true)
	}
	return nil
}
