package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// Advance applies the next entries of the log, whole batches, and moves the cursor to next:
// the tree takes the nodes, edits that the entries show leave the journal, and those that
// the entries may have overtaken are reconciled. Entries that were applied before do nothing.
// What the guard holds is not applied, which is no error: Reading tells.
func (j *Journal) Advance(entries []dbfs.Entry, next dbfs.Cursor) error {
	if err := checkEntries(entries); err != nil {
		return err
	}
	if err := j.measureLog(entries); err != nil {
		return err
	}
	return j.step(func(l *looks) error {
		if next.Epoch != j.cursor.Epoch {
			return fmt.Errorf("%w: epoch %d, have %d", dbfs.ErrReset, next.Epoch, j.cursor.Epoch)
		}
		entries, next, err := j.admit(entries, next)
		if err != nil {
			return err
		}
		for len(entries) > 0 {
			page, rest := cutPage(entries, j.txnBytes())
			if err := j.advance(page, dbfs.Cursor{Epoch: next.Epoch, JID: page[len(page)-1].JID}, l); err != nil {
				return err
			}
			fault.Here(fault.BetweenPages)
			entries = rest
		}
		if err := j.advance(nil, next, l); err != nil {
			return err
		}
		return j.reconcileIfDue(l)
	})
}

func checkEntries(entries []dbfs.Entry) error {
	for i := range entries {
		if err := entries[i].Node.Check(); err != nil {
			return fmt.Errorf("log entry %d: %w", entries[i].JID, errors.Join(err, dbfs.ErrCorrupt))
		}
		if i > 0 && (entries[i].JID < entries[i-1].JID || entries[i].JID == entries[i-1].JID && entries[i-1].End) {
			return fmt.Errorf("log entry %d after %d: %w", entries[i].JID, entries[i-1].JID, dbfs.ErrCorrupt)
		}
	}
	return nil
}

// cutPage cuts off whole batches that one transaction holds, or else one batch.
func cutPage(entries []dbfs.Entry, most int) (page, rest []dbfs.Entry) {
	end, sum := 0, 0
	for i := range entries {
		if sum += entryBytes(&entries[i]); sum > most && end > 0 {
			break
		}
		if entries[i].End || i == len(entries)-1 {
			end = i + 1
		}
	}
	return entries[:end], entries[end:]
}

// entryBytes is about how many bytes of the database an entry takes.
func entryBytes(e *dbfs.Entry) int { return nodeBytes(&e.Node) + len(e.Below)*buriedBytes }

// buriedBytes is about how many bytes of the database a node takes that goes with a tree.
const buriedBytes = 700

// nodeBytes is about how many bytes of the database a node takes.
func nodeBytes(n *dbfs.Node) int {
	b := 500 + 2*len(n.Name) + len(n.Target) + n.Content.Chunks.Bytes() + len(dbfs.NodeID{})*len(n.Links)
	for k, v := range n.Attr.Xattrs {
		b += len(k) + len(v)
	}
	return b
}

// step runs one change of the server's doing with the view locked, in as many transactions as
// it takes, and tells the observers what came of it. If it fails half way, everything is read
// anew from the database; what had been done by then is told all the same.
func (j *Journal) step(fn func(*looks) error) error {
	j.mu.Lock()
	if j.broken != nil {
		j.mu.Unlock()
		return j.broken
	}
	j.known.forget()
	l := newLooks()
	err := fn(l)
	if err != nil {
		err = fmt.Errorf("advance namespace %s: %w", j.cfg.NS, err)
		j.reload()
		l.follows = nil
	}
	changes := j.changes(l)
	j.hasMoved()
	j.observing.Lock()
	defer j.observing.Unlock()
	j.mu.Unlock()
	if len(changes) > 0 {
		j.cfg.Observe(changes)
	}
	return err
}

func (j *Journal) changes(l *looks) []Change {
	if j.broken != nil || len(l.order) == 0 && len(l.follows) == 0 {
		return nil
	}
	var changes []Change
	err := j.cfg.KV.View(func(txn dbfs.Txn) error {
		s := j.snapshot(txn)
		changes = l.changes(s, true)
		return s.err
	})
	if err != nil {
		j.cfg.Log.Error("changes are not shown before the files are looked up again", "namespace", j.cfg.NS, "err", err)
	}
	return changes
}

