package cache

import (
	"context"
	"fmt"

	"github.com/dbfs/dbfs"
)

// Zero makes n bytes from off on zeros, as far as the draft reaches. What the zeros take the
// place of is not fetched where whole chunks go, and gives its space back. Errors are WriteAt's.
func (d *Draft) Zero(ctx context.Context, off, n int64) error {
	if off < 0 || n < 0 {
		return fmt.Errorf("zero draft of %s at %d: %w", d.file, off, dbfs.ErrInvalid)
	}
	if err := d.zero(ctx, off, n); err != nil {
		return fmt.Errorf("zero draft of %s: %w", d.file, err)
	}
	return nil
}

func (d *Draft) zero(ctx context.Context, off, n int64) error {
	d.mu.RLock()
	switch {
	case d.large != nil:
		defer d.mu.RUnlock()
		return d.large.zero(ctx, off, n)
	case d.lent != nil:
		defer d.mu.RUnlock()
		return d.lent.zero(ctx, off, n)
	}
	d.mu.RUnlock()

	d.mu.Lock()
	if d.small == nil { // it has spilled meanwhile
		d.mu.Unlock()
		return d.zero(ctx, off, n)
	}
	defer d.mu.Unlock()
	if err := d.small.load(ctx); err != nil {
		return err
	}
	d.small.zero(off, n)
	return nil
}

func (s *smallDraft) zero(off, n int64) {
	if size := int64(len(s.data)); off < size && n > 0 {
		clear(s.data[off:min(off+n, size)])
		s.dirty = true
	}
}

func (l *largeDraft) zero(ctx context.Context, off, n int64) error {
	for n = min(n, l.length()-off); n > 0; {
		i, lo, k := pieceAt(off, int(min(n, dbfs.ChunkSize)))
		if err := l.zeroChunk(ctx, i, lo, k); err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

func (l *largeDraft) zeroChunk(ctx context.Context, i int, lo int64, n int) error {
	l.b.mu.RLock()
	hole := !l.b.touched.has(i) && l.ref(i).ID == dbfs.ZeroChunk
	l.b.mu.RUnlock()
	if hole {
		return nil
	}
	_, err := l.changeChunk(ctx, i, lo, n, func() (int, error) {
		return n, punch(l.b.f, int64(i)*dbfs.ChunkSize+lo, int64(n))
	})
	return err
}

// NextData returns where the first bytes at or after off are that are not in a hole; false:
// there are none. NextHole returns the first hole, which there is at the end at least; false:
// off is not within the draft.
func (d *Draft) NextData(off int64) (int64, bool) { return d.next(off, false) }

// NextHole: see NextData.
func (d *Draft) NextHole(off int64) (int64, bool) { return d.next(off, true) }

func (d *Draft) next(off int64, hole bool) (int64, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.large != nil:
		return d.large.next(off, hole)
	case d.lent != nil:
		return d.lent.next(off, hole)
	}
	return span(d.small.size(), off, hole, func(_, _ int64) (int64, bool) { return off, !hole })
}

func (l *largeDraft) next(off int64, hole bool) (int64, bool) {
	l.b.mu.RLock()
	defer l.b.mu.RUnlock()
	return span(l.size, off, hole, func(from, end int64) (int64, bool) {
		i := int(from / dbfs.ChunkSize)
		if !l.isWritten(i) {
			zeros := l.ref(i).ID == dbfs.ZeroChunk
			if zeros && !hole {
				from = l.nextChunk(i, end)
			}
			return from, hole == zeros
		}
		at, found := seek(l.b.f, from, end, hole)
		return min(at, end), found // behind it there may be chunks that are not in the file
	})
}

// nextChunk returns where the first chunk behind i begins that may be other than zeros; end: it may be the next.
func (l *largeDraft) nextChunk(i int, end int64) int64 {
	next := firstFrom(l.b.content.Chunks, i+1, l.size)
	if t, ok := l.b.touched.next(i + 1); ok {
		next = min(next, int64(t)*dbfs.ChunkSize)
	}
	return max(next, end)
}

// firstFrom returns where the first chunk begins that is at i or behind it and not of zeros; size: there is none.
func firstFrom(l dbfs.Blocklist, i int, size int64) int64 {
	for k := range l.From(i) {
		return min(int64(k)*dbfs.ChunkSize, size)
	}
	return size
}

// NextData returns where the first bytes of a content at or after off are that are not in a
// hole, which is a chunk of zeros; false: there are none. NextHole returns the first hole, which
// there is at the end at least; false: off is not within the content.
func NextData(c dbfs.Content, off int64) (int64, bool) { return next(c, off, false) }

// NextHole: see NextData.
func NextHole(c dbfs.Content, off int64) (int64, bool) { return next(c, off, true) }

func next(c dbfs.Content, off int64, hole bool) (int64, bool) {
	return span(c.Size, off, hole, func(from, _ int64) (int64, bool) {
		i := int(from / dbfs.ChunkSize)
		zeros := c.Chunks.At(i) == dbfs.ZeroChunk
		if zeros && !hole {
			from = firstFrom(c.Chunks, i, c.Size)
		}
		return from, hole == zeros
	})
}

// span asks chunk after chunk, from off to the size, whether what is sought is between two
// places in it, and where; if it is not, from where on it may be.
func span(size, off int64, hole bool, in func(from, end int64) (at int64, found bool)) (int64, bool) {
	if off < 0 || off >= size {
		return 0, false
	}
	for off < size {
		end := min(off/dbfs.ChunkSize*dbfs.ChunkSize+dbfs.ChunkSize, size)
		at, found := in(off, end)
		if found {
			return at, true
		}
		off = max(end, at)
	}
	return size, hole
}
