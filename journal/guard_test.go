package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func TestBudget(t *testing.T) {
	b := Budget{Window: 10 * time.Minute, Count: 500, Share: 50, Max: 3000, Bytes: 100 << 30}
	for _, c := range []struct {
		what  string
		n     int
		bytes int64
		size  int
		want  bool
	}{
		{"nothing", 0, 0, 1000, false},
		{"all of a small namespace", 500, 1 << 20, 500, false},
		{"all of a larger one", 501, 1 << 20, 501, true},
		{"half of it", 501, 1 << 20, 1002, false},
		{"more than half of it", 502, 1 << 20, 1002, true},
		{"a folder of a large one", 2900, 1 << 30, 100_000, false},
		{"thousands, whatever their share", 3001, 1 << 30, 10_000_000, true},
		{"nobody has counted", 2000, 1 << 30, 0, false},
		{"few, and large", 20, 100<<30 + 1, 1_000_000, true},
		{"few, and not that large", 20, 100 << 30, 1_000_000, false},
	} {
		if got := b.exceeded(c.n, c.bytes, c.size); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestGuardCountsWithinItsWindow(t *testing.T) {
	at := func(name string, s int) harm {
		return harm{at: place{name: name}, what: HarmDelete, bytes: 10, time: int64(s) * int64(time.Second)}
	}
	for _, c := range []struct {
		what  string
		harms []harm
		want  bool // of the last
	}{
		{"three are allowed", []harm{at("a", 0), at("b", 1), at("c", 2)}, false},
		{"four are not", []harm{at("a", 0), at("b", 1), at("c", 2), at("d", 3)}, true},
		{"the first is long ago", []harm{at("a", 0), at("b", 50), at("c", 60), at("d", 61)}, false},
		{"one name again and again", []harm{at("a", 0), at("a", 1), at("a", 2), at("a", 3), at("a", 4)}, false},
		{"a clock that was turned back", []harm{at("a", 90), at("b", 1), at("c", 2), at("d", 3)}, true},
	} {
		g := newGuard(Budget{Window: time.Minute, Count: 3, Share: 1, Max: 3, Bytes: 1000})
		got := false
		for _, h := range c.harms {
			got = g.step(h)
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	g := newGuard(Budget{Window: time.Minute, Count: 3, Share: 1, Max: 3, Bytes: 1000})
	for i := range 100 {
		g.step(at(fmt.Sprint(i), i))
	}
	if len(g.queue) != len(g.known) || len(g.queue) > 61 || g.bytes != 10*int64(len(g.queue)) {
		t.Errorf("it remembers %d of a minute, %d names, %d bytes", len(g.queue), len(g.known), g.bytes)
	}
}

// A hole is nothing that could be lost.
func TestHarmWithoutHoles(t *testing.T) {
	n := dbfs.Node{Name: "image", Kind: dbfs.KindFile, Content: dbfs.Content{Size: 2*dbfs.ChunkSize + 5, Chunks: dbfs.Blocks(dbfs.ZeroChunk, dbfs.ZeroChunk, dbfs.ChunkID{1})}}
	if h := deletes(&n, 1); h.bytes != 5 {
		t.Errorf("deleting it destroys %d bytes, want 5", h.bytes)
	}
	changed := n
	changed.Content = dbfs.Content{Size: 1, Chunks: dbfs.Blocks(dbfs.ChunkID{2})}
	if h, ok := harmOfEntry(&dbfs.Entry{Node: changed}, &n); !ok || h.bytes != 5 {
		t.Errorf("overwriting it destroys %d bytes, %v, want 5", h.bytes, ok)
	}
}

func TestWhatIsOverwritten(t *testing.T) {
	chunks := func(size int64, ids ...byte) dbfs.Content {
		var all []dbfs.ChunkID
		for _, id := range ids {
			all = append(all, dbfs.ChunkID{id})
		}
		return dbfs.Content{Size: size, Chunks: dbfs.Blocks(all...)}
	}
	const m = dbfs.ChunkSize
	for _, c := range []struct {
		what     string
		was, now dbfs.Content
		want     bool
	}{
		{"an empty file", dbfs.Content{}, chunks(3, 1), false},
		{"the same bytes", chunks(3, 1), chunks(3, 1), false},
		{"other bytes", chunks(3, 1), chunks(3, 2), true},
		{"truncated", chunks(3, 1), dbfs.Content{}, true},
		{"grown by a chunk", chunks(m, 1), chunks(m+5, 1, 2), false},
		{"grown, and changed before", chunks(m, 1), chunks(m+5, 3, 2), true},
		{"shorter by a chunk", chunks(2*m, 1, 2), chunks(m, 1), true},
	} {
		if got := overwrites(c.was, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
