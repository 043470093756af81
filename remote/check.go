package remote

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// CheckBatch returns ErrInvalid, ErrNameTooLong or ErrTooLarge, saying which edit and why,
// unless a server could take the batch in some state of the namespace. Both ends call it:
// JSON would quietly change names that are not UTF-8.
func CheckBatch(b *dbfs.Batch) error {
	if b.Seq == 0 || b.Device == 0 {
		return fmt.Errorf("%w: a batch without device or number", dbfs.ErrInvalid)
	}
	if len(b.Ops) == 0 || len(b.Ops) > dbfs.MaxBatchOps {
		return fmt.Errorf("%w: a batch of %d edits; the limit is %d", dbfs.ErrInvalid, len(b.Ops), dbfs.MaxBatchOps)
	}
	for i := range b.Ops {
		if b.Ops[i].ID.Device != b.Device {
			return fmt.Errorf("edit %d: %w: made by device %s, sent by %s", i, dbfs.ErrInvalid, b.Ops[i].ID.Device, b.Device)
		}
		if err := CheckOp(&b.Ops[i]); err != nil {
			return fmt.Errorf("edit %d: %w", i, err)
		}
	}
	return nil
}

// CheckOp returns an error as CheckBatch does unless the edit is well formed. Mounts are
// made, deleted and revived by the server alone; it has its own way around this check.
func CheckOp(op *dbfs.Op) error {
	if op.Node == dbfs.RootNode && op.Type != dbfs.OpSetAttr {
		return fmt.Errorf("%w: %s of the root", dbfs.ErrInvalid, op.Type)
	}
	if err := checkSource(op); err != nil {
		return err
	}
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		return checkCreate(op)
	case dbfs.OpWrite:
		if op.Content == nil {
			return fmt.Errorf("%w: write without content", dbfs.ErrInvalid)
		}
		return op.Content.Check()
	case dbfs.OpMove:
		return checkMove(op)
	case dbfs.OpSetAttr:
		return checkSetAttr(op)
	case dbfs.OpDelete, dbfs.OpDeleteTree:
		return nil
	case dbfs.OpExchange:
		return checkExchange(op)
	case dbfs.OpRevive:
		if op.Content != nil {
			if err := op.Content.Check(); err != nil {
				return err
			}
		}
		return dbfs.CheckName(op.Name)
	}
	return fmt.Errorf("%w: an edit of type %d", dbfs.ErrInvalid, op.Type)
}

// checkSource wants a copy to say of what, and others only if they bring a content.
func checkSource(op *dbfs.Op) error {
	switch src := op.Src; {
	case src == nil && op.Type != dbfs.OpCopy:
		return nil
	case src == nil, op.Content == nil:
		return fmt.Errorf("%w: a %s without source or content", dbfs.ErrInvalid, op.Type)
	case op.Type != dbfs.OpCopy && op.Type != dbfs.OpWrite && op.Type != dbfs.OpRevive:
		return fmt.Errorf("%w: a %s with a source", dbfs.ErrInvalid, op.Type)
	case src.NS == 0 || src.Node == dbfs.RootNode || src.Rev == 0 || src.Rev == dbfs.SelfRev:
		return fmt.Errorf("%w: a %s of version %s of node %s", dbfs.ErrInvalid, op.Type, src.Rev, src.Node)
	}
	return nil
}

func checkCreate(op *dbfs.Op) error {
	if err := dbfs.CheckName(op.Name); err != nil {
		return err
	}
	if err := op.Attr.Check(); err != nil {
		return err
	}
	if (op.Kind == dbfs.KindSymlink) != (op.Target != "") {
		return fmt.Errorf("%w: %s with target %q", dbfs.ErrInvalid, op.Kind, op.Target)
	}
	if (op.Kind == dbfs.KindLink) != (op.Link != dbfs.NodeID{}) || op.Link == op.Node {
		return fmt.Errorf("%w: %s %s as a name of %s", dbfs.ErrInvalid, op.Kind, op.Node, op.Link)
	}
	if op.Device != 0 && !op.Kind.IsDevice() {
		return fmt.Errorf("%w: %s with device number %#x", dbfs.ErrInvalid, op.Kind, op.Device)
	}
	if op.Content != nil && op.Kind != dbfs.KindFile {
		return fmt.Errorf("%w: %s with content", dbfs.ErrInvalid, op.Kind)
	}
	switch op.Kind {
	case dbfs.KindFile:
		if op.Content == nil {
			return nil
		}
		return op.Content.Check()
	case dbfs.KindDir, dbfs.KindLink, dbfs.KindFifo, dbfs.KindSocket, dbfs.KindCharDev, dbfs.KindBlockDev:
		return nil
	case dbfs.KindSymlink:
		return dbfs.CheckTarget(op.Target)
	case dbfs.KindMount:
		return fmt.Errorf("%w: only the server makes mounts", dbfs.ErrInvalid)
	}
	return fmt.Errorf("%w: create of kind %d", dbfs.ErrInvalid, op.Kind)
}

