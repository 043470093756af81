package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dbfs/dbfs"
)

func TestTokens(t *testing.T) {
	tests := []struct {
		text string
		want string // term@position
	}{
		{"Hello, wörld!", "hello@0 world@1"},
		{"parseHTTPRequest", "parsehttprequest@0 parse@0 http@0 request@0"},
		{"foo_bar __init__ _ ___", "foo_bar@0 foo@0 bar@0 init@1"},
		{"foo_foo", "foo_foo@0 foo@0 foo@0"},
		{"utf8 3.14 x2Y", "utf8@0 3@1 14@2 x2y@3 x2@3 y@3"},
		{"don't", "don@0 t@1"},
		{"ﬁne Å ½", "fine@0 a@1"},
		{"ÉcoleNormale", "ecolenormale@0 ecole@0 normale@0"},
		{"straßen_bahn", "straßen_bahn@0 straßen@0 bahn@0"},
		{"日本語 abc", "日本@0 本語@1 語@2 abc@3"},
		{"abc日本", "abc@0 日本@1 本@2"},
		{"\xff\xfea\xe4b", "a@0 b@1"},
		{strings.Repeat("a", 100), strings.Repeat("a", maxTerm) + "@0"},
		{"e\u0301te\u0301", "ete@0"},
		{"", ""},
	}
	for _, tt := range tests {
		var got []string
		tok := tokenizer{parts: true, emit: func(t token) { got = append(got, fmt.Sprintf("%s@%d", t.term, t.pos)) }}
		tok.run([]byte(tt.text))
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: got %s, want %s", tt.text, s, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	head := strings.Repeat("é", headSize/2-1) + "x" // the last character of the head is cut in two
	tests := []struct {
		raw, want string
		ok        bool
	}{
		{"", "", true},
		{"plain", "plain", true},
		{"\xef\xbb\xbfmarked", "marked", true},
		{"\xff\xfea\x00\xe9\x00", "aé", true},
		{"\xfe\xff\x00a\x00\xe9", "aé", true},
		{"caf\xe9", "café", true},
		{"PK\x00\x01", "", false},
		{head + "éé", head + "éé", true},
		{strings.Repeat("a", headSize) + "b\x00c", strings.Repeat("a", headSize) + "b", true},
	}
	for _, tt := range tests {
		got, ok := Decode([]byte(tt.raw))
		if string(got) != tt.want || ok != tt.ok || IsText([]byte(tt.raw)) != tt.ok {
			t.Errorf("%.20q: %.20q, %v; want %.20q, %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSnippets(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	far := strings.Repeat("filler words here\n", 50)
	feed(t, x, d.put(1, "a.txt", "apple alone\n"+far+"here is apple and banana together, é\n"+far+"banana alone"))
	feed(t, x, d.put(2, "apple banana.txt", "nothing of it"))
	cloud := d.put(3, "c.txt", "apple banana")
	feed(t, x, cloud)
	d.files[nodeNumber(3)].offline = true
	res, err := x.Search(context.Background(), "apple ban*", SearchOptions{Snippets: true})
	if err != nil || res.Total != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	snippets := map[string]*Snippet{}
	for _, h := range res.Hits {
		snippets[h.Path] = h.Snippet
	}
	s := snippets["a.txt"]
	if s == nil || s.Line != 52 || s.Offset != int64(12+len(far)) || s.Text != "here is apple and banana together, é" {
		t.Fatalf("snippet %+v", s)
	}
	if want := [][2]int{{8, 13}, {18, 24}}; !reflect.DeepEqual(s.Highlights, want) {
		t.Errorf("highlights %v, want %v", s.Highlights, want)
	}
	if snippets["apple banana.txt"] != nil || snippets["c.txt"] != nil {
		t.Errorf("snippets %v: want none where the text has no match or is not here", snippets)
	}
}

func TestRanking(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	feed(t, x, d.put(1, "once.txt", "kiwi "+strings.Repeat("other words ", 50)))
	feed(t, x, d.put(2, "often.txt", "kiwi kiwi kiwi fruit"))
	feed(t, x, d.put(3, "kiwi.txt", "it stands in the name, and kiwi in the text"))
	feed(t, x, d.put(4, "my kiwi.txt", "it stands in the name, and kiwi in the text as well"))
	for n := 5; n < 30; n++ {
		feed(t, x, d.put(n, fmt.Sprint(n), fmt.Sprint("something else ", n)))
	}
	res, err := x.Search(context.Background(), "kiwi", SearchOptions{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range res.Hits {
		got = append(got, h.Path)
	}
	if len(got) != 3 || got[0] != "kiwi.txt" || slices.Contains(got, "once.txt") || res.Total != 4 {
		t.Errorf("got %q of %d, want kiwi.txt first, and not once.txt, of 4", got, res.Total)
	}
	both := Merge(2, Result{Hits: []Hit{{Path: "b", Score: 2}, {Path: "c", Score: 1}}, Total: 5}, Result{Hits: []Hit{{Path: "a", Score: 2}}, Total: 1})
	if len(both.Hits) != 2 || both.Hits[0].Path != "a" || both.Hits[1].Path != "b" || both.Total != 6 {
		t.Errorf("merged: %+v", both)
	}
}

// TestRenameTouchesNoPosting counts documents: a rename makes a name and ends one.
func TestRenameTouchesNoPosting(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	f := d.put(1, "old.txt", "some words")
	feed(t, x, f)
	before := x.Stats()
	f.Name, f.Text = "new.txt", nil
	d.files[f.Node].path = "new.txt"
	feed(t, x, f)
	copied := d.put(2, "copy.txt", "some words")
	copied.Text = nil
	feed(t, x, copied)
	after := x.Stats()
	if after.Contents != before.Contents || after.Tokens != before.Tokens || after.Names != before.Names+1 {
		t.Errorf("before %+v, after %+v: want no new content", before, after)
	}
	if got := paths(t, x, "words"); !slices.Equal(got, []string{"copy.txt", "new.txt"}) {
		t.Errorf("found %q", got)
	}
	if err := x.Update(f); err != nil || x.Stats() != after {
		t.Errorf("an update of nothing: %v, %+v", err, x.Stats())
	}
}

// TestTextArrivesLater feeds a name first; whoever brings the text makes it found.
func TestTextArrivesLater(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	first, second := d.put(1, "first", "shared text"), d.put(2, "second", "shared text")
	first.Text = nil
	feed(t, x, first)
	flush(t, x)
	if has, err := x.HasContent(first.Content); has || err != nil {
		t.Errorf("has the content before it came: %v, %v", has, err)
	}
	feed(t, x, second)
	if got := paths(t, x, "shared"); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("found %q, want both", got)
	}
	if err := x.Remove(d.remove(2)); err != nil {
		t.Fatal(err)
	}
	if got := paths(t, x, "shared"); !slices.Equal(got, []string{"first"}) {
		t.Errorf("found %q after one is gone", got)
	}
	if err := x.Remove(d.remove(1)); err != nil {
		t.Fatal(err)
	}
	if has, err := x.HasContent(first.Content); has || err != nil {
		t.Errorf("has the content after both are gone: %v, %v", has, err)
	}
}

// TestEverythingAtOnce feeds, searches, greps and flushes together. One file changes its
// name all the time and must be found by every search.
func TestEverythingAtOnce(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), Options{Tree: d, Source: d, MemoryBytes: 300 << 10})
	constant := d.put(9999, "constant", "always here")
	feed(t, x, constant)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := paths(t, x, `"always here"`); len(got) != 1 {
					t.Errorf("found %q, want the constant file", got)
					return
				}
				query, _ := randomQuery(rng, 3)
				paths(t, x, query)
				grep(t, x, GrepOptions{Pattern: randomWords(rng, 1, "")})
			}
		})
	}
	rng := rand.New(rand.NewPCG(8, 8))
	for n := range 1500 {
		f := d.put(rng.IntN(scriptNodes), randomName(rng), randomText(rng))
		feed(t, x, f)
		constant.Name = fmt.Sprint("constant ", n)
		feed(t, x, constant)
		if n%100 == 0 {
			flush(t, x)
		}
	}
	close(done)
	readers.Wait()
}

