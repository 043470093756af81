package index

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dbfs/dbfs"
)

// A row is what is known of a document without reading its record.
//
//	u32 document   u32 link   u32 where its record begins   u8 kind   u8 length   u16 zero
type row struct {
	doc    uint32
	link   uint32 // of a name: its content's document, 0 when the text is not known; of a content: its tokens
	record uint32
	kind   uint8
	length uint8 // of a content: quantised count of tokens
}

const rowSize = 16

// kinds of documents; of a content the flags as well.
const (
	isName    = 1
	isContent = 2
	kindMask  = 3

	isBinary = 1 << 2 // not text: has no postings
	isLong   = 1 << 3 // only its beginning is indexed: a candidate for every grep
)

func (r row) is(kind uint8) bool { return r.kind&kindMask == kind }

func appendRow(b []byte, r row) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.doc)
	b = binary.LittleEndian.AppendUint32(b, r.link)
	b = binary.LittleEndian.AppendUint32(b, r.record)
	return append(b, r.kind, r.length, 0, 0)
}

func decodeRow(b []byte) row {
	return row{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), b[12], b[13]}
}

// A key128 is the first half of a content id: enough to tell contents apart.
type key128 [16]byte

func contentKey(id dbfs.ChunkID) key128 { return key128(id[:16]) }

// A nameRecord is what a name document says. Its record:
//
//	16 node   16 content key   uvarint size   uvarint mtime (zigzag)   uvarint length, name
//
// The record of a content is its key.
type nameRecord struct {
	node    dbfs.NodeID
	content key128 // zero: a directory, or content unknown
	size    int64  // bytes
	mtime   int64  // nanoseconds since 1970
	name    string
}

func appendNameRecord(b []byte, n *nameRecord) []byte {
	b = append(append(b, n.node[:]...), n.content[:]...)
	b = binary.AppendUvarint(b, uint64(n.size))
	b = binary.AppendVarint(b, n.mtime)
	b = binary.AppendUvarint(b, uint64(len(n.name)))
	return append(b, n.name...)
}

// maxNameRecord bounds a name's record in bytes.
const maxNameRecord = 32 + 3*binary.MaxVarintLen64 + dbfs.MaxName

// decodeNameRecord reads the record that b begins with and says how long it is.
func decodeNameRecord(b []byte) (nameRecord, int, error) {
	var n nameRecord
	d := decoder{b: b}
	copy(n.node[:], d.bytes(16))
	copy(n.content[:], d.bytes(16))
	n.size = int64(d.uvarint())
	n.mtime = d.varint()
	length := d.uvarint()
	if length > dbfs.MaxName {
		d.bad = true
	}
	n.name = string(d.bytes(length))
	if d.bad {
		return nameRecord{}, 0, fmt.Errorf("%w: record of a name", dbfs.ErrCorrupt)
	}
	return n, len(b) - len(d.b), nil
}

// A decoder cuts values off the front of b; once b was too short or malformed, bad is
// set and every value is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) bytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// quantise brings a count of tokens into a byte: twelve steps to each doubling.
func quantise(tokens uint32) uint8 {
	return uint8(min(255, math.Round(12*math.Log2(float64(tokens)+1))))
}

// lengths is what quantise's bytes stand for.
var lengths = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(math.Exp2(float64(i)/12) - 1)
	}
	return t
}()
