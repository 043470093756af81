package sim

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/syncer"
)

// A client is a device: the real journal and syncer over a disk of its own.
type client struct {
	w        *world
	i        int
	name     string
	mine     bool // it is the owner's
	disk     *disk
	sessions []*server.Session // one at each server
	at       int               // the server that it is connected to
	skew     time.Duration     // of its clock
	down     bool              // it reaches nobody

	// What a restart makes anew.
	life    int
	j       *journal.Journal
	second  *journal.Journal // of the second namespace; nil: nothing moves there
	s       *syncer.Syncer
	poll    *server.Poll // parked; nil: none
	polled  dbfs.JID     // the cursor that it waits at
	busy    bool         // a step is under way
	putting bool         // … or an upload
	editing bool         // … or an edit
	shown   shown        // what observers know
	holds   []hold
	follows [][2]dbfs.NodeID            // told, and not done yet
	touched map[dbfs.NodeID][]dbfs.OpID // pending edits, as they were when the step under way last heard from a server; nil: none is
	changes int                         // of the server's doing, told so far
	listed  bool                        // the tree has been listed, and observers know it

	chunks    map[dbfs.ChunkID][]byte // bytes on this disk that the server may not have
	unsynced  []int                   // contents recorded since the last Sync
	foreign   bool                    // others' entries came since the journal was last empty
	heard     dbfs.JID                // how far the log has been read
	cursor    dbfs.Cursor             // as last seen
	cursed    bool                    // … may go back: the log was restored or the disk lost something
	exchanges int
	noticed   []string                 // what reconciling told
	copies    map[dbfs.NodeID]dbfs.JID // the content of others that the last conflicted copy of a file stepped aside for
}

// A hold is a file that is open for writing.
type hold struct {
	node dbfs.NodeID
	base dbfs.Content // what it was when its writer began
}

func newClient(w *world, i int) (*client, error) {
	c := &client{
		w: w, i: i, name: people[i], mine: i < len(w.base.mine) && w.base.mine[i], disk: newDisk(),
		skew: w.skew(30 * time.Minute), chunks: make(map[dbfs.ChunkID][]byte),
		copies: make(map[dbfs.NodeID]dbfs.JID),
	}
	token := w.base.reader
	if i < len(w.base.tokens) {
		token = w.base.tokens[i]
	}
	if err := c.connect(token); err != nil {
		return nil, err
	}
	c.at = w.schedule.IntN(servers)
	return c, c.open()
}

// connect makes sessions at all servers.
func (c *client) connect(token string) error {
	c.sessions = c.sessions[:0]
	for _, srv := range c.w.servers {
		se, err := srv.Session(c.w.ctx, token)
		if err != nil {
			return err
		}
		c.sessions = append(c.sessions, se)
	}
	return nil
}

// reader is a session that looks at what is there.
func (w *world) reader() *server.Session { return w.clients[0].sessions[0] }

func (c *client) clock() time.Time { return c.w.now.Add(c.skew) }

// open starts the client over what its disk holds.
func (c *client) open() error {
	inodes, err := cache.OpenInodes(c.disk)
	if err != nil {
		return err
	}
	log := slog.New(&listener{c, c.life})
	txn := 0
	if c.w.plan.smallTxn {
		txn = 1500 + 1000*c.i
	}
	c.j, err = journal.Open(journal.Config{
		NS: c.w.ns(), KV: c.disk, Tree: cache.NewTree(c.w.ns(), c.rule()), Names: c.rule(), Device: c.sessions[0].Device(), Name: c.name,
		Inodes: inodes.Reserve, Clock: c.clock, NewID: c.newID, Observe: c.observe, Unpin: c.unpin, Log: log,
		Trace: c.w.met, TxnBytes: txn,
	})
	if err != nil {
		return err
	}
	x := wire{c}
	c.s = syncer.New(syncer.Config{Meta: x, Chunks: x, Device: c.sessions[0].Device(), Read: c.read, Clock: c.clock, Log: silent})
	c.s.Add(c.j, dbfs.RoleWrite)
	if c.w.plan.movers {
		if err := c.openSecond(inodes, txn); err != nil {
			return err
		}
	}
	c.listed = false
	c.learn()
	return nil
}

