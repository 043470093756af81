package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// What a damaged cache may do is fetch again, or say ErrCorrupt: never return other bytes.
func TestDamagedBody(t *testing.T) {
	damage := map[string]func(name string) error{
		"a bit":     func(name string) error { return overwrite(name, dbfs.ChunkSize+17, []byte("x")) },
		"cut short": func(name string) error { return os.Truncate(name, dbfs.ChunkSize+17) },
		"emptied":   func(name string) error { return os.Truncate(name, 0) },
		"removed":   os.Remove,
	}
	for what, damage := range damage {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, nil)
			theirs, mine := random(2*dbfs.ChunkSize+5), random(2*dbfs.ChunkSize+5)
			w.store.upload(theirs)
			w.reads(file(1), theirs)
			c := w.make(file(2), mine)
			w.close()
			w.check(damage((&home{dir: w.opts.Cache}).bodyFile(file(1))))
			w.check(damage((&home{dir: w.opts.State}).bodyFile(file(2))))
			w.open()
			w.reads(file(1), theirs)
			if _, err := w.c.Chunk(ctx, file(2), 1, c.Ref(1)); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("unsent chunk: %v", err)
			}
			b, err := w.c.Open(file(2), c)
			if err == nil {
				_, err = b.ReadAt(ctx, make([]byte, 10), dbfs.ChunkSize+10)
				b.Close()
			}
			if !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("unsent body: %v", err)
			}
		})
	}
}

func overwrite(name string, off int64, p []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	return errors.Join(err, f.Close())
}

func TestDamagedRecords(t *testing.T) {
	small, large := random(100), random(dbfs.ChunkSize+5)
	for what, keys := range map[string]struct{ clean, unsent []byte }{
		"content": {contentKey(file(1)), contentKey(file(3))},
		"parts":   {partsKey(file(1)), partsKey(file(3))},
		"value":   {valueKey(contentOf(small).Chunks.At(0)), nil},
		"loose":   {looseKey(contentOf(small).Chunks.At(0)), nil},
		"total":   {totalKey, nil},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store.upload(small)
			w.store.upload(large)
			w.reads(file(1), large)
			w.reads(file(2), small)
			mine := random(2*dbfs.ChunkSize + 9)
			c := w.make(file(3), mine)
			w.check(w.c.cache.update(set(keys.clean, []byte("xyz\x00\x00\x00\x00"))))
			if keys.unsent != nil {
				w.check(w.c.state.update(set(keys.unsent, nil), set(keys.unsent, []byte("xyz\x00\x00\x00\x00"))))
			}
			w.close()
			w.open()
			w.reads(file(1), large)
			w.reads(file(2), small)
			w.store.setOffline(true)
			w.reads(file(3), mine)
			w.sent(file(3), c)
			w.reads(file(3), mine)
		})
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	large := random(dbfs.ChunkSize + 5)
	w.make(file(1), large)
	w.check(w.c.state.update(set(partsKey(file(1)), seal([]byte{9, 0, 0, 0}))))
	if _, err := w.c.Open(file(1), contentOf(large)); !errors.Is(err, dbfs.ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

// The uploader reads chunks of an edit while the file is rewritten: it always gets the
// bytes that were sealed.
func TestChunkWhileTheDraftIsRewritten(t *testing.T) {
	w := newWorld(t, nil)
	const size = dbfs.ChunkSize + SmallSize + 1
	d := w.draft(file(1), dbfs.Content{})
	w.write(d, random(size), 0)
	edits := make(chan dbfs.Content, 64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := range edits {
			for range 3 {
				for i := range c.Chunks.All() {
					b, err := w.c.Chunk(ctx, file(1), i, c.Ref(i))
					if err != nil || c.Ref(i).Verify(b) != nil {
						t.Errorf("chunk %d: %d bytes, %v", i, len(b), err)
					}
				}
			}
			w.unneed(c)
		}
	})
	for n := range 12 {
		w.write(d, random(1000), int64(n*300_000))
		w.write(d, random(1000), size-1000)
		if n%4 == 3 {
			w.check(d.Truncate(ctx, dbfs.ChunkSize-int64(n)))
			w.write(d, random(SmallSize), dbfs.ChunkSize+1)
		}
		c := w.seal(d)
		w.need(c)
		edits <- c
	}
	close(edits)
	wg.Wait()
	w.check(d.Close())
	w.unsent(0)
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Size = 6 * dbfs.ChunkSize })
	var data [4][]byte
	for i := range data {
		data[i] = random(2*dbfs.ChunkSize + 100)
		w.store.upload(data[i])
	}
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			for i := range data {
				i = (i + n) % len(data)
				b, err := w.c.Open(file(i), contentOf(data[i]))
				if err != nil {
					t.Error(err)
					return
				}
				p := make([]byte, len(data[i]))
				if _, err := b.ReadAt(ctx, p, 0); err != nil || !bytes.Equal(p, data[i]) {
					t.Errorf("file %d: %v", i, err)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				if n == 0 {
					w.c.Forget(file(i))
				}
			}
		})
	}
	wg.Wait()
	if s := w.c.Stats(); s.Clean > s.Size {
		t.Errorf("%+v", s)
	}
}

