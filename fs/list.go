package fs

import (
	"errors"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// A listing is the names that an open directory held when it was read from its beginning: a
// snapshot, so that positions in it stay true however long a reader takes. What the names
// lead to is looked up as it is told, since the kernel believes attributes for ever.
type listing struct {
	space *space
	dir   dbfs.Node
	ino   uint64

	mu    sync.Mutex // guards what follows: a descriptor may be read by several threads
	names []journal.Name
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
	out.Fh = fs.newHandle(&handle{dir: &listing{space: sp, dir: dir, ino: in.NodeId}})
	out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// ReadDir lists names.
func (fs *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(in, func(e fuse.DirEntry, n *listed) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names with their attributes.
func (fs *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.list(in, func(e fuse.DirEntry, n *listed) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if n != nil {
			shown := fs.live(n.space, n.Node, n.asOf)
			fs.entry(&shown, entry)
			if isAlias(in.NodeId) || n.space.portable() && fs.aliases.has(n.space, &n.Node) {
				entry.EntryValid = 0
			}
		}
		return true
	})
}

// listed is a node that a name leads to, or led to at a moment.
type listed struct {
	dbfs.Node
	space *space
	asOf  moment
}

// list tells entries from a position on until add says that no more fit. The position of
// an entry is its number in the listing, after "." and "..".
func (fs *FS) list(in *fuse.ReadIn, add func(e fuse.DirEntry, n *listed) bool) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.dir == nil {
		return fuse.EBADF
	}
	l := h.dir
	names, err := l.from(in.Offset)
	if err != nil {
		return fs.status(err)
	}
	at := in.Offset
	for ; at < dots; at++ {
		if !add(l.dot(at), nil) {
			return fuse.OK
		}
	}
	for len(names) > 0 {
		some := names[:min(len(names), listRun)]
		names = names[len(some):]
		asOf := fs.moment()
		nodes, err := l.space.journal.Named(l.dir.ID, some)
		if err != nil {
			return fs.status(err)
		}
		for i := range nodes {
			at++
			name := nodes[i].Name
			if nodes[i].Kind == dbfs.KindLink {
				if _, nodes[i], err = fs.shown(l.space, nodes[i]); errors.Is(err, dbfs.ErrNotExist) {
					continue // gone just now
				} else if err != nil {
					return fs.status(err)
				}
			}
			if nodes[i].Ino != 0 && !addNode(name, &listed{nodes[i], l.space, asOf}, at, add) {
				return fuse.OK
			}
		}
	}
	return fuse.OK
}

const (
	dots    = 2  // "." and ".."
	listRun = 32 // names that are looked up together: about what the kernel asks for at a time
)

// from returns the names from a position on. At the beginning they are read anew.
func (l *listing) from(pos uint64) ([]journal.Name, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.read || pos == 0 {
		l.names, l.read = nil, true
		if !l.dir.Deleted {
			names, err := l.space.journal.Names(l.dir.ID)
			if err != nil {
				return nil, err
			}
			l.names = names
		}
	}
	skip := max(pos, dots) - dots
	return l.names[min(skip, uint64(len(l.names))):], nil
}

func (l *listing) dot(at uint64) fuse.DirEntry {
	if at == 0 {
		return fuse.DirEntry{Name: ".", Mode: syscall.S_IFDIR, Ino: l.ino, Off: 1}
	}
	return fuse.DirEntry{Name: "..", Mode: syscall.S_IFDIR, Ino: fuse.FUSE_UNKNOWN_INO, Off: dots}
}

// addNode adds the entry of a node; off is the position after it.
func addNode(name string, n *listed, at uint64, add func(e fuse.DirEntry, n *listed) bool) bool {
	e := fuse.DirEntry{Name: name, Mode: fileType(n.Kind), Ino: n.Ino, Off: at}
	if n.Kind == dbfs.KindMount {
		// What it shows is another inode; LOOKUP tells which.
		n, e.Ino = nil, fuse.FUSE_UNKNOWN_INO
	}
	return add(e, n)
}

func fileType(k dbfs.Kind) uint32 {
	switch k {
	case dbfs.KindDir, dbfs.KindMount:
		return syscall.S_IFDIR
	case dbfs.KindSymlink:
		return syscall.S_IFLNK
	case dbfs.KindFifo:
		return syscall.S_IFIFO
	case dbfs.KindSocket:
		return syscall.S_IFSOCK
	case dbfs.KindCharDev:
		return syscall.S_IFCHR
	case dbfs.KindBlockDev:
		return syscall.S_IFBLK
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
