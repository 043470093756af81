package journal

import (
	"fmt"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// many is how many edits are pending in these benchmarks: a tree that was unpacked offline.
const many = 100_000

// busy returns a device over Badger with that many files made and not sent, in directories
// of a thousand.
func busy(b *testing.B, files int) (*host, *device) {
	h := newHost(b)
	kv, err := cache.OpenKV(b.TempDir(), cache.KVOptions{})
	check(b, err)
	b.Cleanup(func() { kv.Close() })
	d := newDevice(b, h, 0, h.namespace(b), 1)
	d.kv = &failingKV{KV: kv, left: -1}
	d.open()
	d.settle()
	var in dbfs.Node
	for i := range files {
		if i%1000 == 0 {
			in = d.make(fmt.Sprint("d", i/1000), dir)
		}
		_, err := d.j.Create(in.ID, fmt.Sprint("f", i), file)
		check(b, err)
	}
	return h, d
}

// The cost of a file must not depend on how many are waiting.
func BenchmarkCreate(b *testing.B) {
	for _, waiting := range []int{0, many} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) {
			_, d := busy(b, waiting)
			in := d.make("in", dir)
			i := 0
			for b.Loop() {
				i++
				_, err := d.j.Create(in.ID, fmt.Sprint("n", i), file)
				check(b, err)
			}
		})
	}
}

// A file is made, written, renamed and deleted again, as by a program that saves.
func BenchmarkComeAndGo(b *testing.B) {
	_, d := busy(b, many)
	in := d.make("in", dir)
	for b.Loop() {
		n, err := d.j.Create(in.ID, "tmp", file)
		check(b, err)
		n, err = d.j.Write(n.ID, n.Content, bytesOf(1), 1)
		check(b, err)
		_, err = d.j.Move(n.ID, in.ID, "saved", false)
		check(b, err)
		check(b, d.j.Delete(n.ID))
	}
}

// Everything is sent and seen, batch after batch.
func BenchmarkSettle(b *testing.B) {
	for _, waiting := range []int{many / 10, many} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				_, d := busy(b, waiting)
				b.StartTimer()
				for sent := true; sent; {
					var err error
					sent, err = d.push(always, none)
					check(b, err)
				}
			}
		})
	}
}

// Another device's entry meets the pending edits: all of them are reconciled, and half of
// them change.
func BenchmarkReconcile(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		h, d := busy(b, many)
		other := newDevice(b, h, 1, d.ns, 1)
		other.settle()
		for i := range many / 2000 {
			other.make(fmt.Sprint("d", i), file)
		}
		other.settle()
		b.StartTimer()
		check(b, d.pull(100))
	}
}

func BenchmarkOpen(b *testing.B) {
	_, d := busy(b, many)
	for b.Loop() {
		d.open()
	}
}

func BenchmarkLookup(b *testing.B) {
	_, d := busy(b, 10_000)
	for _, pending := range []bool{true, false} {
		if !pending {
			d.settle()
		}
		n := d.at("d5")
		b.Run(fmt.Sprint("pending=", pending), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				_, err := d.j.Child(n.ID, fmt.Sprint("f", 5000+i%1000))
				check(b, err)
			}
		})
	}
}
