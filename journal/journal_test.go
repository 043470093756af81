package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

var (
	file = NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o644}}
	dir  = NewNode{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}}
)

// make creates what is not there yet on a path's last step.
func (d *device) make(p string, what NewNode) dbfs.Node {
	d.t.Helper()
	parent, name := d.split(p)
	n, err := d.j.Create(parent, name, what)
	check(d.t, err)
	return n
}

func (d *device) split(p string) (parent dbfs.NodeID, name string) {
	d.t.Helper()
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return d.at(p[:i]).ID, p[i+1:]
		}
	}
	return dbfs.RootNode, p
}

func (d *device) at(p string) dbfs.Node {
	d.t.Helper()
	n, err := d.j.Lookup(p)
	check(d.t, err)
	return n
}

// put writes a file, which is made if it is not there.
func (d *device) put(p string, content int) {
	d.t.Helper()
	n, err := d.j.Lookup(p)
	if errors.Is(err, dbfs.ErrNotExist) {
		n = d.make(p, file)
	} else {
		check(d.t, err)
	}
	_, err = d.j.Write(n.ID, n.Content, bytesOf(content), int64(content))
	check(d.t, err)
}

func (d *device) move(from, to string) {
	d.t.Helper()
	parent, name := d.split(to)
	_, err := d.j.Move(d.at(from).ID, parent, name, false)
	check(d.t, err)
}

func TestTwoDevices(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	alice.make("docs", dir)
	alice.put("docs/a", 1)
	alice.put("b", 2)
	alice.settle()
	bob.settle()
	if got, want := bob.show(false), alice.show(false); got != want {
		t.Fatalf("bob sees\n%swant\n%s", got, want)
	}
	bob.move("docs", "papers")
	bob.put("papers/a", 3)
	check(t, bob.j.Delete(bob.at("b").ID))
	bob.open()
	bob.settle()
	alice.settle()
	if got, want := alice.show(false), bob.show(false); got != want {
		t.Fatalf("alice sees\n%swant\n%s", got, want)
	}
	if n := alice.at("papers/a"); n.Content.Size != 3 {
		t.Fatalf("papers/a has %d bytes, want 3", n.Content.Size)
	}
	if got := append(alice.noticed, bob.noticed...); len(got) > 0 {
		t.Fatalf("reconciling changed something: %q", got)
	}
}

func TestHeldFromTheBeginning(t *testing.T) {
	h := newHost(t)
	alice := newDevice(t, h, 0, h.namespace(t), 1)
	alice.settle()
	n := alice.make("a", NewNode{Kind: dbfs.KindFile, Attr: file.Attr, Held: true})
	all := func(*dbfs.Op) bool { return true }
	if b, err := alice.j.Batch(all); b != nil || err != nil {
		t.Fatalf("a file that is being written is sent: %+v, %v", b, err)
	}
	_, err := alice.j.Write(n.ID, n.Content, bytesOf(1), 1)
	check(t, err)
	alice.j.Release(n.ID)
	b, err := alice.j.Batch(all)
	check(t, err)
	if b == nil || len(b.Ops) != 1 || b.Ops[0].Type != dbfs.OpCreate || b.Ops[0].Content.Size != 1 {
		t.Fatalf("a new file is sent as %+v, want one create with its bytes", b)
	}
}

func TestRenumber(t *testing.T) {
	h := newHost(t)
	alice := newDevice(t, h, 0, h.namespace(t), 1)
	alice.settle()
	alice.put("a", 1)
	all := func(*dbfs.Op) bool { return true }
	last := uint64(0)
	for range 3 {
		b, err := alice.j.Batch(all)
		check(t, err)
		if b == nil || b.Seq <= last || last > 0 && b.Seq < 2*last {
			t.Fatalf("batch %+v after one numbered %d", b, last)
		}
		last = b.Seq
		check(t, alice.j.Renumber())
	}
	alice.open() // the number is remembered
	if b, err := alice.j.Batch(all); err != nil || b == nil || b.Seq < 2*last {
		t.Fatalf("batch %+v, %v after a restart and one numbered %d", b, err, last)
	}
}

