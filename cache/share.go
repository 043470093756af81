package cache

import (
	"context"
	"fmt"

	"github.com/dbfs/dbfs"
)

// A file that is copied shares its chunks with the copy: the draft of the copy names them, without
// having their bytes. These are brought only when somebody changes a part of such a chunk; until
// then they are read from wherever they are, and nothing is fetched, stored or sent.
//
// Who lets a draft name a chunk has to keep it from going meanwhile: Hold, then see that the chunk is
// the server's or named by the journal, then Share. The seal makes it the copy's own.

// Hold keeps a chunk, if it is unsent, from becoming clean until LetGo is called with it as often, and
// reports whether it is unsent. With an error nothing is held.
func (c *Cache) Hold(ref dbfs.ChunkRef) (unsent bool, err error) {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	_, unsent, err = c.pins.get(ref.ID)
	if err != nil {
		return false, fmt.Errorf("hold: %w", err)
	}
	c.pins.holds[ref.ID]++
	return unsent, nil
}

// LetGo takes a Hold back. Like Unpin it must not be called with a lock held that the function given
// to Recover takes.
func (c *Cache) LetGo(ref dbfs.ChunkRef) error { return c.letGo([]dbfs.ChunkRef{ref}) }

// Unchanged reports whether chunk i of the draft still is what it began from or sealed last.
// ref is that chunk.
func (d *Draft) Unchanged(i int, ref dbfs.ChunkRef) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	l := d.large
	if l == nil {
		return false
	}
	l.b.mu.RLock()
	defer l.b.mu.RUnlock()
	return !l.b.touched.has(i) && l.ref(i) == ref && dbfs.ChunkLen(l.size, i) == ref.Len
}

// Share makes a chunk that the caller holds chunk i of the draft, which takes the hold over. False:
// this cannot be done, since the chunk would have to be changed, and nothing was, the hold included.
func (d *Draft) Share(ctx context.Context, i int, ref dbfs.ChunkRef) (bool, error) {
	if ref.ID == dbfs.ZeroChunk || ref.Len <= SmallSize {
		return false, nil
	}
	if i < 0 || i >= dbfs.MaxFileChunks {
		return false, fmt.Errorf("share chunk %d with draft of %s: %w", i, d.file, dbfs.ErrTooLarge)
	}
	done, err := d.share(ctx, i, ref)
	if err != nil {
		return false, fmt.Errorf("share chunk %d with draft of %s: %w", i, d.file, err)
	}
	return done, nil
}

func (d *Draft) share(ctx context.Context, i int, ref dbfs.ChunkRef) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.lent != nil {
		return false, nil
	}
	if err := d.spill(ctx); err != nil {
		return false, err
	}
	done, err := d.large.share(i, ref)
	if done {
		d.held = append(d.held, ref) // until the next seal, which holds it anew, or the end
	}
	return done, err
}

// share needs Draft.mu: no write is going on, so what it finds stays so.
func (l *largeDraft) share(i int, ref dbfs.ChunkRef) (bool, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if l.promised != nil {
		return false, nil // the body has to keep what it has, and a promise cannot name the chunk
	}
	off := int64(i) * dbfs.ChunkSize
	end := off + int64(ref.Len)
	if ref.Len != dbfs.ChunkSize && end < l.size {
		return false, nil
	}
	pl := l.planGrow(max(end, l.size))
	l.plan(&pl, i, true)
	pl.touch[len(pl.touch)-1].n = 0 // its bytes are not the draft's to count
	if pl.missing >= 0 || l.cost(pl) > 0 {
		return false, nil // a write waits for what this would have to wait for
	}
	if err := l.carryOut(pl); err != nil {
		return false, err
	}
	f := l.chunk(i)
	f.written = 0
	f.shared = ref
	f.hashed, f.id, f.idGen = true, ref.ID, f.gen
	l.size = max(l.size, end)
	if err := l.resize(); err != nil {
		return true, err
	}
	return true, punch(l.b.f, off, dbfs.ChunkSize)
}

// isShared reports whether the draft has a chunk without its bytes. body.mu is held, for reading at least.
func (l *largeDraft) isShared(i int) bool {
	f := l.chunks[i]
	return f != nil && f.shared.Len > 0
}

// sharesAny reports whether there is any chunk of which that is so.
func (l *largeDraft) sharesAny() bool {
	for _, f := range l.chunks {
		if f.shared.Len > 0 {
			return true
		}
	}
	return false
}

// isWritten reports whether the draft has bytes of its own of a chunk, in the body. body.mu is held, for
// reading at least.
func (l *largeDraft) isWritten(i int) bool { return l.b.touched.has(i) && !l.isShared(i) }

// fill gives a chunk that is shared its bytes, if it still is that one.
func (l *largeDraft) fill(i int, ref dbfs.ChunkRef, data []byte) error {
	if !l.isShared(i) || l.ref(i) != ref {
		return nil
	}
	if err := l.c.state.reserve.check(int64(len(data))); err != nil {
		return err
	}
	if _, err := l.b.f.WriteAt(data, int64(i)*dbfs.ChunkSize); err != nil {
		return diskError(err)
	}
	l.chunks[i].shared = dbfs.ChunkRef{}
	return nil
}
