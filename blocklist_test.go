package dbfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A Blocklist is what a map of its chunks is, by every way of looking at it and after every edit; and it is
// the same again when it was written down and read.
func TestBlocklistLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(longList-2, longList+3), rapid.IntRange(0, MaxFileChunks))
		model, n, l := map[int]ChunkID{}, 0, Blocklist{}
		for range rapid.IntRange(1, 6).Draw(t, "edits") {
			n = length.Draw(t, "n")
			changed := make(map[int]ChunkID)
			for range rapid.IntRange(0, 8).Draw(t, "changes") {
				near := rapid.IntRange(0, 10)
				at := rapid.OneOf(near, rapid.IntRange(0, MaxFileChunks), rapid.Map(near, func(i int) int { return n - i })).Draw(t, "at")
				changed[at] = ChunkID{rapid.ByteRange(0, 3).Draw(t, "id")}
			}
			maps.DeleteFunc(changed, func(i int, _ ChunkID) bool { return i < 0 })
			before := slices.Clone(l.IDs())
			next := l.Edit(n, changed)
			if !slices.Equal(before, l.IDs()) {
				t.Fatal("an edit changed the list that it was made of")
			}
			l = next
			maps.Copy(model, changed)
			maps.DeleteFunc(model, func(i int, id ChunkID) bool { return i >= n || id == ZeroChunk })
			checkBlocklist(t, l, n, model)
		}
		if n <= 2*longList {
			ids := make([]ChunkID, n)
			for i, id := range model {
				ids[i] = id
			}
			if m := Blocks(ids...); !m.Equal(l) {
				t.Fatalf("made at once it is %v, not %v", m, l)
			}
		}
		tail := []byte("tail")
		b := l.Append(nil)
		if len(b) > l.Bytes() {
			t.Fatalf("written down it has %d bytes, which are to be %d at most", len(b), l.Bytes())
		}
		m, rest, err := CutBlocklist(append(b, tail...), n)
		if err != nil || !m.Equal(l) || !bytes.Equal(rest, tail) {
			t.Fatalf("read again it is %v, then %q: %v", m, rest, err)
		}
		b, err = json.Marshal(Content{Chunks: l})
		var c Content
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil || !c.Chunks.Equal(l) {
			t.Fatalf("as JSON it comes back as %v: %v", c.Chunks, err)
		}
	})
}

func checkBlocklist(t *rapid.T, l Blocklist, n int, model map[int]ChunkID) {
	got := maps.Collect(l.All())
	if l.Len() != n || !maps.Equal(got, model) || len(l.IDs()) != len(model) {
		t.Fatalf("%d chunks %v, want %d: %v", l.Len(), got, n, model)
	}
	places := slices.Sorted(maps.Keys(model))
	for k, i := range places {
		if l.At(i) != model[i] || l.IDs()[k] != model[i] {
			t.Fatalf("chunk %d is %s and %s, want %s", i, l.At(i), l.IDs()[k], model[i])
		}
		if at := l.Index(model[i]); model[at] != model[i] || at > i {
			t.Fatalf("a chunk as at %d is found at %d", i, at)
		}
		for _, from := range []int{i - 1, i, i + 1} {
			want := slices.DeleteFunc(slices.Clone(places), func(p int) bool { return p < from })
			if got := slices.Sorted(maps.Keys(maps.Collect(l.From(from)))); !slices.Equal(got, want) {
				t.Fatalf("from %d on there are chunks at %v, want %v", from, got, want)
			}
		}
	}
	for _, i := range []int{-1, n, n + 1, MaxFileChunks} {
		if l.At(i) != ZeroChunk {
			t.Fatalf("of %d chunks, chunk %d is %s", n, i, l.At(i))
		}
	}
	if l.Index(ChunkID{77}) != -1 {
		t.Fatal("a chunk is found that is not in the list")
	}
}

// FuzzCutBlocklist: hostile bytes are refused, or are a list that is written down as them.
func FuzzCutBlocklist(f *testing.F) {
	sparse := Blocklist{}.Edit(MaxFileChunks, map[int]ChunkID{3: {1}, 5000: {2}, MaxFileChunks - 1: {3}})
	f.Add(sparse.Append(nil), MaxFileChunks)
	f.Add(Blocks(ChunkID{1}, ZeroChunk, ChunkID{2}).Append(nil), 3)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, longList+1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		l, _, err := CutBlocklist(b, n)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if l.Len() != n || len(l.IDs()) > MaxChunks {
			t.Fatalf("%d chunks of %d, %d of them not zeros", l.Len(), n, len(l.IDs()))
		}
		m, none, err := CutBlocklist(l.Append(nil), n)
		if err != nil || !m.Equal(l) || len(none) > 0 {
			t.Fatalf("%v: written down and read it is %v: %v", l, m, err)
		}
	})
}

func TestHostileBlocklistInJSON(t *testing.T) {
	id := `"` + ChunkID{1}.String() + `"`
	for _, text := range []string{
		`{"n":3,"at":[0],"ids":[` + id + `]}`, `{"n":5000,"at":[0],"ids":[]}`, `{"n":5000,"at":[1,1],"ids":[` + id + `,` + id + `]}`,
		`{"n":5000,"at":[2,1],"ids":[` + id + `,` + id + `]}`, `{"n":5000,"at":[5000],"ids":[` + id + `]}`,
		`{"n":5000,"at":[-1],"ids":[` + id + `]}`, `{"n":99999999,"at":[],"ids":[]}`, `{"n":5000,"at":[1],"ids":["` + ZeroChunk.String() + `"]}`, `"x"`, `7`,
	} {
		var l Blocklist
		if err := json.Unmarshal([]byte(text), &l); err == nil {
			t.Errorf("%s is %v", text, l)
		}
	}
}
