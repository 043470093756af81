package journal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dbfs/dbfs"
)

// As many links as a file may have are sent in batches that the server takes.
func TestManyLinksAreSent(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	bob.settle()
	n, err := alice.j.Create(dbfs.RootNode, "f", file)
	check(t, err)
	for i := range dbfs.MaxLinks {
		_, err := alice.j.Link(n.ID, dbfs.RootNode, fmt.Sprint(i))
		check(t, err)
	}
	if _, err := alice.j.Link(n.ID, dbfs.RootNode, "more"); !errors.Is(err, dbfs.ErrManyLinks) {
		t.Errorf("one more: %v, want ErrManyLinks", err)
	}
	alice.settle()
	bob.settle()
	f, err := bob.j.Node(n.ID)
	check(t, err)
	if len(f.Links) != dbfs.MaxLinks {
		t.Errorf("%d links have arrived", len(f.Links))
	}
	// Those that are deleted make room for others.
	for i := range 10 {
		l, err := bob.j.Lookup(fmt.Sprint(i))
		check(t, err)
		check(t, bob.j.Delete(l.ID))
		_, err = bob.j.Link(n.ID, dbfs.RootNode, fmt.Sprint("new ", i))
		check(t, err)
	}
	bob.settle()
	alice.settle()
	if f, err = alice.j.Node(n.ID); err != nil || len(f.Links) != dbfs.MaxLinks {
		t.Errorf("%d links after some were replaced, %v", len(f.Links), err)
	}
	if got, want := alice.show(false), bob.show(false); got != want {
		t.Errorf("alice sees\n%s, bob\n%s", got, want)
	}
}
