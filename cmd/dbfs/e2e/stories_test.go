package e2e

import "testing"

func TestChangesAreSeen(t *testing.T) {
	story(t,
		as(alice, write("a", "one"), mkdir("d"), write("d/b", "two")),
		as(bob, sees("a", "one"), sees("d/b", "two"), write("a", "three")),
		as(alice, sees("a", "three"), remove("d/b")),
		as(bob, lacks("d/b"), rename("a", "d/c")),
		as(alice, holds("", "d"), holds("d", "c"), sees("d/c", "three")),
	)
}

func TestBothEditOffline(t *testing.T) {
	story(t,
		as(alice, write("a.txt", "old")), synced(),
		as(bob, offline(), write("a.txt", "bob's")),
		as(alice, write("a.txt", "alice's"), sent()),
		as(bob, online(), sees("a.txt", "alice's"), sees(copyOf("a.txt", bob), "bob's")),
		as(alice, sees("a.txt", "alice's"), sees(copyOf("a.txt", bob), "bob's"), holds("", "a.txt", copyOf("a.txt", bob))),
	)
}
