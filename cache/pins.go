package cache

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// pins know which chunks are unsent: those that an open draft holds, because it has
// sealed them, and those that the journal needs. A chunk is asked about when the journal
// says it may go and when a draft lets go of it; so the moment between a seal and the
// entry in the journal is covered, and nothing stays unsent for ever.
type pins struct {
	c *Cache

	mu       sync.Mutex // one change of unsent records at a time; guards what follows
	needed   func(dbfs.ChunkID) bool
	holds    map[dbfs.ChunkID]int // how many drafts hold it
	seals    uint64               // the last one given a number
	safe     uint64               // seals up to this one survive loss of power
	owed     uint64               // of seals up to this one, some have promised bytes in them
	begun    bool                 // a Sync of this session is through, so that what earlier ones sealed is safe
	marked   uint64               // the seal that the book's mark says
	unmarked bool                 // it should say safe
}

func (p *pins) init(c *Cache) {
	p.c = c
	p.needed = func(dbfs.ChunkID) bool { return true }
	p.holds = map[dbfs.ChunkID]int{}
}

func (p *pins) get(id dbfs.ChunkID) (u unsent, ok bool, err error) {
	record, err := p.c.state.get(unsentKey(id))
	if err != nil || record == nil {
		return u, false, err
	}
	u, err = decodeUnsent(record)
	if err != nil {
		return u, false, fmt.Errorf("unsent chunk %s: %w", id, err)
	}
	return u, true, nil
}

// isAt reports whether a place is the one where an unsent chunk lies. The record of a body may
// be older than that of a chunk that was set aside from it.
func (p *pins) isAt(id dbfs.ChunkID, at spot) bool {
	u, ok, err := p.get(id)
	return err != nil || ok && !u.loose && u.at == at
}

// each calls fn with every unsent chunk. Damaged records are passed over: the chunk they
// were of is missed when somebody asks for it.
func (p *pins) each(fn func(dbfs.ChunkID, unsent)) error {
	return p.c.state.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(key('u'), nil, func(k, v []byte) bool {
			u, err := decodeUnsent(v)
			if err != nil || len(k) != 2+len(dbfs.ChunkID{}) {
				p.c.opts.Log.Error("damaged record of an unsent chunk", "key", fmt.Sprintf("%x", k), "error", err)
				return true
			}
			fn(dbfs.ChunkID(k[2:]), u)
			return true
		})
	})
}

// A sealed chunk is one that a draft has just cut out.
type sealed struct {
	ref   dbfs.ChunkRef
	loose bool
	at    spot
	fresh bool // set by enter: there was no record, this one is its holder

	elsewhere bool // its bytes are not here: it is held, or the server's, and gets no record
}

// enter makes chunks unsent, and makes the other changes that more returns, at once. It
// holds them until letGo.
func (p *pins) enter(chunks []sealed, more func([]sealed) ([]change, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seals++
	total := int64(0)
	err := p.c.state.kv.Update(func(txn dbfs.Txn) (err error) {
		if total, err = p.enterNew(txn, chunks); err != nil {
			return err
		}
		if err := p.putMark(txn); err != nil {
			return err
		}
		changes, err := more(chunks)
		if err != nil {
			return err
		}
		return apply(txn, changes)
	})
	if err != nil {
		return err
	}
	fault.Here(fault.SealEntered)
	p.marked, p.unmarked = p.safe, false
	p.c.room.add(total)
	for _, s := range chunks {
		p.holds[s.ref.ID]++
	}
	return nil
}

// enterNew writes the records of chunks that have none, marks those fresh, and returns
// how many bytes they are.
func (p *pins) enterNew(txn dbfs.Txn, chunks []sealed) (int64, error) {
	total := int64(0)
	for i := range chunks {
		s := &chunks[i]
		if s.elsewhere {
			continue
		}
		_, err := txn.Get(unsentKey(s.ref.ID))
		if err == nil {
			continue
		}
		if !errors.Is(err, dbfs.ErrNotExist) {
			return 0, err
		}
		s.fresh = true
		total += int64(s.ref.Len)
		u := unsent{n: s.ref.Len, session: p.c.session, seal: p.seals, loose: s.loose, at: s.at}
		if err := txn.Set(unsentKey(s.ref.ID), u.encode()); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// setAside copies an unsent chunk out of a body, whose mu is held, so that its place can
// be overwritten. One that survives loss of power goes on doing so.
func (p *pins) setAside(b *body, i int, ref dbfs.ChunkRef) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok, err := p.get(ref.ID)
	if err != nil {
		return err
	}
	if !ok || u.loose || u.at != (spot{b.file, i}) {
		return nil // somebody else holds it
	}
	changes, err := p.c.state.lay(ref, b.source(i))
	if err != nil {
		return err
	}
	fault.Here(fault.AsideCopied)
	u.loose = true
	u.at = spot{}
	safe := u.session != p.c.session || u.seal <= max(p.safe, p.owed)
	if !safe { // a Sync that is under way does not know of the copy
		p.seals++
		u.seal = p.seals
	}
	err = p.c.state.update(append(changes, set(unsentKey(ref.ID), u.encode()))...)
	if err != nil {
		return err
	}
	name := p.c.state.chunkFile(ref.ID)
	if ref.Len > SmallSize {
		p.c.mustSync(name, filepath.Dir(name))
	}
	if !safe {
		return nil
	}
	if ref.Len > SmallSize {
		if err := errors.Join(syncFile(name), syncFile(filepath.Dir(name))); err != nil {
			return diskError(err)
		}
	}
	return p.c.state.kv.Sync()
}

// owe says that the seals so far have bytes in them that survive loss of power once the book does.
func (p *pins) owe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = p.seals
}

func (p *pins) lastSeal() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seals
}

