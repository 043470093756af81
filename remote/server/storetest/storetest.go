// Package storetest is the suite that every server.Store passes. What is its own to an
// engine, such as surviving a crash, it tests itself.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
)

const (
	nsA dbfs.NamespaceID = 7
	nsB dbfs.NamespaceID = 8
)

// Run runs the suite; open returns a new empty store.
func Run(t *testing.T, open func(t *testing.T) server.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, server.Store)
	}{
		{"MissingRows", missingRows},
		{"RowsComeBack", rowsComeBack},
		{"LongContents", longContents},
		{"LastChanges", lastChanges},
		{"Revisions", revisions},
		{"Forgetting", forgetting},
		{"ReadsSeeOwnWrites", readsSeeOwnWrites},
		{"PagesAreInOrder", pagesAreInOrder},
		{"NamespacesAreApart", namespacesAreApart},
		{"FailureWritesNothing", failureWritesNothing},
		{"UpdatesDoNotOverlap", updatesDoNotOverlap},
		{"ViewIsOneMoment", viewIsOneMoment},
		{"ManyNamespacesAtOnce", manyNamespacesAtOnce},
		{"LargestBatch", largestBatch},
		{"TableRows", tableRows},
		{"CASHasOneWinner", casHasOneWinner},
		{"EndedContext", endedContext},
		{"Closed", closed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			test.run(t, s)
		})
	}
}

var bg = context.Background()

func update(t *testing.T, s server.Store, ns dbfs.NamespaceID, fn func(server.Tx) error) {
	t.Helper()
	if err := s.Update(bg, ns, fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t *testing.T, s server.Store, ns dbfs.NamespaceID, fn func(server.ReadTx)) {
	t.Helper()
	err := s.View(bg, ns, func(tx server.ReadTx) error {
		fn(tx)
		return nil
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
}

// must reports an error and a value that is not the one wanted.
func must[V any](t *testing.T, what string, want V) func(V, error) {
	t.Helper()
	return func(got V, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", what, got, err, want)
		}
	}
}

func missing[V any](t *testing.T, what string) func(V, error) {
	t.Helper()
	return func(got V, err error) {
		t.Helper()
		if !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("%s: got %+v, %v, want ErrNotExist", what, got, err)
		}
	}
}

func id(n byte) dbfs.NodeID { return dbfs.NodeID{15: n} }

func file(n byte, jid dbfs.JID, chunks int) dbfs.Node {
	node := dbfs.Node{
		ID: id(n), Name: fmt.Sprintf("f%d", n), Kind: dbfs.KindFile, Last: jid,
		Revs: dbfs.Revs{Content: jid, Place: jid, Attr: jid},
		Attr: dbfs.Attr{Mode: 0o644, MTime: -1, Xattrs: map[string][]byte{"user.x": {n}}}, CTime: 9,
	}
	if chunks > 0 {
		ids := make([]dbfs.ChunkID, chunks)
		for i := range ids {
			ids[i] = dbfs.ChunkID{n, byte(i), byte(i >> 8)}
		}
		node.Content = dbfs.Content{Size: int64(chunks)*dbfs.ChunkSize - 1, Chunks: dbfs.Blocks(ids...)}
	}
	return node
}

func entryOf(n dbfs.Node) dbfs.Entry {
	return dbfs.Entry{JID: n.Last, Time: 5, Op: dbfs.OpID{Device: 1, N: uint64(n.Last)}, Actor: 2, Type: dbfs.OpWrite, End: true, Node: n}
}

func missingRows(t *testing.T, s server.Store) {
	view(t, s, nsA, func(tx server.ReadTx) {
		missing[server.Head](t, "head")(tx.Head())
		missing[dbfs.Node](t, "node")(tx.Node(id(1)))
		missing[dbfs.NodeID](t, "child")(tx.Child(dbfs.RootNode, "x"))
		missing[server.DeviceState](t, "device")(tx.Device(1))
		must[[]dbfs.Entry](t, "log", nil)(tx.Log(0, 10))
		must[[]dbfs.Node](t, "nodes", nil)(tx.Nodes(dbfs.RootNode, 10))
		must[[]server.Child](t, "children", nil)(tx.Children(dbfs.RootNode, "", 10))
	})
	missing[[]byte](t, "row")(s.Get(bg, server.TableAccount, []byte("x")))
	must[[]server.Row](t, "rows", nil)(s.Scan(bg, server.TableAccount, nil, nil, 10))
}

func rowsComeBack(t *testing.T, s server.Store) {
	head := server.Head{Epoch: 3, JID: 1 << 40, Floor: 17, Trim: 18, Names: dbfs.NamesPortable}
	node, root := file(1, 4, 2), dbfs.Node{Kind: dbfs.KindDir}
	device := server.DeviceState{Seq: 5, Digest: [32]byte{1, 2}, First: 3, Last: 4}
	refused := server.DeviceState{Seq: 6, Refused: &dbfs.RefusedError{At: 511, Code: dbfs.RefusedNameTaken, Node: &node, Head: 8}}
	bare := server.DeviceState{Seq: 7, Refused: &dbfs.RefusedError{Code: dbfs.RefusedGone, Head: 9}}
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(
			tx.SetHead(head), tx.PutNode(&node), tx.PutNode(&root), tx.PutChild(id(9), "a/ä", node.ID),
			tx.AppendLog([]dbfs.Entry{entryOf(node)}), tx.PutDevice(1, device), tx.PutDevice(2, refused), tx.PutDevice(3, bare),
		)
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "head", head)(tx.Head())
		must(t, "node", node)(tx.Node(node.ID))
		must(t, "root", root)(tx.Node(dbfs.RootNode))
		must(t, "nodes without root", []dbfs.Node{node})(tx.Nodes(dbfs.RootNode, 10))
		must(t, "child", node.ID)(tx.Child(id(9), "a/ä"))
		missing[dbfs.NodeID](t, "other child")(tx.Child(id(9), "a"))
		must(t, "log", []dbfs.Entry{entryOf(node)})(tx.Log(3, 10))
		must(t, "device", device)(tx.Device(1))
		must(t, "refused device", refused)(tx.Device(2))
		must(t, "device refused without node", bare)(tx.Device(3))
	})
	update(t, s, nsA, func(tx server.Tx) error { return tx.DelChild(id(9), "a/ä") })
	view(t, s, nsA, func(tx server.ReadTx) { missing[dbfs.NodeID](t, "deleted child")(tx.Child(id(9), "a/ä")) })
}

