package journal

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// A new listing can destroy as much as the log: the server may have been restored from an old
// copy. So what was listed is judged before it is shown. What is too much makes a hold like
// that of the log; nothing is listed, applied or sent before somebody has decided. Then the
// tree is listed anew. Rejected, edits are recorded before it is shown that make the missing
// files anew with their content, and their directories with them; files of which the server
// has another content come back as conflicted copies beside it. Links and empty directories are
// not made anew.

// judge returns ErrHeld if what was listed destroys too much. cursor is where the listing began.
func (l *Listing) judge(cursor dbfs.Cursor) error {
	j := l.j
	if j.HoldsBack() {
		return fmt.Errorf("what was held before is undecided: %w", dbfs.ErrHeld)
	}
	decided := j.decided(cursor.Epoch)
	if !l.again || j.in == nil && decided == nil || decided != nil && !decided.Decision.rejects() {
		return nil
	}
	h := &Hold{Incoming: true, Listing: true, Decision: Undecided, Since: j.cfg.Clock(), Upto: cursor}
	var undo []dbfs.Op
	err := l.compare(func(s *snapshot, was, now *dbfs.Node) {
		m, harms := harmOfEntry(&dbfs.Entry{Node: *now, Time: h.Since.UnixNano()}, was)
		if !harms {
			return
		}
		h.count(m)
		if len(h.Some) < maxSome {
			h.Some = append(h.Some, harmedBy(s, was.ID, m))
		}
		if op, ok := undoOf(was, now); ok && decided != nil {
			if was.Kind == dbfs.KindFile {
				content := was.Content
				op.Content = &content // the server may not have it any more
			}
			undo = append(undo, op)
		}
	}, &h.Of)
	if err != nil {
		return err
	}
	if decided != nil {
		return j.undoListing(decided, undo)
	}
	if !j.in.exceeded(h.Deletes+h.Overwrites, h.Bytes, h.Of) {
		return nil
	}
	return j.holdListing(h)
}

// decided returns what has been decided about this listing or, if it takes the place of a log
// that was held, about that; or nil.
func (j *Journal) decided(epoch uint32) *Hold {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, h := range j.holds {
		if h.Incoming && h.Decision != Undecided && h.Upto.Epoch == epoch && !j.passed(h) {
			return h
		}
	}
	return nil
}

// compare calls fn with each node that the user can see and the tree has, and what the listing
// says of it, in short transactions. It counts them.
func (l *Listing) compare(fn func(s *snapshot, was, now *dbfs.Node), count *int) error {
	const page = 1000
	for after, more := dbfs.RootNode, true; more; {
		var nodes []dbfs.Node
		err := l.j.read(func(s *snapshot) error {
			err := s.tree.Nodes(s.txn, after, func(n dbfs.Node) bool {
				nodes = append(nodes, n)
				return len(nodes) < page
			})
			if more = len(nodes) == page; len(nodes) > 0 {
				after = nodes[len(nodes)-1].ID
			}
			for i := range nodes {
				was := &nodes[i]
				if mine, touched := s.view.nodes[was.ID]; was.Deleted || was.IsRoot() || touched && mine.Deleted {
					continue // gone, or deleted here
				}
				*count++
				now, listErr := s.tree.NextNode(s.txn, was.ID)
				if errors.Is(listErr, dbfs.ErrNotExist) {
					now, listErr = dbfs.Node{ID: was.ID, Deleted: true}, nil
				}
				if listErr != nil {
					return listErr
				}
				fn(s, was, &now)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) holdListing(h *Hold) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	h.ID = j.nextHold()
	if err := j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.log.putHold(txn, h) }); err != nil {
		return fmt.Errorf("hold a listing: %w", err)
	}
	j.holds = append(j.holds, h)
	j.cfg.Log.Warn("the server has lost too much of what is here: its tree is held and not shown",
		"hold", h.ID, "deletes", h.Deletes, "overwrites", h.Overwrites, "bytes", h.Bytes)
	j.hasMoved()
	return fmt.Errorf("the server's tree lacks %d of %d: %w", h.Deletes, h.Of, dbfs.ErrHeld)
}

// undoListing records the edits that bring back what a listing destroys. They are about what is
// still shown; if a crash cuts it short, those that are there once more do nothing the second time.
func (j *Journal) undoListing(h *Hold, ops []dbfs.Op) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	const some = 200 // what a transaction holds
	for len(ops) > 0 {
		n := min(some, len(ops))
		err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
			s := j.snapshot(txn)
			for _, op := range ops[:n] {
				op.ID, op.Time = j.newOpID(), j.cfg.Clock().UnixNano()
				e := &edit{key: j.pending.nextKey(), op: op, hold: h.ID, judged: true}
				if err := j.log.put(txn, e); err != nil {
					return err
				}
				s.lay(e)
				j.pending.add(e)
				j.need(op.Content)
			}
			st := j.st
			st.ops = max(st.ops, j.nextN)
			j.st = st
			return errors.Join(s.err, j.log.setState(txn, st))
		})
		if err != nil {
			j.reload()
			return fmt.Errorf("undo a listing: %w", err)
		}
		ops = ops[n:]
	}
	return nil
}
