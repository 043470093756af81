package journal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dbfs/dbfs"
)

// three returns devices that agree on d/f with one byte and on g with two.
func three(t *testing.T) (h *host, alice, bob, carol *device) {
	h = newHost(t)
	ns := h.namespace(t)
	alice, bob, carol = newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1), newDevice(t, h, 2, ns, 1)
	alice.settle()
	alice.make("d", dir)
	alice.put("d/f", 1)
	alice.put("g", 2)
	for _, d := range []*device{alice, bob, carol} {
		d.settle()
	}
	return h, alice, bob, carol
}

// What a new listing does not show was deleted by somebody; bytes written to it meanwhile
// bring it back where it was.
func TestWrittenAndNotListed(t *testing.T) {
	h, alice, bob, _ := three(t)
	alice.put("d/f", 5)
	alice.chmod("g", 0o600)
	ino := alice.at("g").Ino
	bob.remove("d/f")
	bob.remove("d")
	bob.remove("g")
	bob.settle()
	h.store.forget(t, alice.ns)
	alice.settle()
	bob.settle()
	for _, d := range []*device{alice, bob} {
		if n := d.at("d/f"); n.Content.Size != 5 || n.Attr.Mode != 0o644 {
			t.Errorf("%s sees d/f as %s, want 5 bytes", d.name, describe(&n))
		}
		if _, err := d.j.Lookup("g"); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("%s looks for g: %v, want ErrNotExist", d.name, err)
		}
	}
	gone := false
	for _, c := range alice.changes {
		gone = gone || c.Before != nil && c.Before.Ino == ino && c.After == nil
	}
	if !gone {
		t.Errorf("alice's kernel is not told that g is gone: %+v", alice.changes)
	}
}

// A directory that is not listed any more is made anew once, whatever was to go below it.
func TestMadeAnewOnce(t *testing.T) {
	h, alice, bob, _ := three(t)
	alice.make("d/x", dir)
	alice.make("d/y", dir)
	alice.settle()
	bob.settle()
	alice.put("d/x/1", 5)
	alice.put("d/y/2", 6)
	alice.put("d/3", 7)
	for _, p := range []string{"d/x", "d/y", "d/f", "d"} {
		bob.remove(p)
	}
	bob.settle()
	h.store.forget(t, alice.ns)
	alice.settle()
	bob.settle()
	for p, want := range map[string]int64{"d/x/1": 5, "d/y/2": 6, "d/3": 7} {
		if got := bob.at(p).Content.Size; got != want {
			t.Errorf("%s has %d bytes, want %d", p, got, want)
		}
	}
	if names, err := bob.j.Names(dbfs.RootNode); err != nil || len(names) != 2 {
		t.Errorf("the root has %v, %v; want d and g", names, err)
	}
}

// A restored log uses numbers again. That a revision has the same number does not make it the
// one that was seen.
func TestRestoredLogUsesRevisionsAgain(t *testing.T) {
	h, alice, bob, carol := three(t)
	backup := h.store.backup(t, alice.ns)
	bob.put("g", 3)
	bob.settle()
	alice.settle()
	alice.put("g", 5)
	seen := alice.j.Pending()[0].Base.Content
	h.store.restore(t, alice.ns, backup, 2)
	carol.reset = true
	carol.put("g", 9)
	carol.settle()
	if now := carol.at("g").Revs.Content; now != seen {
		t.Fatalf("g has revision %d, want %d again", now, seen)
	}
	alice.settle()
	carol.settle()
	if got := carol.at("g").Content.Size; got != 9 {
		t.Errorf("g has %d bytes, want the 9 that alice never saw", got)
	}
	if got := carol.at("g (conflicted copy, alice 2026-05-01)").Content.Size; got != 5 {
		t.Errorf("the copy has %d bytes, want 5", got)
	}
}

// … and that it has another number does not make it another one.
func TestRestoredLogWithTheSameFile(t *testing.T) {
	h, alice, bob, _ := three(t)
	backup := h.store.backup(t, alice.ns)
	bob.chmod("g", 0o600)
	bob.settle()
	alice.settle()
	alice.put("g", 5)
	alice.move("d/f", "f")
	h.store.restore(t, alice.ns, backup, 2)
	alice.settle()
	if got := alice.at("g").Content.Size; got != 5 || len(alice.noticed) > 0 {
		t.Errorf("g has %d bytes, want 5; reconciling told %q", got, alice.noticed)
	}
	alice.at("f")
}

