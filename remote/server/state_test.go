package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// The nodes that went with a directory have the number of one entry, and whoever is told of
// nodes gets them in one page: with half of them it would go on behind the others.
func TestTreeIsNotTornApart(t *testing.T) {
	tx, _ := newSpace(t)
	node := func(n int) dbfs.NodeID { return dbfs.NodeID{byte(n)} }
	ops := []dbfs.Op{{Type: dbfs.OpCreate, Node: node(1), Name: "dir", Kind: dbfs.KindDir}}
	const files = 200 // more than a step reads
	for i := range files {
		ops = append(ops, dbfs.Op{Type: dbfs.OpCreate, Node: node(2 + i), Parent: node(1), Name: fmt.Sprint(i), Kind: dbfs.KindSymlink, Target: "x"})
	}
	commit := func(seq uint64, ops ...dbfs.Op) []dbfs.Entry {
		t.Helper()
		out, err := decide(tx, &proposal{batch: &dbfs.Batch{Epoch: 1, Device: 1, Seq: seq, Ops: ops}, now: time.Unix(0, 1)})
		if err != nil || out.refused != nil {
			t.Fatal(err, out.refused)
		}
		return out.entries
	}
	made := commit(1, ops...)
	end := made[len(made)-1].JID
	commit(2, dbfs.Op{Type: dbfs.OpDeleteTree, Node: node(1), Base: dbfs.Revs{Place: 1}, Seen: end})
	commit(3, dbfs.Op{Type: dbfs.OpCreate, Node: node(255), Name: "after", Kind: dbfs.KindDir})
	head, err := tx.Head()
	must(t, err)
	told := 0
	for after, more := dbfs.JID(0), true; more; {
		page, err := readState(tx, head, after, 1)
		must(t, err)
		if n := page.Nodes; len(n) > 0 && n[len(n)-1].Last > page.Next.JID {
			t.Fatalf("a page ends at %d with a node of %d", page.Next.JID, n[len(n)-1].Last)
		}
		told += len(page.Nodes)
		after, more = page.Next.JID, page.More
	}
	if want := files + 2; told != want {
		t.Errorf("%d nodes told of, want %d", told, want)
	}
}