// As soon as the log has been read, before anything is sent, the view is one that makes sense.
func TestSeenAfterPull(t *testing.T) {
	for _, c := range []struct {
		name          string
		local, remote func(d *device)
		want          string // paths that are seen
	}{
		{"made in a directory that is deleted", func(d *device) { d.put("e/n", 5) }, func(d *device) { d.remove("e") }, "d d/f e e/n"},
		{"moved into a directory that is deleted", func(d *device) { d.move("d/f", "e/f") }, func(d *device) { d.remove("e") }, "d e e/f"},
		{"a directory deleted that gets something", func(d *device) { d.remove("e") }, func(d *device) { d.put("e/n", 5) }, "d d/f e e/n"},
		{"two directories moved into each other", func(d *device) { d.move("d", "e/d") }, func(d *device) { d.move("e", "d/e") }, "d d/e d/f"},
		{"a name taken twice", func(d *device) { d.put("n", 5) }, func(d *device) { d.put("n", 6) },
			"d d/f e n n (name conflict, alice 2026-05-01)"},
		{"a directory made twice", func(d *device) { d.make("n", dir); d.put("n/a", 5) }, func(d *device) { d.make("n", dir); d.put("n/b", 6) },
			"d d/f e n n/a n/b"},
		{"a file written twice", func(d *device) { d.put("d/f", 5) }, func(d *device) { d.put("d/f", 6) },
			"d d/f d/f (conflicted copy, alice 2026-05-01) e"},
		{"a written file moved and deleted follows its copy", func(d *device) { d.put("d/f", 5); d.move("d/f", "g"); d.remove("g") },
			func(d *device) { d.put("d/f", 6) }, "d d/f e"},
		{"a written file that is replaced", func(d *device) { d.put("d/f", 5); d.put("n", 7); d.move("n", "d/f") }, func(d *device) { d.put("d/f", 6) },
			"d d/f d/f (conflicted copy, alice 2026-05-01) e"},
		{"written here, deleted there", func(d *device) { d.put("d/f", 5) }, func(d *device) { d.remove("d/f"); d.remove("d") }, "d d/f e"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			ns := h.namespace(t)
			alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
			alice.settle()
			alice.make("d", dir)
			alice.put("d/f", 1)
			alice.make("e", dir)
			alice.settle()
			bob.settle()
			c.local(alice)
			c.remote(bob)
			bob.settle()
			before := alice.nodes()
			alice.changes = nil
			check(t, alice.pull(100))
			var paths []string
			alice.walk(func(p string, n dbfs.Node) { paths = append(paths, p) })
			if got := strings.Join(paths, " "); got != c.want {
				t.Errorf("seen: %s\nwant: %s", got, c.want)
			}
			alice.told(before, alice.changes)
			alice.settle()
			if alice.refused > 0 {
				t.Errorf("refused %d times after the log had been read", alice.refused)
			}
		})
	}
}

// Two moves that would make a circle are seen as none, however far apart they are.
func TestCircleFarApart(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	for _, p := range []string{"a", "a/x", "a/x/y", "b", "b/x", "b/x/y"} {
		alice.make(p, dir)
	}
	alice.settle()
	bob.settle()
	alice.move("a", "b/x/y/a")
	bob.move("b", "a/x/y/b")
	bob.settle()
	check(t, alice.pull(100))
	if got, want := alice.show(false), bob.show(false); got != want {
		t.Errorf("alice sees\n%swant\n%s", got, want)
	}
}

// What both made is one now, and the kernel goes on with the inode that it knows.
func TestAdoptedKeepsItsInode(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	bob.settle()
	alice.make("n", dir)
	alice.put("n/f", 5)
	alice.put("g", 6)
	inos := map[string]uint64{"n": alice.at("n").Ino, "n/f": alice.at("n/f").Ino, "g": alice.at("g").Ino}
	was := alice.at("g").ID
	bob.make("n", dir)
	bob.put("n/f", 5)
	bob.put("g", 6)
	bob.settle()
	check(t, alice.pull(100))
	for range 2 {
		for p, want := range inos {
			if n := alice.at(p); n.Ino != want || n.ID != bob.at(p).ID {
				t.Errorf("%s is node %s, inode %d; want %s, %d", p, n.ID, n.Ino, bob.at(p).ID, want)
			}
		}
		alice.open()
	}
	followed := false
	for _, c := range alice.changes {
		followed = followed || c.Node == was && c.Follow == alice.at("g").ID
	}
	if left := alice.j.Pending(); !followed || len(left) > 0 {
		t.Errorf("open files were told to follow: %v; left:%s", followed, ops(left))
	}
}

