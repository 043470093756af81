package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"os"

	"github.com/dbfs/dbfs"
)

// A dead is the set of a part's dead documents, by ordinal. Once shared it is not
// changed any more: with gives a changed copy. The nil set is empty.
type dead struct {
	words  []uint64
	count  int
	shared bool
}

func (d *dead) has(i int) bool {
	return d != nil && i>>6 < len(d.words) && d.words[i>>6]&(1<<(i&63)) != 0
}

func (d *dead) len() int {
	if d == nil {
		return 0
	}
	return d.count
}

// with returns the set with i in it: d itself unless it is shared.
func (d *dead) with(i int) *dead {
	if d.has(i) {
		return d
	}
	if d == nil {
		d = &dead{}
	} else if d.shared {
		d = &dead{words: append([]uint64(nil), d.words...), count: d.count}
	}
	for len(d.words) <= i>>6 {
		d.words = append(d.words, 0)
	}
	d.words[i>>6] |= 1 << (i & 63)
	d.count++
	return d
}

// share returns d as a set that will not change.
func (d *dead) share() *dead {
	if d != nil {
		d.shared = true
	}
	return d
}

// each calls fn with the ordinals in the set, upwards.
func (d *dead) each(fn func(i int)) {
	if d == nil {
		return
	}
	for w, word := range d.words {
		for ; word != 0; word &= word - 1 {
			fn(w<<6 + bits.TrailingZeros64(word))
		}
	}
}

// The file of dead documents:
//
//	8 bytes "dbfsded" and the version (1)   u32 documents of the segment
//	u64 for each 64 of them, a bit for the dead   u32 CRC-32C of all before
const deadMagic = "dbfsded\x01"

func encodeDead(d *dead, docs int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(deadMagic), uint32(docs))
	for i := range (docs + 63) / 64 {
		var w uint64
		if d != nil && i < len(d.words) {
			w = d.words[i]
		}
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeDead(b []byte, docs int) (*dead, error) {
	head := len(deadMagic) + 4
	if len(b) < head+4 || string(b[:magicPrefix]) != deadMagic[:magicPrefix] {
		return nil, fmt.Errorf("%w: set of dead documents of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	if b[magicPrefix] != deadMagic[magicPrefix] {
		return nil, fmt.Errorf("%w: set of dead documents %d", dbfs.ErrVersion, b[magicPrefix])
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) ||
		int(binary.LittleEndian.Uint32(b[len(deadMagic):])) != docs || len(body)-head != (docs+63)/64*8 {
		return nil, fmt.Errorf("%w: set of dead documents", dbfs.ErrCorrupt)
	}
	d := &dead{words: make([]uint64, (docs+63)/64)}
	for i := range d.words {
		d.words[i] = binary.LittleEndian.Uint64(body[head+8*i:])
		d.count += bits.OnesCount64(d.words[i])
	}
	return d, nil
}

func readDead(name string, docs int) (*dead, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d, err := decodeDead(b, docs)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return d, nil
}
