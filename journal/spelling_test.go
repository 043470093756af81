package journal

import (
	"errors"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// spellers returns a namespace with portable names and two devices of it.
func spellers(t *testing.T) (a, b *device) {
	h := newHost(t)
	ns, err := h.sessions[0].CreateNamespace(t.Context(), "portable", dbfs.NamesPortable)
	check(t, err)
	for i, d := range []**device{&a, &b} {
		*d = newDevice(t, h, i, ns.ID, 1)
		(*d).names = dbfs.NamesPortable
		(*d).open()
		(*d).settle()
	}
	return a, b
}

// listed is the names at the top, as they are shown.
func (d *device) listed() string {
	d.t.Helper()
	all, err := d.j.Names(dbfs.RootNode)
	check(d.t, err)
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

func (d *device) wantListed(want string) {
	d.t.Helper()
	if got := d.listed(); got != want {
		d.t.Errorf("%s lists %s, want %s", d.name, got, want)
	}
}

func TestSpellings(t *testing.T) {
	for _, sent := range []bool{false, true} {
		t.Run(map[bool]string{false: "unsent", true: "sent"}[sent], func(t *testing.T) {
			a, b := spellers(t)
			step := func(want string) {
				t.Helper()
				a.wantListed(want)
				if sent {
					a.settle()
					b.settle()
					b.wantListed(want)
				}
			}
			a.put("Readme", 1)
			a.make("Été", dir)
			step("Readme, Été")
			for _, spelling := range []string{"Readme", "README", "readme"} {
				if a.at(spelling).Name != "Readme" {
					t.Errorf("%q leads to %+v", spelling, a.at(spelling))
				}
			}
			if _, err := a.j.Create(dbfs.RootNode, "README", dir); !errors.Is(err, dbfs.ErrExist) {
				t.Errorf("make README: %v", err)
			}
			a.put("E\u0301TE\u0301/X", 2)
			a.move("été/x", "x")
			step("Readme, x, Été")
			a.move("README", "readme") // nothing but another spelling
			step("readme, x, Été")
			a.move("été", "e\u0301te\u0301")
			step("e\u0301te\u0301, readme, x")
			a.move("x", "README") // what is replaced keeps its spelling
			step("e\u0301te\u0301, readme")
			a.move("readme", "y")
			if _, err := a.j.Lookup("README"); !errors.Is(err, dbfs.ErrNotExist) {
				t.Errorf("README is still there: %v", err)
			}
			a.put("README", 3)
			step("README, e\u0301te\u0301, y")
			a.remove("readme")
			a.put("ReadMe", 4)
			step("ReadMe, e\u0301te\u0301, y")
			a.settle()
			b.settle()
			a.wantListed("ReadMe, e\u0301te\u0301, y")
			b.wantListed("ReadMe, e\u0301te\u0301, y")
			if len(a.noticed)+len(b.noticed) > 0 {
				t.Errorf("nobody was in the way, but: %q %q", a.noticed, b.noticed)
			}
		})
	}
}

// Two spellings made apart are one name: the second steps aside, and directories merge.
func TestSpellingsMeet(t *testing.T) {
	a, b := spellers(t)
	a.put("Plan.txt", 1)
	a.make("Dir", dir)
	a.put("Dir/a", 2)
	b.put("PLAN.TXT", 3)
	b.make("DIR", dir)
	b.put("DIR/b", 4)
	a.settle()
	b.settle()
	a.settle()
	for _, d := range []*device{a, b} {
		d.wantListed("Dir, PLAN (name conflict, " + b.name + " 2026-05-01).TXT, Plan.txt")
		d.at("dir/A")
		d.at("dir/B")
	}
}

// An edit that frees a name in one spelling goes before one that takes it in another.
func TestSpellingsInOrder(t *testing.T) {
	a, b := spellers(t)
	a.put("File", 1)
	a.settle()
	b.settle()
	old := b.at("file").ID
	b.move("FILE", "other")
	b.put("file", 2)
	batch, err := b.j.Batch(func(op *dbfs.Op) bool { return op.Node != old })
	check(t, err)
	if batch != nil {
		t.Errorf("sent before what it builds on: %+v", batch.Ops)
	}
	b.settle()
	b.wantListed("file, other")
	if b.refused > 0 {
		t.Errorf("%d refusals", b.refused)
	}
}

// Names that cannot stand everywhere are refused before they are recorded.
func TestUnportableNames(t *testing.T) {
	a, _ := spellers(t)
	a.put("f", 1)
	for _, name := range []string{"CON", "aux.txt", "a.", "a ", "a:b", "a\x01", "\U0003fffd"} {
		if _, err := a.j.Create(dbfs.RootNode, name, dir); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("make %q: %v", name, err)
		}
		if _, err := a.j.Move(a.at("f").ID, dbfs.RootNode, name, false); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("move to %q: %v", name, err)
		}
	}
	a.wantListed("f")
}

// The names that reconciling makes up can stand everywhere, whatever the device is called.
func TestConflictNamesArePortable(t *testing.T) {
	for _, device := range []string{"host.local", "a:b", "x\x7f", "\U0003fffd", " ", "CON", "a\u202e"} {
		name := conflictName("con (conflicted copy, x 2026-05-01).txt", conflictedCopy, deviceFor(dbfs.NamesPortable, device), worldTime, 2)
		if err := names.Check(dbfs.NamesPortable, name); err != nil {
			t.Errorf("on %q: %v", device, err)
		}
	}
}

// Who has other tables of Unicode than the server believes it, and loses nothing.
func TestOtherTables(t *testing.T) {
	a, b := spellers(t)
	b.names = dbfs.NamesExact
	b.open()
	a.put("File", 1)
	a.settle()
	b.put("FILE", 2)
	b.put("file", 3)
	b.settle()
	a.settle()
	for _, d := range []*device{a, b} {
		d.wantListed("FILE (name conflict, " + b.name + " 2026-05-01), File, file (name conflict, " + b.name + " 2026-05-01 2)")
	}
	if b.j.Backlog().Edits > 0 {
		t.Errorf("%+v", b.j.Pending())
	}
}
