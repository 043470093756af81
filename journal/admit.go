package journal

import (
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
)

// incoming returns the hold of the log, undecided or not through yet, or nil.
func (j *Journal) incoming() *Hold {
	var decided *Hold
	for _, h := range j.holds {
		switch {
		case !h.Incoming:
		case h.Decision == Undecided:
			return h
		case decided == nil && !j.passed(h):
			decided = h
		}
	}
	return decided
}

// HoldsBack reports whether the log is held: then neither is it applied, nor the tree listed
// anew, nor anything sent.
func (j *Journal) HoldsBack() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.holdsBack()
}

func (j *Journal) holdsBack() bool {
	h := j.incoming()
	return h != nil && h.Decision == Undecided
}

// Reading returns from where the log is to be read on: the cursor or, where that is held, the
// end of what has been looked at.
func (j *Journal) Reading() dbfs.Cursor {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if h := j.incoming(); h != nil && h.Decision == Undecided {
		return h.Upto
	}
	return j.cursor
}

// measureLog counts the nodes of the namespace, if the entries may have to be judged by that.
func (j *Journal) measureLog(entries []dbfs.Entry) error {
	if j.in == nil {
		return nil
	}
	n := 0
	for i := range entries {
		if mayHarmEntry(&entries[i]) {
			n += 1 + len(entries[i].Below)
		}
	}
	return j.measure(j.in, n)
}

// admit returns how much of the next entries may be applied, in whole batches. The rest is
// held. Called with mu held, within a step.
func (j *Journal) admit(entries []dbfs.Entry, next dbfs.Cursor) ([]dbfs.Entry, dbfs.Cursor, error) {
	h := j.incoming()
	switch {
	case h != nil && h.Decision == Undecided:
		return nil, j.cursor, j.lookOn(h, entries, next)
	case j.in == nil:
		return entries, next, nil
	}
	a := newAdmission(j, entries)
	rest := entries
	if h != nil { // decided: these pass
		i := slices.IndexFunc(entries, func(e dbfs.Entry) bool { return e.JID > h.Upto.JID })
		if i < 0 {
			return entries, next, nil
		}
		rest = entries[i:]
	}
	held, err := a.judge(rest)
	if err != nil || held == nil {
		return entries, next, err
	}
	pass := entries[:len(entries)-len(held)]
	h = &Hold{ID: j.nextHold(), Incoming: true, Decision: Undecided, Since: j.cfg.Clock(), Of: j.in.size, Upto: j.cursor}
	if len(pass) > 0 {
		h.Upto = dbfs.Cursor{Epoch: next.Epoch, JID: pass[len(pass)-1].JID}
	}
	to := h.Upto
	j.in.clear()
	j.holds = append(j.holds, h)
	return pass, to, j.lookOn(h, held, next)
}

// admission judges entries that are not applied yet.
type admission struct {
	j     *Journal
	later map[dbfs.NodeID]dbfs.Node // as entries before make them
	made  map[place]dbfs.Content    // of the files that the entries put there
}

func newAdmission(j *Journal, entries []dbfs.Entry) *admission {
	a := &admission{j: j, later: make(map[dbfs.NodeID]dbfs.Node), made: make(map[place]dbfs.Content)}
	for i := range entries {
		if n := &entries[i].Node; n.Kind == dbfs.KindFile && !n.Deleted {
			a.made[place{n.Parent, n.Name}] = n.Content
		}
	}
	return a
}

// judge returns the entries from the batch on that is too much, or nil.
func (a *admission) judge(entries []dbfs.Entry) (held []dbfs.Entry, err error) {
	begin := 0
	err = a.j.cfg.KV.View(func(txn dbfs.Txn) error {
		s := a.treeOf(txn)
		for i := range entries {
			e := &entries[i]
			for _, one := range a.parts(e, s) {
				if m, harms := a.harm(&one, s); harms && a.j.in.step(m) {
					held = entries[begin:]
					return s.err
				}
			}
			if e.End {
				begin = i + 1
			}
		}
		return s.err
	})
	return held, err
}

func (a *admission) treeOf(txn dbfs.Txn) *snapshot {
	return &snapshot{txn: txn, tree: a.j.cfg.Tree, view: newView(), rootIno: a.j.st.rootIno, rule: a.j.cfg.Names}
}

// parts returns an entry node by node.
func (a *admission) parts(e *dbfs.Entry, s *snapshot) []dbfs.Entry {
	return parts(e, func(id dbfs.NodeID) (dbfs.Node, bool) {
		if n, ok := a.later[id]; ok {
			return n, true
		}
		return s.node(id)
	})
}

// harm returns what another device's entry destroys.
func (a *admission) harm(e *dbfs.Entry, s *snapshot) (harm, bool) {
	was, ok := a.later[e.Node.ID]
	if !ok {
		was, ok = s.node(e.Node.ID)
	}
	a.later[e.Node.ID] = e.Node
	if !ok || e.JID <= a.j.cursor.JID || e.Op.Device == a.j.cfg.Device {
		return harm{}, false
	}
	m, harms := harmOfEntry(e, &was)
	if now, again := a.made[m.at]; harms && again && was.Kind == dbfs.KindFile && now.Equal(was.Content) {
		return m, false // a file with the same bytes has the name
	}
	return m, harms
}

