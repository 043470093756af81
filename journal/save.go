package journal

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// Many programs save a file by writing a new one and renaming it over the old, or into the
// place that they have just cleared. What the user has in mind is one file, so it stays one
// node: it gets the bytes and attributes of the new file, which the server never hears of.
// Its history goes on, and what others do to it meanwhile is done to the same file.
//
// Programs see a rename all the same. The name leads to the inode number of the new file,
// and whoever has that one open or writes to it goes on as the old node.

// reach is how many edits ago a file may have been deleted for a new one to take its node.
const reach = 64

// saved returns the node that a file is the next version of once it is renamed to a place
// that nobody holds, or m does. Only what the server has never heard of is a version of something.
func (ed *editor) saved(n dbfs.Node, at place, m dbfs.Node, taken bool) (old dbfs.Node, ok bool, err error) {
	switch {
	case n.Kind != dbfs.KindFile || !ed.neverSent(n.ID) || fault.Bug(fault.SaveReplaces):
		return old, false, nil
	case taken:
		_, linked := linkOf(ed, m) // the other names keep the old version
		return m, m.Kind == dbfs.KindFile && !linked && !ed.neverSent(m.ID), nil
	}
	del := ed.lateDelete(at)
	if del == nil {
		return old, false, nil
	}
	id := del.op.Node
	if err := ed.cancel(id, []*edit{del}); err != nil {
		return old, false, err
	}
	old, ok = ed.node(id)
	return old, ok, nil
}

// lateDelete returns the edit that has deleted a file from a place, if it can be taken back:
// not sent, not long ago, and nothing has stood there since.
func (ed *editor) lateDelete(at place) *edit {
	id, ok := ed.treeChild(at.parent, at.name)
	if !ok {
		return nil
	}
	t, _ := ed.treeNode(id)
	if h := ed.j.open[id]; t.Kind != dbfs.KindFile || h != nil && h.deleted {
		return nil
	}
	list := ed.j.pending.list
	for i := len(list) - 1; i >= max(0, len(list)-reach); i-- {
		e := list[i]
		switch {
		case e.gone:
		case e.op.Type == dbfs.OpDelete && e.op.Node == id:
			if e.left == at && !e.fixed() && stillFits(e.op.Base.Content, t.Revs.Content) {
				return e
			}
			return nil
		case slices.ContainsFunc(places(&e.op), func(other place) bool { return ed.keyed(other) == ed.keyed(at) }):
			return nil
		}
	}
	return nil
}

// stillFits reports whether nobody else has changed what a pending edit was based on. While a batch
// is on its way, others' entries are in the tree before the edits have been reconciled with them.
func stillFits(base, now dbfs.JID) bool { return base == now || base == dbfs.SelfRev }

// save makes n the next version of old, which stands where n was to go.
func (ed *editor) save(n, old dbfs.Node) error {
	edits := ed.j.pending.byNode[n.ID]
	since := edits[0].oldest()
	ed.remember(ed.snapshot, old.ID)
	if err := ed.saveContent(n, old, since); err != nil {
		return err
	}
	if mask := differing(n.Attr, old.Attr); mask != 0 {
		if err := ed.setAttrOf(old.ID, mask, n.Attr); err != nil {
			return err
		}
	}
	if err := ed.cancel(n.ID, edits); err != nil {
		return err
	}
	ed.taken = append(ed.taken, follow{from: n.ID, to: old.ID})
	if err := ed.setIno(old.ID, n.Ino); err != nil {
		return fmt.Errorf("inode %d for %s: %w", n.Ino, old.ID, err)
	}
	return nil
}

func (ed *editor) saveContent(n, old dbfs.Node, since uint64) error {
	made := ed.j.pending.byNode[n.ID][0].op
	made.SetContent(&n.Content)
	return ed.rewrite(old, n.Content, n.Attr.MTime, made.Src, made.From, since)
}

// rewrite gives a file a content that stood elsewhere.
func (ed *editor) rewrite(old dbfs.Node, content dbfs.Content, mtime int64, src *dbfs.Source, from dbfs.Origin, since uint64) error {
	set := func(op *dbfs.Op) {
		op.Content, op.Attr.MTime, op.Src, op.From = &content, mtime, src, from
		if op.Type.Makes() {
			op.Type = typeOf(op.Src)
		}
	}
	if content.Equal(old.Content) && mtime == old.Attr.MTime {
		if from == (dbfs.Origin{}) {
			return nil
		}
		if old.Revs.Content != dbfs.SelfRev { // the server has it
			return ed.j.arrive(ed.txn, from)
		}
	}
	if last := ed.contentEdit(old.ID); last != nil {
		if err := ed.unwanted([]*edit{last}); err != nil {
			return err
		}
		if since != 0 {
			last.since = min(last.oldest(), since)
		}
		return ed.amend(last, set)
	}
	op := dbfs.Op{Type: dbfs.OpWrite, Node: old.ID, Base: old.Revs}
	set(&op)
	return ed.appendFor(since, op)
}

// differing returns which attributes differ, but for the time, which goes with the content.
func differing(a, b dbfs.Attr) (mask dbfs.AttrMask) {
	if a.Mode != b.Mode {
		mask |= dbfs.AttrMode
	}
	if a.UID != b.UID || a.GID != b.GID {
		mask |= dbfs.AttrOwner
	}
	if !maps.EqualFunc(a.Xattrs, b.Xattrs, bytes.Equal) {
		mask |= dbfs.AttrXattrs
	}
	return mask
}
