package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/dbfs/dbfs"
)

// cut returns chunk i of a file, as a base.
func cut(file []byte, i int) Base {
	if lo := i * dbfs.ChunkSize; lo >= 0 && lo < len(file) {
		raw := file[lo:min(lo+dbfs.ChunkSize, len(file))]
		return Base{dbfs.HashChunk(raw), raw}
	}
	return Base{}
}

func around(file []byte, i int) *Bases { return &Bases{cut(file, i), cut(file, i-1), cut(file, i+1)} }

// deltaSize makes a delta of chunk i of a new version, unpacks it and returns how long it is.
func deltaSize(t testing.TB, was, now []byte, i int) int {
	t.Helper()
	raw := cut(now, i).Raw
	bases := around(was, i)
	b := appendDelta(nil, refOf(raw), raw, bases, MaxDelta)
	if b == nil {
		t.Fatalf("no delta of chunk %d", i)
	}
	d, err := ParseDelta(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Bases(); !slices.Equal(got, bases.ids()) || d.Ref() != refOf(raw) {
		t.Errorf("a delta of %v with bases %v", d.Ref(), got)
	}
	got, err := d.Decode(bases)
	if err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("unpacked to %d bytes, %v", len(got), err)
	}
	return len(b)
}

// TestDeltaSizes pins what a change costs. The faster levels of the compressor, and perhaps another
// version of it, remember the end of a dictionary only, and would send megabytes here.
func TestDeltaSizes(t *testing.T) {
	was := noise(3*dbfs.ChunkSize, 7)
	replace := func(at int, with []byte) []byte {
		now := bytes.Clone(was)
		copy(now[at:], with)
		return now
	}
	scattered := bytes.Clone(was)
	for i := range 50 {
		copy(scattered[dbfs.ChunkSize+i*80_000:], noise(16, uint64(i)))
	}
	for _, test := range []struct {
		name string
		now  []byte
		most int
	}{
		{"the same", was, 1024},
		{"100 bytes in the middle", replace(dbfs.ChunkSize*3/2, noise(100, 8)), 1024},
		{"50 times 16 bytes", scattered, 4096},
		{"10 bytes put in at the front", slices.Concat(noise(10, 9), was), 1024},
		{"10 bytes taken away at the front", was[10:], 1024},
		{"100 KiB put in at the front", slices.Concat(noise(100<<10, 9), was), 1024},
		{"100 KiB taken away at the front", was[100<<10:], 1024},
		{"64 KiB of new bytes", replace(dbfs.ChunkSize, noise(64<<10, 10)), 68 << 10},
	} {
		n := deltaSize(t, was, test.now, 1)
		if n > test.most {
			t.Errorf("%s: a delta of %d bytes, want at most %d", test.name, n, test.most)
		}
		t.Logf("%s: %d bytes", test.name, n)
	}
}

func TestDeltaOfShortChunks(t *testing.T) {
	was := noise(100<<10, 1)
	if n := deltaSize(t, was, append(bytes.Clone(was), noise(50, 2)...), 0); n > 1024 {
		t.Errorf("50 bytes more: %d bytes", n)
	}
	// A file that grew has no chunk at that place yet.
	was = noise(dbfs.ChunkSize, 3)
	if n := deltaSize(t, was, slices.Concat(noise(200<<10, 4), was), 1); n > 1024 {
		t.Errorf("200 KiB that were shifted into a new chunk: %d bytes", n)
	}
}

// TestNoDelta: where it does not pay, there is none.
func TestNoDelta(t *testing.T) {
	was, now := noise(1<<20, 1), noise(1<<20, 2)
	if b := appendDelta(nil, refOf(now), now, around(was, 0), MaxDelta/8); b != nil {
		t.Errorf("a delta of %d bytes between things that have nothing in common", len(b))
	}
	if b := appendDelta(nil, refOf(now), now, &Bases{}, MaxDelta); b != nil {
		t.Errorf("a delta of %d bytes from nothing", len(b))
	}
}

func TestLyingDeltaIsRefused(t *testing.T) {
	was := noise(100<<10, 1)
	now := append(bytes.Clone(was), noise(100, 2)...)
	ref, bases := refOf(now), around(was, 0)
	make := func() []byte { return appendDelta(nil, ref, now, bases, MaxDelta) }
	whole := AppendFrame(nil, ref, now)
	for _, test := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"as it should be", func(b []byte) []byte { return b }, nil},
		{"of another chunk", func(b []byte) []byte { b[20] ^= 1; return b }, dbfs.ErrCorrupt},
		{"longer than it says", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], uint32(len(now)-1)); return b }, dbfs.ErrCorrupt},
		{"shorter than it says", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], uint32(len(now)+1)); return b }, dbfs.ErrCorrupt},
		{"of a chunk beyond a chunk", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 1<<31); return b }, dbfs.ErrCorrupt},
		{"a whole chunk", func([]byte) []byte { return whole }, dbfs.ErrCorrupt},
		{"without bases", func(b []byte) []byte { b[5] = 0; return b }, dbfs.ErrVersion},
		{"with four bases", func(b []byte) []byte { b[5] = 4; return b }, dbfs.ErrVersion},
		{"with more bases than bytes", func(b []byte) []byte { b[5] = 3; return b[:frameHeader+60] }, dbfs.ErrCorrupt},
		{"whole, with a base", func([]byte) []byte { b := bytes.Clone(whole); b[5] = 1; return b }, dbfs.ErrVersion},
	} {
		d, err := ParseDelta(resealFrame(test.change(make())))
		if err == nil {
			_, err = d.Decode(bases)
		}
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	d, err := ParseDelta(make())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(around(noise(100<<10, 3), 0)); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("with another base: %v, want ErrCorrupt", err)
	}
	if _, err := DecodeFrame(ref, make()); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("as a whole chunk: %v, want ErrCorrupt", err)
	}
}

func FuzzDecodeDelta(f *testing.F) {
	was := append(text(2000), noise(3000, 1)...)
	bases := around(was, 0)
	for _, now := range [][]byte{was, was[10:], append(text(500), was...)} {
		f.Add(appendDelta(nil, refOf(now), now, bases, MaxDelta))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= frameTrailer {
			b = resealFrame(bytes.Clone(b)) // so that the fuzzer gets past the checksum
		}
		d, err := ParseDelta(b)
		if err != nil {
			return
		}
		raw, err := d.Decode(bases)
		if err == nil && refOf(raw) != d.Ref() {
			t.Fatalf("a delta of %v gave %v", d.Ref(), refOf(raw))
		}
	})
}
