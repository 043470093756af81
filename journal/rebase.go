package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// Reconcile makes the pending edits fit the tree as it is: after a refusal that brought no
// new entries with it.
func (j *Journal) Reconcile() error { return j.catchUp() }

// catchUp reconciles if that is owed.
func (j *Journal) catchUp() error {
	j.mu.RLock()
	owed := j.owesReconcile()
	j.mu.RUnlock()
	if !owed {
		return nil
	}
	return j.step(j.reconcileIfDue)
}

// owesReconcile reports whether the pending edits have to be reconciled now. While a batch
// may have been taken they cannot be: what it became is not known yet. While the log is read
// again over a newer listing they must not be: the tree is a mixture of times.
func (j *Journal) owesReconcile() bool {
	return j.broken == nil && j.st.owed && j.cursor.JID >= j.st.due && j.inflight == nil
}

// reconcileIfDue resolves every pending edit in order over the tree, makes the view anew and
// writes down what has changed. The edits count as soon as one last transaction says so; a
// crash before it repeats everything. Called with mu held.
func (j *Journal) reconcileIfDue(l *looks) error {
	if !j.owesReconcile() {
		return nil
	}
	r := &rebase{
		j: j, old: j.pending, looks: l, env: j.env(j.pending),
		follows: make(map[dbfs.NodeID]dbfs.NodeID), beaten: make(map[dbfs.NodeID]dbfs.Revs), unwanted: make(map[dbfs.NodeID]bool),
	}
	r.env.standIn = r.standIn
	if err := j.cfg.KV.View(r.resolve); err != nil {
		return err
	}
	if err := r.giveInos(); err != nil {
		return err
	}
	j.shifted = nil
	return r.write()
}

// env is what resolve needs of this journal.
func (j *Journal) env(all *pending) env {
	return env{
		device:    deviceFor(j.cfg.Names, j.cfg.Name),
		newNode:   j.cfg.NewID,
		mentioned: func(id dbfs.NodeID) bool { return len(all.byNode[id]) > 0 },
		goes: func(id dbfs.NodeID) bool {
			return slices.ContainsFunc(all.byNode[id], func(e *edit) bool { return takesAway(&e.op, id) })
		},
		seen:    j.cursor.JID,
		whole:   j.mayBeTree,
		standIn: func(id dbfs.NodeID) dbfs.NodeID { return id },
	}
}

// takesAway reports whether an edit takes a node away from where it is. What others have made equal to
// such a node is not adopted: it would go, too, and nobody here has seen it.
func takesAway(op *dbfs.Op, id dbfs.NodeID) bool {
	switch op.Type {
	case dbfs.OpDelete, dbfs.OpDeleteTree, dbfs.OpExchange:
		return true
	case dbfs.OpMove:
		return op.Node == id
	}
	return false
}

// rebase carries what one resolved edit means for those after it, and all that is to be
// written in the end.
type rebase struct {
	*snapshot // what the outcome is laid over
	*looks
	j        *Journal
	was      *snapshot // as it is shown
	old      *pending
	env      env
	follows  map[dbfs.NodeID]dbfs.NodeID
	beaten   map[dbfs.NodeID]dbfs.Revs
	unwanted map[dbfs.NodeID]bool // files that are dropped with all their edits
	last     uint64               // key of the edit before
	numbers  []number
	notices  []Notice
	arrived  []dbfs.Origin // what was moved here, and is at the server
}

// A number is the inode number that a node gets.
type number struct {
	id   dbfs.NodeID
	ino  uint64
	here bool // the tree has the node; else a pending edit makes it
}

func (r *rebase) resolve(txn dbfs.Txn) error {
	j := r.j
	r.was = j.snapshot(txn)
	for e := range r.old.all() {
		r.remember(r.was, about(&e.op)...)
	}
	r.discard()
	j.view, j.pending = newView(), newPending()
	r.snapshot = j.snapshot(txn)
	r.snapshot.dirs = make(map[dbfs.NodeID]dbfs.Node)
	for e := range r.old.all() {
		if err := r.edit(e); err != nil {
			return err
		}
	}
	return errors.Join(r.err, r.was.err)
}

