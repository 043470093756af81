package journal

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

var conflictDay = time.Date(2026, 5, 1, 23, 30, 0, 0, time.FixedZone("west", -3*3600)) // the second of May in UTC

func TestConflictName(t *testing.T) {
	long := strings.Repeat("ä", 127) // 254 bytes
	for _, c := range []struct {
		name, what, device string
		try                int
		want               string
	}{
		{"report.txt", conflictedCopy, "laptop", 1, "report (conflicted copy, laptop 2026-05-02).txt"},
		{"report.txt", nameConflict, "laptop", 1, "report (name conflict, laptop 2026-05-02).txt"},
		{"report.txt", conflictedCopy, "laptop", 3, "report (conflicted copy, laptop 2026-05-02 3).txt"},
		{"Makefile", conflictedCopy, "laptop", 1, "Makefile (conflicted copy, laptop 2026-05-02)"},
		{"a.tar.gz", conflictedCopy, "laptop", 1, "a.tar (conflicted copy, laptop 2026-05-02).gz"},
		{".bashrc", conflictedCopy, "laptop", 1, ".bashrc (conflicted copy, laptop 2026-05-02)"},
		{".config.json", conflictedCopy, "laptop", 1, ".config (conflicted copy, laptop 2026-05-02).json"},
		{"Mr. Smith goes home", conflictedCopy, "laptop", 1, "Mr. Smith goes home (conflicted copy, laptop 2026-05-02)"},
		{"x." + strings.Repeat("y", 30), conflictedCopy, "laptop", 1, "x." + strings.Repeat("y", 30) + " (conflicted copy, laptop 2026-05-02)"},

		// A suffix replaces one, whatever its sort and number, and never nests.
		{"a (conflicted copy, desk 2025-01-31).txt", conflictedCopy, "laptop", 1, "a (conflicted copy, laptop 2026-05-02).txt"},
		{"a (conflicted copy, desk 2025-01-31 7).txt", nameConflict, "laptop", 2, "a (name conflict, laptop 2026-05-02 2).txt"},
		{"a (name conflict, my.host 2025-01-31)", nameConflict, "my.host", 1, "a (name conflict, my.host 2026-05-02)"},
		{"a (name conflict, x 2025-01-31) (conflicted copy, y 2025-01-31).c", nameConflict, "z", 1, "a (name conflict, z 2026-05-02).c"},
		{"a (draft).txt", conflictedCopy, "laptop", 1, "a (draft) (conflicted copy, laptop 2026-05-02).txt"},
		{" (conflicted copy, desk 2025-01-31)", conflictedCopy, "laptop", 1, " (conflicted copy, laptop 2026-05-02)"},

		// The stem is cut, at a rune's border, before anything else is.
		{long, conflictedCopy, "laptop", 1, strings.Repeat("ä", 109) + " (conflicted copy, laptop 2026-05-02)"},
		{"a" + long[:252] + ".x", conflictedCopy, "laptop", 1, "a" + strings.Repeat("ä", 107) + " (conflicted copy, laptop 2026-05-02).x"},

		// Devices may be called anything.
		{"a", conflictedCopy, "", 1, "a (conflicted copy, another device 2026-05-02)"},
		{"a", conflictedCopy, "x/y\x00(z)\n", 1, "a (conflicted copy, xyz 2026-05-02)"},
		{"a", conflictedCopy, strings.Repeat("ü", 50), 1, "a (conflicted copy, " + strings.Repeat("ü", 20) + " 2026-05-02)"},
	} {
		if got := conflictName(c.name, c.what, c.device, conflictDay, c.try); got != c.want {
			t.Errorf("conflictName(%q, %q, %q, %d) is\n%q, want\n%q", c.name, c.what, c.device, c.try, got, c.want)
		}
	}
}

func TestConflictNamesAreNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, -1, dbfs.MaxName).Draw(t, "name")
		if dbfs.CheckName(name) != nil {
			t.Skip("not a name")
		}
		device := rapid.String().Draw(t, "device")
		what := rapid.SampledFrom([]string{conflictedCopy, nameConflict}).Draw(t, "what")
		first := conflictName(name, what, device, conflictDay, 1)
		second := conflictName(name, what, device, conflictDay, 2)
		for _, got := range []string{first, second} {
			if err := dbfs.CheckName(got); err != nil || !utf8.ValidString(got) {
				t.Fatalf("%q became %q: %v", name, got, err)
			}
		}
		if first == second {
			t.Fatalf("%q became %q at both tries", name, first)
		}
		if again := conflictName(first, what, device, conflictDay, 1); again != first {
			t.Fatalf("%q became %q, and that %q", name, first, again)
		}
	})
}

func TestConflictOf(t *testing.T) {
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{"plan.txt", "plan", ".profile", "a.tar.gz", "naïve (draft).md"} {
		for try := 1; try < 4; try++ {
			given := conflictName(name, conflictedCopy, "ana's laptop", day.Add(time.Hour), try)
			original, device, when, ok := ConflictOf(given)
			if !ok || original != name || device != "ana's laptop" || !when.Equal(day) {
				t.Errorf("ConflictOf(%q) = %q, %q, %v, %v", given, original, device, when, ok)
			}
		}
	}
	for _, name := range []string{"", "plan.txt", "plan (copy).txt", "plan (conflicted copy, x 2026-13-45).txt", "(conflicted copy, x 2026-05-01)"} {
		if original, _, _, ok := ConflictOf(name); ok {
			t.Errorf("ConflictOf(%q) takes it for a conflict of %q", name, original)
		}
	}
}

// A copy says what it was made from, to every device.
func TestBaseOf(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	a, b := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	a.settle()
	a.put("f", 1)
	a.settle()
	b.settle()
	base := b.at("f")
	a.put("f", 2)
	b.put("f", 3)
	a.settle()
	b.settle()
	a.settle()
	copied := a.at("f (conflicted copy, " + b.name + " 2026-05-01)")
	file, rev, ok := BaseOf(&copied)
	if !ok || file != base.ID || rev != base.Revs.Content {
		t.Errorf("it was made from %s at %d, %v; want %s at %d", file, rev, ok, base.ID, base.Revs.Content)
	}
	for _, value := range []string{"", "x", "x 1", base.ID.String(), base.ID.String() + " ", base.ID.String() + " 0", base.ID.String() + " -1"} {
		if _, _, ok := BaseOf(&dbfs.Node{Attr: dbfs.Attr{Xattrs: map[string][]byte{baseAttr: []byte(value)}}}); ok {
			t.Errorf("%q says what it was made from", value)
		}
	}
	full := map[string][]byte{"user.x": make([]byte, dbfs.MaxXattrs-10)}
	if got := withBase(full, base.ID, 1); len(got) != 1 {
		t.Errorf("there is no room, and there are %d attributes", len(got))
	}
}
