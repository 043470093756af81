package journal

import (
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// Reconciling decides what becomes of a pending edit when the namespace has moved on under
// it. It is a pure and total function, one edit at a time, in order, each over the tree with
// the edits before it already laid on top. The rules in short:
//
//   - An edit of content beats a delete: the file is revived. So does a move.
//   - Who moves first, by the server's order, has moved it. Two that change places move together.
//   - Two edits of one file: the server's keeps name and history, ours becomes a
//     conflicted copy beside it. Equal bytes are no conflict.
//   - Two things under one name: the server's keeps the name, ours gets a suffix.
//     Directories of one name merge, and so do files of equal content.
//   - A new place in a deleted directory revives the directory.
//   - What loses a name and has others goes on under one of them. A new name for what somebody
//     has deleted brings it back.
//   - A namespace that is not mounted any more stays so: only the server mounts.
//   - Nothing is ever dropped that holds bytes of the user's.

// state is what resolve may look at.
type state interface {
	node(id dbfs.NodeID) (dbfs.Node, bool) // deleted ones too
	child(parent dbfs.NodeID, name string) (dbfs.Node, bool)
	hasChild(dir dbfs.NodeID) bool
}

// layer is a state that edits can be laid over.
type layer interface {
	state
	lay(e *edit)
}

// env is what resolve needs from outside, so that it stays deterministic.
type env struct {
	device    string                    // name of this device, for suffixes
	newNode   func() dbfs.NodeID        // ids for conflicted copies
	mentioned func(id dbfs.NodeID) bool // whether any pending edit is about that node
	goes      func(id dbfs.NodeID) bool // whether a pending edit takes that node away from its place

	seen  dbfs.JID                   // how much of the log the user sees
	whole func(dir dbfs.NodeID) bool // whether the server may take the deletion of a tree as one

	// standIn returns what has come of a node: where an earlier outcome said that what was meant
	// for it goes, or else itself.
	standIn func(id dbfs.NodeID) dbfs.NodeID
}

// An outcome is what takes an edit's place.
type outcome struct {
	edits   []edit        // in order, without keys; none: the edit is dropped
	follows []follow      // where what was meant for a node goes from now on
	notices []Notice      // what to tell the user
	placed  []dbfs.NodeID // nodes that are already where they were to go
	beaten  []beaten      // bases that others' edits have overtaken: later edits that build on this one are beaten too
}

// made returns how many nodes the outcome makes.
func (o *outcome) made() int {
	n := 0
	for i := range o.edits {
		if o.edits[i].op.Type.Makes() {
			n++
		}
	}
	return n
}

// follow sends later edits of one node to another: to the conflicted copy that took the
// bytes, to the node that was adopted, or to the one that stands for a lost one.
type follow struct{ from, to dbfs.NodeID }

// beaten is what an edit that others have overtaken was based on.
type beaten struct {
	node dbfs.NodeID
	base dbfs.Revs
}

// resolver collects the outcome of one edit. The edits it emits are laid over s at once, so
// that what follows sees them.
type resolver struct {
	env
	s    layer
	time int64 // the edit's
	src  *dbfs.Source
	from dbfs.Origin
	out  outcome
}

// resolve decides one edit over s and lays the outcome over it.
func resolve(op dbfs.Op, s layer, e env) outcome {
	r := &resolver{env: e, s: s, time: op.Time, src: op.Src, from: op.From}
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		r.create(op)
	case dbfs.OpWrite:
		r.write(op)
	case dbfs.OpMove:
		r.move(op)
	case dbfs.OpSetAttr:
		r.setAttr(op)
	case dbfs.OpDelete:
		r.delete(op)
	case dbfs.OpRevive:
		r.revive(op)
	case dbfs.OpExchange:
		r.exchange(op)
	case dbfs.OpDeleteTree:
		r.deleteTree(op)
	}
	return r.out
}

