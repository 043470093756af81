package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"github.com/dbfs/dbfs"
)

// Advance applies the next entries of the log, whole batches, and moves the cursor to next:
// the tree takes the nodes, edits that the entries show leave the journal, the others are
// reconciled, all in one transaction. Entries that were applied before do nothing.
func (j *Journal) Advance(entries []dbfs.Entry, next dbfs.Cursor) error {
	if err := checkEntries(entries); err != nil {
		return err
	}
	return j.advancing(len(entries), func(a *advance) error {
		if next.Epoch != j.cursor.Epoch {
			return fmt.Errorf("%w: epoch %d, have %d", dbfs.ErrReset, next.Epoch, j.cursor.Epoch)
		}
		foreign := false
		for i := range entries {
			own, err := a.entry(&entries[i])
			if err != nil {
				return err
			}
			foreign = foreign || !own && j.touchedBy(&entries[i])
		}
		if err := a.settle(); err != nil {
			return err
		}
		if err := j.cfg.Tree.SetCursor(a.txn, next); err != nil {
			return err
		}
		a.cursor = next
		// A batch that was taken but has not been seen whole is not reconciled: the server has
		// decided it already.
		if foreign && j.inflight == nil {
			return a.reconcile()
		}
		a.refresh()
		return a.err
	})
}

func checkEntries(entries []dbfs.Entry) error {
	for i := range entries {
		if err := entries[i].Node.Check(); err != nil {
			return fmt.Errorf("log entry %d: %w", entries[i].JID, errors.Join(err, dbfs.ErrCorrupt))
		}
	}
	return nil
}

// Reconcile makes the pending edits fit the tree as it is: after a refusal that brought no
// new entries with it.
func (j *Journal) Reconcile() error {
	return j.advancing(0, func(a *advance) error { return a.reconcile() })
}

// advance is one step of the tree and what it does to journal and view.
type advance struct {
	*snapshot
	j       *Journal
	takeIno func() uint64
	cursor  dbfs.Cursor
	before  map[dbfs.NodeID]dbfs.Node // the view's nodes before the step, as far as it touches them
	seen    map[*edit]bool            // edits that the log has shown
	touched []dbfs.NodeID
	changes []Change
}

// advancing runs one step in a transaction. If it fails, everything is read anew from the
// database, where nothing has happened.
func (j *Journal) advancing(entries int, fn func(*advance) error) error {
	j.mu.Lock()
	take, err := j.cfg.Inodes(entries + len(j.pending.list))
	if err != nil {
		j.mu.Unlock()
		return err
	}
	var a *advance
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
		a = &advance{snapshot: j.snapshot(txn), j: j, takeIno: take, cursor: j.cursor, before: make(map[dbfs.NodeID]dbfs.Node), seen: make(map[*edit]bool)}
		if err := fn(a); err != nil {
			return err
		}
		a.changes = append(a.changes, a.differences(a.before, true)...)
		return a.err
	})
	if err != nil {
		j.mustReload()
		j.mu.Unlock()
		return fmt.Errorf("advance namespace %s: %w", j.cfg.NS, err)
	}
	j.cursor = a.cursor
	j.hasMoved()
	j.mu.Unlock()
	if len(a.changes) > 0 {
		j.cfg.Observe(a.changes)
	}
	return nil
}

// remember keeps how a node looked before the step.
func (a *advance) remember(id dbfs.NodeID) {
	if _, done := a.before[id]; !done {
		n, ok := a.node(id)
		n.Deleted = n.Deleted || !ok
		a.before[id] = n
	}
}

// entry puts one entry into the tree and reports whether it is an edit of ours.
func (a *advance) entry(e *dbfs.Entry) (own bool, err error) {
	n := e.Node
	a.remember(n.ID)
	a.touched = append(a.touched, n.ID)
	if n.IsRoot() {
		n.Ino = a.rootIno
	}
	for _, ed := range a.j.pending.byNode[n.ID] {
		if ed.op.ID != e.Op {
			continue
		}
		own = true
		a.seen[ed] = true
		if ed.op.Type == dbfs.OpCreate {
			n.Ino = ed.op.Ino
		}
	}
	if own {
		n.CTime = a.before[n.ID].CTime // the edit happened here, and that time has been shown
		if err := a.resolveSelf(n.ID, e); err != nil {
			return own, err
		}
	}
	return own, a.tree.Put(a.txn, n, a.takeIno)
}

