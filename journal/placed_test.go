package journal

import (
	"testing"

	"github.com/dbfs/dbfs"
)

// The server took that a directory was made and moved, and the log that says so was cut off.
// A move after that is not lost to the one before.
func TestMoveAfterOneThatWasTaken(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	d := newDevice(t, h, 0, ns, 1)
	d.settle()
	made, err := d.j.Create(dbfs.RootNode, "b", dir)
	check(t, err)
	f, err := d.j.Create(dbfs.RootNode, "f", file)
	check(t, err)
	move := func(id, parent dbfs.NodeID, name string) {
		t.Helper()
		_, err := d.j.Move(id, parent, name, false)
		check(t, err)
	}
	move(f.ID, made.ID, "f")
	move(made.ID, dbfs.RootNode, "e")
	if _, err := d.push(always, answerLost); err != nil {
		t.Fatal(err)
	}
	h.store.forget(t, ns)
	move(made.ID, dbfs.RootNode, "d")
	d.settle()
	if n, err := d.j.Node(made.ID); err != nil || n.Name != "d" {
		t.Errorf("the directory is called %q (%v); it was moved to d last", n.Name, err)
	}
}