// create: new file, directory or symlink.
func (r *resolver) create(op dbfs.Op) {
	if n, ok := r.s.node(op.Node); ok {
		r.made(op, n)
		return
	}
	if op.Kind == dbfs.KindLink && !r.bringBackNamed(op.Node, op.Link, op.Name) {
		return
	}
	op.Parent = r.reviveDir(op.Parent)
	if m, taken := r.s.child(op.Parent, op.Name); taken {
		if mergeable(op, m) && (!madeHere(m) && !r.mentioned(m.ID) && !r.goes(op.Node) || fault.Bug(fault.AdoptOwn)) {
			r.follow(op.Node, m.ID)
			return
		}
		r.stepAside(&op, m)
	}
	r.emit(op)
}

// made: the server took the create already, and the answer was lost with the log it stood in.
// What others did to the node since is told from what was sent.
func (r *resolver) made(op dbfs.Op, n dbfs.Node) {
	if op.Content != nil && !op.Content.Equal(n.Content) {
		r.beat(n.ID, dbfs.Revs{Content: noRev})
	}
	if n.Deleted || n.Parent != op.Parent || n.Name != op.Name {
		r.beat(n.ID, dbfs.Revs{Place: noRev})
	}
}

// noRev is a revision that no node has.
const noRev = dbfs.SelfRev - 1

// mergeable reports whether a new node is the same thing as the one that has its name.
func mergeable(op dbfs.Op, m dbfs.Node) bool {
	if op.Kind != m.Kind {
		return false
	}
	switch op.Kind {
	case dbfs.KindDir:
		return true
	case dbfs.KindSymlink:
		return op.Target == m.Target
	case dbfs.KindLink:
		return op.Link == m.Link
	case dbfs.KindFifo, dbfs.KindSocket, dbfs.KindCharDev, dbfs.KindBlockDev:
		return op.Device == m.Device
	}
	return op.Kind == dbfs.KindFile && op.Content.Equal(m.Content)
}

// madeHere reports whether content or place of a node come from pending edits. Such a node
// is never adopted: two of the user's files would become one.
func madeHere(m dbfs.Node) bool {
	return m.Revs.Content == dbfs.SelfRev || m.Revs.Place == dbfs.SelfRev
}

// write: new content for a file.
func (r *resolver) write(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	same := ok && op.Content.Equal(n.Content)
	switch {
	case !ok:
		n = unheardOf(op.Node)
		r.bringBack(n, dbfs.RootNode, n.Name, op.Content, op.Attr.MTime)
	case fault.Bug(fault.DeleteBeatsEdit) && !reachable(r.s, n.ID):
	case lost(n):
		r.bringBack(n, n.Parent, n.Name, op.Content, op.Attr.MTime)
	case op.Base.Content != n.Revs.Content && !same:
		r.copyOf(op, n)
	case !reachable(r.s, n.ID):
		r.bringBack(n, n.Parent, n.Name, op.Content, op.Attr.MTime)
	case op.Base.Content != n.Revs.Content:
		// The other wrote the same.
	default:
		r.emit(op)
	}
}

// unheardOf stands for a file of which nothing is left but the bytes of a pending edit.
func unheardOf(id dbfs.NodeID) dbfs.Node {
	return dbfs.Node{ID: id, Kind: dbfs.KindFile, Name: "file " + id.String()[:8], Attr: dbfs.Attr{Mode: 0o644}}
}

// copyOf turns a write that lost into a new file beside n.
func (r *resolver) copyOf(op dbfs.Op, n dbfs.Node) {
	made := dbfs.Op{
		ID: op.ID, Type: typeOf(op.Src), Node: r.newNode(), Parent: r.reviveDir(n.Parent), Kind: dbfs.KindFile,
		Content: op.Content, Attr: n.Attr, Time: r.time, Src: op.Src, From: op.From,
	}
	made.Attr.MTime = op.Attr.MTime
	if base := op.Base.Content; base < noRev {
		made.Attr.Xattrs = withBase(made.Attr.Xattrs, n.ID, base)
	}
	made.Name = r.freeName(made.Parent, n.Name, conflictedCopy, n)
	r.emit(made)
	r.follow(n.ID, made.Node)
	r.note(NoticeCopy, made.Node, n, n.Name, made.Name)
	if base := op.Base.Content; base < noRev {
		r.out.notices[len(r.out.notices)-1].Base = base
	}
}

