package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// largeDraft is a draft in a body. Its size and chunks are guarded by body.mu.
type largeDraft struct {
	d *Draft
	c *Cache
	b *body

	hashing sync.WaitGroup // background hashing of its chunks

	size     int64
	chunks   map[int]*fresh // the touched ones that are within size, or being written to
	promised *Promise       // nil: nothing is that has not been recorded
}

// fresh is what is known of a touched chunk while it changes.
type fresh struct {
	gen     uint64 // counts changes
	writers int    // writes going on
	begun   bool   // one of them has ended
	written int    // bytes since it was last hashed
	charged int64  // bytes counted as unsent
	hashed  bool   // id names the bytes as of idGen
	id      dbfs.ChunkID
	idGen   uint64
	shared  dbfs.ChunkRef // not zero: it is this one, of which the body has no bytes; see share.go
}

// takeOver begins a draft from the bytes of a version of the file.
func takeOver(d *Draft, base dbfs.Content) (*largeDraft, error) {
	l, err := attach(d)
	if err != nil {
		return nil, err
	}
	l.b.mu.Lock()
	if !l.b.content.Equal(base) {
		err = l.b.retarget(base)
	}
	if err == nil {
		err = l.b.own(keepAll)
	}
	l.size = base.Size
	l.b.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

// startOver begins a draft of no bytes.
func startOver(d *Draft) (*largeDraft, error) {
	l, err := attach(d)
	if err != nil {
		return nil, err
	}
	l.b.mu.Lock()
	if err = l.b.own(keepAll); err == nil { // what is unsent is set aside from it
		err = l.cut(0)
	}
	l.b.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

func attach(d *Draft) (*largeDraft, error) {
	b, err := d.c.acquire(d.file)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.draft = d
	b.mu.Unlock()
	return &largeDraft{d: d, c: d.c, b: b, chunks: map[int]*fresh{}}, nil
}

// end gives the body back without what was not sealed.
func (l *largeDraft) end() error {
	l.hashing.Wait()
	l.b.mu.Lock()
	for i := range l.chunks {
		l.drop(i)
	}
	err := l.breakPromise()
	if l.b.touched.any() {
		err = errors.Join(err, l.b.discard(nil))
	}
	l.b.draft = nil
	err = errors.Join(err, l.b.settle())
	l.b.mu.Unlock()
	l.c.release(l.b)
	return err
}

func (l *largeDraft) length() int64 {
	l.b.mu.RLock()
	defer l.b.mu.RUnlock()
	return l.size
}

func (l *largeDraft) dirty() bool {
	l.b.mu.RLock()
	defer l.b.mu.RUnlock()
	return l.changed()
}

func (l *largeDraft) changed() bool { return l.b.touched.any() || l.size != l.b.content.Size }

func (l *largeDraft) chunk(i int) *fresh {
	f := l.chunks[i]
	if f == nil {
		f = &fresh{}
		l.chunks[i] = f
	}
	return f
}

// drop forgets a chunk that is not the draft's any more.
func (l *largeDraft) drop(i int) {
	if f := l.chunks[i]; f != nil {
		l.c.room.add(-f.charged)
		delete(l.chunks, i)
	}
}

func (l *largeDraft) read(ctx context.Context, p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), l.length()-off)))
	for done := 0; done < n; {
		i, lo, k := pieceAt(off+int64(done), n-done)
		if err := l.readChunk(ctx, p[done:done+k], i, lo); err != nil {
			return done, err
		}
		done += k
	}
	return n, nil
}

func (l *largeDraft) readChunk(ctx context.Context, p []byte, i int, lo int64) error {
	for {
		l.b.mu.RLock()
		ref := l.ref(i)
		written := l.isWritten(i)
		var err error
		if written {
			var n int
			n, err = l.b.f.ReadAt(p, int64(i)*dbfs.ChunkSize+lo)
			clear(p[n:]) // cut meanwhile
		}
		l.b.mu.RUnlock()
		switch {
		case written && errors.Is(err, io.EOF):
			return nil
		case written:
			return err
		case ref.ID == dbfs.ZeroChunk:
			clear(p)
			return nil
		}
		if here, err := l.b.readAt(p, i, ref.ID, lo); here || err != nil {
			return err
		}
		data, err := l.c.fetcher.obtain(ctx, ref, spot{l.b.file, i})
		if err != nil {
			return err
		}
		l.b.mu.RLock()
		same := l.ref(i) == ref && !l.isWritten(i)
		l.b.mu.RUnlock()
		if same {
			copy(p, data[lo:])
			return nil
		}
	}
}

