package journal

import (
	"cmp"
	"iter"
	"slices"

	"github.com/dbfs/dbfs"
)

// An edit is a pending op and its key, which is its place in the order. Once it has been
// in a batch it does not change, unless the server refuses that or it is reconciled.
type edit struct {
	key  uint64
	op   dbfs.Op
	left place // the name it frees; not stored: seen when it is laid over the view
	dir  bool  // it moves, exchanges, deletes or revives a directory; likewise
	sent bool  // it is in the batch in flight
	gone bool  // it is not pending any more

	// tried: it was in a batch that was forgotten unanswered. The server may have it, so that what
	// would be amended into it could be lost.
	tried bool

	since uint64 // not 0: the number of the oldest edit that this one stands for

	hold   uint64 // not 0: the Hold that it is in
	judged bool   // the guard has seen it

	set    uint64  // when it got its content, in the journal's count
	stands []stand // what it had at a Sync, newest first, if it has been amended since
}

// oldest returns the number of the oldest edit that this one stands for, which may be itself.
func (e *edit) oldest() uint64 {
	if e.since != 0 {
		return e.since
	}
	return e.op.ID.N
}

// fixed reports whether the server may know the edit as it is.
func (e *edit) fixed() bool { return e.sent || e.tried }

// about returns the nodes an edit changes, and what gets or loses a name by it.
func about(op *dbfs.Op) []dbfs.NodeID {
	ids := append(make([]dbfs.NodeID, 0, 2), op.Node)
	if op.Replace != nil {
		ids = append(ids, op.Replace.Node)
	}
	if op.Link != (dbfs.NodeID{}) {
		ids = append(ids, op.Link)
	}
	return append(ids, op.Below...)
}

// places returns where the edit puts nodes.
func places(op *dbfs.Op) []place {
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy, dbfs.OpMove, dbfs.OpRevive:
		return []place{{op.Parent, op.Name}}
	case dbfs.OpExchange:
		return []place{{op.Parent, op.Name}, {op.Replace.Parent, op.Replace.Name}}
	}
	return nil
}

// shifts reports whether the edit brings a directory to another place, with all below it.
func (e *edit) shifts() bool {
	return e.dir && (e.op.Type == dbfs.OpMove || e.op.Type == dbfs.OpRevive || e.op.Type == dbfs.OpExchange)
}

// pending is the edits in order, and who they are about.
type pending struct {
	list   []*edit // keys ascending; some may be gone, never the last
	gone   int     // how many of them
	byNode map[dbfs.NodeID][]*edit
	inside map[dbfs.NodeID]int // edits that place something in that directory
	shifts int                 // edits that shift
	rmdirs int                 // edits that delete a directory by itself
	waits  int                 // deletions that wait for another namespace
	coming map[dbfs.Origin]int // edits with something that was moved here from there
}

func newPending() *pending {
	return &pending{byNode: make(map[dbfs.NodeID][]*edit), inside: make(map[dbfs.NodeID]int), coming: make(map[dbfs.Origin]int)}
}

func (p *pending) len() int { return len(p.list) - p.gone }

// all returns the edits in order.
func (p *pending) all() iter.Seq[*edit] {
	return func(yield func(*edit) bool) {
		for _, e := range p.list {
			if !e.gone && !yield(e) {
				return
			}
		}
	}
}

// last returns the youngest edit, or nil.
func (p *pending) last() *edit {
	if len(p.list) == 0 {
		return nil
	}
	return p.list[len(p.list)-1]
}

// add appends an edit, which has been laid over the view.
func (p *pending) add(e *edit) {
	p.list = append(p.list, e)
	for _, id := range about(&e.op) {
		p.byNode[id] = append(p.byNode[id], e)
	}
	for _, at := range places(&e.op) {
		p.inside[at.parent]++
	}
	if e.shifts() {
		p.shifts++
	}
	if e.rmdir() {
		p.rmdirs++
	}
	p.carry(&e.op, 1)
}

// carry counts an edit of a move between namespaces, at either end.
func (p *pending) carry(op *dbfs.Op, n int) {
	switch {
	case op.Await != 0:
		p.waits += n
	case op.From != (dbfs.Origin{}):
		if p.coming[op.From] += n; p.coming[op.From] == 0 {
			delete(p.coming, op.From)
		}
	}
}

// remove takes an edit out; the order of the rest stays.
func (p *pending) remove(e *edit) {
	for _, id := range about(&e.op) {
		rest := slices.DeleteFunc(slices.Clone(p.byNode[id]), func(x *edit) bool { return x == e })
		if p.byNode[id] = rest; len(rest) == 0 {
			delete(p.byNode, id)
		}
	}
	for _, at := range places(&e.op) {
		p.leave(at.parent)
	}
	if e.shifts() {
		p.shifts--
	}
	if e.rmdir() {
		p.rmdirs--
	}
	p.carry(&e.op, -1)
	e.gone = true
	p.gone++
	p.compact()
}

// compact drops what is gone from the end, and from the rest when it is the larger part:
// removing all edits one by one costs no more than once going through them.
func (p *pending) compact() {
	for e := p.last(); e != nil && e.gone; e = p.last() {
		p.list = p.list[:len(p.list)-1]
		p.gone--
	}
	if p.gone > 32 && p.gone > len(p.list)/2 {
		p.list = slices.Collect(p.all())
		p.gone = 0
	}
}

func (p *pending) leave(dir dbfs.NodeID) {
	if p.inside[dir]--; p.inside[dir] == 0 {
		delete(p.inside, dir)
	}
}

func (p *pending) index(key uint64) (int, bool) {
	return slices.BinarySearchFunc(p.list, key, func(e *edit, k uint64) int { return cmp.Compare(e.key, k) })
}

func (p *pending) find(key uint64) (*edit, bool) {
	i, ok := p.index(key)
	if !ok || p.list[i].gone {
		return nil, false
	}
	return p.list[i], true
}

// nextKey returns the key of an edit that comes after all others.
func (p *pending) nextKey() uint64 {
	if len(p.list) == 0 {
		return keyGap
	}
	return p.list[len(p.list)-1].key&^(keyGap-1) + keyGap
}
