package e2e

import (
	"os"
	"strings"
	"testing"
)

// A small change of a large file costs little on the wire, where the old bytes are gone (it was changed in
// place) and where everything behind it has moved; and the other device gets it.
func TestSmallChangeCostsLittle(t *testing.T) {
	m := newMachine(t)
	srv := m.serve()
	w := newLine(t, strings.TrimPrefix(srv.url, "http://"))
	one, two := m.login("one", w.url(), srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	want := noise(1, 64<<20)
	m.must(os.WriteFile(one.at("disk"), want, 0o644))
	one.sent()
	if n := w.passed.Load(); n < 64<<20 {
		t.Fatalf("64 MiB took %d bytes on the wire: it is not measured", n)
	}

	cost := func(what, name string, want []byte, most int64) {
		t.Helper()
		before := w.passed.Load()
		one.sent()
		n := w.passed.Load() - before
		t.Logf("%s: %d bytes both ways", what, n)
		if n > most {
			t.Errorf("%s cost %d bytes on the wire, want at most %d", what, n, most)
		}
		two.has(name, want)
	}
	m.run("pause", "--profile", "one")
	copy(want[33<<20+12345:], noise(2, 100))
	f, err := os.OpenFile(one.at("disk"), os.O_WRONLY, 0)
	m.must(err)
	_, err = f.WriteAt(want[33<<20+12345:33<<20+12445], 33<<20+12345)
	m.must(err)
	m.must(f.Close())
	m.run("resume", "--profile", "one")
	cost("100 bytes changed in place", "disk", want, 64<<10)

	doc := noise(4, 14<<20)
	m.must(os.WriteFile(one.at("doc"), doc, 0o644))
	one.sent()
	m.run("pause", "--profile", "one")
	doc = append(append(append([]byte(nil), doc[:5<<20]...), noise(3, 100)...), doc[5<<20:]...)
	m.must(os.WriteFile(one.at("doc.new"), doc, 0o644))
	m.must(os.Rename(one.at("doc.new"), one.at("doc")))
	m.run("resume", "--profile", "one")
	cost("100 bytes inserted, saved as a new file", "doc", doc, 64<<10)
	two.end()
	one.end()
}
