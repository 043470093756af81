package index

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/dbfs/dbfs"
)

// The list of a key names its documents upwards, in blocks of 128, so that a reader can
// pass over a block without decoding it. Numbers are uvarints; a gap is the distance to
// the document before, at the beginning of a list to the segment's lower bound.
//
//	full block   gap of its last document, length of what follows, body
//	the rest     body (of count % 128 documents)
//	body         u8 k, then each gap-1 in Rice code: quotient by 2^k as ones ended by a
//	             zero, then k low bits; least significant bit first
//
// The list of a word has in place of that:
//
//	full block   gap of its last document, length of docs, length of positions, docs, positions
//	the rest     length of docs, docs, positions
//	docs         for each document gap<<1|1 when the word stands in it once, else gap<<1 and how often
//	positions    for each document the first position, then the distances to the next
const blockDocs = 128

// A list says where the documents of a key are.
type list struct {
	count  uint32
	base   uint32 // documents are counted from here
	size   int64  // bytes
	inline []byte // the bytes themselves, when pages is nil
	pages  *pages
	off    int64
}

// listReader reads the bytes of a list front to back. The first error sticks.
type listReader struct {
	inline []byte
	pr     pageReader
	off    int64
	end    int64
	err    error
}

func (r *listReader) open(l list, passing bool) {
	*r = listReader{inline: l.inline, end: l.size}
	if l.pages != nil {
		r.pr = pageReader{p: l.pages, passing: passing}
		r.off, r.end = l.off, l.off+l.size
	}
}

func (r *listReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: list of documents: %s", dbfs.ErrCorrupt, what)
	}
}

// take returns the next n bytes, good until the next call.
func (r *listReader) take(n int64) []byte {
	b := r.peek(n)
	r.off += n
	return b
}

func (r *listReader) peek(n int64) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > r.end-r.off {
		r.fail("shorter than it says")
		return nil
	}
	if r.pr.p == nil {
		return r.inline[r.off : r.off+n]
	}
	b, err := r.pr.read(r.off, int(n))
	if err != nil {
		r.err = err
	}
	return b
}

func (r *listReader) uvarint() uint64 {
	b := r.peek(min(binary.MaxVarintLen64, r.end-r.off))
	v, n := binary.Uvarint(b)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.off += int64(n)
	return v
}

// A docCursor walks the documents of a list without positions.
type docCursor struct {
	r    listReader
	left uint32 // documents in blocks not yet entered
	prev uint32 // the document before the next block
	docs []uint32
	at   int
	buf  [blockDocs]uint32
}

func (c *docCursor) open(l list, passing bool) {
	c.r.open(l, passing)
	c.left, c.prev, c.docs, c.at = l.count, l.base, nil, 0
}

// next returns the next document; false at the end or after an error, which err tells apart.
func (c *docCursor) next() (uint32, bool) {
	if c.at == len(c.docs) && !c.enter(0) {
		return 0, false
	}
	doc := c.docs[c.at]
	c.at++
	return doc, true
}

// seek returns the first document not below doc among those not yet returned.
func (c *docCursor) seek(doc uint32) (uint32, bool) {
	if len(c.docs) == 0 || c.at == len(c.docs) || c.docs[len(c.docs)-1] < doc {
		if !c.enter(doc) {
			return 0, false
		}
	}
	c.at += lowerBound(c.docs[c.at:], doc)
	if c.at == len(c.docs) { // only in the last block
		return 0, false
	}
	c.at++
	return c.docs[c.at-1], true
}

func (c *docCursor) err() error { return c.r.err }

// enter decodes the next block whose last document is not below doc.
func (c *docCursor) enter(doc uint32) bool {
	c.docs, c.at = nil, 0
	for c.left >= blockDocs {
		last := c.prev + uint32(c.r.uvarint())
		size := int64(c.r.uvarint())
		if last < doc {
			c.r.take(size)
		} else {
			c.decode(c.r.take(size), blockDocs)
		}
		if c.r.err != nil {
			return false
		}
		c.left -= blockDocs
		c.prev = last
		if c.docs != nil {
			return true
		}
	}
	if c.left > 0 {
		c.decode(c.r.take(c.r.end-c.r.off), int(c.left))
		c.left = 0
	}
	return c.r.err == nil && c.docs != nil
}

func (c *docCursor) decode(body []byte, n int) {
	if c.r.err != nil {
		return
	}
	if !riceDecode(body, c.prev, c.buf[:n]) {
		c.r.fail("bad gaps")
		return
	}
	c.docs = c.buf[:n]
}

// A wordCursor walks the documents of a word's list.
type wordCursor struct {
	r     listReader
	left  uint32
	prev  uint32
	at    int // the current document in docs
	docs  []uint32
	tfs   []uint32 // how often the word stands in each
	posB  []byte   // encoded positions of the block
	pos   []uint32 // decoded on demand; nil: not yet
	start []int    // where each document's positions begin in pos

	docBuf, tfBuf [blockDocs]uint32
}

func (c *wordCursor) open(l list, passing bool) {
	c.r.open(l, passing)
	c.left, c.prev, c.docs, c.at = l.count, l.base, nil, -1
}

// next moves to the next document; false at the end or after an error.
func (c *wordCursor) next() bool {
	if c.at+1 < len(c.docs) {
		c.at++
		return true
	}
	return c.enter(0)
}

