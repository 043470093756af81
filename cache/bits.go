package cache

import (
	"encoding/binary"
	"math/bits"
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

// each calls fn with every bit that is set, in order. fn may clear it.
func (b bitmap) each(fn func(i int)) {
	for n, w := range b {
		for ; w != 0; w &= w - 1 {
			fn(n<<6 + bits.TrailingZeros64(w))
		}
	}
}

// append writes the bitmap as u16 words, then the words; trailing zero words are left out.
func (b bitmap) append(dst []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	for _, w := range b[:n] {
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	return dst
}
