package journal

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// The table of the protocol, cell by cell, on the pure function. Everything happens on
//
//	d/f = 1    e/s/    g = 2
//
// where f stands for the file with one byte, and so on. A local edit is made there; others
// change the tree; the edit is resolved. A result is written as "the edits it became | what is
// to be seen then | the notices", with ~C and ~N for the two suffixes and the mode where it is
// not 0.

// A ground is a tree with other people on it.
type ground struct {
	t    *testing.T
	tree *cache.Tree
	txn  dbfs.Txn
	jid  dbfs.JID
	made byte
	all  []dbfs.NodeID

	apart bool // the server has refused to delete trees
}

func (g *ground) id(name string) (id dbfs.NodeID) {
	copy(id[:], name)
	return id
}

func (g *ground) node(name string) dbfs.Node {
	n, err := g.tree.Node(g.txn, g.id(name))
	check(g.t, err)
	return n
}

// put stores what another device made of a node.
func (g *ground) put(n dbfs.Node, part *dbfs.JID) {
	g.jid++
	if part != nil {
		*part = g.jid
	}
	n.Last, n.CTime = g.jid, worldTime.UnixNano()
	check(g.t, g.tree.Put(g.txn, n, func() uint64 { return uint64(g.jid) }))
	if !slices.Contains(g.all, n.ID) {
		g.all = append(g.all, n.ID)
	}
}

func (g *ground) create(name, parent, called string, kind dbfs.Kind, size int) {
	n := dbfs.Node{ID: g.id(name), Parent: g.id(parent), Name: called, Kind: kind, Content: bytesOf(size)}
	if kind == dbfs.KindSymlink {
		n.Target = "somewhere"
	}
	n.Revs = dbfs.Revs{Content: g.jid + 1, Place: g.jid + 1, Attr: g.jid + 1}
	g.put(n, nil)
}

func (g *ground) write(name string, size int) {
	n := g.node(name)
	n.Content = bytesOf(size)
	g.put2(n, func(r *dbfs.Revs) *dbfs.JID { return &r.Content })
}

func (g *ground) move(name, parent, called string) {
	n := g.node(name)
	n.Parent, n.Name = g.id(parent), called
	g.put2(n, func(r *dbfs.Revs) *dbfs.JID { return &r.Place })
}

func (g *ground) chmod(name string, mode uint32) {
	n := g.node(name)
	n.Attr.Mode = mode
	g.put2(n, func(r *dbfs.Revs) *dbfs.JID { return &r.Attr })
}

func (g *ground) delete(names ...string) {
	for _, name := range names {
		n := g.node(name)
		n.Deleted = true
		g.put2(n, func(r *dbfs.Revs) *dbfs.JID { return &r.Place })
	}
}

func (g *ground) revive(name string) {
	n := g.node(name)
	n.Deleted = false
	g.put2(n, func(r *dbfs.Revs) *dbfs.JID { return &r.Place })
}

func (g *ground) put2(n dbfs.Node, part func(*dbfs.Revs) *dbfs.JID) {
	*part(&n.Revs) = g.jid + 1
	g.put(n, nil)
}

// unlist makes a node one that a new listing does not show.
func (g *ground) unlist(name string) {
	n := g.node(name)
	n.Deleted, n.Revs = true, dbfs.Revs{}
	g.put(n, nil)
}

// The edits that are made here.

func (g *ground) opWrite(name string, size int) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpWrite, Node: g.id(name), Base: g.node(name).Revs, Content: contentOf(size)}
}

func contentOf(size int) *dbfs.Content {
	c := bytesOf(size)
	return &c
}

func (g *ground) opMove(name, parent, called string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpMove, Node: g.id(name), Base: g.node(name).Revs, Parent: g.id(parent), Name: called}
}

func (g *ground) opReplace(name, over string) dbfs.Op {
	v := g.node(over)
	op := g.opMove(name, "", v.Name)
	op.Parent, op.Replace = v.Parent, &dbfs.Victim{Node: v.ID, Base: v.Revs}
	return op
}

func (g *ground) opExchange(name, with string) dbfs.Op {
	v := g.node(with)
	op := g.opMove(name, "", v.Name)
	n := g.node(name)
	op.Type, op.Parent = dbfs.OpExchange, v.Parent
	op.Replace = &dbfs.Victim{Node: v.ID, Base: v.Revs, Parent: n.Parent, Name: n.Name}
	return op
}

func (g *ground) opChmod(name string, mode uint32) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpSetAttr, Node: g.id(name), Base: g.node(name).Revs, Mask: dbfs.AttrMode, Attr: dbfs.Attr{Mode: mode}}
}

func (g *ground) opDelete(name string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpDelete, Node: g.id(name), Base: g.node(name).Revs}
}

// opTree deletes a directory with what is below it, children first.
func (g *ground) opTree(name string, below ...string) dbfs.Op {
	op := dbfs.Op{Type: dbfs.OpDeleteTree, Node: g.id(name), Base: g.node(name).Revs, Seen: g.jid}
	for _, b := range below {
		op.Below = append(op.Below, g.id(b))
	}
	return op
}

func (g *ground) opCreate(parent, called string, kind dbfs.Kind, size int) dbfs.Op {
	op := dbfs.Op{Type: dbfs.OpCreate, Node: g.id("new"), Parent: g.id(parent), Name: called, Kind: kind}
	switch kind {
	case dbfs.KindFile:
		op.Content = contentOf(size)
	case dbfs.KindSymlink:
		op.Target = "somewhere"
	}
	return op
}

