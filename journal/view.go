package journal

import (
	"errors"
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
)

// view is what the pending edits made of the tree: the nodes they touched, and the names
// those took or left. Everything else shows through from the tree.
type view struct {
	nodes map[dbfs.NodeID]dbfs.Node
	names map[dbfs.NodeID]map[string]dbfs.NodeID // by parent; nobody: a name that was left
	alike map[place][]string                     // where names are portable: those in names, by their key, in order
}

// nobody stands in names for a name that no longer leads anywhere. The root is nobody's child.
var nobody = dbfs.RootNode

func newView() *view {
	return &view{make(map[dbfs.NodeID]dbfs.Node), make(map[dbfs.NodeID]map[string]dbfs.NodeID), make(map[place][]string)}
}

func (v *view) clone() *view {
	c := &view{maps.Clone(v.nodes), make(map[dbfs.NodeID]map[string]dbfs.NodeID, len(v.names)), make(map[place][]string, len(v.alike))}
	for at, names := range v.alike {
		c.alike[at] = slices.Clone(names)
	}
	for parent, names := range v.names {
		c.names[parent] = maps.Clone(names)
	}
	return c
}

// A snapshot reads a view over a tree within one transaction. Its first error sticks and
// makes every later answer empty; whoever asked looks at err before using any of them.
type snapshot struct {
	txn     dbfs.Txn
	tree    Tree
	view    *view
	rootIno uint64
	rule    dbfs.NameRule
	clashes map[place]string          // see Journal
	dirs    map[dbfs.NodeID]dbfs.Node // nil, or the tree's directories as far as they have been read
	memo    *memo                     // nil: what the tree says is not remembered
	known   known                     // what readers remember of it
	err     error
}

// node returns a node that was ever there, deleted or not.
func (s *snapshot) node(id dbfs.NodeID) (dbfs.Node, bool) {
	if n, ok := s.view.nodes[id]; ok {
		return n, true
	}
	return s.treeNode(id)
}

func (s *snapshot) treeNode(id dbfs.NodeID) (dbfs.Node, bool) {
	if s.err != nil {
		return dbfs.Node{}, false
	}
	if n, read := s.dirs[id]; read {
		return n, true
	}
	if known := s.memo.node(id); known != nil {
		return known.node, known.ok
	}
	if n, ok := s.known.get(id); ok {
		return n, true
	}
	n, err := s.tree.Node(s.txn, id)
	switch {
	case err == nil:
	case !errors.Is(err, dbfs.ErrNotExist):
		s.err = err
		return n, false
	case id == dbfs.RootNode: // the server has not said anything about it yet
		n = dbfs.Node{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}}
	default:
		s.memo.keepNode(id, n, false)
		return n, false
	}
	if id == dbfs.RootNode {
		n.Ino = s.rootIno
	}
	if s.dirs != nil && n.Kind.IsDir() {
		s.dirs[id] = n
	}
	s.memo.keepNode(id, n, true)
	s.known.keep(n)
	return n, true
}

// child returns the node that a name leads to, by that spelling or another one.
func (s *snapshot) child(parent dbfs.NodeID, name string) (dbfs.Node, bool) {
	n, ok := s.exactly(parent, name)
	if !ok && (s.rule != dbfs.NamesExact || len(s.clashes) > 0) {
		n, ok = s.otherwise(parent, name)
	}
	return n, ok
}

// exactly returns the node that has a name.
func (s *snapshot) exactly(parent dbfs.NodeID, name string) (dbfs.Node, bool) {
	id, ok := s.view.names[parent][name]
	if !ok {
		if id, ok = s.treeChild(parent, name); !ok {
			return dbfs.Node{}, false
		}
	}
	if id == nobody {
		return dbfs.Node{}, false
	}
	return s.node(id)
}

func (s *snapshot) treeChild(parent dbfs.NodeID, name string) (dbfs.NodeID, bool) {
	if s.err != nil {
		return nobody, false
	}
	at := place{parent, name}
	if known := s.memo.name(at); known != nil {
		return known.id, known.ok
	}
	id, err := s.tree.Child(s.txn, parent, name)
	if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		s.err = err
		return id, false
	}
	s.memo.keepName(at, id, err == nil)
	return id, err == nil
}

