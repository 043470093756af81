package cache

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// Body is one version of a file's bytes, open for reading. It stays readable until Close,
// whatever the file becomes. Its methods may be called from several goroutines.
type Body struct {
	c       *Cache
	file    File
	content dbfs.Content
	b       *body // nil: at most SmallSize bytes, which have no body

	next  atomic.Int64 // where a sequential reader would go on; -1: nothing was read
	ahead atomic.Int64 // chunks that the next read ahead may bring; 0: the reader jumps
}

// Open opens a version of a file for reading. Nothing is fetched yet.
func (c *Cache) Open(f File, content dbfs.Content) (*Body, error) {
	if err := content.Check(); err != nil {
		return nil, fmt.Errorf("open %s: %w", f, err)
	}
	h := &Body{c: c, file: f, content: content}
	h.next.Store(-1)
	if content.Size <= SmallSize {
		return h, nil
	}
	b, err := c.acquire(f)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(h); err != nil {
		b.mu.Unlock()
		c.release(b)
		b.mu.Lock()
		return nil, fmt.Errorf("open %s: %w", f, err)
	}
	h.b = b
	return h, nil
}

// open adds a reader. The body becomes that of the reader's version unless somebody
// writes, or reads another: then the version is put together from loose chunks.
func (b *body) open(h *Body) error {
	if !b.content.Equal(h.content) && b.draft == nil && len(b.handles) == 0 {
		if err := b.retarget(h.content); err != nil {
			return err
		}
	}
	b.handles[h] = struct{}{}
	b.c.evictor.touch(kindBody, b.file.bytes())
	return nil
}

// Close ends the reading.
func (h *Body) Close() error {
	if h.b == nil {
		return nil
	}
	h.b.mu.Lock()
	delete(h.b.handles, h)
	err := h.b.readerLeft()
	h.b.mu.Unlock()
	h.c.release(h.b)
	return err
}

// readerLeft gives the body to those who read another version, if it is nobody else's now.
func (b *body) readerLeft() error {
	if b.forgotten {
		return b.settle()
	}
	var other *Body
	for h := range b.handles {
		if h.content.Equal(b.content) {
			return nil
		}
		other = h
	}
	if other == nil || b.draft != nil {
		return nil
	}
	return b.retarget(other.content)
}

// Size returns the length in bytes.
func (h *Body) Size() int64 { return h.content.Size }

// ReadAt implements io.ReaderAt but for the context. Chunks that are not here are fetched,
// verified and kept; what is returned is right. ErrOffline: they cannot be had now.
// ErrCorrupt: what is stored is not what it should be.
func (h *Body) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	h.lookAhead(ctx, off, h.within(p, off))
	return h.read(p, off, func(p []byte, i int, lo int64) error {
		data, err := h.c.fetcher.obtain(ctx, h.content.Ref(i), h.place(i))
		if err == nil {
			copy(p, data[lo:])
		}
		return err
	})
}

// ReadLocalAt is ReadAt that says ErrOffline where ReadAt would have to fetch.
func (h *Body) ReadLocalAt(p []byte, off int64) (int, error) {
	return h.read(p, off, func(p []byte, i int, lo int64) error {
		data, _, err := h.c.local(h.content.Ref(i))
		if err == nil && data == nil {
			err = dbfs.ErrOffline
		}
		if err == nil {
			copy(p, data[lo:])
		}
		return err
	})
}

// place says where chunk i is kept when it has been fetched.
func (h *Body) place(i int) spot {
	if h.b == nil {
		i = -1
	}
	return spot{h.file, i}
}

