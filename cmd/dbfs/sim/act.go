package sim

import (
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
)

// meanwhile lets others act while somebody waits for an answer.
func (w *world) meanwhile() {
	if w == nil || w.calm || w.depth >= 2 || w.schedule.IntN(20) != 0 {
		return
	}
	w.depth++
	for range 1 + w.schedule.IntN(2) {
		w.act()
	}
	w.depth--
}

// hearAll lets everybody who waits for news look now and then, as late as possible.
func (w *world) hearAll() {
	if w == nil || w.calm || w.schedule.IntN(10) != 0 {
		return
	}
	for _, c := range w.clients {
		c.hear()
	}
}

// act lets one thing happen.
func (w *world) act() {
	w.now = w.now.Add(time.Duration(1+w.clocks.IntN(2000)) * time.Millisecond)
	c := w.clients[w.schedule.IntN(len(w.clients))]
	if w.plan.garbage && w.schedule.IntN(10) == 0 {
		w.collect()
		return
	}
	switch n := w.schedule.IntN(1000); {
	case n < 480:
		if w.plan.Active == 0 || c.i < w.plan.Active {
			c.edit()
		}
	case n < 700:
		c.step()
	case n < 770:
		c.upload()
	case n < 860:
		c.hear()
	case n < 890:
		c.fsync()
	case n < 910:
		c.wire()
	case n < 935:
		w.crash(c)
	case n < 950:
		w.deliverLate()
	case n < 960:
		w.turnClocks(c)
	case n < 975:
		w.operate(c)
	default:
		c.told()
	}
}

// collect goes on with a collection of garbage, some steps at a time.
func (w *world) collect() {
	c := w.collection
	if c == nil {
		c = w.servers[w.schedule.IntN(servers)].NewCollection(false)
	}
	w.collection = nil // nobody else goes on with it meanwhile
	if w.clocks.IntN(3) == 0 && w.depth == 0 {
		w.now = w.now.Add(time.Duration(w.clocks.IntN(9*24)) * time.Hour)
	}
	for range 1 + w.schedule.IntN(100) {
		done, err := c.Step(w.ctx)
		w.mirror.follow()
		if !done && err == nil {
			continue
		}
		if w.tracing {
			w.note("garbage is collected: %+v %s", c.Result(), result(err))
		}
		if err != nil && !offline(err) {
			w.fail("errors", "collect garbage: %v", err)
		}
		if c.Result().Deleted > 0 {
			w.events[Collected]++
		}
		w.builtOn()
		if n := c.Result().Rescued; n > 0 {
			w.fail("P8", "%d chunks were condemned that somebody needs", n)
		}
		return
	}
	if w.collection == nil {
		w.collection = c
	}
}

// wire connects or disconnects a client.
func (c *client) wire() {
	if c.w.plan.rates[requestLost] == 0 {
		return
	}
	c.unpark()
	switch {
	case c.down:
		c.down = false
		c.s.Hint(c.w.ns()) // who comes back looks for what it missed
	case c.w.schedule.IntN(2) == 0:
		c.down = true
	default:
		c.at = c.w.schedule.IntN(servers)
	}
	c.says("is connected to %d: %v", c.at, !c.down)
}

// crash lets a client die, now or soon.
func (w *world) crash(c *client) {
	quiet := !c.busy && !c.putting && !c.editing
	switch n := w.disks.IntN(4); {
	case !w.plan.crashes:
	case n == 0 && w.plan.power:
		w.note("%s loses power", c.name)
		c.restart(quiet, true)
	case n == 1:
		c.disk.crashAfter, c.disk.tear = w.disks.IntN(6), w.disks.IntN(2) == 0
	case n == 2 && w.plan.disks:
		c.disk.failAfter = w.disks.IntN(5)
		w.note("%s has a disk that fails after %d transactions", c.name, c.disk.failAfter)
	default:
		w.note("%s dies", c.name)
		c.restart(quiet, false)
	}
}

// turnClocks lets a clock jump, or time pass. No request takes hours: the server counts on that.
func (w *world) turnClocks(c *client) {
	if w.depth > 0 {
		return
	}
	switch w.clocks.IntN(3) {
	case 0:
		c.skew = w.skew(30 * time.Minute)
	case 1:
		w.now = w.now.Add(time.Duration(w.clocks.IntN(120)) * time.Minute)
	default:
		if w.plan.chunks {
			w.now = w.now.Add(time.Duration(w.clocks.IntN(30)) * time.Hour) // receipts run out
		}
	}
}

// operate does what happens at the servers.
func (w *world) operate(c *client) {
	switch n := w.schedule.IntN(4); {
	case n == 0 && w.plan.rates[requestLost] > 0:
		w.restartServer(w.schedule.IntN(servers))
	case n == 1 && w.plan.chunks:
		_, err := w.servers[0].SweepUploads(w.ctx)
		w.note("a server sweeps: %s", result(err))
	case w.plan.cutoff:
		w.note("the log is cut off")
		w.events[CutOff]++
		w.must(w.store.changeHead(w.ns(), func(h *server.Head) { h.Floor = h.JID }), "cut the log off")
	case w.plan.restore:
		w.restore()
	case w.plan.roles:
		w.setRole()
	}
}

// restartServer starts a server again. Who was connected to it is not.
func (w *world) restartServer(i int) {
	w.note("server %d starts again", i)
	w.events[ServerReborn]++
	w.skews[i] = w.skew(5 * time.Minute)
	calm := w.calm
	w.calm = true
	defer func() { w.calm = calm }()
	w.must(w.serve(i), "start a server again")
	for j, c := range w.clients {
		if c.at == i {
			c.unpark()
		}
		se, err := w.servers[i].Session(w.ctx, w.base.tokens[j])
		w.must(err, "connect again")
		c.sessions[i] = se
	}
}

// restore keeps a backup, or brings the server back to the one that was kept.
func (w *world) restore() {
	if w.backup == nil || w.schedule.IntN(2) == 0 {
		w.note("a backup is made")
		w.backup = w.store.backup(w.ns())
		return
	}
	w.epoch++
	w.note("the server is restored")
	w.events[Restored]++
	w.must(w.store.restore(w.ns(), w.backup, w.epoch), "restore")
	w.backup = nil
	taken := w.mirror.taken
	w.mirror.learn()
	// What the server had taken and lost again is nobody's fault here, also where it is just saying so.
	pending := make(map[int]bool)
	for _, c := range w.clients {
		for _, op := range c.j.Pending() {
			if _, said := taken[op.ID]; op.Content != nil && !(said && c.busy) {
				pending[numberOf(*op.Content)] = true
			}
		}
	}
	for n := range w.ledger.written {
		if !pending[n] {
			w.ledger.excused[n] = true
		}
	}
}

// setRole says anew what the second account may do.
func (w *world) setRole() {
	role := []dbfs.Role{dbfs.RoleNone, dbfs.RoleRead, dbfs.RoleWrite, dbfs.RoleWrite}[w.schedule.IntN(4)]
	w.note("%s may now %s", guest, role)
	w.events[Locked]++
	calm := w.calm
	w.calm = true
	defer func() { w.calm = calm }()
	w.must(w.owner().SetMember(w.ctx, w.ns(), guest, role), "set a role")
}
