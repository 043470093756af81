package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func TestExpired(t *testing.T) {
	cutoff := time.Unix(0, 100)
	for _, test := range []struct {
		rows string // until of each, oldest first
		most int
		want []dbfs.JID
	}{
		{"", 3, nil},
		{"150", 3, nil},
		{"100 101", 3, []dbfs.JID{1}},
		{"10 20 150 160 170", 2, []dbfs.JID{3, 2, 1}},
		{"150 160 170 180", 4, nil},
		{"10 0", 1, []dbfs.JID{1}},
		{"150 160 0", 1, []dbfs.JID{1}}, // what the file has does not count
		{"10 0 150", 5, []dbfs.JID{1}},  // nor does it go, wherever it stands
	} {
		var rows []past
		var until int64
		for rest := test.rows; rest != ""; {
			n, err := fmt.Sscan(rest, &until)
			if n != 1 || err != nil {
				break
			}
			rows = append(rows, past{dbfs.JID(len(rows) + 1), until, false})
			rest = rest[min(len(rest), len(fmt.Sprint(until))+1):]
		}
		if got := expired(rows, cutoff, test.most); !slices.Equal(got, test.want) {
			t.Errorf("of %q at most %d: %v go, want %v", test.rows, test.most, got, test.want)
		}
	}
}

// A batch that comes again after its entries were dropped is not answered with others.
func TestRepeatOfDroppedEntries(t *testing.T) {
	tx, _ := newSpace(t)
	batch := func(seq uint64) *proposal {
		op := dbfs.Op{Type: dbfs.OpCreate, Node: dbfs.NodeID{byte(seq)}, Name: fmt.Sprint(seq), Kind: dbfs.KindDir}
		return &proposal{batch: &dbfs.Batch{Epoch: 1, Device: dbfs.DeviceID(seq), Seq: seq, Ops: []dbfs.Op{op}}, now: time.Unix(0, int64(seq))}
	}
	for seq := range uint64(3) {
		_, err := decide(tx, batch(seq+1))
		must(t, err)
	}
	if n, err := trimLog(tx, time.Unix(0, 1)); n != 1 || err != nil {
		t.Fatalf("%d entries dropped, %v", n, err)
	}
	if out, err := decide(tx, batch(1)); !errors.Is(err, dbfs.ErrReset) {
		t.Errorf("answered with %+v, %v", out.entries, err)
	}
	if out, err := decide(tx, batch(2)); err != nil || out.entries[0].JID != 2 {
		t.Errorf("answered with %+v, %v", out.entries, err)
	}
}

