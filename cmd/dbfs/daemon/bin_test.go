package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// gone is a node that was deleted so many minutes after the first was.
func gone(id, parent byte, name string, minute int) dbfs.DeletedNode {
	kind := dbfs.KindFile
	if strings.HasSuffix(name, "/") {
		kind = dbfs.KindDir
	}
	return dbfs.DeletedNode{Node: dbfs.Node{
		ID: dbfs.NodeID{id}, Parent: dbfs.NodeID{parent}, Name: strings.TrimSuffix(name, "/"), Kind: kind, Deleted: true,
		Last: dbfs.JID(minute + 1), CTime: int64(time.Duration(minute) * time.Minute),
	}}
}

func TestWhatWentTogether(t *testing.T) {
	const live = 200
	b := newBin([]dbfs.DeletedNode{
		gone(1, live, "project/", 1000),
		gone(2, 1, "src/", 998),
		gone(3, 2, "main", 997),
		gone(4, 2, "main", 996), // deleted, made again, and deleted again
		gone(5, 1, "readme", 990),
		gone(6, 1, "draft", 981),      // nine minutes before that
		gone(7, 1, "last year", 100),  // long before
		gone(8, 2, "readme", 989),     // another directory's
		gone(9, live, "other", 1000),  // beside it
		gone(10, 99, "elsewhere", 99), // of a directory that is not known
	})
	names := func(id byte) string {
		all, left := b.went(b.nodes[dbfs.NodeID{id}])
		var s []string
		for i, n := range all {
			if dir := b.nodes[n.Node.Parent]; i > 0 && !slices.Contains(all[:i], dir) {
				t.Errorf("%s comes before its directory", n.Node.Name)
			}
			s = append(s, fmt.Sprint(n.Node.ID[0]))
		}
		slices.Sort(s)
		return fmt.Sprint(strings.Join(s, " "), ", left ", left)
	}
	for id, want := range map[byte]string{1: "1 2 3 5 6 8, left 2", 2: "2 3 8, left 1", 3: "3, left 0", 9: "9, left 0", 10: "10, left 0"} {
		if got := names(id); got != want {
			t.Errorf("with %d went %s; want %s", id, got, want)
		}
	}
	if dirs, from := b.way(b.nodes[dbfs.NodeID{3}]); len(dirs) != 2 || dirs[0].Node.Name != "project" || from != (dbfs.NodeID{live}) {
		t.Errorf("the way is %v from %v", dirs, from)
	}
}

// What lies in itself is no reason to go round for ever.
func TestBinOfNonsense(t *testing.T) {
	b := newBin([]dbfs.DeletedNode{gone(1, 2, "a/", 1), gone(2, 1, "b/", 1), gone(3, 3, "c/", 1)})
	for _, n := range b.nodes {
		b.way(n)
		b.went(n)
	}
}