// move: to another place, perhaps over a file that stands there.
func (r *resolver) move(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	switch {
	case !ok || lost(n):
		return // what it held is not here to be brought back
	case n.Kind == dbfs.KindMount && !reachable(r.s, n.ID):
		r.note(NoticeDropped, n.ID, n, op.Name, n.Name)
		return
	case !reachable(r.s, n.ID):
		r.bringBack(n, op.Parent, op.Name, nil, 0)
		return
	case op.Base.Place != n.Revs.Place:
		r.overtaken(n, place{op.Parent, op.Name}, op.Base)
		return
	case n.Kind.IsDir() && r.below(op.Parent, n.ID):
		r.note(NoticeDropped, n.ID, n, op.Name, n.Name)
		return
	}
	op.Parent = r.reviveDir(op.Parent)
	m, taken := r.s.child(op.Parent, op.Name)
	switch {
	case !taken || m.ID == op.Node:
		op.Replace, op.Link = nil, dbfs.NodeID{}
	case op.Replace != nil && mayReplace(op.Replace, m):
		if link, ok := linkOf(r.s, m); ok {
			r.goesOn(m, link, dbfs.OpID{})
			op.Replace = nil
		}
	default:
		op.Replace, op.Link = nil, dbfs.NodeID{}
		r.stepAside(&op, m)
	}
	r.emit(op)
}

// below reports whether id is dir or lies under it, or will once what has been lost is brought back.
func (r *resolver) below(id, dir dbfs.NodeID) bool {
	return below(standing{r.s, r.standIn}, r.standIn(id), dir)
}

// standing is a state in which what has come of a node is the parent of what lies in it.
type standing struct {
	state
	standIn func(id dbfs.NodeID) dbfs.NodeID
}

func (s standing) node(id dbfs.NodeID) (dbfs.Node, bool) {
	n, ok := s.state.node(id)
	n.Parent = s.standIn(n.Parent)
	return n, ok
}

// overtaken: others have given the node a place before us, or the server has done it for us and
// the answer was lost. If it is the one that was meant for the node, later edits build on that.
func (r *resolver) overtaken(n dbfs.Node, to place, base dbfs.Revs) {
	if holds(n, to) {
		r.out.placed = append(r.out.placed, n.ID)
		return
	}
	r.note(NoticeDropped, n.ID, n, to.name, n.Name)
	r.beat(n.ID, dbfs.Revs{Place: base.Place})
}

// mayReplace reports whether the node at the destination is the one the user saw there.
func mayReplace(v *dbfs.Victim, m dbfs.Node) bool {
	return v.Node == m.ID && !m.Kind.IsDir() && v.Base.Content == m.Revs.Content && v.Base.Place == m.Revs.Place
}

// exchange: both or neither, if both are still there. Of one that was deleted the other takes
// the place, as by a move; one that went with its directory comes back.
func (r *resolver) exchange(op dbfs.Op) {
	v := *op.Replace
	if v.Node == op.Node {
		return // they have become one
	}
	a, b := r.side(op.Node), r.side(v.Node)
	if !a.stands || !b.stands {
		there, back := op, op
		back.Node, back.Base, back.Parent, back.Name = v.Node, v.Base, v.Parent, v.Name
		if !a.stands { // whoever stands leaves the place where the other comes back
			a, b, there, back = b, a, back, there
		}
		r.exchangeApart(a, there)
		r.exchangeApart(b, back)
		return
	}
	switch {
	case op.Base.Place != a.Revs.Place || v.Base.Place != b.Revs.Place:
		r.overtaken(a.Node, place{op.Parent, op.Name}, op.Base)
		r.overtaken(b.Node, place{v.Parent, v.Name}, v.Base)
	case r.below(b.Parent, a.ID) || r.below(a.Parent, b.ID):
		r.note(NoticeDropped, a.ID, a.Node, op.Name, a.Name)
	default:
		op.Parent, op.Name = b.Parent, b.Name
		op.Replace = &dbfs.Victim{Node: b.ID, Base: b.Revs, Parent: a.Parent, Name: a.Name}
		r.emit(op)
	}
}

