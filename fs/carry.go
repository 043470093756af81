package fs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// A rename to another namespace makes another node of a file: journal/carry.go. The kernel moves the
// inode that it has, and so do the handles that are open.

// renameAway moves a file or symlink to another namespace. Directories, and what has several names,
// are for programs to copy: they do when they hear EXDEV.
func (fs *FS) renameAway(oldDir uint64, oldName string, newDir uint64, newName string, noReplace bool) error {
	from, inFrom, err := fs.findWritable(oldDir)
	if err != nil {
		return err
	}
	to, inTo, err := fs.findWritable(newDir)
	if err != nil {
		return err
	}
	n, err := from.journal.Child(inFrom.ID, oldName)
	if err != nil {
		return err
	}
	if n.Kind.IsDir() {
		return fmt.Errorf("move directory %q to another namespace: %w", oldName, syscall.EXDEV)
	}
	if err := fs.sealBeforeSave(n); err != nil {
		return err
	}
	var over *dbfs.Node
	if victim, err := to.journal.Child(inTo.ID, newName); err == nil {
		over = &victim
		fs.haunt(to, victim)
	}
	var now dbfs.Node
	err = fs.move(to, n, over, func(f *file) (err error) {
		now, err = from.journal.MoveOut(n.ID, to.journal, inTo.ID, newName, noReplace)
		if err == nil && f != nil && f.space == from && f.id == n.ID && f.own == nil {
			f.settleIn(to, now.ID)
		}
		return err
	})
	if over != nil && (err != nil || fs.goesOn(to, *over)) {
		fs.unhaunt(over.Ino)
	}
	if errors.Is(err, dbfs.ErrUnsupported) {
		return fmt.Errorf("%w: %v", syscall.EXDEV, err)
	}
	if err != nil {
		return err
	}
	fs.dirChanged(oldDir)
	fs.dirChanged(newDir)
	if left, err := from.journal.Node(n.ID); err == nil { // another device has changed it just now
		fs.changes.add(from.ns, []journal.Change{{Node: left.ID, After: &left, Remote: true}})
	}
	if !fs.changes.idle() {
		fs.changes.add(to.ns, fs.whereabouts(to, now.ID))
	}
	return nil
}

// settleIn lets the file go on in another namespace. What it reads and writes stays where it is:
// chunks are found by what they hold. Called with mu held.
func (f *file) settleIn(sp *space, id dbfs.NodeID) {
	if f.held {
		sp.journal.Hold(id)
		f.space.journal.Release(f.id)
	}
	if f.stand == (cache.File{}) && (f.draft != nil || f.body != nil) {
		f.stand = f.key()
	}
	f.space, f.id = sp, id
	f.promiseStray()
}
