package journal

import (
	"fmt"

	"github.com/dbfs/dbfs"
)

// The user's edits. Each is checked against the view, recorded in one transaction and laid
// over the view; when it returns, a crash of the process cannot undo it, and Sync makes it
// outlive a loss of power. What has not been sent yet is amended rather than followed up.

// editor records edits within one transaction.
type editor struct {
	*snapshot
	j       *Journal
	now     int64
	takeIno func() uint64
	changed []Change
	gone    map[*edit]bool // taken out of pending when the transaction is through
}

// editing runs fn with the view locked and makes what it records durable together. If the
// transaction fails, the journal is read anew, so that the view never shows what is not there.
func (j *Journal) editing(fn func(*editor) error) error {
	take, err := j.cfg.Inodes(1)
	if err != nil {
		return err
	}
	j.mu.Lock()
	var ed *editor
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
		ed = &editor{snapshot: j.snapshot(txn), j: j, now: j.cfg.Clock().UnixNano(), takeIno: take}
		if err := fn(ed); err != nil {
			return err
		}
		return ed.err
	})
	if err == nil {
		j.pending.remove(ed.gone)
		j.hasMoved()
	} else if ed != nil && len(ed.changed) > 0 {
		j.mustReload()
	}
	j.mu.Unlock()
	if err == nil && len(ed.changed) > 0 {
		j.cfg.Observe(ed.changed)
	}
	return err
}

// record appends an edit with a fresh id. Bases are those of the view.
func (ed *editor) record(op dbfs.Op) error {
	if n, ok := ed.node(op.Node); ok && op.Type != dbfs.OpCreate {
		op.Base = n.Revs
	}
	return ed.append(op)
}

// append adds an edit at the end, bases as given.
func (ed *editor) append(op dbfs.Op) error {
	j := ed.j
	op.ID = dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
	j.nextN++
	if op.Time == 0 {
		op.Time = ed.now
	}
	if op.Type == dbfs.OpCreate && op.Ino == 0 {
		op.Ino = ed.takeIno()
		if err := ed.tree.Bind(ed.txn, op.Ino, op.Node); err != nil {
			return err
		}
	}
	e := &edit{key: j.pending.nextKey(), op: op}
	if err := j.log.put(ed.txn, e); err != nil {
		return err
	}
	if err := j.log.setState(ed.txn, logState{j.nextN, j.seq, j.rootIno}); err != nil {
		return err
	}
	ed.lay(e)
	j.pending.add(e)
	j.need(op.Content)
	return nil
}

// lay applies an edit to the view and notes what looks different.
func (ed *editor) lay(e *edit) {
	e.leaves(ed.snapshot)
	before := ed.looks(about(&e.op))
	ed.apply(&e.op)
	ed.changed = append(ed.changed, ed.differences(before, false)...)
}

// amend changes an edit that has not been sent.
func (ed *editor) amend(e *edit, change func(op *dbfs.Op)) error {
	before := ed.looks(about(&e.op))
	old := e.op.Content
	change(&e.op)
	e.op.Time = ed.now
	ed.j.need(e.op.Content)
	ed.j.release(old)
	if err := ed.j.log.put(ed.txn, e); err != nil {
		return err
	}
	ed.refresh(e.op.Node, ed.j.pending.byNode[e.op.Node])
	ed.changed = append(ed.changed, ed.differences(before, false)...)
	return nil
}

// NewNode says what Create makes.
type NewNode struct {
	Kind   dbfs.Kind
	Attr   dbfs.Attr
	Target string // of a symlink
}

// Create makes a file (empty), directory or symlink.
func (j *Journal) Create(parent dbfs.NodeID, name string, what NewNode) (dbfs.Node, error) {
	if err := dbfs.CheckName(name); err != nil {
		return dbfs.Node{}, err
	}
	if what.Kind == dbfs.KindSymlink {
		if err := dbfs.CheckTarget(what.Target); err != nil {
			return dbfs.Node{}, err
		}
	}
	op := dbfs.Op{
		Type: dbfs.OpCreate, Node: dbfs.NewNodeID(j.cfg.Clock()), Parent: parent, Name: name,
		Kind: what.Kind, Attr: what.Attr, Target: what.Target,
	}
	if what.Kind == dbfs.KindFile {
		op.Content = new(dbfs.Content)
	}
	var made dbfs.Node
	err := j.editing(func(ed *editor) error {
		if err := ed.mayHold(parent); err != nil {
			return err
		}
		if _, taken := ed.child(parent, name); taken {
			return fmt.Errorf("create %q: %w", name, dbfs.ErrExist)
		}
		if err := ed.record(op); err != nil {
			return err
		}
		made, _ = ed.node(op.Node)
		return nil
	})
	return made, err
}