// ref returns the content's chunk i, or the one that is shared in its place; one of zeros where
// there is none.
func (l *largeDraft) ref(i int) dbfs.ChunkRef {
	if l.isShared(i) {
		return l.chunks[i].shared
	}
	if i >= 0 && i < l.b.content.Chunks.Len() {
		return l.b.content.Ref(i)
	}
	return dbfs.ChunkRef{}
}

func (l *largeDraft) write(ctx context.Context, p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		i, lo, k := pieceAt(off+int64(done), len(p)-done)
		n, err := l.writeChunk(ctx, p[done:done+k], i, lo)
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}

func (l *largeDraft) writeChunk(ctx context.Context, p []byte, i int, lo int64) (int, error) {
	off := int64(i)*dbfs.ChunkSize + lo
	return l.changeChunk(ctx, i, lo, len(p), func() (int, error) {
		if err := l.c.state.reserve.check(int64(len(p))); err != nil {
			return 0, err
		}
		return l.b.f.WriteAt(p, off)
	})
}

// changeChunk lets put change n bytes at lo in chunk i of the file, and returns how many it did.
func (l *largeDraft) changeChunk(ctx context.Context, i int, lo int64, n int, put func() (int, error)) (int, error) {
	err := l.change(ctx, func() plan { return l.planWrite(i, lo, n) }, func() {
		f := l.chunk(i)
		f.gen++
		f.writers++
	})
	if err != nil {
		return 0, err
	}
	l.b.mu.RLock()
	n, err = put()
	l.b.mu.RUnlock()
	fault.Here(fault.DraftWritten)
	l.wrote(i, int64(i)*dbfs.ChunkSize+lo, n)
	return n, diskError(err)
}

// wrote ends what changeChunk began.
func (l *largeDraft) wrote(i int, off int64, n int) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if n > 0 {
		l.size = max(l.size, off+int64(n))
	}
	f := l.chunk(i)
	f.gen++
	f.writers--
	f.begun = f.begun || n > 0
	f.written += n
	if f.written >= dbfs.ChunkSize && f.writers == 0 {
		f.written = 0
		l.c.hasher.offer(l, i, f.gen)
	}
}

// A plan is what has to be done before a change of a draft.
type plan struct {
	touch   []touch // chunks that stop being the content's
	cut     int64   // where to cut the file off then; -1: nowhere
	missing int     // a chunk to bring first; -1: none
	grow    int64   // the file's length to be, at least
}

type touch struct {
	i int
	n int64 // its length to be
}

// planWrite says what writing n bytes at lo in chunk i needs.
func (l *largeDraft) planWrite(i int, lo int64, n int) plan {
	end := int64(i)*dbfs.ChunkSize + lo + int64(n)
	pl := l.planGrow(max(end, l.size))
	whole := lo == 0 && n >= l.ref(i).Len
	l.plan(&pl, i, whole)
	return pl
}

// planGrow says what it takes to make the draft longer: its last chunk becomes another.
func (l *largeDraft) planGrow(size int64) plan {
	pl := plan{missing: -1, cut: -1, grow: size}
	if size > l.size && l.size%dbfs.ChunkSize != 0 {
		l.plan(&pl, int(l.size/dbfs.ChunkSize), false)
	}
	return pl
}

// planCut says what it takes to make the draft shorter.
func (l *largeDraft) planCut(size int64) plan {
	pl := plan{missing: -1, cut: size, grow: size}
	if size%dbfs.ChunkSize != 0 {
		l.plan(&pl, int(size/dbfs.ChunkSize), false)
	}
	return pl
}

// plan adds chunk i; whole says that none of its old bytes stay.
func (l *largeDraft) plan(pl *plan, i int, whole bool) {
	n := int64(dbfs.ChunkLen(pl.grow, i))
	if k := len(pl.touch); k > 0 && pl.touch[k-1].i == i {
		k := &pl.touch[k-1]
		k.n = n
		if whole {
			pl.missing = -1
		}
		return
	}
	pl.touch = append(pl.touch, touch{i, n})
	id := l.ref(i).ID
	if !whole && !l.isWritten(i) && id != dbfs.ZeroChunk && !(l.b.holds(i, id) && l.b.checked.has(i)) {
		pl.missing = i
	}
}

// cost returns how many more unsent bytes there will be.
func (l *largeDraft) cost(pl plan) int64 {
	n := int64(0)
	for _, t := range pl.touch {
		n += t.n
		if f := l.chunks[t.i]; f != nil {
			n -= f.charged
		}
	}
	return max(n, 0)
}