// children calls fn with the nodes in a directory, in order of name, until it returns false.
func (s *snapshot) children(parent dbfs.NodeID, fn func(name string, id dbfs.NodeID) bool) {
	if s.err != nil {
		return
	}
	ours := slices.Sorted(maps.Keys(s.view.names[parent]))
	emit := func(name string) bool {
		id := s.view.names[parent][name]
		return id == nobody || fn(name, id)
	}
	on := true
	err := s.tree.Children(s.txn, parent, "", func(name string, id dbfs.NodeID) bool {
		for on && len(ours) > 0 && ours[0] < name {
			on, ours = emit(ours[0]), ours[1:]
		}
		if len(ours) > 0 && ours[0] == name {
			on, ours = on && emit(name), ours[1:]
			return on
		}
		on = on && fn(name, id)
		return on
	})
	for ; on && len(ours) > 0; ours = ours[1:] {
		on = emit(ours[0])
	}
	if err != nil {
		s.err = err
	}
}

func (s *snapshot) hasChild(dir dbfs.NodeID) bool {
	names := s.view.names[dir]
	for _, id := range names {
		if id != nobody {
			return true
		}
	}
	if s.err != nil {
		return false
	}
	found := false
	s.err = s.tree.Children(s.txn, dir, "", func(name string, _ dbfs.NodeID) bool {
		_, left := names[name]
		found = !left
		return !found
	})
	return found
}

// lay notes in an edit what it does to the view as it is, and applies it.
func (s *snapshot) lay(e *edit) {
	e.left, e.dir = place{}, e.op.Kind == dbfs.KindDir
	if n, ok := s.node(e.op.Node); ok {
		e.dir = n.Kind.IsDir()
		if e.op.Type == dbfs.OpExchange && !e.dir {
			other, _ := s.node(e.op.Replace.Node)
			e.dir = other.Kind.IsDir()
		}
		if !n.Deleted && (e.op.Type == dbfs.OpMove || e.op.Type == dbfs.OpDelete || e.op.Type == dbfs.OpDeleteTree) {
			e.left = place{n.Parent, n.Name}
		}
	}
	s.apply(&e.op)
}

// apply does what an edit says: whether it may is decided before, by edit.go for the user's
// and by reconcile.go for pending ones.
func (s *snapshot) apply(op *dbfs.Op) {
	for _, id := range about(op)[1:] {
		if other, ok := s.node(id); ok {
			applyTo(&other, op)
			s.set(other)
		}
	}
	n, _ := s.node(op.Node)
	applyTo(&n, op)
	s.set(n)
}

// applyTo makes of one node that an edit is about what the edit makes of it.
func applyTo(n *dbfs.Node, op *dbfs.Op) {
	n.CTime = op.Time
	if n.ID == op.Link && op.Link != (dbfs.NodeID{}) {
		applyName(n, op)
		return
	}
	if v := op.Replace; v != nil && v.Node == n.ID && op.Node != n.ID {
		if n.Revs.Place = dbfs.SelfRev; op.Type == dbfs.OpExchange {
			n.Parent, n.Name = v.Parent, v.Name
		} else {
			n.Deleted = true
		}
		return
	}
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		*n = dbfs.Node{
			ID: op.Node, Parent: op.Parent, Name: op.Name, Kind: op.Kind, Attr: op.Attr, Target: op.Target, Mount: op.Mount, Link: op.Link, Device: op.Device,
			Revs: dbfs.Revs{Content: dbfs.SelfRev, Place: dbfs.SelfRev, Attr: dbfs.SelfRev}, CTime: op.Time, Ino: op.Ino,
		}
		if op.Content != nil {
			n.Content = *op.Content
		}
	case dbfs.OpWrite:
		n.Content, n.Attr.MTime, n.Revs.Content = *op.Content, op.Attr.MTime, dbfs.SelfRev
	case dbfs.OpMove, dbfs.OpExchange:
		n.Parent, n.Name, n.Revs.Place = op.Parent, op.Name, dbfs.SelfRev
	case dbfs.OpSetAttr:
		n.Attr.Set(op.Mask, op.Attr)
		n.Revs.Attr = dbfs.SelfRev
	case dbfs.OpDelete, dbfs.OpDeleteTree:
		n.Deleted, n.Revs.Place = true, dbfs.SelfRev
	case dbfs.OpRevive:
		n.Deleted, n.Parent, n.Name, n.Revs.Place = false, op.Parent, op.Name, dbfs.SelfRev
		if op.Content != nil {
			n.Content, n.Revs.Content = *op.Content, dbfs.SelfRev
		}
	}
}