// resolveSelf gives the bases that stood for "what my earlier edit will make it" the
// revision that the edit became.
func (a *advance) resolveSelf(id dbfs.NodeID, e *dbfs.Entry) error {
	now := e.Node.Revs
	for _, ed := range a.j.pending.byNode[id] {
		if a.seen[ed] {
			continue
		}
		base := &ed.op.Base
		if ed.op.Node != id {
			base = &ed.op.Replace.Base
		}
		changed := fill(&base.Content, now.Content, e.JID)
		changed = fill(&base.Place, now.Place, e.JID) || changed
		changed = fill(&base.Attr, now.Attr, e.JID) || changed
		if changed {
			if err := a.j.log.put(a.txn, ed); err != nil {
				return err
			}
		}
		now = hidden(now, &ed.op, id) // edits after this one build on it, not on the entry
	}
	return nil
}

// fill replaces a SelfRev by rev if rev is what the entry jid made.
func fill(base *dbfs.JID, rev, jid dbfs.JID) bool {
	if *base != dbfs.SelfRev || rev != jid {
		return false
	}
	*base = rev
	return true
}

// hidden returns revs without the parts that op changes of the node.
func hidden(revs dbfs.Revs, op *dbfs.Op, id dbfs.NodeID) dbfs.Revs {
	after := dbfs.Node{ID: id, Revs: revs}
	applyTo(&after, op)
	if after.Revs.Content == dbfs.SelfRev {
		revs.Content = 0
	}
	if after.Revs.Place == dbfs.SelfRev {
		revs.Place = 0
	}
	if after.Revs.Attr == dbfs.SelfRev {
		revs.Attr = 0
	}
	return revs
}

// settle takes the edits that the log has shown out of the journal.
func (a *advance) settle() error {
	if len(a.seen) == 0 {
		return nil
	}
	j := a.j
	for e := range a.seen {
		a.touched = append(a.touched, about(&e.op)...)
		for _, id := range about(&e.op) {
			a.remember(id)
		}
		j.release(e.op.Content)
		if err := j.log.remove(a.txn, e); err != nil {
			return err
		}
	}
	j.pending.remove(a.seen)
	if j.inflight == nil {
		return nil
	}
	for _, e := range j.inflight.edits {
		if _, left := j.pending.find(e.key); left {
			return nil
		}
	}
	j.inflight = nil
	return j.log.setInflight(a.txn, nil)
}

