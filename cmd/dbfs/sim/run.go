package sim

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/server"
)

// Options say how large a history is.
type Options struct {
	Clients int  // 2 to 8; 0: 4
	Steps   int  // 0: 120
	Trace   bool // write down what happens
}

// A Result is what came of a history.
type Result struct {
	Seed      uint64   `json:"seed"`
	Plan      string   `json:"plan"`
	Violation string   `json:"violation,omitempty"` // "": everything was as it must be
	Property  string   `json:"property,omitempty"`  // which one was violated, as the protocol numbers them
	Hash      uint64   `json:"hash"`                // of all that happened: equal runs have equal ones
	Trace     []string `json:"trace,omitempty"`

	Coverage Coverage `json:"-"`
	Events   Events   `json:"-"`
}

const defaultSteps = 120

// maxExchanges bounds what a client says to a server before all is at rest.
const maxExchanges = 200

// Run runs one history. The error says that it could not be run.
func Run(seed uint64, plan Plan, o Options) (r Result, err error) {
	if o.Clients == 0 {
		o.Clients = 4
	}
	if o.Steps == 0 {
		o.Steps = defaultSteps
	}
	if most := len(people) - 1; o.Clients < 2 || o.Clients > most {
		return r, fmt.Errorf("%w: %d clients; there may be 2 to %d", dbfs.ErrInvalid, o.Clients, most)
	}
	w, err := newWorld(seed, plan, o.Clients, o.Trace)
	if err != nil {
		return r, fmt.Errorf("make a world: %w", err)
	}
	r = Result{Seed: seed, Plan: plan.Name, Coverage: w.cover, Events: w.events}
	defer func() {
		r.Hash, r.Trace = w.hash, w.trace
		switch p := recover().(type) {
		case nil:
		case violation:
			r.Property, r.Violation = p.property, p.text
		default:
			r.Property, r.Violation = "panic", fmt.Sprintf("%v\n%s", p, debug.Stack())
		}
	}()
	w.begin()
	for range o.Steps {
		w.act()
	}
	w.peace()
	return r, nil
}

// begin lets most clients list the namespace.
func (w *world) begin() {
	w.calm = true
	for i, c := range w.clients {
		if i == len(w.clients)-1 && w.schedule.IntN(4) == 0 {
			continue // it comes later
		}
		c.step()
	}
	if w.plan.Apart {
		for _, c := range w.clients {
			w.ledger.names[c.name] = true
			_, err := c.j.Create(dbfs.RootNode, c.name, newDir)
			if c.listed {
				w.must(err, "make a home")
			}
			c.step()
		}
		for _, c := range w.clients {
			c.s.Hint(w.ns())
			c.step()
		}
	}
	w.calm = false
}

// peace lets all clients sync until nothing moves, and checks what must be true then.
func (w *world) peace() {
	w.calm = true
	w.note("peace")
	if w.plan.roles {
		w.must(w.owner().SetMember(w.ctx, w.ns(), guest, dbfs.RoleWrite), "let the guest in")
	}
	for _, c := range w.clients {
		c.down, c.disk.failAfter, c.disk.crashAfter, c.exchanges = false, -1, -1, 0
		for _, h := range c.holds {
			c.j.Release(h.node)
		}
		c.holds = nil
		c.unpark()
	}
	w.everybodyHears()
	for !w.settle() {
	}
	for _, c := range w.clients {
		c.fsync()
		c.told()
		w.atPeace(c)
	}
	w.stranger()
	for _, n := range w.mirror.nodes {
		if n.Deleted || n.IsRoot() {
			continue
		}
		w.checkNode(&n)
		w.readable(&n)
	}
	w.secondAtPeace()
	w.nothingLost()
	w.mixText(w.picture())
}

// everybodyHears checks P14 where every hint was lost: the polls that are parked have ended by now,
// and whoever asks anew is told at once whether there is news.
func (w *world) everybodyHears() {
	w.now = w.now.Add(remote.MaxPollTime * time.Second)
	for _, c := range w.clients {
		at := c.j.Cursor()
		if at == (dbfs.Cursor{}) {
			continue
		}
		poll := c.sessions[c.at].Park(map[dbfs.NamespaceID]dbfs.Cursor{w.ns(): at})
		var hint dbfs.Hint
		var err error
		if poll.Woken() {
			hint, err = poll.Look(w.ctx)
		}
		poll.Close()
		w.must(err, "ask for news")
		if news := at != (dbfs.Cursor{Epoch: w.mirror.epoch, JID: w.mirror.head()}); news != (len(hint.Changed) > 0) {
			w.fail("P14", "%s is at %v, the log at %d/%d, and it hears of %d changes", c.name, at, w.mirror.epoch, w.mirror.head(), len(hint.Changed))
		}
	}
}

// settle lets every client sync once, and reports whether all were at rest.
func (w *world) settle() bool {
	rest := true
	for _, c := range w.clients {
		before, head := c.j.Cursor(), w.mirror.head()
		c.s.Hint(w.ns())
		c.s.Hint(w.base.second) // which is nothing where nothing moves
		c.step()
		c.upload()
		if c.j.Backlog().Edits > 0 || c.j.Cursor() != before || w.mirror.head() != head || c.j.Cursor().JID != w.mirror.head() {
			rest = false
		}
		rest = c.secondRests() && rest
		if c.exchanges > maxExchanges { // P9
			w.fail("P9", "%s does not come to rest; it still has %d edits: %s", c.name, c.j.Backlog().Edits, result(nil))
		}
	}
	return rest
}

// atPeace checks a client that has synced everything.
func (w *world) atPeace(c *client) {
	if left := c.j.Pending(); len(left) > 0 {
		w.fail("P9", "%s still has %d edits", c.name, len(left))
	}
	if at := c.j.Cursor(); at.JID != w.mirror.head() || at.Epoch != w.mirror.epoch {
		w.fail("P1", "%s is at %v, the log at %d/%d", c.name, at, w.mirror.epoch, w.mirror.head())
	}
	if w.plan.Active != 1 && !w.plan.Apart {
		return
	}
	told := c.noticed
	if w.plan.cutoff { // what was written and deleted in a batch that was cut off is made and deleted again
		told = slices.DeleteFunc(slices.Clone(told), isRevival)
	}
	if len(told) > 0 {
		w.fail("P5", "nobody was in the way of %s, but: %s", c.name, told[0])
	}
}

// stranger is a device that sees everything for the first time, and must see the same.
func (w *world) stranger() {
	c, err := newClient(w, len(w.clients))
	w.must(err, "a new device")
	c.step()
	c.told()
	if at := c.j.Cursor(); at.JID != w.mirror.head() {
		w.fail("P1", "a new device is at %v, the log at %d", at, w.mirror.head())
	}
	var n int
	w.must(w.store.View(w.ctx, w.ns(), func(tx server.ReadTx) error {
		all, err := tx.Nodes(dbfs.RootNode, 1<<20)
		for i := range all {
			if all[i].Deleted {
				continue
			}
			n++
			if diff := w.mirror.differs(&all[i]); diff != "" {
				w.fail("P1", "the database has %s as its log says", diff)
			}
		}
		return err
	}), "list the server's nodes")
	if n != len(w.mirror.names) {
		w.fail("P1", "the database has %d nodes, its log says %d", n, len(w.mirror.names))
	}
}