// longContents: old entries keep the content they had, whatever the node has become.
func longContents(t *testing.T, s server.Store) {
	before, after := file(1, 1, dbfs.MaxChunks), file(1, 2, 100)
	after.Content.Chunks = after.Content.Chunks.Edit(after.Content.Chunks.Len(), map[int]dbfs.ChunkID{99: {0xff}})
	moved := after
	moved.Name, moved.Revs.Place, moved.Last = "elsewhere", 3, 3
	for _, n := range []dbfs.Node{before, after, moved} {
		update(t, s, nsA, func(tx server.Tx) error {
			return errors.Join(tx.PutNode(&n), tx.AppendLog([]dbfs.Entry{entryOf(n)}))
		})
	}
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "log", []dbfs.Entry{entryOf(before), entryOf(after), entryOf(moved)})(tx.Log(0, 10))
		must(t, "node", moved)(tx.Node(id(1)))
		must(t, "nodes", []dbfs.Node{moved})(tx.Nodes(dbfs.RootNode, 10))
	})
}

// revisions come back in order, share long lists with nodes and entries, and go one by one.
func revisions(t *testing.T, s server.Store) {
	rev := func(n byte, jid dbfs.JID, chunks int) dbfs.Revision {
		return dbfs.Revision{Node: id(n), Rev: jid, Content: file(n, jid, chunks).Content, MTime: -1, Time: 2, Device: 3, Actor: 4, Until: 5, Holds: []dbfs.Hold{{Device: 6, Until: 7}}}
	}
	all := []dbfs.Revision{rev(1, 1, 1), rev(1, 3, 100), rev(1, 300, 0), rev(2, 2, 40)}
	update(t, s, nsA, func(tx server.Tx) error {
		long := file(1, 3, 100)
		err := errors.Join(tx.PutNode(&long), tx.AppendLog([]dbfs.Entry{entryOf(long)}))
		for _, i := range []int{2, 0, 3, 1} {
			err = errors.Join(err, tx.PutRevision(&all[i]))
		}
		must(t, "own write", all[1])(tx.Revision(id(1), 3))
		return err
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "one", all[1])(tx.Revision(id(1), 3))
		missing[dbfs.Revision](t, "another")(tx.Revision(id(1), 2))
		must(t, "of a file", all[:3])(tx.Revisions(id(1), 0, 10))
		must(t, "page", all[1:2])(tx.Revisions(id(1), 1, 1))
		must(t, "last", all[2:3])(tx.Revisions(id(1), 3, 10))
		must(t, "of all", all)(tx.AllRevisions(dbfs.RootNode, 0, 10))
		must(t, "of all, page", all[2:])(tx.AllRevisions(id(1), 3, 2))
		must[[]dbfs.Revision](t, "none", nil)(tx.Revisions(id(3), 0, 10))
	})
	view(t, s, nsB, func(tx server.ReadTx) {
		must[[]dbfs.Revision](t, "elsewhere", nil)(tx.AllRevisions(dbfs.RootNode, 0, 10))
	})
	changed := all[0]
	changed.Until = 0
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(tx.PutRevision(&changed), tx.DelRevision(id(1), 3), tx.DelRevision(id(1), 4))
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "what is left", []dbfs.Revision{changed, all[2]})(tx.Revisions(id(1), 0, 10))
		must(t, "node", file(1, 3, 100))(tx.Node(id(1)))
	})
}

