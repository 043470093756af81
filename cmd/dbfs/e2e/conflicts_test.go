package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// clash makes two drives edit a file that both have, so that the second one's edit becomes a
// copy, and returns the copy's path in its mount.
func clash(t *testing.T, one, two *drive, name, base, theirs, ours string) string {
	t.Helper()
	write := func(d *drive, text string) {
		t.Helper()
		if err := os.WriteFile(d.at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(one, base)
	one.sent()
	two.shows(name, base)
	two.m.run("pause", "--profile", two.profile)
	write(two, ours)
	write(one, theirs)
	one.sent()
	two.m.run("resume", "--profile", two.profile)
	two.sent()
	two.shows(name, theirs)
	sameTrees(t, one, two)
	one.conflicts(1) // which it knows by the name, from its index
	return two.at(strings.TrimPrefix(two.conflicts(1)[0].Path, "/"))
}

// conflicts returns those that are listed, as soon as there are n.
func (d *drive) conflicts(n int) []control.Conflict {
	d.m.t.Helper()
	var list []control.Conflict
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if list, err = d.control.Conflicts(within(d.m.t, patience)); err != nil {
			d.m.t.Fatal(err)
		}
		if len(list) == n {
			return list
		}
	}
	d.m.t.Fatalf("%s lists %+v, want %d", d.profile, list, n)
	return nil
}

// shows waits until a file holds a text.
func (d *drive) shows(name, want string) {
	d.m.t.Helper()
	var got []byte
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, err = os.ReadFile(d.at(name)); err == nil && string(got) == want {
			return
		}
	}
	d.m.t.Fatalf("%s shows %q in %s, %v; want %q", d.profile, got, name, err, want)
}

// Every way of resolving a conflict, on a real mount, as another device sees it afterwards.
func TestResolveConflicts(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	lines := func(first, last string) string { return first + "\nb\nc\nd\n" + last + "\n" }
	base, theirs, ours := lines("a", "e"), lines("a", "THEIRS"), lines("OURS", "e")
	after := func(name, want string, files int) {
		t.Helper()
		two.sent()
		one.shows(name, want)
		two.shows(name, want)
		sameTrees(t, one, two)
		one.conflicts(0)
		two.conflicts(0)
		if names, err := os.ReadDir(two.mount()); err != nil || len(names) != files {
			t.Errorf("%d files, %v, want %d: %v", len(names), err, files, names)
		}
	}

	path := clash(t, one, two, "1.txt", base, theirs, ours)
	var c control.ConflictDetail
	if err := json.Unmarshal([]byte(m.run("conflicts", "show", path, "--json")), &c); err != nil {
		t.Fatal(err)
	}
	if c.Base == nil || c.Base.Size != int64(len(base)) || c.Theirs.Device != "one" || c.Ours.Device != "two" || c.Theirs.Time.IsZero() {
		t.Errorf("it shows %+v, theirs %+v, base %+v, %s", c, c.Theirs, c.Base, c.NoBase)
	}
	if out := m.exits(1, "conflicts", "diff", two.at("1.txt")); !strings.Contains(out, "-a\n+OURS\n") || !strings.Contains(out, "-THEIRS\n+e\n") {
		t.Errorf("diff says\n%s", out)
	}
	m.run("conflicts", "resolve", path, "--merge")
	after("1.txt", lines("OURS", "THEIRS"), 1)

	path = clash(t, one, two, "2.txt", base, theirs, lines("a", "OURS"))
	if out := m.exits(9, "conflicts", "resolve", path, "--merge"); !strings.Contains(out, "1 place changed on both sides") {
		t.Errorf("a merge with a conflict says %s", out)
	}
	marked := "a\nb\nc\nd\n<<<<<<< ours\nOURS\n||||||| base\ne\n=======\nTHEIRS\n>>>>>>> theirs\n"
	two.shows("2.txt", marked)
	two.sent()
	m.run("conflicts", "resolve", path, "--theirs")
	after("2.txt", marked, 2)

	path = clash(t, one, two, "3.txt", base, theirs, ours)
	m.run("conflicts", "resolve", path, "--ours")
	after("3.txt", ours, 3)

	path = clash(t, one, two, "4.txt", base, theirs, ours)
	m.exits(1, "conflicts", "resolve", path, "--tool", "false")
	m.exits(1, "conflicts", "resolve", path, "--tool", "true")
	two.shows("4.txt", theirs)
	m.run("conflicts", "resolve", path, "--tool", `cat "$BASE" "$OURS" "$THEIRS" > "$OUT"`)
	after("4.txt", base+ours+theirs, 4)

	clash(t, one, two, "5.txt", base, theirs, ours)
	m.run("conflicts", "resolve", two.at("5.txt"), "--both") // the original means its only copy
	after("5.txt", theirs, 6)

	path = clash(t, one, two, "6.txt", base, theirs, ours)
	m.run("conflicts", "resolve", path, "--both", "--rename", "6 mine.txt")
	after("6 mine.txt", ours, 8)

	// What a copy was made from is not known if it does not tell; one can decide all the same.
	for name, text := range map[string]string{"7.txt": theirs, "7 (conflicted copy, two 2026-05-01).txt": ours} {
		if err := os.WriteFile(one.at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one.sent()
	two.shows("7.txt", theirs)
	one.conflicts(1)
	two.conflicts(1)
	if out := m.exits(1, "conflicts", "resolve", one.at("7.txt"), "--merge"); !strings.Contains(out, "only the device that made the copy knows it") {
		t.Errorf("a merge without a base says %s", out)
	}
	m.run("conflicts", "resolve", one.at("7.txt"), "--theirs")
	one.sent()
	after("7.txt", theirs, 9)
	clash(t, one, two, "8.txt", base, theirs, ours)
	m.run("conflicts", "resolve", one.at("8.txt"), "--merge")
	one.sent()
	after("8.txt", lines("OURS", "THEIRS"), 10)
	one.end()
	two.end()
}

// A version that only this device has does not go without being asked for.
func TestResolvingLosesNothing(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	path := clash(t, one, two, "plan", "base\n", "theirs\n", "ours\n")
	m.run("pause", "--profile", "two")
	if err := os.WriteFile(two.at("plan"), []byte("newer, and not sent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := m.exits(6, "conflicts", "resolve", path, "--ours"); !strings.Contains(out, "has not reached the server") {
		t.Errorf("it says %s", out)
	}
	m.exits(6, "conflicts", "resolve", path, "--tool", `cp "$OURS" "$OUT"`)
	two.shows("plan", "newer, and not sent\n")
	m.run("resume", "--profile", "two")
	two.sent()
	m.run("conflicts", "resolve", path, "--ours")
	two.sent()
	one.shows("plan", "ours\n")
	one.conflicts(0)
	two.conflicts(0)
	one.end()
	two.end()
}
