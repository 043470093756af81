package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// forever is how long the kernel may believe what it is told: until it is told otherwise.
const forever = 1 << 31 // seconds

// find returns the namespace and the node that an inode number leads to. An open file is
// found as its handles see it, also when its name is gone.
func (fs *FS) find(ino uint64) (*space, dbfs.Node, error) {
	fs.mu.Lock()
	f := fs.files[ino]
	fs.mu.Unlock()
	if f != nil {
		return f.look()
	}
	sp, n, err := fs.nodeOf(ino)
	if errors.Is(err, dbfs.ErrNotExist) { // perhaps it has become another node just now
		sp, n, err = fs.nodeOf(ino)
	}
	return sp, n, stale(err)
}

// findWritable is find, in a namespace that may be written to.
func (fs *FS) findWritable(ino uint64) (*space, dbfs.Node, error) {
	sp, n, err := fs.find(ino)
	if err == nil {
		err = sp.mayWrite()
	}
	return sp, n, err
}

// inoPlace is where an inode number led. It is a hint: the number can have come to mean another node
// since, and then the node that it meant has another number.
type inoPlace struct {
	ns dbfs.NamespaceID
	id dbfs.NodeID
}

const maxInos = 4096 // used last that are remembered, and as many before

// nodeOf returns the node that the database knows by an inode number, or its ghost.
func (fs *FS) nodeOf(ino uint64) (*space, dbfs.Node, error) {
	if at, ok := fs.inos.Get(ino); ok {
		if sp, err := fs.space(at.ns); err == nil {
			if n, err := sp.journal.Node(at.id); err == nil && n.Ino == ino {
				return sp, n, nil
			}
		}
	}
	ns, id := fs.cfg.Root, dbfs.RootNode
	if ino != cache.RootInode {
		err := fs.cfg.KV.View(func(txn dbfs.Txn) (err error) {
			ns, id, err = fs.cfg.Inodes.Lookup(txn, ino)
			return err
		})
		if err != nil {
			return nil, dbfs.Node{}, err
		}
	}
	sp, err := fs.space(ns)
	if err != nil {
		return nil, dbfs.Node{}, err
	}
	n, err := sp.journal.Node(id)
	elsewhere := err == nil && n.Ino != ino // it goes on under another number
	if elsewhere || errors.Is(err, dbfs.ErrNotExist) {
		if sp, n, ok := fs.ghost(ino); ok {
			return sp, n, nil
		}
	}
	if elsewhere {
		return nil, n, syscall.ESTALE
	}
	if err == nil {
		fs.inos.Keep(ino, inoPlace{ns, id})
	}
	return sp, n, err
}

// stale says ESTALE of an inode that the kernel has and that is gone: the name it came from
// has to be looked up again.
func stale(err error) error {
	if errors.Is(err, dbfs.ErrNotExist) {
		return syscall.ESTALE
	}
	return err
}

// shown returns what stands at a node's place: for a mount, the root of the other namespace, and
// for a link what it is a name of.
func (fs *FS) shown(sp *space, n dbfs.Node) (*space, dbfs.Node, error) {
	switch n.Kind {
	case dbfs.KindLink:
		n, err := sp.journal.Node(n.Link)
		return sp, n, err
	case dbfs.KindMount:
	default:
		return sp, n, nil
	}
	other, err := fs.space(n.Mount)
	if err != nil {
		return nil, n, err
	}
	root, err := other.journal.Node(dbfs.RootNode)
	return other, root, err
}

// entry fills in a reply that names a node.
func (fs *FS) entry(n *dbfs.Node, out *fuse.EntryOut) {
	out.NodeId = n.Ino
	out.Generation = 1
	out.EntryValid, out.AttrValid = forever, forever
	fs.attr(n, &out.Attr)
}

const blockSize = 4096

// attr fills in what stat shows of a node.
func (fs *FS) attr(n *dbfs.Node, out *fuse.Attr) {
	*out = fuse.Attr{Ino: n.Ino, Mode: n.Attr.Mode &^ syscall.S_IFMT, Nlink: 1 + uint32(len(n.Links)), Blksize: blockSize}
	mtime := n.Attr.MTime
	if n.IsRoot() && mtime == 0 { // nobody has set it
		mtime = fs.since
	}
	switch n.Kind {
	case dbfs.KindDir, dbfs.KindMount:
		out.Mode |= syscall.S_IFDIR
		out.Nlink = 2
		out.Size = blockSize
		if changed, ok := fs.dirTimes.of(n.Ino); ok {
			mtime = max(mtime, changed)
		}
	case dbfs.KindSymlink:
		out.Mode |= syscall.S_IFLNK
		out.Size = uint64(len(n.Target))
	case dbfs.KindFifo, dbfs.KindSocket, dbfs.KindCharDev, dbfs.KindBlockDev:
		out.Mode |= fileType(n.Kind)
		out.Rdev = n.Device
	default:
		out.Mode |= syscall.S_IFREG
		out.Size = uint64(n.Content.Size)
		out.Blocks = blocks(n.Content)
	}
	if n.Deleted {
		out.Nlink = 0
	}
	if out.Uid, out.Gid = n.Attr.UID, n.Attr.GID; !fs.cfg.Preserve {
		out.Uid, out.Gid = fs.cfg.UID, fs.cfg.GID
	}
	ctime := max(n.CTime, mtime)
	out.Mtime, out.Mtimensec = split(mtime)
	out.Atime, out.Atimensec = out.Mtime, out.Mtimensec
	out.Ctime, out.Ctimensec = split(ctime)
}

