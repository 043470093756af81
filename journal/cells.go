package journal

import (
	"slices"

	"github.com/dbfs/dbfs"
)

// A Cell is one case of reconciling: what was to be done here, what others have done, and what
// came of it. The protocol has tables of them. A simulation counts which ones it met.
type Cell struct {
	Local   Local
	Remote  Remote
	Verdict Verdict

	Only bool // nothing else had happened, so that the verdict is the table's
}

// Local is what a pending edit wants.
type Local string

const (
	LocalCreate  Local = "create file"
	LocalCopy    Local = "copy file"
	LocalMkdir   Local = "mkdir"
	LocalSymlink Local = "symlink"
	LocalWrite   Local = "write"
	LocalMove    Local = "move"
	LocalReplace Local = "replace, mover"
	LocalVictim  Local = "replace, victim"
	LocalSetAttr Local = "setattr"
	LocalDelete  Local = "delete"
	LocalRmdir   Local = "rmdir"
	LocalRevive  Local = "revive"

	LocalExchange Local = "exchange" // either of the two
	LocalTree     Local = "delete tree"
)

// Remote is what others have done to a node, a name or a directory that the edit is about.
type Remote string

const (
	RemoteWrite           Remote = "write"
	RemoteSameWrite       Remote = "same write"
	RemoteMove            Remote = "move"
	RemoteSetAttr         Remote = "setattr"
	RemoteDeleted         Remote = "deleted"
	RemoteRewritten       Remote = "rewritten, deleted"
	RemoteAncestorDeleted Remote = "ancestor deleted"
	RemoteAncestorMoved   Remote = "ancestor moved"
	RemoteCycle           Remote = "moved below it" // the destination is below the node by now
	RemoteChild           Remote = "child made"     // in the directory
	RemoteBelow           Remote = "changed below"  // the tree
	RemoteLost            Remote = "lost"           // a new listing does not show it, and nobody knows why

	RemoteFile   Remote = "file at the name" // or a symlink
	RemoteDir    Remote = "directory at the name"
	RemoteParent Remote = "parent deleted"
	RemoteMoved  Remote = "parent moved"
)

// Verdict is what came of the edit.
type Verdict string

const (
	Kept    Verdict = "K"
	Dropped Verdict = "D"
	Copied  Verdict = "C" // as a conflicted copy
	Renamed Verdict = "N" // under a name with a suffix
	Adopted Verdict = "A" // it is the node that is there
	Revived Verdict = "V" // what was deleted is back
	Apart   Verdict = "P" // a tree is deleted node by node
	Moved   Verdict = "M" // a replace or an exchange became a plain move
)

// A sight is what an edit met, for somebody who wants to know. Its methods do nothing where
// nobody does, and it is nil.
type sight struct {
	j     *Journal
	op    dbfs.Op
	local Local
	met   []Remote // of its node
	prey  []Remote // of the node that it replaces, or changes places with
	into  []Remote // of its destination
	more  bool     // what it was to replace is not there, perhaps by an earlier edit that became something else
}

