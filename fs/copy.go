package fs

import (
	"context"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// copyRun is how much one request copies at most: the caller asks again for the rest, and can be
// interrupted in between.
const copyRun = 16 * dbfs.ChunkSize

// CopyFileRange copies within the daemon, so that the bytes do not go through the kernel and back. A
// hole stays one, and what is copied whole is, by its chunks, neither stored nor sent twice.
func (fs *FS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := fs.handle(in.FhIn), fs.handle(in.FhOut)
	switch {
	case from == nil || to == nil || from.file == nil || to.file == nil || !to.writer:
		return 0, fuse.EBADF
	case in.Flags != 0:
		return 0, fuse.EINVAL
	}
	c := copying{from: from.file, to: to.file, ctx: newRequest(cancel)}
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
	buf      []byte
}

// run copies up to n bytes, and returns how many it did: less where the source ends, or with an error.
func (c *copying) run(src, dst, n int64) (done int64, err error) {
	node, err := c.from.node()
	if err != nil {
		return 0, err
	}
	for n = min(n, node.Content.Size-src); done < n; {
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
	n = min(n, dbfs.ChunkSize-dst%dbfs.ChunkSize) // whole chunks need not be fetched to be overwritten
	if end, ok := c.from.next(src, true); ok && end > src {
		n = min(n, end-src)
	}
	if c.buf == nil {
		c.buf = make([]byte, dbfs.ChunkSize)
	}
	got, err := c.from.readAt(c.ctx, c.buf[:n], src)
	if err != nil || got == 0 {
		return 0, err
	}
	put, err := c.to.writeAt(c.ctx, c.buf[:got], dst)
	return int64(put), err
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
