package metatest

import (
	"reflect"
	"testing"

	"github.com/dbfs/dbfs"
)

func testCopy(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"NeedsNoReceipts":    copyNeedsNoReceipts,
		"OfAnOlderVersion":   copyOfAnOlderVersion,
		"OfWhatIsNotThere":   copyOfWhatIsNotThere,
		"OfWhatIsNotTheirs":  copyOfWhatIsNotTheirs,
		"OfAnotherOwners":    copyOfAnotherOwners,
		"ChangedSince":       copyChangedSince,
		"WriteWithASource":   writeWithASource,
		"RightsAreAskedEach": rightsAreAskedEachTime,
	})
}

// twoPens are of one device, in two namespaces of its account. The first has a file "f" of two versions.
func twoPens(t *testing.T, w World, account string) (from, to *pen) {
	t.Helper()
	from = rootPen(t, w, account)
	ns, err := from.CreateNamespace(t.Context(), "other", dbfs.NamesExact)
	check(t, err)
	to = newPen(t, w, from.Device, ns.ID)
	from.must(create("f", "", "f", content(1, 2)))
	from.must(write("f", 1, content(2, 3)))
	return from, to
}

// bare is a batch without receipts.
func (p *pen) bare(ops ...dbfs.Op) dbfs.Batch {
	b := p.batch(ops...)
	b.Receipts = nil
	return b
}

func copyNeedsNoReceipts(t *testing.T, w World) {
	from, to := twoPens(t, w, "admin")
	b := to.bare(copied(create("n", "", "n", content(2, 3)), from.ns, "f", 2))
	entries, err := to.send(b)
	check(t, err)
	if e := entries[0]; len(entries) != 1 || e.Type != dbfs.OpCopy || !e.Node.Content.Equal(*content(2, 3)) || e.Node.Revs.Content != e.JID {
		t.Errorf("it became %+v", entries)
	}
	again, err := to.send(b)
	if err != nil || !reflect.DeepEqual(again, entries) {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// copyOfAnOlderVersion: as long as the history has it, also when the file is deleted.
func copyOfAnOlderVersion(t *testing.T, w World) {
	from, to := twoPens(t, w, "admin")
	_, err := to.send(to.bare(copied(create("n", "", "n", content(1, 2)), from.ns, "f", 1)))
	check(t, err)
	from.must(remove("f", dbfs.Revs{Content: 2, Place: 1}))
	_, err = to.send(to.bare(copied(create("m", "", "m", content(2, 3)), from.ns, "f", 2)))
	check(t, err)
}

func copyOfWhatIsNotThere(t *testing.T, w World) {
	from, to := twoPens(t, w, "admin")
	c := content(2, 3)
	for name, src := range map[string]dbfs.Source{
		"no such version":   {NS: from.ns, Node: id("f"), Rev: 7},
		"no such file":      {NS: from.ns, Node: id("none"), Rev: 1},
		"no such namespace": {NS: 77, Node: id("f"), Rev: 2},
	} {
		op := copied(create("n", "", "n", c), 1, "f", 1)
		op.Src = &src
		_, err := to.send(to.bare(op))
		t.Log(name)
		wantNeed(t, err, c.Chunks.IDs()...)
	}
	if to.head().JID != 0 {
		t.Errorf("something was taken")
	}
}

// copyOfWhatIsNotTheirs: naming what one may not read opens nothing.
func copyOfWhatIsNotTheirs(t *testing.T, w World) {
	from, _ := twoPens(t, w, "admin")
	to := rootPen(t, w, "bob")
	_, err := to.send(to.bare(copied(create("n", "", "n", content(2, 3)), from.ns, "f", 2)))
	wantNeed(t, err, content(2, 3).Chunks.IDs()...)
}

// copyOfAnotherOwners: what is stored for one owner is not lent to another, who sends the bytes.
func copyOfAnotherOwners(t *testing.T, w World) {
	_, shared := twoPens(t, w, "admin")
	bob := rootPen(t, w, "bob")
	check(t, shared.SetMember(t.Context(), shared.ns, bob.Name, dbfs.RoleWrite))
	shared.must(create("g", "", "g", content(5, 1)))
	b := bob.bare(copied(create("n", "", "n", content(5, 1)), shared.ns, "g", 1))
	_, err := bob.send(b)
	wantNeed(t, err, content(5, 1).Chunks.IDs()...)
	b.Receipts = append(b.Receipts, w.Receipt(bob.ns, content(5, 1).Ref(0)))
	_, err = bob.send(b)
	check(t, err)
}

// copyChangedSince: of what is not in the source receipts are wanted, and of the rest not.
func copyChangedSince(t *testing.T, w World) {
	from, to := twoPens(t, w, "admin")
	c := content(2, 3)
	c.Chunks = c.Chunks.Edit(c.Chunks.Len(), map[int]dbfs.ChunkID{1: content(9, 1).Chunks.At(0)})
	b := to.bare(copied(create("n", "", "n", c), from.ns, "f", 2))
	_, err := to.send(b)
	wantNeed(t, err, c.Chunks.At(1))
	b.Receipts = append(b.Receipts, w.Receipt(to.ns, c.Ref(1)))
	_, err = to.send(b)
	check(t, err)
}

func writeWithASource(t *testing.T, w World) {
	from, to := twoPens(t, w, "admin")
	to.must(create("n", "", "n", content(7, 1)))
	op := write("n", 1, content(2, 3))
	op.Src = &dbfs.Source{NS: from.ns, Node: id("f"), Rev: 2}
	_, err := to.send(to.bare(op))
	check(t, err)
	op = write("n", 1, content(2, 3))
	op.Src = &dbfs.Source{NS: from.ns, Node: id("f"), Rev: 2}
	_, err = to.send(to.bare(op))
	wantRefusal(t, err, 0, dbfs.RefusedContent)
}

// rightsAreAskedEachTime: who may not read any more is lent nothing any more.
func rightsAreAskedEachTime(t *testing.T, w World) {
	_, from := twoPens(t, w, "admin")
	to, err := from.CreateNamespace(t.Context(), "third", dbfs.NamesExact)
	check(t, err)
	bob := newPen(t, w, w.Device(t, "bob"), w.Device(t, "bob").Root)
	check(t, from.SetMember(t.Context(), from.ns, bob.Name, dbfs.RoleRead))
	check(t, from.SetMember(t.Context(), to.ID, bob.Name, dbfs.RoleWrite))
	from.must(create("g", "", "g", content(5, 1)))
	pen := newPen(t, w, bob.Device, to.ID)
	_, err = pen.send(pen.bare(copied(create("n", "", "n", content(5, 1)), from.ns, "g", 1)))
	check(t, err)
	check(t, from.SetMember(t.Context(), from.ns, bob.Name, dbfs.RoleNone))
	_, err = pen.send(pen.bare(copied(create("m", "", "m", content(5, 1)), from.ns, "g", 1)))
	wantNeed(t, err, content(5, 1).Chunks.IDs()...)
}
