package journal

import (
	"errors"
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
)

// transplant carries pending edits from an old tree to a newly listed one, before the two
// are swapped: what the edits need to know of the old one is gone afterwards.
type transplant struct {
	j        *Journal
	restored bool                        // the log is another one: its revisions cannot be compared
	was      map[dbfs.NodeID]dbfs.Node   // the old tree's nodes that edits mention or that are written to, and those above them
	renewed  map[dbfs.NodeID]dbfs.NodeID // new ids for nodes made here
	binds    writes                      // inode numbers for these
}

func (t *transplant) read(s *snapshot) {
	for e := range t.j.pending.all() {
		for _, id := range about(&e.op) {
			t.readUp(s, id)
		}
		for _, at := range places(&e.op) {
			t.readUp(s, at.parent)
		}
	}
	for id, h := range t.j.open {
		if !h.deleted {
			t.readUp(s, id) // what is written to it brings it back
		}
	}
}

// readUp reads a node and those above it.
func (t *transplant) readUp(s *snapshot, id dbfs.NodeID) {
	for id != dbfs.RootNode {
		n, ok := s.treeNode(id)
		if _, done := t.was[id]; done || !ok {
			return
		}
		t.was[id] = n
		id = n.Parent
	}
}

// renew gives new ids to nodes whose creation was sent and that are not listed: they may
// have been made and deleted again, and the server takes an id only once.
func (t *transplant) renew(txn dbfs.Txn) error {
	for e := range t.j.pending.all() {
		if !e.op.Type.Makes() || !e.fixed() {
			continue
		}
		_, err := t.j.cfg.Tree.NextNode(txn, e.op.Node)
		if err == nil {
			continue
		}
		if !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		to := t.j.cfg.NewID()
		t.renewed[e.op.Node] = to
		t.binds.add(100, func(txn dbfs.Txn) error { return t.j.cfg.Tree.Bind(txn, e.op.Ino, to) })
	}
	return nil
}

// edits returns the pending edits as they are over the new tree.
func (t *transplant) edits(txn dbfs.Txn) ([]*edit, error) {
	var all []*edit
	last := uint64(0)
	for old := range t.j.pending.all() {
		for i, op := range t.apart(old) {
			e := &edit{key: max(old.key+uint64(i), last+1), op: op, left: old.left, dir: old.dir, tried: old.fixed(), since: old.since, hold: old.hold, judged: old.judged, set: old.set, stands: old.stands}
			last = e.key
			t.redirect(&e.op)
			if t.restored {
				if err := t.translate(txn, &e.op); err != nil {
					return nil, err
				}
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// apart returns the ops of an edit as they can be carried over: how much of the log somebody
// had seen means nothing in a restored one, so there a tree is deleted node by node.
func (t *transplant) apart(e *edit) []dbfs.Op {
	if e.op.Type != dbfs.OpDeleteTree || !t.restored {
		return []dbfs.Op{e.op}
	}
	var ops []dbfs.Op
	for _, id := range e.op.Below {
		n := t.was[id]
		ops = append(ops, dbfs.Op{ID: t.j.newOpID(), Type: dbfs.OpDelete, Node: id, Base: n.Revs, Link: n.Link, Time: e.op.Time})
	}
	op := e.op
	op.Type, op.Seen, op.Below = dbfs.OpDelete, 0, nil
	return append(ops, op)
}

func (t *transplant) redirect(op *dbfs.Op) {
	if to, ok := t.renewed[op.Node]; ok {
		op.Node = to
	}
	if to, ok := t.renewed[op.Parent]; ok {
		op.Parent = to
	}
	if to, ok := t.renewed[op.Link]; ok {
		op.Link = to
	}
	if op.Replace != nil {
		v := *op.Replace
		if to, ok := t.renewed[v.Node]; ok {
			v.Node = to
		}
		if to, ok := t.renewed[v.Parent]; ok {
			v.Parent = to
		}
		op.Replace = &v
	}
}

// translate expresses what an edit is based on in the revisions of a restored log: by what
// the old tree and the new one say of the node, part by part.
func (t *transplant) translate(txn dbfs.Txn, op *dbfs.Op) error {
	err := t.translateBase(txn, &op.Base, op.Node)
	if err == nil && op.Replace != nil {
		err = t.translateBase(txn, &op.Replace.Base, op.Replace.Node)
	}
	return err
}

func (t *transplant) translateBase(txn dbfs.Txn, base *dbfs.Revs, id dbfs.NodeID) error {
	was, ok := t.was[id]
	if !ok {
		return nil
	}
	now, err := t.j.cfg.Tree.NextNode(txn, id)
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil // lost: no revision matters
	}
	if err != nil {
		return err
	}
	part := func(base *dbfs.JID, was, now dbfs.JID, same bool) {
		switch {
		case *base == dbfs.SelfRev:
		case *base == was && same:
			*base = now
		default:
			*base = noRev
		}
	}
	part(&base.Content, was.Revs.Content, now.Revs.Content, was.Content.Equal(now.Content))
	part(&base.Place, was.Revs.Place, now.Revs.Place, was.Parent == now.Parent && was.Name == now.Name && was.Deleted == now.Deleted)
	part(&base.Attr, was.Revs.Attr, now.Revs.Attr, true)
	return nil
}

// bury puts those nodes that are not listed into the new tree, as deleted ones that the server
// may know nothing of. What the log says of them later counts more.
func (t *transplant) bury() error {
	var ws writes
	for _, id := range slices.SortedFunc(maps.Keys(t.was), compareIDs) {
		n := t.was[id]
		n.Deleted, n.Revs, n.Last = true, dbfs.Revs{}, 0
		ws.add(nodeBytes(&n), func(txn dbfs.Txn) error {
			return t.j.cfg.Tree.PutNext(txn, n, func() uint64 { return n.Ino })
		})
	}
	return ws.run(t.j.cfg.KV, t.j.txnBytes())
}