func (g *ground) opRevive(name, parent, called string, content *dbfs.Content) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpRevive, Node: g.id(name), Base: g.node(name).Revs, Parent: g.id(parent), Name: called, Content: content}
}

// A cell is one pair of a local edit and what others did.
type cell struct {
	name   string
	local  func(*ground) dbfs.Op
	remote func(*ground)
	want   string
}

// onGround runs fn on the tree above.
func onGround(t *testing.T, fn func(*ground)) {
	t.Helper()
	check(t, cache.NewMemKV().Update(func(txn dbfs.Txn) error {
		g := &ground{t: t, tree: cache.NewTree(1, dbfs.NamesExact), txn: txn}
		g.create("d", "", "d", dbfs.KindDir, 0)
		g.create("f", "d", "f", dbfs.KindFile, 1)
		g.create("e", "", "e", dbfs.KindDir, 0)
		g.create("s", "e", "s", dbfs.KindDir, 0)
		g.create("g", "", "g", dbfs.KindFile, 2)
		fn(g)
		return nil
	}))
}

// resolved resolves edits one after the other and writes down the result.
func (g *ground) resolved(mentioned []string, ops ...dbfs.Op) string {
	g.t.Helper()
	s := &snapshot{txn: g.txn, tree: g.tree, view: newView()}
	follows := make(map[dbfs.NodeID]dbfs.NodeID)
	standIn := func(id dbfs.NodeID) dbfs.NodeID {
		for to, ok := follows[id]; ok; to, ok = follows[id] {
			id = to
		}
		return id
	}
	e := env{
		device: "me",
		newNode: func() dbfs.NodeID {
			g.made++
			return g.id(string([]byte{'#', g.made}))
		},
		seen:    g.jid,
		whole:   func(dbfs.NodeID) bool { return !g.apart },
		standIn: standIn,
		goes: func(id dbfs.NodeID) bool {
			return slices.ContainsFunc(ops, func(op dbfs.Op) bool { return takesAway(&op, id) })
		},
		mentioned: func(id dbfs.NodeID) bool {
			return slices.ContainsFunc(mentioned, func(name string) bool { return g.id(name) == id })
		},
	}
	var edits, notices []string
	for _, op := range ops {
		op.Time = worldTime.UnixNano()
		if to := standIn(op.Node); to != op.Node {
			n, _ := s.node(to)
			op.Node, op.Base = to, n.Revs
		}
		out := resolve(op, s, e)
		for _, f := range out.follows {
			follows[f.from] = f.to
		}
		for _, e := range out.edits {
			edits = append(edits, e.op.Type.String())
			if e.op.Replace != nil {
				edits = append(edits, map[dbfs.OpType]string{dbfs.OpMove: "over", dbfs.OpExchange: "with"}[e.op.Type], strings.TrimRight(string(e.op.Replace.Node[:]), "\x00"))
			}
		}
		for _, n := range out.notices {
			notices = append(notices, string(n.What))
		}
		if len(out.follows) > 0 {
			notices = append(notices, "follow")
		}
	}
	check(g.t, s.err)
	return strings.TrimSpace(strings.Join(edits, " ") + " | " + shown(s) + " | " + strings.Join(notices, " "))
}

// shown writes down what a snapshot shows.
func shown(s *snapshot) string {
	var words []string
	var visit func(dir dbfs.NodeID, p string)
	visit = func(dir dbfs.NodeID, p string) {
		s.children(dir, func(name string, id dbfs.NodeID) bool {
			n, _ := s.node(id)
			short := strings.NewReplacer(" (conflicted copy, me 2026-05-01)", "~C", " (name conflict, me 2026-05-01)", "~N").Replace(p + name)
			switch {
			case n.Kind.IsDir():
				short += "/"
			case n.Kind == dbfs.KindSymlink:
				short += "@"
			case n.Content.Size > 0:
				short += fmt.Sprint("=", n.Content.Size)
			}
			if n.Attr.Mode != 0 {
				short += fmt.Sprintf(":%o", n.Attr.Mode)
			}
			words = append(words, short)
			if n.Kind.IsDir() {
				visit(id, p+name+"/")
			}
			return true
		})
	}
	visit(dbfs.RootNode, "")
	return strings.Join(words, " ")
}

func runCells(t *testing.T, cells []cell) {
	t.Helper()
	for _, c := range cells {
		t.Run(c.name, func(t *testing.T) {
			onGround(t, func(g *ground) {
				op := c.local(g)
				if c.remote != nil {
					c.remote(g)
				}
				if got := g.resolved(nil, op); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			})
		})
	}
}

// What others did to f, or above it.
var remotes = []struct {
	name string
	do   func(*ground)
}{
	{"nothing", func(g *ground) {}},
	{"write", func(g *ground) { g.write("f", 9) }},
	{"the same write", func(g *ground) { g.write("f", 5) }},
	{"move", func(g *ground) { g.move("f", "e", "r") }},
	{"the same move", func(g *ground) { g.move("f", "e", "m") }},
	{"setattr", func(g *ground) { g.chmod("f", 0o7) }},
	{"delete", func(g *ground) { g.delete("f") }},
	{"write and delete", func(g *ground) { g.write("f", 9); g.delete("f") }},
	{"delete of an ancestor", func(g *ground) { g.delete("f", "d") }},
	{"move of an ancestor", func(g *ground) { g.move("d", "e", "d") }},
}

