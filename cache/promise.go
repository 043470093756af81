package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// An fsync promises that bytes survive a loss of power, and says nothing of a version of the file. To
// seal for it would hash 4 MiB for every page that a database writes, and copy them aside before the next.
// So a draft in a body is synced where it lies, and a record says which of its chunks are promised:
//
//	1 sync the body        nothing yet: the last promise, or what was sealed, is what counts
//	2 cd, if it changed    as above until it is durable, and it is not before the bytes are
//	3 sync the book        –
//
// After a crash Recover leaves the promised chunks alone, as the disk has them: what was written to them
// since may be there or not, as on any disk. Resume makes a draft of them again, which is then sealed.
//
// Sealing a draft that is promised changes cd to say which version it has become, in the transaction that
// enters the version, so that it is there until the journal names it (Recorded). What a promised seal
// enters is synced before, and goes on being so when it is set aside.

// A Promise is what is known of a draft that has been promised. Who has it may only read it.
type Promise struct {
	File  File // what draft and body are known by
	For   File // the node that it is a version of
	Name  string
	Size  int64
	MTime int64 // nanoseconds

	Base   dbfs.Content  // what the draft began from, or was sealed as before: what the journal has
	Sealed *dbfs.Content // what it has become; nil: it is not sealed

	touched bitmap // the chunks promised, while it is not sealed
}

func (p *Promise) same(q *Promise) bool {
	return q != nil && p.For == q.For && p.Name == q.Name && p.Size == q.Size && q.Sealed == nil && slices.Equal(p.touched, q.touched)
}

// Promise makes what has been written so far survive a loss of power, after the next Sync, for a node of
// that name. It reports false if this draft has to be sealed for that.
func (d *Draft) Promise(node File, name string) (bool, error) {
	d.sealing.Lock()
	defer d.sealing.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.large == nil || d.closed {
		return false, nil
	}
	done, err := d.large.promise(node, name)
	if err != nil {
		return false, fmt.Errorf("promise %s: %w", d.file, err)
	}
	return done, nil
}

// Promised reports whether something of the draft is promised that is not sealed and recorded.
func (d *Draft) Promised() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.large == nil {
		return false
	}
	d.large.b.mu.RLock()
	defer d.large.b.mu.RUnlock()
	return d.large.promised != nil
}

// BreakPromise says that nobody wants what is promised any more: its file was deleted.
func (d *Draft) BreakPromise() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.large == nil {
		return nil
	}
	d.large.b.mu.Lock()
	defer d.large.b.mu.Unlock()
	return d.large.breakPromise()
}

// Recorded says that the journal names what was sealed last.
func (d *Draft) Recorded() error {
	d.sealing.Lock()
	defer d.sealing.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.large == nil {
		return nil
	}
	d.large.b.mu.Lock()
	defer d.large.b.mu.Unlock()
	if p := d.large.promised; p == nil || p.Sealed == nil {
		return nil
	}
	return d.large.breakPromise()
}

// promise does steps 1 and 2. Draft.mu is held.
func (l *largeDraft) promise(node File, name string) (bool, error) {
	l.b.mu.RLock()
	p := &Promise{File: l.b.file, For: node, Name: name, Size: l.size, Base: l.d.sealed, touched: l.whole()}
	f, old := l.b.f, l.promised
	fit := l.changed() && p.touched.any() && !l.sharesAny() // else there is nothing to hash, or no bytes in the body
	l.b.mu.RUnlock()
	if !fit {
		return false, nil
	}
	if err := diskError(unix.Fdatasync(int(f.Fd()))); err != nil {
		return false, err
	}
	if p.same(old) {
		return true, nil
	}
	if old == nil {
		if err := diskError(syncFile(filepath.Dir(l.c.state.bodyFile(l.b.file)))); err != nil {
			return false, err
		}
	}
	fault.Here(fault.PromiseSynced)
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	p.MTime = st.ModTime().UnixNano()
	if err := l.c.state.update(set(promiseKey(l.b.file), p.encode())); err != nil {
		return false, err
	}
	l.b.mu.Lock()
	l.promised = p
	l.b.mu.Unlock()
	return true, nil
}

// whole returns the touched chunks that have all their bytes: a first write that is under way may be to
// a chunk whose old bytes were not brought, as it replaces all of them.
func (l *largeDraft) whole() bitmap {
	touched := slices.Clone(l.b.touched)
	for i, f := range l.chunks {
		if f.writers > 0 && !f.begun {
			touched.clear(i)
		}
	}
	return touched
}

// breakPromise forgets the promise: what it was about is recorded, or is nobody's business. body.mu is held.
func (l *largeDraft) breakPromise() error {
	if l.promised == nil {
		return nil
	}
	if err := l.c.state.update(del(promiseKey(l.b.file))); err != nil {
		return err
	}
	l.promised = nil
	return nil
}

