package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// evictor keeps the clean bytes within their budget. What was not used for longest goes
// first: loose chunks and bodies stand in one order by a clock of seconds. That somebody
// uses one is noted in memory and written down now and then.
type evictor struct {
	c       *Cache
	kick    chan struct{} // of size one: look now
	size    atomic.Int64  // the budget
	clean   atomic.Int64  // bytes, in bodies and loose
	evicted atomic.Int64  // bytes since Open

	mu    sync.Mutex // one eviction at a time
	saved int64      // clean bytes as last written down; used by run, and by Close after it

	touching sync.Mutex          // guards touched
	touched  map[touchKey]uint32 // when
}

type touchKey struct {
	kind byte
	file File
	id   dbfs.ChunkID
}

const (
	janitorPeriod = 10 * time.Second
	maxTouched    = 4096 // then they are written down at once
)

func (e *evictor) init(c *Cache) {
	e.c = c
	e.kick = make(chan struct{}, 1)
	e.touched = map[touchKey]uint32{}
	e.size.Store(c.opts.Size)
}

// load reads how many clean bytes there were. After a crash the number is a little old,
// and counted again in the background.
func (e *evictor) load() error {
	record, err := e.c.cache.get(totalKey)
	if err != nil {
		return err
	}
	n, closed, err := int64(0), record == nil, error(nil) // a new book has nothing to count
	if record != nil {
		n, closed, err = decodeBytes(record)
	}
	if err != nil && !errors.Is(err, dbfs.ErrCorrupt) {
		return err
	}
	e.clean.Store(n)
	if !closed {
		e.c.running.Go(e.recount)
	}
	e.saved = -1 // what is there may say that it was closed in order
	return e.save(false)
}

// save writes down what is only in memory: the total, and what was used.
func (e *evictor) save(closed bool) error {
	e.flushTouched()
	n := e.clean.Load()
	if n == e.saved && !closed {
		return nil
	}
	e.saved = n
	return e.c.cache.update(set(totalKey, encodeBytes(n, closed)))
}

// recount adds up the eviction order as it was at this moment.
func (e *evictor) recount() {
	before := e.clean.Load()
	sum := int64(0)
	err := e.c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(lruPrefix, nil, func(_, v []byte) bool {
			if n, _, err := decodeBytes(v); err == nil {
				sum += n
			}
			return e.c.ctx.Err() == nil
		})
	})
	if err != nil {
		e.c.opts.Log.Warn("count the cache", "error", err)
		return
	}
	e.clean.Add(sum - before)
}

func (e *evictor) now() uint32 { return uint32(e.c.opts.Clock().Unix()) }

// order returns the change that puts something at its place in the order, disorder the
// one that takes it away.
func (e *evictor) order(kind byte, id []byte, clock uint32, n int64) change {
	return set(lruKey(clock, kind, id), encodeBytes(n, false))
}

func (e *evictor) disorder(kind byte, id []byte, clock uint32) change {
	return del(lruKey(clock, kind, id))
}

// touch notes that something was used.
func (e *evictor) touch(kind byte, id []byte) {
	k := touchKey{kind: kind}
	if kind == kindBody {
		k.file = fileFrom(id)
	} else {
		k.id = dbfs.ChunkID(id)
	}
	e.touching.Lock()
	e.touched[k] = e.now()
	full := len(e.touched) >= maxTouched
	e.touching.Unlock()
	if full {
		e.wake()
	}
}

func (e *evictor) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// run owns the upkeep that nobody waits for.
func (e *evictor) run() {
	tick := time.NewTicker(janitorPeriod)
	defer tick.Stop()
	swept := time.NewTimer(sweepDelay)
	defer swept.Stop()
	for {
		var err error
		select {
		case <-e.c.ctx.Done():
			return
		case <-swept.C:
			err = e.c.sweep(time.Now())
		case <-e.kick:
			err = e.makeRoom(0)
		case <-tick.C:
			err = errors.Join(e.save(false), e.makeRoom(0))
		}
		if err != nil && !errors.Is(err, dbfs.ErrNoSpace) {
			e.c.opts.Log.Warn("upkeep of the cache", "error", err)
		}
	}
}

