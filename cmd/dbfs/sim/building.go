package sim

import (
	"time"

	"github.com/dbfs/dbfs"
)

// A build is a version that a device builds on: it has a file open for writing of which it has not
// all, and has asked the server to hold that.
type build struct {
	client int
	node   dbfs.NodeID
	rev    dbfs.JID
}

// build asks for a hold of what a file has that is being opened.
func (c *client) build(n *dbfs.Node) {
	w := c.w
	if !w.plan.garbage || c.down || n.Revs.Content == 0 || n.Revs.Content == dbfs.SelfRev {
		return
	}
	calm := w.calm
	w.calm = true
	defer func() { w.calm = calm }()
	if err := c.sessions[c.at].Hold(w.ctx, w.ns(), n.ID, n.Revs.Content); err == nil {
		w.builds[build{c.i, n.ID, n.Revs.Content}] = w.now.Add(dbfs.HoldTime - 2*time.Hour) // clocks are apart
		w.events[Held]++
	}
}

// letGo ends the holds of a file that is closed.
func (c *client) letGo(id dbfs.NodeID) {
	w := c.w
	calm := w.calm
	w.calm = true
	defer func() { w.calm = calm }()
	for b := range w.builds {
		if b.client == c.i && b.node == id {
			delete(w.builds, b)
			w.must(c.sessions[c.at].LetGo(w.ctx, w.ns(), id, b.rev), "let go of a version")
		}
	}
}

// builtOn checks P8 of what is held: it is there.
func (w *world) builtOn() {
	calm := w.calm
	w.calm = true
	defer func() { w.calm = calm }()
	for b, until := range w.builds {
		if w.now.After(until) {
			delete(w.builds, b)
			continue
		}
		r, err := w.reader().Revision(w.ctx, w.ns(), b.node, b.rev)
		if err != nil {
			w.fail("P8", "version %d of %s is gone, on which %s builds: %v", b.rev, short(b.node), people[b.client], err)
		}
		w.readable(&dbfs.Node{ID: b.node, Content: r.Content})
	}
}