func TestReconcileSameFile(t *testing.T) {
	for _, row := range []struct {
		name  string
		local func(*ground) dbfs.Op
		want  []string // in the order of remotes
	}{
		{"write", func(g *ground) dbfs.Op { return g.opWrite("f", 5) }, []string{
			"write | d/ d/f=5 e/ e/s/ g=2 |",                                 // K
			"create | d/ d/f=9 d/f~C=5 e/ e/s/ g=2 | conflicted-copy follow", // C
			"| d/ d/f=5 e/ e/s/ g=2 |",                                       // D: equal content
			"write | d/ e/ e/r=5 e/s/ g=2 |",                                 // K
			"write | d/ e/ e/m=5 e/s/ g=2 |",                                 // K
			"write | d/ d/f=5:7 e/ e/s/ g=2 |",                               // K
			"revive | d/ d/f=5 e/ e/s/ g=2 | revived",                        // V: edit beats delete
			"create | d/ d/f~C=5 e/ e/s/ g=2 | conflicted-copy follow",       // C
			"revive revive | d/ d/f=5 e/ e/s/ g=2 | revived revived",         // V ancestors, then V
			"write | e/ e/d/ e/d/f=5 e/s/ g=2 |",                             // K
		}},
		{"move", func(g *ground) dbfs.Op { return g.opMove("f", "e", "m") }, []string{
			"move | d/ e/ e/m=1 e/s/ g=2 |",           // K
			"move | d/ e/ e/m=9 e/s/ g=2 |",           // K
			"move | d/ e/ e/m=5 e/s/ g=2 |",           // K
			"| d/ e/ e/r=1 e/s/ g=2 | dropped",        // D: first mover wins
			"| d/ e/ e/m=1 e/s/ g=2 |",                // D, and nothing to tell
			"move | d/ e/ e/m=1:7 e/s/ g=2 |",         // K
			"revive | d/ e/ e/m=1 e/s/ g=2 | revived", // V at the new place
			"revive | d/ e/ e/m=9 e/s/ g=2 | revived", // V at the new place
			"revive | e/ e/m=1 e/s/ g=2 | revived",    // V at the new place
			"move | e/ e/d/ e/m=1 e/s/ g=2 |",         // K
		}},
		{"replace, as mover", func(g *ground) dbfs.Op { return g.opReplace("f", "g") }, []string{
			"move over g | d/ e/ e/s/ g=1 |",                        // K
			"move over g | d/ e/ e/s/ g=9 |",                        // K
			"move over g | d/ e/ e/s/ g=5 |",                        // K
			"| d/ e/ e/r=1 e/s/ g=2 | dropped",                      // D: the victim stays
			"| d/ e/ e/m=1 e/s/ g=2 | dropped",                      // D
			"move over g | d/ e/ e/s/ g=1:7 |",                      // K
			"revive | d/ e/ e/s/ g=2 g~N=1 | name-conflict revived", // V at the new place, N
			"revive | d/ e/ e/s/ g=2 g~N=9 | name-conflict revived", // V, N
			"revive | e/ e/s/ g=2 g~N=1 | name-conflict revived",    // V, N
			"move over g | e/ e/d/ e/s/ g=1 |",                      // K
		}},
		{"replace, as victim", func(g *ground) dbfs.Op { return g.opReplace("g", "f") }, []string{
			"move over f | d/ d/f=2 e/ e/s/ |",                // K
			"move | d/ d/f=9 d/f~N=2 e/ e/s/ | name-conflict", // victim stays, M + N
			"move | d/ d/f=5 d/f~N=2 e/ e/s/ | name-conflict", // victim stays, M + N
			"move | d/ d/f=2 e/ e/r=1 e/s/ |",                 // M
			"move | d/ d/f=2 e/ e/m=1 e/s/ |",                 // M
			"move over f | d/ d/f=2 e/ e/s/ |",                // K
			"move | d/ d/f=2 e/ e/s/ |",                       // M
			"move | d/ d/f=2 e/ e/s/ |",                       // M
			"revive move | d/ d/f=2 e/ e/s/ | revived",        // V the parent, M
			"move over f | e/ e/d/ e/d/f=2 e/s/ |",            // K
		}},
		{"exchange", func(g *ground) dbfs.Op { return g.opExchange("f", "g") }, []string{
			"exchange with g | d/ d/f=2 e/ e/s/ g=1 |",                    // K
			"exchange with g | d/ d/f=2 e/ e/s/ g=9 |",                    // K
			"exchange with g | d/ d/f=2 e/ e/s/ g=5 |",                    // K
			"| d/ e/ e/r=1 e/s/ g=2 | dropped dropped",                    // D
			"| d/ e/ e/m=1 e/s/ g=2 | dropped dropped",                    // D
			"exchange with g | d/ d/f=2 e/ e/s/ g=1:7 |",                  // K
			"move | d/ d/f=2 e/ e/s/ |",                                   // D for it; the other becomes a plain move
			"move | d/ d/f=2 e/ e/s/ |",                                   // D for it, M
			"revive move revive | d/ d/f=2 e/ e/s/ g=1 | revived revived", // V
			"exchange with g | e/ e/d/ e/d/f=2 e/s/ g=1 |",                // K
		}},
		{"exchange, as the other", func(g *ground) dbfs.Op { return g.opExchange("g", "f") }, []string{
			"exchange with f | d/ d/f=2 e/ e/s/ g=1 |",                    // K
			"exchange with f | d/ d/f=2 e/ e/s/ g=9 |",                    // K
			"exchange with f | d/ d/f=2 e/ e/s/ g=5 |",                    // K
			"| d/ e/ e/r=1 e/s/ g=2 | dropped dropped",                    // D
			"| d/ e/ e/m=1 e/s/ g=2 | dropped dropped",                    // D
			"exchange with f | d/ d/f=2 e/ e/s/ g=1:7 |",                  // K
			"move | d/ d/f=2 e/ e/s/ |",                                   // D for it; the other becomes a plain move
			"move | d/ d/f=2 e/ e/s/ |",                                   // D for it, M
			"revive move revive | d/ d/f=2 e/ e/s/ g=1 | revived revived", // V
			"exchange with f | e/ e/d/ e/d/f=2 e/s/ g=1 |",                // K
		}},
		{"setattr", func(g *ground) dbfs.Op { return g.opChmod("f", 0o4) }, []string{
			"setattr | d/ d/f=1:4 e/ e/s/ g=2 |",     // K
			"setattr | d/ d/f=9:4 e/ e/s/ g=2 |",     // K
			"setattr | d/ d/f=5:4 e/ e/s/ g=2 |",     // K
			"setattr | d/ e/ e/r=1:4 e/s/ g=2 |",     // K
			"setattr | d/ e/ e/m=1:4 e/s/ g=2 |",     // K
			"setattr | d/ d/f=1:4 e/ e/s/ g=2 |",     // K, local value last
			"| d/ e/ e/s/ g=2 |",                     // D
			"| d/ e/ e/s/ g=2 |",                     // D
			"| e/ e/s/ g=2 |",                        // D
			"setattr | e/ e/d/ e/d/f=1:4 e/s/ g=2 |", // K
		}},
		{"delete", func(g *ground) dbfs.Op { return g.opDelete("f") }, []string{
			"delete | d/ e/ e/s/ g=2 |",        // K
			"| d/ d/f=9 e/ e/s/ g=2 | dropped", // D: edit beats delete
			"| d/ d/f=5 e/ e/s/ g=2 | dropped", // D
			"| d/ e/ e/r=1 e/s/ g=2 | dropped", // D: moved is wanted
			"| d/ e/ e/m=1 e/s/ g=2 | dropped", // D
			"delete | d/ e/ e/s/ g=2 |",        // K with the new attributes
			"| d/ e/ e/s/ g=2 |",               // D: done
			"| d/ e/ e/s/ g=2 |",               // D: done
			"| e/ e/s/ g=2 |",                  // D: done
			"delete | e/ e/d/ e/s/ g=2 |",      // K
		}},
	} {
		if len(row.want) != len(remotes) {
			t.Fatalf("%s has %d cells, want %d", row.name, len(row.want), len(remotes))
		}
		var cells []cell
		for i, remote := range remotes {
			cells = append(cells, cell{row.name + " × " + remote.name, row.local, remote.do, row.want[i]})
		}
		runCells(t, cells)
	}
}

