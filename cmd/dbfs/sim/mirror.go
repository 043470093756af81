package sim

import (
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
	"github.com/dbfs/dbfs/remote/server"
)

// A mirror is the namespace as the log says that it must be, built entry by entry beside the
// server, and checked at the end of each batch.
type mirror struct {
	w     *world
	epoch uint32
	start dbfs.JID     // the log before this is not here
	log   []dbfs.Entry // from start+1 on
	nodes map[dbfs.NodeID]dbfs.Node
	names map[place]dbfs.NodeID
	kids  map[dbfs.NodeID]int // live children
	taken map[dbfs.OpID]dbfs.JID
	batch []dbfs.NodeID // changed since the last end of a batch
}

// A place is where one node can stand at most: a directory, and the key of a name in it.
type place struct {
	parent dbfs.NodeID
	key    string
}

func (m *mirror) placeOf(n *dbfs.Node) place {
	return place{n.Parent, names.Key(m.w.plan.names, n.Name)}
}

func newMirror(w *world) *mirror {
	m := &mirror{w: w}
	m.learn()
	return m
}

func (m *mirror) head() dbfs.JID { return m.start + dbfs.JID(len(m.log)) }

// learn takes over what the server has: at the beginning, and after a restore.
func (m *mirror) learn() {
	m.log, m.batch = m.log[:0], m.batch[:0]
	m.taken = make(map[dbfs.OpID]dbfs.JID)
	m.nodes, m.names, m.kids = make(map[dbfs.NodeID]dbfs.Node), make(map[place]dbfs.NodeID), make(map[dbfs.NodeID]int)
	err := m.w.store.View(m.w.ctx, m.w.ns(), func(tx server.ReadTx) error {
		head, err := tx.Head()
		if err != nil {
			return err
		}
		m.epoch, m.start = head.Epoch, head.JID
		root, err := tx.Node(dbfs.RootNode)
		if err != nil {
			return err
		}
		m.nodes[dbfs.RootNode] = root
		all, err := tx.Nodes(dbfs.RootNode, 1<<20)
		for _, n := range all {
			m.enter(n)
		}
		return err
	})
	m.w.must(err, "read the server's namespace")
}

// enter makes a node part of the mirror, in the place of what it was.
func (m *mirror) enter(n dbfs.Node) {
	if old, ok := m.nodes[n.ID]; ok && !old.Deleted && !old.IsRoot() {
		if m.names[m.placeOf(&old)] == n.ID {
			delete(m.names, m.placeOf(&old))
		}
		m.kids[old.Parent]--
	}
	m.nodes[n.ID] = n
	if !n.Deleted && !n.IsRoot() {
		m.names[m.placeOf(&n)] = n.ID
		m.kids[n.Parent]++
	}
}

// follow reads what the log has got, and checks it.
func (m *mirror) follow() {
	var more []dbfs.Entry
	err := m.w.store.View(m.w.ctx, m.w.ns(), func(tx server.ReadTx) error {
		head, err := tx.Head()
		if err != nil || head.JID == m.head() && head.Epoch == m.epoch {
			return err
		}
		more, err = tx.Log(m.head(), int(head.JID-m.head()))
		return err
	})
	m.w.must(err, "read the log")
	if len(more) == 0 {
		return
	}
	for i := range more {
		m.apply(&more[i])
	}
	m.w.mix(uint64(m.head()))
}

func (m *mirror) apply(e *dbfs.Entry) {
	n := e.Node
	old, known := m.nodes[n.ID]
	m.forward(e, &old, known)
	m.w.arrivedBefore(e, &old)
	m.taken[e.Op] = e.JID
	m.log = append(m.log, *e)
	m.enter(n)
	m.batch = append(m.batch, n.ID)
	for _, id := range e.Below {
		below, ok := m.nodes[id]
		if !ok || below.Deleted || below.Last >= e.JID {
			m.w.fail("P10", "entry %d says that %s went with a tree, which was %s", e.JID, short(id), describe(&below))
		}
		m.enter(e.Buried(below))
		m.batch = append(m.batch, id)
	}
	if !n.Deleted && (!known || old.Deleted || n.Revs.Content != old.Revs.Content) {
		m.w.readable(&n)
	}
	if !e.End {
		return
	}
	for _, id := range m.batch {
		m.check(id)
	}
	m.batch = m.batch[:0]
}