// see looks at what an edit meets before it is resolved.
func (j *Journal) see(op *dbfs.Op, s *snapshot) *sight {
	if j.cfg.Trace == nil {
		return nil
	}
	g := &sight{j: j, op: *op}
	n, there := s.node(op.Node)
	if op.Link != (dbfs.NodeID{}) || severalNames(n) {
		return nil // the tables know files of one name
	}
	if op.Replace != nil {
		if v, _ := s.node(op.Replace.Node); severalNames(v) {
			return nil
		}
	}
	g.local = localOf(op, &n)
	if op.Type.Makes() && there {
		return g // it was taken, and is not made again wherever it is now
	}
	base := op.Base
	same := op.Type == dbfs.OpWrite && base.Content != n.Revs.Content && op.Content.Equal(n.Content)
	if same { // no other bytes are in the way
		base.Content = n.Revs.Content
	}
	if !op.Type.Makes() {
		g.met = g.remotes(s, op.Node, base)
	}
	if same && reachable(s, n.ID) {
		g.met = []Remote{RemoteSameWrite}
	}
	if op.Type == dbfs.OpDelete && n.Kind.IsDir() && s.hasChild(n.ID) {
		g.met = append(g.met, RemoteChild)
	}
	if op.Type == dbfs.OpDeleteTree {
		g.met = g.below(s, op)
	}
	if op.Type == dbfs.OpMove && n.Kind.IsDir() && below(s, op.Parent, op.Node) {
		g.met = append(g.met, RemoteCycle)
	}
	if op.Replace != nil {
		g.prey = g.remotes(s, op.Replace.Node, op.Replace.Base)
		// It may stand elsewhere because an exchange that was to bring it there is off.
		v, ok := s.node(op.Replace.Node)
		if op.Type == dbfs.OpMove && ok && !v.Deleted && s.keyed(place{v.Parent, v.Name}) != s.keyed(place{op.Parent, op.Name}) && !slices.Contains(g.prey, RemoteMove) {
			g.prey = append(g.prey, RemoteMove)
		}
		m, taken := s.child(op.Parent, op.Name)
		g.more = len(g.prey) == 0 && op.Type == dbfs.OpMove && !(taken && m.ID == op.Replace.Node)
	}
	if op.Type == dbfs.OpExchange {
		if m, ok := s.node(op.Replace.Node); ok && (below(s, m.Parent, op.Node) || below(s, n.Parent, m.ID)) {
			g.met = append(g.met, RemoteCycle)
		}
		return g // where the two go is where they are
	}
	for _, at := range places(op) {
		switch {
		case !reachable(s, at.parent):
			g.into = append(g.into, RemoteParent)
		case j.shifted[at.parent]:
			g.into = append(g.into, RemoteMoved)
		}
	}
	return g
}

// below says what others have done to a tree that is to be deleted.
func (g *sight) below(s *snapshot, op *dbfs.Op) []Remote {
	all := g.met
	for _, id := range op.Below {
		if n, ok := s.node(id); ok && n.Revs.Attr > op.Seen && n.Revs.Attr != dbfs.SelfRev && !slices.Contains(all, RemoteSetAttr) {
			all = append(all, RemoteSetAttr)
		}
	}
	if changedBelow(s, op) {
		all = append(all, RemoteBelow)
	}
	return all
}

// changedBelow reports whether others have done something to a tree that its deletion has not
// seen, and that keeps it from being deleted.
func changedBelow(s *snapshot, op *dbfs.Op) bool {
	known := make(map[dbfs.NodeID]bool, len(op.Below))
	for _, id := range op.Below {
		n, ok := s.node(id)
		if ok && !n.Deleted && (n.Revs.Content > op.Seen || n.Revs.Place > op.Seen) {
			return true
		}
		known[id] = true
	}
	for _, id := range about(op) {
		more := false
		s.children(id, func(_ string, child dbfs.NodeID) bool {
			more = !known[child]
			return !more
		})
		if more {
			return true
		}
	}
	return false
}

func localOf(op *dbfs.Op, n *dbfs.Node) Local {
	switch op.Type {
	case dbfs.OpCopy:
		return LocalCopy
	case dbfs.OpCreate:
		return map[dbfs.Kind]Local{dbfs.KindFile: LocalCreate, dbfs.KindDir: LocalMkdir, dbfs.KindSymlink: LocalSymlink}[op.Kind]
	case dbfs.OpWrite:
		return LocalWrite
	case dbfs.OpMove:
		if op.Replace != nil {
			return LocalReplace
		}
		return LocalMove
	case dbfs.OpExchange:
		return LocalExchange
	case dbfs.OpDeleteTree:
		return LocalTree
	case dbfs.OpSetAttr:
		return LocalSetAttr
	case dbfs.OpDelete:
		if n.Kind.IsDir() {
			return LocalRmdir
		}
		return LocalDelete
	}
	return LocalRevive
}