// forgetting takes rows away one by one, and leaves the others.
func forgetting(t *testing.T, s server.Store) {
	one, two := file(1, 1, 2), file(2, 2, 100)
	longer := file(2, 3, 120)
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(tx.PutNode(&one), tx.PutNode(&two), tx.AppendLog([]dbfs.Entry{entryOf(one), entryOf(two)}),
			tx.PutNode(&longer), tx.AppendLog([]dbfs.Entry{entryOf(longer)}))
	})
	var lists []server.List
	view(t, s, nsA, func(tx server.ReadTx) {
		var err error
		if lists, err = tx.Lists(dbfs.RootNode, 0, 10); err != nil {
			t.Fatal(err)
		}
		if len(lists) > 0 { // an engine may keep all chunk lists where they belong
			must(t, "lists", []server.List{{Node: id(2), Rev: 2}, {Node: id(2), Rev: 3}})(lists, nil)
			must(t, "second list", lists[1:])(tx.Lists(id(2), 2, 10))
		}
	})
	update(t, s, nsA, func(tx server.Tx) error {
		err := errors.Join(tx.DelNode(one.ID), tx.DelEntry(2), tx.DelEntry(9))
		if len(lists) > 0 {
			err = errors.Join(err, tx.DelList(lists[0]))
		}
		missing[dbfs.Node](t, "own deletion")(tx.Node(one.ID))
		return err
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		missing[dbfs.Node](t, "forgotten node")(tx.Node(one.ID))
		must(t, "nodes", []dbfs.Node{longer})(tx.Nodes(dbfs.RootNode, 10))
		must(t, "log", []dbfs.Entry{entryOf(one), entryOf(longer)})(tx.Log(0, 10))
	})
}

// lastChanges: every node stands once in their order, where it was changed last.
func lastChanges(t *testing.T, s server.Store) {
	const n = 300 // more than a byte counts
	at := func(node byte, last dbfs.JID) dbfs.Node {
		return dbfs.Node{ID: id(node), Name: "x", Kind: dbfs.KindDir, Last: last, Deleted: node%2 == 1}
	}
	root := dbfs.Node{Kind: dbfs.KindDir}
	last := dbfs.NodeID(bytes.Repeat([]byte{0xff}, 16))
	var want []dbfs.Node
	update(t, s, nsA, func(tx server.Tx) error {
		want = nil
		err := tx.PutNode(&root)
		for jid := dbfs.JID(1); jid <= n; jid++ {
			node := at(byte(jid%50+1), jid)
			if err == nil {
				err = tx.PutNode(&node)
			}
			if jid > n-50 {
				want = append(want, node)
			}
		}
		must(t, "own writes", want[40:])(tx.Changed(n-10, last, 100))
		return err
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		var got []dbfs.Node
		for after, at := dbfs.JID(0), last; ; {
			page, err := tx.Changed(after, at, 7)
			if err != nil || len(page) > 7 {
				t.Fatalf("changed after %d: %d, %v", after, len(page), err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			after, at = page[len(page)-1].Last, page[len(page)-1].ID
		}
		must(t, "all", want)(got, nil)
		must[[]dbfs.Node](t, "after the last", nil)(tx.Changed(n, last, 10))
	})
	view(t, s, nsB, func(tx server.ReadTx) { must[[]dbfs.Node](t, "elsewhere", nil)(tx.Changed(0, last, 10)) })
	root.Last = n + 1
	update(t, s, nsA, func(tx server.Tx) error { return errors.Join(tx.PutNode(&root), tx.DelNode(want[49].ID)) })
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "with the root, without one that is forgotten", []dbfs.Node{want[48], root})(tx.Changed(n-2, last, 10))
	})
	together := []dbfs.Node{at(60, n+2), at(61, n+2), at(62, n+2)} // by one entry
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(tx.PutNode(&together[1]), tx.PutNode(&together[2]), tx.PutNode(&together[0]))
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		must(t, "several at once", together[:2])(tx.Changed(n+1, last, 2))
		must(t, "the rest of them", together[2:])(tx.Changed(n+2, together[1].ID, 2))
	})
}

