package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
)

// fanIn is how many neighbouring segments of one level become one of the next.
const fanIn = 6

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
		if add, err = x.writeLive(0, []mergeInput{{frozen{docs}, f.drop}}); err != nil {
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
		if add.now, err = carry(frozen{f.mem.view()}, f.now, f.drop, add.segment); err != nil {
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
func (x *Index) writeLive(level int, inputs []mergeInput) (*liveSegment, error) {
	x.commits.Lock()
	ref := segmentRef{number: x.nextNumber, level: level}
	x.nextNumber++
	x.commits.Unlock()
	name := filepath.Join(x.dir, ref.fileName())
	if err := writeSegment(name+".tmp", inputs); err != nil {
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

// merger merges until no level has fanIn neighbours, and again after each flush.
func (x *Index) merger(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.merge:
		}
		for ctx.Err() == nil {
			run := x.pick()
			if run == nil {
				break
			}
			err := x.mergeRun(run)
			x.let(run)
			if err != nil { // not tried again before the next flush
				x.opt.Log.Warn("merge segments of the search index", "dir", x.dir, "err", err)
				break
			}
		}
	}
}

// A mergeRun is neighbouring segments that become one, without the documents in drop.
type mergeRun struct {
	segments []*liveSegment
	drop     []*dead
	level    int
}

// pick chooses what to merge next: fanIn neighbours of one level, or a segment of which
// more than three tenths are dead. Only documents whose death is on disk are left out: after
// a crash the feeder repeats what killed the others, and it may not know all of them.
func (x *Index) pick() *mergeRun {
	x.mu.Lock()
	defer x.mu.Unlock()
	var run *mergeRun
	for from := range x.segments {
		level := x.segments[from].ref.level
		to := from
		size := uint64(0)
		for to < len(x.segments) && x.segments[to].ref.level == level && to-from < fanIn {
			size += x.segments[to].foot.sums
			to++
		}
		if to-from == fanIn && size < maxSegment {
			run = &mergeRun{segments: slices.Clone(x.segments[from:to]), level: level + 1}
			break
		}
		if s := x.segments[from]; run == nil && s.saved.len()*10 > s.size()*3 {
			run = &mergeRun{segments: []*liveSegment{s}, level: level}
		}
	}
	if run != nil {
		for _, s := range run.segments {
			s.retain()
			run.drop = append(run.drop, s.saved.share())
		}
	}
	return run
}

func (x *Index) let(run *mergeRun) {
	for _, s := range run.segments {
		s.release()
	}
}

// mergeRun writes the merged segment and puts it in the place of the others.
func (x *Index) mergeRun(run *mergeRun) error {
	var inputs []mergeInput
	left := 0
	for i, s := range run.segments {
		inputs = append(inputs, mergeInput{s.segment, run.drop[i]})
		left += s.size() - run.drop[i].len()
	}
	var merged *liveSegment
	if left > 0 {
		var err error
		if merged, err = x.writeLive(run.level, inputs); err != nil {
			x.mu.Lock()
			defer x.mu.Unlock()
			if errors.Is(err, dbfs.ErrCorrupt) {
				x.forgetDamaged(err)
			}
			return err
		}
	}
	x.commits.Lock()
	defer x.commits.Unlock()
	e, err := x.mergeEdit(run, merged)
	if err != nil {
		x.discard(merged)
		return err
	}
	if err := x.manifest.commit(e); err != nil {
		return err
	}
	x.replace(run, merged)
	return nil
}

// mergeEdit returns the edit that puts merged (nil: nothing was left) in the place of the
// run, and writes which of its documents' deaths are already on disk. x.commits is held,
// so that they do not become more meanwhile.
func (x *Index) mergeEdit(run *mergeRun, merged *liveSegment) (e edit, err error) {
	for _, s := range run.segments {
		e.drop = append(e.drop, s.ref.number)
	}
	x.mu.Lock()
	whole := x.position(run) >= 0
	x.mu.Unlock()
	if !whole {
		return e, fmt.Errorf("%w: a segment was dropped while it was merged", dbfs.ErrBusy)
	}
	if merged == nil {
		return e, nil
	}
	saved, err := carryAll(run, merged, func(s *liveSegment) *dead { return s.saved })
	if err == nil {
		merged.ref, err = x.writeDead(merged, saved)
	}
	merged.saved = saved.share()
	e.add = append(e.add, merged.ref)
	return e, err
}

// carryAll carries one of the sets of the merged segments over to the new one.
func carryAll(run *mergeRun, to *liveSegment, set func(s *liveSegment) *dead) (*dead, error) {
	var all *dead
	for i, s := range run.segments {
		d, err := carry(s.segment, set(s), run.drop[i], to.segment)
		if err != nil {
			return nil, err
		}
		d.each(func(i int) { all = all.with(i) })
	}
	return all, nil
}

// position returns where the run begins among the segments, -1 when it is not whole there.
func (x *Index) position(run *mergeRun) int {
	at := slices.Index(x.segments, run.segments[0])
	if at < 0 || at+len(run.segments) > len(x.segments) || !slices.Equal(x.segments[at:at+len(run.segments)], run.segments) {
		return -1
	}
	return at
}

// replace shows the merged segment to readers in the place of the others.
func (x *Index) replace(run *mergeRun, merged *liveSegment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var rest []*liveSegment
	for _, s := range x.segments {
		if s == run.segments[0] && merged != nil {
			rest = append(rest, merged)
		}
		if !slices.Contains(run.segments, s) {
			rest = append(rest, s)
			continue
		}
		s.release()
		x.remove(s.ref.fileName())
		if s.ref.dead != 0 {
			x.remove(s.ref.deadName())
		}
	}
	whole := x.position(run) >= 0
	x.segments = rest
	if merged != nil {
		err := x.carryDeaths(run, merged)
		if err == nil && !whole {
			err = fmt.Errorf("%w: found while it was merged", dbfs.ErrCorrupt)
		}
		if err != nil {
			x.forget(merged, err)
		}
	}
}

func (x *Index) carryDeaths(run *mergeRun, merged *liveSegment) (err error) {
	if merged.now, err = carryAll(run, merged, func(s *liveSegment) *dead { return s.now }); err != nil {
		return err
	}
	merged.cut, err = carryAll(run, merged, func(s *liveSegment) *dead { return s.cut })
	merged.cut.share()
	return err
}

// forgetDamaged drops the segment that err says is damaged; false when it names none.
// x.mu is held.
func (x *Index) forgetDamaged(err error) bool {
	var d *damage
	if !errors.As(err, &d) {
		return false
	}
	for _, s := range x.segments {
		if s.pages == d.pages {
			x.forget(s, err)
			return true
		}
	}
	return false
}

// forget drops a damaged segment at once; the manifest follows. x.mu is held.
func (x *Index) forget(bad *liveSegment, err error) {
	x.lose("segment", err)
	x.segments = slices.DeleteFunc(slices.Clone(x.segments), func(s *liveSegment) bool { return s == bad })
	x.gone = append(x.gone, bad.ref)
	x.mark, x.saved = nil, nil
	if x.frozen != nil {
		x.frozen.mark = nil
	}
	bad.release()
	wake(x.flush)
}

// dropGone takes forgotten segments and the mark out of the manifest.
func (x *Index) dropGone() error {
	x.commits.Lock()
	defer x.commits.Unlock()
	x.mu.Lock()
	gone := x.gone
	x.gone = nil
	x.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	e := edit{noMark: true}
	for _, ref := range gone {
		e.drop = append(e.drop, ref.number)
	}
	if err := x.manifest.commit(e); err != nil {
		x.mu.Lock()
		x.gone = append(x.gone, gone...)
		x.mu.Unlock()
		return err
	}
	for _, ref := range gone {
		x.remove(ref.fileName())
		if ref.dead != 0 {
			x.remove(ref.deadName())
		}
	}
	x.opt.OnLoss()
	return nil
}