func TestReconcileDirectories(t *testing.T) {
	rmdir := func(g *ground) dbfs.Op { return g.opDelete("s") }
	moveDir := func(g *ground) dbfs.Op { return g.opMove("d", "s", "d") }
	runCells(t, []cell{
		{"rmdir × nothing", rmdir, nil, "delete | d/ d/f=1 e/ g=2 |"},
		{"rmdir × move", rmdir, func(g *ground) { g.move("s", "", "r") }, "| d/ d/f=1 e/ g=2 r/ | dropped"},
		{"rmdir × setattr", rmdir, func(g *ground) { g.chmod("s", 0o7) }, "delete | d/ d/f=1 e/ g=2 |"},
		{"rmdir × delete", rmdir, func(g *ground) { g.delete("s") }, "| d/ d/f=1 e/ g=2 |"},
		{"rmdir × delete of an ancestor", rmdir, func(g *ground) { g.delete("s", "e") }, "| d/ d/f=1 g=2 |"},
		{"rmdir × move of an ancestor", rmdir, func(g *ground) { g.move("e", "d", "e") }, "delete | d/ d/e/ d/f=1 g=2 |"},
		{"rmdir × creation inside", rmdir, func(g *ground) { g.create("x", "s", "x", dbfs.KindFile, 7) },
			"| d/ d/f=1 e/ e/s/ e/s/x=7 g=2 | dropped"},
		{"rmdir × move into it", rmdir, func(g *ground) { g.move("g", "s", "g") }, "| d/ d/f=1 e/ e/s/ e/s/g=2 | dropped"},

		{"move of a directory × nothing", moveDir, nil, "move | e/ e/s/ e/s/d/ e/s/d/f=1 g=2 |"},
		{"move of a directory × write below", moveDir, func(g *ground) { g.write("f", 9) }, "move | e/ e/s/ e/s/d/ e/s/d/f=9 g=2 |"},
		{"move of a directory × move", moveDir, func(g *ground) { g.move("d", "", "r") }, "| e/ e/s/ g=2 r/ r/f=1 | dropped"},
		{"move of a directory × setattr", moveDir, func(g *ground) { g.chmod("d", 0o7) }, "move | e/ e/s/ e/s/d/:7 e/s/d/f=1 g=2 |"},
		{"move of a directory × delete", moveDir, func(g *ground) { g.delete("f", "d") }, "revive | e/ e/s/ e/s/d/ g=2 | revived"},
		{"move of a directory × destination below it", moveDir, func(g *ground) { g.move("s", "d", "s") },
			"| d/ d/f=1 d/s/ e/ g=2 | dropped"},
		{"move of a directory × destination's parent below it", moveDir, func(g *ground) { g.move("e", "d", "e") },
			"| d/ d/e/ d/e/s/ d/f=1 g=2 | dropped"},
		{"move of a directory × destination deleted", moveDir, func(g *ground) { g.delete("s", "e") },
			"revive revive move | e/ e/s/ e/s/d/ e/s/d/f=1 g=2 | revived revived"},
		{"move of a directory × deleted, destination below it", moveDir, func(g *ground) { g.move("s", "d", "s"); g.delete("f", "s", "d") },
			"revive | d/ e/ g=2 | revived"},
	})
}

