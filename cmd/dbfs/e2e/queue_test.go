package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// What is bumped arrives first, with its directory, though it was made last; the queue says how it stands.
func TestQueue(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.flags = []string{"--bwlimit", "4M"}
	one.start()
	two.start()
	queue := func(args ...string) (reply struct {
		Items []control.QueueItem `json:"items"`
		Edits int                 `json:"edits"`
	}) {
		t.Helper()
		out := m.run(append([]string{"queue", "ls", "--profile", "one", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return reply
	}
	m.run("pause", "--profile", "one")
	for i, name := range []string{"a", "b", "c"} {
		m.must(os.WriteFile(one.at(name), noise(uint64(i), 24<<20), 0o644))
	}
	m.must(os.Mkdir(one.at("dir"), 0o755))
	m.must(os.WriteFile(one.at("dir/wanted"), noise(9, 5<<20), 0o644))
	if q := queue(); len(q.Items) != 5 || q.Items[0].Path != "/a" || q.Items[0].State != control.QueuePaused || q.Items[0].ToSend != 24<<20 {
		t.Errorf("while it is paused the queue is %+v", q)
	}
	if q := queue("--limit", "2"); len(q.Items) != 2 || q.Edits != 5 {
		t.Errorf("two of it are %+v", q)
	}
	if out := m.run("queue", "bump", "--profile", "one", "--json", one.at("dir/wanted")); !strings.Contains(out, `"edits":2`) {
		t.Errorf("bump says %q", out)
	}
	if q := queue(); len(q.Items) != 5 || q.Items[0].Path != "/dir" || q.Items[1].Path != "/dir/wanted" || !q.Items[1].Bumped {
		t.Errorf("after the bump the queue is %+v", q)
	}
	m.run("resume", "--profile", "one")
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(two.at("dir/wanted")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what was bumped does not arrive")
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		if _, err := os.Stat(two.at(name)); err == nil {
			t.Errorf("%s arrived before what was bumped", name)
		}
	}
	m.run("throttle", "--profile", "one", "off")
	m.run("queue", "retry", "--profile", "one")
	one.sent()
	if q := queue(); len(q.Items) != 0 || q.Edits != 0 {
		t.Errorf("at the end the queue is %+v", q)
	}
	two.end()
	one.end()
}

// A path from the top of a namespace means what the path through its mount does: for the queue, and for who waits.
func TestPathsOfNamespaces(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	ctx := within(t, patience)
	host := srv.session()
	ns, err := host.CreateNamespace(ctx, "team", dbfs.NamesExact)
	m.must(err)
	_, err = host.Mount(ctx, ns.ID, "/group")
	m.must(err)
	one := m.login("one", srv.url, srv.token)
	one.start()
	m.run("pause", "--profile", "one")
	m.must(os.WriteFile(one.at("group/plan"), []byte("a plan"), 0o644))
	for _, path := range []string{"team:/", "team:/plan", one.at("group"), one.at("group/plan")} {
		if out := m.run("queue", "ls", "--profile", "one", path); !strings.Contains(out, "plan") {
			t.Errorf("the queue of %s: %q", path, out)
		}
		m.exits(8, "wait", "--profile", "one", "--timeout", "50ms", path)
	}
	m.run("resume", "--profile", "one")
	m.run("wait", "--profile", "one", "--timeout", patience.String(), "team:/plan")
	one.end()
}
