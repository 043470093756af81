package journal

import (
	"testing"

	"github.com/dbfs/dbfs"
)

// Readers remember nodes of the tree, and never longer than the tree is as it was.
func TestKnown(t *testing.T) {
	k := newKnown()
	id := func(i int) dbfs.NodeID { return dbfs.NodeID{byte(i), byte(i >> 8), 1} }
	for i := range 3 * maxKnown {
		k.keep(dbfs.Node{ID: id(i), Name: "n"})
		if _, ok := k.get(id(0)); !ok {
			t.Fatalf("what is used all the time is forgotten after %d", i)
		}
	}
	if _, ok := k.get(id(maxKnown / 2)); ok {
		t.Error("what nobody has used is remembered")
	}
	k.forget()
	if _, ok := k.get(id(0)); ok {
		t.Error("what was forgotten is remembered")
	}
	k.keep(dbfs.Node{ID: id(1), Content: dbfs.Content{Chunks: dbfs.Blocks(make([]dbfs.ChunkID, knownChunks+1)...)}})
	if _, ok := k.get(id(1)); ok {
		t.Error("a long content is remembered")
	}
	var none known
	none.keep(dbfs.Node{ID: id(1)})
	if _, ok := none.get(id(1)); ok {
		t.Error("nothing remembers")
	}
}

// What another device has changed is seen, and so is a new inode number, by who has read the node before.
func TestKnownNodesChange(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	alice.make("docs", dir)
	alice.put("docs/a", 1)
	alice.settle()
	bob.settle()
	sees := func(content int) dbfs.Node {
		t.Helper()
		n := bob.at("docs/a")
		if !n.Content.Equal(bytesOf(content)) {
			t.Errorf("bob does not see content %d", content)
		}
		return n
	}
	sees(1)
	n := sees(1)
	if _, ok := bob.j.known.get(n.ID); !ok {
		t.Errorf("nothing of %s is remembered: this test shows nothing", n.Name)
	}
	alice.put("docs/a", 2)
	alice.settle()
	bob.settle()
	sees(2)
	alice.put("docs/a", 3)
	alice.settle()
	check(t, bob.list())
	id := sees(3).ID
	ino, err := bob.j.NewInode(id)
	check(t, err)
	if got := sees(3).Ino; got != ino {
		t.Errorf("the inode is %d, want %d", got, ino)
	}
	sees(3)
	bob.open()
	sees(3)
}
