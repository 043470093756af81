package index

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
)

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

// Lost reports whether something had to be dropped because it was damaged or written by
// a newer version. The feeder then walks its whole tree, calls Update for what Has and
// HasContent do not know, and ends with Sweep. A feeder asks when OnLoss is called and
// after Open, before it begins to walk.
func (x *Index) Lost() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.walked = x.losses
	return x.losses > x.healed
}

// Sweep ends a feeder's walk of its whole tree: it removes every node that keep refuses
// and returns how many there were.
func (x *Index) Sweep(ctx context.Context, keep func(node dbfs.NodeID) bool) (int, error) {
	gone, err := x.refused(ctx, keep)
	if err != nil {
		return 0, fmt.Errorf("sweep index: %w", err)
	}
	for i, node := range gone {
		if err := x.Remove(node); err != nil {
			return i, fmt.Errorf("sweep index: %w", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.healed = x.walked
	return len(gone), nil
}

func (x *Index) refused(ctx context.Context, keep func(node dbfs.NodeID) bool) ([]dbfs.NodeID, error) {
	s, err := x.snapshot()
	if err != nil {
		return nil, err
	}
	defer s.release()
	var gone []dbfs.NodeID
	err = s.eachName(ctx, func(p livePart, r row) error {
		n, err := p.name(r)
		if err == nil && !keep(n.node) {
			gone = append(gone, n.node)
		}
		return err
	})
	return gone, err
}
