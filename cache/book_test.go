package cache

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/dbfs/dbfs"
)

// The records as the first release wrote them. They must be readable for ever.
var samples = []struct {
	name   string
	hex    string
	decode func([]byte) (any, error)
	want   any
}{
	{
		"content", "01" + "0000000000400001" + "1100000000000000000000000000000000000000000000000000000000000000" + "0000000000000000000000000000000000000000000000000000000000000000" + "d4135a1e",
		func(b []byte) (any, error) { return decodeContent(b) },
		dbfs.Content{Size: dbfs.ChunkSize + 1, Chunks: dbfs.Blocks([]dbfs.ChunkID{{0x11}, {}}...)},
	},
	{
		"parts", "01" + "00000007" + "0000000000000009" + "01" + "00010000000000000003" + "00010000000000000001" + "0000" + "00010000000000000002" + "ee5b6411",
		func(b []byte) (any, error) { return decodeParts(b, 9) },
		parts{clock: 7, forgotten: true, present: bitmap{3}, unsent: bitmap{1}, checked: bitmap{2}},
	},
	{
		"unsent loose", "01" + "00000064" + "0000000000000009" + "0000000000000003" + "858b52a6",
		func(b []byte) (any, error) { return decodeUnsent(b) },
		unsent{n: 100, session: 9, seal: 3, loose: true},
	},
	{
		"unsent in a body", "01" + "00000064" + "0000000000000009" + "0000000000000003" + "0000000000000001" + "00000000000000000000000000000005" + "0002" + "cc9b7039",
		func(b []byte) (any, error) { return decodeUnsent(b) },
		unsent{n: 100, session: 9, seal: 3, at: spot{file(5), 2}},
	},
	{
		"loose", "01" + "00000064" + "00000007" + "57adbb49",
		func(b []byte) (any, error) { return decodeLoose(b) },
		looseRecord{100, 7},
	},
}

func TestSamplesOpenForEver(t *testing.T) {
	for _, s := range samples {
		b, err := hex.DecodeString(s.hex)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.decode(b); err != nil || !reflect.DeepEqual(got, s.want) {
			t.Errorf("%s: got %+v, %v, want %+v; sealed anew %x", s.name, got, err, s.want, seal(b[:len(b)-4]))
		}
	}
}

func TestDamagedSamples(t *testing.T) {
	for _, s := range samples {
		good, _ := hex.DecodeString(s.hex)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x40
			if _, err := s.decode(bad); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%s with byte %d changed: %v", s.name, i, err)
			}
			if _, err := s.decode(good[:i]); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %v", s.name, i, err)
			}
		}
		newer := bytes.Clone(good[:len(good)-4])
		newer[0] = 2
		if _, err := s.decode(seal(newer)); !errors.Is(err, dbfs.ErrVersion) {
			t.Errorf("%s of another version: %v", s.name, err)
		}
	}
}

// FuzzRecords gives every decoder bytes with a right checksum: each fails or reads what it
// would write again.
func FuzzRecords(f *testing.F) {
	for _, s := range samples {
		b, _ := hex.DecodeString(s.hex)
		f.Add(b[1 : len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = seal(append([]byte{bookVersion}, b...))
		if c, err := decodeContent(b); err == nil && !bytes.Equal(encodeContent(c), b) {
			t.Errorf("content %+v", c)
		}
		if p, err := decodeParts(b, 9); err == nil {
			if again, err := decodeParts(p.encode(9), 9); err != nil || again.clock != p.clock {
				t.Errorf("parts %+v: %v", p, err)
			}
		}
		if u, err := decodeUnsent(b); err == nil && !bytes.Equal(u.encode(), b) {
			t.Errorf("unsent %+v", u)
		}
		if l, err := decodeLoose(b); err == nil && !bytes.Equal(l.encode(), b) {
			t.Errorf("loose %+v", l)
		}
		if m, err := decodeMark(b); err == nil && !bytes.Equal(m.encode(), b) {
			t.Errorf("mark %+v", m)
		}
		decodeBytes(b)
	})
}
