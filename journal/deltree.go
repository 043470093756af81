package journal

import (
	"fmt"

	"github.com/dbfs/dbfs"
)

// A program that removes a tree removes its files one by one, then the directories. As long
// as nothing of that has been sent, the last deletion can stand for all of them: it says
// which nodes were below, and how much of the log the user had seen. The server takes it if
// nothing below has changed since. If something has, reconciling takes it apart again.

// budget bounds how many nodes are looked at before a batch is made, to find such trees.
const budget = 10 * dbfs.MaxTreeNodes

// gatherTrees joins deletions that empty a directory with that of the directory. They come
// before everything that follows the directory's, but not before what they had come before:
// that is why nothing may be put into the directories meanwhile. Called with mu held.
func (j *Journal) gatherTrees() error {
	if j.pending.rmdirs == 0 {
		return nil
	}
	var dirs []*edit
	for e := range j.pending.all() {
		if e.rmdir() && !e.fixed() && e.hold == 0 && !j.isHeld(e) {
			dirs = append(dirs, e)
		}
	}
	left := budget
	for i := len(dirs) - 1; i >= 0 && left > 0; i-- { // outer ones come later
		if e := dirs[i]; !e.gone {
			if err := j.gatherTree(e, &left); err != nil {
				return fmt.Errorf("join the deletions in directory %s: %w", e.op.Node, err)
			}
		}
	}
	return nil
}

// gatherTree joins the deletions below one directory with its own, if all of it is deleted.
func (j *Journal) gatherTree(e *edit, left *int) error {
	var inner []*edit
	ok := false
	err := j.cfg.KV.View(func(txn dbfs.Txn) (err error) {
		s := j.snapshot(txn)
		inner, ok = j.deletedBelow(s, e.op.Node, nil, left)
		return s.err
	})
	if err != nil || !ok || len(inner) == 0 {
		return err
	}
	tree := *e
	tree.op.Type, tree.op.Seen = dbfs.OpDeleteTree, j.cursor.JID
	tree.since = e.oldest()
	for _, x := range inner {
		tree.op.Below = append(tree.op.Below, x.op.Node)
		tree.since = min(tree.since, x.oldest())
	}
	err = j.cfg.KV.Update(func(txn dbfs.Txn) error {
		for _, x := range inner {
			if err := j.log.remove(txn, x); err != nil {
				return err
			}
		}
		return j.log.put(txn, &tree)
	})
	if err != nil {
		return err
	}
	for _, x := range inner {
		j.pending.remove(x)
	}
	j.pending.become(e, &tree)
	for _, id := range tree.op.Below {
		n := j.view.nodes[id]
		n.CTime = tree.op.Time
		j.view.nodes[id] = n
	}
	return nil
}

// deletedBelow adds the deletions of all that the tree has below a directory, children first;
// false: something is not deleted, or not simply, or there is too much.
func (j *Journal) deletedBelow(s *snapshot, dir dbfs.NodeID, found []*edit, left *int) ([]*edit, bool) {
	if j.pending.inside[dir] > 0 || !j.mayBeTree(dir) {
		return found, false
	}
	ok := true
	err := s.tree.Children(s.txn, dir, "", func(_ string, id dbfs.NodeID) bool {
		*left--
		e := j.soleDelete(id)
		if ok = e != nil && *left >= 0; ok && e.dir {
			found, ok = j.deletedBelow(s, id, found, left)
		}
		found = append(found, e)
		ok = ok && len(found) <= dbfs.MaxTreeNodes && !j.hasNames(id)
		return ok
	})
	if err != nil {
		s.err = err
	}
	return found, ok && err == nil
}

// mayBeTree reports whether to try and delete a directory as a tree. One refusal is no reason
// not to: another edit of the batch may have been meant, or what has been reconciled since.
func (j *Journal) mayBeTree(dir dbfs.NodeID) bool { return j.refusals[dir] < 2 }

// soleDelete returns the edit that deletes a node, if that is all that is to happen to it.
func (j *Journal) soleDelete(id dbfs.NodeID) *edit {
	edits := j.pending.byNode[id]
	if len(edits) != 1 {
		return nil
	}
	e := edits[0]
	if e.op.Type != dbfs.OpDelete || e.op.Await != 0 || e.fixed() || e.hold != 0 || j.isHeld(e) || j.isAside(&e.op) {
		return nil
	}
	return e
}

// become changes a deletion into that of a tree, in its place.
func (p *pending) become(e, tree *edit) {
	e.op, e.since = tree.op, tree.since
	for _, id := range e.op.Below {
		p.byNode[id] = append(p.byNode[id], e)
	}
	p.rmdirs--
}

// rmdir reports whether the edit deletes a directory by itself.
func (e *edit) rmdir() bool { return e.dir && e.op.Type == dbfs.OpDelete }
