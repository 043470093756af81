package cache

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/dbfs/dbfs"
)

// share lets a draft have chunk i of a content as its chunk at.
func (w *world) share(d *Draft, at int, of dbfs.Content, i int) {
	w.t.Helper()
	_, err := w.c.Hold(of.Ref(i))
	w.check(err)
	if done, err := d.Share(ctx, at, of.Ref(i)); !done || err != nil {
		w.t.Fatalf("chunk %d is not shared: %v", i, err)
	}
}

func TestShareFetchesNothing(t *testing.T) {
	w := newWorld(t, nil)
	data := random(2*dbfs.ChunkSize + 100_000)
	content := w.store.upload(data)
	w.store.setOffline(true)
	d := w.draft(file(2), dbfs.Content{})
	for i := range content.Chunks.All() {
		w.share(d, i, content, i)
	}
	if at, ok := d.NextData(5); at != 5 || !ok {
		t.Errorf("the next data after 5 are at %d, %v", at, ok)
	}
	w.sealed(d, data)
	w.check(d.Close())
	w.unsent(0)
	if n := w.store.count(); n != 0 {
		t.Errorf("%d chunks were asked for", n)
	}
	w.store.setOffline(false)
	w.reads(file(2), data)
}

// What is shared while it is unsent stays, whatever becomes of the file it was in.
func TestSharedOutlivesItsSource(t *testing.T) {
	for _, sealedFirst := range []bool{true, false} {
		w := newWorld(t, nil)
		data := random(2 * dbfs.ChunkSize)
		source := w.make(file(1), data)
		d := w.draft(file(2), dbfs.Content{})
		w.share(d, 0, source, 0)
		w.share(d, 1, source, 1)
		if sealedFirst {
			w.need(w.sealed(d, data))
		} else {
			w.unneed(source)
		}
		w.make(file(1), random(dbfs.ChunkSize)) // over the source
		w.check(w.c.Forget(file(1)))
		if !sealedFirst {
			w.need(w.sealed(d, data))
		}
		w.check(d.Close())
		w.reads(file(2), data)
		w.unsent(int64(len(data)) + dbfs.ChunkSize)
		if freed, err := w.c.Clear(); freed > 0 || err != nil {
			t.Errorf("%d bytes could be evicted, %v", freed, err)
		}
		w.close()
		w.open()
		w.reads(file(2), data)
		w.sent(file(2), contentOf(data))
		w.unsent(dbfs.ChunkSize)
		w.reads(file(2), data)
	}
}

// A draft that is given up lets go of what it shared.
func TestShareDiscarded(t *testing.T) {
	w := newWorld(t, nil)
	source := w.make(file(1), random(dbfs.ChunkSize))
	d := w.draft(file(2), dbfs.Content{})
	w.share(d, 0, source, 0)
	w.unneed(source)
	w.unsent(dbfs.ChunkSize)
	w.check(d.Close())
	w.unsent(0)
}

func TestNotShared(t *testing.T) {
	w := newWorld(t, nil)
	content := w.store.upload(random(2*dbfs.ChunkSize + SmallSize + 1))
	d := w.draft(file(2), dbfs.Content{})
	w.write(d, random(3*dbfs.ChunkSize), 0)
	for what, ref := range map[string]dbfs.ChunkRef{
		"one that would cut the draft's":      content.Ref(2),
		"zeros":                               {ID: dbfs.ZeroChunk, Len: dbfs.ChunkSize},
		"one that is short enough for memory": {ID: content.Chunks.At(0), Len: SmallSize},
	} {
		if done, err := d.Share(ctx, 1, ref); done || err != nil {
			t.Errorf("%s: %v, %v", what, done, err)
		}
	}
	if done, err := d.Share(ctx, dbfs.MaxFileChunks, content.Ref(0)); done || err == nil {
		t.Errorf("beyond what a file may have: %v, %v", done, err)
	}
	w.check(d.Close())
}

// A draft whose chunks are shared, written, zeroed and cut at random has the bytes that it should.
func TestRandomShares(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, nil)
	data := random(2*dbfs.ChunkSize + 200_000)
	remote := w.store.upload(data)
	unsent := random(2*dbfs.ChunkSize + 300_000)
	sources := []struct {
		data    []byte
		content dbfs.Content
	}{{data, remote}, {unsent, w.make(file(1), unsent)}}
	var want []byte
	d := w.draft(file(2), dbfs.Content{})
	for step := range 120 {
		off, n := rng.IntN(12<<20), 1+rng.IntN(5<<20)
		switch rng.IntN(9) {
		case 0:
			p := random(n)
			w.write(d, p, int64(off))
			want = grown(want, off+n)
			copy(want[off:], p)
		case 1:
			w.check(d.Truncate(ctx, int64(off)))
			want = grown(want, off)[:off]
		case 2:
			w.check(d.Zero(ctx, int64(off), int64(n)))
			clear(want[min(off, len(want)):min(off+n, len(want))])
		case 3:
			if w.need(w.sealed(d, want)); rng.IntN(3) == 0 {
				w.check(d.Close())
				d = w.draft(file(2), contentOf(want))
			}
		case 4:
			w.readsAs(d.ReadAt, want)
		default:
			from, i, at := sources[rng.IntN(2)], rng.IntN(3), rng.IntN(3)
			ref := from.content.Ref(i)
			_, err := w.c.Hold(ref)
			w.check(err)
			done, err := d.Share(ctx, at, ref)
			w.check(err)
			if !done {
				w.check(w.c.LetGo(ref))
				continue
			}
			end := at*dbfs.ChunkSize + ref.Len
			want = grown(want, end)
			copy(want[at*dbfs.ChunkSize:], chunkOf(from.data, i))
		}
		if d.Size() != int64(len(want)) {
			t.Fatalf("after step %d the draft has %d bytes, want %d", step, d.Size(), len(want))
		}
	}
	w.readsAs(d.ReadAt, want)
	w.need(w.sealed(d, want))
	w.check(d.Close())
	w.reads(file(2), want)
}

func grown(b []byte, n int) []byte {
	return append(bytes.Clone(b), make([]byte, max(0, n-len(b)))...)
}

// What is shared cannot be promised, for the body has no bytes of it; and what is promised is not given up
// for a chunk that is shared.
func TestSharedOrPromised(t *testing.T) {
	w := newWorld(t, nil)
	content := w.store.upload(random(2 * dbfs.ChunkSize))
	d := w.draft(file(2), dbfs.Content{})
	w.share(d, 0, content, 0)
	w.write(d, random(dbfs.ChunkSize), dbfs.ChunkSize)
	if done, err := d.Promise(file(2), "name"); done || err != nil {
		t.Errorf("promised: %v, %v", done, err)
	}
	w.check(d.Close())

	d = w.draft(file(3), dbfs.Content{})
	want := random(2 * dbfs.ChunkSize)
	w.write(d, want, 0)
	if done, err := d.Promise(file(3), "name"); !done || err != nil {
		t.Errorf("promised: %v, %v", done, err)
	}
	if done, err := d.Share(ctx, 0, content.Ref(0)); done || err != nil {
		t.Errorf("shared: %v, %v", done, err)
	}
	w.sealed(d, want)
	w.check(d.Close())
}
