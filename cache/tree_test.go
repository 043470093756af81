package cache

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

// inTree runs fn in one transaction and fails the test if it fails.
func inTree(t testing.TB, kv dbfs.KV, fn func(dbfs.Txn) error) {
	t.Helper()
	if err := kv.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// counter gives inode numbers away.
type counter uint64

func (c *counter) take() uint64 {
	*c++
	return uint64(*c)
}

func treeNode(id byte, parent byte, name string, last dbfs.JID) dbfs.Node {
	return dbfs.Node{ID: nodeID(id), Parent: nodeID(parent), Name: name, Kind: dbfs.KindDir, Last: last}
}

func nodeID(id byte) dbfs.NodeID { return dbfs.NodeID{15: id} }

// listTree writes down what is below a directory of a tree.
func listTree(t testing.TB, txn dbfs.Txn, tree *Tree, dir dbfs.NodeID) string {
	t.Helper()
	text := ""
	err := tree.Children(txn, dir, "", func(name string, id dbfs.NodeID) bool {
		text += fmt.Sprintf("%s=%d ", name, id[15])
		child, err := tree.Child(txn, dir, name)
		if err != nil || child != id {
			t.Errorf("child %q is %v, %v; the listing says %v", name, child, err, id)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTreePut(t *testing.T) {
	a, b := treeNode(1, 0, "a", 1), treeNode(2, 0, "b", 2)
	at := func(n dbfs.Node, name string, last dbfs.JID) dbfs.Node {
		n.Name, n.Last = name, last
		return n
	}
	gone := func(n dbfs.Node, last dbfs.JID) dbfs.Node {
		n.Deleted, n.Last = true, last
		return n
	}
	for _, c := range []struct {
		name string
		puts []dbfs.Node
		want string
	}{
		{"two", []dbfs.Node{a, b}, "a=1 b=2 "},
		{"renamed", []dbfs.Node{a, at(a, "c", 3)}, "c=1 "},
		{"deleted", []dbfs.Node{a, b, gone(a, 3)}, "b=2 "},
		{"deleted and back", []dbfs.Node{a, gone(a, 3), at(a, "a", 4)}, "a=1 "},
		{"an old state comes late", []dbfs.Node{at(a, "c", 3), a}, "c=1 "},
		{"a deleted one stays deleted", []dbfs.Node{gone(a, 3), a}, ""},
		{"the same twice", []dbfs.Node{a, a}, "a=1 "},
		{"names swapped, one after the other", []dbfs.Node{a, b, at(a, "t", 3), at(b, "a", 4), at(a, "b", 5)}, "a=2 b=1 "},
		{"names swapped at once", []dbfs.Node{a, b, at(a, "b", 3), at(b, "a", 4)}, "a=2 b=1 "},
		{"a name taken and its holder deleted after", []dbfs.Node{a, b, at(b, "a", 3), gone(a, 4)}, "a=2 "},
		// The listing had a at its last place, and the log is read again from before: b passed
		// through that place.
		{"a log read again over a newer listing", []dbfs.Node{at(a, "x", 9), b, at(b, "x", 5), at(b, "y", 6), at(a, "m", 7), at(a, "x", 9)}, "x=1 y=2 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
			inTree(t, NewMemKV(), func(txn dbfs.Txn) error {
				for _, n := range c.puts {
					if err := tree.Put(txn, n, inos.take); err != nil {
						return err
					}
				}
				if got := listTree(t, txn, tree, dbfs.RootNode); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				return nil
			})
		})
	}
}

// Entries in order, doubled, and read again from anywhere give the same tree as once.
func TestTreeIsWhatTheLogSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []dbfs.Node
		now := make(map[dbfs.NodeID]dbfs.Node)
		taken := func(name string, but dbfs.NodeID) bool {
			for id, n := range now {
				if id != but && !n.Deleted && n.Name == name {
					return true
				}
			}
			return false
		}
		for jid := range dbfs.JID(rapid.IntRange(1, 40).Draw(t, "length")) {
			n := treeNode(byte(rapid.IntRange(1, 4).Draw(t, "node")), 0, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), jid+1)
			n.Deleted = rapid.Bool().Draw(t, "deleted")
			if n.Deleted || !taken(n.Name, n.ID) {
				log, now[n.ID] = append(log, n), n
			}
		}
		want := ""
		byName := make(map[string]byte)
		for id, n := range now {
			if !n.Deleted {
				byName[n.Name] = id[15]
			}
		}
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			want += fmt.Sprintf("%s=%d ", name, byName[name])
		}
		tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
		kv := NewMemKV()
		err := kv.Update(func(txn dbfs.Txn) error {
			for _, id := range slices.SortedFunc(maps.Keys(now), func(a, b dbfs.NodeID) int { return bytes.Compare(a[:], b[:]) }) {
				if rapid.Bool().Draw(t, "listed") { // as a listing would have put it before
					if err := tree.Put(txn, now[id], inos.take); err != nil {
						return err
					}
				}
			}
			for i := 0; i < len(log); i++ {
				if err := tree.Put(txn, log[i], inos.take); err != nil {
					return err
				}
				if back := rapid.IntRange(0, 20).Draw(t, "back"); back < 5 {
					for _, n := range log[max(0, i-back) : i+1] {
						if err := tree.Put(txn, n, inos.take); err != nil {
							return err
						}
					}
				}
			}
			text := ""
			err := tree.Children(txn, dbfs.RootNode, "", func(name string, id dbfs.NodeID) bool {
				text += fmt.Sprintf("%s=%d ", name, id[15])
				return true
			})
			if text != want {
				t.Fatalf("got %q, want %q", text, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestTreeInodes(t *testing.T) {
	tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
	kv := NewMemKV()
	numbers, err := OpenInodes(kv)
	if err != nil {
		t.Fatal(err)
	}
	inTree(t, kv, func(txn dbfs.Txn) error {
		a := treeNode(1, 0, "a", 1)
		known := treeNode(2, 0, "b", 2)
		known.Ino = 100
		moved := a
		moved.Name, moved.Last = "c", 3
		return errors.Join(tree.Put(txn, a, inos.take), tree.Put(txn, known, inos.take), tree.Put(txn, moved, inos.take),
			tree.SetIno(txn, nodeID(1), 50), tree.Bind(txn, 60, nodeID(9)))
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		for id, want := range map[byte]uint64{1: 50, 2: 100} {
			if n, err := tree.Node(txn, nodeID(id)); err != nil || n.Ino != want {
				t.Errorf("node %d has inode %d, %v; want %d", id, n.Ino, err, want)
			}
		}
		for ino, want := range map[uint64]byte{1: 1, 50: 1, 100: 2, 60: 9} {
			ns, id, err := numbers.Lookup(txn, ino)
			if err != nil || ns != 7 || id != nodeID(want) {
				t.Errorf("inode %d leads to %v in %v, %v; want %d", ino, id, ns, err, want)
			}
		}
		if _, _, err := numbers.Lookup(txn, 2); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("inode nobody has: %v", err)
		}
		if err := tree.SetIno(txn, nodeID(8), 1); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("inode of a node that is not there: %v", err)
		}
		return nil
	})
	if *inos != 1 {
		t.Errorf("%d numbers were taken, want 1", *inos)
	}
}

func TestTreeSwap(t *testing.T) {
	tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
	other := NewTree(8, dbfs.NamesExact)
	kv := NewMemKV()
	inTree(t, kv, func(txn dbfs.Txn) error {
		return errors.Join(tree.Put(txn, treeNode(1, 0, "a", 1), inos.take), tree.Put(txn, treeNode(2, 0, "b", 2), inos.take),
			tree.SetCursor(txn, dbfs.Cursor{Epoch: 1, JID: 2}), other.Put(txn, treeNode(1, 0, "other", 1), inos.take))
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		again := treeNode(1, 0, "z", 5)
		if err := errors.Join(tree.PutNext(txn, again, inos.take), tree.PutNext(txn, treeNode(3, 0, "n", 4), inos.take)); err != nil {
			return err
		}
		if got := listTree(t, txn, tree, dbfs.RootNode); got != "a=1 b=2 " {
			t.Errorf("before the swap: %q", got)
		}
		if n, err := tree.NextNode(txn, nodeID(1)); err != nil || n.Name != "z" || n.Ino != 1 {
			t.Errorf("listed: %+v, %v", n, err)
		}
		if _, err := tree.NextNode(txn, nodeID(2)); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("not listed: %v", err)
		}
		return tree.Swap(txn, dbfs.Cursor{Epoch: 2, JID: 5})
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		if c, err := tree.Load(txn); err != nil || c != (dbfs.Cursor{Epoch: 2, JID: 5}) {
			t.Errorf("cursor %v, %v", c, err)
		}
		if got := listTree(t, txn, tree, dbfs.RootNode); got != "n=3 z=1 " {
			t.Errorf("after the swap: %q", got)
		}
		return nil
	})
	for clear, rounds := false, 0; !clear; rounds++ {
		if rounds > 10 {
			t.Fatal("clearing does not end")
		}
		inTree(t, kv, func(txn dbfs.Txn) (err error) {
			clear, err = tree.ClearOthers(txn, 1)
			return err
		})
	}
	inTree(t, kv, func(txn dbfs.Txn) error {
		left := 0
		err := txn.Scan(tree.key('r'), nil, func(_, _ []byte) bool { left++; return true })
		if got := listTree(t, txn, tree, dbfs.RootNode); got != "n=3 z=1 " || left != 2 {
			t.Errorf("after clearing: %q, %d nodes", got, left)
		}
		if got := listTree(t, txn, other, dbfs.RootNode); got != "other=1 " {
			t.Errorf("the other namespace: %q", got)
		}
		return err
	})
}

func TestTreeNodes(t *testing.T) {
	tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
	inTree(t, NewMemKV(), func(txn dbfs.Txn) error {
		for i := byte(1); i <= 5; i++ {
			n := treeNode(i, 0, string('a'+rune(i)), dbfs.JID(i))
			n.Deleted = i == 2
			if err := tree.Put(txn, n, inos.take); err != nil {
				return err
			}
		}
		var got []byte
		err := tree.Nodes(txn, nodeID(1), func(n dbfs.Node) bool {
			got = append(got, n.ID[15])
			return len(got) < 3
		})
		if want := []byte{2, 3, 4}; !bytes.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		names := ""
		err = errors.Join(err, tree.Children(txn, dbfs.RootNode, "b", func(name string, _ dbfs.NodeID) bool {
			names += name
			return name != "e"
		}))
		if names != "de" {
			t.Errorf("names after b: %q, want de", names)
		}
		return err
	})
}

// Damage is said, and is never taken for absence.
func TestDamagedTree(t *testing.T) {
	tree, inos := NewTree(7, dbfs.NamesExact), new(counter)
	kv := NewMemKV()
	inTree(t, kv, func(txn dbfs.Txn) error {
		return errors.Join(tree.Put(txn, treeNode(1, 0, "a", 1), inos.take), tree.SetCursor(txn, dbfs.Cursor{Epoch: 1, JID: 2}))
	})
	numbers, err := OpenInodes(kv)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		key  []byte
		ask  func(txn dbfs.Txn) error
	}{
		{"node", tree.nodeKey(0, nodeID(1)), func(txn dbfs.Txn) error { _, err := tree.Node(txn, nodeID(1)); return err }},
		{"nodes", tree.nodeKey(0, nodeID(1)), func(txn dbfs.Txn) error {
			return tree.Nodes(txn, dbfs.RootNode, func(dbfs.Node) bool { return true })
		}},
		{"put", tree.nodeKey(0, nodeID(1)), func(txn dbfs.Txn) error { return tree.Put(txn, treeNode(1, 0, "b", 9), inos.take) }},
		{"name", tree.nameKey(0, dbfs.RootNode, "a"), func(txn dbfs.Txn) error { _, err := tree.Child(txn, dbfs.RootNode, "a"); return err }},
		{"names", tree.nameKey(0, dbfs.RootNode, "a"), func(txn dbfs.Txn) error {
			return tree.Children(txn, dbfs.RootNode, "", func(string, dbfs.NodeID) bool { return true })
		}},
		{"state", tree.key('u'), func(txn dbfs.Txn) error { _, err := tree.Load(txn); return err }},
		{"inode", inoKey(1), func(txn dbfs.Txn) error { _, _, err := numbers.Lookup(txn, 1); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var whole []byte
			inTree(t, kv, func(txn dbfs.Txn) (err error) {
				if whole, err = txn.Get(c.key); err != nil {
					return err
				}
				return txn.Set(c.key, whole[:len(whole)-1])
			})
			if err := kv.Update(c.ask); !errors.Is(err, dbfs.ErrCorrupt) || errors.Is(err, dbfs.ErrNotExist) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
			inTree(t, kv, func(txn dbfs.Txn) error {
				if b, err := txn.Get(c.key); err != nil || !bytes.Equal(b, whole[:len(whole)-1]) {
					t.Errorf("the damaged record is %x now, %v", b, err)
				}
				return txn.Set(c.key, whole)
			})
		})
	}
}

func TestInodesNeverComeBack(t *testing.T) {
	kv := NewMemKV()
	seen := make(map[uint64]bool)
	for range 3 { // starts
		numbers, err := OpenInodes(kv)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 10, inoReserve + 5, 0, 3} {
			take, err := numbers.Reserve(n)
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				ino := take()
				if ino <= RootInode || seen[ino] {
					t.Fatalf("number %d was given away", ino)
				}
				seen[ino] = true
			}
		}
	}
	inTree(t, kv, func(txn dbfs.Txn) error { return txn.Set(inoLimitKey, []byte{1, 2}) })
	if _, err := OpenInodes(kv); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("damaged count: %v, want ErrCorrupt", err)
	}
}