func TestSweepAndHas(t *testing.T) {
	d := newDrive()
	x := openIndex(t, t.TempDir(), d.options())
	f := d.put(1, "keep", "one")
	feed(t, x, f)
	feed(t, x, d.put(2, "drop", "two"))
	if has, err := x.Has(f); !has || err != nil {
		t.Errorf("has: %v, %v", has, err)
	}
	f.MTime++
	if has, err := x.Has(f); has || err != nil {
		t.Errorf("has another time: %v, %v", has, err)
	}
	n, err := x.Sweep(context.Background(), func(id dbfs.NodeID) bool { return id == nodeNumber(1) })
	if n != 1 || err != nil || len(paths(t, x, "one OR two")) != 1 {
		t.Errorf("swept %d, %v", n, err)
	}
	if err := x.Remove(nodeNumber(77)); err != nil {
		t.Errorf("remove of a stranger: %v", err)
	}
}

// Names that lead nowhere any more are not counted, in memory, on their way to the disk, or there.
func TestStatsCountWhatIsThere(t *testing.T) {
	d := newDrive()
	dir := t.TempDir()
	x := openIndex(t, dir, d.options())
	f, g := d.put(1, "f.txt", "some words"), d.put(2, "g.txt", "others")
	feed(t, x, f)
	feed(t, x, g)
	want := func(when string) {
		t.Helper()
		if got := x.Stats().Names; got != 2 {
			t.Errorf("%s: %d names, want 2", when, got)
		}
	}
	for i := range 5 {
		f = d.put(1, "f.txt", fmt.Sprint("words ", i))
		feed(t, x, f)
		want("overwritten in memory")
		if i == 2 {
			if err := x.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			want("flushed")
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = openIndex(t, dir, d.options())
	want("opened again")
	if err := x.Remove(g.Node); err != nil {
		t.Fatal(err)
	}
	if got := x.Stats().Names; got != 1 {
		t.Errorf("after a removal: %d names, want 1", got)
	}
}
