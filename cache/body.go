package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// body is what is on disk of one File: its sparse file and the record of it. There is one
// in memory while somebody uses it, counted; its methods expect mu to be held for
// writing unless they say otherwise.
//
// Chunk i is, in this order: a draft's if touched; the content's if present; absent. A
// chunk of zeros is never present: it is a hole.
type body struct {
	c    *Cache
	file File
	refs int // guarded by Cache.mu

	checking sync.Mutex // one chunk is checked at a time; before mu

	mu      sync.RWMutex // guards what follows
	loaded  bool
	home    *home    // nil: nothing of it is on disk
	f       *os.File // nil like home
	content dbfs.Content
	parts
	counted int64              // clean bytes of it that the evictor knows of
	ordered uint32             // the clock its entry in the eviction order has; 0: it has none
	news    bool               // something was checked that no record tells of
	draft   *Draft             // nil: nobody writes
	handles map[*Body]struct{} // readers, each of its own version
}

// acquire returns the body of a file, to be given to release. mu is not held.
func (c *Cache) acquire(f File) (*body, error) {
	c.mu.Lock()
	b := c.bodies[f]
	if b == nil {
		b = &body{c: c, file: f, handles: map[*Body]struct{}{}}
		c.bodies[f] = b
	}
	b.refs++
	c.mu.Unlock()

	b.mu.Lock()
	err := b.load()
	b.mu.Unlock()
	if err != nil {
		c.release(b)
		return nil, fmt.Errorf("body %s: %w", f, err)
	}
	return b, nil
}

func (c *Cache) release(b *body) {
	b.mu.Lock()
	if b.news && b.home != nil {
		b.save() // what was checked is checked again if this fails
	}
	b.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	if b.refs--; b.refs == 0 {
		delete(c.bodies, b.file)
		if b.f != nil {
			b.f.Close()
		}
	}
}

func (b *body) load() error {
	if b.loaded {
		return nil
	}
	for _, h := range []*home{b.c.state, b.c.cache} {
		found, err := b.loadFrom(h)
		if err != nil {
			return err
		}
		if found {
			break
		}
	}
	b.counted = b.cleanBytes()
	b.loaded = true
	if !b.touched.any() {
		return nil
	}
	promised, err := b.promisedChunks()
	if err != nil {
		return err
	}
	return b.discard(promised)
}

func (b *body) loadFrom(h *home) (found bool, err error) {
	record, err := h.get(partsKey(b.file))
	if err != nil || record == nil {
		return false, err
	}
	b.home = h
	if err := b.decode(record); err != nil {
		if !errors.Is(err, dbfs.ErrCorrupt) {
			return false, err
		}
		return b.repair(err)
	}
	err = b.openFile()
	if errors.Is(err, os.ErrNotExist) {
		if b.unsent.any() {
			return false, fmt.Errorf("%w: its file is gone, with unsent bytes", dbfs.ErrCorrupt)
		}
		return false, b.remove()
	}
	return true, err
}

func (b *body) decode(record []byte) (err error) {
	if b.parts, err = decodeParts(record, b.c.session); err != nil {
		return err
	}
	if b.home == b.c.cache {
		b.ordered = b.clock
	}
	record, err = b.home.get(contentKey(b.file))
	if err != nil {
		return err
	}
	b.content, err = decodeContent(record)
	return err
}

// openFile opens the body's file where the record says it is; or where it was before, if a
// move was cut short, and ends the move.
func (b *body) openFile() (err error) {
	name := b.home.bodyFile(b.file)
	b.f, err = openSparse(name, false)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	copied, err := moveFile(b.c.other(b.home).bodyFile(b.file), name)
	if err != nil {
		return err
	}
	if copied {
		if err := removeFile(b.c.other(b.home).bodyFile(b.file)); err != nil {
			return err
		}
	}
	b.f, err = openSparse(name, false)
	return err
}

func (c *Cache) other(h *home) *home {
	if h == c.state {
		return c.cache
	}
	return c.state
}