// change carries a plan out as soon as nothing is missing and there is room, then calls
// done with body.mu held. It plans anew after every wait.
func (l *largeDraft) change(ctx context.Context, planning func() plan, done func()) error {
	paid := int64(0)
	defer func() { l.c.room.add(-paid) }()
	for {
		l.b.mu.Lock()
		pl := planning()
		cost := l.cost(pl)
		if pl.missing < 0 && cost <= paid {
			err := l.carryOut(pl)
			if err == nil {
				done()
			}
			l.b.mu.Unlock()
			return err
		}
		ref := l.ref(pl.missing)
		l.b.mu.Unlock()
		if cost > paid {
			if err := l.c.room.take(ctx, cost-paid, l.c.opts.Patience); err != nil {
				return err
			}
			paid = cost
		}
		if pl.missing >= 0 {
			if err := l.bring(ctx, pl.missing, ref); err != nil {
				return err
			}
		}
	}
}

// bring puts chunk i, the content's or one that is shared, into the body, right and checked.
func (l *largeDraft) bring(ctx context.Context, i int, ref dbfs.ChunkRef) error {
	if err := l.b.check(i, ref.ID, false); err != nil {
		return err
	}
	l.b.mu.RLock()
	here := l.b.holds(i, ref.ID)
	l.b.mu.RUnlock()
	if here {
		return nil
	}
	data, err := l.c.fetcher.obtain(ctx, ref, spot{l.b.file, i})
	if err != nil {
		return err
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if l.isShared(i) {
		return l.fill(i, ref, data)
	}
	_, err = l.b.insert(i, ref.ID, data)
	return err
}

// carryOut does what a plan says; body.mu is held.
func (l *largeDraft) carryOut(pl plan) error {
	var first []int
	for _, t := range pl.touch {
		if !l.b.touched.has(t.i) {
			first = append(first, t.i)
		}
	}
	if err := l.fits(first, pl.grow); err != nil {
		return err
	}
	if err := l.b.touch(first); err != nil {
		return err
	}
	if pl.cut >= 0 {
		if err := l.cut(pl.cut); err != nil {
			return err
		}
	}
	for _, t := range pl.touch {
		f := l.chunk(t.i)
		l.c.room.add(t.n - f.charged)
		f.charged = t.n
		f.shared = dbfs.ChunkRef{}
		f.gen++
	}
	return nil
}

// fits refuses to change more chunks of a sparse file of that size than may be other than zeros.
func (l *largeDraft) fits(first []int, size int64) error {
	n := dbfs.NumChunks(size)
	if n <= dbfs.MaxChunks || len(first) == 0 {
		return nil
	}
	was, data := l.b.content.Chunks, 0
	for i := range was.All() {
		if i < n && !l.b.touched.has(i) && !slices.Contains(first, i) {
			data++
		}
	}
	for i := range l.b.touched.all() {
		if i < n {
			data++
		}
	}
	if data+len(first) > dbfs.MaxChunks {
		return fmt.Errorf("%w: a file may have %d bytes that are not in holes, in chunks of %d", dbfs.ErrTooLarge, int64(dbfs.MaxChunks)*dbfs.ChunkSize, dbfs.ChunkSize)
	}
	return nil
}

// cut makes the draft shorter: chunks beyond the new end are gone.
func (l *largeDraft) cut(size int64) error {
	n := dbfs.NumChunks(size)
	var gone []int
	for i := range l.b.content.Chunks.From(n) {
		if !l.b.touched.has(i) {
			gone = append(gone, i)
		}
	}
	if err := l.b.touch(gone); err != nil {
		return err
	}
	for i := range l.chunks {
		if i >= n {
			l.cutChunk(i)
		}
	}
	l.size = min(l.size, size)
	if l.b.f == nil {
		return nil
	}
	return diskError(l.b.f.Truncate(size))
}

// cutChunk takes a chunk's charge away; its generation goes on, as a write may be in it.
func (l *largeDraft) cutChunk(i int) {
	f := l.chunks[i]
	l.c.room.add(-f.charged)
	f.charged = 0
	f.hashed = false
	f.shared = dbfs.ChunkRef{}
	f.gen++
}

func (l *largeDraft) truncate(ctx context.Context, size int64) error {
	was := l.length()
	if size == was {
		return nil
	}
	planning := func() plan {
		if size < l.size {
			return l.planCut(size)
		}
		return l.planGrow(size)
	}
	var err error
	e := l.change(ctx, planning, func() {
		l.size = size
		err = l.resize()
	})
	return errors.Join(e, err)
}

// resize gives the file the draft's length. A draft that grew without a write may not
// have a file yet.
func (l *largeDraft) resize() error {
	if l.b.home != l.c.state {
		if err := l.b.touch(nil); err != nil {
			return err
		}
	}
	return diskError(l.b.f.Truncate(l.size))
}

// touch makes chunks a draft's: whatever must be kept of them is set aside. It takes the
// body to the state home.
func (b *body) touch(chunks []int) error {
	changes, err := b.create(b.c.state)
	if err == nil {
		err = b.move(b.c.state)
	}
	if err != nil {
		return err
	}
	if len(chunks) == 0 && changes == nil {
		return nil
	}
	for _, i := range chunks {
		if err := b.vacate(i); err != nil {
			return err
		}
		if !b.present.has(i) { // a crash may have left bytes in the hole
			if err := punch(b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkSize); err != nil {
				return err
			}
		}
	}
	was := slices.Clone(b.touched)
	for _, i := range chunks {
		b.touched.set(i)
	}
	if err := b.save(changes...); err != nil {
		b.touched = was
		return fmt.Errorf("touch: %w", err)
	}
	for _, i := range chunks {
		b.present.set(i)
		b.checked.clear(i)
	}
	return nil
}

// seal enters what hash has named, and names what has changed since.
func (l *largeDraft) seal() (dbfs.Content, []dbfs.ChunkRef, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	content, chunks, err := l.cutOut()
	if err != nil {
		return content, nil, err
	}
	fault.Here(fault.SealHashed)
	name := l.c.state.bodyFile(l.b.file)
	l.c.mustSync(name, filepath.Dir(name))
	promise, err := l.keepPromise(content, chunks)
	if err != nil {
		return content, nil, err
	}
	was, old := l.b.parts.clone(), l.b.content
	err = l.c.pins.enter(chunks, func(chunks []sealed) ([]change, error) {
		l.b.become(content, chunks)
		changes := []change{
			set(contentKey(l.b.file), encodeContent(content)),
			set(partsKey(l.b.file), l.b.parts.encode(l.c.session)),
		}
		if promise != nil {
			changes = append(changes, set(promiseKey(l.b.file), promise.encode()))
		}
		return changes, nil
	})
	if err != nil {
		l.b.parts, l.b.content = was, old
		return content, nil, err
	}
	if promise != nil {
		l.promised = promise
		l.c.pins.owe()
	}
	for i := range l.chunks {
		l.drop(i)
	}
	held := make([]dbfs.ChunkRef, len(chunks))
	for n, s := range chunks {
		held[n] = s.ref
	}
	return content, held, l.punchZeros(content, was)
}

// cutOut returns the blocklist, and the chunks of it that are new.
func (l *largeDraft) cutOut() (dbfs.Content, []sealed, error) {
	content := dbfs.Content{Size: l.size}
	changed := make(map[int]dbfs.ChunkID)
	var chunks []sealed
	for i := range l.b.touched.all() {
		n := dbfs.ChunkLen(l.size, i)
		if n == 0 { // cut off
			break
		}
		id, err := l.name(i)
		if err != nil {
			return content, nil, err
		}
		changed[i] = id
		if id != dbfs.ZeroChunk {
			chunks = append(chunks, sealed{ref: dbfs.ChunkRef{ID: id, Len: n}, at: spot{l.b.file, i}, elsewhere: l.isShared(i)})
		}
	}
	content.Chunks = l.b.content.Chunks.Edit(dbfs.NumChunks(l.size), changed)
	return content, chunks, nil
}

// name returns the name of a touched chunk; no write is going on.
func (l *largeDraft) name(i int) (dbfs.ChunkID, error) {
	f := l.chunk(i)
	if f.hashed && f.idGen == f.gen {
		return f.id, nil
	}
	id, err := hashRange(l.b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkLen(l.size, i))
	if err == nil {
		f.hashed, f.id, f.idGen = true, id, f.gen
	}
	return id, err
}

// become makes the touched chunks those of a new content.
func (b *body) become(content dbfs.Content, chunks []sealed) {
	for i := range b.touched.all() {
		b.touched.clear(i)
		b.present.clear(i)
		b.unsent.clear(i)
	}
	for _, s := range chunks {
		if s.elsewhere {
			continue
		}
		b.present.set(s.at.i)
		b.checked.set(s.at.i)
		if s.fresh {
			b.unsent.set(s.at.i)
		}
	}
	b.content = content
}

// punchZeros gives back the space of chunks that turned out to be zeros.
func (l *largeDraft) punchZeros(content dbfs.Content, was parts) error {
	var err error
	for i := range was.touched.all() {
		if i < content.Chunks.Len() && content.Chunks.At(i) == dbfs.ZeroChunk {
			err = errors.Join(err, punch(l.b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkSize))
		}
	}
	return err
}
