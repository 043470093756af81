package journal

import (
	"time"

	"github.com/dbfs/dbfs"
)

// Reconciling decides what becomes of a pending edit when the namespace has moved on under
// it. It is a pure and total function, one edit at a time, in order, each over the tree with
// the edits before it already laid on top. The rules in short:
//
//   - An edit of content beats a delete: the file is revived.
//   - Who moves first, by the server's order, has moved it.
//   - Two edits of one file: the server's keeps name and history, ours becomes a
//     conflicted copy beside it. Equal bytes are no conflict.
//   - Two things under one name: the server's keeps the name, ours gets a suffix.
//     Directories of one name merge, and so do files of equal content.
//   - A new place in a deleted directory revives the directory.
//   - Nothing is ever dropped that holds bytes of the user's.

// state is what resolve may look at.
type state interface {
	node(id dbfs.NodeID) (dbfs.Node, bool) // deleted ones too
	child(parent dbfs.NodeID, name string) (dbfs.Node, bool)
	hasChild(dir dbfs.NodeID) bool
}

// env is what resolve needs from outside, so that it stays deterministic.
type env struct {
	device    string                    // name of this device, for suffixes
	newNode   func() dbfs.NodeID        // ids for conflicted copies
	mentioned func(id dbfs.NodeID) bool // whether any pending edit is about that node
}

// An outcome is what takes an edit's place.
type outcome struct {
	ops    []dbfs.Op // in order; none: the edit is dropped
	follow *follow   // where later edits of the same node go
	notice *Notice   // nil: nothing to tell
	lost   dbfs.Revs // bases of a dropped edit that another's edit beat: later edits built on it are beaten too
}

// follow sends later edits of one node to another: to the conflicted copy that took the
// bytes, or to the node that was adopted.
type follow struct {
	from, to dbfs.NodeID
	adopted  bool // to is the server's node, and from never was one
}

// resolver collects the outcome of one edit. The edits it emits are laid over s at once, so
// that what follows sees them.
type resolver struct {
	env
	s   layer
	out outcome
}

// layer is a state that edits can be laid over.
type layer interface {
	state
	apply(op *dbfs.Op)
}

// resolve decides one edit over s and lays the outcome over it.
func resolve(op dbfs.Op, s layer, e env) outcome {
	r := &resolver{env: e, s: s}
	switch op.Type {
	case dbfs.OpCreate:
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
	}
	return r.out
}

// create: new file, directory or symlink.
func (r *resolver) create(op dbfs.Op) {
	if _, ok := r.s.node(op.Node); ok {
		return // it has been taken already, and its answer was lost with the log it stood in
	}
	op.Parent = r.reviveDir(op.Parent)
	if m, taken := r.s.child(op.Parent, op.Name); taken {
		if mergeable(op, m) && !r.mentioned(m.ID) {
			r.out.follow = &follow{op.Node, m.ID, true}
			return
		}
		r.stepAside(&op, m)
	}
	r.emit(op)
}

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
	}
	return op.Kind == dbfs.KindFile && op.Content != nil && op.Content.Equal(m.Content)
}

// write: new content for a file.
func (r *resolver) write(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	changed := ok && op.Base.Content != n.Revs.Content
	switch {
	case !ok:
		r.copyOf(op, dbfs.Node{ID: op.Node, Name: op.Node.String()[:8], Attr: dbfs.Attr{Mode: 0o644}})
	case changed && op.Content.Equal(n.Content) && reachable(r.s, n.ID):
		return
	case changed:
		r.copyOf(op, n)
	case n.Deleted:
		r.note(NoticeRevive, n, n, "")
		r.emitRevive(n, n.Parent, n.Name, op.Content, op.Attr.MTime)
	default:
		if !reachable(r.s, n.ID) {
			r.reviveDir(n.Parent)
			r.note(NoticeRevive, n, n, "")
		}
		r.emit(op)
	}
}

// copyOf turns a write that lost into a new file beside n.
func (r *resolver) copyOf(op dbfs.Op, n dbfs.Node) {
	id := r.newNode()
	attr := n.Attr
	attr.MTime = op.Attr.MTime
	made := dbfs.Op{
		ID: op.ID, Type: dbfs.OpCreate, Node: id, Parent: r.reviveDir(n.Parent), Kind: dbfs.KindFile,
		Content: op.Content, Attr: attr, Time: op.Time,
	}
	made.Name = r.freeName(made.Parent, n.Name, conflictedCopy, n)
	r.out.follow = &follow{from: op.Node, to: id}
	r.emit(made)
	copied, _ := r.s.node(id)
	r.note(NoticeCopy, copied, n, made.Name)
	r.out.notice.Name = n.Name
}

// move: to another place, perhaps over a file that stands there.
func (r *resolver) move(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	switch {
	case !ok:
		return // never taken by the server and gone from here: nothing to move
	case n.Deleted || !reachable(r.s, n.ID):
		r.moveRevived(op, n)
		return
	case op.Base.Place != n.Revs.Place:
		if n.Parent != op.Parent || n.Name != op.Name {
			r.note(NoticeDropped, n, n, n.Name)
		}
		r.out.lost.Place = op.Base.Place
		return
	}
	op.Parent = r.reviveDir(op.Parent)
	if n.Kind.IsDir() && below(r.s, op.Parent, n.ID) {
		r.note(NoticeDropped, n, n, n.Name)
		r.out.lost.Place = op.Base.Place
		return
	}
	m, taken := r.s.child(op.Parent, op.Name)
	switch {
	case !taken || m.ID == op.Node:
		op.Replace = nil
	case op.Replace != nil && r.mayReplace(*op.Replace, m):
	default:
		op.Replace = nil
		r.stepAside(&op, m)
	}
	r.emit(op)
}

