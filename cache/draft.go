package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dbfs/dbfs"
)

// Draft is a file's bytes while somebody writes them. A short one is in memory until it is
// sealed; a longer one is the file's body, taken over in place: what a write touches is
// set aside first if it is unsent, and fetched first if the write changes only part of it.
// Its methods may be called from several goroutines.
type Draft struct {
	c    *Cache
	file File

	sealing sync.Mutex // one seal at a time; before mu

	mu     sync.RWMutex // guards what follows; held for writing while it is in memory and used
	closed bool
	sealed dbfs.Content    // the last seal, or what the draft began from
	held   []dbfs.ChunkRef // what the last seal made unsent
	small  *smallDraft     // nil: in a file
	large  *largeDraft     // nil: not in the body
	lent   *lentDraft      // nil: not in a file that is lent; else it stays there
}

// Draft begins to write a file, from a version of it: the zero content for a new file.
// ErrBusy: somebody does already.
func (c *Cache) Draft(f File, base dbfs.Content) (*Draft, error) {
	if err := base.Check(); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", f, err)
	}
	d := &Draft{c: c, file: f, sealed: base}
	c.mu.Lock()
	busy := c.drafts[f] != nil
	if !busy {
		c.drafts[f] = d
	}
	c.mu.Unlock()
	if busy {
		return nil, fmt.Errorf("draft of %s: %w", f, dbfs.ErrBusy)
	}
	if base.Size <= SmallSize {
		d.small = newSmallDraft(d, base)
		return d, nil
	}
	var err error
	if d.large, err = takeOver(d, base); err != nil {
		c.endDraft(d)
		return nil, fmt.Errorf("draft of %s: %w", f, err)
	}
	return d, nil
}

func (c *Cache) endDraft(d *Draft) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drafts[d.file] == d {
		delete(c.drafts, d.file)
	}
}

// Size returns the length in bytes.
func (d *Draft) Size() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.small != nil:
		return d.small.size()
	case d.lent != nil:
		return d.lent.length()
	}
	return d.large.length()
}

// Dirty reports whether there is something that Seal would have to do.
func (d *Draft) Dirty() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.dirty()
}

func (d *Draft) dirty() bool {
	switch {
	case d.small != nil:
		return d.small.dirty
	case d.lent != nil:
		return d.lent.dirty()
	}
	return d.large.dirty()
}

