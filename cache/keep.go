package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// keeping is what must not be evicted although it is clean, because somebody has asked for
// it to stay. Which files those are is written down beside the bytes themselves: if the
// cache directory is deleted the wish is deleted with it, and whoever had it says it anew.
type keeping struct {
	any atomic.Bool // something may be kept; false: nothing is

	mu      sync.Mutex // guards what follows, and every change of the records
	counted bool       // bytes has been added up
	bytes   int64      // of all contents that are kept, here or not
}

// keptClock is the place in the order of eviction of what is kept: beyond everything that is
// not, so that an eviction need not go through it. It gets there when an eviction meets it.
const keptClock = math.MaxUint32

// Keep protects a version of a file from being evicted: what is here of it, and what comes. It
// takes the place of an earlier version of the file. It fetches nothing; Warm does.
func (c *Cache) Keep(f File, content dbfs.Content) error {
	if err := content.Check(); err != nil {
		return fmt.Errorf("keep %s: %w", f, err)
	}
	return c.setKept(f, &content)
}

// Unkeep takes Keep back. What is here may stay until its turn comes.
func (c *Cache) Unkeep(f File) error { return c.setKept(f, nil) }

func (c *Cache) setKept(f File, now *dbfs.Content) error {
	k := &c.keeping
	k.mu.Lock()
	defer k.mu.Unlock()
	was, err := c.kept(f)
	if err != nil {
		return fmt.Errorf("keep %s: %w", f, err)
	}
	if was == nil && now == nil || was != nil && now != nil && was.Equal(*now) {
		return nil
	}
	if err := k.count(c); err != nil {
		return err
	}
	k.any.Store(true)
	changes, gone := keepChanges(f, was, now)
	if err := c.cache.update(changes...); err != nil {
		return fmt.Errorf("keep %s: %w", f, err)
	}
	if was != nil {
		k.bytes -= was.Size
	}
	if now != nil {
		k.bytes += now.Size
	}
	return c.mayGo(f, gone, now == nil)
}

// keepChanges returns what has to be written for a file's other version, or none, to be kept, and
// the chunks that this file does not keep any more.
func keepChanges(f File, was, now *dbfs.Content) (changes []change, gone []dbfs.ChunkID) {
	had, has := chunkSet(was), chunkSet(now)
	for id := range had {
		if !has[id] {
			changes = append(changes, del(keptChunkKey(id, f)))
			gone = append(gone, id)
		}
	}
	for id := range has {
		if !had[id] {
			changes = append(changes, set(keptChunkKey(id, f), []byte{}))
		}
	}
	if now == nil {
		return append(changes, del(keepKey(f))), gone
	}
	return append(changes, set(keepKey(f), encodeContent(*now))), gone
}

func chunkSet(c *dbfs.Content) map[dbfs.ChunkID]bool {
	ids := make(map[dbfs.ChunkID]bool)
	if c != nil {
		for _, ref := range c.Refs() {
			ids[ref.ID] = true
		}
	}
	return ids
}

// mayGo gives what is not kept any more a place among what is evicted. What another file keeps
// goes back when an eviction meets it.
func (c *Cache) mayGo(f File, chunks []dbfs.ChunkID, body bool) error {
	clock := c.evictor.now()
	for _, id := range chunks {
		if err := c.evictor.placeLoose(id, func(was uint32) bool { return was == keptClock }, clock); err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
	}
	if !body {
		return nil
	}
	b, err := c.acquire(f)
	if err != nil {
		return err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.home != c.cache || b.clock != keptClock {
		return nil
	}
	b.clock = clock
	return b.save()
}

// kept returns the version of a file that is kept; nil: none. A damaged record counts as none.
func (c *Cache) kept(f File) (*dbfs.Content, error) {
	record, err := c.cache.get(keepKey(f))
	if record == nil || err != nil {
		return nil, err
	}
	content, err := decodeContent(record)
	if errors.Is(err, dbfs.ErrCorrupt) {
		c.opts.Log.Warn("damaged record of a file that is to be kept", "file", f, "error", err)
		return nil, nil
	}
	return &content, err
}

// keepsChunk reports whether a file that is kept has the chunk.
func (c *Cache) keepsChunk(id dbfs.ChunkID) (found bool, err error) {
	if !c.keeping.any.Load() {
		return false, nil
	}
	err = c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(keptChunkPrefix(id), nil, func(_, _ []byte) bool {
			found = true
			return false
		})
	})
	return found, err
}

