package journal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// Who saves by renaming a new file over the old one has the same file afterwards; so has who
// removes the old one first. What the program has open is that file, too.
func TestSaveKeepsTheNode(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(d *device)
		kept bool
		want string // what the journal has then
	}{
		{"renamed over it", func(d *device) { d.put("tmp", 5); d.move("tmp", "d/f") }, true, "write"},
		{"after it was deleted", func(d *device) { d.put("tmp", 5); d.remove("d/f"); d.move("tmp", "d/f") }, true, "write"},
		{"deleted before the new one was made", func(d *device) { d.remove("d/f"); d.put("tmp", 5); d.move("tmp", "d/f") }, true, "write"},
		{"twice", func(d *device) { d.put("tmp", 4); d.move("tmp", "d/f"); d.put("tmp", 5); d.move("tmp", "d/f") }, true, "write"},
		{"after it was written", func(d *device) { d.put("d/f", 4); d.put("tmp", 5); d.move("tmp", "d/f") }, true, "write"},
		{"after it was moved", func(d *device) { d.move("d/f", "g"); d.put("tmp", 5); d.move("tmp", "g"); d.move("g", "d/f") }, true, "move write move"},
		{"of another mode", func(d *device) { d.put("tmp", 5); d.chmod("tmp", 0o600); d.move("tmp", "d/f") }, true, "write setattr"},
		{"twice, of another mode", func(d *device) {
			for range 2 {
				d.put("tmp", 5)
				d.chmod("tmp", 0o600)
				d.move("tmp", "d/f")
			}
		}, true, "write setattr"},
		{"moved about before", func(d *device) { d.put("tmp", 5); d.move("tmp", "d/t"); d.move("d/t", "d/f") }, true, "write"},
		{"the old one kept as a backup", func(d *device) { d.put("tmp", 5); d.move("d/f", "d/f~"); d.move("tmp", "d/f") }, false, "move create"},
		{"a new one that is sent already", func(d *device) { d.put("tmp", 5); d.flight(); d.move("tmp", "d/f") }, false, "create move"},
		{"deleted, and that is sent already", func(d *device) { d.remove("d/f"); d.flight(); d.put("tmp", 5); d.move("tmp", "d/f") }, false, "delete create"},
		{"deleted, and something else stood there", func(d *device) {
			d.remove("d/f")
			d.move("other", "d/f")
			d.make("x", dir)
			d.move("d/f", "other")
			d.put("tmp", 5)
			d.move("tmp", "d/f")
		}, false, "delete move create move create"},
		{"deleted long ago", func(d *device) {
			d.remove("d/f")
			for i := range reach {
				d.make(fmt.Sprint("x", i), dir)
			}
			d.put("tmp", 5)
			d.move("tmp", "d/f")
		}, false, "delete" + strings.Repeat(" create", reach+1)},
		{"over a symlink", func(d *device) {
			d.remove("d/f")
			d.make("d/f", NewNode{Kind: dbfs.KindSymlink, Target: "x"})
			d.flight()
			d.put("tmp", 5)
			d.move("tmp", "d/f")
		}, false, "delete create create move"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			d := newDevice(t, h, 0, h.namespace(t), 1)
			d.settle()
			d.make("d", dir)
			d.put("d/f", 1)
			d.put("other", 2)
			d.settle()
			old := d.at("d/f")
			before := d.nodes()
			d.changes = nil
			c.do(d)
			now := d.at("d/f")
			if kept := now.ID == old.ID; kept != c.kept {
				t.Errorf("the node is kept: %t, want %t", kept, c.kept)
			}
			if now.Content.Size != 5 || now.Ino == old.Ino {
				t.Errorf("%d bytes under inode %d, want 5 under that of the new file", now.Content.Size, now.Ino)
			}
			var types []string
			for _, op := range d.j.Pending() {
				types = append(types, op.Type.String())
			}
			if got := strings.Join(types, " "); got != c.want {
				t.Errorf("the journal has %q, want %q", got, c.want)
			}
			d.told(before, d.changes)
			seen := d.show(true)
			if d.open(); d.show(true) != seen {
				t.Errorf("seen after a restart:\n%swant\n%s", d.show(true), seen)
			}
			d.settle()
			if after, _ := serverShows(t, h, d.ns); after != d.show(false) || d.show(true) != seen || d.refused > 0 {
				t.Errorf("after %d refusals the server has\n%swant\n%s", d.refused, after, seen)
			}
		})
	}
}

