package index

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dbfs/dbfs"
)

// segmented makes an index of several segments with dead documents, and closes it.
func segmented(t *testing.T, s *script) string {
	t.Helper()
	dir := t.TempDir()
	x := openIndex(t, dir, s.drive.options())
	for n := range 400 {
		s.step(t, x, n)
		if n%80 == 79 {
			x.Advance([]byte(fmt.Sprint(n)))
			flush(t, x)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// refeed is what a feeder does after a loss: it walks its whole tree.
func refeed(t *testing.T, x *Index, s *script) {
	t.Helper()
	for n := range scriptNodes {
		file := s.drive.files[nodeNumber(n)]
		if file == nil {
			continue
		}
		f := file.file(nodeNumber(n))
		if s.unknown[n] {
			f.Text = nil
		}
		has, err := x.Has(f)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := x.HasContent(f.Content); err != nil {
			t.Fatal(err)
		} else if !has || f.Text != nil && !text {
			feed(t, x, f)
		}
	}
	if _, err := x.Sweep(context.Background(), func(id dbfs.NodeID) bool { return s.drive.files[id] != nil }); err != nil {
		t.Fatal(err)
	}
}

func filesOf(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return names
}

func change(t *testing.T, name string, fn func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, fn(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamage spoils each kind of file in each way. Opening works, says that something is
// lost, and feeding again makes it whole.
func TestDamage(t *testing.T) {
	flip := func(at func(n int) int) func(t *testing.T, name string) {
		return func(t *testing.T, name string) {
			change(t, name, func(b []byte) []byte { b[at(len(b))] ^= 0x10; return b })
		}
	}
	cut := func(to func(n int) int) func(t *testing.T, name string) {
		return func(t *testing.T, name string) { change(t, name, func(b []byte) []byte { return b[:to(len(b))] }) }
	}
	remove := func(t *testing.T, name string) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	first := func(i int) func(int) int { return func(int) int { return i } }
	end := func(i int) func(int) int { return func(n int) int { return n - i } }
	tests := []struct {
		name, file string
		spoil      func(t *testing.T, name string)
	}{
		{"segment gone", "*.seg", remove},
		{"segment empty", "*.seg", cut(first(0))},
		{"segment cut in half", "*.seg", cut(func(n int) int { return n / 2 })},
		{"segment one byte short", "*.seg", cut(end(1))},
		{"segment of a newer version", "*.seg", flip(end(1))},
		{"segment with a bad end", "*.seg", flip(end(3))},
		{"segment with a bad footer", "*.seg", flip(end(40))},
		{"segment with bad sums", "*.seg", flip(end(footerSize + 1))},
		{"segment with a bad index", "*.seg", flip(end(footerSize + 20))},
		{"segment with a bad list", "*.seg", flip(first(100))},
		{"dead documents gone", "*.del", remove},
		{"dead documents cut", "*.del", cut(end(1))},
		{"dead documents flipped", "*.del", flip(first(14))},
		{"dead documents of a newer version", "*.del", flip(first(7))},
		{"manifest empty", "MANIFEST", cut(first(0))},
		{"manifest of a newer version", "MANIFEST", flip(first(7))},
		{"manifest is none", "MANIFEST", flip(first(2))},
	}
	s := newScript(11)
	sound := segmented(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, filesOf(t, dir, tt.file)[0])
			x := openIndex(t, dir, s.drive.options())
			paths(t, x, "alpha") // pages are checked when they are read
			if !x.Lost() || x.Mark() != nil {
				t.Errorf("lost %v, mark %q; want a loss and no mark", x.Lost(), x.Mark())
			}
			x.Advance([]byte("too early"))
			flush(t, x)
			if x.Mark() != nil {
				t.Error("a mark was taken before the feeder's walk ended")
			}
			refeed(t, x, s)
			if x.Lost() {
				t.Error("still lost after the walk")
			}
			s.compare(t, x, rand.New(rand.NewPCG(1, 1)), 12)
			x.Advance([]byte("after"))
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			x = openIndex(t, dir, s.drive.options())
			if x.Lost() || string(x.Mark()) != "after" {
				t.Errorf("opened again: lost %v, mark %q", x.Lost(), x.Mark())
			}
			s.compare(t, x, rand.New(rand.NewPCG(2, 2)), 4)
		})
	}
}

// TestTornManifest cuts off the last record: the index is then what it was one flush earlier.
func TestTornManifest(t *testing.T) {
	dir, d := t.TempDir(), newDrive()
	x := openIndex(t, dir, d.options())
	for n := range 20 {
		feed(t, x, d.put(n, fmt.Sprintf("file %02d", n), fmt.Sprintf("word%d every", n)))
		if n%10 == 9 {
			x.Advance([]byte(fmt.Sprint(n)))
			flush(t, x)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, manifestName), func(b []byte) []byte { return b[:len(b)-1] })
	x = openIndex(t, dir, d.options())
	if got := len(paths(t, x, "every")); got != 10 || x.Lost() || string(x.Mark()) != "9" {
		t.Errorf("found %d, lost %v, mark %q; want 10, false, 9", got, x.Lost(), x.Mark())
	}
	for n := 10; n < 20; n++ {
		feed(t, x, d.files[nodeNumber(n)].file(nodeNumber(n)))
	}
	if got := len(paths(t, x, "every")); got != 20 {
		t.Errorf("found %d after feeding from the mark, want 20", got)
	}
}

// TestDamageWhileOpen spoils a segment under an open index: searches go on without it.
func TestDamageWhileOpen(t *testing.T) {
	s := newScript(13)
	dir := segmented(t, s)
	var losses atomic.Int32
	opt := s.drive.options()
	opt.OnLoss = func() { losses.Add(1) }
	x := openIndex(t, dir, opt)
	want := len(paths(t, x, "-nosuchword"))
	for _, name := range filesOf(t, dir, "*.seg")[:1] {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(strings.Repeat("!", 100)), 200); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	x.opt.Cache.forgetAll()
	for _, w := range vocabulary {
		paths(t, x, w)
	}
	if !x.Lost() {
		t.Fatal("the damage was not seen")
	}
	flush(t, x)
	refeed(t, x, s)
	if got := len(paths(t, x, "-nosuchword")); got != want {
		t.Errorf("%d files after feeding again, want %d", got, want)
	}
	s.compare(t, x, rand.New(rand.NewPCG(1, 1)), 60)
	if err := x.Close(); err != nil || losses.Load() == 0 {
		t.Errorf("close: %v; OnLoss was called %d times", err, losses.Load())
	}
}

func (c *Cache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.where)
	clear(c.slots)
}

func TestLocked(t *testing.T) {
	dir, d := t.TempDir(), newDrive()
	x := openIndex(t, dir, d.options())
	if _, err := Open(dir, d.options()); !errors.Is(err, dbfs.ErrLocked) {
		t.Errorf("opened twice: %v, want ErrLocked", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	openIndex(t, dir, d.options())
	if _, err := x.Search(context.Background(), "a", SearchOptions{}); err == nil {
		t.Error("a closed index answers")
	}
}

func TestStrayFilesGo(t *testing.T) {
	dir, d := t.TempDir(), newDrive()
	for _, name := range []string{"000077.seg", "000001-3.del", "000002.seg.tmp", "MANIFEST.tmp", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openIndex(t, dir, d.options())
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left %q, %v; want LOCK, MANIFEST and notes.txt", left, err)
	}
}

// TestWritingFails takes the directory away under the index: a flush says so, what was fed
// is found all the same, and is written once the directory is back.
func TestWritingFails(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "index")
	d := newDrive()
	x := openIndex(t, dir, d.options())
	feed(t, x, d.put(1, "one", "first words"))
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := x.Flush(context.Background()); err == nil {
		t.Fatal("flushed without a directory")
	}
	if got := paths(t, x, "first"); len(got) != 1 {
		t.Errorf("found %q after the failure", got)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	flush(t, x)
	if got := paths(t, x, "first"); len(got) != 1 || x.Stats().Segments != 1 {
		t.Errorf("found %q in %d segments after the disk came back", got, x.Stats().Segments)
	}
}