// keepPromise comes before a version is entered that has promised bytes in it: it syncs them, and returns
// the change that goes with the version. body.mu is held, and nobody writes.
func (l *largeDraft) keepPromise(content dbfs.Content, chunks []sealed) (*Promise, error) {
	if l.promised == nil {
		return nil, nil
	}
	err := unix.Fdatasync(int(l.b.f.Fd()))
	for n := 0; err == nil && n < len(chunks); n++ {
		var elsewhere bool
		if _, elsewhere, err = l.c.pins.get(chunks[n].ref.ID); elsewhere { // maybe where no sync has been
			err = l.c.Sync()
			break
		}
	}
	if err != nil {
		return nil, diskError(err)
	}
	p := *l.promised
	p.Sealed, p.Size, p.touched = &content, content.Size, nil
	if st, err := l.b.f.Stat(); err == nil {
		p.MTime = st.ModTime().UnixNano()
	}
	return &p, nil
}

// Promises returns what was promised and is not recorded, for Resume. It comes after Open.
func (c *Cache) Promises() ([]Promise, error) {
	var found []Promise
	err := c.state.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(promisePrefix, nil, func(k, v []byte) bool {
			if len(k) != 2+fileLen {
				return true
			}
			p, err := decodePromise(v)
			if err != nil {
				c.opts.Log.Error("damaged record of a draft that was synced", "key", fmt.Sprintf("%x", k), "error", err)
				return true
			}
			p.File = fileFrom(k[2:])
			found = append(found, p)
			return true
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for promised drafts: %w", err)
	}
	return found, nil
}

// Resume goes on with a draft that a crash has cut short, as it was promised: what was written to other
// chunks is discarded. Seal it and record that, or do not; then Close it. It comes before anybody else writes
// to the file.
func (c *Cache) Resume(p *Promise) (*Draft, error) {
	d := &Draft{c: c, file: p.File}
	c.mu.Lock()
	busy := c.drafts[p.File] != nil
	if !busy {
		c.drafts[p.File] = d
	}
	c.mu.Unlock()
	if busy {
		return nil, fmt.Errorf("resume draft of %s: %w", p.File, dbfs.ErrBusy)
	}
	l, err := attach(d)
	if err == nil {
		d.large = l
		err = l.resume(p)
	}
	if err != nil {
		c.endDraft(d)
		return nil, fmt.Errorf("resume draft of %s: %w", p.File, err)
	}
	return d, nil
}

func (l *largeDraft) resume(p *Promise) error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.d.sealed, l.size, l.promised = l.b.content, l.b.content.Size, p
	if !l.b.touched.any() {
		return nil
	}
	l.size = p.Size
	if st, err := l.b.f.Stat(); err == nil {
		p.MTime = max(p.MTime, st.ModTime().UnixNano())
	}
	for i := range l.b.touched.all() {
		f := l.chunk(i)
		f.begun, f.gen, f.charged = true, 1, int64(dbfs.ChunkLen(l.size, i))
		l.c.room.add(f.charged)
	}
	return diskError(l.b.f.Truncate(l.size))
}

// Drop forgets a promise of what is sealed: it has been recorded, or nobody wants it.
func (c *Cache) Drop(p Promise) error {
	if err := c.state.update(del(promiseKey(p.File))); err != nil {
		return fmt.Errorf("drop the promise of %s: %w", p.File, err)
	}
	return nil
}

// promisedChunks returns the touched chunks of a body that a crash must not take back.
func (b *body) promisedChunks() (bitmap, error) {
	if b.home != b.c.state {
		return nil, nil
	}
	record, err := b.home.get(promiseKey(b.file))
	if err != nil || record == nil {
		return nil, err
	}
	p, err := decodePromise(record)
	if errors.Is(err, dbfs.ErrCorrupt) {
		return nil, nil // Promises says so
	}
	return p.touched, err
}

var promisePrefix = key('d')

func promiseKey(f File) []byte { return key('d', f.bytes()) }

// encode writes the promise as book.go draws it.
func (p *Promise) encode() []byte {
	b := newRecord(128)
	b = append(b, p.For.bytes()...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(p.MTime))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Name)))
	b = append(b, p.Name...)
	b = appendContent(p.touched.append(b), p.Base)
	if p.Sealed != nil {
		b = appendContent(b, *p.Sealed)
	}
	return seal(b)
}

func decodePromise(b []byte) (p Promise, err error) {
	b, err = unseal("promise", b)
	if err != nil {
		return p, err
	}
	const fixed = fileLen + 8 + 8 + 2
	if len(b) < fixed {
		return p, badRecord("promise")
	}
	p.For = fileFrom(b)
	p.Size = int64(binary.BigEndian.Uint64(b[fileLen:]))
	p.MTime = int64(binary.BigEndian.Uint64(b[fileLen+8:]))
	n := int(binary.BigEndian.Uint16(b[fileLen+16:]))
	if b = b[fixed:]; len(b) < n || p.Size < 0 || p.Size > dbfs.MaxFileSize {
		return p, badRecord("promise")
	}
	p.Name, b = string(b[:n]), b[n:]
	if p.touched, b, err = cutBitmap("promise", b); err != nil {
		return p, err
	}
	if p.Base, b, err = cutContent("promise", b); err != nil || len(b) == 0 {
		return p, err
	}
	p.Sealed = new(dbfs.Content)
	if *p.Sealed, b, err = cutContent("promise", b); err == nil && len(b) > 0 {
		err = badRecord("promise")
	}
	return p, err
}