// A side is one of two nodes that were to change places.
type side struct {
	dbfs.Node
	stands bool // it can be reached
	gone   bool // somebody has deleted it, and not the directory it was in
}

func (r *resolver) side(id dbfs.NodeID) side {
	n, ok := r.s.node(id)
	return side{n, ok && reachable(r.s, id), !ok || n.Deleted && reachable(r.s, n.Parent)}
}

// exchangeApart moves one of two of which not both stand.
func (r *resolver) exchangeApart(s side, op dbfs.Op) {
	if !s.gone {
		op.Type, op.Replace = dbfs.OpMove, nil
		r.move(op)
	}
}

// setAttr: the last one to set an attribute has set it; of a deleted node there is none to set.
func (r *resolver) setAttr(op dbfs.Op) {
	if reachable(r.s, op.Node) {
		r.emit(op)
	}
}

// delete: of exactly what the user saw, else not at all.
func (r *resolver) delete(op dbfs.Op) {
	if !reachable(r.s, op.Node) {
		return
	}
	n, _ := r.s.node(op.Node)
	switch {
	case op.Base.Place != n.Revs.Place,
		!n.Kind.IsDir() && op.Base.Content != n.Revs.Content,
		n.Kind.IsDir() && r.s.hasChild(n.ID):
		r.note(NoticeDropped, n.ID, n, n.Name, n.Name)
		r.beat(n.ID, op.Base)
		return
	}
	if link, ok := linkOf(r.s, n); ok {
		r.goesOn(n, link, op.ID)
		return
	}
	op.Link = n.Link
	r.emit(op)
}

// deleteTree: of what the user saw, node by node; if all of it goes, by one edit again.
func (r *resolver) deleteTree(op dbfs.Op) {
	d, ok := r.s.node(op.Node)
	if !ok || !reachable(r.s, op.Node) {
		return
	}
	if op.Base.Place != d.Revs.Place {
		r.note(NoticeDropped, d.ID, d, d.Name, d.Name)
		r.beat(d.ID, op.Base)
		return
	}
	below := op.Below[:0:0]
	for _, id := range op.Below {
		if n, ok := r.s.node(id); ok && !n.Deleted {
			n.Revs = unseen(n.Revs, op.Seen)
			r.delete(dbfs.Op{Type: dbfs.OpDelete, Node: id, Base: n.Revs, Time: r.time})
			below = append(below, id)
		}
	}
	r.delete(dbfs.Op{ID: op.ID, Type: dbfs.OpDelete, Node: op.Node, Base: d.Revs, Time: r.time})
	if len(r.out.edits) == len(below)+1 && r.allDelete() && r.whole(op.Node) {
		last := r.out.edits[len(below)]
		op.Base, op.Below, op.Seen = last.op.Base, below, r.seen
		last.op = op
		r.out.edits = []edit{last}
	}
}

// unseen returns revisions with those beyond what somebody had seen replaced, so that they do not fit.
func unseen(revs dbfs.Revs, seen dbfs.JID) dbfs.Revs {
	for _, rev := range []*dbfs.JID{&revs.Content, &revs.Place} {
		if *rev > seen {
			*rev = noRev
		}
	}
	return revs
}

// revive: an earlier reconciling wanted it back; meanwhile others may have brought it.
func (r *resolver) revive(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	live := ok && reachable(r.s, n.ID)
	switch {
	case !ok && op.Content != nil:
		r.bringBack(unheardOf(op.Node), op.Parent, op.Name, op.Content, op.Time)
	case op.Content != nil && (live || !lost(n) && op.Base.Content != n.Revs.Content):
		op.Type, op.Parent, op.Name, op.Attr.MTime = dbfs.OpWrite, dbfs.RootNode, "", n.Attr.MTime
		r.write(op)
	case live || !ok || lost(n) && op.Content == nil || n.Kind == dbfs.KindMount:
	default:
		r.bringBack(n, op.Parent, op.Name, op.Content, n.Attr.MTime)
	}
}

// lost reports whether a node is one that a new listing did not show, and that the server
// may know nothing of any more. It cannot be revived, only made anew.
func lost(n dbfs.Node) bool { return n.Deleted && n.Revs == dbfs.Revs{} }