// forward checks P10 of the log.
func (m *mirror) forward(e *dbfs.Entry, old *dbfs.Node, known bool) {
	n := &e.Node
	switch {
	case e.JID != m.head()+1:
		m.w.fail("P10", "entry %d of the log comes after %d", e.JID, m.head())
	case n.Last != e.JID:
		m.w.fail("P10", "entry %d carries a node that says %d", e.JID, n.Last)
	case !known:
		return
	}
	for _, rev := range [][2]dbfs.JID{{old.Revs.Content, n.Revs.Content}, {old.Revs.Place, n.Revs.Place}, {old.Revs.Attr, n.Revs.Attr}} {
		if rev[1] < rev[0] || rev[1] > rev[0] && rev[1] != e.JID {
			m.w.fail("P10", "entry %d changes a revision of %s from %d to %d", e.JID, short(n.ID), rev[0], rev[1])
		}
	}
	if !old.Content.Equal(n.Content) && old.Revs.Content == n.Revs.Content || (old.Deleted != n.Deleted || old.Parent != n.Parent || old.Name != n.Name) && old.Revs.Place == n.Revs.Place {
		m.w.fail("P10", "entry %d changes %s without a new revision", e.JID, short(n.ID))
	}
}

// check checks P4 around a node.
func (m *mirror) check(id dbfs.NodeID) {
	n := m.nodes[id]
	if n.Deleted {
		for _, link := range n.Links {
			if l := m.nodes[link]; !l.Deleted && l.Last != 0 {
				m.w.fail("P4", "%s is deleted, and a name of it is %s", describe(&n), describe(&l))
			}
		}
		if m.kids[id] > 0 {
			m.w.fail("P4", "directory %s %q is deleted with %d nodes in it", short(id), n.Name, m.kids[id])
		}
		return
	}
	if n.IsRoot() {
		return
	}
	if holder := m.names[m.placeOf(&n)]; holder != id {
		m.w.fail("P4", "%s and %s are called %q and %q in %s", short(id), short(holder), n.Name, m.nodes[holder].Name, short(n.Parent))
	}
	if f, ok := m.nodes[n.Link]; n.Kind == dbfs.KindLink && (!ok || f.Deleted || !slices.Contains(f.Links, id)) {
		m.w.fail("P4", "%s %q is a name of %s", short(id), n.Name, describe(&f))
	}
	for _, link := range n.Links {
		if l := m.nodes[link]; !l.Deleted && l.Link != id {
			m.w.fail("P4", "%s has the link %s", describe(&n), describe(&l))
		}
	}
	for up, steps := n.Parent, 0; up != dbfs.RootNode; steps++ {
		dir, ok := m.nodes[up]
		if !ok || dir.Deleted || dir.Kind != dbfs.KindDir || steps > len(m.nodes) {
			m.w.fail("P4", "%s %q cannot be reached: above it is %s", short(id), n.Name, describe(&dir))
		}
		up = dir.Parent
	}
}

// between returns the entries after one cursor up to another, if they are here.
func (m *mirror) between(from, to dbfs.Cursor) ([]dbfs.Entry, bool) {
	if from.Epoch != m.epoch || to.Epoch != m.epoch || from.JID < m.start || to.JID > m.head() || from.JID > to.JID {
		return nil, false
	}
	return m.log[from.JID-m.start : to.JID-m.start], true
}

// contentAt returns the revision that a node's content had at some place in the log.
func (m *mirror) contentAt(id dbfs.NodeID, at dbfs.JID) dbfs.JID {
	for i := len(m.log) - 1; i >= 0; i-- {
		if e := &m.log[i]; e.JID <= at && e.Node.ID == id {
			return e.Node.Revs.Content
		}
	}
	return 0
}

// same reports how a node of a client differs from the server's; "": not at all.
func (m *mirror) differs(n *dbfs.Node) string {
	want, ok := m.nodes[n.ID]
	if !ok || want.Deleted {
		return fmt.Sprintf("%s is not at the server", describe(n))
	}
	if got, want := describe(n), describe(&want); got != want {
		return fmt.Sprintf("%s, and the server has %s", got, want)
	}
	return ""
}

// describe says of a node what everybody must agree on.
func describe(n *dbfs.Node) string {
	s := fmt.Sprintf("%s %s %q in %s", n.Kind, short(n.ID), n.Name, short(n.Parent))
	if n.Kind == dbfs.KindFile {
		s += fmt.Sprintf(" content %d", numberOf(n.Content))
	}
	if n.Kind == dbfs.KindLink {
		s += " to " + short(n.Link)
	}
	if n.Target != "" {
		s += fmt.Sprintf(" to %q", n.Target)
	}
	s += fmt.Sprintf(" mode %o mtime %d", n.Attr.Mode, n.Attr.MTime)
	if n.Deleted {
		s += " deleted"
	}
	return s
}

func short(id dbfs.NodeID) string {
	if id == dbfs.RootNode {
		return "root"
	}
	return id.String()[:6]
}