// rule is how the client tells names apart. In a history of other tables one of them does it in
// the other way, as if its Unicode were another one: more than two versions ever differ.
func (c *client) rule() dbfs.NameRule {
	if c.w.plan.tables && c.i == 1 {
		return dbfs.NamesPortable - c.w.plan.names
	}
	return c.w.plan.names
}

func (c *client) newID() dbfs.NodeID {
	var id dbfs.NodeID
	a, b := c.w.ids.Uint64(), c.w.ids.Uint64()|1
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return id
}

// listener hears what reconciling logs.
type listener struct {
	c    *client
	life int
}

func (l *listener) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *listener) WithGroup(string) slog.Handler                    { return l }
func (l *listener) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "reconciled" && !l.c.w.tracing {
		return nil
	}
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteByte(' ')
		b.WriteString(a.String())
		return true
	})
	if r.Message == "reconciled" {
		l.c.noticed = append(l.c.noticed, b.String())
		l.c.copied(r)
	}
	l.c.w.note("      %s: %s", l.c.name, &b)
	return nil
}

// copied checks that one write of others makes one conflicted copy, whatever was pending (P5):
// what was written after it here goes into that copy.
func (c *client) copied(r slog.Record) {
	var what, other string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "what":
			what = a.Value.String()
		case "other":
			other = a.Value.String()
		}
		return true
	})
	var id dbfs.NodeID
	if what != string(journal.NoticeCopy) || c.editing || id.UnmarshalText([]byte(other)) != nil {
		return
	}
	now := c.w.mirror.contentAt(id, c.heard)
	if last, ok := c.copies[id]; ok && last == now && !c.w.plan.forgetful() {
		c.w.fail("P5", "%s makes a second conflicted copy of %s, which nobody has written to since the first", c.name, short(id))
	}
	c.copies[id] = now
}

// read gives the syncer the bytes of a chunk.
func (c *client) read(_ context.Context, _ dbfs.NamespaceID, _ dbfs.NodeID, _ int, ref dbfs.ChunkRef) ([]byte, func(), error) {
	b, ok := c.chunks[ref.ID]
	if !ok {
		return c.readElsewhere(ref)
	}
	return b, func() {}, nil
}

// unpin lets chunks go that no pending edit names any more.
func (c *client) unpin(refs []dbfs.ChunkRef) {
	for _, r := range refs {
		if !c.heldChunk(r.ID) && !c.needed(r.ID) {
			delete(c.chunks, r.ID)
		}
	}
}

// heldChunk reports whether an open file has a chunk as part of its draft; none has any yet.
func (c *client) heldChunk(dbfs.ChunkID) bool { return false }

// run does something of a client's. If the client dies in it, it starts again.
func (c *client) run(what *bool, fn func()) (survived bool) {
	life, depth, stack := c.life, c.w.depth, len(c.w.stack)
	*what = true
	c.w.stack = append(c.w.stack, c)
	defer func() {
		c.w.depth, c.w.stack = depth, c.w.stack[:stack]
		if c.life == life {
			*what = false
		}
		switch p := recover(); p := p.(type) {
		case nil:
			survived = c.life == life
		case diesInUpdate:
			c.w.note("%s dies in a transaction", c.name)
			c.w.events[DeathInside]++
			c.restart(false, false)
		case died:
			if p.client != c.i {
				panic(p)
			}
			if c.life == life {
				c.restart(false, false)
			}
		default:
			panic(p)
		}
	}()
	fn()
	c.mustLive(life)
	c.follow()
	return
}

