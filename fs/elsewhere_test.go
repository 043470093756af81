package fs

import (
	"context"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// elsewhere is another device: what it does arrives as entries of a namespace's log.
type elsewhere struct {
	d       *drive
	j       *journal.Journal
	next    dbfs.JID
	nodes   map[dbfs.NodeID]dbfs.Node // as the log has them
	entries []dbfs.Entry              // done, and not yet here
}

func newElsewhere(d *drive, j *journal.Journal) *elsewhere {
	return &elsewhere{d: d, j: j, next: j.Cursor().JID + 1, nodes: make(map[dbfs.NodeID]dbfs.Node)}
}

// content uploads bytes.
func (e *elsewhere) content(s string) dbfs.Content {
	e.d.t.Helper()
	c := dbfs.Content{Size: int64(len(s))}
	var ids []dbfs.ChunkID
	for i := range dbfs.NumChunks(c.Size) {
		b := []byte(s)[i*dbfs.ChunkSize:]
		b = b[:dbfs.ChunkLen(c.Size, i)]
		ref := dbfs.ChunkRef{ID: dbfs.HashChunk(b), Len: len(b)}
		ids = append(ids, ref.ID)
		if ref.ID != dbfs.ZeroChunk {
			_, err := e.d.chunks.Put(context.Background(), e.j.NS(), ref, b)
			e.d.must(err)
		}
	}
	c.Chunks = dbfs.Blocks(ids...)
	return c
}

// put makes a node, or changes it to this: all its revisions move.
func (e *elsewhere) put(n dbfs.Node) dbfs.Node {
	if n.ID == (dbfs.NodeID{}) {
		n.ID = dbfs.NewNodeID(time.Now())
	}
	if n.Attr.Mode == 0 {
		n.Attr.Mode = map[dbfs.Kind]uint32{dbfs.KindFile: 0o644}[n.Kind]
		if n.Kind.IsDir() {
			n.Attr.Mode = 0o755
		}
	}
	n.Revs = dbfs.Revs{Content: e.next, Place: e.next, Attr: e.next}
	return e.log(n, dbfs.OpCreate)
}

// write gives a file new bytes.
func (e *elsewhere) write(n dbfs.Node, s string) dbfs.Node {
	n.Content, n.Attr.MTime, n.Revs.Content = e.content(s), n.Attr.MTime+1e9, e.next
	return e.log(n, dbfs.OpWrite)
}

func (e *elsewhere) move(n dbfs.Node, parent dbfs.NodeID, name string) dbfs.Node {
	n.Parent, n.Name, n.Revs.Place = parent, name, e.next
	return e.log(n, dbfs.OpMove)
}

func (e *elsewhere) chmod(n dbfs.Node, mode uint32) dbfs.Node {
	n.Attr.Mode, n.Revs.Attr = mode, e.next
	return e.log(n, dbfs.OpSetAttr)
}

func (e *elsewhere) remove(n dbfs.Node) dbfs.Node {
	n.Deleted, n.Revs.Place = true, e.next
	return e.log(n, dbfs.OpDelete)
}

// removeTree deletes a directory and what is below it by one entry.
func (e *elsewhere) removeTree(n dbfs.Node, below ...dbfs.Node) {
	n.Deleted, n.Revs.Place = true, e.next
	e.log(n, dbfs.OpDeleteTree)
	e.bury(below...)
}

// bury says of nodes that they went with the tree that the last entry deleted.
func (e *elsewhere) bury(below ...dbfs.Node) {
	last := &e.entries[len(e.entries)-1]
	for _, b := range below {
		last.Below = append(last.Below, b.ID)
		e.nodes[b.ID] = last.Buried(b)
	}
}

func (e *elsewhere) log(n dbfs.Node, what dbfs.OpType) dbfs.Node {
	return e.logAs(dbfs.OpID{Device: 99, N: uint64(e.next)}, n, what)
}

func (e *elsewhere) logAs(id dbfs.OpID, n dbfs.Node, what dbfs.OpType) dbfs.Node {
	n.Last, n.CTime = e.next, time.Now().UnixNano()
	e.nodes[n.ID] = n
	e.entries = append(e.entries, dbfs.Entry{
		JID: e.next, Time: n.CTime, Op: id, Type: what, End: true, Node: n,
	})
	e.next++
	return n
}

// advance lets what was done arrive here.
func (e *elsewhere) advance() {
	e.d.t.Helper()
	e.d.must(e.j.Advance(e.entries, dbfs.Cursor{Epoch: 1, JID: e.next - 1}))
	e.entries = nil
}

// take does what syncer and server do: it uploads what was written here, takes all edits, and
// lets the log show them. From then on the bytes may be evicted.
func (e *elsewhere) take() {
	e.d.t.Helper()
	for {
		b, err := e.j.Batch(func(*dbfs.Op) bool { return true })
		e.d.must(err)
		if b == nil {
			e.d.must(e.j.Sync()) // which unpins
			return
		}
		for i := range b.Ops {
			e.takeOp(&b.Ops[i])
		}
		e.j.Taken()
		e.advance()
	}
}

func (e *elsewhere) takeOp(op *dbfs.Op) {
	e.d.t.Helper()
	if v := op.Replace; v != nil {
		victim := e.nodes[v.Node]
		if victim.Revs.Place = e.next; op.Type == dbfs.OpExchange {
			victim.Parent, victim.Name = v.Parent, v.Name
		} else {
			victim.Deleted = true
		}
		e.logAs(op.ID, victim, op.Type)
	}
	n := e.nodes[op.Node]
	if op.Content != nil {
		e.upload(op)
		n.Content, n.Revs.Content = *op.Content, e.next
	}
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		n.ID, n.Kind, n.Attr, n.Target, n.Device = op.Node, op.Kind, op.Attr, op.Target, op.Device
		n.Parent, n.Name, n.Revs = op.Parent, op.Name, dbfs.Revs{Content: e.next, Place: e.next, Attr: e.next}
		if n.Link = op.Link; n.Kind == dbfs.KindLink {
			defer e.named(op)
		}
	case dbfs.OpWrite:
		n.Attr.MTime = op.Attr.MTime
	case dbfs.OpMove, dbfs.OpExchange, dbfs.OpRevive:
		n.Deleted, n.Parent, n.Name, n.Revs.Place = false, op.Parent, op.Name, e.next
	case dbfs.OpSetAttr:
		n.Attr.Set(op.Mask, op.Attr)
		n.Revs.Attr = e.next
	case dbfs.OpDelete, dbfs.OpDeleteTree:
		n.Deleted, n.Revs.Place = true, e.next
	}
	e.logAs(op.ID, n, op.Type)
	for _, id := range op.Below {
		e.bury(e.nodes[id])
	}
}

