package cache

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/dbfs/dbfs"
)

// bitmap holds one bit a chunk. Bits beyond its length are clear; setting one makes it longer.
type bitmap []uint64

func (b bitmap) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }

func (b *bitmap) set(i int) {
	for i>>6 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

func (b bitmap) clear(i int) {
	if i>>6 < len(b) {
		b[i>>6] &^= 1 << (i & 63)
	}
}

func (b bitmap) any() bool {
	for _, w := range b {
		if w != 0 {
			return true
		}
	}
	return false
}

// all returns the bits that are set, in order. A bit that was given may be cleared.
func (b bitmap) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for n, w := range b {
			for ; w != 0; w &= w - 1 {
				if !yield(n<<6 + bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// next returns the first bit from i on that is set; false: there is none.
func (b bitmap) next(i int) (int, bool) {
	for n := i >> 6; n < len(b); n++ {
		w := b[n]
		if n == i>>6 {
			w &= ^uint64(0) << (i & 63)
		}
		if w != 0 {
			return n<<6 + bits.TrailingZeros64(w), true
		}
	}
	return 0, false
}

// longBitmap is the number of words of a bitmap that is written as those that are not zero, each with its place:
// then come u32 words, and for each u32 place, u64 word.
const longBitmap = 0xffff

// append writes the bitmap as u16 words, then the words; trailing zero words are left out. Of the chunks of a sparse
// file beyond the first ones it writes those words that are not zero.
func (b bitmap) append(dst []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	if n > dbfs.MaxChunks/64 {
		return b[:n].appendLong(dst)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	for _, w := range b[:n] {
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	return dst
}

func (b bitmap) appendLong(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, longBitmap)
	words := 0
	for _, w := range b {
		if w != 0 {
			words++
		}
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(words))
	for n, w := range b {
		if w != 0 {
			dst = binary.BigEndian.AppendUint32(dst, uint32(n))
			dst = binary.BigEndian.AppendUint64(dst, w)
		}
	}
	return dst
}

// cutLongBitmap reads what follows longBitmap.
func cutLongBitmap(b []byte) (m bitmap, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	words := int(binary.BigEndian.Uint32(b))
	if b = b[4:]; words > len(b)/12 {
		return nil, nil, false
	}
	for range words {
		n := int(binary.BigEndian.Uint32(b))
		if n < len(m) || n > dbfs.MaxFileChunks/64 {
			return nil, nil, false
		}
		m = append(m, make(bitmap, n+1-len(m))...)
		m[n], b = binary.BigEndian.Uint64(b[4:]), b[12:]
	}
	return m, b, true
}