// flight lets what is pending go on its way, and leaves it there.
func (d *device) flight() {
	d.t.Helper()
	_, err := d.j.Batch(always)
	check(d.t, err)
}

// A save is an edit of the old file for the others, too.
func TestSaveMeetsOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		remote func(d *device)
		want   string
	}{
		{"nothing", func(d *device) {}, "d 0\nd/f 5\n"},
		{"write", func(d *device) { d.put("d/f", 9) }, "d 0\nd/f 9\nd/f (conflicted copy, alice 2026-05-01) 5\n"},
		{"move", func(d *device) { d.move("d/f", "g") }, "d 0\ng 5\n"},
		{"setattr", func(d *device) { d.chmod("d/f", 0o600) }, "d 0\nd/f 5 private\n"},
		{"delete", func(d *device) { d.remove("d/f"); d.remove("d") }, "d 0\nd/f 5\n"},
		{"save", func(d *device) { d.put("t", 9); d.move("t", "d/f") }, "d 0\nd/f 9\nd/f (conflicted copy, alice 2026-05-01) 5\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			ns := h.namespace(t)
			alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
			alice.settle()
			alice.make("d", dir)
			alice.put("d/f", 1)
			alice.settle()
			bob.settle()
			alice.put("tmp", 5)
			alice.move("tmp", "d/f")
			c.remote(bob)
			bob.settle()
			alice.settle()
			bob.settle()
			for _, d := range []*device{alice, bob} {
				if got := d.sizes(); got != c.want {
					t.Errorf("%s sees\n%swant\n%s", d.name, got, c.want)
				}
			}
		})
	}
}

// What others have made of a deleted file is not overwritten by one that is put into its place
// before anybody has seen it: while a batch is on its way, the edits have yet to be reconciled.
func TestSaveOverWhatNobodyHasSeen(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 2)
	alice.settle()
	alice.put("f", 1)
	alice.settle()
	bob.settle()
	alice.make("d", dir)
	alice.flight()
	alice.remove("f")
	bob.put("f", 9)
	bob.settle()
	check(t, alice.pull(100))
	alice.put("tmp", 5)
	alice.move("tmp", "f")
	alice.settle()
	bob.settle()
	for _, d := range []*device{alice, bob} {
		if got, want := d.sizes(), "d 0\nf 9\nf (name conflict, alice 2026-05-01) 5\n"; got != want {
			t.Errorf("%s sees\n%swant\n%s", d.name, got, want)
		}
	}
}

// As long as somebody writes to the new file, the old one is not sent; who wrote to the old
// one does not hold it up.
func TestSaveOfWhatIsBeingWritten(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.put("f", 1)
	d.settle()
	f := d.at("f")
	n, err := d.j.Create(dbfs.RootNode, "tmp", NewNode{Kind: dbfs.KindFile, Held: true})
	check(t, err)
	now, err := d.j.Move(n.ID, dbfs.RootNode, "f", false)
	check(t, err)
	if now != f.ID {
		t.Fatalf("the name leads to %s, want %s", now, f.ID)
	}
	if b, err := d.j.Batch(always); err != nil || b != nil {
		t.Fatalf("what is being written is sent: %+v, %v", b, err)
	}
	_, err = d.j.Write(now, dbfs.Content{}, bytesOf(5), 5)
	check(t, err)
	d.j.Release(now)
	d.settle()
	if got, want := d.sizes(), "f 5\n"; got != want || len(d.noticed) > 0 {
		t.Errorf("seen %q, want %q; notices %v", got, want, d.noticed)
	}
}

// The history of a file goes on over a save.
func TestSaveKeepsHistory(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.put("f", 1)
	d.settle()
	f := d.at("f")
	for size := 2; size < 5; size++ {
		d.put("tmp", size)
		d.move("tmp", "f")
		d.settle()
	}
	page, err := h.sessions[0].Revisions(t.Context(), d.ns, f.ID, 0, 0)
	check(t, err)
	var sizes []int64
	for _, r := range page.Revisions {
		sizes = append(sizes, r.Content.Size)
	}
	if got := fmt.Sprint(sizes); got != "[1 2 3 4]" {
		t.Errorf("the file has had %s bytes, want 1 to 4", got)
	}
}