func readsSeeOwnWrites(t *testing.T, s server.Store) {
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(tx.PutChild(id(0), "b", id(1)), tx.PutChild(id(0), "d", id(2)), tx.PutChild(id(0), "e", id(5)))
	})
	update(t, s, nsA, func(tx server.Tx) error {
		node := file(3, 1, 40)
		err := errors.Join(
			tx.PutChild(id(0), "c", id(3)), tx.PutChild(id(0), "d", id(4)), tx.DelChild(id(0), "b"), tx.PutChild(id(0), "z", id(6)),
			tx.PutNode(&node), tx.AppendLog([]dbfs.Entry{entryOf(node)}), tx.SetHead(server.Head{Epoch: 2}),
		)
		want := []server.Child{{Key: "c", ID: id(3)}, {Key: "d", ID: id(4)}, {Key: "e", ID: id(5)}, {Key: "z", ID: id(6)}}
		must(t, "children", want)(tx.Children(id(0), "", 10))
		must(t, "some children", want[1:3])(tx.Children(id(0), "c", 2))
		missing[dbfs.NodeID](t, "deleted")(tx.Child(id(0), "b"))
		must(t, "node", node)(tx.Node(id(3)))
		must(t, "log", []dbfs.Entry{entryOf(node)})(tx.Log(0, 1))
		must(t, "head", server.Head{Epoch: 2})(tx.Head())
		return err
	})
}

