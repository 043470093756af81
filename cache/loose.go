package cache

import (
	"errors"
	"io"
	"os"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// looseBytes returns a chunk that lies by itself in a home, verified; nil if it is not
// there, ErrCorrupt if it is not what its name says.
func (c *Cache) looseBytes(h *home, ref dbfs.ChunkRef) ([]byte, error) {
	data, err := c.looseRaw(h, ref)
	if err != nil || data == nil {
		return nil, err
	}
	return data, ref.Verify(data)
}

func (c *Cache) looseRaw(h *home, ref dbfs.ChunkRef) ([]byte, error) {
	if ref.Len <= SmallSize {
		return h.get(valueKey(ref.ID))
	}
	data, err := os.ReadFile(h.chunkFile(ref.ID))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// unsentLoose is looseBytes for a chunk that the book says is unsent. A move to the clean
// home that was cut short may have left it there.
func (c *Cache) unsentLoose(ref dbfs.ChunkRef) ([]byte, error) {
	data, err := c.looseBytes(c.state, ref)
	if data != nil && err == nil {
		return data, nil
	}
	if other, _ := c.looseBytes(c.cache, ref); other != nil {
		return other, nil
	}
	return nil, err
}

// cleanLoose is looseBytes for a clean chunk. A damaged one is dropped: it is as good as absent.
func (c *Cache) cleanLoose(ref dbfs.ChunkRef) ([]byte, error) {
	data, err := c.looseBytes(c.cache, ref)
	if err == nil {
		if data != nil {
			c.evictor.touch(kindLoose, ref.ID[:])
		}
		return data, nil
	}
	if !errors.Is(err, dbfs.ErrCorrupt) {
		return nil, err
	}
	c.opts.Log.Warn("a cached chunk is damaged; it will be fetched again", "chunk", ref.ID, "error", err)
	_, err = c.dropLoose(ref.ID)
	return nil, err
}

// A source is where the bytes of a chunk are: in memory, or in a file from off on.
type source struct {
	data []byte
	file *os.File // nil: data has them
	off  int64
}

func (s source) bytes(n int) ([]byte, error) {
	if s.file == nil {
		return s.data, nil
	}
	b := make([]byte, n)
	_, err := s.file.ReadAt(b, s.off)
	return b, noEOF(err)
}

func (s source) copyTo(f *os.File, n int) error {
	if s.file == nil {
		_, err := f.Write(s.data)
		return err
	}
	return copyRange(f, 0, s.file, s.off, int64(n))
}

// lay puts the bytes of a chunk into a home. What it returns must go into the book for
// them to be there. Copies are not verified: whoever reads them does that.
func (h *home) lay(ref dbfs.ChunkRef, from source) ([]change, error) {
	if err := h.reserve.check(int64(ref.Len)); err != nil {
		return nil, err
	}
	if ref.Len <= SmallSize {
		data, err := from.bytes(ref.Len)
		return []change{set(valueKey(ref.ID), data)}, err
	}
	return nil, writeFile(h.chunkFile(ref.ID), func(f *os.File) error { return from.copyTo(f, ref.Len) })
}

// keepLoose keeps a clean chunk by itself. The caller has made room, or lets the evictor
// do so later.
func (c *Cache) keepLoose(ref dbfs.ChunkRef, from source) error {
	known, err := c.cache.get(looseKey(ref.ID))
	if err != nil || known != nil {
		return err
	}
	changes, err := c.cache.lay(ref, from)
	if err != nil {
		return err
	}
	fault.Here(fault.ChunkKept)
	return c.enterLoose(ref, changes)
}

// enterLoose makes the book say that a chunk lies in the clean home.
func (c *Cache) enterLoose(ref dbfs.ChunkRef, changes []change) error {
	clock := c.evictor.now()
	changes = append(changes, set(looseKey(ref.ID), looseRecord{ref.Len, clock}.encode()))
	changes = append(changes, c.evictor.order(kindLoose, ref.ID[:], clock, int64(ref.Len)))
	if err := c.cache.update(changes...); err != nil {
		return err
	}
	c.evictor.clean.Add(int64(ref.Len))
	return nil
}

// dropLoose removes a clean chunk that lies by itself and returns how long it was.
func (c *Cache) dropLoose(id dbfs.ChunkID) (int64, error) {
	record, err := c.cache.get(looseKey(id))
	if err != nil || record == nil {
		return 0, err
	}
	l, err := decodeLoose(record)
	if err != nil && !errors.Is(err, dbfs.ErrCorrupt) {
		return 0, err
	}
	err = c.cache.update(del(looseKey(id)), del(valueKey(id)), c.evictor.disorder(kindLoose, id[:], l.clock))
	if err != nil {
		return 0, err
	}
	c.evictor.clean.Add(-int64(l.n))
	return int64(l.n), removeFile(c.cache.chunkFile(id))
}

// local returns a whole chunk from wherever it is on this machine, verified; nil if it is
// nowhere. sole says that it is unsent: it must not be taken for the server's.
func (c *Cache) local(ref dbfs.ChunkRef) (data []byte, sole bool, err error) {
	for range 3 { // it may move while it is looked for
		u, ok, err := c.pins.get(ref.ID)
		if err != nil {
			return nil, true, err
		}
		if !ok {
			data, err := c.cleanCopy(ref)
			return data, false, err
		}
		if data, err = c.sole(u, ref); data != nil && err == nil {
			return data, true, nil
		}
	}
	return nil, true, errors.Join(dbfs.ErrCorrupt, err)
}

func (c *Cache) sole(u unsent, ref dbfs.ChunkRef) ([]byte, error) {
	if u.loose {
		return c.unsentLoose(ref)
	}
	return c.bodyBytes(u.at, ref)
}

func (c *Cache) cleanCopy(ref dbfs.ChunkRef) ([]byte, error) {
	if data, err := c.cleanLoose(ref); data != nil || err != nil {
		return data, err
	}
	at, err := c.hints(ref.ID)
	for _, at := range at {
		if data, err := c.bodyBytes(at, ref); data != nil && err == nil {
			return data, nil
		}
	}
	return nil, err
}

// hints returns a few places where a chunk may be.
func (c *Cache) hints(id dbfs.ChunkID) (at []spot, err error) {
	err = c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(hintPrefix(id), nil, func(k, _ []byte) bool {
			if s, ok := hintFrom(k); ok {
				at = append(at, s)
			}
			return len(at) < 4
		})
	})
	return at, err
}

// bodyBytes returns the bytes at a place if they are the chunk; nil if they are not.
func (c *Cache) bodyBytes(at spot, ref dbfs.ChunkRef) ([]byte, error) {
	b, err := c.acquire(at.file)
	if err != nil {
		return nil, err
	}
	defer c.release(b)
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.f == nil {
		return nil, nil
	}
	data := make([]byte, ref.Len)
	_, err = b.f.ReadAt(data, int64(at.i)*dbfs.ChunkSize)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil || ref.Verify(data) != nil {
		return nil, err
	}
	return data, nil
}