// newSpace is a namespace in memory with an empty log.
func newSpace(t *testing.T) (Tx, *WriteSet) {
	t.Helper()
	set := NewWriteSet(nothing{})
	tx := NewKeyTx(1, set)
	root := dbfs.Node{Kind: dbfs.KindDir}
	must(t, tx.SetHead(Head{Epoch: 1}))
	must(t, tx.PutNode(&root))
	return tx, set
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add appends a batch of one node's states, n entries long, at a time.
func add(t *testing.T, tx Tx, at int64, nodes ...dbfs.Node) {
	t.Helper()
	head, err := tx.Head()
	must(t, err)
	for i := range nodes {
		head.JID++
		nodes[i].Last, nodes[i].CTime = head.JID, at
		must(t, tx.PutNode(&nodes[i]))
		must(t, tx.AppendLog([]dbfs.Entry{{JID: head.JID, Time: at, End: i == len(nodes)-1, Node: nodes[i]}}))
	}
	must(t, tx.SetHead(head))
}

func dirNode(n byte, parent dbfs.NodeID, deleted bool) dbfs.Node {
	return dbfs.Node{ID: dbfs.NodeID{n}, Parent: parent, Name: fmt.Sprint(n), Kind: dbfs.KindDir, Deleted: deleted}
}

func TestTrimLogByWholeBatches(t *testing.T) {
	tx, _ := newSpace(t)
	for at := range int64(3 * trimStep) {
		add(t, tx, at/2, dirNode(1, dbfs.RootNode, false), dirNode(2, dbfs.RootNode, false))
	}
	total := 0
	for {
		n, err := trimLog(tx, time.Unix(0, trimStep))
		must(t, err)
		if total += n; n == 0 {
			break
		}
		if n > trimStep+1 || n%2 != 0 {
			t.Errorf("%d entries in one transaction", n)
		}
	}
	head, err := tx.Head()
	must(t, err)
	want := 4 * (trimStep + 1) // those of the last moment too
	if total != want || head.Trim != dbfs.JID(want) || head.Floor != 0 {
		t.Errorf("%d entries dropped, trimmed to %d, floor %d; want %d, %d, 0", total, head.Trim, head.Floor, want, want)
	}
	left, err := tx.Log(0, 1)
	must(t, err)
	if left[0].JID != head.Trim+1 {
		t.Errorf("the log begins with %d", left[0].JID)
	}
	add(t, tx, 0, dirNode(3, dbfs.RootNode, false)) // a clock that went back does not bring on more
	if n, err := trimLog(tx, time.Unix(0, trimStep)); n != 0 || err != nil {
		t.Errorf("%d more, %v", n, err)
	}
}

// TestReap: a deleted node goes when its time is up, the log says nothing of it and none of its
// contents is kept; what was below it goes with it, and the floor rises.
func TestReap(t *testing.T) {
	tx, _ := newSpace(t)
	gone := dirNode(1, dbfs.RootNode, true)
	below := dirNode(2, gone.ID, false)
	file := dbfs.Node{ID: dbfs.NodeID{3}, Parent: below.ID, Name: "f", Kind: dbfs.KindFile}
	live := dirNode(4, dbfs.RootNode, false)
	add(t, tx, 10, live, below, file, gone)
	must(t, tx.PutChild(gone.ID, "2", below.ID))
	must(t, tx.PutChild(below.ID, "f", file.ID))
	must(t, tx.PutRevision(&dbfs.Revision{Node: gone.ID, Rev: 1, Until: 10}))
	all := []dbfs.NodeID{dbfs.RootNode, {1}, {2}, {3}, {4}}
	reapAll := func(cutoff int64) (n int) {
		t.Helper()
		for _, id := range all {
			did, err := reap(tx, id, time.Unix(0, cutoff))
			must(t, err)
			if did {
				n++
			}
		}
		return n
	}
	if n := reapAll(20); n != 0 {
		t.Fatalf("%d nodes that the log speaks of are forgotten", n)
	}
	_, err := trimLog(tx, time.Unix(0, 20))
	must(t, err)
	if n := reapAll(20); n != 0 {
		t.Fatalf("%d nodes with contents that are kept are forgotten", n)
	}
	must(t, tx.DelRevision(gone.ID, 1))
	if n := reapAll(9); n != 0 {
		t.Fatalf("%d nodes are forgotten before their time", n)
	}
	if n := reapAll(10); n != 3 {
		t.Fatalf("%d nodes are forgotten, want 3", n)
	}
	head, err := tx.Head()
	must(t, err)
	if head.Floor != 4 {
		t.Errorf("floor %d, want 4", head.Floor)
	}
	nodes, err := tx.Nodes(dbfs.RootNode, 10)
	must(t, err)
	children, err := tx.Children(below.ID, "", 10)
	must(t, err)
	if len(nodes) != 1 || nodes[0].ID != live.ID || len(children) != 0 {
		t.Errorf("left are %d nodes and %d names", len(nodes), len(children))
	}
}

// TestDropLists: a chunk list that is kept apart goes when node, history and log are done with it.
func TestDropLists(t *testing.T) {
	tx, _ := newSpace(t)
	long := func(rev dbfs.JID) dbfs.Node {
		c := dbfs.Content{Size: 40 * dbfs.ChunkSize, Chunks: dbfs.Blocklist{}.Edit(40, map[int]dbfs.ChunkID{0: {byte(rev)}})}
		return dbfs.Node{ID: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindFile, Revs: dbfs.Revs{Content: rev}, Content: c}
	}
	for rev := dbfs.JID(1); rev <= 4; rev++ {
		add(t, tx, int64(rev), long(rev))
	}
	kept := long(1)
	must(t, tx.PutRevision(&dbfs.Revision{Node: kept.ID, Rev: 1, Content: kept.Content, Until: 2}))
	sweep := func(want ...dbfs.JID) {
		t.Helper()
		lists, err := tx.Lists(dbfs.RootNode, 0, 10)
		must(t, err)
		var left []dbfs.JID
		for i, l := range lists {
			next := dbfs.JID(0)
			if i+1 < len(lists) {
				next = lists[i+1].Rev
			}
			did, err := dropList(tx, l, next)
			must(t, err)
			if !did {
				left = append(left, l.Rev)
			}
		}
		if !slices.Equal(left, want) {
			t.Errorf("left are the lists of %v, want %v", left, want)
		}
	}
	sweep(1, 2, 3, 4)
	_, err := trimLog(tx, time.Unix(0, 3)) // the entry of 3 is what ended 2
	must(t, err)
	sweep(1, 3, 4)
	must(t, tx.DelRevision(kept.ID, 1))
	sweep(3, 4)
	_, err = trimLog(tx, time.Unix(0, 4))
	must(t, err)
	sweep(4)
	if n, err := tx.Node(kept.ID); err != nil || n.Content.Chunks.At(0)[0] != 4 {
		t.Errorf("the node: %v, %v", n.Content.Size, err)
	}
	must(t, tx.DelNode(kept.ID))
	sweep()
}

// TestMarks compares the set with a map, over all its parts.
func TestMarks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	chunk := func() (id dbfs.ChunkID) {
		id[0] = byte(rng.IntN(4)) // crowded, so that parts differ
		id[7], id[20] = byte(rng.IntN(8)), 1
		return id
	}
	type in struct {
		ns dbfs.NamespaceID
		id dbfs.ChunkID
	}
	for range 200 {
		var all []in
		for range rng.IntN(200) {
			all = append(all, in{dbfs.NamespaceID(rng.IntN(3)), chunk()})
		}
		parts, covered := 0, 0
		for from, more := uint64(0), true; more; parts++ {
			m := newMarks(from, 1+rng.IntN(40))
			want := make(map[in]bool)
			for _, x := range all {
				m.add(x.ns, dbfs.Content{Size: 1, Chunks: dbfs.Blocks(x.id, dbfs.ZeroChunk)})
			}
			m.sort()
			for _, x := range all {
				if first := firstOf(x.id); first >= m.from && first <= m.to {
					want[x] = true
					covered++
				}
			}
			for range 300 {
				x := in{dbfs.NamespaceID(rng.IntN(3)), chunk()}
				if first := firstOf(x.id); first < m.from || first > m.to {
					continue
				}
				if got := m.has(x.ns, x.id); got != want[x] {
					t.Fatalf("%v is marked: %t", x, got)
				}
			}
			from, more = m.to+1, m.to != 1<<64-1
		}
		if covered != len(all) {
			t.Fatalf("%d parts hold %d marks of %d", parts, covered, len(all))
		}
	}
}

// TestOldHead: a head that was written before logs were trimmed.
func TestOldHead(t *testing.T) {
	set := NewWriteSet(nothing{})
	tx := NewKeyTx(7, set).(keyTx)
	must(t, set.Set(tx.key('H', 0), sealRow([]byte{0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2})))
	if h, err := tx.Head(); err != nil || h != (Head{Epoch: 3, JID: 9, Floor: 2}) {
		t.Errorf("%+v, %v", h, err)
	}
}