// mayReplace reports whether the node at the destination is the one the user saw there.
func (r *resolver) mayReplace(v dbfs.Victim, m dbfs.Node) bool {
	return v.Node == m.ID && !m.Kind.IsDir() && v.Base.Content == m.Revs.Content && v.Base.Place == m.Revs.Place
}

// moveRevived: the node is gone, but moving it says that somebody wants to keep it.
func (r *resolver) moveRevived(op dbfs.Op, n dbfs.Node) {
	parent := r.reviveDir(op.Parent)
	if n.Kind.IsDir() && below(r.s, parent, n.ID) {
		parent = dbfs.RootNode
	}
	r.note(NoticeRevive, n, n, op.Name)
	r.emitRevive(n, parent, op.Name, nil, 0)
}

// setAttr: the last one to set an attribute has set it; of a deleted node there is none to set.
func (r *resolver) setAttr(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	if !ok || n.Deleted || !reachable(r.s, n.ID) {
		return
	}
	op.Base.Attr = n.Revs.Attr
	r.emit(op)
}

// delete: of exactly what the user saw, else not at all.
func (r *resolver) delete(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	if !ok || n.Deleted || !reachable(r.s, n.ID) {
		return
	}
	switch {
	case op.Base.Place != n.Revs.Place, !n.Kind.IsDir() && op.Base.Content != n.Revs.Content, n.Kind.IsDir() && r.s.hasChild(n.ID):
		r.note(NoticeDropped, n, n, n.Name)
		r.out.lost = op.Base
		return
	}
	r.emit(op)
}

// revive: an earlier reconciling wanted it back; meanwhile others may have brought it.
func (r *resolver) revive(op dbfs.Op) {
	n, ok := r.s.node(op.Node)
	if !ok {
		return
	}
	if !n.Deleted && reachable(r.s, n.ID) {
		if op.Content != nil {
			op.Type, op.Parent, op.Name = dbfs.OpWrite, dbfs.RootNode, ""
			r.write(op)
		}
		return
	}
	if op.Content != nil && op.Base.Content != n.Revs.Content && !op.Content.Equal(n.Content) {
		r.copyOf(op, n)
		return
	}
	op.Parent = r.reviveDir(op.Parent)
	if n.Kind.IsDir() && below(r.s, op.Parent, n.ID) {
		op.Parent = dbfs.RootNode
	}
	if m, taken := r.s.child(op.Parent, op.Name); taken && m.ID != n.ID {
		r.stepAside(&op, m)
	}
	r.emit(op)
}

// emitRevive brings n back at a place, under a free name.
func (r *resolver) emitRevive(n dbfs.Node, parent dbfs.NodeID, name string, content *dbfs.Content, mtime int64) {
	parent = r.reviveDir(parent)
	op := dbfs.Op{Type: dbfs.OpRevive, Node: n.ID, Base: n.Revs, Parent: parent, Name: name, Content: content, Attr: dbfs.Attr{MTime: mtime}, Time: n.CTime}
	if m, taken := r.s.child(parent, name); taken && m.ID != n.ID {
		r.stepAside(&op, m)
	}
	r.emit(op)
}

// reviveDir makes a directory reachable and returns it; where it cannot be brought back,
// the root. A name that is taken there by another directory leads to a suffix.
func (r *resolver) reviveDir(id dbfs.NodeID) dbfs.NodeID {
	if reachable(r.s, id) {
		return id
	}
	n, ok := r.s.node(id)
	if !ok || !n.Kind.IsDir() {
		return dbfs.RootNode
	}
	parent := dbfs.RootNode
	if !below(r.s, n.Parent, n.ID) {
		parent = r.reviveDir(n.Parent)
	}
	if now, _ := r.s.node(id); !now.Deleted && parent == n.Parent {
		return id // reviving what is above it was enough
	}
	r.emitRevive(n, parent, n.Name, nil, 0)
	return id
}

// stepAside gives op a free name because m has the one it wants.
func (r *resolver) stepAside(op *dbfs.Op, m dbfs.Node) {
	wanted := op.Name
	op.Name = r.freeName(op.Parent, wanted, nameConflict, m)
	r.out.notice = &Notice{Time: serverTime(m), What: NoticeRename, Node: op.Node, Other: m.ID, Name: wanted, Became: op.Name}
}

func (r *resolver) freeName(parent dbfs.NodeID, name, what string, winner dbfs.Node) string {
	for try := 1; ; try++ {
		free := conflictName(name, what, r.device, serverTime(winner), try)
		if _, taken := r.s.child(parent, free); !taken {
			return free
		}
	}
}

func serverTime(n dbfs.Node) time.Time { return time.Unix(0, n.CTime) }

func (r *resolver) note(what NoticeKind, n, other dbfs.Node, became string) {
	r.out.notice = &Notice{Time: serverTime(other), What: what, Node: n.ID, Other: other.ID, Name: n.Name, Became: became}
}

// emit lays an edit over the state, with its bases at what it is laid over.
func (r *resolver) emit(op dbfs.Op) {
	if n, ok := r.s.node(op.Node); ok && op.Type != dbfs.OpCreate {
		op.Base = n.Revs
	}
	r.s.apply(&op)
	r.out.ops = append(r.out.ops, op)
}
