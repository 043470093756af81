package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote/server"
)

// The second namespace is where files of the first go, and come back from. Nobody keeps a mirror of
// it: what matters is that what moves is never nowhere, and that all have the same in the end.

// A departure is a file that a device has moved there.
type departure struct {
	device dbfs.DeviceID
	node   dbfs.NodeID
}

// openSecond starts the client's part in it.
func (c *client) openSecond(inodes *cache.Inodes, txn int) (err error) {
	ns := c.w.base.second
	c.second, err = journal.Open(journal.Config{
		NS: ns, KV: c.disk, Tree: cache.NewTree(ns, c.w.plan.names), Names: c.w.plan.names, Device: c.sessions[0].Device(), Name: c.name,
		Inodes: inodes.Reserve, Clock: c.clock, NewID: c.newID, Unpin: c.unpin, TxnBytes: txn, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		c.s.Add(c.second, dbfs.RoleWrite)
	}
	return err
}

// needed reports whether a pending edit of either namespace names a chunk.
func (c *client) needed(id dbfs.ChunkID) bool {
	return c.second != nil && (c.j.Needs(id) || c.second.Needs(id))
}

// readElsewhere fetches a chunk that a moved file has where it was.
func (c *client) readElsewhere(ref dbfs.ChunkRef) ([]byte, func(), error) {
	if c.second == nil {
		return nil, nil, dbfs.ErrNotExist
	}
	err := error(dbfs.ErrNotExist)
	for _, from := range append(c.j.Origins(ref.ID), c.second.Origins(ref.ID)...) {
		var b []byte
		if b, err = (wire{c}).Get(c.w.ctx, from, ref); err == nil {
			return b, func() {}, nil
		}
	}
	return nil, nil, err
}

// putSome puts the chunks of a round of one namespace, or of the other.
func (c *client) putSome() (bool, error) {
	some, err := c.s.StepUpload(c.w.ctx, c.w.ns())
	if err != nil || c.second == nil {
		return some, err
	}
	more, err := c.s.StepUpload(c.w.ctx, c.w.base.second)
	return some || more, err
}

// changeSecond moves a file out or in, or writes to one that is there.
func (c *client) changeSecond(in dbfs.NodeID) error {
	if c.second.Cursor() == (dbfs.Cursor{}) {
		return nil
	}
	n := c.w.workload.IntN(10)
	if n < 5 {
		return c.moveOut()
	}
	list, err := c.second.Children(dbfs.RootNode)
	if err != nil || len(list) == 0 {
		return err
	}
	there := list[c.w.workload.IntN(len(list))]
	switch {
	case n < 8:
		return c.moveIn(there, in)
	case n < 9 && there.Kind == dbfs.KindFile:
		return c.writeSecond(there)
	}
	c.gone(&there)
	c.says("deletes %s of the second namespace", describe(&there))
	return c.second.Delete(there.ID)
}

func (c *client) moveOut() error {
	n, ok := c.pick(c.shown.files)
	if !ok || !c.there(&n) || slices.ContainsFunc(c.holds, func(h hold) bool { return h.node == n.ID }) {
		return nil
	}
	name := c.pickName()
	c.says("moves %s to %q in the second namespace", describe(&n), name)
	noReplace := c.w.workload.IntN(8) == 0
	if m, err := c.second.Child(dbfs.RootNode, name); err == nil && !noReplace {
		c.gone(&m)
	}
	this := departure{c.sessions[0].Device(), n.ID}
	was, again := c.w.moved[this]
	c.w.moved[this] = numberOf(n.Content)
	c.w.events[MovedOut]++
	_, err := c.j.MoveOut(n.ID, c.second, dbfs.RootNode, name, noReplace)
	if err != nil && again {
		c.w.moved[this] = was
	} else if err != nil {
		delete(c.w.moved, this)
	}
	return err
}

func (c *client) moveIn(n dbfs.Node, in dbfs.NodeID) error {
	name := c.pickName()
	c.says("moves %s of the second namespace to %q in %s", describe(&n), name, short(in))
	if m, err := c.j.Child(in, name); err == nil {
		c.gone(&m)
		if slices.ContainsFunc(c.holds, func(h hold) bool { return h.node == m.ID }) {
			return nil
		}
	}
	_, err := c.second.MoveOut(n.ID, c.j, in, name, false)
	return err
}

func (c *client) writeSecond(n dbfs.Node) error {
	number, content := c.next()
	c.says("writes content %d to %s of the second namespace", number, describe(&n))
	c.gone(&n)
	was := c.w.ledger.written[number]
	c.wrote(number)
	done := false
	defer func() {
		if !done {
			c.w.ledger.excused[number] = true
		}
	}()
	_, err := c.second.Write(n.ID, n.Content, content, int64(number))
	if done = true; err != nil {
		c.w.ledger.written[number] = was
		c.w.ledger.excused[number] = c.w.ledger.excused[number] || errors.Is(err, errDisk)
	}
	return err
}

// secondNodes lists what the server has in the second namespace.
func (w *world) secondNodes() []dbfs.Node {
	var live []dbfs.Node
	w.must(w.store.View(w.ctx, w.base.second, func(tx server.ReadTx) error {
		all, err := tx.Nodes(dbfs.RootNode, 1<<20)
		for _, n := range all {
			if !n.Deleted {
				live = append(live, n)
			}
		}
		return err
	}), "list the second namespace")
	return live
}

// inSecond returns the contents that are live there.
func (w *world) inSecond() map[int]bool {
	live := make(map[int]bool)
	if w.plan.movers {
		for _, n := range w.secondNodes() {
			live[numberOf(n.Content)] = true
		}
	}
	return live
}

// arrivedBefore checks P2 of a move: when a file is deleted that went to the second namespace, its
// content is there.
func (w *world) arrivedBefore(e *dbfs.Entry, old *dbfs.Node) {
	this := departure{e.Op.Device, e.Node.ID}
	number, went := w.moved[this]
	if !went || !e.Node.Deleted || old.Deleted || number == 0 || w.ledger.excused[number] {
		return
	}
	delete(w.moved, this)
	if w.inSecond()[number] {
		return
	}
	for _, n := range w.mirror.nodes { // back again
		if !n.Deleted && n.ID != e.Node.ID && n.Kind == dbfs.KindFile && numberOf(n.Content) == number {
			return
		}
	}
	w.fail("P2", "%s %q is deleted, and content %d has not got to the second namespace", short(e.Node.ID), old.Name, number)
}

// secondRests reports whether the client has nothing to do there.
func (c *client) secondRests() bool {
	return c.second == nil || c.second.Backlog().Edits == 0 && c.second.Cursor() != (dbfs.Cursor{})
}

// secondAtPeace checks what must be true there in the end.
func (w *world) secondAtPeace() {
	if !w.plan.movers {
		return
	}
	want := make(map[dbfs.NodeID]string)
	for _, n := range w.secondNodes() {
		w.checkNode(&n)
		w.readableIn(w.base.second, &n)
		want[n.ID] = describe(&n)
	}
	for _, c := range w.clients {
		c.s.Hint(w.base.second)
		w.must(c.s.Step(w.ctx, w.base.second), "read the second namespace")
		got := make(map[dbfs.NodeID]string)
		w.must(c.second.Nodes(func(n dbfs.Node) bool {
			if !n.IsRoot() {
				got[n.ID] = describe(&n)
			}
			return true
		}), "look at the second namespace")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			w.fail("P1", "%s shows in the second namespace %v, and the server has %v", c.name, got, want)
		}
	}
}
