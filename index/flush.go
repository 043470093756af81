package index

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// room waits until the memory segment may take another document. When the last flush
// failed it does not wait but says why. x.feed is held.
func (x *Index) room() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for !x.closed {
		if x.mem.size() < x.opt.MemoryBytes/2 {
			return nil
		}
		if x.frozen == nil {
			x.freeze()
			return nil
		}
		if x.failed != nil {
			wake(x.flush)
			return fmt.Errorf("update index: %w", x.failed)
		}
		x.await()
	}
	return errClosed
}

// await lets go of x.mu until frozen or failed change.
func (x *Index) await() {
	changed := x.changed
	x.mu.Unlock()
	<-changed
	x.mu.Lock()
}

func (x *Index) announce() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// freeze sends the memory segment on its way to disk, together with all deaths and the
// mark as they are now. x.mu is held, nothing is frozen yet.
func (x *Index) freeze() {
	x.frozen = &cut{mem: x.mem, now: x.memDead, drop: x.memDead.share(), mark: x.mark, nextDoc: x.mem.next() - 1}
	for _, s := range x.segments {
		s.cut = s.now.share()
	}
	x.mem, x.memDead = newMemory(x.frozen.nextDoc), nil
	x.dirty = false
	wake(x.flush)
}

// Flush returns when everything fed so far is on disk, and the mark with it.
func (x *Index) Flush(ctx context.Context) error {
	x.feed.Lock()
	defer x.feed.Unlock()
	for tried := false; ; {
		changed, done, err := x.flushStep(&tried)
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("flush index: %w", ctx.Err())
		}
	}
}

// flushStep does what Flush can do now; what is left has to wait for changed. A flush
// that failed before is tried once more.
func (x *Index) flushStep(tried *bool) (changed chan struct{}, done bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return nil, false, errClosed
	case x.frozen == nil && !x.unwritten():
		return nil, true, nil
	case x.failed != nil && *tried:
		return nil, false, fmt.Errorf("flush index: %w", x.failed)
	case x.frozen == nil:
		x.freeze()
		*tried = true
	case x.failed != nil:
		x.failed, *tried = nil, true
		wake(x.flush)
	}
	return x.changed, false, nil
}

// unwritten reports whether there is anything that a flush would write.
func (x *Index) unwritten() bool { return x.dirty || x.mem.next() > x.mem.lo+1 }

// flusher writes frozen memory segments, and freezes one that has waited long enough.
func (x *Index) flusher(ctx context.Context) {
	tick := time.NewTicker(x.opt.FlushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.flush:
		case <-tick.C:
			x.mu.Lock()
			if x.frozen == nil && x.unwritten() {
				x.freeze()
			}
			x.mu.Unlock()
		}
		if err := x.dropGone(); err != nil {
			x.opt.Log.Warn("drop a damaged segment", "dir", x.dir, "err", err)
		}
		x.mu.Lock()
		f := x.frozen
		x.mu.Unlock()
		if f == nil {
			continue
		}
		err := x.write(f)
		if err != nil {
			x.opt.Log.Warn("flush the search index", "dir", x.dir, "err", err)
		}
		x.mu.Lock()
		x.failed = err
		x.announce()
		x.mu.Unlock()
		wake(x.merge)
	}
}

// write makes a cut last: a segment of its documents, and one edit of the manifest that
// adds it together with the deaths and the mark.
func (x *Index) write(f *cut) error {
	var add *liveSegment
	if docs := f.mem.view(); docs.size() > f.drop.len() {
		var err error
		if add, err = x.writeLive(context.Background(), 0, []mergeInput{{memorySource{docs}, f.drop}}); err != nil {
			return err
		}
	}
	x.commits.Lock()
	defer x.commits.Unlock()
	e, err := x.cutEdit(f)
	if err != nil {
		x.discard(add)
		return err
	}
	if add != nil {
		e.add = append(e.add, add.ref)
	}
	if err := x.manifest.commit(e); err != nil {
		return err // whether add counts is not known before the next commit
	}
	x.written(f, add, e)
	return nil
}

// cutEdit writes the dead documents of a cut and returns the edit that makes it last.
func (x *Index) cutEdit(f *cut) (edit, error) {
	x.mu.Lock()
	e := edit{nextDoc: f.nextDoc, mark: f.mark}
	segments := slices.Clone(x.segments)
	x.mu.Unlock()
	for _, s := range segments {
		ref, err := x.writeDead(s, s.cut)
		if err != nil {
			return e, err
		}
		if ref != s.ref {
			e.dead = append(e.dead, ref)
		}
	}
	return e, nil
}

// discard removes a new segment that will not count. nil is none.
func (x *Index) discard(s *liveSegment) {
	if s != nil {
		s.release()
		x.remove(s.ref.fileName())
	}
}

// writeDead writes the set of a segment's dead documents if it is not on disk as it is,
// and returns how the manifest should name it.
func (x *Index) writeDead(s *liveSegment, d *dead) (segmentRef, error) {
	ref := s.ref
	if d.len() == s.saved.len() { // sets only grow
		return ref, nil
	}
	ref.dead++
	if err := writeFileSync(filepath.Join(x.dir, ref.deadName()), encodeDead(d, s.size())); err != nil {
		return ref, fmt.Errorf("write dead documents: %w", err)
	}
	return ref, syncDir(x.dir)
}

// written puts a cut's segment in its place among the others. x.commits is held.
func (x *Index) written(f *cut, add *liveSegment, e edit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.segments {
		for _, ref := range e.dead {
			if s.ref.number == ref.number {
				if s.ref.dead != 0 {
					x.remove(s.ref.deadName())
				}
				s.ref, s.saved = ref, s.cut
			}
		}
		s.cut = nil
	}
	if add != nil {
		var err error
		x.segments = append(x.segments, add)
		if add.now, err = carry(memorySource{f.mem.view()}, f.now, f.drop, add.segment); err != nil {
			x.forget(add, err)
		}
	}
	if f.mark != nil {
		x.saved = f.mark
	}
	x.frozen = nil
}

// carry returns the set of to's documents that are in now of from, but not in drop,
// whose documents to does not have.
func carry(from part, now, drop *dead, to part) (*dead, error) {
	var d *dead
	var err error
	now.each(func(i int) {
		if err != nil || drop.has(i) {
			return
		}
		var r row
		if r, err = from.rowAt(i); err != nil {
			return
		}
		var at int
		var ok bool
		if _, at, ok, err = to.row(r.doc); ok {
			d = d.with(at)
		}
	})
	return d, err
}

// writeLive writes a new segment file and opens it. It does not count yet.
func (x *Index) writeLive(ctx context.Context, level int, inputs []mergeInput) (*liveSegment, error) {
	x.commits.Lock()
	ref := segmentRef{number: x.nextNumber, level: level}
	x.nextNumber++
	x.commits.Unlock()
	name := filepath.Join(x.dir, ref.fileName())
	if err := writeSegment(ctx, name+".tmp", inputs); err != nil {
		return nil, err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return nil, fmt.Errorf("write segment: %w", err)
	}
	if err := syncDir(x.dir); err != nil {
		return nil, fmt.Errorf("write segment: %w", err)
	}
	seg, err := openSegment(name, x.opt.Cache)
	if err != nil {
		return nil, err
	}
	return &liveSegment{segment: seg, ref: ref}, nil
}
