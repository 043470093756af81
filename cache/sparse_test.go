package cache

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dbfs/dbfs"
)

const far = dbfs.MaxFileSize

// The largest file there is, with bytes at few places: they are there after a seal, another start, a change and a cut,
// and where there are bytes is found without going through all that there is not.
func TestLargestFile(t *testing.T) {
	w := newWorld(t, nil)
	model := map[int64][]byte{0: []byte("first"), 5<<40 + 3: []byte("between"), far - 4: []byte("last")}
	d := w.draft(file(1), dbfs.Content{})
	w.check(d.Truncate(ctx, far))
	for off, p := range model {
		w.write(d, p, off)
	}
	w.sparse(d, model)
	c := w.seal(d)
	if len(c.Chunks.IDs()) != len(model) || c.Check() != nil {
		t.Fatalf("%d chunks with bytes: %v", len(c.Chunks.IDs()), c.Check())
	}
	w.need(c)
	w.check(d.Close())
	w.close()
	w.open()
	w.sparseContent(file(1), c, model)

	w.sent(file(1), c)
	d = w.draft(file(1), c)
	more := []byte("changed later")
	w.write(d, more, 5<<40+3)
	model[5<<40+3] = more
	w.write(d, more, 9<<40)
	model[9<<40] = more
	w.sparse(d, model)
	w.check(d.Zero(ctx, 0, 1<<40))
	delete(model, 0)
	w.check(d.Truncate(ctx, 10<<40))
	delete(model, far-4)
	w.check(d.Truncate(ctx, far))
	w.sparse(d, model)
	c = w.seal(d)
	w.need(c)
	w.check(d.Close())
	w.sparseContent(file(1), c, model)
}

// sparse compares the draft with what is in it, at each place with zeros around.
func (w *world) sparse(d *Draft, model map[int64][]byte) {
	w.t.Helper()
	w.places(d.NextData, d.NextHole, model)
	for off, p := range model {
		got := make([]byte, len(p)+20)
		n, err := d.ReadAt(ctx, got, max(off-10, 0))
		w.same(off, p, got[:n], err)
	}
}

func (w *world) sparseContent(f File, c dbfs.Content, model map[int64][]byte) {
	w.t.Helper()
	h, err := w.c.Open(f, c)
	w.check(err)
	for off, p := range model {
		got := make([]byte, len(p)+20)
		n, err := h.ReadAt(ctx, got, max(off-10, 0))
		w.same(off, p, got[:n], err)
	}
	w.check(h.Close())
	w.places(func(off int64) (int64, bool) { return NextData(c, off) }, func(off int64) (int64, bool) { return NextHole(c, off) }, model)
}

func (w *world) same(off int64, p, got []byte, err error) {
	w.t.Helper()
	before := int(min(off, 10))
	want := append(make([]byte, before), p...)
	want = append(want, make([]byte, min(len(p)+20, int(min(far-off, 1<<20))+before)-len(want))...)
	if err != nil && err != io.EOF || !bytes.Equal(got, want) {
		w.t.Errorf("at %d: %q, %v, want %q", off, got, err, want)
	}
}

// places wants data at the places of the model, holes between them, and an end.
func (w *world) places(data, hole func(int64) (int64, bool), model map[int64][]byte) {
	w.t.Helper()
	off := int64(0)
	for _, place := range slices.Sorted(maps.Keys(model)) {
		at, ok := data(off)
		if !ok || at > place || place-at >= dbfs.ChunkSize {
			w.t.Errorf("from %d on there is data at %d, %v, want %d", off, at, ok, place)
		}
		off, ok = hole(place)
		if want := min(place/dbfs.ChunkSize*dbfs.ChunkSize+dbfs.ChunkSize, far); !ok || off <= place || off > want {
			w.t.Errorf("the data at %d ends at %d, %v", place, off, ok)
		}
	}
	if at, ok := data(off); ok {
		w.t.Errorf("after all data there is some at %d", at)
	}
}

// A sparse file has a limit of chunks with bytes in them. What goes beyond is refused by the write, and what was
// written before is as it was.
func TestMostData(t *testing.T) {
	w := newWorld(t, nil)
	const left = 5
	first := rand.IntN(dbfs.MaxFileChunks - 2*dbfs.MaxChunks)
	at := func(i int) int64 { return int64(first+i) * dbfs.ChunkSize }
	ids := make(map[int]dbfs.ChunkID)
	for i := range dbfs.MaxChunks - left {
		ids[first+i] = dbfs.ChunkID{1, byte(i), byte(i >> 8)}
	}
	d := w.draft(file(1), dbfs.Content{Size: far, Chunks: dbfs.Blocklist{}.Edit(dbfs.MaxFileChunks, ids)})
	for i := range left {
		w.write(d, []byte{byte(i)}, at(dbfs.MaxChunks+2*i))
	}
	tooMuch := func(off int64) {
		t.Helper()
		if _, err := d.WriteAt(ctx, []byte{1}, off); !errors.Is(err, dbfs.ErrTooLarge) {
			t.Errorf("one more at %d: %v, want ErrTooLarge", off, err)
		}
	}
	tooMuch(at(dbfs.MaxChunks + 1))
	tooMuch(at(-1))
	w.write(d, []byte{77}, at(dbfs.MaxChunks)) // no chunk more
	w.write(d, make([]byte, dbfs.ChunkSize), at(0))
	w.check(d.Truncate(ctx, at(dbfs.MaxChunks+1)))
	for i := range left - 1 {
		w.write(d, []byte{1}, at(-1-i))
	}
	tooMuch(at(-left))
	w.check(d.Truncate(ctx, at(0)))
	w.check(d.Zero(ctx, 0, at(-1)))
	w.check(d.Truncate(ctx, far))
	c := w.seal(d)
	if len(c.Chunks.IDs()) != 1 || c.Check() != nil {
		t.Errorf("%d chunks with bytes, want 1: %v", len(c.Chunks.IDs()), c.Check())
	}
	w.need(c)
	w.check(d.Close())
	w.sparseContent(file(1), c, map[int64][]byte{at(-1): {1}})
}

// Bitmaps of few chunks far from each other are written down in few bytes.
func TestLongBitmap(t *testing.T) {
	for range 200 {
		var m bitmap
		for range rand.IntN(9) {
			m.set(rand.IntN([]int{10, dbfs.MaxChunks, dbfs.MaxChunks + 64, dbfs.MaxFileChunks}[rand.IntN(4)]))
		}
		b := m.append(nil)
		if len(b) > 2+max(dbfs.MaxChunks/8, 4+12*9) {
			t.Errorf("%d bytes", len(b))
		}
		got, rest, err := cutBitmap("test", append(b, "rest"...))
		if err != nil || string(rest) != "rest" || !slices.Equal(slices.Collect(got.all()), slices.Collect(m.all())) {
			t.Fatalf("%v came back as %v, %q, %v", m, got, rest, err)
		}
		for i := range 100 {
			from := i * rand.IntN(dbfs.MaxFileChunks/100)
			want := -1
			for k := range m.all() {
				if k >= from {
					want = k
					break
				}
			}
			if k, ok := m.next(from); ok != (want >= 0) || ok && k != want {
				t.Fatalf("from %d on %d, %v, want %d", from, k, ok, want)
			}
		}
	}
}
