package fs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// A handle is what an open(2) returned: of a file, or of a directory.
type handle struct {
	file   *file
	writer bool
	mapper bool // it may have maps that nobody tells us of; see lend.go; guarded by FS.mu
	dir    *listing
}

// Open opens a file. Its bytes stay in the kernel's cache from one open to the next.
func (fs *FS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	ino, writer := in.NodeId, in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY
	fs.changes.open(ino)
	defer fs.changes.opened(ino)
	f, fh, err := fs.openIno(ino, writer)
	if err != nil {
		return fs.status(err)
	}
	f.at().journal.Observed()
	f.fresh.Do(func() {
		changed := fs.changes.changed(ino) // then the kernel may not even know its size
		if !f.pagesAre() || changed {
			fs.server.InodeNotify(ino, 0, 0)
			f.wasTold()
		}
		if !writer {
			fs.lend(f)
		}
	})
	out.Fh = fh
	if f.isLent() != 0 {
		if err := fs.openLent(f, fs.handle(fh), in.Flags, out); err != nil {
			return fs.status(errors.Join(err, fs.release(fh)))
		}
		return fuse.OK
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if !writer {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
	return fuse.OK
}

// openIno opens the file that an inode number leads to.
func (fs *FS) openIno(ino uint64, writer bool) (*file, uint64, error) {
	fs.opening.RLock()
	defer fs.opening.RUnlock()
	sp, n, err := fs.find(ino)
	if err == nil && n.Kind != dbfs.KindFile {
		err = dbfs.ErrIsDir
	}
	if err == nil && writer {
		err = sp.mayWrite()
	}
	if err != nil {
		return nil, 0, err
	}
	return fs.open(sp, n, writer)
}

// open returns a new handle of a file that the kernel knows as n.Ino. ESTALE: that has
// changed since n was found.
func (fs *FS) open(sp *space, n dbfs.Node, writer bool) (*file, uint64, error) {
	for {
		fresh := fs.newFile(sp, n)
		fs.mu.Lock()
		f := fs.files[n.Ino]
		if f == nil {
			f = fresh
			fs.files[n.Ino] = f
		}
		fs.mu.Unlock()
		err := f.enter(writer)
		if err == nil {
			fs.mu.Lock()
			defer fs.mu.Unlock()
			return f, fs.newHandle(&handle{file: f, writer: writer}), nil
		}
		fs.drop(f)
		if err != errClosed {
			return nil, 0, err
		}
	}
}

// newFile returns a file that nobody has open yet.
func (fs *FS) newFile(sp *space, n dbfs.Node) *file {
	f := &file{fs: fs, ino: n.Ino, space: sp, id: n.ID, base: n.Content}
	if n.Deleted { // a ghost
		_, err := sp.journal.Node(n.ID)
		f.own, f.deleted = &n, err == nil // its node goes on without it
	}
	return f
}

// drop takes a closed file off the list.
func (fs *FS) drop(f *file) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.files[f.ino] == f {
		delete(fs.files, f.ino)
		fs.closings++
	}
}

// newHandle is called with mu held.
func (fs *FS) newHandle(h *handle) uint64 {
	fh := fs.next
	fs.next++
	fs.handles[fh] = h
	return fh
}

func (fs *FS) handle(fh uint64) *handle {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.handles[fh]
}

// Create makes a file and opens it.
func (fs *FS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	writer := in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY
	sp, n, err := fs.create(in.NodeId, name, in.Umask, journal.NewNode{
		Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: in.Mode & 0o7777, UID: in.Uid, GID: in.Gid}, Held: writer,
	})
	if errors.Is(err, dbfs.ErrExist) && in.Flags&syscall.O_EXCL == 0 {
		err = syscall.ESTALE // another device made it just now: the kernel looks again, and opens it
	}
	if err != nil {
		return fs.status(err)
	}
	fs.entry(&n, &out.EntryOut)
	f, fh, err := fs.open(sp, n, writer)
	if writer {
		sp.journal.Release(n.ID) // the handle has a hold of its own
	}
	if err != nil {
		return fs.status(err)
	}
	f.fresh.Do(func() { f.pagesAre() }) // the kernel has none
	out.Fh = fh
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Read reads through a handle.
func (fs *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := fs.handle(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	ctx := reading(cancel, &in.InHeader, h.file)
	defer ctx.end()
	n, err := h.file.readAt(ctx, buf, int64(in.Offset))
	if err != nil {
		return nil, fs.status(fmt.Errorf("read %d bytes at %d of %s: %w", len(buf), in.Offset, h.file.id, err))
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write writes through a handle, into the draft.
func (fs *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := fs.handle(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	f := h.file
	ctx := writing(cancel, &in.InHeader, f)
	defer ctx.end()
	n, err := f.writeAt(ctx, data, int64(in.Offset))
	if n == 0 && err != nil {
		return 0, fs.status(err)
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := fs.killPriv(f); err != nil {
			return uint32(n), fs.status(err)
		}
	}
	return uint32(n), fuse.OK
}

// killPriv takes the bits from a file that a write takes.
func (fs *FS) killPriv(f *file) error {
	sp, n, err := f.look()
	if err != nil || n.Attr.Mode&killed(n.Attr.Mode) == 0 {
		return err
	}
	n.Attr.Mode &^= killed(n.Attr.Mode)
	return fs.setAttr(sp, n, dbfs.AttrMode, n.Attr)
}

// truncate changes the size of a file, open or not.
func (fs *FS) truncate(cancel <-chan struct{}, in *fuse.InHeader, size int64) error {
	f, fh, err := fs.openIno(in.NodeId, true)
	if err != nil {
		return err
	}
	ctx := writing(cancel, in, f)
	defer ctx.end()
	err = f.truncate(ctx, size)
	if closeErr := fs.release(fh); err == nil {
		err = closeErr
	}
	return err
}

// Flush is a close(2): what was written is recorded, and an error still finds somebody.
func (fs *FS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || !h.writer {
		return fuse.OK
	}
	// Not to be interrupted: the bytes are here and only have to be written down.
	return fs.status(h.file.seal(context.Background()))
}

// Fsync makes what was written survive a loss of power.
func (fs *FS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.file == nil {
		return fuse.EBADF
	}
	if fs.cfg.Synced != nil {
		fs.cfg.Synced()
	}
	return fs.status(h.file.sync(context.Background()))
}

// Release closes a handle.
func (fs *FS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	if err := fs.release(in.Fh); err != nil {
		fs.cfg.Log.Error("close failed", "err", err)
	}
}

func (fs *FS) release(fh uint64) error {
	fs.mu.Lock()
	h := fs.handles[fh]
	delete(fs.handles, fh)
	mapper := h != nil && h.mapper
	fs.mu.Unlock()
	if h == nil {
		return nil
	}
	if mapper {
		h.file.mapperLeft()
	}
	return fs.leave(h.file, h.writer)
}

// leave counts one handle of a file less.
func (fs *FS) leave(f *file, writer bool) error {
	closed, read, err := f.leave(writer)
	if closed {
		fs.drop(f)
	}
	if read {
		fs.cfg.Closed(f.at().ns, f.id)
	}
	return err
}

// Fallocate makes a range zeros if it is to be, and then the file at least that long, unless it
// is to keep its size. There are no blocks to reserve.
func (fs *FS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.file == nil {
		return fuse.EBADF
	}
	const punch, zero, keep = unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_KEEP_SIZE
	ctx := writing(cancel, &in.InHeader, h.file)
	defer ctx.end()
	switch in.Mode {
	case 0, keep:
	case punch | keep, zero, zero | keep:
		if err := h.file.zero(ctx, int64(in.Offset), int64(in.Length)); err != nil {
			return fs.status(err)
		}
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if in.Mode&keep != 0 {
		return fuse.OK
	}
	n, err := h.file.node()
	if end := int64(in.Offset + in.Length); err == nil && end > n.Content.Size {
		err = h.file.truncate(ctx, end)
	}
	return fs.status(err)
}

// Lseek finds the next data or the next hole; of other ways to seek the kernel needs no help.
func (fs *FS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil || h.file == nil {
		return fuse.EBADF
	}
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return fuse.EINVAL
	}
	at, ok := h.file.next(int64(in.Offset), in.Whence == unix.SEEK_HOLE)
	if !ok {
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(at)
	return fuse.OK
}

// openFile returns the open file that the kernel knows by a number, or nil.
func (fs *FS) openFile(ino uint64) *file {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.files[ino]
}

func (fs *FS) openFiles() []*file {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.Collect(maps.Values(fs.files))
}
