package journal

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// A Listing builds the tree anew from what the server lists: the first time, or when the log
// cannot be continued. The old tree stays shown until Finish; pending edits are kept and
// reconciled with the new one.
type Listing struct {
	j     *Journal
	again bool          // the tree has been listed before: somebody may remember it
	added []dbfs.NodeID // if again: what is listed and was not shown
}

// List begins a listing. One that was begun before and not finished is thrown away.
func (j *Journal) List() (*Listing, error) {
	if err := j.clearOthers(); err != nil {
		return nil, fmt.Errorf("list namespace %s: %w", j.cfg.NS, err)
	}
	return &Listing{j: j, again: j.Cursor() != (dbfs.Cursor{})}, nil
}

// clearOthers removes what earlier listings and swaps left behind, a little at a time.
func (j *Journal) clearOthers() error {
	for clear := false; !clear; {
		err := j.cfg.KV.Update(func(txn dbfs.Txn) (err error) {
			clear, err = j.cfg.Tree.ClearOthers(txn, 5000)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Add takes a page of the listing.
func (l *Listing) Add(nodes []dbfs.Node) error {
	take, err := l.j.cfg.Inodes(len(nodes))
	if err != nil {
		return err
	}
	return l.j.cfg.KV.Update(func(txn dbfs.Txn) error {
		for _, n := range nodes {
			if err := n.Check(); err != nil {
				return fmt.Errorf("listed node %s: %w", n.ID, errors.Join(err, dbfs.ErrCorrupt))
			}
			if l.again {
				if _, err := l.j.cfg.Tree.Node(txn, n.ID); errors.Is(err, dbfs.ErrNotExist) {
					l.added = append(l.added, n.ID)
				}
			}
			if n.IsRoot() {
				n.Ino = l.j.rootIno
			}
			if err := l.j.cfg.Tree.PutNext(txn, n, take); err != nil {
				return err
			}
		}
		return nil
	})
}

// Finish shows what was listed, as of cursor, and reconciles the pending edits with it. A
// batch in flight is forgotten: whatever of it the server took is in the listing.
func (l *Listing) Finish(cursor dbfs.Cursor) error {
	j := l.j
	known, err := l.known()
	if err != nil {
		return err
	}
	err = j.advancing(0, func(a *advance) error {
		for _, id := range known {
			a.remember(id)
		}
		if err := j.cfg.Tree.Swap(a.txn, cursor); err != nil {
			return err
		}
		// Inside the transaction, so that what follows reads the new generation. If it fails,
		// the journal is read anew, and this with it.
		if _, err := j.cfg.Tree.Load(a.txn); err != nil {
			return err
		}
		a.cursor = cursor
		j.inflight = nil
		if err := j.log.setInflight(a.txn, nil); err != nil {
			return err
		}
		return a.reconcile()
	})
	if err != nil {
		return err
	}
	return j.clearOthers()
}

// known returns the nodes that may look different after the swap: all that are shown and all
// that were added. The first time nobody has seen anything, and there are none.
func (l *Listing) known() ([]dbfs.NodeID, error) {
	if !l.again {
		return nil, nil
	}
	known := l.added
	err := l.j.Nodes(func(n dbfs.Node) bool {
		known = append(known, n.ID)
		return true
	})
	return known, err
}