// A tree that is listed while others change it is a mixture of times until the log has been
// read to its end. Edits are reconciled with what it is then.
func TestListedWhileItChanges(t *testing.T) {
	h, alice, bob, _ := three(t)
	alice.remove("g")
	bob.put("h", 7)
	bob.settle()
	h.store.forget(t, alice.ns)
	begun, err := alice.j.List()
	check(t, err)
	first, err := alice.meta.Tree(t.Context(), alice.ns, dbfs.RootNode, 1)
	check(t, err)
	check(t, begun.Add(first.Nodes))
	bob.ids = []dbfs.NodeID{{15: 1}} // before all others: the listing is past it
	bob.make("n", dir)
	bob.move("g", "n/g")
	bob.settle()
	for after, more := first.Next, first.More; more; {
		page, err := alice.meta.Tree(t.Context(), alice.ns, after, 1)
		check(t, err)
		check(t, begun.Add(page.Nodes))
		after, more = page.Next, page.More
	}
	check(t, begun.Finish(first.Cursor))
	if b, err := alice.j.Batch(always); b != nil || err != nil {
		t.Errorf("sent before the log has been read: %+v, %v", b, err)
	}
	if got := len(alice.j.Pending()); got != 1 {
		t.Errorf("%d edits are pending before the log has been read, want the deletion", got)
	}
	alice.open() // as well after a restart
	alice.settle()
	if len(alice.noticed) != 1 || alice.refused > 0 {
		t.Errorf("told %q, refused %d times; want to hear that the deletion was dropped", alice.noticed, alice.refused)
	}
	if got, want := alice.show(false), bob.show(false); got != want {
		t.Errorf("alice sees\n%swant\n%s", got, want)
	}
}

// A listing that was not finished is thrown away, and the old tree goes on being shown.
func TestListingCutShort(t *testing.T) {
	h, alice, bob, _ := three(t)
	before := alice.show(true)
	bob.put("h", 7)
	bob.remove("g")
	bob.settle()
	h.store.forget(t, alice.ns)
	for range 3 {
		begun, err := alice.j.List()
		check(t, err)
		page, err := alice.meta.Tree(t.Context(), alice.ns, dbfs.RootNode, 2)
		check(t, err)
		check(t, begun.Add(page.Nodes))
		alice.open()
		if after := alice.show(true); after != before {
			t.Fatalf("seen:\n%swant\n%s", after, before)
		}
	}
	alice.settle()
	if got, want := alice.show(false), bob.show(false); got != want {
		t.Errorf("alice sees\n%swant\n%s", got, want)
	}
}

// What the server says is checked.
func TestNonsenseFromTheServer(t *testing.T) {
	_, alice, _, _ := three(t)
	before := alice.show(true)
	good := alice.at("g")
	good.Last, good.Ino = 100, 0
	next := dbfs.Cursor{Epoch: 1, JID: 101}
	entry := func(jid dbfs.JID, change func(n *dbfs.Node)) dbfs.Entry {
		n := good
		change(&n)
		return dbfs.Entry{JID: jid, End: true, Node: n}
	}
	fine := entry(100, func(*dbfs.Node) {})
	for name, entries := range map[string][]dbfs.Entry{
		"name":    {entry(100, func(n *dbfs.Node) { n.Name = "a/b" })},
		"content": {entry(100, func(n *dbfs.Node) { n.Content.Size = 1 << 40 })},
		"kind":    {entry(100, func(n *dbfs.Node) { n.Kind = 99 })},
		"parent":  {entry(100, func(n *dbfs.Node) { n.Parent = n.ID })},
		"order":   {fine, fine},
	} {
		if err := alice.j.Advance(entries, next); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		begun, err := alice.j.List()
		check(t, err)
		if name != "order" {
			if err := begun.Add([]dbfs.Node{entries[0].Node}); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("listed %s: %v, want ErrCorrupt", name, err)
			}
		}
	}
	if err := alice.j.Advance([]dbfs.Entry{fine}, dbfs.Cursor{Epoch: 2, JID: 100}); !errors.Is(err, dbfs.ErrReset) {
		t.Errorf("another epoch: %v, want ErrReset", err)
	}
	if after := alice.show(true); after != before || alice.j.Cursor().JID >= 100 {
		t.Errorf("seen after nonsense:\n%swant\n%s", after, before)
	}
	if err := alice.j.Advance(nil, dbfs.Cursor{Epoch: 1, JID: 1}); err != nil || alice.j.Cursor().JID <= 1 {
		t.Errorf("an old page: %v, and the cursor is %v", err, alice.j.Cursor())
	}
}