// repair makes the best of a damaged record: in cache nothing of it, in state a body of
// which the unsent chunks are known from their own records.
func (b *body) repair(why error) (found bool, err error) {
	b.c.opts.Log.Error("damaged record of a body", "file", b.file, "error", why)
	if b.home == b.c.cache {
		return false, b.remove()
	}
	if err := b.openFile(); err != nil {
		return false, err
	}
	b.parts, b.content = parts{}, dbfs.Content{}
	chunks := make(map[int]dbfs.ChunkID)
	err = b.c.pins.each(func(id dbfs.ChunkID, u unsent) {
		if !u.loose && u.at.file == b.file {
			b.present.set(u.at.i)
			b.unsent.set(u.at.i)
			b.content.Size = max(b.content.Size, int64(u.at.i)*dbfs.ChunkSize+int64(u.n))
			chunks[u.at.i] = id
		}
	})
	if err != nil {
		return false, err
	}
	b.content.Chunks = b.content.Chunks.Edit(dbfs.NumChunks(b.content.Size), chunks)
	return true, b.save(set(contentKey(b.file), encodeContent(b.content)))
}

// holds reports whether chunk i in the file is the one of that name. mu may be held for
// reading only.
func (b *body) holds(i int, id dbfs.ChunkID) bool {
	return id != dbfs.ZeroChunk && b.present.has(i) && !b.touched.has(i) && b.content.Chunks.At(i) == id
}

// readAt reads bytes of chunk i, from lo on within it, if it is here under that name.
// mu is not held.
func (b *body) readAt(p []byte, i int, id dbfs.ChunkID, lo int64) (bool, error) {
	for {
		b.mu.RLock()
		held, checked := b.holds(i, id), b.checked.has(i)
		var err error
		if held && checked {
			_, err = b.f.ReadAt(p, int64(i)*dbfs.ChunkSize+lo)
		}
		b.mu.RUnlock()
		if !held || checked && err == nil {
			return held, nil
		}
		if err := b.check(i, id, err != nil); err != nil {
			return false, err
		}
	}
}

// check compares a present chunk with its name, unless that was done; again says that
// something is wrong with it. A damaged one is absent afterwards, or ErrCorrupt if it was
// the only copy. mu is not held.
func (b *body) check(i int, id dbfs.ChunkID, again bool) error {
	b.checking.Lock()
	defer b.checking.Unlock()
	b.mu.RLock()
	if !b.holds(i, id) || b.checked.has(i) && !again {
		b.mu.RUnlock()
		return nil
	}
	got, err := hashRange(b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkLen(b.content.Size, i))
	b.mu.RUnlock()

	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.holds(i, id):
		return nil
	case err == nil && got == id:
		b.checked.set(i)
		b.news = true
		return nil
	case b.unsent.has(i) && b.c.pins.isAt(id, spot{b.file, i}):
		return fmt.Errorf("%w: unsent chunk %d of %s: hashes to %s, want %s: %v", dbfs.ErrCorrupt, i, b.file, got, id, err)
	}
	b.c.opts.Log.Warn("a cached chunk is damaged; it will be fetched again", "file", b.file, "chunk", i, "error", err)
	b.present.clear(i)
	b.unsent.clear(i)
	return b.save()
}

// insert puts a chunk that was fetched into its place, if this is still its place.
// data has been verified.
func (b *body) insert(i int, id dbfs.ChunkID, data []byte) (bool, error) {
	if id == dbfs.ZeroChunk || b.content.Chunks.At(i) != id || b.touched.has(i) {
		return false, nil
	}
	if b.present.has(i) {
		return true, nil
	}
	changes, err := b.create(b.c.cache)
	if err == nil {
		err = b.home.reserve.check(int64(len(data)))
	}
	if err != nil {
		return false, err
	}
	if _, err := b.f.WriteAt(data, int64(i)*dbfs.ChunkSize); err != nil {
		return false, diskError(err)
	}
	fault.Here(fault.ChunkFetched)
	b.present.set(i)
	b.checked.set(i)
	b.clock = b.c.evictor.now()
	if err := b.save(changes...); err != nil {
		b.present.clear(i)
		return false, err
	}
	return true, b.hint(i)
}

