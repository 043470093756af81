package server

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/names"
)

// A place is where a child stands: what must be unique is not its name but the key of that.
type place struct {
	parent dbfs.NodeID
	key    string
}

// A stage is a namespace with the edits of a batch applied in memory, as far as they have
// been judged. Nothing is written before the whole batch has passed.
type stage struct {
	tx      ReadTx
	rule    dbfs.NameRule
	start   dbfs.JID // the log's end before the batch
	now     int64    // nanoseconds
	entries []dbfs.Entry
	past    []dbfs.Revision // contents that were lost, and found again; who made them is filled in at the end

	nodes   map[dbfs.NodeID]*dbfs.Node // read or changed; nil: there is none
	changed []dbfs.NodeID              // in order of first change
	places  map[place]dbfs.NodeID      // changed; the root's id stands for "free now"
	moved   []place                    // keys of places in order of first change
}

func newStage(tx ReadTx, head Head, now int64) *stage {
	return &stage{
		tx: tx, rule: head.Names, start: head.JID, now: now,
		nodes: make(map[dbfs.NodeID]*dbfs.Node), places: make(map[place]dbfs.NodeID),
	}
}

// node returns a node, deleted ones too, or nil. It is the stage's: see edit.
func (st *stage) node(id dbfs.NodeID) (*dbfs.Node, error) {
	if n, seen := st.nodes[id]; seen {
		return n, nil
	}
	n, err := stored(st.tx, id)
	if err == nil {
		st.nodes[id] = n
	}
	return n, err
}

// stored returns a node as the namespace has it, or nil.
func stored(tx ReadTx, id dbfs.NodeID) (*dbfs.Node, error) {
	n, err := tx.Node(id)
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, nil
	}
	return &n, err
}

// live returns a node that is reachable, or nil.
func (st *stage) live(id dbfs.NodeID) (*dbfs.Node, error) {
	reached, err := st.climb(id, func(n *dbfs.Node) bool { return !n.Deleted })
	if err != nil || !reached {
		return nil, err
	}
	return st.node(id)
}

// below reports whether a node is, or is somewhere under, another one.
func (st *stage) below(id, above dbfs.NodeID) (bool, error) {
	outside, err := st.climb(id, func(n *dbfs.Node) bool { return n.ID != above })
	return !outside, err
}

// maxDepth is more than any tree has: whoever climbs so far is in a circle.
const maxDepth = 1 << 20

// climb goes from a node up to the root and reports whether it got there through existing
// nodes that all pass.
func (st *stage) climb(id dbfs.NodeID, pass func(*dbfs.Node) bool) (bool, error) {
	for range maxDepth {
		n, err := st.node(id)
		if err != nil || n == nil || !pass(n) {
			return false, err
		}
		if id == dbfs.RootNode {
			return true, nil
		}
		id = n.Parent
	}
	return false, fmt.Errorf("%w: the directories above node %s form a circle", dbfs.ErrCorrupt, id)
}

// child returns who stands at a place; the root's id: nobody.
func (st *stage) child(at place) (dbfs.NodeID, error) {
	if id, changed := st.places[at]; changed {
		return id, nil
	}
	id, err := st.tx.Child(at.parent, at.key)
	if errors.Is(err, dbfs.ErrNotExist) {
		return dbfs.RootNode, nil
	}
	return id, err
}

// empty reports whether a directory has no live child.
func (st *stage) empty(dir dbfs.NodeID) (bool, error) {
	for at, id := range st.places {
		if at.parent == dir && id != dbfs.RootNode {
			return false, nil
		}
	}
	after := ""
	for {
		const page = 64
		children, err := st.tx.Children(dir, after, page)
		if err != nil {
			return false, err
		}
		for _, c := range children {
			if _, changed := st.places[place{dir, c.Key}]; !changed {
				return false, nil
			}
		}
		if len(children) < page {
			return true, nil
		}
		after = children[page-1].Key
	}
}

// children returns the nodes in a directory, or of more than limit that many and one.
func (st *stage) children(dir dbfs.NodeID, limit int) ([]dbfs.NodeID, error) {
	var ids []dbfs.NodeID
	for _, at := range st.moved {
		if id := st.places[at]; at.parent == dir && id != dbfs.RootNode {
			ids = append(ids, id)
		}
	}
	after := ""
	for len(ids) <= limit {
		const page = 512
		children, err := st.tx.Children(dir, after, page)
		if err != nil {
			return nil, err
		}
		for _, c := range children {
			if _, changed := st.places[place{dir, c.Key}]; !changed {
				ids = append(ids, c.ID)
			}
		}
		if len(children) < page {
			break
		}
		after = children[page-1].Key
	}
	return ids[:min(len(ids), limit+1)], nil
}

// occupy puts a node at a place, or with the root's id leaves the place free.
func (st *stage) occupy(at place, id dbfs.NodeID) {
	if _, before := st.places[at]; !before {
		st.moved = append(st.moved, at)
	}
	st.places[at] = id
}

// at is the place of a name.
func (st *stage) at(parent dbfs.NodeID, name string) place {
	if fault.Bug(fault.SpellingsApart) {
		return place{parent, name}
	}
	return place{parent, names.Key(st.rule, name)}
}

func (st *stage) placeOf(n *dbfs.Node) place { return st.at(n.Parent, n.Name) }

// next is the number that the next entry gets.
func (st *stage) next() dbfs.JID { return st.start + 1 + dbfs.JID(len(st.entries)) }

// record stores what an edit made of a node and writes the entry that tells of it.
func (st *stage) record(op *dbfs.Op, as dbfs.OpType, n dbfs.Node) {
	n.Last, n.CTime = st.next(), st.now
	st.change(n)
	st.entries = append(st.entries, dbfs.Entry{JID: n.Last, Time: st.now, Op: op.ID, Type: as, Node: n})
}

// change stores a node.
func (st *stage) change(n dbfs.Node) {
	if old := st.nodes[n.ID]; old == nil || old.Last <= st.start {
		st.changed = append(st.changed, n.ID)
	}
	st.nodes[n.ID] = &n
}

// write makes the batch part of the namespace.
func (st *stage) write(tx Tx) error {
	for _, id := range st.changed {
		if err := tx.PutNode(st.nodes[id]); err != nil {
			return err
		}
	}
	for _, at := range st.moved {
		if err := putPlace(tx, at, st.places[at]); err != nil {
			return err
		}
	}
	if err := st.writePast(tx); err != nil {
		return err
	}
	return tx.AppendLog(st.entries)
}

func putPlace(tx Tx, at place, id dbfs.NodeID) error {
	if id == dbfs.RootNode {
		return tx.DelChild(at.parent, at.key)
	}
	return tx.PutChild(at.parent, at.key, id)
}