// restart starts a client again that has died. quiet: it was doing nothing, so that what it
// showed must be shown again. A loss of power takes what was not synced.
func (c *client) restart(quiet, power bool) {
	w := c.w
	w.events[Death]++
	clear(c.copies)
	before, foreign := c.shown, c.foreign
	c.life++
	c.busy, c.putting, c.editing, c.touched = false, false, false, nil
	c.disk.failAfter, c.disk.crashAfter = -1, -1
	c.holds, c.follows = c.holds[:0], c.follows[:0]
	if c.poll != nil {
		c.poll.Close()
		c.poll = nil
	}
	lost := 0
	if power {
		lost = w.disks.IntN(c.disk.unsynced() + 1)
		c.disk.lose(lost)
		w.events[PowerLoss] += min(lost, 1)
		c.cursed = true
		for _, n := range c.unsynced {
			w.ledger.excused[n] = true
		}
	}
	if w.tracing {
		w.note("%s starts again, %d transactions lost", c.name, lost)
	}
	w.must(c.open(), c.name+" starts again")
	w.mix(uint64(c.i), uint64(lost), uint64(len(c.shown.nodes)))
	if quiet && lost == 0 && !foreign && c.listed {
		if diff := before.differs(&c.shown); diff != "" { // P12
			w.fail("P12", "%s sees something else after a restart: %s", c.name, diff)
		}
	}
}

// step lets the client list, pull and push.
func (c *client) step() {
	if c.busy {
		return
	}
	w := c.w
	before, told, pendingBefore := c.j.Cursor(), c.changes, c.j.Backlog().Edits
	var err error
	survived := c.run(&c.busy, func() {
		c.touched = c.touches()
		err = c.s.Step(w.ctx, w.ns())
		c.touched = nil
		if w.plan.movers && (w.calm || w.schedule.IntN(2) == 0) {
			err = errors.Join(err, c.s.Step(w.ctx, w.base.second))
		}
	})
	if !survived {
		c.foreign = true // perhaps
		return
	}
	after := c.j.Cursor()
	if !c.listed && after != (dbfs.Cursor{}) {
		c.learn()
	}
	if w.tracing {
		w.note("%s syncs from %v to %v, %d edits left: %s", c.name, before, after, c.j.Backlog().Edits, result(err))
	}
	w.mix(uint64(c.i), uint64(after.JID), uint64(c.j.Backlog().Edits), uint64(c.changes))
	c.explain(err)
	c.forward(after)
	c.stable(before, after, c.changes-told, pendingBefore)
}

// touches returns the pending edits by their nodes.
func (c *client) touches() map[dbfs.NodeID][]dbfs.OpID {
	all := make(map[dbfs.NodeID][]dbfs.OpID)
	for _, op := range c.j.Pending() {
		all[op.Node] = append(all[op.Node], op.ID)
	}
	return all
}

// unsent reports whether the server has yet to take an edit of a node.
func (c *client) unsent(id dbfs.NodeID) bool {
	for _, op := range c.touched[id] {
		if _, taken := c.w.mirror.taken[op]; !taken {
			return true
		}
	}
	return false
}

// explain ends the history with an error that no fault explains.
func (c *client) explain(err error) {
	switch {
	case err == nil, offline(err):
	case errors.Is(err, errDisk):
		c.w.events[DiskFailure]++
		c.foreign = true // what was begun may be finished later
		c.disk.failAfter = -1
		clear(c.copies)
	case c.w.plan.roles && (errors.Is(err, dbfs.ErrReadOnly) || errors.Is(err, dbfs.ErrForbidden)):
	default:
		c.w.fail("errors", "%s: %v", c.name, err)
	}
}

// forward checks P10 of a client: a cursor does not go back.
func (c *client) forward(at dbfs.Cursor) {
	if at.Epoch == c.cursor.Epoch && at.JID < c.cursor.JID && !c.cursed && !c.w.plan.relists() {
		c.w.fail("P10", "the cursor of %s goes from %v to %v", c.name, c.cursor, at)
	}
	c.cursor, c.cursed = at, false
}

// stable checks P11: where nobody else's edits came in, syncing changes nothing of what is seen.
func (c *client) stable(before, after dbfs.Cursor, changes, pending int) {
	entries, known := c.w.mirror.between(before, after)
	others := !known
	for i := range entries {
		others = others || entries[i].Op.Device != c.sessions[0].Device()
	}
	c.foreign = c.foreign || others
	if changes > 0 && !c.foreign && c.listed && !c.w.plan.forgetful() {
		c.w.fail("P11", "%s saw %d nodes change while it synced nobody's edits but its own", c.name, changes)
	}
	if c.j.Backlog().Edits == 0 {
		c.foreign = false
	}
}

