package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

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
		as(carol, write("team/unread", "carol's")), synced(), // across owners its bytes are fetched and sent
		as(alice, rename("team/unread", "unread"), write("after", "x")), synced(),
		as(bob, sees("unread", "carol's"), sees("after", "x"), lacks("team/unread")),
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

// movers is how many files a crash finds on their way between two namespaces.
const movers = 12

// second gives the account another namespace, and files that are to go there.
func (w *ruin) second() {
	ctx := within(w.t, patience)
	host := w.srv.session()
	ns, err := host.CreateNamespace(ctx, "second", dbfs.NamesExact)
	if err == nil {
		_, err = host.Mount(ctx, ns.ID, "/second")
	}
	w.must(err)
	for i := range movers {
		w.must(os.WriteFile(w.one.at(mover(i)), []byte(mover(i)), 0o644))
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.ReadDir(w.one.at("second")); err == nil {
			break
		} else if time.Now().After(end) {
			w.t.Fatal(err)
		}
	}
	w.one.sent()
}

func mover(i int) string { return fmt.Sprintf("mover%d", i) }

// moveAll moves them, those of an odd number when they have just been written, until device one dies.
func (w *ruin) moveAll() {
	for i := range movers {
		if i%2 == 1 && os.WriteFile(w.one.at(mover(i)), []byte("new "+mover(i)), 0o644) != nil {
			return
		}
		if os.Rename(w.one.at(mover(i)), w.one.at("second/"+mover(i))) != nil {
			return
		}
	}
	select {
	case <-w.one.ended:
	case <-time.After(10 * time.Second):
	}
}

// allMoved sees that each of them is there, once, or twice if it was on its way; as it was last.
func (w *ruin) allMoved() {
	w.t.Helper()
	here, err := texts(w.two.at("mover*"))
	there, err2 := texts(w.two.at("second/mover*"))
	w.must(err, err2)
	twice := 0
	for i := range movers {
		n := 0
		for _, text := range []string{mover(i), "new " + mover(i)} {
			n += here[text] + there[text]
		}
		if n < 1 || n > 2 {
			w.t.Errorf("%s is there %d times: %v, and in the other namespace %v", mover(i), n, here, there)
		}
		twice += max(n-1, 0)
	}
	if twice > 1 {
		w.t.Errorf("%d files are in both namespaces, and one was on its way: %v, %v", twice, here, there)
	}
}