// advance applies entries of whole batches in one transaction. Called with mu held.
func (j *Journal) advance(entries []dbfs.Entry, next dbfs.Cursor, l *looks) error {
	if next.JID <= j.cursor.JID && len(entries) == 0 {
		return nil
	}
	take, err := j.cfg.Inodes(len(entries))
	if err != nil {
		return err
	}
	next.JID = max(next.JID, j.cursor.JID)
	a := advance{looks: l, j: j, takeIno: take, st: j.st}
	undo, err := j.undoing(entries)
	if err != nil {
		return err
	}
	if err := a.preload(entries); err != nil {
		return err
	}
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
		a.snapshot = j.snapshot(txn)
		if err := a.entries(entries); err != nil {
			return err
		}
		if err := a.settle(); err != nil {
			return err
		}
		a.refresh()
		if err := a.undo(undo); err != nil {
			return err
		}
		if a.foreign {
			a.st.owe(next.JID)
		}
		if a.st != j.st {
			if err := j.log.setState(txn, a.st); err != nil {
				return err
			}
		}
		if err := j.cfg.Tree.SetCursor(txn, next); err != nil {
			return err
		}
		return a.err
	})
	if err != nil {
		return err
	}
	if len(a.seen) > 0 {
		fault.Here(fault.SettledPinned)
	}
	j.cursor, j.st = next, a.st
	return nil
}

// preload puts the nodes of a batch that is too large for one transaction into the tree ahead
// of the cursor. If the rest fails, the log is read again from there.
func (a *advance) preload(entries []dbfs.Entry) error {
	var ws writes
	for i := range entries {
		ws.add(nodeBytes(&entries[i].Node), func(txn dbfs.Txn) error {
			a.snapshot = a.j.snapshot(txn)
			_, err := a.put(&entries[i])
			return err
		})
		for _, id := range entries[i].Below {
			ws.add(buriedBytes, func(txn dbfs.Txn) error {
				a.snapshot = a.j.snapshot(txn)
				return a.bury(&entries[i], id)
			})
		}
	}
	if ws.weight() <= a.j.txnBytes() {
		return nil
	}
	err := ws.run(a.j.cfg.KV, a.j.txnBytes())
	fault.Here(fault.BatchPreloaded)
	a.seen = nil // the journal's part is still to come
	return err
}

// advance is one step of the tree and what it does to journal and view.
type advance struct {
	*snapshot
	*looks
	j       *Journal
	takeIno func() uint64
	st      logState
	seen    []*edit // edits that the log has shown
	foreign bool    // other devices' entries matter to pending edits
	touched []dbfs.NodeID
	left    []place // names that nodes of the tree had before
}

