package fs

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func TestWear(t *testing.T) {
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name       string
		w          wear
		due, seals bool
	}{
		{name: "untouched"},
		{name: "just written", w: wear{written: ago(time.Second)}},
		{name: "written a while ago", w: wear{written: ago(30 * time.Second)}},
		{name: "written long ago", w: wear{written: ago(time.Minute)}, due: true},
		{name: "just synced", w: wear{written: ago(time.Second), synced: ago(time.Second)}},
		{name: "synced, and still written", w: wear{written: ago(time.Second), synced: ago(14 * time.Second)}},
		{name: "synced and quiet", w: wear{written: ago(2 * time.Second), synced: ago(2 * time.Second)}, due: true},
		{name: "sealed by the fsync, and quiet", w: wear{synced: ago(2 * time.Second)}, due: true},
		{name: "synced without end", w: wear{written: ago(time.Second), synced: ago(15 * time.Second)}, seals: true},
		{name: "another node now", w: wear{written: now, misled: true}, due: true},
	} {
		if due, seals := c.w.isDue(now), c.w.sealsNext(now); due != c.due || seals != c.seals {
			t.Errorf("%s: due %v, the next fsync seals: %v", c.name, due, seals)
		}
	}
}

// What is synced in a file that stays open is on the disk, and is recorded when the file is quiet,
// or cut, or somebody asks for it.
func TestSyncedAndOpen(t *testing.T) {
	d := newDrive(t)
	d.must(os.WriteFile(d.path("db"), noise(1, 3*dbfs.ChunkSize), 0o644))
	before := d.nodeAt("db").Content
	f, err := os.OpenFile(d.path("db"), os.O_RDWR, 0)
	d.must(err)
	defer f.Close()
	put := func(text string) {
		t.Helper()
		_, err := f.WriteAt([]byte(text), 5000)
		d.must(err)
		d.must(f.Sync())
	}
	promised := func() int {
		t.Helper()
		all, err := d.cache.Promises()
		d.must(err)
		return len(all)
	}
	put("one")
	if promised() != 1 || !d.nodeAt("db").Content.Equal(before) {
		t.Errorf("after an fsync there are %d promises, and the file is recorded: %v", promised(), !d.nodeAt("db").Content.Equal(before))
	}
	d.fs.SealSynced()
	one := d.nodeAt("db").Content
	if promised() != 0 || one.Equal(before) {
		t.Error("it is not recorded when it is asked for")
	}
	offered := func(when string) {
		t.Helper()
		d.eventually(when+" it is offered", func() bool {
			st := d.root.StateOf(d.nodeAt("db").ID)
			return !st.Waits && st.Open
		})
	}
	offered("asked for,")
	put("two")
	d.eventually("it is recorded when it is quiet", func() bool { return !d.nodeAt("db").Content.Equal(one) })
	offered("quiet,")
	put("more")
	d.fs.SealSynced()
	two := d.nodeAt("db").Content
	offered("asked for after it was quiet,")
	put("three")
	d.must(f.Truncate(6 << 20))
	if now := d.nodeAt("db").Content; now.Equal(two) || now.Size != 3*dbfs.ChunkSize {
		t.Error("what is promised is not recorded before some of it is cut off")
	}
	d.must(os.Remove(d.path("db")))
	put("four")
	d.must(f.Close())
	if promised() != 0 {
		t.Error("something is promised of a file that is gone")
	}
}

// Looking after files, and asking for it, go on side by side.
func TestSealerWhileWritten(t *testing.T) {
	d := newDrive(t)
	f := d.open("log")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			d.fs.SealSynced()
			d.fs.sealer.rest(d.fs.sealer.list())
		}
	}()
	for n, end := 0, time.Now().Add(limit/2); ; n++ {
		select {
		case <-done:
			d.must(f.Sync())
			d.eventually("it is looked after to the end", func() bool { return len(d.fs.sealer.list()) == 0 })
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("stuck after %d writes", n)
		}
		_, err := f.WriteAt([]byte("line"), int64(n)*4)
		d.must(err)
		if n%3 == 0 {
			d.must(f.Sync())
		}
	}
}

// A file that loses its name in the middle of an fsync, by another device's doing: what was deleted is not
// promised, and what has stepped aside is sealed as what it is then.
func TestNameGoesDuringSync(t *testing.T) {
	for _, deleted := range []bool{true, false} {
		t.Run(fmt.Sprint("deleted=", deleted), func(t *testing.T) {
			d := newDrive(t)
			lost := 0
			for i := range 20 {
				name := fmt.Sprint("f", i)
				h := d.open(name)
				_, err := h.Write(noise(uint64(i), 200<<10))
				d.must(err)
				n := d.nodeAt(name)
				var f *file
				for one := range d.fs.sealer.list() {
					if one.id == n.ID {
						f = one
					}
				}
				synced := make(chan bool, 1)
				go func() {
					done, err := f.promise()
					synced <- done && err == nil
				}()
				for len(synced) == 0 && f.sealing.TryLock() { // until the fsync has begun
					f.sealing.Unlock()
				}
				f.detach(n, deleted)
				done := <-synced
				f.mu.RLock()
				if done && f.draft.Promised() && (deleted || !f.wear.misled) {
					lost++
				}
				f.mu.RUnlock()
				d.must(h.Close())
			}
			if lost > 0 {
				t.Errorf("%d promises of 20 are of what the file no longer is", lost)
			}
		})
	}
}
