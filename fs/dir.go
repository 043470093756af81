package fs

import (
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// create makes a node in a directory, as its maker's; a setgid directory hands its group on.
func (fs *FS) create(dirIno uint64, name string, what journal.NewNode) (*space, dbfs.Node, error) {
	sp, dir, err := fs.find(dirIno)
	if err != nil {
		return nil, dir, err
	}
	if err := sp.mayWrite(); err != nil {
		return nil, dir, err
	}
	if dir.Attr.Mode&syscall.S_ISGID != 0 {
		what.Attr.GID = dir.Attr.GID
		if what.Kind == dbfs.KindDir {
			what.Attr.Mode |= syscall.S_ISGID
		}
	}
	what.Attr.MTime = fs.cfg.Clock().UnixNano()
	n, err := sp.journal.Create(dir.ID, name, what)
	if err != nil {
		return nil, n, err
	}
	fs.dirChanged(dirIno)
	return sp, n, nil
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.createEntry(in.NodeId, name, out, journal.NewNode{
		Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid},
	})
}

// Symlink makes a symlink.
func (fs *FS) Symlink(cancel <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.createEntry(header.NodeId, name, out, journal.NewNode{
		Kind: dbfs.KindSymlink, Target: target, Attr: dbfs.Attr{Mode: 0o777, UID: header.Uid, GID: header.Gid},
	})
}

// Mknod makes an empty file. Devices, sockets and pipes have no place in a synced tree.
func (fs *FS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.EPERM
	}
	return fs.createEntry(in.NodeId, name, out, journal.NewNode{
		Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid},
	})
}

func (fs *FS) createEntry(dirIno uint64, name string, out *fuse.EntryOut, what journal.NewNode) fuse.Status {
	_, n, err := fs.create(dirIno, name, what)
	if err != nil {
		return fs.status(err)
	}
	fs.entry(&n, out)
	return fuse.OK
}

// Link is refused: a file has one name.
func (fs *FS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
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
	sp, dir, err := fs.find(dirIno)
	if err != nil {
		return err
	}
	if err := sp.mayWrite(); err != nil {
		return err
	}
	n, err := sp.journal.Child(dir.ID, name)
	if err != nil {
		return err
	}
	if err := remove(sp.journal, n.ID); err != nil {
		return err
	}
	fs.removed(sp, n)
	fs.dirChanged(dirIno)
	return nil
}

// removed tells the open file, if there is one, that its name is gone; else its bytes go.
func (fs *FS) removed(sp *space, n dbfs.Node) {
	if f := fs.openFile(n.Ino); f != nil {
		f.detach(n, true)
	} else if n.Kind == dbfs.KindFile {
		fs.forget(sp, n.ID)
	}
}

// forget drops the bytes of a node that is gone.
func (fs *FS) forget(sp *space, id dbfs.NodeID) {
	if err := fs.cfg.Cache.Forget(cache.File{NS: sp.ns, Node: id}); err != nil {
		fs.cfg.Log.Warn("bytes of a deleted file stay in the cache", "node", id, "err", err)
	}
}

// Rename moves a node, over what stands at the new place if need be.
func (fs *FS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if in.Flags&^renameNoReplace != 0 {
		return fuse.EINVAL
	}
	return fs.status(fs.rename(in.NodeId, oldName, in.Newdir, newName, in.Flags&renameNoReplace != 0))
}

const renameNoReplace = 1 // as in linux/fs.h

func (fs *FS) rename(oldDir uint64, oldName string, newDir uint64, newName string, noReplace bool) error {
	sp, from, err := fs.find(oldDir)
	if err != nil {
		return err
	}
	other, to, err := fs.find(newDir)
	if err != nil {
		return err
	}
	if sp.ns != other.ns {
		return fmt.Errorf("between namespaces: %w", syscall.EXDEV)
	}
	if err := sp.mayWrite(); err != nil {
		return err
	}
	n, err := sp.journal.Child(from.ID, oldName)
	if err != nil {
		return err
	}
	victim, err := sp.journal.Child(to.ID, newName)
	replaces := err == nil && victim.ID != n.ID
	if err := sp.journal.Move(n.ID, to.ID, newName, noReplace); err != nil {
		return err
	}
	if replaces {
		fs.removed(sp, victim)
	}
	fs.dirChanged(oldDir)
	fs.dirChanged(newDir)
	return nil
}

// A listing is what an open directory held when it was first read: a snapshot, so that
// positions in it stay true however long a reader takes.
type listing struct {
	fs    *FS
	space *space
	dir   dbfs.Node
	ino   uint64
	nodes []dbfs.Node
	read  bool
}

// OpenDir opens a directory. The kernel keeps what it reads of it.
func (fs *FS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	sp, dir, err := fs.find(in.NodeId)
	if err != nil {
		return fs.status(err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out.Fh = fs.newHandle(&handle{dir: &listing{fs: fs, space: sp, dir: dir, ino: in.NodeId}})
	out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// ReadDir lists names.
func (fs *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(in, func(e fuse.DirEntry, n *dbfs.Node) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names with their attributes.
func (fs *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(in, func(e fuse.DirEntry, n *dbfs.Node) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if n != nil {
			shown := fs.live(*n)
			fs.entry(&shown, entry)
		}
		return true
	})
}

func (fs *FS) list(in *fuse.ReadIn, add func(e fuse.DirEntry, n *dbfs.Node) bool) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.dir == nil {
		return fuse.EBADF
	}
	l := h.dir
	if !l.read || in.Offset == 0 {
		if err := l.fill(); err != nil {
			return fs.status(err)
		}
	}
	for i := in.Offset; i < uint64(len(l.nodes))+2; i++ {
		e := fuse.DirEntry{Mode: syscall.S_IFDIR, Ino: l.ino, Off: i + 1}
		var n *dbfs.Node
		switch i {
		case 0:
			e.Name = "."
		case 1:
			e.Name = ".."
			e.Ino = fuse.FUSE_UNKNOWN_INO
		default:
			n = &l.nodes[i-2]
			e.Name, e.Ino, e.Mode = n.Name, n.Ino, fileType(n.Kind)
			if n.Kind == dbfs.KindMount {
				// What it shows is another inode; LOOKUP tells which.
				n, e.Ino = nil, fuse.FUSE_UNKNOWN_INO
			}
		}
		if !add(e, n) {
			break
		}
	}
	return fuse.OK
}

func (l *listing) fill() error {
	l.nodes, l.read = nil, true
	if l.dir.Deleted {
		return nil
	}
	nodes, err := l.space.journal.Children(l.dir.ID)
	if err != nil {
		return err
	}
	l.nodes = nodes
	return nil
}

func fileType(k dbfs.Kind) uint32 {
	switch k {
	case dbfs.KindDir, dbfs.KindMount:
		return syscall.S_IFDIR
	case dbfs.KindSymlink:
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}

// ReleaseDir closes a directory.
func (fs *FS) ReleaseDir(in *fuse.ReleaseIn) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.handles, in.Fh)
}

// FsyncDir makes every edit of the namespace survive a loss of power.
func (fs *FS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.dir == nil {
		return fuse.EBADF
	}
	return fs.status(h.dir.space.journal.Sync())
}