// ReadAt reads what has been written, over what the draft began from; like Body.ReadAt.
func (d *Draft) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read draft of %s at %d: %w", d.file, off, dbfs.ErrInvalid)
	}
	if err := d.load(ctx); err != nil {
		return 0, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var n int
	var err error
	switch {
	case d.small != nil:
		n = d.small.read(p, off)
	case d.lent != nil:
		n, err = d.lent.read(p, off)
	default:
		n, err = d.large.read(ctx, p, off)
	}
	if err != nil {
		return n, fmt.Errorf("read draft of %s: %w", d.file, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load brings a short draft's bytes into memory.
func (d *Draft) load(ctx context.Context) error {
	d.mu.RLock()
	loaded := d.small == nil || d.small.loaded
	d.mu.RUnlock()
	if loaded {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.small == nil {
		return nil
	}
	return d.small.load(ctx)
}

// WriteAt writes at an offset; a gap before it reads as zeros. It blocks for a while when
// too much is unsent, then says ErrNoSpace, as it does when the disk is full: n bytes
// have been written then, and what was sealed before is as it was. ErrOffline: the rest
// of a chunk that is written in part cannot be had.
func (d *Draft) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("write draft of %s at %d: %w", d.file, off, dbfs.ErrInvalid)
	}
	if off > dbfs.MaxFileSize-int64(len(p)) {
		return 0, fmt.Errorf("write draft of %s: %w", d.file, dbfs.ErrTooLarge)
	}
	n, err := d.write(ctx, p, off)
	if err != nil {
		err = fmt.Errorf("write draft of %s: %w", d.file, err)
	}
	return n, err
}

func (d *Draft) write(ctx context.Context, p []byte, off int64) (int, error) {
	d.mu.RLock()
	if d.lent != nil {
		defer d.mu.RUnlock()
		return d.lent.write(ctx, p, off)
	}
	if d.large != nil {
		defer d.mu.RUnlock()
		return d.large.write(ctx, p, off)
	}
	d.mu.RUnlock()

	d.mu.Lock()
	if d.small != nil && d.small.fits(off+int64(len(p))) {
		defer d.mu.Unlock()
		if err := d.small.load(ctx); err != nil {
			return 0, err
		}
		d.small.write(p, off)
		return len(p), nil
	}
	err := d.spill(ctx)
	d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return d.write(ctx, p, off)
}

// spill moves the draft out of memory into the body. mu is held.
func (d *Draft) spill(ctx context.Context) error {
	if d.small == nil {
		return nil
	}
	if err := d.small.load(ctx); err != nil {
		return err
	}
	large, err := startOver(d)
	if err != nil {
		return err
	}
	if len(d.small.data) > 0 {
		_, err = large.write(ctx, d.small.data, 0)
	}
	if err != nil {
		return errors.Join(err, large.end())
	}
	d.small.end()
	d.small, d.large = nil, large
	return nil
}

// Truncate makes the draft that long: what it gains is zeros.
func (d *Draft) Truncate(ctx context.Context, size int64) error {
	err := d.truncate(ctx, size)
	if err != nil {
		return fmt.Errorf("truncate draft of %s: %w", d.file, err)
	}
	return nil
}

func (d *Draft) truncate(ctx context.Context, size int64) error {
	if size < 0 || size > dbfs.MaxFileSize {
		return dbfs.ErrTooLarge
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lent != nil {
		return d.lent.truncate(ctx, size)
	}
	if size == 0 {
		return d.empty()
	}
	if d.small != nil && !d.small.fits(size) {
		if err := d.spill(ctx); err != nil {
			return err
		}
	}
	if d.large != nil {
		return d.large.truncate(ctx, size)
	}
	if size == d.small.size() {
		return nil
	}
	if err := d.small.load(ctx); err != nil {
		return err
	}
	d.small.truncate(size)
	return nil
}

// empty makes the draft one of no bytes, in memory, whatever it was.
func (d *Draft) empty() error {
	if large := d.large; large != nil {
		d.small, d.large = newSmallDraft(d, dbfs.Content{}), nil
		d.small.dirty = d.sealed.Size > 0
		return large.end()
	}
	if d.small.size() > 0 {
		d.small.loaded = true
		d.small.truncate(0)
	}
	return nil
}

// Seal cuts the changed chunks out of the draft, enters them in the book as unsent, and
// returns the blocklist of the whole file. They survive the death of the process, and
// loss of power after Sync. It may be called again: close(2) on a duplicated descriptor
// flushes more than once, and an unchanged draft costs nothing.
//
// What was sealed stays unsent until the draft is sealed anew or closed, and after that
// as long as the journal needs it: so record the edit before either.
func (d *Draft) Seal(ctx context.Context) (dbfs.Content, error) {
	d.sealing.Lock()
	defer d.sealing.Unlock()
	content, let, err := d.seal(ctx)
	if err == nil && len(let) > 0 {
		err = d.c.letGo(let)
	}
	if err != nil {
		return dbfs.Content{}, fmt.Errorf("seal %s: %w", d.file, err)
	}
	return content, nil
}

// seal also returns what an earlier seal held.
func (d *Draft) seal(ctx context.Context) (dbfs.Content, []dbfs.ChunkRef, error) {
	d.mu.RLock()
	dirty, sealed, large := d.dirty(), d.sealed, d.large
	d.mu.RUnlock()
	if !dirty {
		return sealed, nil, nil
	}
	if large != nil {
		if err := large.hash(ctx); err != nil {
			return dbfs.Content{}, nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var content dbfs.Content
	var held []dbfs.ChunkRef
	var err error
	switch {
	case d.small != nil:
		content, held, err = d.small.seal(ctx)
	case d.lent != nil:
		content, held, err = d.lent.seal()
	default:
		content, held, err = d.large.seal()
	}
	if err != nil {
		return dbfs.Content{}, nil, err
	}
	let := d.held
	d.sealed, d.held = content, held
	return content, let, nil
}

// Sync returns when what has been sealed survives loss of power.
func (d *Draft) Sync() error { return d.c.Sync() }

// Close ends the draft. What was written since the last Seal is discarded.
func (d *Draft) Close() error {
	d.sealing.Lock()
	defer d.sealing.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	switch {
	case d.small != nil:
		d.small.end()
	case d.lent != nil:
		err = d.lent.end()
	default:
		err = d.large.end()
	}
	d.c.endDraft(d)
	if err := errors.Join(err, d.c.letGo(d.held)); err != nil {
		return fmt.Errorf("close draft of %s: %w", d.file, err)
	}
	return nil
}