// A tree is deleted as it was seen.
func TestReconcileDeleteTree(t *testing.T) {
	tree := func(g *ground) dbfs.Op {
		g.create("x", "d", "x", dbfs.KindDir, 0)
		g.create("y", "x", "y", dbfs.KindFile, 3)
		return g.opTree("d", "f", "y", "x")
	}
	runCells(t, []cell{
		{"nothing", tree, nil, "delete_tree | e/ e/s/ g=2 |"},
		{"write below", tree, func(g *ground) { g.write("f", 9) }, "delete delete | d/ d/f=9 e/ e/s/ g=2 | dropped dropped"},
		{"write deep below", tree, func(g *ground) { g.write("y", 9) }, "delete | d/ d/x/ d/x/y=9 e/ e/s/ g=2 | dropped dropped dropped"},
		{"move of it", tree, func(g *ground) { g.move("d", "e", "d") }, "| e/ e/d/ e/d/f=1 e/d/x/ e/d/x/y=3 e/s/ g=2 | dropped"},
		{"move out of it", tree, func(g *ground) { g.move("f", "", "r") }, "delete delete delete | e/ e/s/ g=2 r=1 | dropped"},
		{"move about below", tree, func(g *ground) { g.move("f", "d", "r") }, "delete delete | d/ d/r=1 e/ e/s/ g=2 | dropped dropped"},
		{"move into it", tree, func(g *ground) { g.move("g", "x", "g") }, "delete delete | d/ d/x/ d/x/g=2 e/ e/s/ | dropped dropped"},
		{"creation below", tree, func(g *ground) { g.create("n", "x", "n", dbfs.KindFile, 7) },
			"delete delete | d/ d/x/ d/x/n=7 e/ e/s/ g=2 | dropped dropped"},
		{"setattr of it", tree, func(g *ground) { g.chmod("d", 0o7) }, "delete_tree | e/ e/s/ g=2 |"},
		{"setattr below", tree, func(g *ground) { g.chmod("f", 0o7) }, "delete_tree | e/ e/s/ g=2 |"},
		{"delete of it", tree, func(g *ground) { g.delete("f", "y", "x", "d") }, "| e/ e/s/ g=2 |"},
		{"delete below", tree, func(g *ground) { g.delete("f") }, "delete_tree | e/ e/s/ g=2 |"},
		{"delete of all below", tree, func(g *ground) { g.delete("f", "y", "x") }, "delete_tree | e/ e/s/ g=2 |"},
		{"delete and revival below", tree, func(g *ground) { g.delete("f"); g.revive("f") }, "delete delete | d/ d/f=1 e/ e/s/ g=2 | dropped dropped"},
		{"delete of an ancestor", func(g *ground) dbfs.Op { return g.opTree("s") }, func(g *ground) { g.delete("s", "e") }, "| d/ d/f=1 g=2 |"},
		{"move of an ancestor", func(g *ground) dbfs.Op {
			g.create("n", "s", "n", dbfs.KindFile, 7)
			return g.opTree("s", "n")
		}, func(g *ground) { g.move("e", "d", "e") }, "delete_tree | d/ d/e/ d/f=1 g=2 |"},
		{"not listed any more", tree, func(g *ground) { g.unlist("f"); g.unlist("d") }, "| e/ e/s/ g=2 |"},
		{"refused by the server", func(g *ground) dbfs.Op { g.apart = true; return tree(g) }, nil, "delete delete delete delete | e/ e/s/ g=2 |"},
	})
}

// Exchanges of directories, and what becomes of both.
func TestReconcileExchange(t *testing.T) {
	dirs := func(g *ground) dbfs.Op { return g.opExchange("d", "s") }
	files := func(g *ground) dbfs.Op { return g.opExchange("f", "g") }
	runCells(t, []cell{
		{"directories × nothing", dirs, nil, "exchange with s | d/ e/ e/s/ e/s/f=1 g=2 |"},
		{"directories × write below", dirs, func(g *ground) { g.write("f", 9) }, "exchange with s | d/ e/ e/s/ e/s/f=9 g=2 |"},
		{"directories × the one below the other", dirs, func(g *ground) { g.move("e", "d", "e") }, "| d/ d/e/ d/e/s/ d/f=1 g=2 | dropped"},
		{"directories × the other below the one", func(g *ground) dbfs.Op { return g.opExchange("s", "d") },
			func(g *ground) { g.move("e", "d", "e") }, "| d/ d/e/ d/e/s/ d/f=1 g=2 | dropped"},
		{"directories × creation inside", dirs, func(g *ground) { g.create("x", "s", "x", dbfs.KindFile, 7) },
			"exchange with s | d/ d/x=7 e/ e/s/ e/s/f=1 g=2 |"},
		{"both moved", files, func(g *ground) { g.move("f", "e", "r"); g.move("g", "e", "q") }, "| d/ e/ e/q=2 e/r=1 e/s/ | dropped dropped"},
		{"exchanged by another, too", files, func(g *ground) { g.move("f", "", "x"); g.move("g", "d", "f"); g.move("f", "", "g") },
			"| d/ d/f=2 e/ e/s/ g=1 |"},
		{"both deleted", files, func(g *ground) { g.delete("f", "g") }, "| d/ e/ e/s/ |"},
		{"one deleted, the other moved", files, func(g *ground) { g.delete("f"); g.move("g", "e", "q") }, "| d/ e/ e/q=2 e/s/ | dropped"},
		{"one deleted, and its name taken", files, func(g *ground) { g.delete("f"); g.create("m", "d", "f", dbfs.KindFile, 9) },
			"move | d/ d/f=9 d/f~N=2 e/ e/s/ | name-conflict"},
		{"one deleted with its directory, the other deleted", files, func(g *ground) { g.delete("f", "d", "g") },
			"revive | e/ e/s/ g=1 | revived"},
		{"one not listed any more", files, func(g *ground) { g.unlist("f") }, "move | d/ d/f=2 e/ e/s/ |"},
		{"neither listed any more", files, func(g *ground) { g.unlist("f"); g.unlist("g") }, "| d/ e/ e/s/ |"},
		{"with what nobody knows", func(g *ground) dbfs.Op {
			op := g.opExchange("f", "g")
			op.Replace.Node = g.id("unheard of")
			return op
		}, nil, "move | d/ e/ e/s/ g=2 g~N=1 | name-conflict"},
		{"unmounted", func(g *ground) dbfs.Op {
			g.create("m", "d", "m", dbfs.KindMount, 0)
			return g.opExchange("m", "g")
		}, func(g *ground) { g.delete("m") }, "move | d/ d/f=1 d/m=2 e/ e/s/ |"},
	})
}