// A reconciling that takes many transactions happens whole or not at all, wherever it is
// cut short.
func TestReconcileCutShort(t *testing.T) {
	defer func(n int) { maxTxn = n }(maxTxn)
	maxTxn = 2000
	const files = 12
	for stop, done := 0, false; !done; stop++ {
		h := newHost(t)
		ns := h.namespace(t)
		alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		for i := range files {
			alice.put(fmt.Sprint("f", i), 1+i)
		}
		alice.settle()
		bob.settle()
		for i := range files {
			if i%3 == 0 { // so that transactions end within pairs of edits as well
				alice.make(fmt.Sprint("d", i), dir)
			}
			name := fmt.Sprint("f", i)
			alice.put(name, 100+i)
			alice.chmod(name, 0o600)
			bob.put(name, 200+i)
		}
		bob.settle()
		alice.kv.left = stop
		err := alice.pull(100)
		if done = err == nil; !done && !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if stop > 1000 {
			t.Fatal("it never gets through")
		}
		alice.open()
		alice.settle()
		for i := range files {
			name := fmt.Sprint("f", i)
			theirs, ours := alice.at(name), alice.at(name+" (conflicted copy, alice 2026-05-01)")
			if theirs.Content.Size != int64(200+i) || theirs.Attr.Mode != 0o644 || ours.Content.Size != int64(100+i) || ours.Attr.Mode != 0o600 {
				t.Fatalf("stopped after %d updates: %s\n%s", stop, describe(&theirs), describe(&ours))
			}
		}
		if got, want := len(alice.nodes()), 2*files+files/3; got != want {
			t.Fatalf("stopped after %d updates: %d nodes, want %d", stop, got, want)
		}
		for key := range records(t, alice.kv) {
			if key[0] == 'j' {
				t.Fatalf("stopped after %d updates: a record is left: %x", stop, key)
			}
		}
	}
}

// What a reconciling that failed half way has written does not count when a later one, of other
// edits, gets through.
func TestReconcileAfterOneCutShort(t *testing.T) {
	defer func(n int) { maxTxn = n }(maxTxn)
	maxTxn = 3000
	const files = 20
	for stop, done := 0, false; !done; stop++ {
		if stop > 1000 {
			t.Fatal("it never gets through")
		}
		h := newHost(t)
		ns := h.namespace(t)
		alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		bob.settle()
		for i := range files {
			bob.make(fmt.Sprint("x", i), file)
			alice.make(fmt.Sprint("x", i), dir)
		}
		bob.settle()
		for i := range files {
			alice.make(fmt.Sprint("y", i), file)
		}
		alice.kv.left = stop
		err := alice.pull(100)
		if done = err == nil; !done && !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		alice.kv.left = -1
		for i := range files {
			alice.remove(fmt.Sprint("y", i))
		}
		check(t, alice.pull(100))
		alice.open()
		for i := range files {
			if _, err := alice.j.Lookup(fmt.Sprint("y", i)); !errors.Is(err, dbfs.ErrNotExist) {
				t.Fatalf("stopped after %d updates: y%d, which was removed: %v", stop, i, err)
			}
		}
	}
}

// Two that change places keep their bytes, their numbers and whatever else happens to them.
func TestExchange(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
	alice.settle()
	alice.make("d", dir)
	alice.put("d/f", 1)
	alice.put("g", 2)
	alice.settle()
	bob.settle()
	f, g := alice.at("d/f"), alice.at("g")

	check(t, alice.j.Exchange(f.ID, g.ID))
	if left := alice.j.Pending(); len(left) != 1 {
		t.Errorf("pending %v, want one edit", left)
	}
	check(t, alice.j.Exchange(g.ID, f.ID))
	if left := alice.j.Pending(); len(left) != 0 {
		t.Errorf("exchanged twice: pending %v, want nothing", left)
	}
	check(t, alice.j.Exchange(g.ID, f.ID))
	alice.open()
	if got, want := alice.sizes(), "d 0\nd/f 2\ng 1\n"; got != want {
		t.Errorf("after a restart alice sees\n%swant\n%s", got, want)
	}
	if alice.at("g").Ino != f.Ino || alice.at("d/f").Ino != g.Ino {
		t.Error("inode numbers have changed")
	}
	check(t, bob.j.Exchange(bob.at("d").ID, bob.at("g").ID)) // alice is first: bob's is off
	alice.settle()
	bob.settle()
	for _, d := range []*device{alice, bob} {
		if got, want := d.sizes(), "d 0\nd/f 2\ng 1\n"; got != want {
			t.Errorf("%s sees\n%swant\n%s", d.name, got, want)
		}
	}
	for _, bad := range []struct {
		a, b dbfs.NodeID
		want error
	}{
		{alice.at("d").ID, alice.at("d/f").ID, dbfs.ErrLoop},
		{alice.at("d/f").ID, alice.at("d").ID, dbfs.ErrLoop},
		{dbfs.NodeID{9}, f.ID, dbfs.ErrNotExist},
		{f.ID, dbfs.RootNode, dbfs.ErrNotExist},
	} {
		if err := alice.j.Exchange(bad.a, bad.b); !errors.Is(err, bad.want) {
			t.Errorf("exchange %s with %s: %v, want %v", bad.a, bad.b, err, bad.want)
		}
	}
	check(t, alice.j.Exchange(f.ID, f.ID))
}
