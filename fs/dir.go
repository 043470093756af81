package fs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// create makes a node in a directory, as its maker's; a setgid directory hands its group on.
func (fs *FS) create(dirIno uint64, name string, umask uint32, what journal.NewNode) (*space, dbfs.Node, error) {
	sp, dir, err := fs.findWritable(dirIno)
	if err != nil {
		return nil, dir, err
	}
	fs.inherit(dir, umask, &what)
	n, err := sp.journal.Create(dir.ID, name, what)
	if err != nil {
		return nil, n, err
	}
	fs.dirChanged(dirIno)
	return sp, n, nil
}

// inherit completes the attributes of what is made in a directory.
func (fs *FS) inherit(dir dbfs.Node, umask uint32, what *journal.NewNode) {
	if dir.Attr.Mode&syscall.S_ISGID != 0 {
		what.Attr.GID = dir.Attr.GID
		if what.Kind == dbfs.KindDir {
			what.Attr.Mode |= syscall.S_ISGID
		}
	}
	if fs.cfg.ACL {
		inheritACL(dir, what, umask)
	}
	what.Attr.MTime = fs.cfg.Clock().UnixNano()
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.createEntry(in.NodeId, name, in.Umask, out, journal.NewNode{
		Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid},
	})
}

// Symlink makes a symlink.
func (fs *FS) Symlink(cancel <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.createEntry(header.NodeId, name, 0, out, journal.NewNode{
		Kind: dbfs.KindSymlink, Target: target, Attr: dbfs.Attr{Mode: 0o777, UID: header.Uid, GID: header.Gid},
	})
}

// Mknod makes an empty file, a pipe, a socket or, for root, a device. Of the last three there is the
// node only: what is behind it is a matter of the machine that opens it.
func (fs *FS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	what := journal.NewNode{Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid}}
	switch in.Mode & syscall.S_IFMT {
	case syscall.S_IFREG, 0:
		what.Kind = dbfs.KindFile
	case syscall.S_IFIFO:
		what.Kind = dbfs.KindFifo
	case syscall.S_IFSOCK:
		what.Kind = dbfs.KindSocket
	case syscall.S_IFCHR:
		what.Kind, what.Device = dbfs.KindCharDev, in.Rdev
	case syscall.S_IFBLK:
		what.Kind, what.Device = dbfs.KindBlockDev, in.Rdev
	default:
		return fuse.EINVAL
	}
	if what.Kind.IsDevice() && in.Uid != 0 { // the kernel asks for CAP_MKNOD, which a container's root may have
		return fuse.EPERM
	}
	return fs.createEntry(in.NodeId, name, in.Umask, out, what)
}

func (fs *FS) createEntry(dirIno uint64, name string, umask uint32, out *fuse.EntryOut, what journal.NewNode) fuse.Status {
	_, n, err := fs.create(dirIno, name, umask, what)
	if err != nil {
		return fs.status(err)
	}
	fs.entry(&n, out)
	return fuse.OK
}

// Unlink removes a file or symlink. Its open handles go on.
func (fs *FS) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.status(fs.remove(header.NodeId, name, (*journal.Journal).Delete))
}

// Rmdir removes an empty directory.
func (fs *FS) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.status(fs.remove(header.NodeId, name, (*journal.Journal).RemoveDir))
}

func (fs *FS) remove(dirIno uint64, name string, remove func(*journal.Journal, dbfs.NodeID) error) error {
	sp, dir, err := fs.findWritable(dirIno)
	if err != nil {
		return err
	}
	n, err := sp.journal.Child(dir.ID, name)
	if err != nil {
		return err
	}
	fs.haunt(sp, n)
	if err := remove(sp.journal, n.ID); err != nil {
		fs.unhaunt(n.Ino)
		return err
	}
	if fs.goesOn(sp, n) {
		fs.unhaunt(n.Ino)
	} else {
		fs.removed(n)
	}
	fs.dirChanged(dirIno)
	if n.Name != name {
		fs.misspelled(sp, dirIno, n.Name)
	}
	return nil
}