// read reads what is at hand and asks miss for the rest.
func (h *Body) read(p []byte, off int64, miss func(p []byte, i int, lo int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s at %d: %w", h.file, off, dbfs.ErrInvalid)
	}
	n := h.within(p, off)
	for done := 0; done < n; {
		i, lo, k := pieceAt(off+int64(done), n-done)
		if err := h.readChunk(p[done:done+k], i, lo, miss); err != nil {
			return done, fmt.Errorf("read chunk %d of %s: %w", i, h.file, err)
		}
		done += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// within returns how many bytes of p there are from off on.
func (h *Body) within(p []byte, off int64) int {
	return int(max(0, min(int64(len(p)), h.content.Size-off)))
}

// pieceAt returns which chunk offset off is in, where in it, and how many of n bytes from
// there on are within the chunk.
func pieceAt(off int64, n int) (i int, lo int64, k int) {
	lo = off % dbfs.ChunkSize
	return int(off / dbfs.ChunkSize), lo, min(n, int(dbfs.ChunkSize-lo))
}

func (h *Body) readChunk(p []byte, i int, lo int64, miss func([]byte, int, int64) error) error {
	id := h.content.Chunks.At(i)
	if id == dbfs.ZeroChunk {
		clear(p)
		return nil
	}
	here, err := h.readHere(p, i, lo)
	if err != nil {
		return err
	}
	if here {
		h.c.hits.Add(1)
		return nil
	}
	h.c.misses.Add(1)
	return miss(p, i, lo)
}

func (h *Body) readHere(p []byte, i int, lo int64) (bool, error) {
	if h.b != nil {
		return h.b.readAt(p, i, h.content.Chunks.At(i), lo)
	}
	data, err := h.c.smallHere(h.content.Ref(i))
	if data != nil {
		copy(p, data[lo:])
	}
	return data != nil, err
}

// smallHere returns a short chunk that lies by itself, unsent or clean; nil if it does not.
func (c *Cache) smallHere(ref dbfs.ChunkRef) ([]byte, error) {
	if data, err := c.looseBytes(c.state, ref); data != nil && err == nil {
		return data, nil
	}
	return c.cleanLoose(ref)
}

// slack is how far from where a reader was it may go on and still be sequential: the
// kernel asks for several pieces at once, in any order.
const slack = 512 << 10

// lookAhead notes where a reader is and, if it goes on from where it was, starts the
// fetching of what it will want: one chunk at first, twice as many each time it gets there.
func (h *Body) lookAhead(ctx context.Context, off int64, n int) {
	end := off + int64(n)
	was := h.next.Swap(end)
	limit := int64(h.c.opts.ReadAhead)
	if h.b == nil || limit <= 0 || was < 0 || off < 0 {
		return
	}
	if off < was-slack || off > was+slack {
		h.ahead.Store(0)
		return
	}
	window := h.ahead.Load()
	if window > 0 && was/dbfs.ChunkSize == end/dbfs.ChunkSize {
		return
	}
	window = min(max(1, 2*window), limit)
	h.ahead.Store(window)
	first := int((end + dbfs.ChunkSize - 1) / dbfs.ChunkSize)
	for i := range h.content.Chunks.From(first) {
		if i >= first+int(window) {
			break
		}
		h.bring(ctx, i)
	}
}

// bring starts the fetching of chunk i, which is not of zeros, if it is not here.
func (h *Body) bring(ctx context.Context, i int) {
	ref := h.content.Ref(i)
	h.b.mu.RLock()
	here := h.b.holds(i, ref.ID)
	h.b.mu.RUnlock()
	if !here {
		h.c.fetcher.ahead(ctx, ref, spot{h.file, i})
	}
}

// Residency returns how many bytes of a version are on this machine.
func (c *Cache) Residency(f File, content dbfs.Content) (int64, error) {
	var b *body
	if content.Size > SmallSize {
		var err error
		if b, err = c.acquire(f); err != nil {
			return 0, fmt.Errorf("residency: %w", err)
		}
		defer c.release(b)
	}
	away := int64(0)
	for i := range content.Chunks.All() {
		here, err := c.resident(b, i, content.Ref(i))
		if err != nil {
			return 0, fmt.Errorf("residency of %s: %w", f, err)
		}
		if !here {
			away += int64(dbfs.ChunkLen(content.Size, i))
		}
	}
	return content.Size - away, nil
}

func (c *Cache) resident(b *body, i int, ref dbfs.ChunkRef) (bool, error) {
	if ref.ID == dbfs.ZeroChunk {
		return true, nil
	}
	if b != nil {
		b.mu.RLock()
		here := b.holds(i, ref.ID)
		b.mu.RUnlock()
		if here {
			return true, nil
		}
	}
	if v, err := c.state.get(unsentKey(ref.ID)); v != nil || err != nil {
		return v != nil, err
	}
	if v, err := c.cache.get(looseKey(ref.ID)); v != nil || err != nil {
		return v != nil, err
	}
	return c.residentElsewhere(ref)
}

// residentElsewhere reports whether a clean chunk is in the body of any file: one that was
// saved under a new name, say, or copied.
func (c *Cache) residentElsewhere(ref dbfs.ChunkRef) (bool, error) {
	at, err := c.hints(ref.ID)
	for _, at := range at {
		b, err := c.acquire(at.file)
		if err != nil {
			return false, err
		}
		b.mu.RLock()
		here := b.holds(at.i, ref.ID)
		b.mu.RUnlock()
		c.release(b)
		if here {
			return true, nil
		}
	}
	return false, err
}
