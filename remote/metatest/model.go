package metatest

import (
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
)

// A model is a namespace kept the simplest way there is: a map of nodes, searched whole for
// every question. It knows the rules of a commit a second time, to compare.
type model struct {
	rule  dbfs.NameRule
	head  dbfs.JID
	nodes map[dbfs.NodeID]dbfs.Node // the root is not among them
}

// A verdict is what a batch comes to. The zero verdict: taken.
type verdict struct {
	code    dbfs.Refusal
	at      int
	invalid bool // nonsense: an error, nothing remembered
}

// apply takes a batch whole or leaves the model as it was.
func (m *model) apply(ops []dbfs.Op) verdict {
	before, head := maps.Clone(m.nodes), m.head
	for i := range ops {
		if v := m.step(&ops[i], head); v != (verdict{}) {
			m.nodes, m.head = before, head
			v.at = i
			return v
		}
	}
	return verdict{}
}

func refused(code dbfs.Refusal) verdict { return verdict{code: code} }

func (m *model) step(op *dbfs.Op, start dbfs.JID) verdict {
	n, known := m.nodes[op.Node]
	seen := func(base, now dbfs.JID) bool { return base == now || base == dbfs.SelfRev && now > start }
	if !op.Type.Makes() && op.Type != dbfs.OpRevive && !m.live(op.Node) {
		return refused(dbfs.RefusedGone)
	}
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		if known {
			return refused(dbfs.RefusedIDExists)
		}
		if v := m.place(op, op.Node); v != (verdict{}) {
			return v
		}
		jid := m.head + 1
		n = dbfs.Node{ID: op.Node, Parent: op.Parent, Name: op.Name, Kind: op.Kind, Revs: dbfs.Revs{Content: jid, Place: jid, Attr: jid}}
		if op.Content != nil {
			n.Content = *op.Content
		}
		if n.Link = op.Link; n.Kind == dbfs.KindLink {
			return m.name(n)
		}
	case dbfs.OpWrite:
		if n.Kind != dbfs.KindFile {
			return verdict{invalid: true}
		}
		if !seen(op.Base.Content, n.Revs.Content) {
			return refused(dbfs.RefusedContent)
		}
		n.Content, n.Revs.Content = *op.Content, m.head+1
	case dbfs.OpMove:
		if !seen(op.Base.Place, n.Revs.Place) {
			return refused(dbfs.RefusedPlace)
		}
		if v := m.displace(op, seen); v != (verdict{}) {
			return v
		}
		n.Parent, n.Name, n.Revs.Place = op.Parent, op.Name, m.head+1
	case dbfs.OpExchange:
		to, v := m.exchange(op, seen)
		if v != (verdict{}) {
			return v
		}
		n.Parent, n.Name, n.Revs.Place, n.Last = to.Parent, to.Name, m.head+1, m.head+1
		m.head += 2
		m.nodes[n.ID] = n
		return verdict{}
	case dbfs.OpSetAttr:
		if !seen(op.Base.Attr, n.Revs.Attr) {
			return refused(dbfs.RefusedAttr)
		}
		n.Revs.Attr = m.head + 1
	case dbfs.OpDelete:
		if n.Kind != dbfs.KindDir && !seen(op.Base.Content, n.Revs.Content) {
			return refused(dbfs.RefusedContent)
		}
		if !seen(op.Base.Place, n.Revs.Place) {
			return refused(dbfs.RefusedPlace)
		}
		for _, c := range m.nodes {
			if c.Parent == n.ID && !c.Deleted {
				return refused(dbfs.RefusedNotEmpty)
			}
		}
		if m.linked(n) {
			return refused(dbfs.RefusedNotEmpty)
		}
		n.Deleted, n.Revs.Place = true, m.head+1
	case dbfs.OpDeleteTree:
		if !seen(op.Base.Place, n.Revs.Place) {
			return refused(dbfs.RefusedPlace)
		}
		if n.Kind != dbfs.KindDir {
			return verdict{invalid: true}
		}
		if !m.buryBelow(n.ID, op.Seen) {
			return refused(dbfs.RefusedNotEmpty)
		}
		n.Deleted, n.Revs.Place = true, m.head+1
	case dbfs.OpRevive:
		if !known {
			return refused(dbfs.RefusedGone)
		}
		if m.live(op.Node) {
			return refused(dbfs.RefusedPlace)
		}
		if v := m.place(op, op.Node); v != (verdict{}) {
			return v
		}
		n.Deleted, n.Parent, n.Name, n.Revs.Place = false, op.Parent, op.Name, m.head+1
		if n.Kind == dbfs.KindLink {
			return m.name(n)
		}
	}
	m.head++
	n.Last = m.head
	m.nodes[n.ID] = n
	return verdict{}
}

