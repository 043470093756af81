package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// What one device deletes, another brings back, with its directories, attributes and links, and the bytes are not sent again.
func TestTrash(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	large := noise(1, 9<<20)
	m.must(os.MkdirAll(one.at("work/project/src"), 0o750))
	m.must(os.WriteFile(one.at("work/project/src/main.go"), []byte("package main"), 0o640))
	m.must(os.WriteFile(one.at("work/project/data"), large, 0o644))
	m.must(unix.Setxattr(one.at("work/project/data"), "user.colour", []byte("red"), 0))
	m.must(os.Symlink("src/main.go", one.at("work/project/link")))
	m.must(os.Link(one.at("work/project/data"), one.at("work/project/another")))
	m.must(os.Chtimes(one.at("work/project/data"), time.Time{}, time.Unix(1_600_000_000, 0)))
	m.must(os.WriteFile(one.at("plan"), []byte("the first"), 0o644))
	one.sent()
	two.sent()
	sameTrees(t, one, two)
	before, err := walk(one.mount())
	m.must(err)

	var reply struct {
		Deleted []control.TrashItem `json:"deleted"`
		Items   int                 `json:"items"`
	}
	trash := func(args ...string) {
		t.Helper()
		reply.Deleted = nil
		out := m.run(append([]string{"trash", "ls", "--profile", "two", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if trash(); len(reply.Deleted) != 0 {
		t.Errorf("before anything was deleted: %+v", reply)
	}
	m.must(os.RemoveAll(one.at("work")), os.Remove(one.at("plan")))
	one.sent()
	m.must(os.WriteFile(one.at("plan"), []byte("the second"), 0o644))
	one.sent()
	m.must(os.Remove(one.at("plan")))
	one.sent()
	m.must(os.WriteFile(one.at("plan"), []byte("the third"), 0o644))
	one.sent()
	two.sent()
	sameTrees(t, one, two)

	trash()
	got := ""
	for _, item := range reply.Deleted {
		got += fmt.Sprintf("%s %s of %d files, %d bytes, kept %v, taken %v\n", item.Kind, item.Path, item.Files, item.Size, item.Kept, item.Taken)
	}
	if want := fmt.Sprintf("file /plan of 1 files, 10 bytes, kept true, taken true\nfile /plan of 1 files, 9 bytes, kept true, taken true\ndir /work of 2 files, %d bytes, kept true, taken false\n", len(large)+12); got != want {
		t.Fatalf("the trash holds\n%swant\n%s", got, want)
	}
	first := reply.Deleted[1].ID
	if trash(two.at("work/project")); len(reply.Deleted) != 5 { // itself, and what is directly in it
		t.Errorf("in the project: %+v", reply.Deleted)
	}
	if trash("--since", "2020-01-01", "--limit", "1"); len(reply.Deleted) != 1 || reply.Items != 3 {
		t.Errorf("one of it: %+v", reply)
	}

	if out := m.exits(1, "trash", "restore", two.at("plan")); !strings.Contains(out, "exists") || !strings.Contains(out, "--to") {
		t.Errorf("over what is there: %s", out)
	}
	m.exits(4, "trash", "restore", two.at("never"))
	m.exits(2, "trash", "restore", two.at("plan"), "--id", "x")
	m.exits(2, "restore", two.at("plan"))
	m.run("trash", "restore", two.at("plan"), "--to", two.at("plan.2"))
	m.run("trash", "restore", two.at("plan"), "--id", first.String(), "--to", two.at("plan.1"))
	two.shows("plan.1", "the first")
	two.shows("plan.2", "the second")
	two.shows("plan", "the third")

	var past control.Versions
	m.must(json.Unmarshal([]byte(m.run("versions", "--profile", "two", "--json", two.at("work/project/data"))), &past))
	if len(past.Versions) != 1 || past.Versions[0].Present {
		t.Fatalf("the versions of a deleted file: %+v", past)
	}
	m.run("restore", two.at("work/project/data"), "--version", fmt.Sprint(uint64(past.Versions[0].Version)), "--to", two.at("data"))
	if b, err := os.ReadFile(two.at("data")); err != nil || !bytes.Equal(b, large) {
		t.Errorf("a version of a deleted file: %d bytes, %v", len(b), err)
	}
	m.must(os.Remove(two.at("data")))

	sent := two.status().Cache.Fetched
	m.run("restore", two.at("work/project"))
	two.sent()
	m.run("pause", "--profile", "two")
	m.must(os.Remove(two.at("work/project/src/main.go")), os.WriteFile(two.at("work/project/data"), []byte("another"), 0o644))
	m.exits(6, "trash", "restore", two.at("work"), "--profile", "two") // the server does not know yet of what has just been removed
	m.run("resume", "--profile", "two")
	two.sent()
	if out := m.run("trash", "restore", two.at("work"), "--json"); !strings.Contains(out, `"files":1`) || !strings.Contains(out, `"taken":3`) {
		t.Errorf("what is there is filled: %s", out)
	}
	two.shows("work/project/data", "another")
	m.must(os.WriteFile(two.at("work/project/data"), large, 0o644), os.Chtimes(two.at("work/project/data"), time.Time{}, time.Unix(1_600_000_000, 0)))
	two.sent()
	one.sent()
	sameTrees(t, one, two)
	m.must(os.Remove(two.at("plan.1")), os.Remove(two.at("plan.2")))
	after, err := walk(two.mount())
	m.must(err)
	delete(before, "plan")
	delete(after, "plan")
	if diff := compare(after, before); diff != "" {
		t.Errorf("what is back is not what was deleted:\n%s", diff)
	}
	if now := two.status().Cache.Fetched; now > sent+int64(len(large))+100 {
		t.Errorf("%d bytes were fetched", now-sent)
	}
	m.must(os.WriteFile(two.at("work/project/more"), nil, 0o644))
	srv.kill()
	if out := m.exits(6, "trash", "ls", "--profile", "two"); !strings.Contains(out, "unreachable") {
		t.Errorf("without a server: %s", out)
	}
	srv.again()
	one.end()
	two.end()
}

// Who may only read a namespace brings nothing back there: the edit would wait for ever.
func TestTrashOfAReader(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	ctx := within(t, patience)
	host := srv.session()
	bob, err := host.AddUser(ctx, "bob", false)
	m.must(err)
	ns, err := host.CreateNamespace(ctx, "team", dbfs.NamesExact)
	m.must(err)
	m.must(host.SetMember(ctx, ns.ID, "bob", dbfs.RoleRead))
	_, err = host.Mount(ctx, ns.ID, "/team")
	m.must(err)
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, bob.Token)
	one.start()
	m.must(os.WriteFile(one.at("team/plan"), []byte("the first"), 0o644), os.WriteFile(one.at("team/plan"), []byte("the second"), 0o644))
	one.sent()
	m.must(os.Remove(one.at("team/plan")))
	one.sent()
	two.start()
	if out := m.run("trash", "ls", "--profile", "two"); !strings.Contains(out, "plan") {
		t.Errorf("the trash of a reader: %q", out)
	}
	for _, word := range []string{"restore", "trash restore"} {
		if out := m.exits(7, append(strings.Fields(word), "team:/plan", "--profile", "two")...); !strings.Contains(out, "read") {
			t.Errorf("%s: %s", word, out)
		}
	}
	m.run("trash", "restore", "team:/plan", "--profile", "one")
	one.shows("team/plan", "the second")
	one.end()
	two.end()
}

// After a month the contents of what was deleted are gone, and after three the names. Until then the trash says so, and directories still
// come back.
func TestTrashForgets(t *testing.T) {
	m := newFaultyMachine(t) // whose server's clock can be put forward
	w := &ruin{t: t, m: m, srv: m.serve()}
	w.one = m.login("one", w.srv.url, w.srv.token)
	w.one.start()
	m.must(os.MkdirAll(w.one.at("dir/empty"), 0o755), os.WriteFile(w.one.at("dir/file"), noise(1, 70_000), 0o644))
	w.one.sent()
	m.must(os.RemoveAll(w.one.at("dir")))
	w.one.sent()
	kept := func() (all string) {
		t.Helper()
		var reply struct {
			Deleted []control.TrashItem `json:"deleted"`
		}
		m.must(json.Unmarshal([]byte(m.run("trash", "ls", w.one.at("dir"), "--profile", "one", "--json")), &reply))
		slices.SortFunc(reply.Deleted, func(x, y control.TrashItem) int { return strings.Compare(x.Path, y.Path) })
		for _, item := range reply.Deleted {
			all += fmt.Sprint(item.Path, " ", item.Kept, ", ")
		}
		return all
	}
	if got := kept(); got != "/dir true, /dir/empty true, /dir/file true, " {
		t.Errorf("at first: %s", got)
	}
	w.pass(40 * 24 * time.Hour)
	w.await(w.collecting())
	if got := kept(); got != "/dir true, /dir/empty true, /dir/file false, " {
		t.Errorf("after 40 days: %s", got)
	}
	if out := m.exits(4, "trash", "restore", w.one.at("dir/file")); !strings.Contains(out, "not kept any more") {
		t.Errorf("after 40 days: %s", out)
	}
	if out := m.run("restore", w.one.at("dir"), "--json"); !strings.Contains(out, `"dirs":2`) || !strings.Contains(out, `"lost":1`) {
		t.Errorf("after 40 days: %s", out)
	}
	w.pass(100 * 24 * time.Hour)
	w.await(w.collecting())
	if got := kept(); got != "" {
		t.Errorf("after 100 days: %s", got)
	}
	w.one.sent()
	w.one.end()
}
