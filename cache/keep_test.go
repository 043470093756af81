package cache

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// aging makes a cache of that size whose clock goes on by a second whenever it is asked.
func aging(t *testing.T, size int64) *world {
	now := time.Unix(1_000_000, 0)
	return newWorld(t, func(o *Options) {
		o.Size = size
		o.Clock = func() time.Time {
			now = now.Add(time.Second)
			return now
		}
	})
}

func (w *world) resident(f File, data []byte, want int64) {
	w.t.Helper()
	if got, err := w.c.Residency(f, contentOf(data)); got != want || err != nil {
		w.t.Errorf("%d bytes of %s are here, %v; want %d of %d", got, f, err, want, len(data))
	}
}

func TestWhatIsKeptIsNotEvicted(t *testing.T) {
	const size = 2 * dbfs.ChunkSize
	for _, n := range []int{1000, SmallSize + 1, dbfs.ChunkSize} {
		w := aging(t, size)
		data := random(n)
		w.check(w.c.Keep(file(1), w.store.upload(data)))
		w.check(w.c.Warm(ctx, file(1), contentOf(data), func(int64) {}))
		fill := func() {
			for i := range 4 {
				other := random(dbfs.ChunkSize)
				w.store.upload(other)
				w.reads(file(2+i), other)
			}
		}
		fill()
		w.resident(file(1), data, int64(n))
		w.close()
		w.open()
		fill()
		w.resident(file(1), data, int64(n)) // a restart changes nothing
		if _, err := w.c.Clear(); err != nil {
			t.Error(err)
		}
		w.resident(file(1), data, int64(n))
		w.clean(int64(n))
		if _, err := w.c.Free(file(1), contentOf(data)); !errors.Is(err, dbfs.ErrBusy) {
			t.Errorf("freed what is to be kept: %v", err)
		}
		if kept, err := w.c.Kept(); kept != int64(n) || err != nil {
			t.Errorf("%d bytes kept, %v; want %d", kept, err, n)
		}
		w.check(w.c.Unkeep(file(1)))
		fill()
		w.resident(file(1), data, 0)
		if kept, err := w.c.Kept(); kept != 0 || err != nil {
			t.Errorf("%d bytes kept, %v; want none", kept, err)
		}
	}
}

// A small file's bytes are stored once, whoever has them: they stay as long as anybody keeps them.
func TestKeptBytesOfTwoFiles(t *testing.T) {
	w := aging(t, dbfs.ChunkSize)
	data := random(1000)
	content := w.store.upload(data)
	w.check(w.c.Keep(file(1), content))
	w.check(w.c.Keep(file(2), content))
	w.reads(file(1), data)
	w.check(w.c.Unkeep(file(1)))
	if n, err := w.c.Free(file(1), content); n != 0 || err != nil {
		t.Errorf("freed %d bytes that another file keeps, %v", n, err)
	}
	w.resident(file(2), data, 1000)
	next := random(2000)
	w.check(w.c.Keep(file(2), w.store.upload(next))) // another version of it
	if n, err := w.c.Free(file(1), content); n != 1000 || err != nil {
		t.Errorf("freed %d bytes, %v; want 1000", n, err)
	}
	var kept []File
	w.check(w.c.KeptFiles(func(f File) bool { kept = append(kept, f); return true }))
	if len(kept) != 1 || kept[0] != file(2) {
		t.Errorf("kept: %v", kept)
	}
}

func TestKeptBytesThatDoNotFit(t *testing.T) {
	w := aging(t, dbfs.ChunkSize)
	data := random(3 * dbfs.ChunkSize)
	content := w.store.upload(data)
	w.check(w.c.Keep(file(1), content))
	if err := w.c.Warm(ctx, file(1), content, func(int64) {}); !errors.Is(err, dbfs.ErrNoSpace) {
		t.Errorf("%v, want no space", err)
	}
	w.reads(file(1), data) // all the same
	small := random(1000)
	w.store.upload(small)
	w.reads(file(2), small)
}