func TestReconcileSameName(t *testing.T) {
	occupied := func(kind dbfs.Kind, size int) func(*ground) {
		return func(g *ground) { g.create("m", "", "n", kind, size) }
	}
	create := func(g *ground) dbfs.Op { return g.opCreate("", "n", dbfs.KindFile, 5) }
	mkdir := func(g *ground) dbfs.Op { return g.opCreate("", "n", dbfs.KindDir, 0) }
	symlink := func(g *ground) dbfs.Op { return g.opCreate("", "n", dbfs.KindSymlink, 0) }
	move := func(g *ground) dbfs.Op { return g.opMove("f", "", "n") }
	replace := func(g *ground) dbfs.Op { return g.opReplace("f", "g") }
	instead := func(kind dbfs.Kind) func(*ground) {
		return func(g *ground) { g.delete("g"); g.create("m", "", "g", kind, 0) }
	}
	runCells(t, []cell{
		{"create × file", create, occupied(dbfs.KindFile, 9), "create | d/ d/f=1 e/ e/s/ g=2 n=9 n~N=5 | name-conflict"},
		{"create × equal file", create, occupied(dbfs.KindFile, 5), "| d/ d/f=1 e/ e/s/ g=2 n=5 | follow"},
		{"create × directory", create, occupied(dbfs.KindDir, 0), "create | d/ d/f=1 e/ e/s/ g=2 n/ n~N=5 | name-conflict"},
		{"create × symlink", create, occupied(dbfs.KindSymlink, 0), "create | d/ d/f=1 e/ e/s/ g=2 n@ n~N=5 | name-conflict"},
		{"mkdir × file", mkdir, occupied(dbfs.KindFile, 9), "create | d/ d/f=1 e/ e/s/ g=2 n=9 n~N/ | name-conflict"},
		{"mkdir × directory", mkdir, occupied(dbfs.KindDir, 0), "| d/ d/f=1 e/ e/s/ g=2 n/ | follow"},
		{"mkdir × mounted namespace", mkdir, occupied(dbfs.KindMount, 0), "create | d/ d/f=1 e/ e/s/ g=2 n/ n~N/ | name-conflict"},
		{"mkdir × symlink", mkdir, occupied(dbfs.KindSymlink, 0), "create | d/ d/f=1 e/ e/s/ g=2 n@ n~N/ | name-conflict"},
		{"symlink × file", symlink, occupied(dbfs.KindFile, 9), "create | d/ d/f=1 e/ e/s/ g=2 n=9 n~N@ | name-conflict"},
		{"symlink × directory", symlink, occupied(dbfs.KindDir, 0), "create | d/ d/f=1 e/ e/s/ g=2 n/ n~N@ | name-conflict"},
		{"symlink × equal symlink", symlink, occupied(dbfs.KindSymlink, 0), "| d/ d/f=1 e/ e/s/ g=2 n@ | follow"},
		{"symlink × other symlink", func(g *ground) dbfs.Op {
			op := symlink(g)
			op.Target = "elsewhere"
			return op
		}, occupied(dbfs.KindSymlink, 0), "create | d/ d/f=1 e/ e/s/ g=2 n@ n~N@ | name-conflict"},
		{"move × file", move, occupied(dbfs.KindFile, 9), "move | d/ e/ e/s/ g=2 n=9 n~N=1 | name-conflict"},
		{"move × equal file", move, occupied(dbfs.KindFile, 1), "move | d/ e/ e/s/ g=2 n=1 n~N=1 | name-conflict"},
		{"move × directory", move, occupied(dbfs.KindDir, 0), "move | d/ e/ e/s/ g=2 n/ n~N=1 | name-conflict"},
		{"replace × gone", replace, func(g *ground) { g.delete("g") }, "move | d/ e/ e/s/ g=1 |"},
		{"replace × another file there", replace, instead(dbfs.KindFile), "move | d/ e/ e/s/ g g~N=1 | name-conflict"},
		{"replace × a directory there", replace, instead(dbfs.KindDir), "move | d/ e/ e/s/ g/ g~N=1 | name-conflict"},
		{"the second suffix has a number", create, func(g *ground) {
			g.create("m", "", "n", dbfs.KindFile, 9)
			g.create("o", "", "n (name conflict, me 2026-05-01)", dbfs.KindFile, 8)
		}, "create | d/ d/f=1 e/ e/s/ g=2 n=9 n (name conflict, me 2026-05-01 2)=5 n~N=8 | name-conflict"},
		{"a create that was taken", func(g *ground) dbfs.Op { return g.opCreate("", "n", dbfs.KindFile, 5) },
			func(g *ground) { g.create("new", "", "n", dbfs.KindFile, 5) }, "| d/ d/f=1 e/ e/s/ g=2 n=5 |"},
	})
}