// bringBack makes a node reachable again at a place or, where that is taken, beside it. A
// nil content is the one it had; mtime belongs to a new one.
func (r *resolver) bringBack(n dbfs.Node, parent dbfs.NodeID, name string, content *dbfs.Content, mtime int64) dbfs.NodeID {
	if n.Kind.IsDir() && r.below(parent, n.ID) {
		parent = dbfs.RootNode
	}
	if n.Kind == dbfs.KindLink && !r.bringBackNamed(n.ID, n.Link, name) {
		return n.ID
	}
	op := dbfs.Op{Type: dbfs.OpRevive, Node: n.ID, Parent: r.reviveDir(parent), Name: name, Content: content, Link: n.Link, Time: r.time}
	if content != nil {
		op.Src, op.From = r.src, r.from
	}
	if _, known := r.s.node(n.ID); !known || lost(n) {
		op.Type, op.Node, op.Kind, op.Attr, op.Target, op.Device = typeOf(op.Src), r.newNode(), n.Kind, n.Attr, n.Target, n.Device
		if content != nil {
			op.Attr.MTime = mtime
		}
		r.follow(n.ID, op.Node)
	}
	if m, taken := r.s.child(op.Parent, op.Name); taken && m.ID != n.ID {
		r.stepAside(&op, m)
	}
	r.emit(op)
	r.note(NoticeRevive, op.Node, n, n.Name, op.Name)
	if op.Type == dbfs.OpRevive && content != nil && mtime != n.Attr.MTime { // which a revive does not carry
		r.emit(dbfs.Op{Type: dbfs.OpSetAttr, Node: op.Node, Mask: dbfs.AttrMTime, Attr: dbfs.Attr{MTime: mtime}, Time: r.time})
	}
	return op.Node
}

// reviveDir makes a directory reachable and returns it; where it cannot be brought back,
// the root.
func (r *resolver) reviveDir(id dbfs.NodeID) dbfs.NodeID {
	id = r.standIn(id)
	n, ok := r.s.node(id)
	switch {
	case !ok || n.Kind != dbfs.KindDir:
		return dbfs.RootNode
	case reachable(r.s, id):
		return id
	}
	parent := dbfs.RootNode
	if !r.below(n.Parent, n.ID) {
		parent = r.reviveDir(n.Parent)
	}
	if !n.Deleted && parent == n.Parent {
		return id // reviving what is above it was enough
	}
	return r.bringBack(n, parent, n.Name, nil, 0)
}

// stepAside gives op a free name because m has the one it wants.
func (r *resolver) stepAside(op *dbfs.Op, m dbfs.Node) {
	wanted := op.Name
	op.Name = r.freeName(op.Parent, wanted, nameConflict, m)
	r.note(NoticeRename, op.Node, m, wanted, op.Name)
}

func (r *resolver) freeName(parent dbfs.NodeID, name, what string, winner dbfs.Node) string {
	for try := 1; ; try++ {
		free := conflictName(name, what, r.device, serverTime(winner), try)
		if _, taken := r.s.child(parent, free); !taken {
			return free
		}
	}
}

func serverTime(n dbfs.Node) time.Time { return time.Unix(0, n.CTime).UTC() }

func (r *resolver) note(what NoticeKind, node dbfs.NodeID, other dbfs.Node, name, became string) {
	r.out.notices = append(r.out.notices, Notice{
		Time: serverTime(other), What: what, Node: node, Other: other.ID, Name: name, Became: became,
	})
}

func (r *resolver) follow(from, to dbfs.NodeID) {
	r.out.follows = append(r.out.follows, follow{from, to})
}

func (r *resolver) beat(node dbfs.NodeID, base dbfs.Revs) {
	r.out.beaten = append(r.out.beaten, beaten{node, base})
}

// emit lays an edit over the state, with its bases at what it is laid over.
func (r *resolver) emit(op dbfs.Op) {
	if n, ok := r.s.node(op.Node); ok && !op.Type.Makes() {
		op.Base = n.Revs
	}
	e := edit{op: op}
	r.s.lay(&e)
	r.out.edits = append(r.out.edits, e)
}
