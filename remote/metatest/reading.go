package metatest

import (
	"fmt"
	"testing"

	"github.com/dbfs/dbfs"
)

func testReading(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"EmptyNamespace":        emptyNamespace,
		"PagesEndWithBatches":   pagesEndWithBatches,
		"CursorsThatCannotBe":   cursorsThatCannotBe,
		"TreeLeavesOutDeleted":  treeLeavesOutDeleted,
		"RootOnceItWasChanged":  rootOnceItWasChanged,
		"HeavyPages":            heavyPages,
		"ListingWhileItChanges": listingWhileItChanges,
		"FarBehind":             farBehind,
	})
}

func emptyNamespace(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	if p.epoch == 0 || p.head().JID != 0 {
		t.Fatalf("cursor %+v", p.head())
	}
	page, err := p.Log(t.Context(), p.ns, p.head(), 10)
	if err != nil || len(page.Entries) != 0 || page.More || page.Next != p.head() || page.Head != 0 {
		t.Errorf("log: %+v, %v", page, err)
	}
	tree, err := p.Tree(t.Context(), p.ns, dbfs.RootNode, 10)
	if err != nil || len(tree.Nodes) != 0 || tree.More || tree.Cursor != p.head() {
		t.Errorf("tree: %+v, %v", tree, err)
	}
}

func pagesEndWithBatches(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	sizes := []int{1, 5, 2, 100, 1, 1}
	ends := make(map[dbfs.JID]bool)
	total := 0
	for b, size := range sizes {
		var ops []dbfs.Op
		for i := range size {
			name := fmt.Sprintf("%d-%d", b, i)
			ops = append(ops, mkdir(name, "", name))
		}
		p.must(ops...)
		total += size
		ends[dbfs.JID(total)] = true
	}
	for limit := range 12 {
		at := dbfs.Cursor{Epoch: p.epoch}
		for at.JID < dbfs.JID(total) {
			page, err := p.Log(t.Context(), p.ns, at, limit)
			check(t, err)
			if !ends[page.Next.JID] || page.Head != dbfs.JID(total) || page.More != (page.Next.JID < page.Head) {
				t.Fatalf("limit %d: page after %d: next %d, head %d, more %t", limit, at.JID, page.Next.JID, page.Head, page.More)
			}
			if limit > 0 && len(page.Entries) > limit+100 {
				t.Errorf("limit %d: %d entries", limit, len(page.Entries))
			}
			at = page.Next
		}
	}
}

func cursorsThatCannotBe(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(mkdir("d", "", "d"))
	for _, at := range []dbfs.Cursor{{}, {Epoch: p.epoch, JID: 2}, {Epoch: p.epoch + 1}, {Epoch: p.epoch, JID: dbfs.SelfRev}} {
		_, err := p.Log(t.Context(), p.ns, at, 10)
		wantError(t, err, dbfs.ErrReset)
	}
}

func treeLeavesOutDeleted(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const n = 150 // more than the server reads at once
	for i := range n {
		name := fmt.Sprintf("%03d", i)
		made := p.must(mkdir(name, "", name))
		if i%3 > 0 {
			p.must(remove(name, made[0].Node.Revs))
		}
	}
	for _, limit := range []int{0, 1, 7} {
		tree := wholeTree(t, p, p.ns, limit)
		if len(tree) != n/3 {
			t.Errorf("limit %d: %d nodes, want %d", limit, len(tree), n/3)
		}
	}
}

// rootOnceItWasChanged: a listing says all that the log would have said.
func rootOnceItWasChanged(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(mkdir("d", "", "d"))
	p.must(chmod("", 0, 0o700))
	for _, limit := range []int{0, 1} {
		tree := wholeTree(t, p, p.ns, limit)
		if root := tree[dbfs.RootNode]; len(tree) != 2 || root.Attr.Mode != 0o700 || root.Revs.Attr != 2 {
			t.Errorf("tree %+v", tree)
		}
	}
	_, err := p.send(p.batch(chmod("", 0, 0o755)))
	wantRefusal(t, err, 0, dbfs.RefusedAttr)
}

// heavyPages: nodes with long chunk lists make short pages, and nothing gets lost.
func heavyPages(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const n = 17
	for i := range n {
		p.must(create(fmt.Sprintf("%02d", i), "", fmt.Sprint(i), zeros(longest)))
	}
	page, err := p.Log(t.Context(), p.ns, dbfs.Cursor{Epoch: p.epoch}, 1000)
	check(t, err)
	if len(page.Entries) == n || !page.More {
		t.Errorf("more than 2 MiB of chunk lists in one page")
	}
	rest, err := p.Log(t.Context(), p.ns, page.Next, 1000)
	check(t, err)
	if got := len(page.Entries) + len(rest.Entries); got != n || rest.More {
		t.Errorf("%d entries, want %d", got, n)
	}
	if got := len(wholeTree(t, p, p.ns, 1000)); got != n {
		t.Errorf("%d nodes, want %d", got, n)
	}
}