// upload lets the client put the chunks of a round.
func (c *client) upload() {
	if c.putting {
		return
	}
	w := c.w
	var err error
	var some bool
	if !c.run(&c.putting, func() { some, err = c.putSome() }) || !some {
		return
	}
	if w.tracing {
		w.note("%s uploads: %s", c.name, result(err))
	}
	w.mix(uint64(c.i), 77)
	c.explain(err)
}

// hear lets the client wait for news.
func (c *client) hear() {
	if c.down {
		c.unpark()
		return
	}
	w := c.w
	if c.poll == nil {
		if at := c.j.Cursor(); at != (dbfs.Cursor{}) {
			c.polled = at.JID
			c.poll = c.sessions[c.at].Park(map[dbfs.NamespaceID]dbfs.Cursor{w.ns(): at})
		}
		return
	}
	if !c.poll.Woken() {
		return
	}
	hint, err := c.poll.Look(w.ctx)
	if w.tracing {
		w.note("%s hears of %d changes: %s", c.name, len(hint.Changed), result(err))
	}
	c.explain(err)
	if len(hint.Changed) == 0 {
		return // the wait goes on
	}
	c.unpark()
	if w.fault(hintLost) {
		return
	}
	c.s.Hint(w.ns())
	if w.fault(hintTwice) {
		c.s.Hint(w.ns())
	}
}

func (c *client) unpark() {
	if c.poll != nil {
		c.poll.Close()
		c.poll = nil
	}
}

// heard checks P14: when a server has taken edits, whoever waits there has been woken.
func (w *world) heard(at int) {
	for _, c := range w.clients {
		if c.poll != nil && c.at == at && c.polled < w.mirror.head() && !c.poll.Woken() {
			w.fail("P14", "%s waits for news, and the log has grown without waking it", c.name)
		}
	}
}

// fsync makes everything durable that was recorded.
func (c *client) fsync() {
	if err := c.j.Sync(); err != nil {
		c.explain(err)
		return
	}
	if c.second != nil {
		if err := c.second.Sync(); err != nil {
			c.explain(err)
			return
		}
	}
	c.unsynced = c.unsynced[:0]
	if c.w.tracing {
		c.w.note("%s syncs its disk", c.name)
	}
}

// observe hears which nodes look different.
func (c *client) observe(changes []journal.Change) {
	for _, ch := range changes {
		if ch.Follow != (dbfs.NodeID{}) {
			if c.unsent(ch.Follow) {
				c.w.fail("P5", "two files that %s is about to send have become one, %s", c.name, short(ch.Follow))
			}
			c.follows = append(c.follows, [2]dbfs.NodeID{ch.Node, ch.Follow})
			continue
		}
		if ch.Remote {
			c.changes++
		}
		if c.listed {
			c.shown.change(c, ch)
		}
	}
}

// follow lets open files go on as the nodes that observers were told of.
func (c *client) follow() {
	for _, f := range c.follows {
		for i := range c.holds {
			if c.holds[i].node == f[0] {
				c.j.Hold(f[1])
				c.j.Release(f[0])
				c.holds[i].node = f[1]
			}
		}
	}
	c.follows = c.follows[:0]
}

// learn looks at everything, as observers do once.
func (c *client) learn() {
	c.shown = newShown()
	if c.j.Cursor() != (dbfs.Cursor{}) {
		c.listed, c.shown = true, c.look()
	}
}