// remotes says what others have done to a node since an edit was based on it.
func (g *sight) remotes(s *snapshot, id dbfs.NodeID, base dbfs.Revs) []Remote {
	n, ok := s.node(id)
	var all []Remote
	rewritten := base.Content != n.Revs.Content
	switch {
	case ok && lost(n):
		return []Remote{RemoteLost}
	case !ok || n.Deleted && n.Revs.Place == dbfs.SelfRev:
	case n.Deleted && rewritten && g.local == LocalWrite:
		all = append(all, RemoteRewritten)
	case n.Deleted:
		all = append(all, RemoteDeleted)
	default:
		if rewritten {
			all = append(all, RemoteWrite)
		}
		if base.Place != n.Revs.Place {
			all = append(all, RemoteMove)
		}
	}
	if ok && base.Attr != n.Revs.Attr {
		all = append(all, RemoteSetAttr)
	}
	for up, steps := n.Parent, 0; up != dbfs.RootNode && steps < maxDepth; steps++ {
		dir, _ := s.node(up)
		if dir.Deleted {
			all = append(all, RemoteAncestorDeleted)
			break
		}
		if g.j.shifted[up] {
			all = append(all, RemoteAncestorMoved)
			break
		}
		up = dir.Parent
	}
	return all
}

// shift notes that others have moved a directory.
func (j *Journal) shift(e *dbfs.Entry) {
	if j.cfg.Trace == nil || !e.Node.Kind.IsDir() || e.Type != dbfs.OpMove && e.Type != dbfs.OpExchange {
		return
	}
	if j.shifted == nil {
		j.shifted = make(map[dbfs.NodeID]bool)
	}
	j.shifted[e.Node.ID] = true
}

// tell says what came of the edit.
func (g *sight) tell(out *outcome, s *snapshot) {
	if g == nil {
		return
	}
	v := g.verdict(out)
	at := g.occupant(out, s)
	facts := len(g.met) + len(g.prey) + len(g.into)
	if g.more {
		facts++
	}
	if at != "" {
		facts++
		g.j.cfg.Trace(Cell{g.local, at, v, facts == 1})
	}
	trace := func(local Local, met []Remote) {
		for _, r := range met {
			g.j.cfg.Trace(Cell{local, r, v, facts == 1})
		}
	}
	trace(g.local, g.met)
	if g.local == LocalExchange {
		trace(g.local, g.prey)
	} else {
		trace(LocalVictim, g.prey)
	}
	trace(g.local, g.into)
}

// verdict reads off an outcome what it is. Several things may have come of one edit: then it
// has several letters.
func (g *sight) verdict(out *outcome) Verdict {
	if len(out.edits) == 0 {
		if len(out.follows) > 0 {
			return Adopted
		}
		return Dropped
	}
	what := make(map[Verdict]bool)
	for i := range out.notices {
		switch out.notices[i].What {
		case NoticeRevive:
			what[Revived] = true
		case NoticeCopy:
			what[Copied] = true
		case NoticeRename:
			what[Renamed] = true
		}
	}
	for i := range out.edits {
		op := &out.edits[i].op
		what[Apart] = what[Apart] || g.op.Type == dbfs.OpDeleteTree && op.Type == dbfs.OpDelete
		what[Moved] = what[Moved] || g.op.Replace != nil && op.Type == dbfs.OpMove && op.Replace == nil
	}
	all := Verdict("")
	for _, v := range []Verdict{Revived, Copied, Moved, Renamed, Apart} {
		if what[v] {
			all += v
		}
	}
	if all == "" {
		return Kept
	}
	return all
}

// occupant says who had the name that the edit wanted.
func (g *sight) occupant(out *outcome, s *snapshot) Remote {
	var id dbfs.NodeID
	for i := range out.notices {
		if n := &out.notices[i]; n.What == NoticeRename {
			id = n.Other
		}
	}
	if len(out.edits) == 0 && len(out.follows) > 0 {
		id = out.follows[0].to
	}
	n, ok := s.node(id)
	switch {
	case id == dbfs.RootNode || !ok:
		return ""
	case n.Kind.IsDir():
		return RemoteDir
	}
	return RemoteFile
}
