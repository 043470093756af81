package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// What a file was comes back, in its place or beside it, on the device that asks and on another.
func TestRestoreVersions(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	write := func(d *drive, text string) {
		t.Helper()
		if err := os.WriteFile(d.at("plan.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		d.sent()
	}
	texts := []string{"first\n", "second, longer\n", "third\n"}
	write(one, texts[0])
	two.shows("plan.txt", texts[0])
	write(two, texts[1])
	one.shows("plan.txt", texts[1])
	between := time.Now()
	write(one, texts[2])
	two.shows("plan.txt", texts[2])

	var list control.Versions
	if err := json.Unmarshal([]byte(m.run("versions", one.at("plan.txt"), "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var kept []control.FileVersion // a program may have written an empty file first
	for _, v := range list.Versions {
		if v.Size > 0 {
			kept = append(kept, v)
		}
	}
	if len(kept) != 3 || kept[0].Size != 6 || kept[0].Device != "one" || kept[1].Device != "two" || !kept[2].Present || kept[1].Present || kept[0].Expires.Before(time.Now()) {
		t.Fatalf("versions: %+v", list.Versions)
	}
	if out := m.run("versions", one.at("plan.txt")); !strings.Contains(out, "15 B  two") || !strings.Contains(out, "one  present") {
		t.Errorf("versions prints\n%s", out)
	}

	m.run("restore", one.at("plan.txt"), "--version", fmt.Sprint(uint64(kept[0].Version)))
	one.shows("plan.txt", texts[0])
	two.shows("plan.txt", texts[0])
	one.sent()
	m.run("restore", two.at("plan.txt"), "--at", between.Format(time.RFC3339Nano), "--to", two.at("old.txt"))
	two.shows("old.txt", texts[1])
	one.shows("old.txt", texts[1])
	two.sent()
	sameTrees(t, one, two)

	m.exits(4, "restore", one.at("plan.txt"), "--version", "999999")
	m.exits(4, "restore", one.at("plan.txt"), "--at", "2020-01-01")
	m.exits(2, "restore", one.at("plan.txt"), "--at", "yesterday")
	m.exits(2, "restore", one.at("plan.txt"))
	m.exits(4, "versions", one.at("nothing"))
	m.exits(1, "versions", one.mount())
	if out := m.exits(1, "restore", one.at("plan.txt"), "--version", fmt.Sprint(uint64(kept[1].Version)), "--to", one.at("old.txt")); !strings.Contains(out, "exists") {
		t.Errorf("over a file that is there: %s", out)
	}
}