func (a *advance) entries(entries []dbfs.Entry) error {
	for i := range entries {
		e := &entries[i]
		if err := a.entry(e); err != nil {
			return err
		}
		for _, id := range e.Below {
			if err := a.bury(e, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *advance) entry(e *dbfs.Entry) error {
	a.touched = append(a.touched, e.Node.ID)
	own, err := a.put(e)
	if err == nil && own {
		return a.resolveSelf(e)
	}
	if err == nil {
		a.foreign = a.foreign || a.j.overtakes(e)
		a.j.shift(e)
	}
	return err
}

// parts returns an entry node by node: one that deleted a tree says what became of all that
// was in it, children before their directory. node finds what they were.
func parts(e *dbfs.Entry, node func(id dbfs.NodeID) (dbfs.Node, bool)) []dbfs.Entry {
	var all []dbfs.Entry
	for _, id := range e.Below {
		if n, ok := node(id); ok && n.Last < e.JID {
			one := *e
			one.Node, one.Below, one.End = e.Buried(n), nil, false
			all = append(all, one)
		}
	}
	return append(all, *e)
}

// bury applies what an entry that deleted a tree means for a node below.
func (a *advance) bury(e *dbfs.Entry, id dbfs.NodeID) error {
	n, ok := a.treeNode(id)
	if !ok || n.Last >= e.JID { // never heard of, or listed as it became later
		return nil
	}
	one := *e
	one.Node, one.Below = e.Buried(n), nil
	return a.entry(&one)
}

// put puts one entry into the tree and reports whether it is an edit of ours.
func (a *advance) put(e *dbfs.Entry) (own bool, err error) {
	n := e.Node
	a.remember(a.snapshot, n.ID)
	if t, ok := a.treeNode(n.ID); ok && !t.IsRoot() {
		a.left = append(a.left, place{t.Parent, t.Name})
	}
	n.Ino = 0
	if n.IsRoot() {
		n.Ino = a.rootIno
	}
	for _, ed := range a.j.pending.byNode[n.ID] {
		if ed.op.ID != e.Op {
			continue
		}
		own = true
		if !slices.Contains(a.seen, ed) { // a replacing move has two entries, and so has an exchange
			a.seen = append(a.seen, ed)
		}
		if ed.op.Type.Makes() && ed.op.Node == n.ID {
			n.Ino = ed.op.Ino
		}
	}
	if own {
		n.CTime = a.was[n.ID].CTime // the edit happened here, and that time has been shown
	}
	return own, a.tree.Put(a.txn, n, a.takeIno)
}

// resolveSelf gives the bases that stood for "what my earlier edit will make it" the
// revision that the edit became. Edits of the same batch are settled with it.
func (a *advance) resolveSelf(e *dbfs.Entry) error {
	id, now := e.Node.ID, e.Node.Revs
	for _, ed := range a.j.pending.byNode[id] {
		if slices.Contains(a.seen, ed) {
			continue
		}
		if !ed.sent && !fault.Bug(fault.SelfUnresolved) && fill(&ed.op, id, now, e.JID) {
			if err := a.j.log.put(a.txn, ed); err != nil {
				return err
			}
		}
		now = without(now, &ed.op, id) // edits after this one build on it, not on the entry
	}
	return nil
}

// fill replaces the bases that op has of a node and that say SelfRev by those revisions in
// now that the entry jid made. It reports whether there was one.
func fill(op *dbfs.Op, id dbfs.NodeID, now dbfs.Revs, jid dbfs.JID) bool {
	base := &op.Base
	if op.Node != id && (op.Replace == nil || op.Replace.Node != id) {
		return false // it is about a name of the node
	}
	if op.Node != id {
		v := *op.Replace
		op.Replace = &v
		base = &v.Base
	}
	old := *base
	for _, part := range []struct {
		base *dbfs.JID
		now  dbfs.JID
	}{{&base.Content, now.Content}, {&base.Place, now.Place}, {&base.Attr, now.Attr}} {
		if *part.base == dbfs.SelfRev && part.now == jid {
			*part.base = jid
		}
	}
	return *base != old
}

// without returns revs less the parts that op changes of the node.
func without(revs dbfs.Revs, op *dbfs.Op, id dbfs.NodeID) dbfs.Revs {
	after := dbfs.Node{ID: id, Revs: revs}
	applyTo(&after, op)
	for _, rev := range []*dbfs.JID{&after.Revs.Content, &after.Revs.Place, &after.Revs.Attr} {
		if *rev == dbfs.SelfRev {
			*rev = 0
		}
	}
	return after.Revs
}

// settle takes the edits that the log has shown out of the journal.
func (a *advance) settle() error {
	j := a.j
	for _, e := range a.seen {
		a.touched = append(a.touched, about(&e.op)...)
		a.remember(a.snapshot, about(&e.op)...)
		j.releaseEdit(e)
		if err := j.log.remove(a.txn, e); err != nil {
			return err
		}
		j.pending.remove(e)
		if arrives(&e.op) {
			if err := j.arrive(a.txn, e.op.From); err != nil {
				return err
			}
		}
	}
	if j.inflight == nil || len(a.seen) == 0 {
		return nil
	}
	for _, e := range j.inflight.edits {
		if !e.gone {
			return nil
		}
	}
	j.inflight = nil
	return j.log.setInflight(a.txn, nil)
}

// refresh makes the view fit for what the step touched.
func (a *advance) refresh() {
	for _, id := range a.touched {
		a.snapshot.refresh(id, a.j.pending.byNode[id])
	}
	for _, at := range a.left {
		if _, known := a.view.names[at.parent][at.name]; known {
			a.mendName(at)
		}
	}
}

// overtakes reports whether an entry of another device can matter to a pending edit: it is
// about the same node, takes a name that the view has an opinion on, puts something into a
// directory that an edit is about, deletes one that an edit puts something into, or shifts
// a directory while edits do.
func (j *Journal) overtakes(e *dbfs.Entry) bool {
	n := &e.Node
	p := j.pending
	if p.len() == 0 {
		return false
	}
	if j.view.opines(j.cfg.Names, place{n.Parent, n.Name}) {
		return true
	}
	shifted := n.Kind.IsDir() && (e.Type == dbfs.OpMove || e.Type == dbfs.OpRevive || e.Type == dbfs.OpExchange)
	return len(p.byNode[n.ID]) > 0 || len(p.byNode[n.Parent]) > 0 || n.Deleted && p.inside[n.ID] > 0 || shifted && p.shifts > 0
}
