package sim

import (
	"errors"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// What users do: one edit at a time, somewhere in what they see.

// edit does one thing that a user could do.
func (c *client) edit() {
	if !c.listed || c.editing {
		return
	}
	var err error
	if !c.run(&c.editing, func() { err = c.change() }) {
		return
	}
	switch {
	case err == nil:
	case errors.Is(err, dbfs.ErrExist), errors.Is(err, dbfs.ErrNotEmpty), errors.Is(err, dbfs.ErrLoop),
		errors.Is(err, dbfs.ErrIsDir), errors.Is(err, dbfs.ErrNotDir), errors.Is(err, dbfs.ErrNotExist):
		if c.w.tracing {
			c.w.note("      … is refused: %v", err)
		}
	default:
		c.explain(err)
	}
	c.w.mix(uint64(c.i), uint64(c.changes), uint64(c.j.Backlog().Edits))
}

// What users call things. Of the spellings the first five are two names where names are portable.
var (
	words     = []string{"a", "b", "c", "d.txt", ".e"}
	spellings = []string{"a", "A", "\u00e9", "e\u0301", "E\u0301", "b", "d.txt", "D.TXT"}
)

func (c *client) pickName() string {
	pool, crowd := words, 2
	if c.w.plan.names == dbfs.NamesPortable || c.w.plan.tables {
		pool, crowd = spellings, 5
	}
	n := len(pool)
	if c.w.plan.Crowd || c.w.plan.Deep {
		n = crowd
	}
	name := pool[c.w.workload.IntN(n)]
	c.w.ledger.names[name] = true
	return name
}

func (c *client) pick(list []dbfs.NodeID) (dbfs.Node, bool) {
	if len(list) == 0 {
		return dbfs.Node{}, false
	}
	n := c.shown.nodes[list[c.w.workload.IntN(len(list))]].node
	return n, !c.w.plan.Apart || c.within(n)
}

// within reports whether a node lies in the client's own directory.
func (c *client) within(n dbfs.Node) bool {
	for range 100 {
		dir, ok := c.shown.nodes[n.Parent]
		if !ok {
			return false
		}
		if dir.node.Parent == dbfs.RootNode && dir.node.Name == c.name {
			return true
		}
		n = dir.node
	}
	return false
}

// pickDir returns a directory to put something in.
func (c *client) pickDir() (dbfs.NodeID, bool) {
	w := c.w
	root := 2
	if w.plan.Deep {
		root = 6
	}
	if !w.plan.Apart && (len(c.shown.dirs) == 0 || w.workload.IntN(root) == 0) {
		return dbfs.RootNode, true
	}
	if len(c.shown.dirs) == 0 {
		return dbfs.RootNode, false
	}
	n := c.shown.nodes[c.shown.dirs[w.workload.IntN(len(c.shown.dirs))]].node
	if n.Kind != dbfs.KindDir {
		return dbfs.RootNode, false
	}
	return n.ID, !w.plan.Apart || n.Parent == dbfs.RootNode && n.Name == c.name || c.within(n)
}

func (c *client) change() error {
	in, ok := c.pickDir()
	if !ok {
		return nil
	}
	if c.w.plan.Links && c.w.workload.IntN(5) == 0 {
		return c.link(in)
	}
	if c.w.plan.movers && c.w.workload.IntN(3) == 0 {
		return c.changeSecond(in)
	}
	n := c.w.workload.IntN(100)
	if c.w.plan.Deep {
		n = deepen(n, c.w.plan.Twins)
	}
	switch {
	case n < 20:
		return c.create(in)
	case n < 36:
		return c.write()
	case n < 46:
		return c.mkdir(in)
	case n < 50:
		return c.symlink(in)
	case n < 62:
		return c.move(c.shown.files, in)
	case n < 74:
		return c.move(c.shown.dirs, in)
	case n < 84:
		return c.delete()
	case n < 87:
		return c.rmdir()
	case n < 90:
		return c.removeAll()
	case n < 92:
		return c.exchange()
	case n < 94:
		return c.chmod()
	case n < 97 && c.w.plan.holds:
		return c.openFile()
	case c.w.plan.holds:
		return c.closeFile()
	}
	return c.write()
}

// deepen makes most edits ones of directories and, where there are to be twins, of new files.
func deepen(n int, twins bool) int {
	switch {
	case n < 20 && twins:
		return 0 // create
	case n < 30:
		return 40 // mkdir
	case n < 40:
		return 91 // exchange
	case n < 75:
		return 70 // move a directory
	}
	return n
}

// next returns a content that nobody has used or, now and then, one that somebody has.
func (c *client) next() (int, dbfs.Content) {
	w := c.w
	n := w.ledger.last + 1
	again := 7
	if w.plan.Twins {
		again = 2
	}
	if w.ledger.last > 0 && w.plan.Active != 1 && w.workload.IntN(again) == 0 {
		n = 1 + w.workload.IntN(w.ledger.last)
	} else {
		w.ledger.last = n
	}
	content, raw := w.contentOf(n)
	if raw != nil {
		c.chunks[content.Chunks.At(content.Chunks.Len()-1)] = raw
	}
	return n, content
}

// wrote notes that a content was recorded.
func (c *client) wrote(n int) {
	c.w.ledger.written[n] = c.name
	c.unsynced = append(c.unsynced, n)
}

// gone notes that a user who saw a node deleted or overwrote it.
func (c *client) gone(n *dbfs.Node) {
	c.w.ledger.excused[numberOf(n.Content)] = true
	delete(c.w.moved, departure{c.sessions[0].Device(), n.ID}) // it had come back
}

// unnamed notes that a user who saw a node takes a name of it away, and with the last one what it
// held.
func (c *client) unnamed(n *dbfs.Node) {
	if n.Kind == dbfs.KindLink {
		return
	}
	if now, err := c.j.Node(n.ID); err == nil && len(now.Links) > 0 {
		return
	}
	c.gone(n)
}

var (
	heldFile   = journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o644}, Held: true}
	newDir     = journal.NewNode{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}}
	newSymlink = journal.NewNode{Kind: dbfs.KindSymlink, Attr: dbfs.Attr{Mode: 0o777}}
)