// giveInos gives inode numbers to the nodes that the outcome makes, and shows them and those
// that are kept.
func (r *rebase) giveInos() error {
	var made []*edit
	for e := range r.j.pending.all() {
		if e.op.Type.Makes() && e.op.Ino == 0 {
			made = append(made, e)
		}
	}
	take, err := r.j.cfg.Inodes(len(made))
	if err != nil {
		return err
	}
	for _, e := range made {
		e.op.Ino = take()
		r.numbers = append(r.numbers, number{e.op.Node, e.op.Ino, false})
	}
	for _, no := range r.numbers {
		if n, ok := r.j.view.nodes[no.id]; ok {
			n.Ino = no.ino
			r.j.view.nodes[no.id] = n
		}
	}
	return nil
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
	if r.takeBack(e, &op) {
		return r.err
	}
	sight := r.j.see(&op, r.snapshot)
	out := resolve(op, r.snapshot, r.env)
	sight.tell(&out, r.snapshot)
	if err := r.sound(&out); err != nil {
		return err
	}
	if arrives(&op) && !carries(&out, op.From) {
		r.arrived = append(r.arrived, op.From)
	}
	for _, f := range out.follows {
		if fault.Bug(fault.NotFollowed) {
			break
		}
		r.follows[f.from] = f.to
		r.looks.follow(f)
		if op.Type.Makes() && op.Kind != dbfs.KindLink && f.from == op.Node { // adopted: the kernel goes on with the number it has
			r.keepIno(f.to, op.Ino)
		}
	}
	if op.Type.Makes() && op.Kind != dbfs.KindLink && len(out.edits) == 0 && len(out.follows) == 0 {
		r.keepIno(op.Node, op.Ino)
	}
	for _, b := range out.beaten {
		r.beaten[b.node] = merge(r.beaten[b.node], b.base)
	}
	for _, id := range out.placed {
		if b, ok := r.beaten[id]; ok {
			b.Place = 0
			r.beaten[id] = b
		}
	}
	for i := range out.edits {
		r.add(e, &out.edits[i], i)
	}
	for _, n := range out.notices {
		if !e.tried || n.What != NoticeDropped { // who knows whether the server did not take it
			r.notices = append(r.notices, n)
		}
	}
	return r.err
}

// keepIno gives a node of the tree the number that the kernel knows it by.
func (r *rebase) keepIno(id dbfs.NodeID, ino uint64) {
	r.remember(r.was, id)
	r.numbers = append(r.numbers, number{id, ino, true})
}

// standIn returns where what is meant for a node goes.
func (r *rebase) standIn(id dbfs.NodeID) dbfs.NodeID {
	for to, ok := r.follows[id]; ok; to, ok = r.follows[id] {
		id = to
	}
	return id
}

// redirect sends an edit to where what it is about has gone.
func (r *rebase) redirect(op *dbfs.Op) {
	if to := r.standIn(op.Node); to != op.Node {
		n, _ := r.node(to)
		op.Node, op.Base = to, n.Revs
	}
	op.Parent = r.standIn(op.Parent)
	if op.Link = r.standIn(op.Link); op.Link == op.Node {
		op.Link = dbfs.NodeID{} // the name has become what it was a name of
	}
	if op.Replace != nil {
		v := *op.Replace
		if to := r.standIn(v.Node); to != v.Node {
			n, _ := r.node(to)
			v.Node, v.Base = to, n.Revs
		}
		v.Parent = r.standIn(v.Parent)
		op.Replace = &v
	}
}

