package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/names"
)

// The user's edits. Each is checked against the view, recorded in one transaction and laid
// over the view; when it returns, a crash of the process cannot undo it, and Sync makes it
// outlive a loss of power. What has not been sent yet is amended rather than followed up:
// the last of several writes, the last place of a file that the server has never seen.

// editor records edits within one transaction.
type editor struct {
	*snapshot
	*looks
	j       *Journal
	now     int64
	inos    int // how many numbers takeIno has
	takeIno func() uint64
	dirty   bool          // the journal in memory is ahead of the database
	deleted []dbfs.NodeID // held nodes that the user deletes
	held    []dbfs.NodeID // made to be written to
	taken   []follow      // whoever writes to one node writes to the other now
}

// opReserve is how many op numbers one write sets aside. What a crash leaves unused is lost,
// which 64 bits can bear.
const opReserve = 4096

// editing runs fn with the view locked and makes what it records durable together. If the
// transaction fails, the journal is read anew, so that the view never shows what is not there.
// fn is run again where it makes more nodes than there are inode numbers for.
func (j *Journal) editing(fn func(*editor) error) error {
	for inos := 1; ; {
		take, err := j.cfg.Inodes(inos)
		if err != nil {
			return err
		}
		changes, err := j.edit(inos, take, fn)
		if more := fewInos(0); errors.As(err, &more) {
			inos = int(more)
			continue
		}
		if err == nil && len(changes) > 0 {
			j.cfg.Observe(changes)
		}
		return err
	}
}

// fewInos is the error of an edit that needs that many inode numbers, and has less.
type fewInos int

func (n fewInos) Error() string { return fmt.Sprintf("%d inode numbers are needed", int(n)) }

func (j *Journal) edit(inos int, take func() uint64, fn func(*editor) error) (changes []Change, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return nil, j.broken
	}
	ed := &editor{looks: newLooks(), j: j, now: j.cfg.Clock().UnixNano(), inos: inos, takeIno: take}
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
		ed.snapshot = j.snapshot(txn)
		ed.memo = new(memo)
		if err := fn(ed); err != nil {
			return err
		}
		changes = ed.changes(ed.snapshot, false)
		return ed.err
	})
	switch {
	case err != nil && ed.dirty:
		j.reload()
	case err == nil:
		fault.Here(fault.EditRecorded)
		for _, id := range ed.deleted {
			j.open[id].deleted = true
		}
		for _, id := range ed.held {
			j.hold(id)
		}
		for _, f := range ed.taken {
			j.passHold(f.from, f.to)
		}
		j.hasMoved()
	}
	return changes, err
}

// record appends an edit with a fresh id. Bases are those of the view.
func (ed *editor) record(op dbfs.Op) error {
	if n, ok := ed.node(op.Node); ok && !op.Type.Makes() {
		op.Base = n.Revs
	}
	return ed.append(op)
}

// append adds an edit at the end, bases as given.
func (ed *editor) append(op dbfs.Op) error { return ed.appendFor(0, op) }

// appendFor adds an edit that stands for older ones; since is the number of the oldest, or 0.
func (ed *editor) appendFor(since uint64, op dbfs.Op) error {
	j := ed.j
	ed.dirty = true
	if err := j.numberOp(ed.txn, &op); err != nil {
		return err
	}
	if op.Time == 0 {
		op.Time = ed.now
	}
	if op.Type.Makes() {
		if op.Ino == 0 {
			op.Ino = ed.takeIno()
		}
		if err := ed.tree.Bind(ed.txn, op.Ino, op.Node); err != nil {
			return err
		}
	}
	e := &edit{key: j.pending.nextKey(), op: op, since: since}
	j.sets++
	e.set = j.sets
	if err := j.log.put(ed.txn, e); err != nil {
		return err
	}
	ed.remember(ed.snapshot, about(&e.op)...)
	ed.lay(e)
	j.pending.add(e)
	j.need(op.Content)
	return nil
}

// numberOp gives an edit its id, and writes down now and then which numbers are used.
func (j *Journal) numberOp(txn dbfs.Txn, op *dbfs.Op) error {
	op.ID = dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
	if j.nextN++; j.nextN <= j.st.ops {
		return nil
	}
	j.st.ops = j.nextN + opReserve
	return j.log.setState(txn, j.st)
}