// seek moves to the first document not below doc; it stays where it is when that is one.
func (c *wordCursor) seek(doc uint32) bool {
	if len(c.docs) == 0 || c.docs[len(c.docs)-1] < doc {
		if !c.enter(doc) {
			return false
		}
	}
	c.at = max(c.at, 0)
	c.at += lowerBound(c.docs[c.at:], doc)
	return c.at < len(c.docs)
}

func (c *wordCursor) doc() uint32 { return c.docs[c.at] }
func (c *wordCursor) tf() uint32  { return c.tfs[c.at] }
func (c *wordCursor) err() error  { return c.r.err }

// positions returns where the word stands in the current document, upwards; good until
// the cursor moves to another block.
func (c *wordCursor) positions() []uint32 {
	if c.pos == nil && !c.decodePositions() {
		return nil
	}
	return c.pos[c.start[c.at]:c.start[c.at+1]]
}

func (c *wordCursor) enter(doc uint32) bool {
	c.docs, c.at = nil, 0
	for c.left >= blockDocs {
		last := c.prev + uint32(c.r.uvarint())
		nd, np := int64(c.r.uvarint()), int64(c.r.uvarint())
		if last >= doc {
			c.decode(nd, np, blockDocs)
		} else if nd < 0 || np < 0 || nd+np < 0 {
			c.r.fail("bad lengths")
		} else {
			c.r.off += nd + np
		}
		if c.r.err != nil {
			return false
		}
		c.left -= blockDocs
		c.prev = last
		if c.docs != nil {
			return true
		}
	}
	if c.left > 0 {
		nd := int64(c.r.uvarint())
		c.decode(nd, c.r.end-c.r.off-nd, int(c.left))
		c.left = 0
	}
	return c.r.err == nil && c.docs != nil
}

func (c *wordCursor) decode(nd, np int64, n int) {
	b := c.r.take(nd)
	doc := c.prev
	for i := range n {
		v, k := binary.Uvarint(b)
		if k <= 0 || v>>1 == 0 || v>>1 > uint64(^uint32(0)-doc) {
			c.r.fail("bad gap")
			return
		}
		b = b[k:]
		doc += uint32(v >> 1)
		tf := uint64(1)
		if v&1 == 0 {
			if tf, k = binary.Uvarint(b); k <= 0 || tf < 2 || tf > maxTokens {
				c.r.fail("bad count")
				return
			}
			b = b[k:]
		}
		c.docBuf[i], c.tfBuf[i] = doc, uint32(tf)
	}
	// The positions are fetched with the block: the page is at hand now, and mostly not later.
	c.posB = append(c.posB[:0], c.r.take(np)...)
	c.pos = nil
	c.docs, c.tfs = c.docBuf[:n], c.tfBuf[:n]
}

func (c *wordCursor) decodePositions() bool {
	c.pos, c.start = make([]uint32, 0, 4*len(c.docs)), append(c.start[:0], 0)
	b := c.posB
	for _, tf := range c.tfs {
		pos := uint32(0)
		for range tf {
			v, k := binary.Uvarint(b)
			if k <= 0 || v > maxTokens {
				c.r.fail("bad position")
				c.pos = nil
				return false
			}
			b = b[k:]
			pos += uint32(v)
			c.pos = append(c.pos, pos)
		}
		c.start = append(c.start, len(c.pos))
	}
	return true
}

// lowerBound returns the index of the first of ascending docs that is not below doc.
func lowerBound(docs []uint32, doc uint32) int {
	lo, hi := 0, len(docs)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); docs[mid] < doc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// appendRice appends the body of a block: docs in Rice code, counted from prev.
func appendRice(b []byte, prev uint32, docs []uint32) []byte {
	mean := uint64(docs[len(docs)-1]-prev) / uint64(len(docs))
	k := max(0, bits.Len64(mean*7/10)-1) // about log2(mean * ln 2), the best there is
	b = append(b, byte(k))
	var acc uint64
	var n int
	put := func(v uint64, width int) {
		acc |= v << n
		for n += width; n >= 8; n -= 8 {
			b = append(b, byte(acc))
			acc >>= 8
		}
	}
	for _, doc := range docs {
		gap := doc - prev - 1
		prev = doc
		q := gap >> k
		for ; q >= 32; q -= 32 {
			put(1<<32-1, 32)
		}
		put(1<<q-1, int(q)+1)
		put(uint64(gap)&(1<<k-1), k)
	}
	if n > 0 {
		b = append(b, byte(acc))
	}
	return b
}

// riceDecode fills docs from a block's body; false when the body does not hold so many,
// or they do not ascend within 32 bits.
func riceDecode(body []byte, prev uint32, docs []uint32) bool {
	if len(body) == 0 || body[0] > 32 {
		return false
	}
	k := uint(body[0])
	body = body[1:]
	var acc uint64
	var n uint
	fill := func() {
		for n <= 56 && len(body) > 0 {
			acc |= uint64(body[0]) << n
			body = body[1:]
			n += 8
		}
	}
	doc := uint64(prev)
	for i := range docs {
		q := uint64(0)
		for {
			fill()
			if ones := uint(bits.TrailingZeros64(^acc)); ones < n {
				q += uint64(ones)
				acc >>= ones + 1
				n -= ones + 1
				break
			}
			if n == 0 {
				return false
			}
			q += uint64(n)
			acc, n = 0, 0
		}
		if fill(); n < k {
			return false
		}
		doc += q<<k | acc&(1<<k-1) + 1
		acc >>= k
		n -= k
		if doc > 1<<32-1 {
			return false
		}
		docs[i] = uint32(doc)
	}
	return true
}
