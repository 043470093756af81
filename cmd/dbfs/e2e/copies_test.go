package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// What is kept on a device, and what leaves it.

// ownBytes are a file's own.
func ownBytes(name string, n int) []byte {
	return bytes.Repeat([]byte(name+" "), n/(len(name)+1)+1)[:n]
}

func (v *device) put(path string, b []byte) {
	v.t.Helper()
	if err := os.MkdirAll(filepath.Dir(v.at(path)), 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(v.at(path), b, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

func (v *device) pin(path string, off bool, globs ...string) {
	v.t.Helper()
	if err := v.d.Pin(v.t.Context(), control.PinRequest{Path: path, Off: off, Globs: globs}); err != nil {
		v.t.Fatal(err)
	}
}

func (v *device) residency(path string) control.Residency {
	st, err := v.d.FileStatus(v.t.Context(), path)
	if err != nil {
		return control.Residency(err.Error())
	}
	return st.Residency
}

func (v *device) becomes(path string, want control.Residency) {
	v.t.Helper()
	v.until(fmt.Sprintf("%s is %s on %s", path, want, v.name), func() bool { return v.residency(path) == want })
}

// until waits for something to be so.
func (v *device) until(what string, so func() bool) {
	v.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func quiet(control.Progress) error { return nil }

func TestPinnedFilesStay(t *testing.T) {
	s := newSite(t, "")
	ana := newDevice(t, s, family, "desk", nil)
	bob := newDevice(t, s, family, "laptop", func(set *daemon.Settings) { set.CacheSize = 8 << 20 })
	const n = 100_000
	for _, f := range []string{"/keep/a", "/keep/deep/b", "/keep/film.mp4", "/loose"} {
		ana.put(f, ownBytes(f, n))
	}
	ana.put("/keep/small", []byte("a few bytes"))
	ana.sent()
	bob.becomes("/keep/a", control.OnlineOnly)

	bob.pin("/keep", false)
	bob.pin("/keep/film.mp4", true)
	for _, f := range []string{"/keep/a", "/keep/deep/b", "/keep/small"} {
		bob.becomes(f, control.Pinned)
	}
	if got := bob.residency("/loose"); got != control.OnlineOnly {
		t.Errorf("what was not pinned is %s", got)
	}
	// What comes later, changes, or is moved there.
	ana.put("/keep/deep/later", ownBytes("later", n))
	ana.put("/keep/a", ownBytes("changed", n))
	if err := os.Rename(ana.at("/loose"), ana.at("/keep/moved")); err != nil {
		t.Fatal(err)
	}
	ana.sent()
	bob.becomes("/keep/deep/later", control.Pinned)
	bob.becomes("/keep/moved", control.Pinned)
	bob.until("the new bytes are there", func() bool {
		st, err := bob.d.FileStatus(t.Context(), "/keep/a")
		b, _ := os.ReadFile(bob.at("/keep/a"))
		return err == nil && st.Residency == control.Pinned && bytes.Equal(b, ownBytes("changed", n))
	})

	// What an editor here saves by a rename has its bytes where it was written first.
	bob.put("/keep/deep/.b.tmp", ownBytes("edited", n))
	if err := os.Rename(bob.at("/keep/deep/.b.tmp"), bob.at("/keep/deep/b")); err != nil {
		t.Fatal(err)
	}
	bob.sent()

	// A cache that is far too small for what is read goes round; the pinned files stay.
	for i := range 5 {
		ana.put(fmt.Sprint("/big", i), ownBytes(fmt.Sprint(i), 4<<20))
	}
	ana.sent()
	for i := range 5 {
		name := fmt.Sprint("/big", i)
		bob.until(name, func() bool { b, err := os.ReadFile(bob.at(name)); return err == nil && len(b) == 4<<20 })
	}
	pinned := []string{"/keep/a", "/keep/deep/b", "/keep/deep/later", "/keep/moved", "/keep/small"}
	check := func(when string) {
		t.Helper()
		for _, f := range pinned {
			if got := bob.residency(f); got != control.Pinned {
				t.Errorf("%s: %s is %s", when, f, got)
			}
		}
	}
	check("after a large scan")
	bob.until("what is not pinned is cleared", func() bool { // the kernel may still have it open a moment after the close
		if _, err := bob.d.ClearCache(t.Context()); err != nil {
			t.Fatal(err)
		}
		return bob.residency("/big4") == control.OnlineOnly
	})
	check("after clearing the cache")
	if b, err := os.ReadFile(bob.at("/keep/deep/b")); err != nil || !bytes.Equal(b, ownBytes("edited", n)) {
		t.Errorf("the file that was edited: %d bytes, %v", len(b), err)
	}
	if st := bob.status().Cache; st.Pinned < 4*n || st.Pinned > 5*n {
		t.Errorf("the status says that %d bytes are pinned", st.Pinned)
	}

	// The pins survive a restart, and the loss of the cache.
	bob.end()
	if err := os.RemoveAll(bob.set.Cache); err != nil {
		t.Fatal(err)
	}
	bob.start()
	for _, f := range pinned {
		bob.becomes(f, control.Pinned)
	}
	want := []control.Pin{{Path: "/keep"}, {Path: "/keep/film.mp4", Off: true}}
	got, err := bob.d.Pins(t.Context())
	if err != nil || !slices.EqualFunc(got, want, func(a, b control.Pin) bool { return a.Path == b.Path && a.Off == b.Off }) {
		t.Errorf("pins %v, %v; want %v", got, err, want)
	}

	bob.pin("/keep", true)
	bob.becomes("/keep/a", control.Local)
	if got, err := bob.d.Pins(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("nothing is pinned any more, and yet: %v, %v", got, err)
	}
}

func TestPinsByName(t *testing.T) {
	s := newSite(t, "")
	ana := newDevice(t, s, family, "desk", nil)
	bob := newDevice(t, s, family, "laptop", nil)
	ana.put("/d/one.pdf", ownBytes("one", 70_000))
	ana.put("/d/two.txt", ownBytes("two", 70_000))
	ana.sent()
	bob.becomes("/d/two.txt", control.OnlineOnly)
	bob.pin("/d", false, "*.pdf", "*.md")
	bob.becomes("/d/one.pdf", control.Pinned)
	if got := bob.residency("/d/two.txt"); got != control.OnlineOnly {
		t.Errorf("two.txt is %s", got)
	}
	bob.pin("/d/two.txt", false)
	bob.becomes("/d/two.txt", control.Pinned)
	bob.pin("/", false, "*.pdf") // says nothing of what was pinned below
	bob.pin("/d", true)
	bob.pin("/d", false, "*.pdf")
	got, err := bob.d.Pins(t.Context())
	var at []string
	for _, pin := range got {
		at = append(at, pin.Path)
	}
	if want := []string{"/", "/d"}; err != nil || !slices.Equal(at, want) { // to unpin /d takes back what was said below it
		t.Errorf("pins at %q, %v; want %q", at, err, want)
	}
	if err := os.Symlink("two.txt", bob.at("/d/link")); err != nil {
		t.Fatal(err)
	}
	for _, req := range []control.PinRequest{{Path: "/d/link"}, {Path: "/d/two.txt", Globs: []string{"*"}}} {
		if err := bob.d.Pin(t.Context(), req); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("pin %+v: %v", req, err)
		}
	}
	for _, glob := range []string{"[", "a/b"} {
		if err := bob.d.Pin(t.Context(), control.PinRequest{Path: "/d", Globs: []string{glob}}); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("pattern %q: %v", glob, err)
		}
	}
	if err := bob.d.Pin(t.Context(), control.PinRequest{Path: "/none"}); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("no such path: %v", err)
	}
}

func TestWarmAndFree(t *testing.T) {
	s := newSite(t, "")
	ana := newDevice(t, s, family, "desk", nil)
	bob := newDevice(t, s, family, "laptop", nil)
	const n, each = 20, 70_000
	for i := range n {
		ana.put(fmt.Sprintf("/d/%d", i), ownBytes(fmt.Sprint(i), each))
	}
	ana.sent()
	bob.becomes(fmt.Sprintf("/d/%d", n-1), control.OnlineOnly)
	warm := func(check bool) control.WarmResult {
		t.Helper()
		res, err := bob.d.Warm(t.Context(), control.WarmRequest{Path: "/d", Check: check}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return *res
	}
	if got, want := warm(true), (control.WarmResult{Files: n, Bytes: n * each}); got != want {
		t.Errorf("before: %+v, want %+v", got, want)
	}
	if got, want := warm(false), (control.WarmResult{Files: n, Bytes: n * each, LocalFiles: n, LocalBytes: n * each, Fetched: n * each}); got != want {
		t.Errorf("warmed: %+v, want %+v", got, want)
	}
	if got := warm(false); got.Fetched != 0 {
		t.Errorf("warmed again: %+v", got)
	}
	if res, err := ana.d.Free(t.Context(), control.FreeRequest{Path: "/d/0"}, quiet); err != nil || res.Bytes != each {
		t.Errorf("freed what was just sent: %+v, %v", res, err)
	}
	bob.pin("/d/3", false)
	bob.becomes("/d/3", control.Pinned)
	bob.line.cut()
	bob.put("/d/new", ownBytes("new", each))
	res, err := bob.d.Free(t.Context(), control.FreeRequest{Path: "/d"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if want := (control.FreeResult{Bytes: (n - 1) * each, Files: n + 1, Pinned: 1, Unsent: 1}); *res != want {
		t.Errorf("freed: %+v, want %+v", *res, want)
	}
	for _, path := range []string{"/d/3", "/d/new"} {
		if _, err := bob.d.Free(t.Context(), control.FreeRequest{Path: path}, quiet); !errors.Is(err, dbfs.ErrBusy) {
			t.Errorf("free %s: %v", path, err)
		}
		if b, err := os.ReadFile(bob.at(path)); err != nil || len(b) != each {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	if _, err := bob.d.Warm(t.Context(), control.WarmRequest{Path: "/d"}, quiet); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("warmed without a network: %v", err)
	}
	found, err := bob.d.CheckCache(t.Context(), quiet)
	if err != nil || found.Damaged != 0 || found.Bytes < each {
		t.Errorf("check: %+v, %v", found, err)
	}
}

// Who searches for what they have just written finds it.
func TestSearchesFindWhatWasJustWritten(t *testing.T) {
	v := newDevice(t, newSite(t, ""), family, "desk", nil)
	for i := range 10 {
		word := fmt.Sprint("zebra", i)
		v.put("/d/z.txt", []byte("a line with "+word+"\n"))
		sum, err := v.d.Grep(t.Context(), control.GrepRequest{Patterns: []string{word}, Path: "/d"}, func(*control.GrepEvent) error { return nil })
		if err != nil || sum.Lines != 1 || sum.NotSearched != 0 {
			t.Errorf("grep %s: %+v, %v", word, sum, err)
		}
		v.put("/d/y.txt", []byte("another with other"+word+"\n"))
		found, err := v.d.Search(t.Context(), control.SearchRequest{Query: "other" + word})
		if err != nil || found.Total != 1 || found.Waiting != 0 {
			t.Errorf("search other%s: %+v, %v", word, found, err)
		}
	}
}