// flushTouched writes down what was used since the last time. What fails stays old.
func (e *evictor) flushTouched() {
	e.touching.Lock()
	touched := e.touched
	e.touched = map[touchKey]uint32{}
	e.touching.Unlock()
	for k, clock := range touched {
		if k.kind == kindBody {
			e.renewBody(k.file, clock)
		} else {
			e.renewLoose(k.id, clock)
		}
	}
}

func (e *evictor) renewLoose(id dbfs.ChunkID, clock uint32) error {
	return e.placeLoose(id, func(was uint32) bool { return was < clock }, clock)
}

// placeLoose gives a loose chunk another place in the order, if move says so of the one it has.
func (e *evictor) placeLoose(id dbfs.ChunkID, move func(was uint32) bool, clock uint32) error {
	return e.c.cache.kv.Update(func(txn dbfs.Txn) error {
		record, err := txn.Get(looseKey(id))
		if err != nil {
			return err
		}
		l, err := decodeLoose(record)
		if err != nil || !move(l.clock) {
			return err
		}
		old := lruKey(l.clock, kindLoose, id[:])
		l.clock = clock
		return errors.Join(txn.Delete(old), txn.Set(looseKey(id), l.encode()),
			txn.Set(lruKey(clock, kindLoose, id[:]), encodeBytes(int64(l.n), false)))
	})
}

func (e *evictor) renewBody(f File, clock uint32) error {
	b, err := e.c.acquire(f)
	if err != nil {
		return err
	}
	defer e.c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.home != e.c.cache {
		return nil
	}
	return b.renew(clock)
}

// renew gives the body another place in the order.
func (b *body) renew(clock uint32) error {
	if b.clock >= clock {
		return nil
	}
	b.clock = clock
	return b.save()
}

// makeRoom evicts until n more clean bytes are within the budget, and the disk has
// MinFree bytes free. ErrNoSpace: there is nothing left to evict.
func (e *evictor) makeRoom(n int64) error {
	if e.over(n) <= 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, open := range []bool{false, true} { // first what nobody has open
		for over := e.over(n); over > 0; over = e.over(n) {
			freed, err := e.evictSome(over, open)
			if err != nil {
				return fmt.Errorf("evict: %w", err)
			}
			if freed == 0 {
				break
			}
		}
	}
	if e.over(n) > 0 {
		return fmt.Errorf("%w: nothing left to evict", dbfs.ErrNoSpace)
	}
	return nil
}

// over returns how many bytes must go so that n can come.
func (e *evictor) over(n int64) int64 {
	over := e.clean.Load() + n - e.size.Load()
	if e.c.opts.MinFree < 0 {
		return over
	}
	free, err := freeBytes(e.c.opts.Cache)
	if err != nil {
		return over
	}
	return max(over, e.c.opts.MinFree+n-free)
}

// A victim is an entry of the order.
type victim struct {
	clock uint32
	kind  byte
	id    []byte
}

