package fs

import (
	"context"
	"errors"
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// copyRun is how much one request copies at most: the caller asks again for the rest, and can be
// interrupted in between.
const copyRun = 16 * dbfs.ChunkSize

// CopyFileRange copies within the daemon, so that the bytes do not go through the kernel and back. A
// hole stays one. Whole chunks are shared by the two files: they are not read, fetched, stored or sent.
func (fs *FS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := fs.handle(in.FhIn), fs.handle(in.FhOut)
	switch {
	case from == nil || to == nil || from.file == nil || to.file == nil || !to.writer:
		return 0, fuse.EBADF
	case in.Flags != 0:
		return 0, fuse.EINVAL
	}
	ctx := writing(cancel, &in.InHeader, to.file)
	defer ctx.end()
	reads := writing(cancel, &in.InHeader, from.file) // not to be refused: a copy is somebody's wish
	defer reads.end()
	c := copying{from: from.file, to: to.file, ctx: ctx, reads: reads}
	n, err := c.run(int64(in.OffIn), int64(in.OffOut), int64(min(in.Len, copyRun)))
	if n == 0 && err != nil {
		return 0, fs.status(err)
	}
	return uint32(n), fuse.OK
}

// copying is a copy from one file to another, or within one.
type copying struct {
	from, to *file
	ctx      context.Context
	reads    context.Context // of the source
	buf      []byte
}

// run copies up to n bytes, and returns how many it did: less where the source ends, or with an error.
func (c *copying) run(src, dst, n int64) (done int64, err error) {
	node, err := c.from.node()
	if err != nil {
		return 0, err
	}
	n = min(n, node.Content.Size-src)
	if dst < dbfs.MaxFileSize {
		n = min(n, dbfs.MaxFileSize-dst)
	}
	for done < n {
		k, err := c.step(src+done, dst+done, n-done)
		done += k
		if err != nil || k == 0 {
			return done, err
		}
	}
	return done, nil
}

// step copies a piece that is a hole, or is none.
func (c *copying) step(src, dst, n int64) (int64, error) {
	data, more := c.from.next(src, false)
	if !more {
		data = src + n
	}
	if hole := min(data-src, n); hole > 0 {
		return hole, c.hole(dst, hole)
	}
	if k, err := c.share(src, dst, n); k > 0 || err != nil {
		return k, err
	}
	n = min(n, dbfs.ChunkSize-dst%dbfs.ChunkSize) // whole chunks need not be fetched to be overwritten
	if end, ok := c.from.next(src, true); ok && end > src {
		n = min(n, end-src)
	}
	if c.buf == nil {
		c.buf = make([]byte, dbfs.ChunkSize)
	}
	got, err := c.from.readAt(c.reads, c.buf[:n], src)
	if err != nil || got == 0 {
		return 0, err
	}
	put, err := c.to.writeAt(c.ctx, c.buf[:got], dst)
	return int64(put), err
}

// share lets the other file have the chunk at src, and returns its length; 0: its bytes have to be copied.
func (c *copying) share(src, dst, n int64) (int64, error) {
	if src%dbfs.ChunkSize != 0 || dst%dbfs.ChunkSize != 0 || dst >= dbfs.MaxFileSize || c.from.at() != c.to.at() {
		return 0, nil
	}
	ref, ok, err := c.from.hold(int(src/dbfs.ChunkSize), n)
	if err != nil || !ok {
		return 0, err
	}
	shared, err := c.to.share(c.ctx, int(dst/dbfs.ChunkSize), ref)
	if !shared {
		return 0, errors.Join(err, c.from.fs.cfg.Cache.LetGo(ref))
	}
	c.to.noteSource(c.from)
	return int64(ref.Len), nil
}

// hold returns chunk i of the file, held in the cache, if it is of at most n bytes and as it was
// recorded: then it is at the server already, or the journal has an edit that names it. False: it is
// not, and nothing is held.
//
// A chunk may become clean and be evicted although no server has it when nobody names it any more,
// as after the file's removal. So the journal is asked after the chunk is held. What it needs without its being
// unsent is part of a copy from another namespace, and may never be at the server of this one.
func (f *file) hold(i int, n int64) (dbfs.ChunkRef, bool, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.own != nil || f.deleted || f.nameless || f.sealed != nil || i >= f.base.Chunks.Len() {
		return dbfs.ChunkRef{}, false, nil
	}
	ref := f.base.Ref(i)
	if int64(ref.Len) > n || f.draft != nil && !f.draft.Unchanged(i, ref) {
		return dbfs.ChunkRef{}, false, nil
	}
	unsent, err := f.fs.cfg.Cache.Hold(ref)
	if err != nil {
		return dbfs.ChunkRef{}, false, err
	}
	node, err := f.space.journal.Node(f.id)
	if err != nil || node.Deleted || !node.Content.Equal(f.base) || !unsent && f.space.journal.Needs(ref.ID) {
		return dbfs.ChunkRef{}, false, f.fs.cfg.Cache.LetGo(ref)
	}
	return ref, true, nil
}

// noteSource remembers of which file chunks are shared, until that is recorded.
func (f *file) noteSource(from *file) {
	from.mu.RLock()
	id := from.id
	from.mu.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.sources, id) {
		f.sources = append(f.sources, id)
	}
}

// tellSources says of which files a version that has been recorded has chunks. Called with mu held.
func (f *file) tellSources() {
	for _, id := range f.sources {
		if f.fs.cfg.Shared != nil {
			f.fs.cfg.Shared(f.space.ns, id)
		}
	}
	f.sources = nil
}

// share makes a chunk that is held one of the file's. False: it cannot be done, and the hold is the caller's.
func (f *file) share(ctx context.Context, i int, ref dbfs.ChunkRef) (bool, error) {
	draft, err := f.writable()
	if err != nil {
		return false, err
	}
	done, err := draft.Share(ctx, i, ref)
	if done {
		f.setMTime(f.fs.cfg.Clock().UnixNano())
	}
	return done, err
}

// hole makes a range zeros, also beyond the end.
func (c *copying) hole(off, n int64) error {
	if err := c.to.zero(c.ctx, off, n); err != nil {
		return err
	}
	node, err := c.to.node()
	if err != nil || node.Content.Size >= off+n {
		return err
	}
	return c.to.truncate(c.ctx, off+n)
}
