package index

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// buildMemory makes a memory segment of random contents, each followed by a name, and the
// model: the documents of every key with their positions.
func buildMemory(rng *rand.Rand, lo uint32, docs int) (*memory, map[string]map[uint32][]uint32) {
	m := newMemory(lo)
	model := map[string]map[uint32][]uint32{}
	note := func(key string, doc uint32, positions []uint32) {
		if model[key] == nil {
			model[key] = map[uint32][]uint32{}
		}
		model[key][doc] = positions
	}
	a := newAnalysis()
	for i := range docs {
		text := []byte(randomText(rng))
		a.text(text)
		key := key128{byte(i), byte(i >> 8), byte(lo)}
		doc := m.addContent(key, 0, a)
		note("c"+string(key[:]), doc, nil)
		pos, start := a.byTerm()
		for t := range a.ends {
			note(string(a.key(t)), doc, slices.Clone(pos[start[t]:start[t+1]]))
		}
		for _, tri := range a.tris {
			k := triKey(tri)
			note(string(k[:]), doc, nil)
		}
		n := nameRecord{node: nodeNumber(i), content: key, size: int64(i), mtime: -int64(i), name: fmt.Sprintf("file %d.txt", i)}
		keys := nameKeys(&n)
		name := m.addName(&n, doc, keys)
		for _, k := range keys {
			note(string(k), name, nil)
		}
	}
	return m, model
}

// checkPart compares a part with the model.
func checkPart(t *testing.T, p part, model map[string]map[uint32][]uint32) {
	t.Helper()
	var keys []string
	if err := p.ascend(nil, func(key []byte, l list) error {
		keys = append(keys, string(key))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(keys) {
		t.Error("keys do not ascend")
	}
	for key, docs := range model {
		if _, found := slices.BinarySearch(keys, key); !found && key[0] != 'g' {
			t.Errorf("key %q was not passed", key)
		}
		l, ok, err := p.lookup([]byte(key))
		if err != nil || !ok || int(l.count) != len(docs) {
			t.Fatalf("look up %q: count %d, %v, %v; want %d", key, l.count, ok, err, len(docs))
		}
		checkList(t, key, l, docs)
	}
	for _, key := range []string{"w", "wzzzz", "a", "x", "g\x00\x00\x00"} {
		if _, ok, err := p.lookup([]byte(key)); ok != (model[key] != nil) || err != nil {
			t.Errorf("look up %q: %v, %v", key, ok, err)
		}
	}
	checkRows(t, p)
}

func checkList(t *testing.T, key string, l list, docs map[uint32][]uint32) {
	t.Helper()
	if key[0] != 'w' {
		var c docCursor
		c.open(l, false)
		last := uint32(0)
		for doc, ok := c.next(); ok; doc, ok = c.next() {
			if _, has := docs[doc]; !has || doc <= last {
				t.Fatalf("%q has document %d after %d", key, doc, last)
			}
			last = doc
		}
		if c.err() != nil {
			t.Fatal(c.err())
		}
		return
	}
	var c wordCursor
	c.open(l, false)
	n := 0
	for ; c.next(); n++ {
		if want := docs[c.doc()]; !slices.Equal(c.positions(), want) || int(c.tf()) != len(want) {
			t.Fatalf("%q in document %d: positions %v, want %v", key, c.doc(), c.positions(), want)
		}
	}
	if c.err() != nil || n != len(docs) {
		t.Fatalf("%q: %d documents, %v; want %d", key, n, c.err(), len(docs))
	}
}

func checkRows(t *testing.T, p part) {
	t.Helper()
	lo, hi := p.bounds()
	seen := 0
	walk := livePart{part: p}.walk()
	for doc := lo; doc <= hi+1; doc++ {
		r, i, ok, err := p.row(doc)
		if err != nil {
			t.Fatal(err)
		}
		w, j, live, err := walk.find(doc)
		if err != nil || live != ok || w != r || ok && j != i {
			t.Fatalf("document %d: row %+v (%v), walk %+v (%v), %v", doc, r, ok, w, live, err)
		}
		if !ok {
			continue
		}
		at, err := p.rowAt(i)
		if err != nil || at != r || i != seen || r.doc != doc {
			t.Fatalf("document %d: row %+v at %d, %+v by ordinal, %v", doc, r, i, at, err)
		}
		seen++
		if r.is(isName) {
			n, err := livePart{part: p}.name(r)
			if err != nil || n.mtime != -n.size || n.name != fmt.Sprintf("file %d.txt", n.size) {
				t.Fatalf("document %d: record %+v, %v", doc, n, err)
			}
		}
	}
	if seen != p.size() {
		t.Errorf("%d rows of %d", seen, p.size())
	}
}

// TestParts runs one suite over a memory segment, the segment it becomes, and a merged one.
func TestParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m, model := buildMemory(rng, 1000, 400)
	cache := NewCache(64 << 10)
	t.Run("memory", func(t *testing.T) { checkPart(t, m.view(), model) })
	t.Run("empty", func(t *testing.T) { checkPart(t, newMemory(5).view(), nil) })

	write := func(t *testing.T, inputs ...mergeInput) *segment {
		name := filepath.Join(t.TempDir(), "x.seg")
		if err := writeSegment(context.Background(), name, inputs); err != nil {
			t.Fatal(err)
		}
		s, err := openSegment(name, cache)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.release)
		return s
	}
	first := write(t, mergeInput{memorySource{m.view()}, nil})
	t.Run("segment", func(t *testing.T) { checkPart(t, first, model) })

	t.Run("merged", func(t *testing.T) {
		_, hi := m.view().bounds()
		m2, model2 := buildMemory(rng, hi, 300)
		second := write(t, mergeInput{memorySource{m2.view()}, nil})
		var drop, drop2 *dead
		for range 200 {
			drop, drop2 = drop.with(rng.IntN(800)), drop2.with(rng.IntN(600))
		}
		merged := write(t, mergeInput{first, drop}, mergeInput{second, drop2})
		want := map[string]map[uint32][]uint32{}
		for _, in := range []struct {
			model map[string]map[uint32][]uint32
			lo    uint32
			drop  *dead
		}{{model, 1000, drop}, {model2, hi, drop2}} {
			for key, docs := range in.model {
				for doc, positions := range docs {
					if !in.drop.has(int(doc - in.lo - 1)) {
						if want[key] == nil {
							want[key] = map[uint32][]uint32{}
						}
						want[key][doc] = positions
					}
				}
			}
		}
		if merged.size() != 1400-drop.len()-drop2.len() {
			t.Errorf("%d documents of 1400 without %d and %d", merged.size(), drop.len(), drop2.len())
		}
		checkPart(t, merged, want)
	})
}