// create makes the file if there is none, and returns what the record then needs.
func (b *body) create(h *home) ([]change, error) {
	if b.home != nil {
		return nil, nil
	}
	name := h.bodyFile(b.file)
	if err := removeFile(name); err != nil { // one that a crash has left may be mapped by somebody
		return nil, err
	}
	f, err := openSparse(name, true)
	if err == nil {
		err = diskError(f.Truncate(b.content.Size))
	}
	if err != nil {
		return nil, err
	}
	b.home, b.f = h, f
	b.clock = b.c.evictor.now()
	return []change{set(contentKey(b.file), encodeContent(b.content))}, nil
}

// save writes the record of the parts, with other changes, at once.
func (b *body) save(more ...change) error {
	if b.home == b.c.cache {
		more = append(more, b.order()...)
	}
	more = append(more, set(partsKey(b.file), b.parts.encode(b.c.session)))
	if err := b.home.update(more...); err != nil {
		return fmt.Errorf("record of body %s: %w", b.file, err)
	}
	b.news = false
	b.account()
	return nil
}

// order puts the body at its place in the order of eviction.
func (b *body) order() []change {
	changes := []change{b.c.evictor.order(kindBody, b.file.bytes(), b.clock, b.cleanBytes())}
	if b.ordered != 0 && b.ordered != b.clock {
		changes = append(changes, b.c.evictor.disorder(kindBody, b.file.bytes(), b.ordered))
	}
	b.ordered = b.clock
	return changes
}

// account tells the evictor how many clean bytes there are now.
func (b *body) account() {
	n := b.cleanBytes()
	b.c.evictor.clean.Add(n - b.counted)
	b.counted = n
}

// cleanBytes returns what evicting the body would free; one in state is not evicted.
func (b *body) cleanBytes() int64 {
	n := int64(0)
	if b.home != b.c.cache {
		return 0
	}
	for i := range b.present.all() {
		if b.clean(i) {
			n += int64(dbfs.ChunkLen(b.content.Size, i))
		}
	}
	return n
}

func (b *body) clean(i int) bool {
	return b.present.has(i) && !b.unsent.has(i) && !b.touched.has(i)
}

// hint tells the others that chunk i is here.
func (b *body) hint(i int) error {
	return b.c.cache.update(set(hintKey(b.content.Chunks.At(i), spot{b.file, i}), []byte{}))
}

// move takes the body to another home, by the steps drawn in keys.go.
func (b *body) move(to *home) error {
	from := b.home
	if from == to {
		return nil
	}
	b.home = to
	err := b.save(set(contentKey(b.file), encodeContent(b.content)))
	if err != nil {
		b.home = from
		return err
	}
	fault.Here(fault.BodyEntered)
	copied, err := moveFile(from.bodyFile(b.file), to.bodyFile(b.file))
	if err != nil {
		b.home = from
		err = errors.Join(err, b.forget(to))
		b.account()
		return err
	}
	fault.Here(fault.BodyMoved)
	if copied {
		f, err := openSparse(to.bodyFile(b.file), false)
		if err != nil {
			return err
		}
		b.f.Close()
		b.f = f
	}
	if to == b.c.state {
		name := to.bodyFile(b.file)
		b.c.mustSync(name, filepath.Dir(name))
	}
	if err := b.forget(from); err != nil || !copied {
		return err
	}
	return removeFile(from.bodyFile(b.file))
}

// forget removes the body's record from a home.
func (b *body) forget(h *home) error {
	changes := []change{del(contentKey(b.file)), del(partsKey(b.file))}
	if h == b.c.cache && b.ordered != 0 {
		changes = append(changes, b.c.evictor.disorder(kindBody, b.file.bytes(), b.ordered))
		b.ordered = 0
	}
	return h.update(changes...)
}

// remove drops the record and the file; nothing in it is unsent.
func (b *body) remove() error {
	h := b.home
	if h == nil {
		return nil
	}
	var hints []change
	for i, id := range b.content.Chunks.All() {
		if b.clean(i) {
			hints = append(hints, del(hintKey(id, spot{b.file, i})))
		}
	}
	if err := b.forget(h); err != nil {
		return err
	}
	b.c.cache.update(hints...) // a hint that stays is found wrong when it is followed
	if b.f != nil {
		b.f.Close()
	}
	b.home, b.f, b.content, b.parts = nil, nil, dbfs.Content{}, parts{}
	b.account()
	return removeFile(h.bodyFile(b.file))
}

