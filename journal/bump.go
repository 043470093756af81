package journal

import (
	"cmp"
	"slices"

	"github.com/dbfs/dbfs"
)

// Bump wishes that the edits of some nodes go before all others, with those that they build on, and
// returns how many there are. It reorders nothing: pending edits keep their places, and a
// batch has always been a part of them, in order, in which none builds on one left behind. A batch of
// what was bumped is made as if nothing else were ready; so what holds for batches holds for it.
// What goes ahead is remembered by node until nothing of the node is pending, or the journal is closed.
func (j *Journal) Bump(nodes []dbfs.NodeID) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	wanted := make(map[dbfs.NodeID]bool, len(nodes))
	for _, id := range nodes {
		wanted[id] = true
	}
	needs := newNeeds(j.cfg.Names)
	n := 0
	for i := len(j.pending.list) - 1; i >= 0; i-- {
		e := j.pending.list[i]
		if e.gone || !wanted[e.op.Node] && !needs.need(e) {
			continue
		}
		needs.add(e)
		j.ahead[e.op.Node] = true
		n++
	}
	if n > 0 {
		j.hasMoved()
	}
	return n
}

// Ahead returns the edits that go before all others, in order.
func (j *Journal) Ahead() []dbfs.Op {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var ops []dbfs.Op
	for _, e := range j.aheadEdits() {
		ops = append(ops, e.op)
	}
	return ops
}

// aheadEdits is called with mu held.
func (j *Journal) aheadEdits() []*edit {
	var all []*edit
	for id := range j.ahead {
		for _, e := range j.pending.byNode[id] {
			if e.op.Node == id {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, func(a, b *edit) int { return cmp.Compare(a.key, b.key) })
	return all
}

// forgetAhead forgets the nodes of which nothing is pending. Called with mu held.
func (j *Journal) forgetAhead() {
	for id := range j.ahead {
		if !slices.ContainsFunc(j.pending.byNode[id], func(e *edit) bool { return e.op.Node == id }) {
			delete(j.ahead, id)
		}
	}
}

// needs is leftBehind seen from the other side: it knows what some edits build on.
type needs struct {
	rule    dbfs.NameRule
	nodes   map[dbfs.NodeID]bool // what they change, and the directories they put it in
	places  map[place]bool       // where they put it
	deleted map[dbfs.NodeID]bool // what has to be empty by then
	shift   bool
	any     bool
}

func newNeeds(rule dbfs.NameRule) *needs {
	return &needs{rule: rule, nodes: make(map[dbfs.NodeID]bool), places: make(map[place]bool), deleted: make(map[dbfs.NodeID]bool)}
}

func (n *needs) add(e *edit) {
	n.any = true
	n.shift = n.shift || e.shifts()
	removes := e.op.Type == dbfs.OpDelete || e.op.Type == dbfs.OpDeleteTree
	for _, id := range about(&e.op) {
		n.nodes[id] = true
		if removes {
			n.deleted[id] = true
		}
	}
	for _, at := range places(&e.op) {
		n.nodes[at.parent] = true
		n.places[keyed(n.rule, at)] = true
	}
}

// need reports whether one of the edits would be under e, were e left behind.
func (n *needs) need(e *edit) bool {
	switch {
	case !n.any:
		return false
	case e.dir && e.op.Type == dbfs.OpRevive, n.shift && e.shifts():
		return true
	}
	if slices.ContainsFunc(about(&e.op), func(id dbfs.NodeID) bool { return n.nodes[id] }) {
		return true
	}
	if slices.ContainsFunc(places(&e.op), func(at place) bool { return n.places[keyed(n.rule, at)] }) {
		return true
	}
	return e.left != (place{}) && (n.places[keyed(n.rule, e.left)] || n.deleted[e.left.parent])
}