// TestSegmentDamage flips every 97th byte of a segment: opening it or reading all of it
// says so.
func TestSegmentDamage(t *testing.T) {
	m, _ := buildMemory(rand.New(rand.NewPCG(3, 4)), 0, 30)
	dir := t.TempDir()
	name := filepath.Join(dir, "x.seg")
	if err := writeSegment(context.Background(), name, []mergeInput{{memorySource{m.view()}, nil}}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := readAll(name); err != nil {
		t.Fatalf("undamaged: %v", err)
	}
	for i := 0; i < len(good); i += 97 {
		bad := bytes.Clone(good)
		bad[i] ^= 4
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readAll(name); !unusable(err) {
			t.Fatalf("byte %d of %d flipped: %v", i, len(good), err)
		}
	}
}

// readAll opens a segment and reads everything in it.
func readAll(name string) error {
	s, err := openSegment(name, NewCache(0))
	if err != nil {
		return err
	}
	defer s.release()
	return readPart(s)
}

func readPart(s *segment) error {
	err := s.terms(func(_ []byte, docs docFeed) error { return docs(func(uint32, []uint32) {}) })
	if err != nil {
		return err
	}
	for i := range s.size() {
		r, err := s.rowAt(i)
		if err != nil {
			return err
		}
		if _, err := recordOf(s, r); err != nil {
			return err
		}
	}
	return nil
}

func TestRice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prev := rapid.Uint32Max(1<<31).Draw(t, "prev")
		var docs []uint32
		doc := uint64(prev)
		for _, gap := range rapid.SliceOfN(rapid.OneOf(rapid.Uint32Range(1, 3), rapid.Uint32Range(1, 1<<24)), 1, blockDocs).Draw(t, "gaps") {
			if doc += uint64(gap); doc < 1<<32 {
				docs = append(docs, uint32(doc))
			}
		}
		if len(docs) == 0 {
			return
		}
		b := appendRice(nil, prev, docs)
		got := make([]uint32, len(docs))
		if !riceDecode(b, prev, got) || !slices.Equal(got, docs) {
			t.Fatalf("got %v, want %v", got, docs)
		}
		if riceDecode(b[:1], prev, got) {
			t.Fatal("decoded from nothing")
		}
	})
}

func TestSeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 5000), 1, 700, rapid.ID[uint32]).Draw(t, "docs")
		slices.Sort(docs)
		targets := rapid.SliceOfN(rapid.Uint32Range(1, 5100), 1, 40).Draw(t, "targets")
		slices.Sort(targets)
		var w listWriter
		encode := func(words bool) list {
			w.begin(0, words)
			for _, doc := range docs {
				w.add(doc, []uint32{doc})
			}
			b, size := w.end()
			return list{count: uint32(len(docs)), size: size, inline: slices.Clone(b)}
		}
		var c wordCursor
		c.open(encode(true), false)
		var d docCursor
		d.open(encode(false), false)
		passed := 0 // by d, which returns each document once
		for _, target := range targets {
			i := lowerBound(docs, target)
			if ok := c.seek(target); ok != (i < len(docs)) || ok && (c.doc() != docs[i] || c.positions()[0] != docs[i]) {
				t.Fatalf("words: seek %d: %v", target, ok)
			}
			i = max(i, passed)
			got, ok := d.seek(target)
			if ok != (i < len(docs)) || ok && got != docs[i] {
				t.Fatalf("documents: seek %d: %d, %v", target, got, ok)
			}
			passed = i + 1
		}
	})
}

func FuzzSegment(f *testing.F) {
	m, _ := buildMemory(rand.New(rand.NewPCG(3, 4)), 0, 3)
	name := filepath.Join(f.TempDir(), "x.seg")
	if err := writeSegment(context.Background(), name, []mergeInput{{memorySource{m.view()}, nil}}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "x.seg")
		// The checksums are made right, so that the fuzzer gets past them.
		if err := os.WriteFile(name, resum(b), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSegment(name, NewCache(0))
		if err != nil {
			return
		}
		defer s.release()
		readPart(s)
		s.row(7)
		s.lookup([]byte("walpha"))
		s.ascend([]byte("n"), func([]byte, list) error { return nil })
	})
}
