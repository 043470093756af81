package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// lentDraft is a draft in a file that is lent. Others read it without asking, and may have maps of it
// in which they store: so what is sealed never lies in this file, but by itself, as it was when its
// name was computed; and where a map is possible every chunk is looked at by each seal.
type lentDraft struct {
	d    *Draft
	c    *Cache
	loan *Loan

	mu      sync.RWMutex // guards what follows; held by writes under way, and by a seal
	size    int64
	least   int64 // the shortest it has been since the last seal: what was behind that is gone
	touched bitmap
	charged int64 // bytes counted as unsent
	mapped  bool  // somebody may have a map to store in
	asOf    int64 // the file's time at the last seal, in nanoseconds
}

// DraftLent begins to write a version of a file that is lent: in place, so that who has the loan
// sees it. The draft ends the loan when it is closed.
func (c *Cache) DraftLent(f File, base dbfs.Content, loan *Loan) (*Draft, error) {
	if err := loan.take(); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", f, err)
	}
	d := &Draft{c: c, file: f, sealed: base}
	d.lent = &lentDraft{d: d, c: c, loan: loan, size: base.Size, least: base.Size}
	return d, nil
}

// Mapped says that from now on somebody may store into the file of a loan without anybody hearing of it.
// It comes before anybody can.
func (d *Draft) Mapped() error {
	if d.lent == nil {
		return nil
	}
	l := d.lent
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mapped {
		return nil
	}
	asOf, err := l.past()
	if err != nil {
		return fmt.Errorf("draft of %s: %w", d.file, err)
	}
	l.mapped, l.asOf = true, asOf
	return nil
}

// Written reports whether anybody else may write to the file of a loan: through a handle, or through a
// map that has outlived it. When that cannot be known, somebody may.
func (d *Draft) Written() bool {
	if d.lent == nil {
		return false
	}
	d.lent.mu.Lock()
	defer d.lent.mu.Unlock()
	if d.lent.loan.f == nil {
		return false
	}
	others, err := d.lent.loan.written()
	return others || err != nil
}

// MTime returns when the file of a loan was last changed, by maps too; zero of another draft.
func (d *Draft) MTime() (time.Time, error) {
	if d.lent == nil {
		return time.Time{}, nil
	}
	d.lent.mu.RLock()
	defer d.lent.mu.RUnlock()
	st, err := d.lent.loan.f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}

func (l *lentDraft) length() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.size
}

func (l *lentDraft) dirty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.touched.any() || l.size != l.d.sealed.Size {
		return true
	}
	if !l.mapped {
		return false
	}
	now, err := l.mtime()
	return err != nil || now != l.asOf
}

func (l *lentDraft) mtime() (int64, error) {
	st, err := l.loan.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.ModTime().UnixNano(), nil
}

func (l *lentDraft) read(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), l.length()-off)))
	k, err := l.loan.f.ReadAt(p[:n], off)
	if errors.Is(err, io.EOF) { // cut meanwhile
		clear(p[k:n])
		err = nil
	}
	return n, err
}

func (l *lentDraft) write(ctx context.Context, p []byte, off int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	err = l.change(ctx, func() (int64, int64) { return off, off + int64(len(p)) }, func() (err error) {
		if err = l.c.cache.reserve.check(int64(len(p))); err != nil {
			return err
		}
		n, err = l.loan.w.WriteAt(p, off)
		if n > 0 {
			l.size = max(l.size, off+int64(n))
		}
		return diskError(err)
	})
	return n, err
}

func (l *lentDraft) truncate(ctx context.Context, size int64) error {
	if size == l.length() {
		return nil
	}
	// The chunk that is the last now, or was, becomes another.
	reach := func() (int64, int64) { return min(l.size, size), min(l.size, size) + 1 }
	return l.change(ctx, reach, func() error {
		if size == l.size {
			return nil
		}
		l.least = min(l.least, size)
		if err := l.loan.w.Truncate(size); err != nil {
			return diskError(err)
		}
		l.size = size
		return nil
	})
}

