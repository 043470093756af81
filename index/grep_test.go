package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// grep returns what a grep found, a line of text for each.
func grep(t testing.TB, x *Index, opt GrepOptions) ([]string, GrepStats) {
	t.Helper()
	out := []string{}
	stats, err := x.Grep(context.Background(), opt, func(m *FileMatches) error {
		if m.Offline {
			out = append(out, m.Path+": offline")
		}
		if m.Lines == nil && !m.Offline {
			out = append(out, fmt.Sprintf("%s: %d", m.Path, m.Count))
		}
		for _, l := range m.Lines {
			mark := ":"
			if l.Matches == nil {
				mark = "-"
			}
			out = append(out, fmt.Sprintf("%s%s%d%s%s", m.Path, mark, l.Number, mark, strings.TrimSuffix(string(l.Text), "\n")))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("grep %+v: %v", opt, err)
	}
	return out, stats
}

func TestGrep(t *testing.T) {
	d := newDrive()
	files := []File{
		d.put(1, "a.txt", "one\ntwo two\nthree\nfour\nTwo\nsix"),
		d.put(2, "sub/b.go", "func Two() {}\n\n// two-way\nvar twofold = 2\n"),
		d.put(3, "sub/c.bin", "two\x00two"),
		d.put(4, "sub/utf16.txt", "\xff\xfet\x00w\x00o\x00\n\x00"),
		d.put(5, "sub/latin.txt", "caf\xe9 two\n"),
		d.put(6, "kelvin.txt", "300 \u212aelvin twoſome\n"),
		d.put(7, "late.txt", strings.Repeat("x", 70_000)+"\ntwo\nend\x00two\n"),
	}
	offline := d.put(8, "z/cloud.txt", "two clouds")
	unknown := d.put(9, "z/never.txt", "two never")
	unknown.Text = nil
	fresh := d.put(10, "fresh.txt", "two, not indexed yet")
	fresh.Text = nil
	x := openIndex(t, t.TempDir(), d.options())
	for _, f := range append(files, offline, unknown, fresh) {
		feed(t, x, f)
	}
	d.files[nodeNumber(8)].offline = true
	d.files[nodeNumber(9)].offline = true
	all := []string{"!late.txt", "!kelvin.txt", "!fresh.txt", "!sub/utf16.txt", "!sub/latin.txt", "!z"}
	tests := []struct {
		opt  GrepOptions
		want []string
	}{
		{GrepOptions{Pattern: "two", Globs: all}, []string{"a.txt:2:two two", "sub/b.go:3:// two-way", "sub/b.go:4:var twofold = 2"}},
		{GrepOptions{Pattern: "two", IgnoreCase: true, Globs: []string{"*.go"}}, []string{"sub/b.go:1:func Two() {}", "sub/b.go:3:// two-way", "sub/b.go:4:var twofold = 2"}},
		{GrepOptions{Pattern: "two", Word: true, In: "sub"}, []string{"sub/b.go:3:// two-way", "sub/latin.txt:1:café two", "sub/utf16.txt:1:two"}},
		{GrepOptions{Pattern: "Two()", Fixed: true}, []string{"sub/b.go:1:func Two() {}"}},
		{GrepOptions{Pattern: "^two", Globs: all}, []string{"a.txt:2:two two"}},
		{GrepOptions{Pattern: "x$", Globs: all}, []string{"a.txt:6:six"}},
		{GrepOptions{Pattern: "two", In: "a.txt", CountOnly: true}, []string{"a.txt: 1"}},
		{GrepOptions{Pattern: "[A-Z]wo", In: "/a.txt/", Before: 1, After: 1}, []string{"a.txt-4-four", "a.txt:5:Two", "a.txt-6-six"}},
		{GrepOptions{Pattern: "t[wh]", In: "a.txt", Before: 9, After: 1}, []string{"a.txt-1-one", "a.txt:2:two two", "a.txt:3:three", "a.txt-4-four"}},
		{GrepOptions{Pattern: "t", In: "a.txt", MaxPerFile: 1, After: 1}, []string{"a.txt:2:two two", "a.txt-3-three"}},
		{GrepOptions{Pattern: "kelvin", IgnoreCase: true}, []string{"kelvin.txt:1:300 \u212aelvin twoſome"}},
		{GrepOptions{Pattern: "TWOSOME", IgnoreCase: true}, []string{"kelvin.txt:1:300 \u212aelvin twoſome"}},
		{GrepOptions{Pattern: "two", In: "late.txt"}, []string{"late.txt:2:two"}},
		{GrepOptions{Pattern: "end", In: "late.txt"}, []string{"late.txt:3:end"}},
		{GrepOptions{Pattern: "café"}, []string{"sub/latin.txt:1:café two"}},
		{GrepOptions{Pattern: "two", In: "z"}, []string{"z/cloud.txt: offline"}},
		{GrepOptions{Pattern: "not indexed"}, []string{"fresh.txt:1:two, not indexed yet"}},
		{GrepOptions{Pattern: "", In: "sub/b.go", MaxPerFile: 2}, []string{"sub/b.go:1:func Two() {}", "sub/b.go:2:"}},
		{GrepOptions{Pattern: `\s$`, In: "sub"}, []string{}},
		{GrepOptions{Pattern: `[^a]$`, In: "sub/b.go", FilesOnly: true}, []string{"sub/b.go: 1"}},
	}
	check := func(t *testing.T) {
		for _, tt := range tests {
			if got, _ := grep(t, x, tt.opt); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v:\n got %q\nwant %q", tt.opt, got, tt.want)
			}
		}
		_, stats := grep(t, x, GrepOptions{Pattern: "two"})
		if stats.Possible != 1 || stats.NotSearched != 1 || stats.Matched != 7 || stats.Unplanned {
			t.Errorf("stats %+v, want 1 possible, 1 not searched, 7 matched", stats)
		}
		if _, stats := grep(t, x, GrepOptions{Pattern: `\d\d\d`}); !stats.Unplanned {
			t.Error("a pattern without trigrams was planned")
		}
	}
	t.Run("memory", check)
	flush(t, x)
	t.Run("segment", check)
}

func TestGrepLineDetails(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	feed(t, x, d.put(1, "f", "zero\nfoo foo foo-foo\nend foo"))
	var got []Line
	_, err := x.Grep(context.Background(), GrepOptions{Pattern: "foo", Word: true}, func(m *FileMatches) error {
		got = append(got, m.Lines...)
		return nil
	})
	want := []Line{
		{2, 5, []byte("foo foo foo-foo\n"), [][2]int{{0, 3}, {4, 7}, {8, 11}, {12, 15}}},
		{3, 21, []byte("end foo"), [][2]int{{4, 7}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestBadPatterns(t *testing.T) {
	x := openIndex(t, t.TempDir(), newDrive().options())
	for _, opt := range []GrepOptions{
		{Pattern: "("}, {Pattern: "a\nb"}, {Pattern: `a\nb`}, {Pattern: strings.Repeat("a", maxPattern+1)}, {Pattern: "a{2000}"},
		{Pattern: "a", Globs: []string{"["}}, {Pattern: "a", Globs: []string{"{a"}}, {Pattern: "a", Globs: []string{""}}, {Pattern: "a", Globs: []string{"!"}},
	} {
		if _, err := x.Grep(context.Background(), opt, nil); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%.30q %q: %v, want ErrInvalid", opt.Pattern, opt.Globs, err)
		}
	}
}

func TestGlobs(t *testing.T) {
	tests := []struct {
		globs string
		path  string
		want  bool
	}{
		{"", "a/b.go", true},
		{"*.go", "a/b.go", true},
		{"*.go", "a/b.gox", false},
		{"a/*.go", "a/b.go", true},
		{"a/*.go", "x/a/b.go", false},
		{"/a/*.go", "a/b.go", true},
		{"*/*.go", "a/b/c.go", false},
		{"**/c.go", "a/b/c.go", true},
		{"**/c.go", "c.go", true},
		{"a/**", "a/b/c.go", true},
		{"a/**/c.go", "a/c.go", true},
		{"a/", "a/b/c.go", true},
		{"b/", "a/b/c.go", true},
		{"!b", "a/b/c.go", false},
		{"!b", "a/c.go", true},
		{"!*.go", "a/c.go", false},
		{"*.go !c.go", "a/c.go", false},
		{"!c.go *.go", "a/c.go", true},
		{"*.{go,md}", "x.md", true},
		{"*.{go,md}", "x.mdx", false},
		{"[ab].go", "a.go", true},
		{"[!ab].go", "a.go", false},
		{"[!ab].go", "c.go", true},
		{"[]x].go", "].go", true},
		{"?.go", "ä.go", true},
		{`\*.go`, "*.go", true},
		{`\*.go`, "x.go", false},
		{"a+b.go", "a+b.go", true},
		{"日*", "日記.txt", true},
	}
	for _, tt := range tests {
		gs, err := parseGlobs(strings.Fields(tt.globs))
		if err != nil {
			t.Errorf("%s: %v", tt.globs, err)
		} else if got := gs.match(tt.path); got != tt.want {
			t.Errorf("%s on %s: %v, want %v", tt.globs, tt.path, got, tt.want)
		}
	}
}

// TestGrepAgainstEveryLine compares greps over real source with looking at every line.
func TestGrepAgainstEveryLine(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), Options{Tree: d, Source: d, MemoryBytes: 4 << 20})
	names := goFiles(t, "regexp/syntax", "strings", "text")
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(goRoot(t), name)
		feed(t, x, d.put(i, rel, string(text)))
	}
	opts := []GrepOptions{
		{Pattern: "Regexp"}, {Pattern: "regexp", IgnoreCase: true}, {Pattern: `func \(\w+ \*?Reg`}, {Pattern: `(foo|bar)baz`},
		{Pattern: `err(or)?s?\.New`}, {Pattern: `^type [A-Z]\w+ struct`}, {Pattern: `[Ss]imple(Fold|Case)`}, {Pattern: `a.c`},
		{Pattern: `\bio\.(EOF|Reader)\b`}, {Pattern: "it's", Fixed: true}, {Pattern: "x+y*z?"}, {Pattern: `(?i)sk[a-c]`}, {Pattern: `nothing like this anywhere`},
		{Pattern: "ſ"}, {Pattern: "K", IgnoreCase: true}, {Pattern: "(a|b|)cde"}, {Pattern: "[日本語]"}, {Pattern: "é", IgnoreCase: true}, {Pattern: `return (nil|err)$`},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 { // slices of real lines, which cut through words
		text := d.files[nodeNumber(rng.IntN(len(names)))].text
		line := bytes.Split(text, []byte("\n"))[0]
		if at := rng.IntN(len(text)); at+40 < len(text) {
			line, _, _ = bytes.Cut(text[at:at+8+rng.IntN(12)], []byte("\n"))
		}
		opts = append(opts, GrepOptions{Pattern: strings.ToValidUTF8(string(line), ""), Fixed: true, IgnoreCase: rng.IntN(2) == 0})
	}
	for _, opt := range opts {
		got, _ := grep(t, x, opt)
		if want := everyLine(d, opt); !slices.Equal(got, want) {
			t.Errorf("%+v: got %d lines, want %d", opt, len(got), len(want))
		}
	}
}

// everyLine is grep without an index.
func everyLine(d *drive, opt GrepOptions) []string {
	expr := opt.Pattern
	if opt.Fixed {
		expr = regexp.QuoteMeta(expr)
	}
	if opt.IgnoreCase {
		expr = "(?i)" + expr
	}
	re := regexp.MustCompile(expr)
	var files []*driveFile
	for _, f := range d.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *driveFile) int { return strings.Compare(a.path, b.path) })
	out := []string{}
	for _, f := range files {
		text := strings.TrimSuffix(string(f.text), "\n")
		for i, line := range strings.Split(text, "\n") {
			if re.MatchString(line) && len(f.text) > 0 {
				out = append(out, fmt.Sprintf("%s:%d:%s", f.path, i+1, line))
			}
		}
	}
	return out
}