// lookOn adds the next entries to a hold. They are not applied.
func (j *Journal) lookOn(h *Hold, entries []dbfs.Entry, next dbfs.Cursor) error {
	if next.Epoch != h.Upto.Epoch {
		return fmt.Errorf("%w: epoch %d, have %d", dbfs.ErrReset, next.Epoch, h.Upto.Epoch)
	}
	longer := *h
	longer.Some = slices.Clone(h.Some)
	a := newAdmission(j, entries)
	err := j.cfg.KV.View(func(txn dbfs.Txn) error {
		s := a.treeOf(txn)
		for i := range entries {
			e := &entries[i]
			if e.JID <= h.Upto.JID {
				continue
			}
			for _, one := range a.parts(e, s) {
				m, harms := a.harm(&one, s)
				if !harms {
					continue
				}
				longer.count(m)
				if len(longer.Some) < maxSome {
					longer.Some = append(longer.Some, harmedBy(s, one.Node.ID, m))
				}
			}
		}
		return s.err
	})
	if err != nil {
		return err
	}
	longer.Upto.JID = max(h.Upto.JID, next.JID)
	if longer.Upto == h.Upto {
		return nil
	}
	if err := j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.log.putHold(txn, &longer) }); err != nil {
		return err
	}
	opened := len(h.Some) == 0
	if *h = longer; opened {
		j.cfg.Log.Warn("other devices delete or overwrite too much: it is held and not applied here",
			"hold", h.ID, "deletes", h.Deletes, "overwrites", h.Overwrites, "bytes", h.Bytes)
	}
	return nil
}

// undoing returns the edits that bring back what the entries of a rejected hold destroy, in an
// order in which directories come before what is in them.
func (j *Journal) undoing(entries []dbfs.Entry) ([]dbfs.Op, error) {
	h := j.incoming()
	if h == nil || h.Listing || !h.Decision.rejects() {
		return nil, nil
	}
	var undo []dbfs.Op
	done := make(map[dbfs.NodeID]bool)
	err := j.cfg.KV.View(func(txn dbfs.Txn) error {
		s := &snapshot{txn: txn, tree: j.cfg.Tree, view: newView(), rootIno: j.st.rootIno, rule: j.cfg.Names}
		var all []dbfs.Entry
		later := make(map[dbfs.NodeID]dbfs.Node)
		now := func(id dbfs.NodeID) (dbfs.Node, bool) {
			if n, ok := later[id]; ok {
				return n, true
			}
			return s.node(id)
		}
		for i := range entries {
			for _, one := range parts(&entries[i], now) {
				later[one.Node.ID] = one.Node
				all = append(all, one)
			}
		}
		for i := len(all) - 1; i >= 0; i-- { // the last entry of a node says what became of it
			e := &all[i]
			if done[e.Node.ID] || e.JID > h.Upto.JID || e.Op.Device == j.cfg.Device {
				continue
			}
			done[e.Node.ID] = true
			if was, ok := s.node(e.Node.ID); ok && !was.Deleted {
				if op, ok := undoOf(&was, &e.Node); ok {
					undo = append(undo, op)
				}
			}
		}
		return s.err
	})
	return undo, err
}

// undoOf returns the edit that makes a node what it was, in what matters to the guard.
func undoOf(was, now *dbfs.Node) (dbfs.Op, bool) {
	rewritten := was.Kind == dbfs.KindFile && overwrites(was.Content, now.Content)
	op := dbfs.Op{Node: was.ID, Base: now.Revs}
	if was.Kind == dbfs.KindMount {
		return op, false
	}
	if rewritten {
		old := was.Content
		op.Content = &old
	}
	switch {
	case now.Deleted:
		op.Type, op.Parent, op.Name, op.Link = dbfs.OpRevive, was.Parent, was.Name, was.Link
	case rewritten:
		op.Type, op.Attr.MTime = dbfs.OpWrite, was.Attr.MTime
	default:
		return op, false
	}
	return op, true
}

// undo records the edits of undoing, which are about what the step has just applied.
func (a *advance) undo(ops []dbfs.Op) error {
	j := a.j
	for _, op := range ops {
		op.ID = dbfs.OpID{Device: j.cfg.Device, N: j.nextN}
		op.Time = j.cfg.Clock().UnixNano()
		j.nextN++
		a.st.ops = max(a.st.ops, j.nextN)
		// It is of that hold, so that the guard does not hold it in its turn.
		e := &edit{key: j.pending.nextKey(), op: op, hold: j.incoming().ID, judged: true}
		if err := j.log.put(a.txn, e); err != nil {
			return err
		}
		a.remember(a.snapshot, op.Node)
		a.lay(e)
		j.pending.add(e)
		j.need(op.Content)
		a.foreign = true // they are made to fit at once
	}
	return nil
}