// onTmpfs returns a directory on a file system of its own of so many bytes.
func onTmpfs(t *testing.T, size string) string {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a tmpfs to fill: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := onTmpfs(t, "200m")
	w := newWorld(t, func(o *Options) {
		o.State = dir + "/state"
		o.Reserve = 96 << 20
		o.Chunks = nil
	})
	kept := random(3*dbfs.ChunkSize + 5)
	c := w.make(file(1), kept)
	d := w.draft(file(2), dbfs.Content{})
	filler := random(1 << 20)
	size := int64(0)
	var full error
	for full == nil && size < 200<<20 {
		n, err := d.WriteAt(ctx, filler, size)
		size += int64(n)
		full = err
	}
	if !errors.Is(full, dbfs.ErrNoSpace) {
		t.Fatalf("after %d bytes: %v", size, full)
	}
	if d.Size() != size {
		t.Errorf("size %d, want the %d that were written", d.Size(), size)
	}
	over := w.draft(file(1), c)
	over.WriteAt(ctx, filler, 100) // must set a chunk aside for which there is no room
	w.check(over.Close())
	w.reads(file(1), kept)
	w.check(d.Close())
	time.Sleep(2 * reserveEvery) // until the free space is asked for anew
	again := random(20 << 20)
	w.make(file(3), again)
	w.reads(file(3), again)
	w.sent(file(1), c)
}

// With state and cache on different file systems, bodies are copied instead of renamed.
func TestHomesOnTwoFileSystems(t *testing.T) {
	dir := onTmpfs(t, "200m")
	w := newWorld(t, func(o *Options) { o.Cache = dir + "/cache" })
	for _, n := range []int{100, 2*dbfs.ChunkSize + 100} {
		data := random(n)
		c := w.make(file(n), data)
		h, err := w.c.Open(file(n), c)
		w.check(err)
		w.sent(file(n), c)
		w.unsent(0)
		w.readsAs(h.ReadAt, data) // open across the move
		w.check(h.Close())
		w.store.setOffline(true)
		d := w.draft(file(n), c)
		w.write(d, []byte("new"), 5)
		copy(data[5:], "new")
		c = w.sealed(d, data)
		w.need(c)
		w.check(d.Close())
		w.reads(file(n), data)
		w.sent(file(n), c)
		w.store.setOffline(false)
	}
	w.close()
	w.open()
}

func TestSweep(t *testing.T) {
	w := newWorld(t, nil)
	clean, mine := random(dbfs.ChunkSize), random(dbfs.ChunkSize)
	w.store.upload(clean)
	w.reads(file(1), clean)
	w.make(file(2), mine)
	stray := []string{
		w.c.cache.bodyFile(file(7)), w.c.state.bodyFile(file(8)),
		w.c.cache.chunkFile(dbfs.ChunkID{1}), w.c.state.chunkFile(dbfs.ChunkID{2}),
		filepath.Join(w.opts.Cache, "chunks", "00", tmpPrefix+"x"),
	}
	for _, name := range stray {
		w.check(os.MkdirAll(filepath.Dir(name), 0o700))
		w.check(os.WriteFile(name, []byte("x"), 0o600))
	}
	left := func() (n int) {
		for _, name := range stray {
			if _, err := os.Stat(name); err == nil {
				n++
			}
		}
		return n
	}
	w.check(w.c.sweep(time.Now()))
	if n := left(); n != len(stray) {
		t.Errorf("%d files left: young ones must stay", n)
	}
	w.check(w.c.sweep(time.Now().Add(2 * sweepAge)))
	if n := left(); n != 0 {
		t.Errorf("%d files left", n)
	}
	w.store.setOffline(true)
	w.reads(file(1), clean)
	w.reads(file(2), mine)
}

func TestLocked(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := Open(w.opts); !errors.Is(err, dbfs.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestDamagedCleanBook(t *testing.T) {
	w := newWorld(t, nil)
	data := random(dbfs.ChunkSize)
	w.store.upload(data)
	w.reads(file(1), data)
	c := w.make(file(2), random(100))
	w.close()
	w.check(overwrite(w.opts.Cache+"/book/MANIFEST", 0, []byte("nonsense nonsense")))
	w.open()
	w.clean(0)
	w.reads(file(1), data)
	w.sent(file(2), c)
}

// A write of a part of a chunk goes into the right bytes, not into those that a loss of power has
// left: cached ones are fetched again.
func TestWriteIntoDamagedChunk(t *testing.T) {
	w := newWorld(t, nil)
	data := random(2*dbfs.ChunkSize + 5)
	w.store.upload(data)
	w.reads(file(1), data)
	w.close()
	w.check(overwrite((&home{dir: w.opts.Cache}).bodyFile(file(1)), dbfs.ChunkSize+1000, make([]byte, 5000)))
	w.open()
	d := w.draft(file(1), contentOf(data))
	w.write(d, []byte("patch"), dbfs.ChunkSize+10)
	copy(data[dbfs.ChunkSize+10:], "patch")
	w.sealed(d, data)
	w.check(d.Close())
}

// A loss of power can leave the record of a body as it was before a chunk of it was set aside, and
// the copy in the book, and the body's bytes as they were after.
func TestSetAsideAndBodyOfBefore(t *testing.T) {
	w := newWorld(t, nil)
	data := random(2 * dbfs.ChunkSize)
	c := w.make(file(1), data)
	w.need(c)
	w.check(w.c.Sync())
	before, err := w.c.state.get(partsKey(file(1)))
	w.check(err)
	d := w.draft(file(1), c)
	w.write(d, []byte("x"), 0) // sets the first chunk aside
	w.check(d.Close())
	w.close()
	w.check(overwrite((&home{dir: w.opts.State}).bodyFile(file(1)), 0, make([]byte, 5000)))
	kv, err := OpenKV(w.opts.State+"/book", KVOptions{})
	w.check(err)
	w.check((&home{kv: kv}).update(set(partsKey(file(1)), before)))
	w.check(kv.Close())
	w.open()
	w.reads(file(1), data)
}