// buryBelow deletes everything below a directory with its next entry, unless something there
// is newer than what was seen.
func (m *model) buryBelow(dir dbfs.NodeID, seen dbfs.JID) bool {
	var gone []dbfs.Node
	for id, n := range m.nodes {
		if id != dir && m.live(id) && m.inside(id, dir) {
			gone = append(gone, n)
			if n.Last > seen {
				return false
			}
		}
	}
	for _, n := range gone {
		n.Deleted, n.Revs.Place, n.Last = true, m.head+1, m.head+1
		m.nodes[n.ID] = n
	}
	for _, n := range gone {
		if m.linked(n) {
			return false
		}
	}
	return true
}

// name stores a link that has just been made or revived, and tells what it is a name of.
func (m *model) name(link dbfs.Node) verdict {
	m.head++
	link.Last = m.head
	m.nodes[link.ID] = link
	f := m.nodes[link.Link]
	switch {
	case !m.live(f.ID) || f.ID == dbfs.RootNode:
		return refused(dbfs.RefusedGone)
	case f.Kind.IsDir() || f.Kind == dbfs.KindLink:
		return verdict{invalid: true}
	}
	m.head++
	f.Revs.Attr, f.Last = m.head, m.head
	m.nodes[f.ID] = f
	return verdict{}
}

// linked reports whether a node has a live link.
func (m *model) linked(n dbfs.Node) bool {
	for id, link := range m.nodes {
		if link.Kind == dbfs.KindLink && link.Link == n.ID && m.live(id) {
			return true
		}
	}
	return false
}

// exchange judges an exchange and gives the second node the place of the first, which step
// gives that of the second.
func (m *model) exchange(op *dbfs.Op, seen func(base, now dbfs.JID) bool) (place dbfs.Node, v verdict) {
	a, b := m.nodes[op.Node], m.nodes[op.Replace.Node]
	switch {
	case !seen(op.Base.Place, a.Revs.Place):
		return b, refused(dbfs.RefusedPlace)
	case !m.live(op.Replace.Node):
		return b, refused(dbfs.RefusedGone)
	case !seen(op.Replace.Base.Place, b.Revs.Place):
		return b, refused(dbfs.RefusedPlace)
	case m.inside(b.Parent, a.ID), m.inside(a.Parent, b.ID):
		return b, refused(dbfs.RefusedCycle)
	}
	place = b
	b.Parent, b.Name, b.Revs.Place, b.Last = a.Parent, a.Name, m.head+2, m.head+2
	m.nodes[b.ID] = b
	return place, verdict{}
}

// displace deletes the victim of a move with replace and judges where the move goes.
func (m *model) displace(op *dbfs.Op, seen func(base, now dbfs.JID) bool) verdict {
	if op.Replace == nil {
		return m.place(op, op.Node)
	}
	holder, held := m.holder(op.Parent, op.Name)
	if v := m.place(op, holder.ID); v != (verdict{}) {
		return v
	}
	switch {
	case !held:
		return refused(dbfs.RefusedGone)
	case holder.ID != op.Replace.Node:
		return refused(dbfs.RefusedNameTaken)
	case holder.Kind.IsDir():
		return verdict{invalid: true}
	case !seen(op.Replace.Base.Content, holder.Revs.Content):
		return refused(dbfs.RefusedContent)
	case !seen(op.Replace.Base.Place, holder.Revs.Place):
		return refused(dbfs.RefusedPlace)
	case m.linked(holder):
		return refused(dbfs.RefusedNotEmpty)
	}
	m.head++
	holder.Deleted, holder.Revs.Place, holder.Last = true, m.head, m.head
	m.nodes[holder.ID] = holder
	return verdict{}
}

// place judges where an edit puts its node; allowed may stand there already.
func (m *model) place(op *dbfs.Op, allowed dbfs.NodeID) verdict {
	if m.rule == dbfs.NamesPortable && slices.Contains(unportable, op.Name) {
		return verdict{invalid: true}
	}
	if op.Parent != dbfs.RootNode && (!m.live(op.Parent) || m.nodes[op.Parent].Kind != dbfs.KindDir) {
		return refused(dbfs.RefusedParentGone)
	}
	if m.inside(op.Parent, op.Node) {
		return refused(dbfs.RefusedCycle)
	}
	if holder, held := m.holder(op.Parent, op.Name); held && holder.ID != allowed {
		return refused(dbfs.RefusedNameTaken)
	}
	return verdict{}
}

// inside reports whether a node is, or is below, another one.
func (m *model) inside(id, above dbfs.NodeID) bool {
	for ; id != dbfs.RootNode; id = m.nodes[id].Parent {
		if id == above {
			return true
		}
	}
	return false
}

func (m *model) holder(parent dbfs.NodeID, name string) (dbfs.Node, bool) {
	for _, n := range m.nodes {
		if n.Parent == parent && sameName(m.rule, n.Name, name) && !n.Deleted {
			return n, true
		}
	}
	return dbfs.Node{}, false
}

func (m *model) live(id dbfs.NodeID) bool {
	for id != dbfs.RootNode {
		n, known := m.nodes[id]
		if !known || n.Deleted {
			return false
		}
		id = n.Parent
	}
	return true
}