// evictSome evicts up to want bytes, or a little more, from the oldest entries and returns
// how many it freed.
func (e *evictor) evictSome(want int64, open bool) (freed int64, err error) {
	var after []byte
	for freed < want {
		victims, last, err := e.oldest(after, 64)
		if err != nil || len(victims) == 0 {
			return freed, err
		}
		after = last
		for _, v := range victims {
			if freed >= want || v.clock == keptClock {
				return freed, nil
			}
			n, err := e.evict(v, want-freed, open)
			freed += n
			if err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

func (e *evictor) oldest(after []byte, n int) (victims []victim, last []byte, err error) {
	err = e.c.cache.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(lruPrefix, after, func(k, _ []byte) bool {
			last = append(last[:0], k...)
			if rest := k[len(lruPrefix):]; len(rest) > 5 {
				id := append([]byte(nil), rest[5:]...)
				victims = append(victims, victim{binary.BigEndian.Uint32(rest), rest[4], id})
			}
			return len(victims) < n
		})
	})
	return victims, last, err
}

// evict evicts an entry of the order, or, if it is kept, puts it beyond all that is not.
func (e *evictor) evict(v victim, want int64, open bool) (int64, error) {
	switch {
	case v.kind == kindLoose && len(v.id) == len(dbfs.ChunkID{}):
		return e.evictLoose(v)
	case v.kind == kindBody && len(v.id) == fileLen:
		return e.evictBody(v, want, open)
	}
	return 0, e.c.cache.update(del(lruKey(v.clock, v.kind, v.id)))
}

// usedSince returns when something was used, if that was later than the order knows.
func (e *evictor) usedSince(k touchKey, known uint32) (clock uint32, later bool) {
	e.touching.Lock()
	defer e.touching.Unlock()
	clock = e.touched[k]
	return clock, clock > known
}

func (e *evictor) evictLoose(v victim) (int64, error) {
	id := dbfs.ChunkID(v.id)
	if clock, later := e.usedSince(touchKey{kind: kindLoose, id: id}, v.clock); later {
		return 0, e.renewLoose(id, clock)
	}
	if kept, err := e.c.keepsChunk(id); err != nil {
		return 0, err
	} else if kept {
		if err := e.renewLoose(id, keptClock); !errors.Is(err, dbfs.ErrNotExist) {
			return 0, err
		}
	}
	n, err := e.c.dropLoose(id)
	if n == 0 && err == nil { // an entry of the order without a chunk
		err = e.c.cache.update(del(lruKey(v.clock, v.kind, v.id)))
	}
	e.evicted.Add(n)
	return n, err
}

func (e *evictor) evictBody(v victim, want int64, open bool) (int64, error) {
	f := fileFrom(v.id)
	b, err := e.c.acquire(f)
	if err != nil {
		return 0, err
	}
	defer e.c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.home != e.c.cache || b.clock != v.clock {
		return 0, e.c.cache.update(del(lruKey(v.clock, v.kind, v.id)))
	}
	if b.draft != nil || len(b.handles) > 0 && !open {
		return 0, nil
	}
	if clock, later := e.usedSince(touchKey{kind: kindBody, file: f}, v.clock); later {
		return 0, b.renew(clock)
	}
	if kept, err := e.c.kept(f); kept != nil || err != nil {
		return 0, errors.Join(err, b.renew(keptClock))
	}
	n, err := b.evict(want)
	e.evicted.Add(n)
	return n, err
}

// evict makes chunks absent, from the beginning on, and returns the bytes freed. Those
// that somebody is about to read stay as long as there are others.
//
// A file that somebody else has is left alone.
func (b *body) evict(want int64) (int64, error) {
	if shared, err := b.shared(); shared || err != nil {
		return 0, err
	}
	var gone []int
	n := int64(0)
	choose := func(near bool) error {
		for i := range b.present.all() {
			if n >= want {
				break
			}
			if !b.clean(i) || b.near(i) != near {
				continue
			}
			kept, err := b.c.keepsChunk(b.content.Chunks.At(i)) // by another file, which has its bytes here
			if err != nil {
				return err
			}
			if !kept {
				gone = append(gone, i)
				n += int64(dbfs.ChunkLen(b.content.Size, i))
			}
		}
		return nil
	}
	err := choose(false)
	if n == 0 && err == nil {
		err = choose(true)
	}
	if err != nil {
		return 0, err
	}
	return n, b.drop(gone)
}

// drop makes clean chunks absent.
func (b *body) drop(gone []int) error {
	for _, i := range gone {
		b.present.clear(i)
		b.checked.clear(i)
	}
	if !b.present.any() && len(b.handles) == 0 {
		return b.remove()
	}
	if err := b.save(); err != nil {
		return err
	}
	fault.Here(fault.ChunkEvicted)
	var hints []change
	for _, i := range gone {
		hints = append(hints, del(hintKey(b.content.Chunks.At(i), spot{b.file, i})))
		if err := punch(b.f, int64(i)*dbfs.ChunkSize, dbfs.ChunkSize); err != nil {
			return err
		}
	}
	return b.c.cache.update(hints...)
}

// near reports whether a reader is at chunk i or just before it.
func (b *body) near(i int) bool {
	for h := range b.handles {
		if at := int(h.next.Load() / dbfs.ChunkSize); i >= at-1 && i <= at+max(1, b.c.opts.ReadAhead) {
			return true
		}
	}
	return false
}