func checkMove(op *dbfs.Op) error {
	if op.Parent == op.Node || op.Replace != nil && (op.Replace.Node == op.Node || op.Replace.Node == dbfs.RootNode) {
		return fmt.Errorf("%w: node %s moves into or over itself", dbfs.ErrInvalid, op.Node)
	}
	return dbfs.CheckName(op.Name)
}

func checkExchange(op *dbfs.Op) error {
	other := op.Replace
	if other == nil || other.Node == op.Node || other.Node == dbfs.RootNode {
		return fmt.Errorf("%w: node %s changes places with no other", dbfs.ErrInvalid, op.Node)
	}
	return errors.Join(dbfs.CheckName(op.Name), dbfs.CheckName(other.Name))
}

const allAttrs = dbfs.AttrMode | dbfs.AttrMTime | dbfs.AttrOwner | dbfs.AttrXattrs

func checkSetAttr(op *dbfs.Op) error {
	if op.Mask == 0 || op.Mask&^allAttrs != 0 {
		return fmt.Errorf("%w: attribute mask %#x", dbfs.ErrInvalid, op.Mask)
	}
	return op.Attr.Check()
}

// What follows checks what the server says. A failure is ErrCorrupt: nothing the user did
// can have caused it.

func checkNode(n *dbfs.Node) error {
	err := n.Check()
	if err == nil {
		err = n.Attr.Check()
	}
	if err == nil && n.Last != max(n.Revs.Content, n.Revs.Place, n.Revs.Attr) {
		err = fmt.Errorf("node %s was last changed at %d, its parts at %+v", n.ID, n.Last, n.Revs)
	}
	if err != nil {
		return fmt.Errorf("%w: the server sent what cannot be: %v", dbfs.ErrCorrupt, err)
	}
	return nil
}

// checkEntries wants entries numbered from after+1 without gaps, ending with a batch.
func checkEntries(after dbfs.JID, entries []dbfs.Entry) error {
	for i := range entries {
		e := &entries[i]
		if e.JID != after+1+dbfs.JID(i) {
			return fmt.Errorf("%w: the server sent entry %d where %d was due", dbfs.ErrCorrupt, e.JID, after+1+dbfs.JID(i))
		}
		if e.Node.Last != e.JID {
			return fmt.Errorf("%w: entry %d holds a node of %d", dbfs.ErrCorrupt, e.JID, e.Node.Last)
		}
		if err := checkNode(&e.Node); err != nil {
			return fmt.Errorf("entry %d: %w", e.JID, err)
		}
		if len(e.Below) > 0 && (e.Type != dbfs.OpDeleteTree || len(e.Below) > dbfs.MaxTreeNodes) {
			return fmt.Errorf("%w: entry %d is a %s with %d nodes below", dbfs.ErrCorrupt, e.JID, e.Type, len(e.Below))
		}
	}
	if n := len(entries); n > 0 && !entries[n-1].End {
		return fmt.Errorf("%w: entry %d ends a page within a batch", dbfs.ErrCorrupt, entries[n-1].JID)
	}
	return nil
}

func checkLogPage(after dbfs.Cursor, p *dbfs.LogPage) error {
	if p.State {
		return checkStatePage(after, p)
	}
	if err := checkEntries(after.JID, p.Entries); err != nil {
		return err
	}
	want := dbfs.Cursor{Epoch: after.Epoch, JID: after.JID + dbfs.JID(len(p.Entries))}
	if p.Next != want || p.Head < p.Next.JID || p.More != (p.Head > p.Next.JID) || p.More && len(p.Entries) == 0 {
		return fmt.Errorf("%w: log page of %d entries after %d says next %d, head %d, more %t",
			dbfs.ErrCorrupt, len(p.Entries), after.JID, p.Next.JID, p.Head, p.More)
	}
	return nil
}

// checkStatePage wants nodes in the order of their last changes, all within the page.
func checkStatePage(after dbfs.Cursor, p *dbfs.LogPage) error {
	last := after.JID
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Last < last || n.Last == last && (i == 0 || bytes.Compare(n.ID[:], p.Nodes[i-1].ID[:]) <= 0) {
			return fmt.Errorf("%w: node %s, changed at %d, comes after %d", dbfs.ErrCorrupt, n.ID, n.Last, last)
		}
		if err := checkNode(n); err != nil {
			return err
		}
		last = n.Last
	}
	if len(p.Entries) > 0 || p.Next.Epoch != after.Epoch || p.Head < p.Next.JID || p.More != (p.Head > p.Next.JID) ||
		last > p.Next.JID || p.More && (len(p.Nodes) == 0 || last != p.Next.JID) {
		return fmt.Errorf("%w: page of %d nodes after %d, up to %d, says next %d, head %d, more %t",
			dbfs.ErrCorrupt, len(p.Nodes), after.JID, last, p.Next.JID, p.Head, p.More)
	}
	return nil
}