func (l *lentDraft) zero(ctx context.Context, off, n int64) error {
	if n = min(n, l.length()-off); n <= 0 {
		return nil
	}
	return l.change(ctx, func() (int64, int64) { return off, off + n }, func() error {
		if n = min(n, l.size-off); n <= 0 {
			return nil
		}
		return punch(l.loan.w, off, n)
	})
}

// change lets put change bytes between two places, with mu held, as soon as there is room for their
// chunks among the unsent bytes.
func (l *lentDraft) change(ctx context.Context, reach func() (from, to int64), put func() error) error {
	paid := int64(0)
	defer func() { l.c.room.add(-paid) }()
	for {
		l.mu.Lock()
		from, to := reach()
		cost := l.cost(from, to)
		if cost <= paid {
			defer l.mu.Unlock()
			if err := l.loan.openWriter(); err != nil {
				return err
			}
			paid -= cost
			l.charged += cost
			for i := from / dbfs.ChunkSize; i*dbfs.ChunkSize < to; i++ {
				l.touched.set(int(i))
			}
			return put()
		}
		l.mu.Unlock()
		if err := l.c.room.take(ctx, cost-paid, l.c.opts.Patience); err != nil {
			return err
		}
		paid = cost
	}
}

func (l *lentDraft) cost(from, to int64) int64 {
	n := int64(0)
	for i := from / dbfs.ChunkSize; i*dbfs.ChunkSize < to; i++ {
		if !l.touched.has(int(i)) {
			n += dbfs.ChunkSize
		}
	}
	return n
}

func (l *lentDraft) next(off int64, hole bool) (int64, bool) {
	return span(l.length(), off, hole, func(from, end int64) (int64, bool) {
		return seek(l.loan.f, from, end, hole)
	})
}

// tick is longer than the steps in which a file system counts time.
const tick = 20 * time.Millisecond

// errMoved says that a chunk that was unsent, so that it had not to be copied, is so no more.
var errMoved = errors.New("a chunk has become clean meanwhile")

// seal copies what has changed out of the file. What is stored through a map meanwhile changes the
// file's time once more, because the sync has made the map's pages read-only: that is for the next seal.
func (l *lentDraft) seal() (dbfs.Content, []dbfs.ChunkRef, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	asOf := int64(0)
	if l.mapped {
		var err error
		if asOf, err = l.still(); err != nil {
			return dbfs.Content{}, nil, err
		}
	}
	content, chunks, err := l.enter()
	for tries := 0; errors.Is(err, errMoved) && tries < 3; tries++ {
		content, chunks, err = l.enter()
	}
	if err != nil {
		return content, nil, err
	}
	l.c.room.add(-l.charged) // enter has counted what is new
	l.charged, l.touched, l.least, l.asOf = 0, nil, l.size, asOf
	held := make([]dbfs.ChunkRef, len(chunks))
	for n, s := range chunks {
		held[n] = s.ref
	}
	return content, held, nil
}

// enter enters what has changed in the book; and what an earlier seal of this draft has made unsent,
// which nobody else may hold yet.
func (l *lentDraft) enter() (dbfs.Content, []sealed, error) {
	content, chunks, laid, err := l.cutOut()
	if err != nil {
		return content, nil, err
	}
	fault.Here(fault.LentCutOut)
	err = l.c.pins.enter(chunks, func(chunks []sealed) (changes []change, err error) {
		for _, s := range chunks {
			more, ok := laid[s.ref.ID]
			if s.fresh && !ok {
				return nil, errMoved
			}
			if s.fresh {
				changes = append(changes, more...)
			}
		}
		return changes, nil
	})
	return content, chunks, err
}

// past returns the file's time when that is over: what changes from now on has another one.
func (l *lentDraft) past() (int64, error) {
	asOf, err := l.mtime()
	if err == nil && time.Now().UnixNano()-asOf < int64(tick) {
		time.Sleep(tick)
	}
	return asOf, err
}

