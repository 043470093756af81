package e2e

import (
	"encoding/json"
	"testing"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// A device that comes after the conflict knows of it, too, by the name of the copy.
func TestConflictsOnALateDevice(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	one, two := m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	clash(t, one, two, "plan.txt", "a\nb\nc\n", "a\nb\nTHEIRS\n", "OURS\nb\nc\n")
	three := m.login("three", srv.url, srv.token)
	three.start()
	c := three.conflicts(1)[0]
	if c.Device != "two" || c.Original != "/plan.txt" || !c.ByName || two.conflicts(1)[0].ByName {
		t.Errorf("it is listed as %+v", c)
	}
	var detail control.ConflictDetail
	path := three.at(c.Path[1:])
	if err := json.Unmarshal([]byte(m.run("conflicts", "show", path, "--json")), &detail); err != nil {
		t.Fatal(err)
	}
	if detail.Base == nil || detail.Base.Size != 6 {
		t.Errorf("base %+v, %s", detail.Base, detail.NoBase)
	}
	m.run("conflicts", "resolve", path, "--merge")
	three.sent()
	one.shows("plan.txt", "OURS\nb\nTHEIRS\n")
	one.conflicts(0)
	two.conflicts(0)
	three.conflicts(0)
}
