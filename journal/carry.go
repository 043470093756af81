package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/names"
)

// A file that is moved to another namespace becomes another node there. Two journals have a part
// in it, in this order, so that a crash leaves two files and never none:
//
//	1  the destination's records the file as it is, with where it came from
//	2  the source's records its deletion. The user sees it gone; it is not sent, because it waits
//	3  the destination's log shows the file, or other devices have put the same there, or the user
//	   wants it no more: a note of that (m/ in log.go) takes the place of the edit
//	4  the deletion waits no longer (CarryOn), and the note goes
//
// Where there is neither edit nor note, what was moved has been given up: the deletion is dropped,
// and the file is back where it was. That is so after a crash between 1 and 2, too, but for
// the deletion, and for what is exported because it cannot be sent.

// An Arrival is a file or symlink that comes from another namespace.
type Arrival struct {
	Kind    dbfs.Kind
	Attr    dbfs.Attr
	Target  string        // of a symlink
	Content *dbfs.Content // of a file
	Src     *dbfs.Source  // where the server has the content; nil: not all of it is there
	From    dbfs.Origin
}

// MoveOut moves a file or symlink to another namespace, and over what stands there at the name
// unless noReplace. It returns the node that has the name then, which has the inode number that the
// moved one had. Both journals are in one database. ErrUnsupported: it is something else, or has
// more names.
func (j *Journal) MoveOut(id dbfs.NodeID, to *Journal, parent dbfs.NodeID, name string, noReplace bool) (dbfs.Node, error) {
	j.carrying.Lock()
	defer j.carrying.Unlock()
	n, a, err := j.leaving(id)
	if err != nil {
		return n, err
	}
	now, err := to.Receive(parent, name, a, noReplace)
	if err != nil {
		return n, err
	}
	fault.Here(fault.CopiedNotDeleted)
	if err := j.depart(&n, to, now.ID); err != nil {
		return now, err
	}
	now.Ino = n.Ino
	return now, nil
}

// leaving returns a node, and as what it would arrive elsewhere.
func (j *Journal) leaving(id dbfs.NodeID) (n dbfs.Node, a Arrival, err error) {
	err = j.read(func(s *snapshot) error {
		var ok bool
		n, ok = s.node(id)
		switch {
		case !ok || n.Deleted:
			return fmt.Errorf("node %s: %w", id, dbfs.ErrNotExist)
		case n.Kind != dbfs.KindFile && n.Kind != dbfs.KindSymlink:
			return fmt.Errorf("move a %s to another namespace: %w", n.Kind, dbfs.ErrUnsupported)
		}
		if _, linked := linkOf(s, n); linked {
			return fmt.Errorf("move one of several names to another namespace: %w", dbfs.ErrUnsupported)
		}
		a = Arrival{Kind: n.Kind, Attr: n.Attr, Target: n.Target, From: dbfs.Origin{NS: j.cfg.NS, Node: id}}
		if n.Kind == dbfs.KindFile {
			a.Content, a.Src = &n.Content, j.source(s, &n)
		}
		return nil
	})
	return n, a, err
}

// source returns where the server has the content that a file has here; nil: nowhere that is known.
func (j *Journal) source(s *snapshot, n *dbfs.Node) *dbfs.Source {
	if n.Content.Size == 0 {
		return nil
	}
	if t, ok := s.treeNode(n.ID); ok && t.Revs.Content != 0 && t.Content.Equal(n.Content) {
		return &dbfs.Source{NS: j.cfg.NS, Node: n.ID, Rev: t.Revs.Content}
	}
	for _, e := range j.pending.byNode[n.ID] { // it came from elsewhere itself
		if e.op.Src != nil && e.op.Content.Equal(n.Content) {
			return e.op.Src
		}
	}
	return nil
}

// arrives reports whether an edit brings something from another namespace, which waits to hear of it there.
func arrives(op *dbfs.Op) bool { return op.From != (dbfs.Origin{}) && op.Await == 0 }