// mayHold checks that something can be put into a directory.
func (ed *editor) mayHold(dir dbfs.NodeID) error {
	n, ok := ed.node(dir)
	switch {
	case !ok || !reachable(ed, dir):
		return fmt.Errorf("directory %s: %w", dir, dbfs.ErrNotExist)
	case n.Kind != dbfs.KindDir:
		return fmt.Errorf("%q: %w", n.Name, dbfs.ErrNotDir)
	}
	return nil
}

// Write records new content for a file. base is the content that its writer began with: if
// the file has another one by now, what was written becomes a conflicted copy, and if
// another device has deleted it, it is revived. The node that has the content is returned;
// it is another one than id where it is a copy. ErrNotExist: it was deleted here.
func (j *Journal) Write(id dbfs.NodeID, base, content dbfs.Content, mtime int64) (dbfs.Node, error) {
	if err := content.Check(); err != nil {
		return dbfs.Node{}, err
	}
	var result dbfs.Node
	err := j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		if !ok || n.Deleted && n.Revs.Place == dbfs.SelfRev {
			return fmt.Errorf("write: %w", dbfs.ErrNotExist)
		}
		op := dbfs.Op{Type: dbfs.OpWrite, Node: id, Base: n.Revs, Content: &content, Attr: dbfs.Attr{MTime: mtime}, Time: ed.now}
		at := id
		switch last := ed.contentEdit(id); {
		case n.Deleted || !base.Equal(n.Content) && !content.Equal(n.Content):
			if !base.Equal(n.Content) {
				op.Base.Content = 0 // no revision that the file has now
			}
			to, err := ed.conflict(op)
			if err != nil {
				return err
			}
			at = to
		case content.Equal(n.Content) && mtime == n.Attr.MTime:
		case last != nil:
			err := ed.amend(last, func(op *dbfs.Op) { op.Content, op.Attr.MTime = &content, mtime })
			if err != nil {
				return err
			}
		default:
			if err := ed.record(op); err != nil {
				return err
			}
		}
		result, _ = ed.node(at)
		return nil
	})
	return result, err
}

// contentEdit returns the unsent edit that a new content can go into: the node's last one,
// unless something that it must not overtake came after.
func (ed *editor) contentEdit(id dbfs.NodeID) *edit {
	edits := ed.j.pending.byNode[id]
	for i := len(edits) - 1; i >= 0; i-- {
		e := edits[i]
		switch {
		case ed.j.isSent(e) || e.op.Node != id:
			return nil
		case e.op.Content != nil:
			return e
		case e.op.Type == dbfs.OpSetAttr && e.op.Mask&dbfs.AttrMTime != 0:
			return nil // its time would hide the new one
		}
	}
	return nil
}

// conflict records a write whose writer did not see what the file is now, and returns the
// node it went to.
func (ed *editor) conflict(op dbfs.Op) (dbfs.NodeID, error) {
	trial := *ed.snapshot
	trial.view = ed.view.clone() // append lays the outcome over the real one
	out := resolve(op, &trial, ed.j.env(ed.j.pending))
	at := op.Node
	for _, op := range out.ops {
		if err := ed.append(op); err != nil {
			return at, err
		}
	}
	if out.follow != nil {
		at = out.follow.to
	}
	return at, ed.j.notify(ed.txn, out.notice)
}

// SetAttr records new values for the attributes in mask.
func (j *Journal) SetAttr(id dbfs.NodeID, mask dbfs.AttrMask, attr dbfs.Attr) (dbfs.Node, error) {
	var result dbfs.Node
	err := j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		if !ok || n.Deleted {
			return fmt.Errorf("set attributes: %w", dbfs.ErrNotExist)
		}
		if err := ed.setAttrOf(id, mask, attr); err != nil {
			return err
		}
		result, _ = ed.node(id)
		return nil
	})
	return result, err
}

func (ed *editor) setAttrOf(id dbfs.NodeID, mask dbfs.AttrMask, attr dbfs.Attr) error {
	edits := ed.j.pending.byNode[id]
	if len(edits) > 0 {
		e := edits[len(edits)-1]
		if !ed.j.isSent(e) && e.op.Node == id && (e.op.Type == dbfs.OpCreate || e.op.Type == dbfs.OpSetAttr) {
			return ed.amend(e, func(op *dbfs.Op) {
				setAttr(&op.Attr, mask, attr)
				if op.Type == dbfs.OpSetAttr {
					op.Mask |= mask
				}
			})
		}
	}
	return ed.record(dbfs.Op{Type: dbfs.OpSetAttr, Node: id, Mask: mask, Attr: attr})
}