func pagesAreInOrder(t *testing.T, s server.Store) {
	const n = 300 // more than a byte counts
	update(t, s, nsA, func(tx server.Tx) error {
		for jid := dbfs.JID(n); jid >= 1; jid-- {
			node := dbfs.Node{ID: dbfs.NodeID{14: byte(jid >> 8), 15: byte(jid)}, Name: "x", Kind: dbfs.KindDir, Last: jid, Deleted: jid%2 == 0}
			err := errors.Join(tx.PutNode(&node), tx.AppendLog([]dbfs.Entry{entryOf(node)}),
				tx.PutChild(id(0), fmt.Sprintf("%04d", jid), node.ID), tx.PutChild(id(1), "other", node.ID))
			if err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, nsA, func(tx server.ReadTx) {
		var jids, nodes, children int
		for jids < n {
			page, err := tx.Log(dbfs.JID(jids), 7)
			if err != nil || len(page) == 0 || len(page) > 7 {
				t.Fatalf("log after %d: %d entries, %v", jids, len(page), err)
			}
			for _, e := range page {
				if jids++; e.JID != dbfs.JID(jids) {
					t.Fatalf("entry %d where %d was due", e.JID, jids)
				}
			}
		}
		for after := dbfs.RootNode; ; {
			page, err := tx.Nodes(after, 7)
			if err != nil || len(page) > 7 {
				t.Fatalf("nodes: %d, %v", len(page), err)
			}
			if len(page) == 0 {
				break
			}
			for _, node := range page {
				if nodes++; node.Last != dbfs.JID(nodes) {
					t.Fatalf("node %d where %d was due", node.Last, nodes)
				}
			}
			after = page[len(page)-1].ID
		}
		for after := ""; ; {
			page, err := tx.Children(id(0), after, 7)
			if err != nil || len(page) > 7 {
				t.Fatalf("children: %d, %v", len(page), err)
			}
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				if children++; c.Key != fmt.Sprintf("%04d", children) {
					t.Fatalf("child %q where %d was due", c.Key, children)
				}
			}
			after = page[len(page)-1].Key
		}
		if nodes != n || children != n {
			t.Errorf("%d nodes and %d children, want %d", nodes, children, n)
		}
	})
}

func namespacesAreApart(t *testing.T, s server.Store) {
	node := file(1, 1, 0)
	update(t, s, nsA, func(tx server.Tx) error {
		return errors.Join(tx.SetHead(server.Head{JID: 1}), tx.PutNode(&node), tx.PutChild(id(0), "f", id(1)),
			tx.AppendLog([]dbfs.Entry{entryOf(node)}), tx.PutDevice(1, server.DeviceState{Seq: 1}))
	})
	for _, ns := range []dbfs.NamespaceID{nsB, nsA - 1, nsA << 8} {
		view(t, s, ns, func(tx server.ReadTx) {
			missing[server.Head](t, "head")(tx.Head())
			missing[server.DeviceState](t, "device")(tx.Device(1))
			must[[]dbfs.Entry](t, "log", nil)(tx.Log(0, 10))
			must[[]dbfs.Node](t, "nodes", nil)(tx.Nodes(dbfs.RootNode, 10))
			must[[]server.Child](t, "children", nil)(tx.Children(dbfs.RootNode, "", 10))
		})
	}
}

func failureWritesNothing(t *testing.T, s server.Store) {
	stop := errors.New("stop")
	err := s.Update(bg, nsA, func(tx server.Tx) error {
		return errors.Join(tx.SetHead(server.Head{JID: 1}), tx.PutChild(id(0), "f", id(1)), stop)
	})
	if !errors.Is(err, stop) {
		t.Errorf("update: %v, want what fn returned", err)
	}
	view(t, s, nsA, func(tx server.ReadTx) {
		missing[server.Head](t, "head")(tx.Head())
		missing[dbfs.NodeID](t, "child")(tx.Child(id(0), "f"))
	})
}

// count adds one to the head, the way that lost updates show.
func count(tx server.Tx) error {
	h, err := tx.Head()
	if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	h.JID++
	return tx.SetHead(h)
}

func updatesDoNotOverlap(t *testing.T, s server.Store) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := s.Update(bg, nsA, count); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, nsA, func(tx server.ReadTx) { must(t, "count", server.Head{JID: writers * each})(tx.Head()) })
}

func viewIsOneMoment(t *testing.T, s server.Store) {
	both := func(tx server.Tx) error {
		h, err := tx.Head()
		if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		h.JID++
		return errors.Join(tx.SetHead(h), tx.PutDevice(1, server.DeviceState{Seq: uint64(h.JID)}))
	}
	update(t, s, nsA, both)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Update(bg, nsA, both); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 200 {
		view(t, s, nsA, func(tx server.ReadTx) {
			h, err1 := tx.Head()
			time.Sleep(50 * time.Microsecond)
			d, err2 := tx.Device(1)
			if err1 != nil || err2 != nil || uint64(h.JID) != d.Seq {
				t.Errorf("head %d, device %d, %v, %v: two moments", h.JID, d.Seq, err1, err2)
			}
		})
	}
	close(stop)
	wg.Wait()
}