// Receive records what comes from another namespace. What stands at its name is replaced as by
// Move: a file gets another version. The node that has the name then is returned.
func (j *Journal) Receive(parent dbfs.NodeID, name string, a Arrival, noReplace bool) (dbfs.Node, error) {
	if err := names.Check(j.cfg.Names, name); err != nil {
		return dbfs.Node{}, err
	}
	var now dbfs.Node
	err := j.editing(func(ed *editor) error {
		if err := errors.Join(ed.mayHold(parent), ed.j.notArrived(ed.txn, a.From)); err != nil {
			return err
		}
		m, taken := ed.child(parent, name)
		id, err := m.ID, error(nil)
		link, linked := linkOf(ed, m)
		switch {
		case taken && noReplace:
			return fmt.Errorf("move to %q: %w", name, dbfs.ErrExist)
		case taken && m.Kind.IsDir():
			return fmt.Errorf("move to %q: %w", name, dbfs.ErrIsDir)
		case taken && a.Kind == dbfs.KindFile && m.Kind == dbfs.KindFile && !linked && !ed.neverSent(m.ID):
			err = ed.receiveOver(m, a)
		case taken:
			if linked {
				err = ed.replace(m, link) // it goes on there
			} else {
				err = ed.remove(m)
			}
			if err == nil {
				id, err = ed.receive(parent, name, a)
			}
		default:
			id, err = ed.receive(parent, name, a)
		}
		now, _ = ed.node(id)
		return err
	})
	return now, err
}

func (ed *editor) receive(parent dbfs.NodeID, name string, a Arrival) (dbfs.NodeID, error) {
	op := dbfs.Op{
		Type: typeOf(a.Src), Node: ed.j.cfg.NewID(), Parent: parent, Name: name,
		Kind: a.Kind, Attr: a.Attr, Target: a.Target, Content: a.Content, Src: a.Src, From: a.From,
	}
	return op.Node, ed.record(op)
}

// receiveOver makes what arrives the next version of a file.
func (ed *editor) receiveOver(old dbfs.Node, a Arrival) error {
	ed.leaveHold(old.ID)
	if err := ed.rewrite(old, *a.Content, a.Attr.MTime, a.Src, a.From, 0); err != nil {
		return err
	}
	if mask := differing(a.Attr, old.Attr); mask != 0 {
		return ed.setAttrOf(old.ID, mask, a.Attr)
	}
	return nil
}

// typeOf returns the type of an edit that makes a file whose bytes are there, or are to be sent.
func typeOf(src *dbfs.Source) dbfs.OpType {
	if src != nil {
		return dbfs.OpCopy
	}
	return dbfs.OpCreate
}

// bothJournals is held while one goroutine has two journals locked.
var bothJournals sync.Mutex

// depart records that a node is gone to another namespace, where it is that node. If it is not any
// more what went there, it stays. The inode number goes in any case: the kernel has moved it.
func (j *Journal) depart(was *dbfs.Node, to *Journal, now dbfs.NodeID) error {
	take, err := j.cfg.Inodes(1)
	if err != nil {
		return err
	}
	here, there, err := j.departLocked(was, to, now, take)
	if err == nil {
		j.cfg.Observe(here)
		to.cfg.Observe(there)
	}
	return err
}

// departLocked also returns what looks different, here and there.
func (j *Journal) departLocked(was *dbfs.Node, to *Journal, now dbfs.NodeID, take func() uint64) (here, there []Change, err error) {
	bothJournals.Lock()
	defer bothJournals.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.broken != nil {
		return nil, nil, to.broken
	}
	here, err = j.edit(1, take, func(ed *editor) error {
		if n, ok := ed.node(was.ID); ok {
			if err := ed.depart(&n, was, to.cfg.NS); err != nil {
				return err
			}
		}
		l, s := newLooks(), to.snapshot(ed.txn)
		l.remember(s, now)
		if err := to.setIno(ed.txn, now, was.Ino); err != nil {
			return err
		}
		there = l.changes(s, false)
		return s.err
	})
	if err != nil {
		to.reload()
	}
	return here, there, err
}

func (ed *editor) depart(n, was *dbfs.Node, to dbfs.NamespaceID) error {
	ed.dirty = true
	ed.remember(ed.snapshot, n.ID)
	if err := ed.setIno(n.ID, ed.takeIno()); err != nil {
		return err
	}
	if n.Deleted || !n.Content.Equal(was.Content) || n.Parent != was.Parent || n.Name != was.Name {
		return nil
	}
	ed.leaveHold(n.ID)
	return ed.record(dbfs.Op{
		Type: dbfs.OpDelete, Node: n.ID, From: dbfs.Origin{NS: ed.j.cfg.NS, Node: n.ID}, Await: to,
	})
}

// leaves reports whether an edit is not sent because its node is moving to another namespace.
func (j *Journal) leaves(e *edit) bool {
	switch {
	case j.pending.waits == 0 || e.fixed():
		return false
	case e.op.Await != 0:
		return !fault.Bug(fault.CopyNotAwaited)
	}
	return j.isLeaving(e.op.Node)
}