// One edit may need several nodes made anew: a file that a restored server does not know any
// more, with the directories above it.
func TestMadeAnewWithDirectories(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice := newDevice(t, h, 0, ns, 1)
	alice.settle()
	backup := h.store.backup(t, ns)
	alice.make("d", dir)
	alice.make("d/e", dir)
	alice.put("d/e/f", 1)
	alice.put("d/e/g", 1)
	alice.settle()
	alice.put("d/e/f", 2)
	alice.chmod("d/e/g", 0o600)
	g := alice.at("d/e/g")
	h.store.restore(t, ns, backup, 7)
	alice.settle()
	if got := alice.at("d/e/f").Content.Size; got != 2 {
		t.Errorf("d/e/f has %d bytes, want 2", got)
	}
	if _, err := alice.j.Lookup("d/e/g"); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("d/e/g, of which only the mode was set: %v, want ErrNotExist", err)
	}
	inos := make(map[uint64]string)
	alice.walk(func(p string, n dbfs.Node) {
		if other, taken := inos[n.Ino]; taken || n.Ino == 0 {
			t.Errorf("%s and %s have inode number %d", p, other, n.Ino)
		}
		inos[n.Ino] = p
	})
	again, err := alice.j.Write(g.ID, g.Content, bytesOf(3), 3)
	check(t, err)
	if p, ok := alice.j.Path(again.ID); !ok || again.Content.Size != 3 {
		t.Errorf("what was written to the lost d/e/g is at %q, %s", p, describe(&again))
	}
	alice.settle()
}

// A creation that was sent and not answered may be in a new listing. What is written between
// the listing and the log that follows it is not taken for done.
func TestWrittenAfterListing(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	bob.settle()
	overwrite := func(size int) {
		for i := range 20 {
			bob.put(fmt.Sprint("b", i), size)
		}
		bob.settle()
	}
	overwrite(1)
	alice.put("a", 1)
	_, err := alice.push(always, answerLost)
	check(t, err)
	h.store.forget(t, ns)
	check(t, alice.pull(100))
	check(t, alice.pull(1))
	overwrite(2) // so that the log after the listing matters
	for alice.reset {
		check(t, alice.pull(1))
	}
	if !alice.j.st.owed {
		t.Fatal("the edits have been reconciled before the log was read")
	}
	alice.put("a", 3)
	alice.settle()
	if got := alice.at("a").Content.Size; got != 3 || len(alice.j.Notices()) > 0 {
		t.Errorf("a has %d bytes, want 3; notices %+v", got, alice.j.Notices())
	}
}

// A file that somebody writes to is not forgotten when a new listing does not show it: what
// is written to it brings it back, with the directory it was in.
func TestHeldAndNotListed(t *testing.T) {
	h, alice, bob, _ := three(t)
	f, g := alice.at("d/f"), alice.at("g")
	for _, n := range []dbfs.Node{f, g} {
		alice.j.Hold(n.ID)
	}
	bob.remove("d/f")
	bob.remove("d")
	bob.settle()
	for range 2 { // as well if it is listed twice
		h.store.forget(t, alice.ns)
		bob.put("h", 7)
		bob.settle()
		alice.reset = true
		alice.settle()
	}
	if _, err := alice.j.Lookup("d"); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("d is not listed: %v, want ErrNotExist", err)
	}
	for _, n := range []dbfs.Node{f, g} {
		now, err := alice.j.Write(n.ID, n.Content, bytesOf(9), 9)
		check(t, err)
		alice.j.Release(n.ID)
		if now.Content.Size != 9 || now.Name != n.Name {
			t.Errorf("%s has been written: %s, want 9 bytes", n.Name, describe(&now))
		}
	}
	alice.settle()
	bob.settle()
	for _, p := range []string{"d/f", "g"} {
		if got := bob.at(p).Content.Size; got != 9 {
			t.Errorf("%s has %d bytes, want 9", p, got)
		}
	}
}

// A held file that was deleted here stays deleted, whatever a new listing shows.
func TestHeldDeletedAndNotListed(t *testing.T) {
	h, alice, _, _ := three(t)
	g := alice.at("g")
	alice.j.Hold(g.ID)
	alice.remove("g")
	alice.settle()
	h.store.forget(t, alice.ns)
	alice.reset = true
	alice.settle()
	if _, err := alice.j.Write(g.ID, g.Content, bytesOf(9), 9); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("write to a file that was deleted here: %v, want ErrNotExist", err)
	}
}