func manyNamespacesAtOnce(t *testing.T, s server.Store) {
	const spaces, each = 64, 5
	var wg sync.WaitGroup
	for ns := dbfs.NamespaceID(1); ns <= spaces; ns++ {
		wg.Go(func() {
			for range each {
				if err := s.Update(bg, ns, count); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for ns := dbfs.NamespaceID(1); ns <= spaces; ns++ {
		view(t, s, ns, func(tx server.ReadTx) { must(t, "count", server.Head{JID: each})(tx.Head()) })
	}
}

// largestBatch is about the most that a commit writes: 512 edits of two entries each, nodes
// of 1 MiB together, each in its own row and in the log.
func largestBatch(t *testing.T, s server.Store) {
	value := make([]byte, 2048)
	var entries []dbfs.Entry
	update(t, s, nsA, func(tx server.Tx) error {
		entries = entries[:0]
		for i := range 2 * dbfs.MaxBatchOps {
			node := dbfs.Node{ID: dbfs.NodeID{1, 14: byte(i >> 8), 15: byte(i)}, Name: fmt.Sprint(i), Kind: dbfs.KindDir, Last: dbfs.JID(i + 1)}
			if i%2 == 0 {
				node.Attr.Xattrs = map[string][]byte{"user.x": value}
			}
			entries = append(entries, entryOf(node))
			if err := errors.Join(tx.PutNode(&node), tx.PutChild(id(0), node.Name, node.ID), tx.DelChild(id(1), node.Name)); err != nil {
				return err
			}
		}
		return tx.AppendLog(entries)
	})
	view(t, s, nsA, func(tx server.ReadTx) { must(t, "log", entries)(tx.Log(0, len(entries))) })
}

func tableRows(t *testing.T, s server.Store) {
	key, one, two := []byte("k"), []byte("one"), []byte("two")
	steps := []struct {
		old, new []byte
		done     bool
		then     []byte // nil: no row
	}{
		{one, two, false, nil},
		{nil, one, true, one},
		{nil, two, false, one},
		{two, two, false, one},
		{one, two, true, two},
		{two, two, true, two},
		{one, nil, false, two},
		{two, nil, true, nil},
		{nil, two, true, two},
	}
	for i, step := range steps {
		must(t, fmt.Sprintf("step %d", i), step.done)(s.CAS(bg, server.TableDevice, key, step.old, step.new))
		if step.then == nil {
			missing[[]byte](t, fmt.Sprintf("after step %d", i))(s.Get(bg, server.TableDevice, key))
		} else {
			must(t, fmt.Sprintf("after step %d", i), step.then)(s.Get(bg, server.TableDevice, key))
		}
	}
	missing[[]byte](t, "in another table")(s.Get(bg, server.TableChunk, key))
	for _, k := range []string{"a", "k1", "k2", "k3", "l"} {
		must(t, "add "+k, true)(s.CAS(bg, server.TableDevice, []byte(k), nil, []byte("v"+k)))
	}
	row := func(k string) server.Row { return server.Row{Key: []byte(k), Value: []byte("v" + k)} }
	must(t, "first page", []server.Row{{Key: key, Value: two}, row("k1")})(s.Scan(bg, server.TableDevice, key, nil, 2))
	must(t, "second page", []server.Row{row("k2"), row("k3")})(s.Scan(bg, server.TableDevice, key, []byte("k1"), 10))
	must(t, "all", 6)(countRows(s.Scan(bg, server.TableDevice, nil, nil, 100)))
	must(t, "another table", 0)(countRows(s.Scan(bg, server.TableGrant, nil, nil, 100)))
}

func countRows(rows []server.Row, err error) (int, error) { return len(rows), err }

func casHasOneWinner(t *testing.T, s server.Store) {
	const rounds, players = 20, 8
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for p := range players {
		wg.Go(func() {
			for r := range rounds {
				done, err := s.CAS(bg, server.TableGrant, fmt.Appendf(nil, "round%d", r), nil, []byte{byte(p + 1)})
				if err != nil {
					t.Error(err)
				}
				if done {
					mu.Lock()
					won++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if won != rounds {
		t.Errorf("%d winners in %d rounds", won, rounds)
	}
}

func endedContext(t *testing.T, s server.Store) {
	ctx, cancel := context.WithCancel(bg)
	cancel()
	err := s.Update(ctx, nsA, count)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	if err := s.View(ctx, nsA, func(server.ReadTx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v", err)
	}
	if _, err := s.CAS(ctx, server.TableGrant, []byte("k"), nil, []byte("v")); !errors.Is(err, context.Canceled) {
		t.Errorf("cas: %v", err)
	}
	view(t, s, nsA, func(tx server.ReadTx) { missing[server.Head](t, "head")(tx.Head()) })
}

func closed(t *testing.T, s server.Store) {
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := s.Update(bg, nsA, count); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("update after close: %v", err)
	}
	if _, err := s.CAS(bg, server.TableGrant, []byte("k"), nil, []byte("v")); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("cas after close: %v", err)
	}
	if err := s.View(bg, nsA, func(server.ReadTx) error { return nil }); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("view after close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
