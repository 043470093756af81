package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// What is sent and fetched keeps to the limit, which can be changed while it travels, and survives a restart.
func TestThrottle(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	limit := func(args ...string) (l control.Throttle) {
		t.Helper()
		out := m.run(append([]string{"throttle", "--profile", "one", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return l
	}
	if l := limit(); l.Limit != "off" {
		t.Errorf("at first it is %+v", l)
	}
	if l := limit("1M:512k"); l.Up != 1<<20 || l.Down != 512<<10 {
		t.Errorf("set, it is %+v", l)
	}
	if out := m.run("status", "--profile", "one"); !strings.Contains(out, "limited to 1.0 MiB/s up, 512 KiB/s down") {
		t.Errorf("status does not say it:\n%s", out)
	}

	start := time.Now()
	m.must(os.WriteFile(one.at("up"), noise(1, 2<<20), 0o644))
	one.sent()
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("2 MiB were sent in %v", took)
	}
	m.must(os.WriteFile(two.at("down"), noise(2, 1<<20), 0o644))
	two.sent()
	one.sent() // and has heard of it
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(one.at("down")); err == nil {
			break
		}
	}
	start = time.Now()
	one.has("down", noise(2, 1<<20))
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("1 MiB was fetched in %v", took)
	}

	one.end()
	one.start()
	if l := limit(); l.Limit != "1M:512K" {
		t.Errorf("after a restart it is %+v", l)
	}
	m.must(os.WriteFile(one.at("long"), noise(3, 60<<20), 0o644))
	time.Sleep(500 * time.Millisecond) // it is on its way, and would be for a minute
	limit("off")
	start = time.Now()
	one.sent()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("without a limit the rest took %v", took)
	}
	one.end()
	one.flags = []string{"--bwlimit", "Mon-00:00,2M Tue-00:00,2M"}
	one.start()
	if l := limit(); l.Limit != "Mon-00:00,2M Tue-00:00,2M" || l.Up != 2<<20 {
		t.Errorf("mounted with --bwlimit it is %+v", l)
	}
	if out := m.exits(2, "throttle", "--profile", "one", "quick"); !strings.Contains(out, `"quick" is not a limit`) {
		t.Errorf("a wrong limit: %s", out)
	}
	two.end()
	one.end()
}