// look returns everything that the client shows.
func (c *client) look() shown {
	var all []dbfs.Node
	c.w.must(c.j.Nodes(func(n dbfs.Node) bool {
		all = append(all, n)
		return true
	}), "look at everything")
	slices.SortFunc(all, func(a, b dbfs.Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	s := newShown()
	for i := range all {
		s.put(all[i])
	}
	return s
}

// told checks that observers know what there is.
func (c *client) told() {
	if !c.listed {
		return
	}
	now := c.look()
	if diff := c.shown.differs(&now); diff != "" {
		c.w.fail("P11", "observers of %s know something else than what it shows: %s", c.name, diff)
	}
	if c.j.Backlog().Edits > 0 || c.j.Cursor() != (dbfs.Cursor{Epoch: c.w.mirror.epoch, JID: c.w.mirror.head()}) {
		return
	}
	c.converged(&now)
}

// converged checks P1 for a client that has nothing pending and everything pulled.
func (c *client) converged(now *shown) {
	w := c.w
	for _, id := range now.order() {
		n := now.nodes[id].node
		if n.IsRoot() {
			continue
		}
		if diff := w.mirror.differs(&n); diff != "" {
			w.fail("P1", "%s shows %s", c.name, diff)
		}
		if m, err := c.j.Child(n.Parent, n.Name); err != nil || m.ID != n.ID {
			w.fail("P1", "%s does not find %s by its name: %v", c.name, describe(&n), err)
		}
	}
	if got, want := now.count(), len(w.mirror.names); got != want {
		w.fail("P1", "%s shows %d nodes, and the server has %d", c.name, got, want)
	}
}

// shown is what is seen of a namespace, with the nodes in an order that chance can pick from.
type shown struct {
	nodes map[dbfs.NodeID]*seen
	files []dbfs.NodeID // and symlinks
	dirs  []dbfs.NodeID // but the root
}

type seen struct {
	node dbfs.Node
	at   int // in files or dirs
}

func newShown() shown { return shown{nodes: make(map[dbfs.NodeID]*seen)} }

func (s *shown) list(n *dbfs.Node) *[]dbfs.NodeID {
	if n.Kind.IsDir() {
		return &s.dirs
	}
	return &s.files
}

func (s *shown) put(n dbfs.Node) {
	if n.IsRoot() {
		return
	}
	if old, ok := s.nodes[n.ID]; ok {
		old.node = n
		return
	}
	list := s.list(&n)
	s.nodes[n.ID] = &seen{n, len(*list)}
	*list = append(*list, n.ID)
}

func (s *shown) drop(id dbfs.NodeID) {
	old, ok := s.nodes[id]
	if !ok {
		return
	}
	list := s.list(&old.node)
	last := (*list)[len(*list)-1]
	(*list)[old.at] = last
	s.nodes[last].at = old.at
	*list = (*list)[:len(*list)-1]
	delete(s.nodes, id)
}

// change takes over what observers are told, which must fit what they were told before.
func (s *shown) change(c *client, ch journal.Change) {
	if ch.Node == dbfs.RootNode {
		return
	}
	old, known := s.nodes[ch.Node]
	if known != (ch.Before != nil) || known && look(&old.node) != look(ch.Before) {
		c.w.fail("P11", "%s tells observers of a change of %s that does not begin with what they know", c.name, short(ch.Node))
	}
	if ch.After == nil {
		s.drop(ch.Node)
	} else {
		s.put(*ch.After)
	}
}

// look is what of a node must look the same for it to look the same.
type lookOf struct {
	id, parent   dbfs.NodeID
	name, target string
	kind         dbfs.Kind
	ino          uint64
	size, mtime  int64
	mode         uint32
}

func look(n *dbfs.Node) lookOf {
	return lookOf{n.ID, n.Parent, n.Name, n.Target, n.Kind, n.Ino, n.Content.Size, n.Attr.MTime, n.Attr.Mode}
}

func (s *shown) count() int { return len(s.nodes) }

// order returns the ids in the order of their bytes.
func (s *shown) order() []dbfs.NodeID {
	all := slices.Concat(s.files, s.dirs)
	slices.SortFunc(all, func(a, b dbfs.NodeID) int { return bytes.Compare(a[:], b[:]) })
	return all
}

// differs says in what another one differs; "": in nothing.
func (s *shown) differs(t *shown) string {
	for _, id := range s.order() {
		a := s.nodes[id]
		b, ok := t.nodes[id]
		if !ok {
			return describe(&a.node) + " is gone"
		}
		if look(&a.node) != look(&b.node) {
			return describe(&a.node) + " is now " + describe(&b.node)
		}
	}
	for _, id := range t.order() {
		if _, ok := s.nodes[id]; !ok {
			return describe(&t.nodes[id].node) + " is new"
		}
	}
	return ""
}
