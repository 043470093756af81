package journal

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// Jump applies a page of what nodes are now, in the order of their last changes, in place of
// the log entries that made them so, and moves the cursor to next. The log's end was at head
// then: until the cursor has got there the tree is a mixture of times, and nothing is
// reconciled or sent.
//
// The guard looks at it as at the log, and what it holds is not applied.
//
// Nobody can tell from such a page whose edits it shows. A batch in flight is forgotten:
// whatever of it the server took is in the nodes, and reconciling finds it done.
func (j *Journal) Jump(nodes []dbfs.Node, next dbfs.Cursor, head dbfs.JID) error {
	entries := make([]dbfs.Entry, len(nodes))
	for i, n := range nodes {
		if err := n.Check(); err != nil || i > 0 && n.Last < nodes[i-1].Last {
			return fmt.Errorf("node %s, changed at %d: %w", n.ID, n.Last, errors.Join(err, dbfs.ErrCorrupt))
		}
		// A write at worst. What one entry did to several nodes stays together.
		end := i == len(nodes)-1 || nodes[i+1].Last > n.Last
		entries[i] = dbfs.Entry{JID: n.Last, Time: n.CTime, Type: dbfs.OpWrite, End: end, Node: n}
	}
	if err := j.measureLog(entries); err != nil {
		return err
	}
	return j.step(func(l *looks) error {
		if next.Epoch != j.cursor.Epoch {
			return fmt.Errorf("%w: epoch %d, have %d", dbfs.ErrReset, next.Epoch, j.cursor.Epoch)
		}
		entries, next, err := j.admit(entries, next)
		if err == nil && next != j.cursor { // something is let through
			err = j.beginJump(max(head, next.JID))
		}
		if err != nil {
			return err
		}
		for len(entries) > 0 {
			page, rest := cutPage(entries, j.txnBytes())
			if err := j.advance(page, dbfs.Cursor{Epoch: next.Epoch, JID: page[len(page)-1].JID}, l); err != nil {
				return err
			}
			entries = rest
		}
		if err := j.advance(nil, next, l); err != nil {
			return err
		}
		return j.reconcileIfDue(l)
	})
}

// beginJump makes the edits wait until the cursor has got to due. Called with mu held.
func (j *Journal) beginJump(due dbfs.JID) error {
	if j.inflight == nil && j.st.owed && j.st.due >= due {
		return nil
	}
	st := j.st
	st.owe(due)
	var tried []*edit
	if j.inflight != nil {
		for _, e := range j.inflight.edits {
			if !e.gone {
				tried = append(tried, e)
			}
		}
	}
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		var errs []error
		for _, e := range tried {
			marked := *e
			marked.tried = true
			errs = append(errs, j.log.put(txn, &marked))
		}
		errs = append(errs, j.log.setInflight(txn, nil), j.log.setState(txn, st))
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	for _, e := range tried {
		e.tried = true
	}
	if j.inflight != nil {
		j.inflight.mark(false)
	}
	j.st, j.inflight = st, nil
	return nil
}