// removed tells the open file, if there is one, that its name is gone.
func (fs *FS) removed(n dbfs.Node) {
	if f := fs.openFile(n.Ino); f != nil {
		f.detach(n, true)
	}
}

// Rename moves a node, over what stands at the new place if need be, or lets two change places.
func (fs *FS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	switch in.Flags {
	case 0, unix.RENAME_NOREPLACE:
		return fs.status(fs.rename(in.NodeId, oldName, in.Newdir, newName, in.Flags != 0))
	case unix.RENAME_EXCHANGE:
		return fs.status(fs.exchange(in.NodeId, oldName, in.Newdir, newName))
	}
	return fuse.EINVAL
}

// findBoth returns two directories of one namespace that may be written to.
func (fs *FS) findBoth(a, b uint64) (sp *space, dirA, dirB dbfs.Node, err error) {
	sp, dirA, err = fs.find(a)
	if err != nil {
		return nil, dirA, dirB, err
	}
	other, dirB, err := fs.find(b)
	switch {
	case err != nil:
	case sp.ns != other.ns:
		err = fmt.Errorf("between namespaces: %w", syscall.EXDEV)
	default:
		err = sp.mayWrite()
	}
	return sp, dirA, dirB, err
}

func (fs *FS) exchange(dirA uint64, nameA string, dirB uint64, nameB string) error {
	sp, inA, inB, err := fs.findBoth(dirA, dirB)
	if err != nil {
		return err
	}
	a, err := sp.journal.Child(inA.ID, nameA)
	if err != nil {
		return err
	}
	b, err := sp.journal.Child(inB.ID, nameB)
	if err != nil {
		return err
	}
	if err := sp.journal.Exchange(a.ID, b.ID); err != nil {
		return err
	}
	fs.moved(sp, dirA, dirB, a.ID, b.ID)
	if a.Name != nameA || b.Name != nameB {
		fs.misspelled(sp, dirA, a.Name, nameA)
		fs.misspelled(sp, dirB, b.Name, nameB)
	}
	return nil
}

// moved tells what follows from a rename that the kernel has asked for.
func (fs *FS) moved(sp *space, oldDir, newDir uint64, nodes ...dbfs.NodeID) {
	fs.dirChanged(oldDir)
	fs.dirChanged(newDir)
	if !fs.changes.idle() {
		// The kernel may have meant another node by the name, and would believe that it is
		// that one which has moved.
		fs.changes.add(sp.ns, fs.whereabouts(sp, nodes...))
	}
}

func (fs *FS) rename(oldDir uint64, oldName string, newDir uint64, newName string, noReplace bool) error {
	sp, from, to, err := fs.findBoth(oldDir, newDir)
	if errors.Is(err, syscall.EXDEV) {
		return fs.renameAway(oldDir, oldName, newDir, newName, noReplace)
	}
	if err != nil {
		return err
	}
	n, err := sp.journal.Child(from.ID, oldName)
	if err != nil {
		return err
	}
	var over *dbfs.Node
	if victim, err := sp.journal.Child(to.ID, newName); err == nil && victim.ID != n.ID {
		if err := fs.sealBeforeSave(n); err != nil {
			return err
		}
		over = &victim
		fs.haunt(sp, victim)
	}
	now := n.ID
	err = fs.move(sp, n, over, func(f *file) (err error) {
		if now, err = sp.journal.Move(n.ID, to.ID, newName, noReplace); err == nil && f != nil && f.id == n.ID && now != n.ID {
			f.id = now
			f.promiseStray()
		}
		return err
	})
	if err != nil {
		if over != nil {
			fs.unhaunt(over.Ino)
		}
		return err
	}
	if over != nil && fs.goesOn(sp, *over) {
		fs.unhaunt(over.Ino)
	}
	fs.moved(sp, oldDir, newDir, now)
	if n.Name != oldName {
		fs.misspelled(sp, oldDir, n.Name)
	}
	if over != nil && over.Name != newName {
		fs.misspelled(sp, newDir, over.Name, newName)
	}
	return nil
}
