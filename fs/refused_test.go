package fs

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// fullKV is a database that has no room while it is full.
type fullKV struct {
	dbfs.KV
	full atomic.Bool
}

func (kv *fullKV) Update(fn func(dbfs.Txn) error) error {
	if kv.full.Load() {
		return dbfs.ErrNoSpace
	}
	return kv.KV.Update(fn)
}

// fillable gives the drive a journal whose database can be full.
func (d *drive) fillable() (*fullKV, *journal.Journal) {
	d.t.Helper()
	kv := &fullKV{KV: d.kv}
	j, err := journal.Open(journal.Config{
		NS: rootNS, KV: kv, Tree: cache.NewTree(rootNS, dbfs.NamesExact), Device: 1, Name: "here", Inodes: d.inodes.Reserve, RootIno: cache.RootInode,
		Clock: time.Now, Observe: func(cs []journal.Change) { d.fs.Changed(rootNS, cs) },
		Unpin: func(refs []dbfs.ChunkRef) { d.cache.Unpin(refs) },
	})
	d.must(err)
	d.journals = append(d.journals, j)
	d.fs.Add(j, dbfs.RoleAdmin)
	return kv, j
}

// What is written and could not be recorded for want of room is recorded by the next fsync or
// close, and until then each of them says that it is not.
func TestUnrecordedBytesAreNotForgotten(t *testing.T) {
	d := newDrive(t)
	kv, j := d.fillable()
	f, err := os.Create(d.path("a"))
	d.must(err)
	_, err = f.WriteString("precious")
	d.must(err)
	kv.full.Store(true)
	for range 2 {
		if err := f.Sync(); err == nil {
			t.Error("fsync on a full disk says that all is well")
		}
	}
	if info, err := f.Stat(); err != nil || info.Size() != 8 {
		t.Errorf("stat of what could not be recorded: %v, %v", info, err)
	}
	kv.full.Store(false)
	d.must(f.Sync())
	d.must(f.Close())
	if n, err := j.Lookup("a"); err != nil || n.Content.Size != 8 {
		t.Errorf("the journal has %d bytes, %v; want 8", n.Content.Size, err)
	}
	if b, err := os.ReadFile(d.path("a")); err != nil || string(b) != "precious" {
		t.Errorf("read %q, %v", b, err)
	}
}

// A file that another device has changed can be written while somebody still has the version
// before it open for writing.
func TestTwoVersionsAreWritten(t *testing.T) {
	d := newDrive(t)
	e := newElsewhere(d, d.root)
	n := e.put(dbfs.Node{Kind: dbfs.KindFile, Name: "f", Content: e.content("one")})
	e.advance()
	old, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
	d.must(err)
	_, err = old.WriteString("old")
	d.must(err)
	n.Content = e.content("two")
	e.put(n)
	e.advance()
	d.eventually("two", func() bool { b, _ := os.ReadFile(d.path("f")); return string(b) == "two" })
	d.must(os.WriteFile(d.path("f"), []byte("three"), 0o644))
	if b, err := os.ReadFile(d.path("f")); err != nil || string(b) != "three" {
		t.Errorf("the newer version reads %q, %v", b, err)
	}
	d.must(old.Close())
	d.eventually("the older version in a copy of its own", func() bool {
		names, _ := os.ReadDir(d.path(""))
		return len(names) == 2
	})
	if b, err := os.ReadFile(d.path("f")); err != nil || string(b) != "three" {
		t.Errorf("after both are closed it reads %q, %v", b, err)
	}
}

// Chunks that were sealed and could not be recorded stay unsent until they are, also when more of
// the file is written meanwhile.
func TestUnrecordedChunksStayUnsent(t *testing.T) {
	d := newDrive(t)
	kv, _ := d.fillable()
	f, err := os.Create(d.path("a"))
	d.must(err)
	defer f.Close()
	_, err = f.WriteAt(noise(1, dbfs.ChunkSize), 0)
	d.must(err)
	kv.full.Store(true)
	if err := flush(f); err == nil {
		t.Fatal("a close on a full disk says that all is well")
	}
	_, err = f.WriteAt(noise(2, dbfs.ChunkSize), dbfs.ChunkSize)
	d.must(err)
	if err := flush(f); err == nil {
		t.Fatal("a close on a full disk says that all is well")
	}
	kv.full.Store(false)
	d.must(flush(f))
	if got := d.cache.Stats().Unsent; got != 2*dbfs.ChunkSize {
		t.Errorf("%d bytes are unsent, want all %d", got, 2*dbfs.ChunkSize)
	}
}
