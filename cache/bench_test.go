package cache

import (
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// benchWorld is a world whose journal needs everything.
func benchWorld(b *testing.B) *world {
	w := newWorld(b, func(o *Options) { o.Patience = time.Minute })
	w.check(w.c.Recover(func(dbfs.ChunkID) bool { return true }))
	return w
}

func BenchmarkWriteSequential(b *testing.B) {
	w := benchWorld(b)
	const size = 256 << 20
	p := random(1 << 20)
	b.SetBytes(size)
	for i := 0; b.Loop(); i++ {
		d := w.draft(file(i), dbfs.Content{})
		for off := int64(0); off < size; off += int64(len(p)) {
			p[0], p[1] = byte(off>>20), byte(i)
			w.write(d, p, off)
		}
		c := w.seal(d)
		w.check(d.Close())
		b.StopTimer()
		w.c.Recover(func(dbfs.ChunkID) bool { return false })
		w.check(w.c.Forget(file(i)))
		w.c.Recover(func(dbfs.ChunkID) bool { return true })
		_ = c
		b.StartTimer()
	}
}

func BenchmarkRewrite4K(b *testing.B) {
	w := benchWorld(b)
	const size = 64 << 20
	d := w.draft(file(1), dbfs.Content{})
	w.write(d, random(size), 0)
	p := random(4096)
	for i := 0; b.Loop(); i++ {
		w.write(d, p, int64(i*7919%(size/4096))*4096)
	}
	w.check(d.Close())
}

func BenchmarkCreateAndSeal4K(b *testing.B) {
	w := benchWorld(b)
	p := random(4096)
	for i := 0; b.Loop(); i++ {
		f := File{1, dbfs.NodeID{12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}}
		copy(p, f.Node[:])
		d := w.draft(f, dbfs.Content{})
		w.write(d, p, 0)
		w.seal(d)
		w.check(d.Close())
	}
}

func BenchmarkReadWarm128K(b *testing.B) {
	w := benchWorld(b)
	data := random(64 << 20)
	w.make(file(1), data)
	h, err := w.c.Open(file(1), contentOf(data))
	w.check(err)
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	for i := 0; b.Loop(); i++ {
		_, err := h.ReadAt(ctx, p, int64(i)*int64(len(p))%int64(len(data)))
		w.check(err)
	}
	w.check(h.Close())
}

func BenchmarkReadWarm4K(b *testing.B) {
	w := benchWorld(b)
	data := random(64 << 20)
	w.make(file(1), data)
	h, err := w.c.Open(file(1), contentOf(data))
	w.check(err)
	p := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		_, err := h.ReadAt(ctx, p, int64(i*7919%(len(data)/4096))*4096)
		w.check(err)
	}
	w.check(h.Close())
}

func BenchmarkOpenReadSmall(b *testing.B) {
	w := benchWorld(b)
	data := random(4096)
	w.make(file(1), data)
	content := contentOf(data)
	p := make([]byte, 4096)
	for b.Loop() {
		h, err := w.c.Open(file(1), content)
		w.check(err)
		_, err = h.ReadAt(ctx, p, 0)
		w.check(err)
		w.check(h.Close())
	}
}

func BenchmarkFetchSequential(b *testing.B) {
	w := benchWorld(b)
	data := random(64 << 20)
	content := w.store.upload(data)
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		w.check(w.c.Forget(file(1)))
		h, err := w.c.Open(file(1), content)
		w.check(err)
		for off := 0; off < len(data); off += len(p) {
			_, err := h.ReadAt(ctx, p, int64(off))
			w.check(err)
		}
		w.check(h.Close())
	}
}