// amend changes what an edit that has not been sent makes of its node, but not where.
func (ed *editor) amend(e *edit, change func(op *dbfs.Op)) error {
	ed.dirty = true
	ed.remember(ed.snapshot, e.op.Node)
	was := e.op
	change(&e.op)
	e.op.Time = ed.now
	ed.j.pending.carry(&was, -1)
	ed.j.pending.carry(&e.op, 1)
	e.judged = e.hold != 0
	if e.op.Content != was.Content {
		ed.j.amended(e, &was)
	}
	ed.j.need(e.op.Content)
	ed.j.release(was.Content)
	if err := ed.j.log.put(ed.txn, e); err != nil {
		return err
	}
	ed.refresh(e.op.Node, ed.j.pending.byNode[e.op.Node])
	return nil
}

// cancel takes edits of one node that have not been sent out of the journal.
func (ed *editor) cancel(id dbfs.NodeID, edits []*edit) error {
	ed.dirty = true
	ids := []dbfs.NodeID{id}
	for _, e := range edits {
		ids = append(ids, about(&e.op)...)
	}
	ed.remember(ed.snapshot, ids...)
	for _, e := range edits {
		ed.j.pending.remove(e)
		ed.j.releaseEdit(e)
		if err := ed.j.log.remove(ed.txn, e); err != nil {
			return err
		}
	}
	for _, id := range slices.Compact(ids) {
		ed.refresh(id, ed.j.pending.byNode[id])
	}
	return nil
}

// NewNode says what Create makes.
type NewNode struct {
	Kind    dbfs.Kind
	Attr    dbfs.Attr
	Target  string        // of a symlink
	Device  uint32        // of a device
	Ino     uint64        // the number that the kernel knows it by already; 0: a fresh one
	ID      dbfs.NodeID   // zero: a fresh one
	Content *dbfs.Content // of a file; nil: empty
	Held    bool          // as by Hold from the beginning, so that a file is not sent before it is written
}