func TestGrepOfLongFiles(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	long := strings.Repeat("all work and no play\n", MaxText/21+100) + "the needle at the end\n"
	feed(t, x, d.put(1, "long.txt", long))
	feed(t, x, d.put(2, "short.txt", "nothing"))
	flush(t, x)
	got, stats := grep(t, x, GrepOptions{Pattern: "needle"})
	if want := fmt.Sprintf("long.txt:%d:the needle at the end", MaxText/21+101); len(got) != 1 || got[0] != want || stats.Candidates != 1 {
		t.Errorf("got %q of %d candidates, want %q of 1", got, stats.Candidates, want)
	}
}

func TestGrepEnds(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	for n := range 50 {
		feed(t, x, d.put(n, fmt.Sprintf("%02d", n), "common"+strings.Repeat(" ", n)))
	}
	n := 0
	_, err := x.Grep(context.Background(), GrepOptions{Pattern: "common"}, func(*FileMatches) error {
		if n++; n == 3 {
			return io.ErrClosedPipe
		}
		return nil
	})
	if !errors.Is(err, io.ErrClosedPipe) || n != 3 {
		t.Errorf("after %d files: %v, want the error of emit after 3", n, err)
	}
	if got, stats := grep(t, x, GrepOptions{Pattern: "common", MaxFiles: 4, FilesOnly: true}); len(got) != 4 || !stats.Stopped {
		t.Errorf("%d files, stopped %v, want 4 and true", len(got), stats.Stopped)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = x.Grep(ctx, GrepOptions{Pattern: "common"}, func(*FileMatches) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func goRoot(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("GOROOT"), "/usr/local/go", "/usr/lib/go"} {
		if _, err := os.Stat(filepath.Join(dir, "src", "regexp")); dir != "" && err == nil {
			return filepath.Join(dir, "src")
		}
	}
	t.Skip("skipped: the source of the Go library is not on this machine")
	return ""
}

// goFiles lists the Go files below directories of the Go library.
func goFiles(t testing.TB, dirs ...string) []string {
	t.Helper()
	var names []string
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(goRoot(t), dir), func(name string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && filepath.Ext(name) == ".go" {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
