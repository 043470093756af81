package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
)

// wire carries a client's calls to the server that it is connected to. Others may act on the
// way, and what is carried may be lost.
type wire struct{ c *client }

var errLost = fmt.Errorf("%w: the wire is cut", dbfs.ErrOffline)

func carry[T any](x wire, what string, call func(se *server.Session) (T, error)) (T, error) {
	var none T
	c := x.c
	w, life := c.w, c.life
	c.exchanges++
	w.meanwhile()
	c.mustLive(life)
	if c.down || w.fault(requestLost) {
		return none, errLost
	}
	at := c.at
	se := c.sessions[at]
	answer, err := call(se)
	w.mirror.follow()
	if err == nil && what == "commit" && c.sessions[at] == se { // the server has not started again meanwhile
		w.heard(at)
	}
	if w.tracing {
		w.note("      %s: %s %v", c.name, what, result(err))
	}
	w.meanwhile()
	c.mustLive(life)
	if c.touched != nil {
		c.touched = c.touches()
	}
	if c.down || w.fault(answerLost) {
		return none, errLost
	}
	return answer, err
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// mustLive ends what a client was doing when it died meanwhile.
func (c *client) mustLive(life int) {
	if c.life != life {
		panic(died{c.i})
	}
}

func (x wire) Namespaces(ctx context.Context) ([]dbfs.Namespace, error) {
	return carry(x, "namespaces", func(se *server.Session) ([]dbfs.Namespace, error) { return se.Namespaces(ctx) })
}

func (x wire) Log(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Cursor, _ int) (dbfs.LogPage, error) {
	limit := 1 + x.c.w.schedule.IntN(12)
	page, err := carry(x, "log", func(se *server.Session) (dbfs.LogPage, error) { return se.Log(ctx, ns, after, limit) })
	if err == nil {
		x.c.heard = page.Next.JID
	}
	return page, err
}

func (x wire) Tree(ctx context.Context, ns dbfs.NamespaceID, after dbfs.NodeID, _ int) (dbfs.TreePage, error) {
	limit := 1 + x.c.w.schedule.IntN(8)
	if after == dbfs.RootNode && x.c.listed {
		x.c.w.events[Relisting]++
	}
	return carry(x, "tree", func(se *server.Session) (dbfs.TreePage, error) { return se.Tree(ctx, ns, after, limit) })
}

func (x wire) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	return carry(x, "check", func(se *server.Session) ([]dbfs.Receipt, error) { return se.Check(ctx, ns, refs) })
}

func (x wire) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	return carry(x, "put", func(se *server.Session) (dbfs.Receipt, error) { return se.Put(ctx, ns, ref, raw) })
}

func (x wire) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	return carry(x, "get", func(se *server.Session) ([]byte, error) { return se.Get(ctx, ns, ref) })
}

// Commit also keeps a copy of some batches, which comes again later.
func (x wire) Commit(ctx context.Context, ns dbfs.NamespaceID, b dbfs.Batch) ([]dbfs.Entry, error) {
	w, life := x.c.w, x.c.life
	if i := slices.IndexFunc(w.late, func(l lateCommit) bool { return l.c == x.c }); i >= 0 && w.luck.IntN(4) == 0 {
		w.deliver(i) // what was on its way all the time
		x.c.mustLive(life)
	}
	for i := range b.Ops {
		w.sent[b.Ops[i].Node] = true
	}
	what := "commit"
	if ns != w.ns() {
		what = "commit to the second namespace" // for which nobody waits
	}
	entries, err := carry(x, what, func(se *server.Session) ([]dbfs.Entry, error) {
		entries, err := se.Commit(ctx, ns, b)
		w.answered(x.c, ns, &b, entries, err)
		return entries, err
	})
	if len(entries) > 0 {
		x.c.heard = entries[len(entries)-1].JID
	}
	often := 8
	if errors.Is(err, errLost) {
		often = 2 // it may only be late
	}
	if !w.calm && w.plan.rates[requestLost] > 0 && w.luck.IntN(often) == 0 {
		w.late = append(w.late, lateCommit{x.c, ns, b})
	}
	return entries, err
}