// isLeaving reports whether nothing need be sent of a node, since all of it goes elsewhere. What has
// come from elsewhere itself is sent: it is waited for, and so no wait is for something later, and
// none for itself.
func (j *Journal) isLeaving(id dbfs.NodeID) bool {
	edits := j.pending.byNode[id]
	if n := len(edits); n == 0 || edits[n-1].op.Await == 0 {
		return false
	}
	return !slices.ContainsFunc(edits, func(e *edit) bool { return arrives(&e.op) })
}

// unwanted notes of edits that the user takes back that nobody waits for what they bring.
func (ed *editor) unwanted(edits []*edit) error {
	var errs []error
	for _, e := range edits {
		if arrives(&e.op) {
			errs = append(errs, ed.j.arrive(ed.txn, e.op.From))
		}
	}
	return errors.Join(errs...)
}

// carries reports whether an outcome has an edit with what was moved here from there.
func carries(out *outcome, from dbfs.Origin) bool {
	return slices.ContainsFunc(out.edits, func(e edit) bool { return e.op.From == from })
}

// A fate is what has become of something that was moved here.
type fate int

const (
	givenUp fate = iota
	coming
	arrived
)

func (j *Journal) fateOf(from dbfs.Origin) fate {
	j.mu.RLock()
	defer j.mu.RUnlock()
	switch {
	case j.broken != nil, j.pending.coming[from] > 0:
		return coming
	case j.arrived[from]:
		return arrived
	}
	return givenUp
}

// Leaving reports whether deletions wait for other namespaces.
func (j *Journal) Leaving() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.pending.waits > 0
}

// CarryOn lets the deletions go on that wait for a namespace, as far as what was moved there has
// arrived, and drops them where it has been given up. to is that namespace's journal; nil: it is not
// here any more.
func (j *Journal) CarryOn(ns dbfs.NamespaceID, to *Journal) error {
	j.carrying.Lock()
	defer j.carrying.Unlock()
	through := make(map[dbfs.Origin]bool)
	for _, from := range j.waiting(ns) {
		if to == nil {
			through[from] = false
		} else if f := to.fateOf(from); f != coming {
			through[from] = f == arrived
		}
	}
	if len(through) > 0 {
		if err := j.step(func(l *looks) error { return j.carryOn(l, through) }); err != nil {
			return err
		}
		fault.Here(fault.CarriedOn)
	}
	if to == nil {
		return nil
	}
	return to.forgetArrived(j)
}

// waiting returns whose deletions wait for a namespace.
func (j *Journal) waiting(ns dbfs.NamespaceID) []dbfs.Origin {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.pending.waits == 0 {
		return nil
	}
	var all []dbfs.Origin
	for e := range j.pending.all() {
		if e.op.Await == ns && ns != 0 {
			all = append(all, e.op.From)
		}
	}
	return all
}

// WaitsFor returns the namespaces for which deletions wait.
func (j *Journal) WaitsFor() []dbfs.NamespaceID {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var all []dbfs.NamespaceID
	if j.pending.waits == 0 {
		return nil
	}
	for e := range j.pending.all() {
		if e.op.Await != 0 && !slices.Contains(all, e.op.Await) {
			all = append(all, e.op.Await)
		}
	}
	return all
}

