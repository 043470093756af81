package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// exits runs a command line that has to end with a code, and returns what it printed.
func (m *machine) exits(code int, args ...string) string {
	m.t.Helper()
	cmd := m.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		m.t.Fatalf("dbfs %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, &out)
	}
	return out.String()
}

// configure writes the configuration of a profile.
func (m *machine) configure(profile, text string) {
	m.t.Helper()
	dir := m.path(".config/dbfs/profiles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, profile+".toml"), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// held returns what a drive holds, as soon as that is n.
func (d *drive) held(n int) []control.Hold {
	d.m.t.Helper()
	var list []control.Hold
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if list, err = d.control.Holds(within(d.m.t, patience)); err != nil {
			d.m.t.Fatal(err)
		}
		if len(list) == n {
			return list
		}
	}
	d.m.t.Fatalf("%s holds %+v, want %d", d.profile, list, n)
	return nil
}

// count returns how many files a directory shows, as soon as that is n.
func (d *drive) count(dir string, n int) {
	d.m.t.Helper()
	got := -1
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		names, err := os.ReadDir(d.at(dir))
		if got = len(names); got == n && (err == nil || n == 0) {
			return
		}
	}
	d.m.t.Fatalf("%s shows %d files in %q, want %d", d.profile, got, dir, n)
}

// What is removed all at once is held on the device that did it, through a crash, and on the one
// that hears of it; each decides.
func TestMassDelete(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	m.configure("one", "guard-count = 10\nguard-share = 20\n")
	m.configure("two", "guard = false\n")
	one.start()
	two.start()
	if err := os.Mkdir(one.at("d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := os.WriteFile(one.at(fmt.Sprintf("d/f%d", i)), fmt.Appendf(nil, "this is %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one.sent()
	two.count("d", 40)

	removeAll(t, one.at("d"))
	one.held(1)
	if err := os.WriteFile(one.at("other"), []byte("goes on"), 0o644); err != nil {
		t.Fatal(err)
	}
	two.count("", 2)
	if !strings.Contains(one.says.tail(1<<20), "they are held and not sent") {
		t.Error("the log does not tell")
	}
	one.kill()
	one.start()
	h := one.held(1)[0]
	if h.Incoming || h.State != control.HoldUndecided || h.Deletes < 30 {
		t.Errorf("after a crash it holds %+v", h)
	}
	id := fmt.Sprint(h.ID)
	if out := m.exits(9, "status", "--check", "--profile", "one"); !strings.Contains(out, "dbfs held show "+id) {
		t.Errorf("status --check says %s", out)
	}
	if out := m.exits(9, "wait", "--profile", "one"); !strings.Contains(out, "dbfs held show "+id) {
		t.Errorf("wait says %s", out)
	}
	m.run("wait", one.at("other"))
	if out := m.run("held", "show", id, "--profile", "one"); !strings.Contains(out, one.at("d/f39")) {
		t.Errorf("held show says %s", out)
	}
	m.run("held", "reject", id, "--profile", "one")
	one.held(0)
	one.sent()
	sameTrees(t, one, two)
	if names, err := os.ReadDir(one.at("d")); err != nil || len(names) < 30 {
		t.Fatalf("%d files are back, %v", len(names), err)
	}

	removeAll(t, one.at("d"))
	id = fmt.Sprint(one.held(1)[0].ID)
	m.run("held", "approve", id, "--profile", "one", "--json")
	one.sent()
	two.count("d", 0)
	sameTrees(t, one, two)
	one.end()
	two.end()
}

func TestMassDeleteByAnother(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	m.configure("one", "guard = false\n")
	m.configure("two", "guard-count = 10\nguard-share = 20\n")
	one.start()
	two.start()
	for i := range 40 {
		if err := os.WriteFile(one.at(fmt.Sprintf("f%d", i)), fmt.Appendf(nil, "this is %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one.sent()
	two.count("", 40)
	for i := range 40 {
		if err := os.Remove(one.at(fmt.Sprintf("f%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	one.sent()
	two.held(1)
	if names, err := os.ReadDir(two.mount()); err != nil || len(names) < 30 {
		t.Errorf("two shows %d, %v", len(names), err)
	}
	if b, err := os.ReadFile(two.at("f39")); err != nil || string(b) != "this is 39" {
		t.Errorf("what is held is read as %q, %v", b, err)
	}
	if err := os.WriteFile(two.at("mine"), []byte("recorded"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.exits(9, "wait", "--profile", "two")
	two.kill()
	two.start()
	var list struct{ Held []control.Hold }
	if err := json.Unmarshal([]byte(m.run("held", "--profile", "two", "--json")), &list); err != nil || len(list.Held) != 1 || !list.Held[0].Incoming {
		t.Fatalf("after a crash it holds %+v, %v", list, err)
	}
	m.run("held", "reject", fmt.Sprint(list.Held[0].ID), "--profile", "two")
	two.sent()
	sameTrees(t, one, two)
	if names, err := os.ReadDir(one.mount()); err != nil || len(names) < 31 {
		t.Errorf("%d files are back, %v", len(names), err)
	}
	if b, err := os.ReadFile(one.at("f39")); err != nil || string(b) != "this is 39" {
		t.Errorf("what is back is read as %q, %v", b, err)
	}
	one.end()
	two.end()
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}