// Create makes a file (empty), directory, symlink, pipe, socket or device.
func (j *Journal) Create(parent dbfs.NodeID, name string, what NewNode) (dbfs.Node, error) {
	if err := errors.Join(names.Check(j.cfg.Names, name), what.Attr.Check()); err != nil {
		return dbfs.Node{}, err
	}
	if what.Kind == dbfs.KindSymlink {
		if err := dbfs.CheckTarget(what.Target); err != nil {
			return dbfs.Node{}, err
		}
	}
	op := dbfs.Op{
		Type: dbfs.OpCreate, Node: what.ID, Parent: parent, Name: name,
		Kind: what.Kind, Attr: what.Attr, Target: what.Target, Device: what.Device, Ino: what.Ino,
	}
	if op.Node == (dbfs.NodeID{}) {
		op.Node = j.cfg.NewID()
	}
	if op.Content = what.Content; what.Kind == dbfs.KindFile && op.Content == nil {
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
		if _, known := ed.node(op.Node); known {
			return fmt.Errorf("create %q, which has been made before: %w", name, dbfs.ErrExist)
		}
		if err := ed.record(op); err != nil {
			return err
		}
		made, _ = ed.node(op.Node)
		if what.Held {
			ed.held = append(ed.held, op.Node)
		}
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
		if h := j.open[id]; !ok || n.Deleted && n.Revs.Place == dbfs.SelfRev || h != nil && h.deleted {
			return fmt.Errorf("write: %w", dbfs.ErrNotExist)
		}
		op := dbfs.Op{Type: dbfs.OpWrite, Node: id, Base: n.Revs, Content: &content, Attr: dbfs.Attr{MTime: mtime}, Time: ed.now}
		at := id
		if h := j.open[id]; h != nil && !content.Equal(n.Content) {
			h.offered = false
		}
		switch last := ed.contentEdit(id); {
		case n.Deleted || !base.Equal(n.Content) && !content.Equal(n.Content):
			if !base.Equal(n.Content) {
				op.Base.Content = noRev
			}
			to, err := ed.conflict(op)
			if err != nil {
				return err
			}
			at = to
		case content.Equal(n.Content) && mtime == n.Attr.MTime:
		case last != nil:
			err := ed.amend(last, func(op *dbfs.Op) {
				op.SetContent(&content)
				op.Attr.MTime = mtime
			})
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
		case e.fixed() || e.op.Node != id || ed.j.isRejected(e):
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
	sight := ed.j.see(&op, &trial)
	out := resolve(op, &trial, ed.j.env(ed.j.pending))
	sight.tell(&out, &trial)
	if ed.err = trial.err; ed.err != nil {
		return op.Node, ed.err
	}
	if n := out.made(); n > ed.inos {
		return op.Node, fewInos(n)
	}
	at := op.Node
	for _, e := range out.edits {
		if err := ed.append(e.op); err != nil {
			return at, err
		}
	}
	for _, f := range out.follows {
		if f.from == at {
			at = f.to
		}
	}
	for i := range out.notices {
		if err := ed.j.notify(ed.txn, &out.notices[i]); err != nil {
			return at, err
		}
	}
	return at, nil
}

// SetAttr records new values for the attributes in mask.
func (j *Journal) SetAttr(id dbfs.NodeID, mask dbfs.AttrMask, attr dbfs.Attr) (dbfs.Node, error) {
	if err := attr.Check(); err != nil {
		return dbfs.Node{}, err
	}
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
		if !e.fixed() && !ed.j.isRejected(e) && e.op.Node == id && (e.op.Type.Makes() || e.op.Type == dbfs.OpSetAttr) {
			return ed.amend(e, func(op *dbfs.Op) {
				op.Attr.Set(mask, attr)
				if op.Type == dbfs.OpSetAttr {
					op.Mask |= mask
				}
			})
		}
	}
	return ed.record(dbfs.Op{Type: dbfs.OpSetAttr, Node: id, Mask: mask, Attr: attr})
}

// Move gives a node another place. What stands there is replaced as rename(2) says, unless
// noReplace: then it is ErrExist. What is replaced keeps the spelling of its name, a node that
// is alone there gets the new one. The node that has the place then is returned: another one
// where a new file has become the next version of an old one. With the inode number, the
// holds of the new file are then the old one's.
func (j *Journal) Move(id, parent dbfs.NodeID, name string, noReplace bool) (dbfs.NodeID, error) {
	if err := dbfs.CheckName(name); err != nil {
		return id, err
	}
	now := id
	err := j.editing(func(ed *editor) error {
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
		if name != n.Name { // one that it has is good, whoever gave it
			if err := names.Check(j.cfg.Names, name); err != nil {
				return err
			}
		}
		m, taken := ed.child(parent, name)
		switch {
		case taken && m.ID == id && m.Name == name:
			return nil
		case taken && m.ID == id:
			taken = false // by another spelling
		case taken && noReplace:
			return fmt.Errorf("move to %q: %w", name, dbfs.ErrExist)
		case taken && sameFile(n, m):
			return nil // as rename(2) has it: both names stay
		}
		old, saved, err := ed.saved(n, place{parent, name}, m, taken)
		switch {
		case err != nil:
			return err
		case saved:
			now = old.ID
			return ed.save(n, old)
		case taken:
			return ed.replace(n, m)
		}
		return ed.move(n, dbfs.Op{Parent: parent, Name: name})
	})
	return now, err
}

// replace moves n to the place of m, which goes.
func (ed *editor) replace(n, m dbfs.Node) error {
	to := dbfs.Op{Parent: m.Parent, Name: m.Name}
	link, linked := linkOf(ed, m)
	switch {
	case n.Kind.IsDir():
		if err := ed.removeDir(m); err != nil {
			return err
		}
	case m.Kind.IsDir():
		return fmt.Errorf("move to %q: %w", m.Name, dbfs.ErrIsDir)
	case linked:
		if err := ed.replace(m, link); err != nil { // it goes on there
			return err
		}
	case ed.neverSent(m.ID):
		if err := ed.remove(m); err != nil {
			return err
		}
	default:
		base, err := ed.abandon(m.ID)
		if err != nil {
			return err
		}
		to.Replace = &dbfs.Victim{Node: m.ID, Base: base}
		if m.Link != n.ID {
			to.Link = m.Link
		}
	}
	return ed.move(n, to)
}

// move records that n goes where to says.
func (ed *editor) move(n dbfs.Node, to dbfs.Op) error {
	if to.Replace == nil && ed.neverSent(n.ID) {
		return ed.replant(n, to)
	}
	to.Type, to.Node, to.Base = dbfs.OpMove, n.ID, n.Revs
	since := uint64(0)
	last := ed.j.pending.last()
	if last != nil && last.op.Node == n.ID && last.op.Type == dbfs.OpMove && last.op.Replace == nil && !last.fixed() {
		if err := ed.cancel(n.ID, []*edit{last}); err != nil {
			return err
		}
		if last.left == (place{to.Parent, to.Name}) {
			return nil // it is back where it was
		}
		to.Base, since = last.op.Base, last.oldest()
	}
	return ed.appendFor(since, to)
}

// Exchange lets two nodes change places.
func (j *Journal) Exchange(a, b dbfs.NodeID) error {
	return j.editing(func(ed *editor) error {
		na, okA := ed.node(a)
		nb, okB := ed.node(b)
		switch {
		case !okA || !okB || na.Deleted || nb.Deleted || na.IsRoot() || nb.IsRoot():
			return fmt.Errorf("exchange: %w", dbfs.ErrNotExist)
		case a == b:
			return nil
		case below(ed, nb.Parent, a) || below(ed, na.Parent, b):
			return fmt.Errorf("exchange %q with %q: %w", na.Name, nb.Name, dbfs.ErrLoop)
		}
		if err := errors.Join(ed.mayHold(na.Parent), ed.mayHold(nb.Parent)); err != nil {
			return err
		}
		if last := ed.j.pending.last(); last != nil && last.exchanges(a, b) && !last.fixed() {
			return ed.cancel(a, []*edit{last}) // they are back where they were
		}
		return ed.record(dbfs.Op{
			Type: dbfs.OpExchange, Node: a, Parent: nb.Parent, Name: nb.Name,
			Replace: &dbfs.Victim{Node: b, Base: nb.Revs, Parent: na.Parent, Name: na.Name},
		})
	})
}

// exchanges reports whether the edit lets those two change places.
func (e *edit) exchanges(a, b dbfs.NodeID) bool {
	return e.op.Type == dbfs.OpExchange && (e.op.Node == a && e.op.Replace.Node == b || e.op.Node == b && e.op.Replace.Node == a)
}

// replant makes a node that the server has never seen where it goes: after all other edits,
// since that place may have come about by one of them.
func (ed *editor) replant(n dbfs.Node, to dbfs.Op) error {
	edits := ed.j.pending.byNode[n.ID]
	op, since := edits[0].op, edits[0].oldest()
	op.Parent, op.Name, op.Attr, op.Time = to.Parent, to.Name, n.Attr, ed.now
	if n.Kind == dbfs.KindFile {
		op.SetContent(&n.Content)
	}
	if err := ed.cancel(n.ID, edits); err != nil {
		return err
	}
	return ed.appendFor(since, op)
}

// Delete removes a file or symlink. What has other names goes on under one of them.
func (j *Journal) Delete(id dbfs.NodeID) error {
	return j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		switch {
		case !ok || n.Deleted:
			return fmt.Errorf("delete: %w", dbfs.ErrNotExist)
		case n.Kind.IsDir():
			return fmt.Errorf("delete %q: %w", n.Name, dbfs.ErrIsDir)
		}
		if link, ok := linkOf(ed, n); ok {
			return ed.replace(n, link)
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
	if ed.neverSent(n.ID) {
		ed.leaveHold(n.ID)
		edits := ed.j.pending.byNode[n.ID]
		return errors.Join(ed.unwanted(edits), ed.cancel(n.ID, edits))
	}
	base, err := ed.abandon(n.ID)
	if err != nil {
		return err
	}
	return ed.append(dbfs.Op{Type: dbfs.OpDelete, Node: n.ID, Base: base, Link: n.Link})
}

// neverSent reports whether all there is of a node is unsent edits that nothing else leans on.
func (ed *editor) neverSent(id dbfs.NodeID) bool {
	edits := ed.j.pending.byNode[id]
	if len(edits) == 0 || !edits[0].op.Type.Makes() || ed.j.pending.inside[id] > 0 {
		return false
	}
	for _, e := range edits {
		if e.fixed() || e.op.Replace != nil || e.op.Node != id {
			return false
		}
	}
	return true
}

// abandon prepares for a node to be deleted: what was written to it lately need not travel.
// It returns what the deletion is based on: what those writes were, not what the tree may have
// got since.
func (ed *editor) abandon(id dbfs.NodeID) (dbfs.Revs, error) {
	ed.leaveHold(id)
	edits := ed.j.pending.byNode[id]
	keep := len(edits)
	for keep > 0 && !edits[keep-1].fixed() && edits[keep-1].op.Node == id &&
		(edits[keep-1].op.Type == dbfs.OpWrite || edits[keep-1].op.Type == dbfs.OpSetAttr) {
		keep--
	}
	if keep == len(edits) {
		n, _ := ed.node(id)
		return n.Revs, nil
	}
	return edits[keep].op.Base, errors.Join(ed.unwanted(edits[keep:]), ed.cancel(id, edits[keep:]))
}

// leaveHold notes that who still writes to the node writes to a file without a name.
func (ed *editor) leaveHold(id dbfs.NodeID) {
	if ed.j.open[id] != nil {
		ed.deleted = append(ed.deleted, id)
	}
}

// A hold is a node that somebody writes to.
type hold struct {
	count   int
	deleted bool // the user has deleted it since
	offered bool // what is recorded may be sent all the same
}

// Hold keeps a node's content from being sent until Release, because somebody writes to it.
func (j *Journal) Hold(id dbfs.NodeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hold(id)
}

func (j *Journal) hold(id dbfs.NodeID) {
	if j.open[id] == nil {
		j.open[id] = new(hold)
	}
	j.open[id].count++
}

// Offer lets the content that is recorded of a node be sent though somebody writes to it, as nobody is in the
// middle of something. What is recorded after that waits again.
func (j *Journal) Offer(id dbfs.NodeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if h := j.open[id]; h != nil && !h.offered {
		h.offered = true
		j.hasMoved()
	}
}

// waits reports whether a node's content is not to be sent, because somebody writes to it.
func (j *Journal) waits(id dbfs.NodeID) bool {
	h := j.open[id]
	return h != nil && !h.offered
}

// passHold makes the holds of one node those of another.
func (j *Journal) passHold(from, to dbfs.NodeID) {
	h := j.open[from]
	if h == nil {
		return
	}
	delete(j.open, from)
	if j.open[to] == nil {
		j.open[to] = new(hold)
	}
	j.open[to].count += h.count
}

// Release takes one Hold back.
func (j *Journal) Release(id dbfs.NodeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.open[id]
	if h == nil {
		return
	}
	if h.count--; h.count == 0 {
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
	ino := take()
	return ino, j.SetInode(id, ino)
}

// SetInode gives a node an inode number that another one had: a file that is open goes on as
// that node. From now on the number leads there.
func (j *Journal) SetInode(id dbfs.NodeID, ino uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	if err := j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.setIno(txn, id, ino) }); err != nil {
		j.reload()
		return fmt.Errorf("inode %d for %s: %w", ino, id, err)
	}
	return nil
}

func (ed *editor) setIno(id dbfs.NodeID, ino uint64) error {
	ed.memo.forget()
	return ed.j.setIno(ed.txn, id, ino)
}

// setIno gives a node a number, in the tree or in the pending edit that makes it.
func (j *Journal) setIno(txn dbfs.Txn, id dbfs.NodeID, ino uint64) error {
	j.known.forget()
	err := j.cfg.Tree.SetIno(txn, id, ino)
	if errors.Is(err, dbfs.ErrNotExist) {
		err = j.setCreateIno(txn, id, ino)
	}
	if err != nil {
		return err
	}
	if n, ok := j.view.nodes[id]; ok {
		n.Ino = ino
		j.view.nodes[id] = n
	}
	return nil
}

func (j *Journal) setCreateIno(txn dbfs.Txn, id dbfs.NodeID, ino uint64) error {
	edits := j.pending.byNode[id]
	if len(edits) == 0 || !edits[0].op.Type.Makes() {
		return fmt.Errorf("node %s: %w", id, dbfs.ErrNotExist)
	}
	edits[0].op.Ino = ino // it never travels, so it may change even in flight
	if err := j.cfg.Tree.Bind(txn, ino, id); err != nil {
		return err
	}
	return j.log.put(txn, edits[0])
}
