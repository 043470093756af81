package metatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func testHistory(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"ContentsAreKept":      contentsAreKept,
		"DeletedFilesKeepAll":  deletedFilesKeepAll,
		"RevivedAsItWas":       revivedAsItWas,
		"HistoryComesInPages":  historyComesInPages,
		"HoldAndLetGo":         holdAndLetGo,
		"LongListsInHistory":   longListsInHistory,
		"NoHistory":            noHistory,
		"HistoryNeedsTheRight": historyNeedsTheRight,
		"DeletedIsListed":      deletedIsListed,
		"DeletedComesInPages":  deletedComesInPages,
	})
}

// wholeHistory reads a file's versions in pages of about limit.
func wholeHistory(t testing.TB, h dbfs.History, ns dbfs.NamespaceID, node dbfs.NodeID, limit int) []dbfs.Revision {
	t.Helper()
	var all []dbfs.Revision
	after := dbfs.JID(0)
	for {
		page, err := h.Revisions(context.Background(), ns, node, after, limit)
		if err != nil {
			t.Fatalf("versions of %s after %d: %v", node, after, err)
		}
		for _, r := range page.Revisions {
			if r.Rev <= after || r.Node != node {
				t.Fatalf("version %d of node %s after %d", r.Rev, r.Node, after)
			}
			after = r.Rev
			one, err := h.Revision(context.Background(), ns, node, r.Rev)
			if err != nil || one.Rev != r.Rev || !one.Content.Equal(r.Content) || one.Time != r.Time || one.Until != r.Until || one.Expires != r.Expires {
				t.Fatalf("version %d alone: %s, %v; in the list %s", r.Rev, brief(one), err, brief(r))
			}
		}
		if all = append(all, page.Revisions...); !page.More {
			return all
		}
	}
}

func brief(r dbfs.Revision) string {
	return fmt.Sprintf("%d of %d bytes, made at %d by %s, until %d, expires %d", r.Rev, r.Content.Size, r.Time, r.Device, r.Until, r.Expires)
}

// wantVersions checks revisions and contents, oldest first. present: the last is what the file has.
func wantVersions(t *testing.T, got []dbfs.Revision, revs []dbfs.JID, contents []*dbfs.Content, present bool) {
	t.Helper()
	if len(got) != len(revs) {
		t.Fatalf("%d versions, want %d", len(got), len(revs))
	}
	for i, r := range got {
		if r.Rev != revs[i] || !r.Content.Equal(*contents[i]) {
			t.Errorf("version %d is %d with %d bytes, want %d with %d", i, r.Rev, r.Content.Size, revs[i], contents[i].Size)
		}
		if now := present && i == len(got)-1; (r.Until == 0) != now || (r.Expires == 0) != now {
			t.Errorf("version %d: until %d, expires %d; is it the present one: %t", r.Rev, r.Until, r.Expires, now)
		}
	}
}

func contentsAreKept(t *testing.T, w World) {
	p, q := rootPen(t, w, "admin"), rootPen(t, w, "admin")
	first := p.must(create("f", "", "f", content(1, 2)))[0]
	w.Advance(time.Hour)
	second := q.must(write("f", 1, content(2, 1)))[0]
	w.Advance(time.Hour)
	p.must(move("f", 1, "", "g"), chmod("f", 1, 0o600))
	w.Advance(time.Hour)
	third := p.must(write("f", 2, content(3, 1)))[0]
	got := wholeHistory(t, p, p.ns, id("f"), 0)
	wantVersions(t, got, []dbfs.JID{1, 2, 5}, []*dbfs.Content{content(1, 2), content(2, 1), content(3, 1)}, true)
	for i, made := range []dbfs.Entry{first, second, third} {
		if r := got[i]; r.Time != made.Time || r.Device != made.Op.Device || r.Actor != made.Actor || r.MTime != made.Node.Attr.MTime {
			t.Errorf("version %d is said to be made at %d by %s, %s; it was at %d by %s, %s", r.Rev, r.Time, r.Device, r.Actor, made.Time, made.Op.Device, made.Actor)
		}
		if i > 0 && got[i-1].Until != made.Time {
			t.Errorf("version %d was there until %d, the next one came at %d", got[i-1].Rev, got[i-1].Until, made.Time)
		}
	}
	if kept := time.Duration(got[0].Expires - got[0].Until); kept != 30*24*time.Hour {
		t.Errorf("kept for %s", kept)
	}
}

