package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

func refOf(raw []byte) dbfs.ChunkRef { return dbfs.ChunkRef{ID: dbfs.HashChunk(raw), Len: len(raw)} }

// noise returns n bytes that do not compress, the same for the same seed.
func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func text(n int) []byte {
	return []byte(strings.Repeat("the quick brown fox jumps over the lazy dog\n", n/44+1))[:n]
}

func TestFrameRoundTrip(t *testing.T) {
	tests := []struct {
		name  string
		raw   []byte
		codec byte
	}{
		{"one byte", []byte{7}, codecRaw},
		{"small text", text(20 << 10), codecZstd},
		{"small noise", noise(20<<10, 1), codecRaw},
		{"full text", text(dbfs.ChunkSize), codecZstd},
		{"full noise", noise(dbfs.ChunkSize, 2), codecRaw},
		{"noise, then text", append(noise(sampleLen, 3), text(1<<20)...), codecRaw},
		{"text, then noise", append(text(sampleLen), noise(dbfs.ChunkSize-sampleLen, 4)...), codecRaw},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ref := refOf(test.raw)
			b := AppendFrame([]byte("before"), ref, test.raw)
			if string(b[:6]) != "before" {
				t.Fatalf("what stood before the frame is now %q", b[:6])
			}
			b = b[6:]
			if got := b[4]; got != test.codec {
				t.Errorf("codec %d, want %d (%d bytes of %d)", got, test.codec, len(b), len(test.raw))
			}
			if len(b) > MaxFrame || len(b) > len(test.raw)+frameHeader+frameTrailer {
				t.Errorf("%d bytes became a frame of %d", len(test.raw), len(b))
			}
			got, err := DecodeFrame(ref, b)
			if err != nil || !bytes.Equal(got, test.raw) {
				t.Fatalf("decoded to %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestFrameOfAnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "part")
		raw := bytes.Repeat(part, rapid.IntRange(1, 2000).Draw(t, "times"))
		if refOf(raw).ID == dbfs.ZeroChunk {
			raw[0] = 1
		}
		ref := refOf(raw)
		got, err := DecodeFrame(ref, AppendFrame(nil, ref, raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("decoded to %d bytes of %d, %v", len(got), len(raw), err)
		}
	})
}

func TestDamagedFrameIsRefused(t *testing.T) {
	raw := text(3000)
	ref := refOf(raw)
	good := AppendFrame(nil, ref, raw)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		_, err := DecodeFrame(ref, bad)
		if want := dbfs.ErrCorrupt; i != 3 && !errors.Is(err, want) {
			t.Fatalf("byte %d flipped: %v, want %v", i, err, want)
		}
		if i == 3 && !errors.Is(err, dbfs.ErrVersion) {
			t.Fatalf("version flipped: %v, want %v", err, dbfs.ErrVersion)
		}
		if _, err := DecodeFrame(ref, good[:i]); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", i, err)
		}
	}
}

// TestLyingFrameIsRefused gives frames whose checksum is right and whose claims are not.
func TestLyingFrameIsRefused(t *testing.T) {
	raw, other := text(3000), text(3001)
	ref := refOf(raw)
	tests := []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"another chunk", func([]byte) []byte { return AppendFrame(nil, refOf(other), other) }, dbfs.ErrCorrupt},
		{"another chunk under this name", func([]byte) []byte { return AppendFrame(nil, ref, other) }, dbfs.ErrCorrupt},
		{"same length, other bytes", func([]byte) []byte { return AppendFrame(nil, ref, noise(3000, 1)) }, dbfs.ErrCorrupt},
		{"longer than it says", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 2999); return b }, dbfs.ErrCorrupt},
		{"raw length beyond a chunk", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 1<<31); return b }, dbfs.ErrCorrupt},
		{"payload length beyond the frame", func(b []byte) []byte { binary.LittleEndian.PutUint32(b[12:], 1<<31); return b }, dbfs.ErrCorrupt},
		{"codec of the future", func(b []byte) []byte { b[4] = codecDict; return b }, dbfs.ErrVersion},
		{"with a base", func(b []byte) []byte { b[5] = 1; return b }, dbfs.ErrVersion},
		{"with a reserved bit", func(b []byte) []byte { b[7] = 1; return b }, dbfs.ErrVersion},
	}
	for _, test := range tests {
		b := resealFrame(test.change(AppendFrame(nil, ref, raw)))
		if _, err := DecodeFrame(ref, b); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// TestBombIsRefused gives payloads that unpack to more, and to less, than a chunk of full size.
func TestBombIsRefused(t *testing.T) {
	for _, n := range []int{dbfs.ChunkSize - 1, dbfs.ChunkSize + 1, 256 << 20} {
		payload := encoder().EncodeAll(make([]byte, n), nil)
		b := append([]byte(frameMagic), make([]byte, frameHeader-4)...)
		b[4] = codecZstd
		ref := dbfs.ChunkRef{ID: dbfs.ChunkID{1}, Len: dbfs.ChunkSize}
		binary.LittleEndian.PutUint32(b[8:], uint32(ref.Len))
		binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
		copy(b[16:], ref.ID[:])
		b = resealFrame(append(append(b, payload...), 0, 0, 0, 0))
		if _, err := parseFrame(b); err != nil {
			t.Fatalf("%d bytes: the frame does not get as far as its payload: %v", n, err)
		}
		if _, err := DecodeFrame(ref, b); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%d bytes: %v, want ErrCorrupt", n, err)
		}
	}
}

func resealFrame(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}

// TestReleasedFramesOpen reads the frames that released versions wrote, for ever.
func TestReleasedFramesOpen(t *testing.T) {
	for _, name := range []string{"raw-v1.frame", "zstd-v1.frame"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseFrame(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := DecodeFrame(f.ref, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := strings.HasPrefix(name, "zstd"); (f.codec == codecZstd) != want {
			t.Errorf("%s has codec %d", name, f.codec)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, raw := range [][]byte{{1}, text(1000), noise(500, 1)} {
		f.Add(AppendFrame(nil, refOf(raw), raw))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= frameTrailer {
			b = resealFrame(bytes.Clone(b)) // so that the fuzzer gets past the checksum
		}
		fr, err := parseFrame(b)
		if err != nil {
			return
		}
		raw, err := DecodeFrame(fr.ref, b)
		if err == nil && refOf(raw) != fr.ref {
			t.Fatalf("a frame of %v gave %v", fr.ref, refOf(raw))
		}
	})
}