// retarget makes the body that of another content. Chunks that are the same at the same
// place stay.
func (b *body) retarget(content dbfs.Content) error {
	if b.home == nil {
		b.content, b.parts = content, parts{}
		return nil
	}
	var drop []int
	for i, id := range b.content.Chunks.All() {
		if b.present.has(i) && content.Chunks.At(i) != id {
			drop = append(drop, i)
		}
	}
	for _, i := range drop {
		if err := b.vacate(i); err != nil {
			return err
		}
	}
	dropped := func(i int) bool { return slices.Contains(drop, i) }
	if err := b.own(func(i int) bool { return !dropped(i) }); err != nil {
		return err
	}
	b.content = content
	for _, i := range drop {
		b.present.clear(i)
		b.checked.clear(i)
	}
	if err := b.save(set(contentKey(b.file), encodeContent(content))); err != nil {
		return err
	}
	for _, i := range drop {
		if err := punch(b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkSize); err != nil {
			return err
		}
	}
	return diskError(b.f.Truncate(content.Size))
}

// vacate sees to it that chunk i may be destroyed: what is unsent, or open in an old
// version, lies by itself afterwards. The caller clears present and saves.
func (b *body) vacate(i int) error {
	if !b.present.has(i) || b.touched.has(i) {
		return nil
	}
	ref := b.content.Ref(i)
	if b.unsent.has(i) {
		if err := b.c.pins.setAside(b, i, ref); err != nil {
			return fmt.Errorf("set aside chunk %d of %s: %w", i, b.file, err)
		}
		b.unsent.clear(i)
	} else if err := b.c.cache.update(del(hintKey(ref.ID, spot{b.file, i}))); err != nil {
		return err
	}
	if !b.wanted(i, ref.ID) {
		return nil
	}
	return b.c.keepLoose(ref, b.source(i))
}

func (b *body) source(i int) source { return source{file: b.f, off: int64(i) * dbfs.ChunkSize} }

// wanted reports whether a version that is open names chunk i so.
func (b *body) wanted(i int, id dbfs.ChunkID) bool {
	for h := range b.handles {
		if h.content.Chunks.At(i) == id {
			return true
		}
	}
	return false
}

// discard throws away what a draft wrote and did not seal, but for chunks that were promised.
func (b *body) discard(promised bitmap) error {
	var gone []int
	for i := range b.touched.all() {
		if !promised.has(i) {
			gone = append(gone, i)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := b.own(func(i int) bool { return !b.touched.has(i) || promised.has(i) }); err != nil {
		return err
	}
	for _, i := range gone {
		b.present.clear(i)
		b.checked.clear(i)
		b.touched.clear(i)
	}
	if err := b.save(); err != nil {
		return err
	}
	for _, i := range gone {
		if err := punch(b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkSize); err != nil {
			return err
		}
	}
	if b.touched.any() {
		return nil // it is as long as it was promised to be
	}
	return diskError(b.f.Truncate(b.content.Size))
}

// leaveKept puts chunks of a body that is about to go by themselves, if other files keep them.
func (b *body) leaveKept() error {
	for i := range b.present.all() {
		if !b.clean(i) {
			continue
		}
		kept, err := b.c.keepsChunk(b.content.Chunks.At(i))
		if kept && err == nil {
			err = b.c.keepLoose(b.content.Ref(i), b.source(i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle sends a body that nobody writes and of which nothing is unsent to the clean
// home; or away, if its node is gone or it holds nothing.
func (b *body) settle() error {
	if b.home == nil || b.draft != nil || b.unsent.any() || b.touched.any() {
		return nil
	}
	if b.forgotten && len(b.handles) == 0 || !b.present.any() {
		if err := b.leaveKept(); err != nil {
			return err
		}
		return b.remove()
	}
	if b.home == b.c.state {
		b.clock = b.c.evictor.now()
		return b.move(b.c.cache)
	}
	return nil
}
