package e2e

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/dbfs/dbfs"
)

// Files are moved between namespaces whoever owns them, online and offline, sent and not sent, and
// mv moves a directory by copying it.
func TestMoveBetweenNamespaces(t *testing.T) {
	onMounts(t,
		as(alice, write("mine", "alice's")), as(carol, write("c", "carol's")),
		shared("team", dbfs.RoleWrite),
		as(carol, eventually("mount", isDir("team")), mkdir("team/d"), write("team/d/plan", "one"), symlink("plan", "team/d/link")),
		as(alice, sees("team/d/plan", "one")), synced(),
		as(alice, rename("team/d/plan", "plan"), sees("plan", "one"), lacks("team/d/plan"), rename("mine", "team/d/plan"), sees("team/d/plan", "alice's")),
		as(alice, rename("team/d/link", "link")), synced(),
		as(bob, sees("plan", "one"), sees("team/d/plan", "alice's"), lacks("team/d/link"), lacks("mine")),
		as(carol, sees("team/d/plan", "alice's"), holds("team/d", "plan")),
		as(bob, offline(), write("new", "bob's"), rename("new", "team/new"), write("team/d/plan", "bob's"), rename("team/d/plan", "plan")),
		as(bob, sees("plan", "bob's"), sees("team/new", "bob's")),
		as(carol, lacks("team/new"), sees("team/d/plan", "alice's")),
		as(bob, online()), synced(),
		as(alice, sees("plan", "bob's"), sees("team/new", "bob's"), lacks("team/d/plan"), lacks("new")),
		as(carol, holds("team/d"), sees("team/new", "bob's")),
		as(carol, write("team/d/x", "x"), chmod("team/d/x", 0o750)), synced(),
		as(alice, must("mv", func(v *device) error { return mv(v.at("team/d"), v.at("d")) }), sees("d/x", "x"), lacks("team/d")), synced(),
		as(bob, sees("d/x", "x"), lacks("team/d")),
	)
}

// mv is the program.
func mv(from, to string) error {
	out, err := exec.Command("mv", from, to).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}
