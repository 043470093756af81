package journal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// rmAll does what rm -r does.
func (d *device) rmAll(p string) {
	d.t.Helper()
	nodes, err := d.j.Children(d.at(p).ID)
	check(d.t, err)
	for _, n := range nodes {
		if n.Kind.IsDir() {
			d.rmAll(p + "/" + n.Name)
		} else {
			d.remove(p + "/" + n.Name)
		}
	}
	d.remove(p)
}

func types(ops []dbfs.Op) string {
	var words []string
	for _, op := range ops {
		words = append(words, op.Type.String())
	}
	return strings.Join(words, " ")
}

// What empties a directory travels as one edit, if nothing else happens there.
func TestTreeIsDeletedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(d *device)
		want string // what is sent first
	}{
		{"all of it", func(d *device) { d.rmAll("d") }, "delete_tree"},
		{"after other edits", func(d *device) { d.put("g", 8); d.rmAll("d"); d.put("n", 9) }, "write delete_tree create"},
		{"written to before", func(d *device) { d.put("d/f", 8); d.chmod("d/e/g", 0o600); d.rmAll("d") }, "delete_tree"},
		{"a part of it", func(d *device) { d.rmAll("d/e") }, "delete_tree"},
		{"two trees", func(d *device) { d.rmAll("d/e"); d.rmAll("x") }, "delete_tree delete_tree"},
		{"a directory without anything", func(d *device) { d.rmAll("d/empty") }, "delete"},
		{"moved before", func(d *device) { d.move("d", "m"); d.rmAll("m") }, "move delete_tree"},
		{"something moved out of it", func(d *device) { d.move("d/f", "f"); d.rmAll("d") }, "move delete_tree delete delete"},
		{"something made in it before", func(d *device) { d.put("d/n", 9); d.rmAll("d") }, "delete_tree"},
		{"its name taken again", func(d *device) { d.rmAll("d"); d.make("d", dir); d.put("d/f", 9) }, "delete_tree create create"},
		{"a name below taken for a while", func(d *device) {
			d.remove("d/f")
			d.move("g", "d/f")
			d.put("n", 9)
			d.move("d/f", "g")
			d.rmAll("d")
		}, "delete move create move delete_tree delete delete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			ns := h.namespace(t)
			d, other := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
			d.settle()
			for _, p := range []string{"d", "d/e", "d/empty", "x"} {
				d.make(p, dir)
			}
			for i, p := range []string{"d/f", "d/e/g", "d/e/h", "g", "x/y"} {
				d.put(p, i+1)
			}
			d.settle()
			other.settle()
			c.do(d)
			seen := d.show(true)
			b, err := d.j.Batch(always)
			check(t, err)
			if got := types(b.Ops); got != c.want {
				t.Errorf("sent: %s, want %s", got, c.want)
			}
			if now := d.show(true); now != seen {
				t.Errorf("seen with it on its way:\n%swant\n%s", now, seen)
			}
			d.open()
			if now := d.show(true); now != seen {
				t.Errorf("seen after a restart:\n%swant\n%s", now, seen)
			}
			before := d.nodes()
			d.changes = nil
			d.settle()
			d.told(before, d.changes)
			if len(d.changes) > 0 {
				t.Errorf("what was known is told: %+v", d.changes)
			}
			before = other.nodes()
			other.changes = nil
			other.settle()
			other.told(before, other.changes)
			for _, x := range []*device{d, other} {
				if after, _ := serverShows(t, h, ns); after != x.show(false) || d.show(true) != seen || x.refused > 0 || len(x.noticed) > 0 {
					t.Errorf("after %d refusals and notices %q %s sees\n%sthe server has\n%s", x.refused, x.noticed, x.name, x.show(false), after)
				}
			}
		})
	}
}