// synced notes that seals up to one survive loss of power. The next seal writes it down: until
// there is one, a crash makes more be looked at than need be, and nothing else.
func (p *pins) synced(upTo uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.safe = max(p.safe, upTo)
	p.unmarked = p.unmarked || !p.begun || p.safe > p.marked
	p.begun = true
}

// putMark writes down up to where everything is safe, if the book does not say so.
func (p *pins) putMark(txn dbfs.Txn) error {
	if !p.unmarked {
		return nil
	}
	return txn.Set(markKey, mark{p.c.session, p.safe}.encode())
}

// mark returns the book's mark; the zero mark, of no session, if it has none.
func (p *pins) mark() (mark, error) {
	record, err := p.c.state.get(markKey)
	if err != nil || record == nil {
		return mark{}, err
	}
	m, err := decodeMark(record)
	if errors.Is(err, dbfs.ErrCorrupt) { // then everything is looked at
		return mark{}, nil
	}
	return m, err
}

// letGo is called when a draft has no more need of chunks that it sealed.
func (c *Cache) letGo(refs []dbfs.ChunkRef) error {
	c.pins.mu.Lock()
	for _, ref := range refs {
		if c.pins.holds[ref.ID]--; c.pins.holds[ref.ID] <= 0 {
			delete(c.pins.holds, ref.ID)
		}
	}
	c.pins.mu.Unlock()
	return c.Unpin(refs)
}

// free reports whether nobody names a chunk any more. mu is held.
func (p *pins) free(id dbfs.ChunkID) bool { return p.holds[id] == 0 && !p.needed(id) }

func (p *pins) mayGo(id dbfs.ChunkID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free(id)
}