func (c *client) says(format string, args ...any) {
	if c.w.tracing {
		c.w.note(c.name+" "+format, args...)
	}
}

func (c *client) create(in dbfs.NodeID) error {
	name := c.pickName()
	number, content := c.next()
	c.says("creates %q in %s with content %d", name, short(in), number)
	n, err := c.j.Create(in, name, heldFile)
	if err != nil {
		return err
	}
	defer c.j.Release(n.ID)
	if c.w.workload.IntN(10) == 0 {
		return nil // and leaves it empty
	}
	return c.save(n.ID, n.Content, number, content)
}

// save records a content. It is noted before, since the client may die in it.
func (c *client) save(id dbfs.NodeID, base dbfs.Content, number int, content dbfs.Content) error {
	was := c.w.ledger.written[number]
	c.wrote(number)
	done := false
	defer func() {
		if !done { // it died: whether it was recorded is not known
			c.w.ledger.excused[number] = true
		}
	}()
	_, err := c.j.Write(id, base, content, int64(number))
	if done = true; err == nil {
		for i := range c.holds { // all who have a file open here write to one draft
			if c.holds[i].node == id {
				c.holds[i].base = content
			}
		}
	} else {
		c.w.ledger.written[number] = was
		if errors.Is(err, errDisk) {
			c.w.ledger.written[number] = c.name
			c.w.ledger.excused[number] = true
		}
	}
	return err
}

func (c *client) write() error {
	n, ok := c.pick(c.shown.files)
	if ok && n.Kind == dbfs.KindLink {
		n, ok = c.behind(n)
	}
	if !ok || n.Kind != dbfs.KindFile {
		return nil
	}
	number, content := c.next()
	c.says("writes content %d to %s", number, describe(&n))
	c.gone(&n)
	return c.save(n.ID, n.Content, number, content)
}

func (c *client) mkdir(in dbfs.NodeID) error {
	name := c.pickName()
	c.says("makes directory %q in %s", name, short(in))
	_, err := c.j.Create(in, name, newDir)
	return err
}

func (c *client) symlink(in dbfs.NodeID) error {
	name, what := c.pickName(), newSymlink
	what.Target = "to " + string("xy"[c.w.workload.IntN(2)])
	c.says("makes symlink %q in %s to %q", name, short(in), what.Target)
	_, err := c.j.Create(in, name, what)
	return err
}

// link gives a file one more name.
func (c *client) link(in dbfs.NodeID) error {
	n, ok := c.pick(c.shown.files)
	if ok && n.Kind == dbfs.KindLink {
		n, ok = c.behind(n)
	}
	if !ok || !c.there(&n) {
		return nil
	}
	name := c.pickName()
	c.says("calls %s also %q in %s", describe(&n), name, short(in))
	_, err := c.j.Link(n.ID, in, name)
	return err
}

// behind returns what a link leads to. As long as it is not reconciled that somebody has made a
// name for what has been deleted here, that is nothing.
func (c *client) behind(link dbfs.Node) (dbfs.Node, bool) {
	n, err := c.j.Node(link.Link)
	return n, err == nil
}

// there reports whether a node is what its name leads to: users cannot name another one.
func (c *client) there(n *dbfs.Node) bool {
	m, err := c.j.Child(n.Parent, n.Name)
	return err == nil && m.ID == n.ID
}

func (c *client) move(list []dbfs.NodeID, in dbfs.NodeID) error {
	n, ok := c.pick(list)
	if !ok || !c.there(&n) {
		return nil
	}
	name := c.pickName()
	noReplace := c.w.workload.IntN(8) == 0
	c.says("moves %s to %q in %s", describe(&n), name, short(in))
	m, err := c.j.Child(in, name)
	if err == nil && m.ID != n.ID && !noReplace {
		c.unnamed(&m)
	}
	over, there := c.w.mirror.nodes[m.ID]
	saves := err == nil && there && m.Kind == dbfs.KindFile && !over.Deleted && n.Kind == dbfs.KindFile && n.ID != m.ID && len(m.Links) == 0 &&
		!c.w.sent[n.ID] && c.j.StateOf(n.ID) == (journal.State{Pending: 1}) && !c.w.plan.forgetful()
	now, err := c.j.Move(n.ID, in, name, noReplace)
	if err != nil {
		return err
	}
	if saves && now != m.ID {
		c.w.fail("P2", "%s saved a new file over %s, whose history ends with that", c.name, describe(&m))
	}
	if now != n.ID {
		c.saved(n.ID, now)
	}
	return nil
}