// still returns the file's time, and sees to it that it changes with whatever is stored from now on.
func (l *lentDraft) still() (int64, error) {
	asOf, err := l.past()
	if err != nil {
		return 0, err
	}
	return asOf, diskError(unix.Fdatasync(l.loan.Fd()))
}

// cutOut returns the blocklist, and the chunks of it that are to be unsent. Those that were not before are
// laid by themselves, and need the changes that it also returns.
func (l *lentDraft) cutOut() (content dbfs.Content, chunks []sealed, laid map[dbfs.ChunkID][]change, err error) {
	was := l.d.sealed
	held := make(map[dbfs.ChunkID]bool, len(l.d.held))
	for _, ref := range l.d.held {
		held[ref.ID] = true
	}
	content = dbfs.Content{Size: l.size}
	changed := make(map[int]dbfs.ChunkID)
	laid = make(map[dbfs.ChunkID][]change)
	buf := make([]byte, min(l.size, dbfs.ChunkSize))
	for i := 0; i < dbfs.NumChunks(l.size); i++ {
		if next := l.nextData(i); next > i { // all before it is a hole
			for k := range was.Chunks.From(i) {
				if k >= next {
					break
				}
				changed[k] = dbfs.ZeroChunk
			}
			i = next - 1
			continue
		}
		n := dbfs.ChunkLen(l.size, i)
		same := i < was.Chunks.Len() && dbfs.ChunkLen(was.Size, i) == n && int64(i)*dbfs.ChunkSize+int64(n) <= l.least
		data := buf[:n]
		if same && !l.mapped && !l.touched.has(i) {
			data = nil
		} else {
			if _, err := l.loan.f.ReadAt(data, int64(i)*dbfs.ChunkSize); err != nil {
				return content, nil, nil, noEOF(err)
			}
			changed[i] = dbfs.HashChunk(data)
			same = same && changed[i] == was.Chunks.At(i)
		}
		ref := dbfs.ChunkRef{ID: was.Chunks.At(i), Len: n}
		if data != nil {
			ref.ID = changed[i]
		}
		if ref.ID == dbfs.ZeroChunk || same && !held[ref.ID] {
			continue
		}
		if !same {
			if err := l.lay(ref, data, laid); err != nil {
				return content, nil, nil, err
			}
		}
		chunks = append(chunks, sealed{ref: ref, loose: true})
	}
	content.Chunks = was.Chunks.Edit(dbfs.NumChunks(l.size), changed)
	return content, chunks, laid, nil
}

// nextData returns the first chunk from i on that is not wholly in a hole of the file; i if that cannot be known.
func (l *lentDraft) nextData(i int) int {
	at, found := seek(l.loan.f, int64(i)*dbfs.ChunkSize, l.size, false)
	if !found {
		return dbfs.NumChunks(l.size)
	}
	return int(at / dbfs.ChunkSize)
}

// lay puts a chunk by itself, unless it is unsent already: its copy may have survived a Sync.
func (l *lentDraft) lay(ref dbfs.ChunkRef, data []byte, laid map[dbfs.ChunkID][]change) error {
	_, unsent, err := l.c.pins.get(ref.ID)
	if _, twice := laid[ref.ID]; unsent || twice || err != nil {
		return err
	}
	if ref.Len <= SmallSize { // the changes hold on to it
		data = bytes.Clone(data)
	}
	changes, err := l.c.state.lay(ref, source{data: data})
	if err != nil {
		return err
	}
	laid[ref.ID] = changes
	if ref.Len > SmallSize {
		name := l.c.state.chunkFile(ref.ID)
		l.c.mustSync(name, filepath.Dir(name))
	}
	return nil
}

// end gives the file back as the body of what was sealed last, if that is what it holds.
func (l *lentDraft) end() error {
	dirty := l.dirty()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c.room.add(-l.charged)
	l.charged = 0
	if dirty {
		return l.loan.Close()
	}
	return l.loan.giveBack(l.d.sealed)
}