// A lateCommit is a request that the network delivers once more.
type lateCommit struct {
	c     *client
	ns    dbfs.NamespaceID
	batch dbfs.Batch
}

// deliverLate brings an old request to some server. Nobody waits for the answer.
func (w *world) deliverLate() {
	if len(w.late) == 0 {
		return
	}
	w.deliver(w.schedule.IntN(len(w.late)))
}

func (w *world) deliver(i int) {
	l := w.late[i]
	w.late[i] = w.late[len(w.late)-1]
	w.late = w.late[:len(w.late)-1]
	entries, err := l.c.sessions[w.schedule.IntN(servers)].Commit(w.ctx, l.ns, l.batch)
	w.mirror.follow()
	w.answered(l.c, l.ns, &l.batch, entries, err)
	if w.tracing {
		w.note("an old batch %d of %s comes again: %s", l.batch.Seq, l.c.name, result(err))
	}
}

// answerKey names a batch, and answer is what the server said of it.
type answerKey struct {
	client int
	ns     dbfs.NamespaceID
	epoch  uint32
	seq    uint64
	digest uint64
}

type answer struct {
	first   dbfs.JID // of the entries that it became
	refused bool
}

// answered checks P6: a batch that was answered is answered in the same way again, or not at all.
func (w *world) answered(c *client, ns dbfs.NamespaceID, b *dbfs.Batch, entries []dbfs.Entry, err error) {
	var now answer
	var refused *dbfs.RefusedError
	switch {
	case err == nil:
		now.first = entries[0].JID
	case errors.As(err, &refused):
		now.refused = true
		w.events[Refusal]++
		if ns == w.ns() {
			w.mayRefuse(c, b, refused)
		}
	default:
		return
	}
	key := answerKey{c.i, ns, b.Epoch, b.Seq, w.digest(b.Ops)}
	if before, ok := w.answers[key]; ok && before != now {
		w.fail("P6", "batch %d of %s was answered with %+v, and now with %+v", b.Seq, c.name, before, now)
	}
	if _, again := w.answers[key]; again {
		w.events[Repeat]++
	}
	w.answers[key] = now
}

// mayRefuse checks that a refusal is no lie (P6), and that it has a reason: who is alone, or
// keeps to a directory of its own, is never refused (P5).
func (w *world) mayRefuse(c *client, b *dbfs.Batch, refused *dbfs.RefusedError) {
	if w.plan.forgetful() {
		return
	}
	for i := range b.Ops {
		if jid, taken := w.mirror.taken[b.Ops[i].ID]; taken {
			w.fail("P6", "batch %d of %s is refused (%s), and one of its edits was taken as entry %d", b.Seq, c.name, refused.Code, jid)
		}
	}
	if w.plan.Active == 1 || w.plan.Apart {
		w.fail("P5", "nobody was in the way of %s, but batch %d is refused: %s", c.name, b.Seq, refused.Code)
	}
}

func (w *world) digest(ops []dbfs.Op) uint64 {
	h := fnv.New64a()
	var buf []byte
	for i := range ops {
		op := ops[i].Travelling()
		buf = dbfs.AppendOp(buf[:0], &op)
		h.Write(buf)
	}
	return h.Sum64()
}

// readable checks P7: what a live node holds can be read.
func (w *world) readable(n *dbfs.Node) { w.readableIn(w.ns(), n) }

func (w *world) readableIn(ns dbfs.NamespaceID, n *dbfs.Node) {
	for _, ref := range n.Content.Refs() {
		calm := w.calm
		w.calm = true
		_, err := w.reader().Get(w.ctx, ns, ref)
		w.calm = calm
		if err != nil {
			w.fail("P7", "%s %q is at the server without its bytes: %v", short(n.ID), n.Name, err)
		}
	}
}

// deleted checks P8: an object that is deleted is not what somebody's file is read from.
func (w *world) deleted(name string) {
	w.events[Deletion]++
	for _, n := range w.mirror.nodes {
		if n.Deleted {
			continue
		}
		for _, ref := range n.Content.Refs() {
			if len(name) > 5 && len(name) >= 5+64 && name[5:5+64] == ref.ID.String() {
				w.readable(&n)
			}
		}
	}
}