// deletedFilesKeepAll: also what a move puts out of its place, and all of one batch.
func deletedFilesKeepAll(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(create("f", "", "f", content(1, 1)), write("f", dbfs.SelfRev, content(2, 1)), remove("f", dbfs.Revs{Content: dbfs.SelfRev, Place: dbfs.SelfRev}))
	wantVersions(t, wholeHistory(t, p, p.ns, id("f"), 0), []dbfs.JID{1, 2}, []*dbfs.Content{content(1, 1), content(2, 1)}, false)
	p.must(create("v", "", "v", content(3, 1)), create("m", "", "m", content(4, 1)))
	p.must(replace("m", 5, "", "v", "v", dbfs.Revs{Content: 4, Place: 4}))
	wantVersions(t, wholeHistory(t, p, p.ns, id("v"), 0), []dbfs.JID{4}, []*dbfs.Content{content(3, 1)}, false)
	wantVersions(t, wholeHistory(t, p, p.ns, id("m"), 0), []dbfs.JID{5}, []*dbfs.Content{content(4, 1)}, true)
}

// revivedAsItWas: what comes back with its old content has it again, and who made it is known.
func revivedAsItWas(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	made := p.must(create("f", "", "f", content(1, 1)))[0]
	p.must(remove("f", dbfs.Revs{Content: 1, Place: 1}))
	w.Advance(time.Hour)
	p.must(revive("f", "", "f", nil))
	got := wholeHistory(t, p, p.ns, id("f"), 0)
	wantVersions(t, got, []dbfs.JID{1}, []*dbfs.Content{content(1, 1)}, true)
	if got[0].Time != made.Time || got[0].Device != made.Op.Device {
		t.Errorf("made at %d by %s; it was at %d by %s", got[0].Time, got[0].Device, made.Time, made.Op.Device)
	}
	p.must(remove("f", dbfs.Revs{Content: 1, Place: 3}), revive("f", "", "g", content(2, 1)))
	wantVersions(t, wholeHistory(t, p, p.ns, id("f"), 0), []dbfs.JID{1, 5}, []*dbfs.Content{content(1, 1), content(2, 1)}, true)
}

func historyComesInPages(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const n = 150 // more than the server reads at once
	p.must(create("f", "", "f", content(1, 1)))
	revs, contents := []dbfs.JID{1}, []*dbfs.Content{content(1, 1)}
	for i := 2; i <= n; i++ {
		c := content(byte(i), 1)
		p.must(write("f", dbfs.JID(i-1), c))
		revs, contents = append(revs, dbfs.JID(i)), append(contents, c)
	}
	p.must(create("g", "", "g", content(1, 1))) // the next node's begin where these end
	for _, limit := range []int{0, 1, 7, 64, 150} {
		wantVersions(t, wholeHistory(t, p, p.ns, id("f"), limit), revs, contents, true)
	}
}

func longListsInHistory(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const n = 18
	revs, contents := []dbfs.JID{1}, []*dbfs.Content{zeros(longest)}
	p.must(create("f", "", "f", contents[0]))
	for i := 2; i <= n; i++ {
		c := zeros(longest)
		c.Size -= int64(i)
		p.must(write("f", dbfs.JID(i-1), c))
		revs, contents = append(revs, dbfs.JID(i)), append(contents, c)
	}
	page, err := p.Revisions(t.Context(), p.ns, id("f"), 0, 100)
	check(t, err)
	if !page.More {
		t.Error("more than 2 MiB of chunk lists in one page")
	}
	wantVersions(t, wholeHistory(t, p, p.ns, id("f"), 100), revs, contents, true)
}

func noHistory(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(mkdir("d", "", "d"), symlink("s", "", "s", "target"), create("f", "", "f", content(1, 1)))
	for _, node := range []string{"d", "s", "nobody", ""} {
		_, err := p.Revisions(t.Context(), p.ns, id(node), 0, 0)
		wantError(t, err, dbfs.ErrNotExist)
		_, err = p.Revision(t.Context(), p.ns, id(node), 1)
		wantError(t, err, dbfs.ErrNotExist)
	}
	for _, rev := range []dbfs.JID{0, 1, 2, 4, 1 << 60} {
		_, err := p.Revision(t.Context(), p.ns, id("f"), rev)
		wantError(t, err, dbfs.ErrNotExist)
	}
}

func historyNeedsTheRight(t *testing.T, w World) {
	p, stranger := rootPen(t, w, "admin"), w.Device(t, "stranger")
	p.must(create("f", "", "f", content(1, 1)))
	_, err := stranger.Revisions(t.Context(), p.ns, id("f"), 0, 0)
	wantError(t, err, dbfs.ErrForbidden)
	_, err = stranger.Revision(t.Context(), p.ns, id("f"), 1)
	wantError(t, err, dbfs.ErrForbidden)
}