// Unpin makes unsent chunks clean that the journal does not name any more. It asks the
// function given to Recover again, so it may name chunks too many, also twice, but must not be called
// with a lock held that the function takes.
func (c *Cache) Unpin(refs []dbfs.ChunkRef) error {
	refs = distinct(refs)
	var err error
	var moved int64
	for len(refs) > 0 {
		n := min(len(refs), unpinRun)
		run, e := c.unpin(refs[:n])
		moved += run
		err = errors.Join(err, e)
		refs = refs[n:]
	}
	if moved > 0 {
		c.evictor.wake()
	}
	if err != nil {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}

func distinct(refs []dbfs.ChunkRef) []dbfs.ChunkRef {
	seen := make(map[dbfs.ChunkID]bool, len(refs))
	var once []dbfs.ChunkRef
	for _, ref := range refs {
		if !seen[ref.ID] {
			seen[ref.ID] = true
			once = append(once, ref)
		}
	}
	return once
}

// unpinRun chunks share the transactions of their small ones: at most 512 KiB of values, which
// the book of clean bytes takes at once.
const unpinRun = 8

// unpin returns how many bytes became clean.
func (c *Cache) unpin(refs []dbfs.ChunkRef) (int64, error) {
	before := c.room.bytes()
	var errs error
	for range 3 { // chunks may be set aside while they are looked for
		small, large, inBodies, err := c.whereUnsent(refs)
		errs = errors.Join(err, c.unpinSmall(small))
		for _, ref := range large {
			errs = errors.Join(errs, c.unpinLarge(ref))
		}
		refs = nil
		for file, chunks := range inBodies {
			missed, err := c.unpinBody(file, chunks)
			errs = errors.Join(errs, err)
			refs = append(refs, missed...)
		}
		if len(refs) == 0 {
			break
		}
	}
	return before - c.room.bytes(), errs
}

func (c *Cache) whereUnsent(refs []dbfs.ChunkRef) (small, large []dbfs.ChunkRef, inBodies map[File][]sealed, errs error) {
	inBodies = map[File][]sealed{}
	for _, ref := range refs {
		if !c.pins.mayGo(ref.ID) {
			continue
		}
		u, ok, err := c.pins.get(ref.ID)
		ref.Len = u.n
		switch {
		case err != nil:
			errs = errors.Join(errs, err)
		case !ok:
		case !u.loose:
			inBodies[u.at.file] = append(inBodies[u.at.file], sealed{ref: ref, at: u.at})
		case u.n <= SmallSize:
			small = append(small, ref)
		default:
			large = append(large, ref)
		}
	}
	return small, large, inBodies, errs
}

// unpinSmall moves values from one book to the other.
func (c *Cache) unpinSmall(refs []dbfs.ChunkRef) error {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	var in, out []change
	freed := int64(0)
	gained := int64(0)
	clock := c.evictor.now()
	for _, ref := range refs {
		u, ok, err := c.pins.get(ref.ID)
		if err != nil {
			return err
		}
		if !ok || !u.loose || !c.pins.free(ref.ID) {
			continue
		}
		data, err := c.state.get(valueKey(ref.ID))
		if err != nil {
			return err
		}
		known, err := c.cache.get(looseKey(ref.ID))
		if err != nil {
			return err
		}
		if known == nil && data != nil {
			in = append(in, set(valueKey(ref.ID), data), set(looseKey(ref.ID), looseRecord{ref.Len, clock}.encode()))
			in = append(in, c.evictor.order(kindLoose, ref.ID[:], clock, int64(ref.Len)))
			gained += int64(ref.Len)
		}
		out = append(out, del(valueKey(ref.ID)), del(unsentKey(ref.ID)))
		freed += int64(u.n)
	}
	if len(out) == 0 {
		return nil
	}
	if len(in) > 0 {
		if err := c.cache.update(in...); err != nil {
			return err
		}
		c.evictor.clean.Add(gained)
	}
	fault.Here(fault.ChunkUnpinned)
	if err := c.state.update(out...); err != nil {
		return err
	}
	c.room.add(-freed)
	return nil
}

func (c *Cache) unpinLarge(ref dbfs.ChunkRef) error {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	u, ok, err := c.pins.get(ref.ID)
	if err != nil || !ok || !u.loose || !c.pins.free(ref.ID) {
		return err
	}
	known, err := c.cache.get(looseKey(ref.ID))
	if err != nil {
		return err
	}
	from := c.state.chunkFile(ref.ID)
	if known == nil {
		if err := c.enterLoose(ref, nil); err != nil {
			return err
		}
		if _, err := moveFile(from, c.cache.chunkFile(ref.ID)); err != nil {
			return err
		}
	}
	if err := c.state.update(del(unsentKey(ref.ID))); err != nil {
		return err
	}
	c.room.add(-int64(u.n))
	return removeFile(from)
}

// unpinBody returns the chunks that are not in the body any more.
func (c *Cache) unpinBody(file File, chunks []sealed) (missed []dbfs.ChunkRef, err error) {
	b, err := c.acquire(file)
	if err != nil {
		return nil, err
	}
	defer c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if missed, err = c.unpinChunks(b, chunks); err != nil {
		return nil, err
	}
	return missed, b.settle()
}

func (c *Cache) unpinChunks(b *body, chunks []sealed) (missed []dbfs.ChunkRef, err error) {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	var changes, hints []change
	freed := int64(0)
	for _, s := range chunks {
		if !b.unsent.has(s.at.i) || b.content.Chunks.At(s.at.i) != s.ref.ID {
			missed = append(missed, s.ref)
			continue
		}
		if !c.pins.free(s.ref.ID) {
			continue
		}
		b.unsent.clear(s.at.i)
		freed += int64(s.ref.Len)
		changes = append(changes, del(unsentKey(s.ref.ID)))
		hints = append(hints, set(hintKey(s.ref.ID, s.at), []byte{}))
	}
	if len(changes) == 0 {
		return missed, nil
	}
	if err := b.save(changes...); err != nil {
		return nil, err
	}
	c.room.add(-freed)
	return missed, c.cache.update(hints...)
}