// saved: a new file became the next version of an old one. Who has the new one open goes on as
// the old one; who had that open writes to a file without a name.
func (c *client) saved(from, to dbfs.NodeID) {
	c.holds = slices.DeleteFunc(c.holds, func(h hold) bool {
		if h.node == to {
			c.j.Release(to)
		}
		return h.node == to
	})
	for i := range c.holds { // the journal has passed the hold on
		if c.holds[i].node == from {
			c.holds[i].node = to
		}
	}
}

// exchange lets two nodes change places.
func (c *client) exchange() error {
	list := func() []dbfs.NodeID {
		if c.w.workload.IntN(3) == 0 {
			return c.shown.dirs
		}
		return c.shown.files
	}
	a, okA := c.pick(list())
	b, okB := c.pick(list())
	if !okA || !okB || a.ID == b.ID || !c.there(&a) || !c.there(&b) {
		return nil
	}
	c.says("exchanges %s with %s", describe(&a), describe(&b))
	return c.j.Exchange(a.ID, b.ID)
}

func (c *client) delete() error {
	n, ok := c.pick(c.shown.files)
	if !ok || !c.there(&n) {
		return nil
	}
	c.says("deletes %s", describe(&n))
	c.unnamed(&n)
	return c.j.Delete(n.ID)
}

func (c *client) rmdir() error {
	n, ok := c.pick(c.shown.dirs)
	if !ok || !c.there(&n) {
		return nil
	}
	c.says("removes %s", describe(&n))
	return c.j.RemoveDir(n.ID)
}

// inSight reports whether a path from the root leads to a node. Between the entries that make a
// pending move one into itself and the server's answer to that move, none does.
func (c *client) inSight(n dbfs.Node) bool {
	for range len(c.shown.nodes) + 1 {
		if n.Parent == dbfs.RootNode {
			return true
		}
		dir, ok := c.shown.nodes[n.Parent]
		if !ok {
			return false
		}
		n = dir.node
	}
	return false
}

// removeAll does what rm -r does.
func (c *client) removeAll() error {
	n, ok := c.pick(c.shown.dirs)
	if !ok || !c.there(&n) || !c.inSight(n) {
		return nil
	}
	c.says("removes %s and what is in it", describe(&n))
	return c.removeUnder(n)
}

func (c *client) removeUnder(dir dbfs.Node) error {
	nodes, err := c.j.Children(dir.ID)
	for i := range nodes {
		switch n := &nodes[i]; {
		case err != nil:
			return err
		case n.Kind.IsDir():
			err = c.removeUnder(*n)
		default:
			if c.w.plan.Links { // what a name leads to, and its other names, change meanwhile
				if *n, err = c.j.Child(dir.ID, n.Name); err != nil {
					return err
				}
			}
			c.unnamed(n)
			err = c.j.Delete(n.ID)
		}
	}
	if err != nil {
		return err
	}
	return c.j.RemoveDir(dir.ID)
}

func (c *client) chmod() error {
	list := c.shown.files
	if c.w.workload.IntN(3) == 0 {
		list = c.shown.dirs
	}
	n, ok := c.pick(list)
	if !ok {
		return nil
	}
	mode := 0o600 + uint32(c.w.workload.IntN(8))
	c.says("changes the mode of %s to %o", describe(&n), mode)
	_, err := c.j.SetAttr(n.ID, dbfs.AttrMode, dbfs.Attr{Mode: mode})
	return err
}

// openFile opens a file for writing.
func (c *client) openFile() error {
	n, ok := c.pick(c.shown.files)
	if !ok || n.Kind != dbfs.KindFile || len(c.holds) > 2 {
		return nil
	}
	c.says("opens %s", describe(&n))
	c.j.Hold(n.ID)
	c.holds = append(c.holds, hold{n.ID, n.Content})
	c.build(&n)
	return nil
}

// closeFile writes to an open file and closes it.
func (c *client) closeFile() error {
	if len(c.holds) == 0 {
		return nil
	}
	i := c.w.workload.IntN(len(c.holds))
	h := c.holds[i]
	c.holds = slices.Delete(c.holds, i, i+1)
	defer c.j.Release(h.node)
	c.letGo(h.node)
	number, content := c.next()
	c.says("closes %s with content %d", short(h.node), number)
	c.w.ledger.excused[numberOf(h.base)] = true
	if n, ok := c.shown.nodes[h.node]; !ok || !n.node.Content.Equal(h.base) {
		c.w.events[LateClosing]++
	}
	return c.save(h.node, h.base, number, content)
}
