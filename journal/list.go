package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A Listing builds the tree anew from what the server lists: the first time, or when the log
// cannot be continued. The old tree stays shown until Finish; pending edits are kept and
// reconciled with the new one, once the log has been read to where the listing ended: until
// then the new tree is a mixture of times.
type Listing struct {
	j     *Journal
	again bool          // the tree has been listed before: somebody may remember it
	added []dbfs.NodeID // if again: what is listed and was not shown
	last  dbfs.JID      // the newest state that was listed
}

// List begins a listing. One that was begun before and not finished is thrown away.
func (j *Journal) List() (*Listing, error) {
	if err := j.clearTrees(); err != nil {
		return nil, fmt.Errorf("list namespace %s: %w", j.cfg.NS, err)
	}
	return &Listing{j: j, again: j.Cursor() != (dbfs.Cursor{})}, nil
}

// clearTrees removes what earlier listings and swaps left behind, a little at a time.
func (j *Journal) clearTrees() error {
	for clear := false; !clear; {
		err := j.cfg.KV.Update(func(txn dbfs.Txn) (err error) {
			clear, err = j.cfg.Tree.ClearOthers(txn, 2000)
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
	for i := range nodes {
		if err := nodes[i].Check(); err != nil {
			return fmt.Errorf("listed node %s: %w", nodes[i].ID, errors.Join(err, dbfs.ErrCorrupt))
		}
	}
	take, err := l.j.cfg.Inodes(len(nodes))
	if err != nil {
		return err
	}
	var ws writes
	for _, n := range nodes {
		ws.add(nodeBytes(&n), func(txn dbfs.Txn) error { return l.add(txn, n, take) })
		l.last = max(l.last, n.Last)
	}
	if err := ws.run(l.j.cfg.KV, l.j.txnBytes()); err != nil {
		return fmt.Errorf("list namespace %s: %w", l.j.cfg.NS, err)
	}
	fault.Here(fault.ListingPage)
	return nil
}

func (l *Listing) add(txn dbfs.Txn, n dbfs.Node, take func() uint64) error {
	if l.again {
		shown, err := l.j.cfg.Tree.Node(txn, n.ID)
		if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		if err != nil || shown.Deleted {
			l.added = append(l.added, n.ID)
		}
	}
	n.Ino = 0
	if n.IsRoot() {
		n.Ino = l.j.st.rootIno
	}
	return l.j.cfg.Tree.PutNext(txn, n, take)
}

// Finish shows what was listed, as of cursor, which is that of the first page. A batch in
// flight is forgotten: whatever of it the server took is in the listing or the log after it.
//
// ErrHeld: the guard holds it, and nothing is shown.
func (l *Listing) Finish(cursor dbfs.Cursor) error {
	if err := l.judge(cursor); err != nil {
		return err
	}
	known, err := l.known()
	if err != nil {
		return err
	}
	err = l.j.step(func(looks *looks) error {
		if err := l.swap(cursor, known, looks); err != nil {
			return err
		}
		return l.j.reconcileIfDue(looks)
	})
	if err != nil {
		return err
	}
	return l.j.clearTrees()
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
	slices.SortFunc(known, compareIDs)
	return known, err
}

// swap shows the new tree with the pending edits laid over it as they are. Called with mu held.
func (l *Listing) swap(cursor dbfs.Cursor, known []dbfs.NodeID, looks *looks) error {
	j := l.j
	t := &transplant{j: j, restored: cursor.Epoch != j.cursor.Epoch, was: make(map[dbfs.NodeID]dbfs.Node), renewed: make(map[dbfs.NodeID]dbfs.NodeID)}
	var edits []*edit
	err := j.cfg.KV.View(func(txn dbfs.Txn) (err error) {
		s := j.snapshot(txn)
		looks.remember(s, known...)
		looks.remember(s, slices.SortedFunc(maps.Keys(j.view.nodes), compareIDs)...)
		t.read(s)
		if err := t.renew(txn); err != nil {
			return err
		}
		for _, from := range slices.SortedFunc(maps.Keys(t.renewed), compareIDs) {
			to := t.renewed[from]
			looks.follow(follow{from, to})
			looks.remember(s, to)
		}
		edits, err = t.edits(txn)
		return errors.Join(err, s.err)
	})
	if err != nil {
		return err
	}
	if err := t.bury(); err != nil {
		return err
	}
	fault.Here(fault.ListingSwaps)
	before := j.pending
	j.pending = newPending()
	for _, e := range edits {
		j.pending.add(e)
	}
	err = j.rewrite(before, t.binds, func(txn dbfs.Txn, st *logState) error {
		st.owed, st.due = true, max(l.last, cursor.JID)
		if err := j.log.setInflight(txn, nil); err != nil {
			return err
		}
		return j.cfg.Tree.Swap(txn, cursor)
	})
	if err != nil {
		return err
	}
	fault.Here(fault.ListingSwapped)
	return j.load()
}

func compareIDs(a, b dbfs.NodeID) int { return bytes.Compare(a[:], b[:]) }