// A node that a pending edit is about is not adopted, however equal: the other edit may
// change it, and two files would share one history.
func TestAdoptOnlyWhatIsOthers(t *testing.T) {
	onGround(t, func(g *ground) {
		g.create("m", "", "n", dbfs.KindFile, 5)
		got := g.resolved([]string{"m"}, g.opCreate("", "n", dbfs.KindFile, 5))
		if want := "create | d/ d/f=1 e/ e/s/ g=2 n=5 n~N=5 | name-conflict"; got != want {
			t.Errorf("mentioned file: got %s, want %s", got, want)
		}
	})
	onGround(t, func(g *ground) {
		g.create("m", "", "n", dbfs.KindDir, 0)
		got := g.resolved([]string{"m"}, g.opCreate("", "n", dbfs.KindDir, 0))
		if want := "create | d/ d/f=1 e/ e/s/ g=2 n/ n~N/ | name-conflict"; got != want {
			t.Errorf("mentioned directory: got %s, want %s", got, want)
		}
	})
	onGround(t, func(g *ground) { // the write became a copy of that name meanwhile
		write := g.opWrite("f", 5)
		g.write("f", 9)
		got := g.resolved(nil, write, g.opCreate("d", "f (conflicted copy, me 2026-05-01)", dbfs.KindFile, 5))
		if want := "create create | d/ d/f=9 d/f~C=5 d/f~N=5 e/ e/s/ g=2 | conflicted-copy follow name-conflict"; got != want {
			t.Errorf("node made here: got %s, want %s", got, want)
		}
	})
}

func TestReconcileParents(t *testing.T) {
	in := func(dir string) func(*ground) dbfs.Op {
		return func(g *ground) dbfs.Op { return g.opCreate(dir, "n", dbfs.KindFile, 5) }
	}
	runCells(t, []cell{
		{"moved", in("s"), func(g *ground) { g.move("s", "d", "s") }, "create | d/ d/f=1 d/s/ d/s/n=5 e/ g=2 |"},
		{"deleted", in("s"), func(g *ground) { g.delete("s") }, "revive create | d/ d/f=1 e/ e/s/ e/s/n=5 g=2 | revived"},
		{"deleted with its parent", in("s"), func(g *ground) { g.delete("s", "e") },
			"revive revive create | d/ d/f=1 e/ e/s/ e/s/n=5 g=2 | revived revived"},
		{"deleted, and its name taken", in("s"), func(g *ground) { g.delete("s"); g.create("m", "e", "s", dbfs.KindFile, 9) },
			"revive create | d/ d/f=1 e/ e/s=9 e/s~N/ e/s~N/n=5 g=2 | name-conflict revived"},
		{"deleted, below what is below it now", in("e"), func(g *ground) { g.delete("s", "e"); g.move("e", "s", "e") },
			"revive create | d/ d/f=1 e/ e/n=5 g=2 | revived"},
		{"not listed any more", in("s"), func(g *ground) { g.unlist("s") },
			"create create | d/ d/f=1 e/ e/s/ e/s/n=5 g=2 | revived follow"},
		{"never heard of", in("nowhere"), nil, "create | d/ d/f=1 e/ e/s/ g=2 n=5 |"},
		{"a file", in("g"), nil, "create | d/ d/f=1 e/ e/s/ g=2 n=5 |"},
	})
}

func TestReconcileRevive(t *testing.T) {
	place := func(g *ground) dbfs.Op {
		g.delete("f")
		return g.opRevive("f", "e", "n", nil)
	}
	bytes := func(g *ground) dbfs.Op {
		g.delete("f")
		return g.opRevive("f", "e", "n", contentOf(5))
	}
	runCells(t, []cell{
		{"still deleted", place, nil, "revive | d/ e/ e/n=1 e/s/ g=2 | revived"},
		{"revived by another", place, func(g *ground) { g.revive("f") }, "| d/ d/f=1 e/ e/s/ g=2 |"},
		{"name taken", place, func(g *ground) { g.create("m", "e", "n", dbfs.KindFile, 9) },
			"revive | d/ e/ e/n=9 e/n~N=1 e/s/ g=2 | name-conflict revived"},
		{"parent deleted", place, func(g *ground) { g.delete("s", "e") }, "revive revive | d/ e/ e/n=1 g=2 | revived revived"},
		{"with bytes, still deleted", bytes, nil, "revive | d/ e/ e/n=5 e/s/ g=2 | revived"},
		{"with bytes, revived by another", bytes, func(g *ground) { g.revive("f") }, "write | d/ d/f=5 e/ e/s/ g=2 |"},
		{"with bytes, revived and written by another", bytes, func(g *ground) { g.revive("f"); g.write("f", 9) },
			"create | d/ d/f=9 d/f~C=5 e/ e/s/ g=2 | conflicted-copy follow"},
		{"with bytes, revived, written and deleted by another", bytes, func(g *ground) { g.write("f", 9) },
			"create | d/ d/f~C=5 e/ e/s/ g=2 | conflicted-copy follow"},
		{"with bytes, not listed any more", bytes, func(g *ground) { g.unlist("f") }, "create | d/ e/ e/n=5 e/s/ g=2 | revived follow"},
		{"not listed any more", place, func(g *ground) { g.unlist("f") }, "| d/ e/ e/s/ g=2 |"},
		{"a directory, not listed any more", func(g *ground) dbfs.Op { return g.opRevive("s", "d", "s", nil) },
			func(g *ground) { g.unlist("s") }, "| d/ d/f=1 e/ g=2 |"},
	})
}