// set puts a node into the view and mends the names it held and holds.
func (s *snapshot) set(n dbfs.Node) {
	old, known := s.view.nodes[n.ID]
	s.view.nodes[n.ID] = n
	if known {
		s.mendName(place{old.Parent, old.Name})
	}
	s.mendTreeName(n.ID)
	at := place{n.Parent, n.Name}
	if n.Deleted || n.IsRoot() || n.Revs.Place != dbfs.SelfRev && s.takenHere(at) {
		return
	}
	s.putName(at, n.ID)
}

// takenHere reports whether a pending edit put a node at a place: as long as it has not been
// reconciled with what another device put there, it hides that.
func (s *snapshot) takenHere(at place) bool {
	id, ok := s.view.names[at.parent][at.name]
	if !ok || id == nobody {
		return false
	}
	n := s.view.nodes[id]
	return n.Revs.Place == dbfs.SelfRev && holds(n, at)
}

// drop takes a node that no pending edit touches any more out of the view.
func (s *snapshot) drop(id dbfs.NodeID) {
	old, known := s.view.nodes[id]
	if !known {
		return
	}
	delete(s.view.nodes, id)
	s.mendName(place{old.Parent, old.Name})
	s.mendTreeName(id)
}

// refresh makes the view of one node from the tree and the pending edits of it.
func (s *snapshot) refresh(id dbfs.NodeID, edits []*edit) {
	if len(edits) == 0 {
		s.drop(id)
		return
	}
	n, _ := s.treeNode(id)
	for _, e := range edits {
		applyTo(&n, &e.op)
	}
	s.set(n)
}

// mendTreeName mends the name under which the tree has a node.
func (s *snapshot) mendTreeName(id dbfs.NodeID) {
	if t, ok := s.treeNode(id); ok && !t.IsRoot() {
		s.mendName(place{t.Parent, t.Name})
	}
}

// mendName makes the view's record of one name fit its nodes: whoever of them holds it,
// or nobody where the tree's holder has left it, or nothing where the tree is right.
func (s *snapshot) mendName(at place) {
	if id, ok := s.view.names[at.parent][at.name]; ok && id != nobody {
		if n, ok := s.view.nodes[id]; ok && holds(n, at) {
			return
		}
	}
	if id, ok := s.treeChild(at.parent, at.name); ok {
		if n, touched := s.view.nodes[id]; touched {
			if !holds(n, at) {
				id = nobody
			}
			s.putName(at, id)
			return
		}
	}
	s.dropName(at)
}

func holds(n dbfs.Node, at place) bool {
	return !n.Deleted && n.Parent == at.parent && n.Name == at.name
}

func (s *snapshot) putName(at place, id dbfs.NodeID) {
	m := s.view.names[at.parent]
	if m == nil {
		m = make(map[string]dbfs.NodeID)
		s.view.names[at.parent] = m
	}
	m[at.name] = id
	s.likeName(at)
}

func (s *snapshot) dropName(at place) {
	delete(s.view.names[at.parent], at.name)
	s.unlikeName(at)
	if len(s.view.names[at.parent]) == 0 {
		delete(s.view.names, at.parent)
	}
}

// maxDepth bounds every walk towards the root. Deeper trees cannot be reached by a path.
const maxDepth = 4096

// reachable reports whether a node and everything above it are there and not deleted.
func reachable(s state, id dbfs.NodeID) bool {
	for range maxDepth {
		if id == dbfs.RootNode {
			return true
		}
		n, ok := s.node(id)
		if !ok || n.Deleted {
			return false
		}
		id = n.Parent
	}
	return false
}

// below reports whether id is dir or lies under it.
func below(s state, id, dir dbfs.NodeID) bool {
	for range maxDepth {
		if id == dir {
			return true
		}
		n, ok := s.node(id)
		if !ok || id == dbfs.RootNode {
			return false
		}
		id = n.Parent
	}
	return true
}