func TestWarmAndFree(t *testing.T) {
	for _, n := range sizes[1:] {
		w := newWorld(t, nil)
		data := random(n)
		content := w.store.upload(data)
		w.store.setOffline(true)
		if err := w.c.Warm(ctx, file(1), content, func(int64) {}); !errors.Is(err, dbfs.ErrOffline) {
			t.Errorf("offline: %v", err)
		}
		w.store.setOffline(false)
		came := int64(0)
		w.check(w.c.Warm(ctx, file(1), content, func(n int64) { came += n }))
		if came != int64(n) {
			t.Errorf("%d bytes came, want %d", came, n)
		}
		w.store.setOffline(true)
		w.check(w.c.Warm(ctx, file(1), content, func(int64) { t.Error("it came again") }))
		w.reads(file(1), data)

		b, err := w.c.Open(file(1), content)
		w.check(err)
		if _, err := w.c.Free(file(1), content); n > SmallSize && !errors.Is(err, dbfs.ErrBusy) {
			t.Errorf("freed an open file: %v", err)
		}
		w.check(b.Close())
		w.c.Free(file(1), content)
		w.resident(file(1), data, 0)
		w.clean(0)
	}
}

func TestFreeLeavesWhatIsUnsent(t *testing.T) {
	for _, n := range sizes[1:] {
		w := newWorld(t, nil)
		data := random(n)
		content := w.make(file(1), data)
		if freed, err := w.c.Free(file(1), content); freed != 0 || err != nil {
			t.Errorf("freed %d bytes, %v", freed, err)
		}
		if freed, err := w.c.Clear(); freed != 0 || err != nil {
			t.Errorf("cleared %d bytes, %v", freed, err)
		}
		w.reads(file(1), data)
	}
}

func TestCheckDropsWhatIsDamaged(t *testing.T) {
	w := newWorld(t, nil)
	sound, damaged := random(3*dbfs.ChunkSize), random(2*dbfs.ChunkSize)
	small := random(500)
	for i, data := range [][]byte{sound, damaged, small} {
		w.store.upload(data)
		w.reads(file(i), data)
	}
	all := int64(len(sound) + len(damaged) + len(small))
	found, err := w.c.Check(ctx, func(Checked) error { return nil })
	if want := (Checked{Bytes: all}); found != want || err != nil {
		t.Errorf("sound: %+v, %v; want %+v", found, err, want)
	}
	name := w.c.cache.bodyFile(file(1))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	w.check(err)
	_, err = f.WriteAt(bytes.Repeat([]byte("x"), 100), dbfs.ChunkSize+5)
	w.check(errors.Join(err, f.Close()))
	found, err = w.c.Check(ctx, func(Checked) error { return nil })
	if want := (Checked{Bytes: all, Damaged: dbfs.ChunkSize}); found != want || err != nil {
		t.Errorf("damaged: %+v, %v; want %+v", found, err, want)
	}
	w.resident(file(1), damaged, dbfs.ChunkSize)
	w.reads(file(1), damaged)
	enough := errors.New("enough")
	if _, err := w.c.Check(ctx, func(Checked) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("not stopped: %v", err)
	}
}

// A file that was saved by a rename has its bytes in the body of the one that it was written as.
func TestKeptBytesInTheBodyOfAnother(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		w := aging(t, 1<<30)
		data := random(dbfs.ChunkSize + SmallSize)
		content := w.make(file(1), data)
		w.check(w.c.Keep(file(2), content))
		w.sent(file(1), content)
		if forgotten {
			w.check(w.c.Forget(file(1)))
		}
		if _, err := w.c.Clear(); err != nil {
			t.Fatal(err)
		}
		w.store.setOffline(true)
		w.reads(file(2), data)
		w.store.setOffline(false)
		w.check(w.c.Unkeep(file(2)))
		if n, err := w.c.Free(file(2), content); err != nil || n < int64(len(data)) {
			t.Errorf("freed %d of %d bytes, %v", n, len(data), err)
		}
		w.resident(file(2), data, 0)
	}
}

// What is kept does not stand in the way of evicting the rest, nor is it gone through each time.
func TestKeptBytesLeaveTheOrder(t *testing.T) {
	w := aging(t, 1<<30)
	data := random(dbfs.ChunkSize)
	w.check(w.c.Keep(file(1), w.store.upload(data)))
	w.reads(file(1), data)
	for range 2 {
		if _, err := w.c.Clear(); err != nil {
			t.Fatal(err)
		}
	}
	first, _, err := w.c.evictor.oldest(nil, 1)
	if err != nil || len(first) != 1 || first[0].clock != keptClock {
		t.Errorf("%+v, %v; want the kept body at the end of the order", first, err)
	}
	w.check(w.c.Unkeep(file(1)))
	if n, err := w.c.Clear(); n != dbfs.ChunkSize || err != nil {
		t.Errorf("evicted %d bytes, %v, when it was not kept any more", n, err)
	}
}