// count adds up what is kept, once. Called with mu held.
func (k *keeping) count(c *Cache) error {
	if k.counted {
		return nil
	}
	sum := int64(0)
	err := c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(keepPrefix, nil, func(_, v []byte) bool {
			if content, err := decodeContent(v); err == nil {
				sum += content.Data()
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("count what is kept: %w", err)
	}
	k.bytes, k.counted = sum, true
	return nil
}

// Kept returns the length in bytes of all files that are kept, here or not.
func (c *Cache) Kept() (int64, error) {
	c.keeping.mu.Lock()
	defer c.keeping.mu.Unlock()
	err := c.keeping.count(c)
	return c.keeping.bytes, err
}

// KeptFiles calls fn with every file that is kept, until it returns false.
func (c *Cache) KeptFiles(fn func(File) bool) error {
	var all []File // fn may well change what is kept
	err := c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(keepPrefix, nil, func(k, _ []byte) bool {
			if rest := k[len(keepPrefix):]; len(rest) == fileLen {
				all = append(all, fileFrom(rest))
			}
			return true
		})
	})
	for _, f := range all {
		if !fn(f) {
			break
		}
	}
	return err
}

// Warm brings what is not here of a version of a file, and calls fetched after each chunk with
// how many bytes came. ErrOffline: it cannot be had now. ErrNoSpace: there is no room for it.
func (c *Cache) Warm(ctx context.Context, f File, content dbfs.Content, fetched func(n int64)) (err error) {
	h, err := c.Open(f, content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	var missing []int
	for i := range content.Chunks.All() {
		here, err := c.resident(h.b, i, content.Ref(i))
		if err != nil {
			return fmt.Errorf("warm %s: %w", f, err)
		}
		if !here {
			missing = append(missing, i)
		}
	}
	for k, i := range missing {
		if err := c.evictor.makeRoom(int64(content.Ref(i).Len)); err != nil { // or it would come for nothing
			return fmt.Errorf("warm %s: %w", f, err)
		}
		for _, next := range missing[k+1 : min(k+1+max(c.opts.ReadAhead, 0), len(missing))] {
			c.fetcher.ahead(ctx, content.Ref(next), h.place(next))
		}
		if _, err := c.fetcher.obtain(ctx, content.Ref(i), h.place(i)); err != nil {
			return fmt.Errorf("warm %s: %w", f, err)
		}
		fetched(int64(content.Ref(i).Len))
	}
	local, err := c.Residency(f, content)
	if err == nil && local < content.Size {
		err = fmt.Errorf("warm %s: %w: the cache holds %d bytes at most", f, dbfs.ErrNoSpace, c.opts.Size)
	}
	return err
}

// Free evicts what is clean of a version of a file, and returns how many bytes that was. What
// other files have too, and keep, stays. ErrBusy: the file is kept, or open.
func (c *Cache) Free(f File, content dbfs.Content) (freed int64, err error) {
	was, err := c.kept(f)
	if err != nil {
		return 0, err
	}
	if was != nil {
		return 0, fmt.Errorf("free %s: it is to be kept: %w", f, dbfs.ErrBusy)
	}
	c.evictor.mu.Lock()
	defer c.evictor.mu.Unlock()
	if content.Size > SmallSize {
		if freed, err = c.freeBody(f); err != nil {
			return freed, err
		}
	}
	for _, ref := range content.Refs() {
		n, err := c.freeChunk(ref.ID)
		freed += n
		if err != nil {
			return freed, err
		}
	}
	c.evictor.evicted.Add(freed)
	return freed, nil
}

// freeChunk evicts a chunk that nobody keeps from wherever it is.
func (c *Cache) freeChunk(id dbfs.ChunkID) (freed int64, err error) {
	if kept, err := c.keepsChunk(id); kept || err != nil {
		return 0, err
	}
	if freed, err = c.dropLoose(id); err != nil {
		return freed, err
	}
	spots, err := c.hints(id)
	if err != nil {
		return freed, err
	}
	for _, at := range spots { // a file that was saved by a rename has its bytes where they were written
		n, err := c.freeSpot(at, id)
		freed += n
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

func (c *Cache) freeSpot(at spot, id dbfs.ChunkID) (int64, error) {
	b, err := c.acquire(at.file)
	if err != nil {
		return 0, err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.home != c.cache || b.draft != nil || len(b.handles) > 0 || !b.holds(at.i, id) || !b.clean(at.i) {
		return 0, nil
	}
	if shared, err := b.shared(); shared || err != nil {
		return 0, err
	}
	return int64(b.content.Ref(at.i).Len), b.drop([]int{at.i})
}

func (c *Cache) freeBody(f File) (int64, error) {
	b, err := c.acquire(f)
	if err != nil {
		return 0, err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draft != nil || len(b.handles) > 0 {
		return 0, fmt.Errorf("free %s: it is open: %w", f, dbfs.ErrBusy)
	}
	if b.home != c.cache {
		return 0, nil
	}
	return b.evict(math.MaxInt64)
}

// Clear evicts everything that is clean, not kept and not open, and returns how many bytes.
func (c *Cache) Clear() (int64, error) {
	c.evictor.flushTouched()
	c.evictor.mu.Lock()
	defer c.evictor.mu.Unlock()
	n, err := c.evictor.evictSome(math.MaxInt64, false)
	if err != nil {
		err = fmt.Errorf("clear the cache: %w", err)
	}
	return n, err
}

// A Checked is what a check of the cache has found so far.
type Checked struct {
	Bytes   int64 // read and compared with their names
	Damaged int64 // bytes that were not what they should be, and are not here any more
}

// Check reads every clean chunk and compares it with its name. What is damaged is dropped, to be
// fetched again when somebody wants it. It calls progress now and then, and ends when that
// returns an error or the context does.
func (c *Cache) Check(ctx context.Context, progress func(Checked) error) (Checked, error) {
	var found Checked
	var after []byte
	for {
		if err := errors.Join(ctx.Err(), progress(found)); err != nil {
			return found, err
		}
		some, last, err := c.evictor.oldest(after, 16)
		if err != nil || len(some) == 0 {
			return found, err
		}
		after = last
		for _, v := range some {
			if err := c.checkEntry(v, &found); err != nil {
				return found, fmt.Errorf("check the cache: %w", err)
			}
		}
	}
}

func (c *Cache) checkEntry(v victim, found *Checked) error {
	if v.kind == kindBody && len(v.id) == fileLen {
		return c.checkBody(fileFrom(v.id), found)
	}
	if v.kind != kindLoose || len(v.id) != len(dbfs.ChunkID{}) {
		return nil
	}
	record, err := c.cache.get(looseKey(dbfs.ChunkID(v.id)))
	if record == nil || err != nil {
		return err
	}
	l, err := decodeLoose(record)
	if err != nil {
		return nil // the evictor drops it when its turn comes
	}
	ref := dbfs.ChunkRef{ID: dbfs.ChunkID(v.id), Len: l.n}
	data, err := c.looseBytes(c.cache, ref)
	switch {
	case errors.Is(err, dbfs.ErrCorrupt):
		c.opts.Log.Warn("a cached chunk is damaged; it will be fetched again", "chunk", ref.ID, "error", err)
		found.Damaged += int64(l.n)
		_, err = c.dropLoose(ref.ID)
	case data == nil: // evicted meanwhile
		return err
	}
	found.Bytes += int64(l.n)
	return err
}

func (c *Cache) checkBody(f File, found *Checked) error {
	b, err := c.acquire(f)
	if err != nil {
		return err
	}
	defer c.release(b)
	b.mu.RLock()
	content := b.content
	var chunks []int
	for i := range b.present.all() {
		if b.clean(i) {
			chunks = append(chunks, i)
		}
	}
	b.mu.RUnlock()
	for _, i := range chunks {
		if err := c.checkChunk(b, i, content.Ref(i), found); err != nil {
			return err
		}
	}
	return nil
}

// checkChunk keeps evictions out, so that what has gone afterwards was damaged.
func (c *Cache) checkChunk(b *body, i int, ref dbfs.ChunkRef, found *Checked) error {
	c.evictor.mu.Lock()
	defer c.evictor.mu.Unlock()
	here := func() bool {
		b.mu.RLock()
		defer b.mu.RUnlock()
		return b.holds(i, ref.ID)
	}
	if !here() {
		return nil
	}
	if err := b.check(i, ref.ID, true); err != nil {
		return err
	}
	found.Bytes += int64(ref.Len)
	if !here() {
		found.Damaged += int64(ref.Len)
	}
	return nil
}

// loadKept finds out whether anything is kept.
func (c *Cache) loadKept() error {
	return c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(keepPrefix, nil, func(_, _ []byte) bool {
			c.keeping.any.Store(true)
			return false
		})
	})
}