// What another has unmounted is not brought back: the server takes no such edit.
func TestReconcileUnmounted(t *testing.T) {
	mounted := func(local func(*ground) dbfs.Op) func(*ground) dbfs.Op {
		return func(g *ground) dbfs.Op {
			g.create("m", "d", "m", dbfs.KindMount, 0)
			return local(g)
		}
	}
	unmount := func(g *ground) { g.delete("m") }
	runCells(t, []cell{
		{"move", mounted(func(g *ground) dbfs.Op { return g.opMove("m", "e", "n") }), unmount, "| d/ d/f=1 e/ e/s/ g=2 | dropped"},
		{"revive", mounted(func(g *ground) dbfs.Op { return g.opRevive("m", "e", "n", nil) }), unmount, "| d/ d/f=1 e/ e/s/ g=2 |"},
		{"move, and it is still there", mounted(func(g *ground) dbfs.Op { return g.opMove("m", "e", "n") }), nil,
			"move | d/ d/f=1 e/ e/n/ e/s/ g=2 |"},
	})
}

// … and does not keep other edits from being sent.
func TestMovedAndUnmounted(t *testing.T) {
	h := newHost(t)
	me, err := h.sessions[0].Me(t.Context())
	check(t, err)
	team := h.namespace(t)
	alice := newDevice(t, h, 0, me.Root, 1)
	_, err = h.sessions[0].Mount(t.Context(), team, "team")
	check(t, err)
	alice.settle()
	alice.move("team", "ours")
	check(t, h.sessions[1].Unmount(t.Context(), team))
	alice.put("a", 7)
	alice.settle()
	if got := alice.sizes(); got != "a 7\n" || len(alice.j.Pending()) > 0 {
		t.Errorf("alice sees\n%swant only a; pending: %v", got, alice.j.Pending())
	}
}

// What others have made equal to a file that is gone again does not go with it.
func TestAdoptNothingToDeleteIt(t *testing.T) {
	onGround(t, func(g *ground) {
		made := g.opCreate("", "g", dbfs.KindFile, 2)
		self := dbfs.Revs{Content: dbfs.SelfRev, Place: dbfs.SelfRev, Attr: dbfs.SelfRev}
		gone := dbfs.Op{Type: dbfs.OpDelete, Node: made.Node, Base: self}
		if got, want := g.resolved(nil, made, gone), "create delete | d/ d/f=1 e/ e/s/ g=2 | name-conflict"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// A directory that is to be moved into one that has been lost with it stays: what would be made in
// the lost one's place would be made inside it.
func TestMovedIntoWhatWasLostWithIt(t *testing.T) {
	onGround(t, func(g *ground) {
		make, move := g.opCreate("e", "x", dbfs.KindFile, 5), g.opMove("e", "s", "m")
		g.unlist("s")
		g.unlist("e")
		want := "create create | d/ d/f=1 e/ e/x=5 g=2 | revived follow dropped"
		if got := g.resolved(nil, make, move); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestReconcileUnlisted(t *testing.T) {
	unlist := func(g *ground) { g.unlist("f") }
	gone := func(op dbfs.Op) func(*ground) dbfs.Op {
		return func(g *ground) dbfs.Op {
			op.Node = g.id("unheard of")
			return op
		}
	}
	runCells(t, []cell{
		{"write", func(g *ground) dbfs.Op { return g.opWrite("f", 5) }, unlist, "create | d/ d/f=5 e/ e/s/ g=2 | revived follow"},
		{"move", func(g *ground) dbfs.Op { return g.opMove("f", "e", "m") }, unlist, "| d/ e/ e/s/ g=2 |"},
		{"setattr", func(g *ground) dbfs.Op { return g.opChmod("f", 0o4) }, unlist, "| d/ e/ e/s/ g=2 |"},
		{"delete", func(g *ground) dbfs.Op { return g.opDelete("f") }, unlist, "| d/ e/ e/s/ g=2 |"},
		{"write to what nobody knows", gone(dbfs.Op{Type: dbfs.OpWrite, Content: contentOf(5)}), nil,
			"create | d/ d/f=1 e/ e/s/ file 756e6865=5:644 g=2 | revived follow"},
		{"revive of what nobody knows", gone(dbfs.Op{Type: dbfs.OpRevive, Name: "n", Content: contentOf(5)}), nil,
			"create | d/ d/f=1 e/ e/s/ g=2 n=5:644 | revived follow"},
		{"move of what nobody knows", gone(dbfs.Op{Type: dbfs.OpMove, Name: "n"}), nil, "| d/ d/f=1 e/ e/s/ g=2 |"},
		{"delete of what nobody knows", gone(dbfs.Op{Type: dbfs.OpDelete}), nil, "| d/ d/f=1 e/ e/s/ g=2 |"},
	})
}
