package journal

import "github.com/dbfs/dbfs"

// Queued is a pending edit as a person wants to know of it.
type Queued struct {
	Op    dbfs.Op
	Path  string // from the namespace's root: where it is, or if it is deleted was
	From  string // where it was, if the edit moves it; else ""
	Was   dbfs.Content
	Sent  bool   // it is in the batch in flight
	Ahead bool   // it was bumped
	Waits bool   // for somebody who writes to it, or moves it elsewhere
	Held  uint64 // not 0: the Hold that keeps it
	Aside error  // not nil: why the server does not take it
}

// Queue returns some pending edits in the order in which they go, what was bumped first; from and next are as
// in PendingRun, and what was bumped comes with the first.
func (j *Journal) Queue(from uint64, most int) (list []Queued, next uint64, err error) {
	err = j.read(func(s *snapshot) error {
		if from == 0 {
			for _, e := range j.aheadEdits() {
				list = append(list, j.queued(s, e))
			}
		}
		i, _ := j.pending.index(from)
		n := 0
		for _, e := range j.pending.list[i:] {
			switch {
			case e.gone || j.ahead[e.op.Node]:
			case n == most:
				next = e.key
				return nil
			default:
				list = append(list, j.queued(s, e))
				n++
			}
		}
		return nil
	})
	return list, next, err
}

func (j *Journal) queued(s *snapshot, e *edit) Queued {
	q := Queued{Op: e.op, Sent: e.sent, Ahead: j.ahead[e.op.Node], Waits: e.op.Content != nil && j.waits(e.op.Node) || j.leaves(e)}
	n, _ := s.node(e.op.Node)
	at := place{n.Parent, n.Name}
	switch {
	case e.op.Type == dbfs.OpDelete || e.op.Type == dbfs.OpDeleteTree:
		if e.left != (place{}) {
			at = e.left
		}
	case e.left != (place{}):
		q.From = pathOf(s, e.left)
	}
	if e.op.Node != dbfs.RootNode {
		q.Path = pathOf(s, at)
	}
	if e.op.Content != nil {
		was, _ := s.treeNode(e.op.Node)
		q.Was = was.Content
	}
	if h := j.holdOf(e.hold); j.keeps(e) {
		q.Held = h.ID
	} else if h := j.incoming(); h != nil && h.Decision == Undecided {
		q.Held = h.ID
	}
	if j.isAside(&e.op) {
		q.Aside = j.aside[e.op.ID].Why
	}
	return q
}

// RetryAsides has the edits of some nodes, or with nil all, sent again that were set aside.
func (j *Journal) RetryAsides(nodes map[dbfs.NodeID]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, a := range j.aside {
		if nodes == nil || nodes[a.Op.Node] {
			delete(j.aside, id)
		}
	}
	j.hasMoved()
}