// rebaseOn makes bases comparable with the node as it is: where an earlier pending edit
// changed a part, this one builds on that. Where it was to build on an edit that is no longer
// there, it stands on what that one stood on, so that it is beaten too, or else on the node.
func (r *rebase) rebaseOn(base *dbfs.Revs, id dbfs.NodeID) {
	n, _ := r.node(id)
	beaten := r.beaten[id]
	on := func(base *dbfs.JID, now, beaten dbfs.JID) {
		switch {
		case now == dbfs.SelfRev:
			*base = now
		case *base != dbfs.SelfRev:
		case beaten != 0:
			*base = beaten
		default:
			*base = now
		}
	}
	on(&base.Content, n.Revs.Content, beaten.Content)
	on(&base.Place, n.Revs.Place, beaten.Place)
	on(&base.Attr, n.Revs.Attr, beaten.Attr)
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

// add appends the i-th edit that e became.
func (r *rebase) add(e, made *edit, i int) {
	made.key = max(e.key+uint64(i), r.last+1)
	r.last = made.key
	made.tried, made.since, made.judged, made.set = e.tried, e.since, e.judged, e.set
	if !r.j.isRejected(e) && mayHarm(&made.op) {
		made.hold = e.hold
	}
	if made.op.ID == (dbfs.OpID{}) {
		made.tried, made.since = false, e.oldest()
		made.op.ID = r.j.newOpID()
	}
	if made.op.Content != nil {
		made.stands = e.stands
	}
	r.remember(r.was, about(&made.op)...)
	r.j.pending.add(made)
	r.j.needEdit(made)
}

// newOpID gives an edit its number. Which ones are used is written down with the edits.
func (j *Journal) newOpID() dbfs.OpID {
	id := dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
	j.nextN++
	return id
}

// write makes the outcome durable.
func (r *rebase) write() error {
	j := r.j
	var ws writes
	for _, no := range r.numbers {
		ws.add(100, func(txn dbfs.Txn) error {
			if no.here {
				return j.cfg.Tree.SetIno(txn, no.id, no.ino)
			}
			return j.cfg.Tree.Bind(txn, no.ino, no.id)
		})
	}
	for i := range r.notices {
		ws.add(600, func(txn dbfs.Txn) error { return j.notify(txn, &r.notices[i]) })
	}
	for _, at := range r.arrived {
		ws.add(100, func(txn dbfs.Txn) error { return j.arrive(txn, at) })
	}
	fault.Here(fault.RebaseBegins)
	noMoreDue := func(txn dbfs.Txn, st *logState) error {
		st.owed, st.due = false, 0
		return j.endRejected(txn)
	}
	if err := j.rewrite(r.old, ws, noMoreDue); err != nil {
		return err
	}
	j.dropHolds(j.rejected())
	for e := range r.old.all() {
		j.releaseEdit(e)
	}
	return nil
}

// rewrite puts the edits that are pending in the place of old ones: in one transaction if
// that holds it all, together with what comes before; else under the next generation. finish
// is part of the transaction that makes them count. Called with mu held.
func (j *Journal) rewrite(old *pending, before writes, finish func(txn dbfs.Txn, st *logState) error) error {
	st := j.st
	st.ops = max(st.ops, j.nextN)
	changed := j.rewritten(old, st.gen)
	all := append(before, changed...)
	if all.weight() > j.txnBytes() {
		if err := before.run(j.cfg.KV, j.txnBytes()); err != nil {
			return err
		}
		if changed.weight() > j.txnBytes() {
			if err := j.clearEdits(); err != nil { // of one that failed half way
				return err
			}
			st.gen++
			if err := j.rewritten(newPending(), st.gen).run(j.cfg.KV, j.txnBytes()); err != nil {
				return err
			}
			fault.Here(fault.RebaseWritten)
			changed = nil
		}
		all = changed
	}
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := all.do(txn); err != nil {
			return err
		}
		if err := finish(txn, &st); err != nil {
			return err
		}
		return j.log.setState(txn, st)
	})
	if err != nil {
		return err
	}
	fault.Here(fault.RebaseCounts)
	j.st, j.log.gen = st, st.gen
	return j.clearEdits()
}

// rewritten returns what has to be written so that a generation that holds the old edits
// holds the present ones.
func (j *Journal) rewritten(old *pending, gen uint32) writes {
	var ws writes
	for e := range old.all() {
		if _, stays := j.pending.find(e.key); !stays {
			ws.add(50, func(txn dbfs.Txn) error { return txn.Delete(j.log.editKey(gen, e.key)) })
		}
	}
	for e := range j.pending.all() {
		if was, ok := old.find(e.key); ok && sameEdit(was, e) {
			continue
		}
		ws.add(200+opBytes(&e.op), func(txn dbfs.Txn) error { return j.log.putIn(txn, gen, e) })
	}
	return ws
}

func sameEdit(a, b *edit) bool { return bytes.Equal(encodeEdit(a), encodeEdit(b)) }

func opBytes(op *dbfs.Op) int {
	n := len(op.Name) + len(op.Target)
	if op.Content != nil {
		n += op.Content.Chunks.Bytes()
	}
	for k, v := range op.Attr.Xattrs {
		n += len(k) + len(v)
	}
	return n
}

// notify writes a notice to the log and, if somebody should look at it, to the database.
func (j *Journal) notify(txn dbfs.Txn, n *Notice) error {
	j.cfg.Log.Info("reconciled", "what", n.What, "name", n.Name, "became", n.Became, "node", n.Node, "other", n.Other)
	if !n.What.Lasting() {
		return nil
	}
	j.notices = append(j.notices, *n)
	return j.log.putNotice(txn, n)
}

// Resolved takes the notice about a node off the list of conflicts.
func (j *Journal) Resolved(id dbfs.NodeID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var kept []Notice
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		var errs []error
		for i := range j.notices {
			if n := &j.notices[i]; n.Node != id {
				kept = append(kept, *n)
			} else {
				errs = append(errs, j.log.removeNotice(txn, n))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("resolve the conflict of %s: %w", id, err)
	}
	j.notices = kept
	return nil
}