// blocks returns how many blocks of 512 bytes a file fills: those of its chunks that are
// not zeros, or all of it while somebody writes to it.
func blocks(c dbfs.Content) uint64 {
	if c.Chunks.IsZero() {
		return uint64(c.Size+511) / 512
	}
	sum := 0
	for i := range c.Chunks.All() {
		sum += (dbfs.ChunkLen(c.Size, i) + 511) / 512
	}
	return uint64(sum)
}

// split cuts nanoseconds into the two fields of a stat, rounding down before 1970 too.
func split(ns int64) (sec uint64, nsec uint32) {
	s := ns / 1e9
	if r := ns % 1e9; r < 0 {
		s--
		nsec = uint32(r + 1e9)
	} else {
		nsec = uint32(r)
	}
	return uint64(s), nsec
}

func (fs *FS) dirChanged(ino uint64) { fs.dirTimes.set(ino, fs.cfg.Clock().UnixNano()) }

// Lookup finds a name in a directory. That there is none is an answer too, and kept, unless
// another spelling of it may come.
func (fs *FS) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	sp, dir, err := fs.find(header.NodeId)
	if err != nil {
		return fs.status(err)
	}
	stored, n, err := fs.child(sp, dir, name)
	if errors.Is(err, dbfs.ErrNotExist) && !sp.portable() {
		*out = fuse.EntryOut{EntryValid: forever}
		return fuse.OK
	}
	if err != nil {
		return fs.status(err)
	}
	fs.entry(&n, out)
	if sp.portable() {
		fs.spell(sp, &stored, &n, name, header, out)
	}
	return fuse.OK
}

// child returns what stands under a name, and what it leads to, as its open handles see it.
func (fs *FS) child(sp *space, dir dbfs.Node, name string) (stored, n dbfs.Node, err error) {
	if len(name) > dbfs.MaxName {
		return stored, n, dbfs.ErrNameTooLong
	}
	asOf := fs.moment()
	if stored, err = sp.journal.Child(dir.ID, name); err != nil {
		return stored, n, err
	}
	if sp, n, err = fs.shown(sp, stored); err != nil {
		return stored, n, err
	}
	return stored, fs.live(sp, n, asOf), nil
}

// A moment is how many files had been closed by then.
type moment uint64

func (fs *FS) moment() moment {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.closings
}

// live returns a node that the journal had at a moment with the size and time that a writer has given
// it: one that has it open now, or one that had it open at that moment and has closed it since. The size
// of before the kernel would believe, and cut off the bytes that it has been written.
func (fs *FS) live(sp *space, n dbfs.Node, asOf moment) dbfs.Node {
	if n.Kind != dbfs.KindFile {
		return n
	}
	fs.mu.Lock()
	f, now := fs.files[n.Ino], fs.closings
	fs.mu.Unlock()
	var (
		open dbfs.Node
		err  error
	)
	switch {
	case f != nil:
		open, err = f.node()
	case now != asOf:
		open, err = sp.journal.Node(n.ID)
	default:
		return n
	}
	if err != nil {
		return n
	}
	return open
}

// GetAttr is stat.
func (fs *FS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	_, n, err := fs.find(in.NodeId)
	if err != nil {
		return fs.status(err)
	}
	out.AttrValid = forever
	fs.attr(&n, &out.Attr)
	return fuse.OK
}

// Readlink returns a symlink's target.
func (fs *FS) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	_, n, err := fs.find(header.NodeId)
	if err != nil {
		return nil, fs.status(err)
	}
	return []byte(n.Target), fuse.OK
}

// Access is answered by the kernel from the attributes.
func (fs *FS) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// StatFs shows the disk that the cache is on: what can be written before anything is sent.
func (fs *FS) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st syscall.Statfs_t
	if err := syscall.Statfs(fs.cfg.Disk, &st); err != nil {
		return fs.status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Bsize: uint32(st.Bsize), Frsize: uint32(st.Frsize),
		Files: st.Files, Ffree: st.Ffree, NameLen: dbfs.MaxName,
	}
	return fuse.OK
}
