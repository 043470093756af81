package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// Forgetting what is older than the Retention wants: contents, log entries, deleted nodes,
// and the chunk lists that none of them carries any more. Each function does what can be done
// in one transaction, and looks itself whether it is still right to: between two of them
// anything may happen, and a crash leaves nothing that the next collection does not find.

// A past is what is to be known of a row of history to judge it.
type past struct {
	rev   dbfs.JID
	until int64
	held  bool // somebody builds on it
}

// expired returns which contents of one file are not kept, of its rows in order: those that
// were lost before the cutoff, and of the others all but the newest most. What the file has is
// never among them.
func expired(rows []past, cutoff time.Time, most int) []dbfs.JID {
	var gone []dbfs.JID
	kept := 0
	for i := len(rows) - 1; i >= 0; i-- {
		switch r := rows[i]; {
		case r.until == 0, r.held:
		case r.until <= cutoff.UnixNano(), kept >= most:
			gone = append(gone, r.rev)
		default:
			kept++
		}
	}
	return gone
}

// dropRevisions forgets contents that a file had, unless it has them again or somebody holds them.
// It returns how many.
func dropRevisions(tx Tx, node dbfs.NodeID, revs []dbfs.JID, now time.Time) (dropped int, err error) {
	for _, rev := range revs {
		r, err := tx.Revision(node, rev)
		if errors.Is(err, dbfs.ErrNotExist) || err == nil && (r.Until == 0 || held(&r, now)) {
			continue
		}
		if err == nil {
			err = tx.DelRevision(node, rev)
		}
		if err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// trimStep is how many entries a transaction drops, and one batch's more at most.
const trimStep = 500

// trimLog drops the oldest entries, whole batches, that are from before the cutoff. It
// returns how many; none: there are no more.
func trimLog(tx Tx, cutoff time.Time) (dropped int, err error) {
	head, err := tx.Head()
	if err != nil {
		return 0, err
	}
	end, err := oldBatches(tx, head, cutoff)
	if err != nil || end == head.Trim {
		return 0, err
	}
	for jid := head.Trim + 1; jid <= end; jid++ {
		if err := tx.DelEntry(jid); err != nil {
			return 0, err
		}
	}
	dropped = int(end - head.Trim)
	head.Trim = end
	return dropped, tx.SetHead(head)
}

// oldBatches returns the last entry of the batches, about a transaction's worth, that are from
// before the cutoff.
func oldBatches(tx ReadTx, head Head, cutoff time.Time) (dbfs.JID, error) {
	end, at := head.Trim, head.Trim
	for at < head.JID {
		step, err := tx.Log(at, pageStep)
		if err != nil {
			return end, err
		}
		if len(step) == 0 || step[0].JID != at+1 {
			return end, fmt.Errorf("%w: the log has no entry after %d, its head is %d", dbfs.ErrCorrupt, at, head.JID)
		}
		for _, e := range step {
			if e.Time > cutoff.UnixNano() {
				return end, nil
			}
			if at = e.JID; e.End {
				if end = at; end-head.Trim >= trimStep {
					return end, nil
				}
			}
		}
	}
	return end, nil
}

// dead reports whether a node can be forgotten: it was deleted before the cutoff, the log says
// nothing of it any more, and no content of it is kept; or the directory that it was in is
// forgotten already.
func dead(tx ReadTx, n *dbfs.Node, cutoff time.Time) (bool, error) {
	switch {
	case n.IsRoot():
		return false, nil
	case !n.Deleted:
		above, err := stored(tx, n.Parent)
		return err == nil && above == nil, err
	case n.CTime > cutoff.UnixNano():
		return false, nil
	}
	head, err := tx.Head()
	if err != nil || n.Last > head.Trim {
		return false, err
	}
	rows, err := tx.Revisions(n.ID, 0, 1)
	return err == nil && len(rows) == 0, err
}

// reap forgets a node if it is dead. Whoever has not heard of its end by then has to list the
// tree anew: the log's floor rises.
func reap(tx Tx, id dbfs.NodeID, cutoff time.Time) (bool, error) {
	n, err := stored(tx, id)
	if err != nil || n == nil {
		return false, err
	}
	if yes, err := dead(tx, n, cutoff); !yes {
		return false, err
	}
	head, err := tx.Head()
	if err != nil {
		return false, err
	}
	if !n.Deleted { // below a directory that is forgotten
		key := names.Key(head.Names, n.Name)
		if holder, err := tx.Child(n.Parent, key); err == nil && holder == id {
			if err := tx.DelChild(n.Parent, key); err != nil {
				return false, err
			}
		} else if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return false, err
		}
	}
	head.Floor = max(head.Floor, n.Last)
	return true, errors.Join(tx.DelNode(id), tx.SetHead(head))
}

// carried reports whether something carries a content still whose chunk list is kept apart;
// next is the list of the same file after it, if there is one. Entries with a content end where
// the file got its next one.
func carried(tx ReadTx, l List, next dbfs.JID) (bool, error) {
	n, err := stored(tx, l.Node)
	if err != nil || n != nil && n.Revs.Content == l.Rev {
		return true, err
	}
	if _, err := tx.Revision(l.Node, l.Rev); err == nil || !errors.Is(err, dbfs.ErrNotExist) {
		return true, err
	}
	head, err := tx.Head()
	if err != nil {
		return true, err
	}
	switch {
	case next != 0:
		return next > head.Trim, nil
	case n != nil:
		return n.Revs.Content > head.Trim, nil
	}
	return head.Floor > head.Trim, nil // the node was reaped, after all that the log had of it was trimmed
}

// dropList forgets a chunk list that nothing carries.
func dropList(tx Tx, l List, next dbfs.JID) (bool, error) {
	if yes, err := carried(tx, l, next); yes {
		return false, err
	}
	return true, tx.DelList(l)
}