// refresh makes the view fit for the nodes that the step touched.
func (a *advance) refresh() {
	for _, id := range a.touched {
		a.snapshot.refresh(id, a.j.pending.byNode[id])
	}
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

// touchedBy reports whether an entry of another device can matter to a pending edit. Moves
// and deletions of directories always do: anything may be below.
func (j *Journal) touchedBy(e *dbfs.Entry) bool {
	if len(j.pending.list) == 0 {
		return false
	}
	n := &e.Node
	if n.Kind.IsDir() && e.Type != dbfs.OpSetAttr {
		return true
	}
	if _, ok := j.view.names[n.Parent][n.Name]; ok {
		return true
	}
	return len(j.pending.byNode[n.ID]) > 0 || len(j.pending.byNode[n.Parent]) > 0
}

// reconcile resolves every pending edit in order over the tree, makes the view anew and
// writes down what has changed.
func (a *advance) reconcile() error {
	j := a.j
	old := j.pending
	for id := range j.view.nodes {
		a.remember(id)
	}
	j.view, j.pending = newView(), newPending()
	a.view = j.view
	r := rebase{advance: a, env: j.env(old), follow: make(map[dbfs.NodeID]follow), lost: make(map[dbfs.NodeID]dbfs.Revs)}
	for _, e := range old.list {
		if err := r.edit(e); err != nil {
			return err
		}
	}
	for id := range j.view.nodes {
		if _, done := a.before[id]; !done {
			n, ok := a.treeNode(id)
			n.Deleted = n.Deleted || !ok
			a.before[id] = n
		}
	}
	return errors.Join(a.err, j.log.setState(a.txn, logState{j.nextN, j.seq, j.rootIno}))
}

// env is what resolve needs of this journal.
func (j *Journal) env(all *pending) env {
	return env{
		device:    j.cfg.Name,
		newNode:   func() dbfs.NodeID { return dbfs.NewNodeID(j.cfg.Clock()) },
		mentioned: func(id dbfs.NodeID) bool { return len(all.byNode[id]) > 0 },
	}
}

// rebase carries what one resolved edit means for those after it.
type rebase struct {
	*advance
	env    env
	follow map[dbfs.NodeID]follow
	lost   map[dbfs.NodeID]dbfs.Revs
	last   uint64 // key of the edit before
}

func (r *rebase) edit(e *edit) error {
	op := e.op
	r.redirect(&op)
	r.rebaseOn(&op.Base, op.Node)
	if op.Replace != nil {
		v := *op.Replace
		r.rebaseOn(&v.Base, v.Node)
		op.Replace = &v
	}
	out := resolve(op, r.snapshot, r.env)
	if f := out.follow; f != nil {
		r.follow[f.from] = *f
		if err := r.followed(*f, op); err != nil {
			return err
		}
	}
	if out.lost != (dbfs.Revs{}) {
		r.lost[op.Node] = merge(r.lost[op.Node], out.lost)
	}
	if err := r.replace(e, out.ops); err != nil {
		return err
	}
	return r.j.notify(r.txn, out.notice)
}

// redirect sends an edit to where an earlier one of the same node went.
func (r *rebase) redirect(op *dbfs.Op) {
	if f, ok := r.follow[op.Node]; ok {
		op.Node = f.to
	}
	if f, ok := r.follow[op.Parent]; ok && f.adopted {
		op.Parent = f.to
	}
	if op.Replace != nil {
		if f, ok := r.follow[op.Replace.Node]; ok && f.adopted {
			v := *op.Replace
			v.Node = f.to
			op.Replace = &v
		}
	}
}

// rebaseOn gives bases that point at an edit which is no longer there something to stand on:
// the base of the edit that was beaten, so that this one is too, or else the node as it is.
func (r *rebase) rebaseOn(base *dbfs.Revs, id dbfs.NodeID) {
	n, _ := r.node(id)
	lost := r.lost[id]
	on := func(base *dbfs.JID, now, lost dbfs.JID) {
		if *base == dbfs.SelfRev && now != dbfs.SelfRev {
			if *base = now; lost != 0 {
				*base = lost
			}
		}
	}
	on(&base.Content, n.Revs.Content, lost.Content)
	on(&base.Place, n.Revs.Place, lost.Place)
	on(&base.Attr, n.Revs.Attr, lost.Attr)
}

func merge(a, b dbfs.Revs) dbfs.Revs {
	pick := func(a, b dbfs.JID) dbfs.JID {
		if a != 0 {
			return a
		}
		return b
	}
	return dbfs.Revs{Content: pick(a.Content, b.Content), Place: pick(a.Place, b.Place), Attr: pick(a.Attr, b.Attr)}
}

// followed lets the kernel's inode, and open files, go where the edits go.
func (r *rebase) followed(f follow, op dbfs.Op) error {
	r.changes = append(r.changes, Change{Node: f.from, Remote: true, Follow: f.to})
	if !f.adopted {
		return nil
	}
	r.remember(f.from)
	r.remember(f.to)
	return r.tree.SetIno(r.txn, f.to, op.Ino)
}

// replace writes the edits that e became in its place.
func (r *rebase) replace(e *edit, ops []dbfs.Op) error {
	j := r.j
	j.release(e.op.Content)
	if len(ops) == 0 || r.last >= e.key {
		if err := j.log.remove(r.txn, e); err != nil {
			return err
		}
	}
	for i, op := range ops {
		key := e.key + uint64(i)
		if key <= r.last {
			key = r.last + 1
		}
		r.last = key
		if op.ID == (dbfs.OpID{}) {
			op.ID = dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
			j.nextN++
		}
		if op.Type == dbfs.OpCreate && op.Ino == 0 {
			if err := r.giveIno(&op); err != nil {
				return err
			}
		}
		made := &edit{key: key, op: op, left: e.left}
		j.pending.add(made)
		j.need(op.Content)
		if key == e.key && bytes.Equal(dbfs.AppendOp(nil, &op), dbfs.AppendOp(nil, &e.op)) {
			continue
		}
		if err := j.log.put(r.txn, made); err != nil {
			return err
		}
	}
	return nil
}

// giveIno gives a conflicted copy an inode number, in the view too, where it has none yet.
func (r *rebase) giveIno(op *dbfs.Op) error {
	op.Ino = r.takeIno()
	if n, ok := r.view.nodes[op.Node]; ok {
		n.Ino = op.Ino
		r.view.nodes[op.Node] = n
	}
	return r.tree.Bind(r.txn, op.Ino, op.Node)
}

// notify writes a notice to the log and, if somebody should look at it, to the database.
func (j *Journal) notify(txn dbfs.Txn, n *Notice) error {
	if n == nil {
		return nil
	}
	j.cfg.Log.Info("reconciled", "what", n.What, "name", n.Name, "became", n.Became, "node", n.Node, "other", n.Other)
	if !n.What.Lasting() {
		return nil
	}
	j.notices = append(j.notices, *n)
	return j.log.putNotice(txn, *n)
}

// Resolved takes the notice about a node off the list of conflicts.
func (j *Journal) Resolved(id dbfs.NodeID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := j.notices[:0:0]
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		kept = kept[:0]
		for _, n := range j.notices {
			if n.Node != id {
				kept = append(kept, n)
			} else if err := j.log.removeNotice(txn, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		j.notices = kept
	}
	return err
}

// looks returns how nodes look now, to be compared later.
func (s *snapshot) looks(ids []dbfs.NodeID) map[dbfs.NodeID]dbfs.Node {
	m := make(map[dbfs.NodeID]dbfs.Node, len(ids))
	for _, id := range ids {
		n, ok := s.node(id)
		n.Deleted = n.Deleted || !ok
		m[id] = n
	}
	return m
}

// differences compares nodes with how they looked before.
func (s *snapshot) differences(before map[dbfs.NodeID]dbfs.Node, remote bool) []Change {
	var changes []Change
	for id, b := range before {
		a, ok := s.node(id)
		c := Change{Node: id, Remote: remote}
		if !b.Deleted {
			c.Before = &b
		}
		if ok && !a.Deleted {
			c.After = &a
		}
		if (c.Before != nil || c.After != nil) && !looksSame(c.Before, c.After) {
			changes = append(changes, c)
		}
	}
	return changes
}

func looksSame(a, b *dbfs.Node) bool {
	return a != nil && b != nil && a.Parent == b.Parent && a.Name == b.Name && a.Kind == b.Kind && a.Ino == b.Ino &&
		a.Target == b.Target && a.Mount == b.Mount && a.Content.Equal(b.Content) && sameAttr(a.Attr, b.Attr)
}

func sameAttr(a, b dbfs.Attr) bool {
	return a.Mode == b.Mode && a.MTime == b.MTime && a.UID == b.UID && a.GID == b.GID && maps.EqualFunc(a.Xattrs, b.Xattrs, bytes.Equal)
}

// mustReload reads everything anew from the database after a transaction failed half way.
// Called with mu held.
func (j *Journal) mustReload() {
	open, unpin := j.open, j.unpin
	j.view, j.pending, j.inflight, j.notices = newView(), newPending(), nil, nil
	j.needed = make(map[dbfs.ChunkID]int)
	if err := j.load(); err != nil {
		// The disk does not answer. What is recorded is safe there; nothing more is accepted.
		j.cfg.Log.Error("the journal cannot be read back", "namespace", j.cfg.NS, "err", err)
	}
	j.open, j.unpin = open, unpin
}
