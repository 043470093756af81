package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// A program that makes little pictures of everything gets names, sizes and what is here, but nothing downloaded; dbfs why says
// who had what.
func TestWhy(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	m.must(os.Mkdir(one.at("photos"), 0o755))
	for i := range 40 {
		m.must(os.WriteFile(one.at(fmt.Sprintf("photos/%02d", i)), noise(uint64(i), 1000), 0o644))
	}
	one.sent()
	two.start()
	sameNames := func() bool { names, _ := filepath.Glob(two.at("photos/*")); return len(names) == 40 }
	if !sameNames() {
		t.Fatal("not everything is there")
	}
	cat, err := exec.LookPath("cat")
	m.must(err)
	b, err := os.ReadFile(cat)
	m.must(err)
	tumbler := filepath.Join(t.TempDir(), "tumblerd")
	m.must(os.WriteFile(tumbler, b, 0o755))
	read := func(argv ...string) (string, bool) {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), err == nil
	}
	if out, ok := read(tumbler, two.at("photos/00")); ok || !strings.Contains(out, "Permission denied") {
		t.Errorf("a crawler reads %.100q, want that it may not", out)
	}
	if out, ok := read("cat", two.at("photos/00")); !ok || out != string(noise(0, 1000)) {
		t.Errorf("a person reads %.100q", out)
	}
	if _, err := os.Stat(two.at("photos/01")); err != nil {
		t.Error(err)
	}
	if out, ok := read(tumbler, two.at("photos/00")); !ok || out != string(noise(0, 1000)) {
		t.Errorf("a crawler reads %.100q of what is here", out)
	}
	all, err := filepath.Glob(two.at("photos/*"))
	m.must(err)
	if out, ok := read(append([]string{"nice", "-n", "40", "md5sum"}, all...)...); ok || strings.Count(out, "Permission denied") != 40-1-20 {
		t.Errorf("who reads everything by the way reads\n%s", out)
	}
	m.run("warmup", "--profile", "two", two.at("photos/39"))

	var reply control.WhyReply
	ask := func(args ...string) {
		t.Helper()
		out := m.run(append([]string{"why", "--profile", "two", "--json"}, args...)...)
		reply = control.WhyReply{}
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ask()
	got := make(map[string]string)
	for _, p := range reply.Programs {
		got[p.Program] = fmt.Sprintf("%d bytes of %d files, %d refused", p.Bytes, p.Files, p.Refused)
	}
	for program, want := range map[string]string{
		"cat": "1000 bytes of 1 files, 0 refused", "tumblerd": "0 bytes of 1 files, 1 refused",
		"md5sum": "20000 bytes of 39 files, 19 refused", "dbfs warmup": "1000 bytes of 1 files, 0 refused",
	} {
		if got[program] != want {
			t.Errorf("%s had %q, want %q", program, got[program], want)
		}
	}
	ask(two.at("photos/39"))
	if f := reply.Files; len(f) != 2 || f[0].Program != "dbfs warmup" || f[1].Program != "md5sum" || !f[1].Refused || f[0].Path != "/photos/39" {
		t.Errorf("of one file: %+v", f)
	}
	if ask(two.at("photos"), "--limit", "3"); len(reply.Files) != 3 || !reply.More {
		t.Errorf("of three files: %+v", reply)
	}
	two.end()
	one.end()
}
