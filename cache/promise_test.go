package cache

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/dbfs/dbfs"
)

func nobody(dbfs.ChunkID) bool { return false }

// promised is a file of three chunks, and what is written to it in a process that dies.
func promised(t *testing.T, dir string, then func(c *Cache, d *Draft)) (base dbfs.Content, want []byte) {
	t.Helper()
	old := bytes.Repeat([]byte("old"), dbfs.ChunkSize)
	want = slices.Clone(old)
	copy(want[100:], "promised")
	copy(want[dbfs.ChunkSize-3:], "border")
	child(t, dir, func() {
		c := (&crashing{t: t, dir: dir}).openUnrecovered()
		sealAll(t, c, file(1), old)
		d, err := c.Draft(file(1), contentOf(old))
		if err != nil {
			t.Fatal(err)
		}
		write(t, d, 100, "promised")
		write(t, d, dbfs.ChunkSize-3, "border")
		if done, err := d.Promise(file(7), "name"); err != nil || !done {
			t.Fatalf("promise: %v, %v", done, err)
		}
		then(c, d)
	})
	return contentOf(old), want
}

func write(t *testing.T, d *Draft, off int64, text string) {
	t.Helper()
	if _, err := d.WriteAt(ctx, []byte(text), off); err != nil {
		t.Fatal(err)
	}
}

// resumed starts again, and returns the only promise there is.
func resumed(t *testing.T, dir string, needed func(dbfs.ChunkID) bool) (*Cache, Promise) {
	t.Helper()
	c := (&crashing{t: t, dir: dir}).openUnrecovered()
	if err := c.Recover(needed); err != nil {
		t.Fatal(err)
	}
	all, err := c.Promises()
	if err != nil || len(all) != 1 {
		t.Fatalf("promises: %+v, %v", all, err)
	}
	return c, all[0]
}

func wantNoPromise(t *testing.T, c *Cache) {
	t.Helper()
	if all, err := c.Promises(); err != nil || len(all) > 0 {
		t.Errorf("promises that are left: %+v, %v", all, err)
	}
}

// What was promised is there after a crash, and nothing that was written to other chunks since.
func TestPromise(t *testing.T) {
	dir := testDir(t)
	base, want := promised(t, dir, func(_ *Cache, d *Draft) {
		write(t, d, 2*dbfs.ChunkSize+5, "after it")
		write(t, d, 5*dbfs.ChunkSize, "and longer")
	})
	c, p := resumed(t, dir, func(id dbfs.ChunkID) bool { return base.Chunks.Index(id) >= 0 })
	if p.For != file(7) || p.Name != "name" || p.Size != int64(len(want)) || p.MTime == 0 {
		t.Errorf("promise: %+v", p)
	}
	d, err := c.Resume(&p)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Base.Equal(base) || p.Sealed != nil {
		t.Errorf("it began from %v", p.Base)
	}
	content, err := d.Seal(ctx)
	if err != nil || !content.Equal(contentOf(want)) {
		t.Errorf("it is %v, %v", content, err)
	}
	for i := range content.Chunks.All() {
		if b, err := c.Chunk(ctx, file(1), i, content.Ref(i)); err != nil || !bytes.Equal(b, chunkOf(want, i)) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	if all, err := c.Promises(); err != nil || len(all) != 1 || !all[0].Sealed.Equal(content) || !all[0].Base.Equal(base) {
		t.Errorf("before it is recorded: %+v, %v", all, err)
	}
	if err := errors.Join(d.Recorded(), d.Close()); err != nil {
		t.Error(err)
	}
	wantNoPromise(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A version that was promised and sealed is kept until it is recorded, whatever was written since.
func TestPromiseSealed(t *testing.T) {
	dir := testDir(t)
	base, want := promised(t, dir, func(_ *Cache, d *Draft) {
		if _, err := d.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		write(t, d, 100, "THE NEXT")
	})
	c, p := resumed(t, dir, nobody)
	if p.Sealed == nil || !p.Sealed.Equal(contentOf(want)) || !p.Base.Equal(base) {
		t.Fatalf("promise: %+v", p)
	}
	for i := range p.Sealed.Chunks.All() {
		if b, err := c.Chunk(ctx, file(1), i, p.Sealed.Ref(i)); err != nil || !bytes.Equal(b, chunkOf(want, i)) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	if err := c.Drop(p); err != nil {
		t.Error(err)
	}
	wantNoPromise(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A draft that outgrew memory was sealed before it had a body: that is what the journal has.
func TestPromiseOfGrown(t *testing.T) {
	dir := testDir(t)
	small, large := bytes.Repeat([]byte("s"), 1000), bytes.Repeat([]byte("l"), 2*SmallSize)
	child(t, dir, func() {
		c := (&crashing{t: t, dir: dir}).openUnrecovered()
		d, err := c.Draft(file(1), dbfs.Content{})
		if err != nil {
			t.Fatal(err)
		}
		write(t, d, 0, string(small))
		if _, err := d.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		write(t, d, 0, string(large))
		if done, err := d.Promise(file(1), "name"); err != nil || !done {
			t.Fatalf("promise: %v, %v", done, err)
		}
	})
	c, p := resumed(t, dir, func(id dbfs.ChunkID) bool { return id == contentOf(small).Chunks.At(0) })
	if !p.Base.Equal(contentOf(small)) {
		t.Errorf("it began from %v", p.Base)
	}
	d, err := c.Resume(&p)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := d.Seal(ctx); err != nil || !content.Equal(contentOf(large)) {
		t.Errorf("it is %v, %v", content, err)
	}
	if err := errors.Join(d.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

// Nothing is left of a promise that nobody wants.
func TestPromiseBroken(t *testing.T) {
	dir := testDir(t)
	c := (&crashing{t: t, dir: dir}).open()
	d, err := c.Draft(file(1), dbfs.Content{})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := d.Promise(file(1), "name"); done || err != nil {
		t.Errorf("of a short draft: %v, %v", done, err)
	}
	write(t, d, dbfs.ChunkSize, "long")
	for range 2 {
		if done, err := d.Promise(file(1), "name"); !done || err != nil || !d.Promised() {
			t.Errorf("of a long draft: %v, %v", done, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	wantNoPromise(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestPromiseRecord(t *testing.T) {
	p := Promise{For: file(3), Name: "näme", Size: 5 * dbfs.ChunkSize, MTime: -7, touched: bitmap{5}}
	q, err := decodePromise(p.encode())
	if err != nil || !p.same(&q) || q.MTime != p.MTime {
		t.Errorf("%+v, %v", q, err)
	}
	sealed := contentOf([]byte("sealed"))
	p.Base, p.Sealed, p.touched = contentOf([]byte("base")), &sealed, nil
	b := p.encode()
	if q, err = decodePromise(b); err != nil || !q.Base.Equal(p.Base) || !q.Sealed.Equal(sealed) {
		t.Errorf("%+v, %v", q, err)
	}
	for n := range len(b) {
		if _, err := decodePromise(b[:n]); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Fatalf("%d bytes of it: %v", n, err)
		}
	}
}
