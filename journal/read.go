package journal

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/dbfs/dbfs"
)

// Node returns a node of the view that is not deleted, or ErrNotExist.
func (j *Journal) Node(id dbfs.NodeID) (dbfs.Node, error) {
	var n dbfs.Node
	err := j.read(func(s *snapshot) error {
		var ok bool
		if n, ok = s.node(id); !ok || n.Deleted {
			return fmt.Errorf("node %s: %w", id, dbfs.ErrNotExist)
		}
		n = s.show(n)
		return nil
	})
	return n, err
}

// Behind returns what a node is a name of, if it is a link, or else the node.
func (j *Journal) Behind(n dbfs.Node) (dbfs.Node, error) {
	if n.Kind != dbfs.KindLink {
		return n, nil
	}
	return j.Node(n.Link)
}

// AtServer returns a file as the server has it; false: it has not, or the file is shown with another
// content than the server has.
func (j *Journal) AtServer(id dbfs.NodeID) (dbfs.Node, bool) {
	var t dbfs.Node
	ok := false
	err := j.read(func(s *snapshot) error {
		var known bool
		t, known = s.treeNode(id)
		n, _ := s.node(id)
		ok = known && t.Kind == dbfs.KindFile && !t.Deleted && t.Revs.Content != 0 && n.Content.Equal(t.Content)
		return nil
	})
	return t, ok && err == nil
}

// SentContent returns the content that a file had at the server when it was last heard of, whatever it
// is shown with; the zero Content: none is known.
func (j *Journal) SentContent(id dbfs.NodeID) dbfs.Content {
	var t dbfs.Node
	if err := j.read(func(s *snapshot) error { t, _ = s.treeNode(id); return nil }); err != nil {
		return dbfs.Content{}
	}
	return t.Content
}

// Known reports whether there is, or was, a node of that id.
func (j *Journal) Known(id dbfs.NodeID) (known bool, err error) {
	err = j.read(func(s *snapshot) error {
		_, known = s.node(id)
		return nil
	})
	return known, err
}

// Child returns the node of that name in a directory. ErrNotExist means that something
// says so; before the tree has been listed for the first time it is ErrOffline.
func (j *Journal) Child(parent dbfs.NodeID, name string) (dbfs.Node, error) {
	var n dbfs.Node
	err := j.read(func(s *snapshot) error {
		var ok bool
		if n, ok = s.child(parent, name); ok {
			n = s.show(n)
			return nil
		}
		if err := j.listed(); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		return fmt.Errorf("%q: %w", name, dbfs.ErrNotExist)
	})
	return n, err
}

// listed returns ErrOffline before the tree has been listed for the first time: what is not
// there is not known to be absent. Called with mu held.
func (j *Journal) listed() error {
	if j.cursor == (dbfs.Cursor{}) {
		return fmt.Errorf("the namespace has not been listed yet: %w", dbfs.ErrOffline)
	}
	return nil
}

// Children returns the nodes of a directory in order of their names' bytes, or ErrOffline as
// Child does.
func (j *Journal) Children(dir dbfs.NodeID) ([]dbfs.Node, error) {
	var all []dbfs.Node
	err := j.read(func(s *snapshot) error {
		if err := j.listed(); err != nil {
			return err
		}
		s.children(dir, func(_ string, id dbfs.NodeID) bool {
			if n, ok := s.node(id); ok {
				all = append(all, s.show(n))
			}
			return s.err == nil
		})
		return nil
	})
	return all, err
}

// HasChild reports whether a directory has something in it.
func (j *Journal) HasChild(dir dbfs.NodeID) (bool, error) {
	found := false
	err := j.read(func(s *snapshot) error {
		found = s.hasChild(dir)
		return nil
	})
	return found, err
}

// Lookup follows a slash-separated path from the namespace's root; "" and "." are the root.
func (j *Journal) Lookup(p string) (dbfs.Node, error) {
	n, err := j.Node(dbfs.RootNode)
	for _, name := range strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/") {
		if err != nil || name == "" {
			break
		}
		n, err = j.Child(n.ID, name)
	}
	return n, err
}

// Path returns a node's path from the namespace's root, without a leading slash; false if
// it is not reachable.
func (j *Journal) Path(id dbfs.NodeID) (string, bool) {
	var parts []string
	ok := true
	err := j.read(func(s *snapshot) error {
		for depth := 0; id != dbfs.RootNode; depth++ {
			n, found := s.node(id)
			if !found || n.Deleted || depth > maxDepth {
				ok = false
				return nil
			}
			parts = append(parts, n.Name)
			id = n.Parent
		}
		return nil
	})
	if err != nil || !ok {
		return "", false
	}
	for a, b := 0, len(parts)-1; a < b; a, b = a+1, b-1 {
		parts[a], parts[b] = parts[b], parts[a]
	}
	return strings.Join(parts, "/"), true
}

