package index

import (
	"encoding/binary"
	"sort"
)

// A rowWalk finds rows of one part for documents that mostly ascend: it remembers the
// 128 rows it was in. One goroutine uses it.
type rowWalk struct {
	p     livePart
	seg   *segment // nil: the memory segment, which needs no help
	pages pageReader
	block []byte // of whole rows; nil before the first
	first int    // ordinal of the block's first row
}

func (p livePart) walk() *rowWalk {
	w := &rowWalk{p: p}
	if seg, ok := p.part.(*segment); ok {
		w.seg = seg
		w.pages = pageReader{p: seg.pages}
	}
	return w
}

// find returns the row of a live document and its ordinal.
func (w *rowWalk) find(doc uint32) (row, int, bool, error) {
	if w.seg == nil {
		r, i, ok, err := w.p.row(doc)
		return r, i, ok && !w.p.dead.has(i), err
	}
	if !w.covers(doc) {
		fence := sort.Search(len(w.seg.fences), func(i int) bool { return w.seg.fences[i] > doc }) - 1
		if fence < 0 {
			return row{}, 0, false, nil
		}
		if err := w.load(fence); err != nil {
			return row{}, 0, false, err
		}
	}
	lo, hi := 0, len(w.block)/rowSize
	for lo < hi {
		if mid := (lo + hi) / 2; w.doc(mid) < doc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo*rowSize == len(w.block) || w.doc(lo) != doc || w.p.dead.has(w.first+lo) {
		return row{}, 0, false, nil
	}
	return decodeRow(w.block[lo*rowSize:]), w.first + lo, true, nil
}

// at returns the row of that ordinal if it is live.
func (w *rowWalk) at(i int) (row, bool, error) {
	if i >= w.p.size() || w.p.dead.has(i) {
		return row{}, false, nil
	}
	if w.seg == nil {
		r, err := w.p.rowAt(i)
		return r, true, err
	}
	if i < w.first || (i-w.first)*rowSize >= len(w.block) {
		if err := w.load(i / rowsPerFence); err != nil {
			return row{}, false, err
		}
	}
	return decodeRow(w.block[(i-w.first)*rowSize:]), true, nil
}

func (w *rowWalk) doc(i int) uint32 { return binary.LittleEndian.Uint32(w.block[i*rowSize:]) }

func (w *rowWalk) covers(doc uint32) bool {
	return w.block != nil && doc >= w.doc(0) && doc <= w.doc(len(w.block)/rowSize-1)
}

func (w *rowWalk) load(fence int) error {
	first := fence * rowsPerFence
	n := min(rowsPerFence, w.seg.size()-first)
	b, err := w.pages.read(int64(w.seg.foot.rows)+int64(first)*rowSize, n*rowSize)
	if err != nil {
		w.block = nil
		return err
	}
	w.block, w.first = b, first
	return nil
}