// Move gives a node another place. What stands there is replaced as rename(2) says, unless
// noReplace: then it is ErrExist.
func (j *Journal) Move(id, parent dbfs.NodeID, name string, noReplace bool) error {
	if err := dbfs.CheckName(name); err != nil {
		return err
	}
	return j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		if !ok || n.Deleted || n.IsRoot() {
			return fmt.Errorf("move: %w", dbfs.ErrNotExist)
		}
		if err := ed.mayHold(parent); err != nil {
			return err
		}
		if n.Kind.IsDir() && below(ed, parent, id) {
			return fmt.Errorf("move %q: %w", n.Name, dbfs.ErrLoop)
		}
		op := dbfs.Op{Type: dbfs.OpMove, Node: id, Parent: parent, Name: name}
		m, taken := ed.child(parent, name)
		switch {
		case !taken:
		case m.ID == id:
			return nil
		case noReplace:
			return fmt.Errorf("move to %q: %w", name, dbfs.ErrExist)
		case n.Kind.IsDir():
			if err := ed.removeDir(m); err != nil {
				return err
			}
		case m.Kind.IsDir():
			return fmt.Errorf("move to %q: %w", name, dbfs.ErrIsDir)
		default:
			op.Replace = &dbfs.Victim{Node: m.ID, Base: m.Revs}
		}
		return ed.record(op)
	})
}

// Delete removes a file or symlink.
func (j *Journal) Delete(id dbfs.NodeID) error {
	return j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		switch {
		case !ok || n.Deleted:
			return fmt.Errorf("delete: %w", dbfs.ErrNotExist)
		case n.Kind.IsDir():
			return fmt.Errorf("delete %q: %w", n.Name, dbfs.ErrIsDir)
		}
		return ed.remove(n)
	})
}

// RemoveDir removes an empty directory.
func (j *Journal) RemoveDir(id dbfs.NodeID) error {
	return j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		if !ok || n.Deleted {
			return fmt.Errorf("remove directory: %w", dbfs.ErrNotExist)
		}
		return ed.removeDir(n)
	})
}

func (ed *editor) removeDir(n dbfs.Node) error {
	switch {
	case n.Kind == dbfs.KindMount || n.IsRoot():
		return fmt.Errorf("remove %q, a mounted namespace: %w", n.Name, dbfs.ErrBusy)
	case n.Kind != dbfs.KindDir:
		return fmt.Errorf("remove directory %q: %w", n.Name, dbfs.ErrNotDir)
	case ed.hasChild(n.ID):
		return fmt.Errorf("remove directory %q: %w", n.Name, dbfs.ErrNotEmpty)
	}
	return ed.remove(n)
}

// remove deletes a node. One that the server has never heard of just disappears from the journal.
func (ed *editor) remove(n dbfs.Node) error {
	if edits := ed.j.pending.byNode[n.ID]; ed.neverSent(n.ID, edits) {
		before := ed.looks([]dbfs.NodeID{n.ID})
		if ed.gone == nil {
			ed.gone = make(map[*edit]bool)
		}
		for _, e := range edits {
			ed.gone[e] = true
			ed.j.release(e.op.Content)
			if err := ed.j.log.remove(ed.txn, e); err != nil {
				return err
			}
		}
		ed.drop(n.ID)
		ed.changed = append(ed.changed, ed.differences(before, false)...)
		return nil
	}
	return ed.record(dbfs.Op{Type: dbfs.OpDelete, Node: n.ID})
}

// neverSent reports whether all there is of a node is unsent edits that nothing else leans on.
func (ed *editor) neverSent(id dbfs.NodeID, edits []*edit) bool {
	if len(edits) == 0 || edits[0].op.Type != dbfs.OpCreate || ed.j.pending.inside[id] > 0 {
		return false
	}
	for _, e := range edits {
		if ed.j.isSent(e) || e.op.Replace != nil {
			return false
		}
	}
	return true
}

// Hold keeps a node's edits from being sent until Release, because somebody writes to it.
func (j *Journal) Hold(id dbfs.NodeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open[id]++
}

// Release takes one Hold back.
func (j *Journal) Release(id dbfs.NodeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open[id]--; j.open[id] <= 0 {
		delete(j.open, id)
		j.hasMoved()
	}
}

// NewInode gives a node a fresh inode number and returns it: a changed file whose old
// version is still open goes on under a new one. The old number leads nowhere new.
func (j *Journal) NewInode(id dbfs.NodeID) (uint64, error) {
	take, err := j.cfg.Inodes(1)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	ino := take()
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.cfg.Tree.SetIno(txn, id, ino) })
	if err != nil {
		return 0, fmt.Errorf("new inode for %s: %w", id, err)
	}
	if n, ok := j.view.nodes[id]; ok {
		n.Ino = ino
		j.view.nodes[id] = n
	}
	return ino, nil
}