func TestTakingMoreInodesThanReserved(t *testing.T) {
	numbers, err := OpenInodes(NewMemKV())
	if err != nil {
		t.Fatal(err)
	}
	take, err := numbers.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	take()
	defer func() {
		if recover() == nil {
			t.Error("a second number was given away")
		}
	}()
	take()
}

// Names are found by other spellings, and what a k row says counts only as far as the d rows agree.
func TestTreeAlike(t *testing.T) {
	tree, inos := NewTree(7, dbfs.NamesPortable), new(counter)
	alike := func(txn dbfs.Txn, name string) string {
		t.Helper()
		var found []string
		err := tree.Alike(txn, dbfs.RootNode, name, func(name string, id dbfs.NodeID) bool {
			found = append(found, fmt.Sprintf("%s=%d", name, id[15]))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, " ")
	}
	want := func(txn dbfs.Txn, name, want string) {
		t.Helper()
		if got := alike(txn, name); got != want {
			t.Errorf("alike to %q: %q, want %q", name, got, want)
		}
	}
	kv := NewMemKV()
	inTree(t, kv, func(txn dbfs.Txn) error {
		a, b := treeNode(1, 0, "Name", 1), treeNode(2, 0, "NAME", 2) // as tables of the server may have it
		err := errors.Join(tree.Put(txn, a, inos.take), tree.Put(txn, treeNode(3, 0, "Names", 1), inos.take))
		want(txn, "name", "Name=1")
		err = errors.Join(err, tree.Put(txn, b, inos.take))
		want(txn, "nAME", "NAME=2 Name=1")
		a.Name, a.Last = "name", 3
		err = errors.Join(err, tree.Put(txn, a, inos.take))
		want(txn, "Name", "NAME=2 name=1")
		b.Deleted, b.Last = true, 4
		err = errors.Join(err, tree.Put(txn, b, inos.take))
		want(txn, "NAME", "name=1")
		want(txn, "other", "")
		if got := listTree(t, txn, tree, dbfs.RootNode); got != "Names=3 name=1 " {
			t.Errorf("listed %q", got)
		}
		// Rows of other tables: one too many, one too few.
		err = errors.Join(err, txn.Set(tree.likeKey(0, dbfs.RootNode, "other", "OTHER"), a.ID[:]), txn.Delete(tree.likeKey(0, dbfs.RootNode, "name", "name")))
		want(txn, "other", "")
		want(txn, "NAME", "")
		if id, childErr := tree.Child(txn, dbfs.RootNode, "name"); childErr != nil || id != a.ID {
			t.Errorf("name leads to %s, %v", id, childErr)
		}
		return err
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		return errors.Join(tree.PutNext(txn, treeNode(5, 0, "Next", 9), inos.take), tree.Swap(txn, dbfs.Cursor{Epoch: 1, JID: 9}))
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		_, err := tree.Load(txn)
		want(txn, "NEXT", "Next=5")
		want(txn, "names", "")
		clear, clearErr := tree.ClearOthers(txn, 100)
		if again, _ := tree.ClearOthers(txn, 100); clear || !again {
			t.Errorf("cleared at once: %v, and then: %v", clear, again)
		}
		want(txn, "next", "Next=5")
		return errors.Join(err, clearErr)
	})
	inTree(t, kv, func(txn dbfs.Txn) error {
		left := 0
		err := txn.Scan([]byte("k/"), nil, func(k, _ []byte) bool { left++; return true })
		if left != 1 {
			t.Errorf("%d rows for spellings, want 1", left)
		}
		return err
	})
}