// holdAndLetGo: versions that are there can be held by who may write, as often as they like.
func holdAndLetGo(t *testing.T, w World) {
	_, p := twoPens(t, w, "admin")
	p.must(create("g", "", "g", content(1, 1)))
	p.must(write("g", 1, content(2, 2)))
	for _, rev := range []dbfs.JID{1, 2, 1} {
		check(t, p.Hold(t.Context(), p.ns, id("g"), rev))
	}
	before, err := p.Revisions(t.Context(), p.ns, id("g"), 0, 0)
	check(t, err)
	if len(before.Revisions) != 2 || !before.Revisions[1].Content.Equal(*content(2, 2)) || before.Revisions[1].Until != 0 {
		t.Errorf("the versions are %+v", before.Revisions)
	}
	wantError(t, p.Hold(t.Context(), p.ns, id("g"), 7), dbfs.ErrNotExist)
	wantError(t, p.Hold(t.Context(), p.ns, id("none"), 1), dbfs.ErrNotExist)
	bob := w.Device(t, "bob")
	wantError(t, bob.Hold(t.Context(), p.ns, id("g"), 1), dbfs.ErrForbidden)
	check(t, p.SetMember(t.Context(), p.ns, bob.Name, dbfs.RoleRead))
	wantError(t, bob.Hold(t.Context(), p.ns, id("g"), 1), dbfs.ErrReadOnly)
	for range 2 {
		check(t, p.LetGo(t.Context(), p.ns, id("g"), 1))
	}
	check(t, p.LetGo(t.Context(), p.ns, id("none"), 1))
	p.must(write("g", 2, content(3, 1)))
	after, err := p.Revision(t.Context(), p.ns, id("g"), 2)
	if err != nil || after.Until == 0 || after.Device != p.ID {
		t.Errorf("what was held is %+v, %v when it is lost", after, err)
	}
}

// allDeleted reads what was deleted in pages of about limit.
func allDeleted(t testing.TB, h dbfs.History, ns dbfs.NamespaceID, limit int) (all []dbfs.DeletedNode) {
	t.Helper()
	for after := (dbfs.Departure{}); ; {
		page, err := h.Deleted(context.Background(), ns, after, limit)
		if err != nil {
			t.Fatalf("deleted after %+v: %v", after, err)
		}
		all = append(all, page.Nodes...)
		if after = page.Next; !page.More {
			return all
		}
	}
}

func deletedIsListed(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	made := p.must(mkdir("d", "", "d"), create("f", "d", "f", content(1, 2)), symlink("s", "", "s", "target"), create("stays", "", "stays", content(2, 1)))
	if all := allDeleted(t, p, p.ns, 0); len(all) != 0 {
		t.Errorf("before anything is deleted: %+v", all)
	}
	w.Advance(time.Hour)
	gone := p.must(remove("s", made[2].Node.Revs), remove("f", made[1].Node.Revs), remove("d", made[0].Node.Revs))
	all := allDeleted(t, p, p.ns, 0)
	if len(all) != 3 {
		t.Fatalf("deleted: %+v", all)
	}
	for i, want := range []struct{ id, parent, name string }{{"s", "", "s"}, {"f", "d", "f"}, {"d", "", "d"}} {
		n := all[i].Node
		if n.ID != id(want.id) || n.Parent != id(want.parent) || n.Name != want.name || !n.Deleted || n.CTime != gone[i].Time {
			t.Errorf("%d is %+v, want %+v, gone at %d", i, n, want, gone[i].Time)
		}
		if kept := time.Duration(all[i].Expires - n.CTime); want.id == "f" && (kept != 30*24*time.Hour || !n.Content.Equal(*content(1, 2))) || want.id != "f" && all[i].Expires != 0 {
			t.Errorf("%s is kept for %v, with %d bytes", want.id, kept, n.Content.Size)
		}
	}
	p.must(revive("s", "", "s", nil))
	if all := allDeleted(t, p, p.ns, 0); len(all) != 2 || all[0].Node.ID != id("f") {
		t.Errorf("when one is back: %+v", all)
	}
	_, err := w.Device(t, "stranger").Deleted(t.Context(), p.ns, dbfs.Departure{}, 0)
	wantError(t, err, dbfs.ErrForbidden)
}

// deletedComesInPages: also where many go at once, and between others that stay.
func deletedComesInPages(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const n = 150
	p.must(mkdir("d", "", "d"))
	var ops []dbfs.Op
	for i := range n {
		name := fmt.Sprint("f", i)
		ops = append(ops, create(name, "d", name, content(1, 1)), create("stays"+name, "", "stays"+name, nil))
	}
	p.must(ops...)
	p.must(removeTree("d", 1, p.head().JID))
	for _, limit := range []int{0, 1, 7, 64, 151} {
		found := make(map[dbfs.NodeID]bool)
		for _, d := range allDeleted(t, p, p.ns, limit) {
			found[d.Node.ID] = true
		}
		if len(found) != n+1 || !found[id("d")] || !found[id("f149")] {
			t.Errorf("in pages of %d: %d nodes, want %d", limit, len(found), n+1)
		}
	}
}