// listingWhileItChanges: pages read at different moments, then the log from the first
// page's cursor on, are the tree as it is.
func listingWhileItChanges(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	for i := range 20 {
		p.must(mkdir(fmt.Sprintf("%02d", i), "", fmt.Sprint(i)))
	}
	nodes := make(map[dbfs.NodeID]dbfs.Node)
	var first dbfs.Cursor
	after := dbfs.RootNode
	for i := 0; ; i++ {
		page, err := p.Tree(t.Context(), p.ns, after, 3)
		check(t, err)
		if i == 0 {
			first = page.Cursor
		}
		for _, n := range page.Nodes {
			nodes[n.ID] = n
		}
		p.must(mkdir(fmt.Sprintf("new%02d", i), "", fmt.Sprint("new", i)), move(fmt.Sprintf("%02d", i), dbfs.JID(i+1), "19", "x"+fmt.Sprint(i)))
		if after = page.Next; !page.More {
			break
		}
	}
	page, err := p.Log(t.Context(), p.ns, first, 1000)
	check(t, err)
	for _, e := range page.Entries {
		if e.JID > nodes[e.Node.ID].Last {
			nodes[e.Node.ID] = e.Node
		}
	}
	now := wholeTree(t, p, p.ns, 0)
	if len(now) != len(nodes) {
		t.Errorf("%d nodes, want %d", len(nodes), len(now))
	}
	for id, n := range now {
		if nodes[id].Last != n.Last || nodes[id].Parent != n.Parent {
			t.Errorf("node %s: %+v, want %+v", id, nodes[id], n)
		}
	}
}

// farBehind: who has very much to read is told what the nodes are now, and ends with the same
// tree; who has an own batch still before it is shown the log up to there.
func farBehind(t *testing.T, w World) {
	p, q := rootPen(t, w, "admin"), rootPen(t, w, "admin")
	p.must(mkdir("d", "", "d"), create("f", "d", "f", content(1, 1)), mkdir("gone", "", "gone"))
	q.must(mkdir("own", "", "own"))
	p.must(remove("gone", dbfs.Revs{Place: 3}), move("f", 2, "", "f"))
	p.must(mkdir("tree", "", "tree"), create("leaf", "tree", "1", nil), create("twig", "tree", "2", nil), mkdir("branch", "tree", "3"))
	p.must(removeTree("tree", 7, 10))
	trees := []dbfs.NodeID{id("tree"), id("leaf"), id("twig"), id("branch")}
	const each, batches = 500, 9
	arev := dbfs.JID(1)
	for range batches {
		ops := make([]dbfs.Op, each)
		for i := range ops {
			ops[i] = chmod("d", dbfs.SelfRev, uint32(0o700+i%8))
		}
		ops[0].Base.Attr = arev
		entries := p.must(ops...)
		arev = entries[each-1].JID
	}
	head := p.head()
	follow := func(m dbfs.Meta, at dbfs.Cursor, limit int) (nodes map[dbfs.NodeID]dbfs.Node, states, logs int) {
		nodes = make(map[dbfs.NodeID]dbfs.Node)
		for {
			page, err := m.Log(t.Context(), p.ns, at, limit)
			check(t, err)
			if page.State {
				states++
			} else {
				logs++
			}
			for _, n := range page.Nodes {
				nodes[n.ID] = n
			}
			for _, e := range page.Entries {
				if nodes[e.Node.ID].Last < e.JID {
					nodes[e.Node.ID] = e.Node
				}
				for _, id := range e.Below {
					nodes[id] = e.Buried(nodes[id])
				}
			}
			if at = page.Next; !page.More {
				break
			}
		}
		if at != head {
			t.Errorf("ends at %+v, the head is %+v", at, head)
		}
		return nodes, states, logs
	}
	compare := func(what string, nodes map[dbfs.NodeID]dbfs.Node) {
		t.Helper()
		tree := wholeTree(t, p, p.ns, 0)
		if len(nodes) != len(tree)+1+len(trees) || !nodes[id("gone")].Deleted {
			t.Errorf("%s: %d nodes, the tree has %d and there are %d deleted ones", what, len(nodes), len(tree), 1+len(trees))
		}
		for _, id := range trees {
			if n := nodes[id]; !n.Deleted || n.Last != 11 {
				t.Errorf("%s: node %s that went with a tree is %+v", what, id, n)
			}
		}
		for id, n := range tree {
			if got := nodes[id]; got.Last != n.Last || got.Parent != n.Parent || got.Attr.Mode != n.Attr.Mode {
				t.Errorf("%s: node %s is %+v, want %+v", what, id, got, n)
			}
		}
	}
	for _, limit := range []int{1, 2, 1000} {
		nodes, states, logs := follow(w.Device(t, "admin"), dbfs.Cursor{Epoch: head.Epoch}, limit)
		if compare("far behind", nodes); states == 0 || logs > 0 {
			t.Errorf("limit %d: %d pages of nodes, %d of the log", limit, states, logs)
		}
	}
	nodes, states, logs := follow(q, dbfs.Cursor{Epoch: head.Epoch}, 2)
	if compare("own batch unseen", nodes); states == 0 || logs == 0 {
		t.Errorf("own batch unseen: %d pages of nodes, %d of the log; want both", states, logs)
	}
	if _, states, _ := follow(p, dbfs.Cursor{Epoch: head.Epoch}, 1000); states > 0 {
		t.Error("own last batch at the end: it is not shown in the log")
	}
}