// named tells a file of a link.
func (e *elsewhere) named(op *dbfs.Op) {
	f := e.nodes[op.Link]
	f.Links, f.Revs.Attr = append(slices.Clone(f.Links), op.Node), e.next
	e.logAs(op.ID, f, dbfs.OpSetAttr)
}

// link gives a file one more name.
func (e *elsewhere) link(f dbfs.Node, parent dbfs.NodeID, name string) (now, link dbfs.Node) {
	link = e.put(dbfs.Node{Kind: dbfs.KindLink, Parent: parent, Name: name, Link: f.ID})
	f = e.nodes[f.ID]
	f.Links, f.Revs.Attr = append(slices.Clone(f.Links), link.ID), e.next
	return e.log(f, dbfs.OpSetAttr), link
}

func (e *elsewhere) upload(op *dbfs.Op) {
	e.d.t.Helper()
	ctx := context.Background()
	there, err := e.d.chunks.Check(ctx, e.j.NS(), op.Content.Refs())
	e.d.must(err)
	has := make(map[dbfs.ChunkID]bool)
	for i, ref := range op.Content.Refs() {
		has[ref.ID] = there[i] != ""
	}
	for i := range op.Content.Chunks.All() {
		ref := op.Content.Ref(i)
		if ref.ID == dbfs.ZeroChunk || has[ref.ID] { // what is there already may be gone here
			continue
		}
		raw, err := e.d.cache.Chunk(ctx, cache.File{NS: e.j.NS(), Node: op.Node}, i, ref)
		e.d.must(err)
		_, err = e.d.chunks.Put(ctx, e.j.NS(), ref, raw)
		e.d.must(err)
	}
}
