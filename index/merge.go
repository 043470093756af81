package index

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
)

// fanIn is how many neighbouring segments of one level become one of the next.
const fanIn = 6

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
			err := x.mergeRun(ctx, run)
			x.let(run)
			if ctx.Err() != nil {
				return
			}
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
func (x *Index) mergeRun(ctx context.Context, run *mergeRun) error {
	var inputs []mergeInput
	left := 0
	for i, s := range run.segments {
		inputs = append(inputs, mergeInput{s.segment, run.drop[i]})
		left += s.size() - run.drop[i].len()
	}
	var merged *liveSegment
	if left > 0 {
		var err error
		if merged, err = x.writeLive(ctx, run.level, inputs); err != nil {
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