// What others do below in the meantime stays, and what goes with the tree can come back.
func TestTreeMeetsOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		remote func(d *device)
		want   string
	}{
		{"nothing", func(d *device) {}, "g 9\n"},
		{"write below", func(d *device) { d.put("d/e/h", 7) }, "d 0\nd/e 0\nd/e/h 7\ng 9\n"},
		{"creation below", func(d *device) { d.put("d/n", 7) }, "d 0\nd/n 7\ng 9\n"},
		{"setattr below", func(d *device) { d.chmod("d/f", 0o600) }, "g 9\n"},
		{"a move out of it", func(d *device) { d.move("d/f", "f") }, "f 1\ng 9\n"},
		{"a tree below deleted, too", func(d *device) { d.rmAll("d/e") }, "g 9\n"},
		{"deleted, too", func(d *device) { d.rmAll("d") }, "g 9\n"},
		{"deleted and made anew", func(d *device) { d.rmAll("d"); d.make("d", dir); d.put("d/f", 7) }, "d 0\nd/f 7\ng 9\n"},
	} {
		for _, first := range []string{"tree", "others"} {
			t.Run(c.name+", first "+first, func(t *testing.T) {
				h := newHost(t)
				ns := h.namespace(t)
				alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
				alice.settle()
				alice.make("d", dir)
				alice.make("d/e", dir)
				for i, p := range []string{"d/f", "d/e/g", "d/e/h"} {
					alice.put(p, i+1)
				}
				alice.put("g", 9)
				alice.settle()
				bob.settle()
				alice.rmAll("d")
				c.remote(bob)
				if first == "tree" {
					alice.settle()
					bob.settle()
				} else {
					bob.settle()
					_, err := alice.push(always, none) // is refused, or not
					check(t, err)
				}
				alice.settle()
				bob.settle()
				alice.settle()
				for _, d := range []*device{alice, bob} {
					if first == "others" && d.sizes() != c.want || d.sizes() != alice.sizes() {
						t.Errorf("%s sees\n%swant\n%s", d.name, d.sizes(), c.want)
					}
				}
				if first == "tree" && strings.Contains(c.want, " 7\n") != strings.Contains(alice.sizes(), " 7\n") {
					t.Errorf("alice sees\n%swhat bob wrote should be like in\n%s", alice.sizes(), c.want)
				}
			})
		}
	}
}

// A tree that is larger than the server takes at once goes in parts, and one that it does not
// take for another reason goes file by file.
func TestTreesThatAreNotTaken(t *testing.T) {
	defer func(n int) { maxTxn = n }(maxTxn)
	maxTxn = 20_000 // so that one tree takes several transactions
	h := newHost(t)
	ns := h.namespace(t)
	d, other := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
	d.settle()
	other.settle()
	d.make("d", dir)
	for i := range 3 {
		d.make(fmt.Sprint("d/", i), dir)
		for k := range dbfs.MaxTreeNodes/2 - 10 {
			d.make(fmt.Sprintf("d/%d/%d", i, k), file)
		}
	}
	d.make("fat", dir)
	for i := range 40 {
		n := d.make(fmt.Sprint("fat/", i), file)
		_, err := d.j.SetAttr(n.ID, dbfs.AttrXattrs, dbfs.Attr{Xattrs: map[string][]byte{"user.x": make([]byte, 60<<10)}})
		check(t, err)
	}
	d.settle()
	other.settle()
	d.rmAll("d")
	d.rmAll("fat")
	b, err := d.j.Batch(always)
	check(t, err)
	if got, want := types(b.Ops), "delete_tree delete_tree delete_tree delete delete_tree"; got != want {
		t.Errorf("sent: %s, want %s", got, want)
	}
	d.settle()
	other.settle()
	for _, x := range []*device{d, other} {
		if got := x.show(false); got != "" || len(x.j.Pending()) > 0 {
			t.Errorf("%s still sees\n%s", x.name, got)
		}
	}
	if d.refused != 2 || len(d.noticed) > 0 {
		t.Errorf("refused %d times, want twice; notices %q", d.refused, d.noticed)
	}
}

// A server that has been brought back to an older state gets the deletions one by one: what it
// has of the tree may be something else.
func TestTreeAndARestoredServer(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.make("d", dir)
	d.put("d/f", 1)
	d.put("d/g", 2)
	d.settle()
	old := h.store.backup(t, d.ns)
	d.put("d/g", 3)
	d.settle()
	d.rmAll("d")
	_, err := d.j.Batch(always)
	check(t, err)
	h.store.restore(t, d.ns, old, 2)
	d.settle()
	if got, want := d.sizes(), "d 0\nd/g 2\n"; got != want { // nobody has seen that one and deleted it
		t.Errorf("seen\n%swant\n%s", got, want)
	}
}