// Nodes calls fn once with every node of the view that is not deleted, in no order, in short
// transactions, so that others may edit meanwhile: one that changes during the walk may
// be seen in either state, and whoever needs to know observes.
func (j *Journal) Nodes(fn func(dbfs.Node) bool) error {
	ours := j.overlay() // first: what is settled meanwhile would be missed in both places
	for _, id := range slices.SortedFunc(maps.Keys(ours), compareIDs) {
		if n := ours[id]; !n.Deleted && !fn(n) {
			return nil
		}
	}
	const page = 1000
	for after, more := dbfs.RootNode, true; more; {
		var nodes []dbfs.Node
		err := j.read(func(s *snapshot) error {
			more = false
			return s.tree.Nodes(s.txn, after, func(n dbfs.Node) bool {
				after = n.ID
				if _, told := ours[n.ID]; !told {
					if now, touched := s.view.nodes[n.ID]; touched {
						n = now
					}
					if !n.Deleted {
						nodes = append(nodes, n)
					}
				}
				more = len(nodes) == page
				return !more
			})
		})
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if !fn(n) {
				return nil
			}
		}
	}
	return nil
}

// overlay returns the nodes that pending edits touch.
func (j *Journal) overlay() map[dbfs.NodeID]dbfs.Node {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return maps.Clone(j.view.nodes)
}

// State says how one node stands with the server.
type State struct {
	Pending int  // edits of it that the server has not taken
	Sent    bool // one of them is on its way
	Open    bool // somebody writes to it
	Waits   bool // and therefore its content is not sent
	Leaving bool // it moves to another namespace, and nothing of it is sent before it is there
}

// StateOf returns how a node stands with the server.
func (j *Journal) StateOf(id dbfs.NodeID) State {
	j.mu.RLock()
	defer j.mu.RUnlock()
	st := State{Open: j.open[id] != nil, Waits: j.waits(id), Leaving: j.pending.waits > 0 && j.isLeaving(id)}
	for _, e := range j.pending.byNode[id] {
		st.Pending++
		st.Sent = st.Sent || e.sent
	}
	return st
}

// Pending returns the edits the server has not taken, oldest first.
func (j *Journal) Pending() []dbfs.Op { return j.PendingBefore(math.MaxUint64) }

// PendingBefore returns the edits that the server has not taken and that were made before the
// one of that number, or stand for one that was: reconciling gives new numbers, and so does
// a file that is moved before it has been sent.
func (j *Journal) PendingBefore(n uint64) []dbfs.Op {
	j.mu.RLock()
	defer j.mu.RUnlock()
	ops := make([]dbfs.Op, 0, j.pending.len())
	for e := range j.pending.all() {
		if e.oldest() < n {
			ops = append(ops, e.op)
		}
	}
	return ops
}

// PendingRun returns some of what Pending does, at most so many edits: from a place on, which is 0 at first, and
// then what it returned last; 0: there are no more.
func (j *Journal) PendingRun(from uint64, most int) (ops []dbfs.Op, next uint64) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	i, _ := j.pending.index(from)
	for _, e := range j.pending.list[i:] {
		switch {
		case e.gone:
		case len(ops) == most:
			return ops, e.key
		default:
			ops = append(ops, e.op)
		}
	}
	return ops, 0
}

// Backlog sums up what the server has not taken.
type Backlog struct {
	Edits  int
	Files  int   // nodes among them
	Bytes  int64 // of the files that are to be written; their chunks may be there already
	Oldest int64 // nanoseconds: when the oldest was made; 0: none
}

// Backlog returns what the server has not taken.
func (j *Journal) Backlog() Backlog {
	j.mu.RLock()
	defer j.mu.RUnlock()
	b := Backlog{Edits: j.pending.len(), Files: len(j.pending.byNode)}
	for e := range j.pending.all() {
		if e.op.Content != nil {
			b.Bytes += e.op.Content.Data()
		}
		if e.op.Time != 0 && (b.Oldest == 0 || e.op.Time < b.Oldest) {
			b.Oldest = e.op.Time
		}
	}
	return b
}

// Notices returns the conflicts that somebody should look at, oldest first.
func (j *Journal) Notices() []Notice {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return append([]Notice(nil), j.notices...)
}

// NextOp returns the number that the next edit will have: all edits so far have smaller ones.
func (j *Journal) NextOp() uint64 {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.nextN
}