// carryOn is called with mu held.
func (j *Journal) carryOn(l *looks, through map[dbfs.Origin]bool) error {
	var edits []*edit
	for e := range j.pending.all() {
		if _, ok := through[e.op.From]; ok && e.op.Await != 0 {
			edits = append(edits, e)
		}
	}
	for _, e := range edits {
		err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
			ed := &editor{snapshot: j.snapshot(txn), looks: l, j: j}
			var err error
			if through[e.op.From] {
				err = ed.letGo(e)
			} else {
				err = ed.cancel(e.op.Node, []*edit{e})
			}
			return errors.Join(err, ed.err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// letGo makes of a deletion that waits one that does not. What was written before it need not
// travel: it has, elsewhere.
func (ed *editor) letGo(e *edit) error {
	id := e.op.Node
	edits := ed.j.pending.byNode[id]
	if ed.neverSent(id) {
		return errors.Join(ed.unwanted(edits), ed.cancel(id, edits))
	}
	end := slices.Index(edits, e)
	keep := end
	for keep > 0 && !edits[keep-1].fixed() && edits[keep-1].op.Node == id &&
		(edits[keep-1].op.Type == dbfs.OpWrite || edits[keep-1].op.Type == dbfs.OpSetAttr) {
		keep--
	}
	was := e.op
	if keep < end {
		e.op.Base = edits[keep].op.Base
		if err := errors.Join(ed.unwanted(edits[keep:end]), ed.cancel(id, edits[keep:end])); err != nil {
			return err
		}
	}
	e.op.From, e.op.Await = dbfs.Origin{}, 0
	ed.j.pending.carry(&was, -1)
	return ed.j.log.put(ed.txn, e)
}

// arrive notes that what was moved here from there is at the server, or not wanted any more.
func (j *Journal) arrive(txn dbfs.Txn, from dbfs.Origin) error {
	j.arrived[from] = true
	return txn.Set(j.log.arrivedKey(from), nil)
}

// notArrived forgets a note of something that was moved here before and is there still, or again, as
// after a crash between the two journals: the note would say of what comes now that it has arrived.
func (j *Journal) notArrived(txn dbfs.Txn, from dbfs.Origin) error {
	if !j.arrived[from] {
		return nil
	}
	delete(j.arrived, from)
	return txn.Delete(j.log.arrivedKey(from))
}

// forgetArrived forgets what has arrived from a namespace whose journal does not wait for it.
func (j *Journal) forgetArrived(from *Journal) error {
	ns := from.cfg.NS
	waits := make(map[dbfs.Origin]bool)
	for _, at := range from.waiting(j.cfg.NS) {
		waits[at] = true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var done []dbfs.Origin
	for at := range j.arrived {
		if at.NS == ns && !waits[at] {
			done = append(done, at)
		}
	}
	if len(done) == 0 || j.broken != nil {
		return j.broken
	}
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		for _, at := range done {
			if err := txn.Delete(j.log.arrivedKey(at)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget what has arrived: %w", err)
	}
	for _, at := range done {
		delete(j.arrived, at)
	}
	return nil
}

func (l *log) arrivedKey(from dbfs.Origin) []byte {
	return append(binary.BigEndian.AppendUint64(l.key('m'), uint64(from.NS)), from.Node[:]...)
}

// arrived reads what has been noted as arrived.
func (l *log) arrived(txn dbfs.Txn) (map[dbfs.Origin]bool, error) {
	all := make(map[dbfs.Origin]bool)
	prefix := l.key('m')
	var bad error
	err := txn.Scan(prefix, nil, func(k, _ []byte) bool {
		if k = k[len(prefix):]; len(k) != 8+len(dbfs.NodeID{}) {
			bad = fmt.Errorf("%w: an arrival under a key of %d bytes", dbfs.ErrCorrupt, len(k))
			return false
		}
		all[dbfs.Origin{NS: dbfs.NamespaceID(binary.BigEndian.Uint64(k)), Node: dbfs.NodeID(k[8:])}] = true
		return true
	})
	return all, errors.Join(bad, err)
}

// Origins returns the namespaces in which the server may have a chunk that came from there with a
// file, and is not here yet.
func (j *Journal) Origins(id dbfs.ChunkID) []dbfs.NamespaceID {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var all []dbfs.NamespaceID
	if len(j.pending.coming) == 0 || j.needed[id] == 0 {
		return nil
	}
	add := func(ns dbfs.NamespaceID) {
		if ns != 0 && ns != j.cfg.NS && !slices.Contains(all, ns) {
			all = append(all, ns)
		}
	}
	for e := range j.pending.all() {
		if e.op.Await == 0 && e.op.Content != nil && e.op.Content.Chunks.Index(id) >= 0 {
			if e.op.Src != nil {
				add(e.op.Src.NS)
			}
			add(e.op.From.NS)
		}
	}
	return all
}

// GiveUp drops a copy whose bytes are nowhere any more: others have deleted what it is of, too long
// ago, before the server heard of it. What was copied is back where it was, as far as it is there.
func (j *Journal) GiveUp(op dbfs.Op) error {
	if op.Src == nil {
		return fmt.Errorf("%w: give up a %s with bytes of its own", dbfs.ErrInvalid, op.Type)
	}
	j.cfg.Log.Warn("a file that was moved here cannot be had any more, and is given up", "namespace", j.cfg.NS, "node", op.Node, "name", op.Name)
	return j.Abandon([]dbfs.Op{op})
}

// StaysBehind reports whether the server has a node still as it was when it was moved elsewhere, so
// that nothing but its deletion has to be dropped for it to be back.
func (j *Journal) StaysBehind(id dbfs.NodeID, moved *dbfs.Node) bool {
	same := false
	err := j.read(func(s *snapshot) error {
		t, ok := s.treeNode(id)
		same = ok && !t.Deleted && t.Kind == moved.Kind && t.Target == moved.Target && t.Content.Equal(moved.Content)
		return nil
	})
	return err == nil && same
}