func checkTreePage(after dbfs.NodeID, p *dbfs.TreePage) error {
	for i := range p.Nodes {
		n := &p.Nodes[i]
		first := i == 0 && after == dbfs.RootNode
		if n.Deleted || n.IsRoot() && !first || !n.IsRoot() && bytes.Compare(n.ID[:], after[:]) <= 0 {
			return fmt.Errorf("%w: node %s has no place in a listing after %s", dbfs.ErrCorrupt, n.ID, after)
		}
		if n.Last > p.Cursor.JID {
			return fmt.Errorf("%w: node %s is of %d, after the log's end %d", dbfs.ErrCorrupt, n.ID, n.Last, p.Cursor.JID)
		}
		if err := checkNode(n); err != nil {
			return err
		}
		after = n.ID
	}
	if p.More && (p.Next != after || p.Next == dbfs.RootNode) {
		return fmt.Errorf("%w: a listing goes on after %s but ends with %s", dbfs.ErrCorrupt, p.Next, after)
	}
	return nil
}

func checkRevision(node dbfs.NodeID, r *dbfs.Revision) error {
	if r.Node != node || r.Rev == 0 || r.Content.Check() != nil {
		return fmt.Errorf("%w: version %d of node %s, %d bytes in %d chunks, in an answer about node %s",
			dbfs.ErrCorrupt, r.Rev, r.Node, r.Content.Size, r.Content.Chunks.Len(), node)
	}
	return nil
}

// checkRevisions wants versions of the node in order.
func checkRevisions(node dbfs.NodeID, after dbfs.JID, p *dbfs.RevisionPage) error {
	for i := range p.Revisions {
		r := &p.Revisions[i]
		if err := checkRevision(node, r); err != nil {
			return err
		}
		if r.Rev <= after {
			return fmt.Errorf("%w: version %d after %d", dbfs.ErrCorrupt, r.Rev, after)
		}
		after = r.Rev
	}
	if p.More && len(p.Revisions) == 0 {
		return fmt.Errorf("%w: an empty page of versions that goes on", dbfs.ErrCorrupt)
	}
	return nil
}

// checkDeleted wants deleted nodes in order, and a page that gets on.
func checkDeleted(after dbfs.Departure, p *dbfs.DeletedPage) error {
	at := after
	for i := range p.Nodes {
		n := &p.Nodes[i].Node
		if err := checkNode(n); err != nil {
			return err
		}
		next := dbfs.Departure{JID: n.Last, Node: n.ID}
		if !n.Deleted || n.IsRoot() || !comesAfter(next, at) {
			return fmt.Errorf("%w: node %s, changed at %d, in an answer about what was deleted after %d", dbfs.ErrCorrupt, n.ID, n.Last, at.JID)
		}
		at = next
	}
	if comesAfter(at, p.Next) || p.More && !comesAfter(p.Next, after) {
		return fmt.Errorf("%w: a page of deleted nodes after %d that goes on at %d", dbfs.ErrCorrupt, after.JID, p.Next.JID)
	}
	return nil
}

func comesAfter(a, b dbfs.Departure) bool {
	return a.JID > b.JID || a.JID == b.JID && bytes.Compare(a.Node[:], b.Node[:]) > 0
}

// checkCommitted wants the entries of a batch: its edits in order, each at least once.
func checkCommitted(b *dbfs.Batch, entries []dbfs.Entry) error {
	if len(entries) == 0 || entries[0].JID == 0 {
		return fmt.Errorf("%w: the server took a batch but names no entry", dbfs.ErrCorrupt)
	}
	if err := checkEntries(entries[0].JID-1, entries); err != nil {
		return err
	}
	i := 0
	for _, op := range b.Ops {
		start := i
		for i < len(entries) && entries[i].Op == op.ID {
			i++
		}
		if i == start {
			return fmt.Errorf("%w: the server took a batch but not its edit %s", dbfs.ErrCorrupt, op.ID)
		}
	}
	if i != len(entries) {
		return fmt.Errorf("%w: the server answered entry %d, which is not of this batch", dbfs.ErrCorrupt, entries[i].JID)
	}
	return nil
}

// checkNamespace wants a name that can stand in a path.
func checkNamespace(ns *dbfs.Namespace) error {
	if err := dbfs.CheckName(ns.Name); err != nil || ns.ID == 0 || ns.Role == dbfs.RoleNone {
		return fmt.Errorf("%w: the server named a namespace %s %q with role %s", dbfs.ErrCorrupt, ns.ID, ns.Name, ns.Role)
	}
	return nil
}
