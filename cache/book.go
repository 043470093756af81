package cache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/dbfs/dbfs"
)

// The values of the book. Each begins with a version, 1, and ends with the CRC-32C of all
// before it; numbers are big-endian.
//
//	content  u64 size, 32 bytes a chunk
//	parts    u32 clock, u64 session, u8 flags (1: forgotten),
//	         then present, unsent, touched, checked: each u16 n, n words of 64 chunks
//	unsent   u32 len, u64 session, u64 seal, then nothing (loose), or file, u16 i
//	loose    u32 len, u32 clock
//	total    u64 bytes, u8 closed in order
//	mark     u64 session, u64 seal
//	lru      u64 bytes
//	promise  file it is for, u64 size, u64 time, u16 n, n bytes of name, chunks touched: u16 n, n words, content
//	         before as above; then nothing (not sealed), or content
//
// Session is a random number of the process that wrote the record: what it has checked is
// trusted by itself only.

const bookVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newRecord(n int) []byte { return append(make([]byte, 0, n+5), bookVersion) }

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal returns what is between version and checksum.
func unseal(what string, b []byte) ([]byte, error) {
	if len(b) < 5 {
		return nil, fmt.Errorf("%w: %s record of %d bytes", dbfs.ErrCorrupt, what, len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: %s record does not match its checksum", dbfs.ErrCorrupt, what)
	}
	if body[0] != bookVersion {
		return nil, fmt.Errorf("%w: %s record of version %d", dbfs.ErrVersion, what, body[0])
	}
	return body[1:], nil
}

func badRecord(what string) error {
	return fmt.Errorf("%w: %s record does not parse", dbfs.ErrCorrupt, what)
}

func encodeContent(c dbfs.Content) []byte {
	return seal(appendContent(newRecord(8+c.Chunks.Bytes()), c))
}

func appendContent(b []byte, c dbfs.Content) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	return c.Chunks.Append(b)
}

func decodeContent(b []byte) (dbfs.Content, error) {
	b, err := unseal("content", b)
	if err != nil {
		return dbfs.Content{}, err
	}
	c, rest, err := cutContent("content", b)
	if err == nil && len(rest) > 0 {
		err = badRecord("content")
	}
	return c, err
}

// cutContent reads what appendContent wrote, of a record of that name, and returns what is after it.
func cutContent(what string, b []byte) (c dbfs.Content, rest []byte, err error) {
	if len(b) < 8 {
		return c, nil, badRecord(what)
	}
	c.Size, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	if c.Chunks, b, err = dbfs.CutBlocklist(b, dbfs.NumChunks(c.Size)); err != nil || c.Check() != nil {
		return dbfs.Content{}, nil, badRecord(what)
	}
	return c, b, nil
}

// cutBitmap reads what bitmap.append wrote, of a record of that name, and returns what is after it.
func cutBitmap(what string, b []byte) (m bitmap, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, badRecord(what)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n == longBitmap {
		m, rest, ok := cutLongBitmap(b)
		if !ok {
			return nil, nil, badRecord(what)
		}
		return m, rest, nil
	}
	if n > dbfs.MaxChunks/64 || len(b) < 8*n {
		return nil, nil, badRecord(what)
	}
	for range n {
		m = append(m, binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	return m, b, nil
}

// parts say what is known of each chunk of a body.
type parts struct {
	clock     uint32 // when it was last used, of the record in the eviction order
	forgotten bool   // its node is gone: to be removed when nothing in it is unsent

	present bitmap // the bytes are in the file
	unsent  bitmap // and this is the copy that a cu record names
	touched bitmap // the bytes are a draft's, not the content's
	checked bitmap // the bytes have been seen to be right by this process
}

func (p *parts) maps() [4]*bitmap {
	return [4]*bitmap{&p.present, &p.unsent, &p.touched, &p.checked}
}

func (p *parts) clone() parts {
	q := *p
	for _, m := range q.maps() {
		*m = slices.Clone(*m)
	}
	return q
}

func (p *parts) encode(session uint64) []byte {
	b := binary.BigEndian.AppendUint32(newRecord(64), p.clock)
	b = binary.BigEndian.AppendUint64(b, session)
	flags := byte(0)
	if p.forgotten {
		flags = 1
	}
	b = append(b, flags)
	for _, m := range p.maps() {
		b = m.append(b)
	}
	return seal(b)
}

// decodeParts reads what encode wrote; checks that another session made count for nothing.
func decodeParts(b []byte, session uint64) (parts, error) {
	var p parts
	b, err := unseal("parts", b)
	if err != nil {
		return p, err
	}
	if len(b) < 13 {
		return p, badRecord("parts")
	}
	p.clock = binary.BigEndian.Uint32(b)
	same := binary.BigEndian.Uint64(b[4:]) == session
	p.forgotten = b[12]&1 != 0
	b = b[13:]
	for _, m := range p.maps() {
		if *m, b, err = cutBitmap("parts", b); err != nil {
			return p, err
		}
	}
	if len(b) != 0 {
		return p, badRecord("parts")
	}
	if !same {
		p.checked = nil
	}
	return p, nil
}

// unsent is what the book says of a chunk that a pending edit, or a draft, may name.
type unsent struct {
	n       int    // length of the chunk in bytes
	session uint64 // of the process that sealed it
	seal    uint64 // which seal of that session
	loose   bool   // it lies by itself; else at the spot
	at      spot
}

func (u unsent) encode() []byte {
	b := binary.BigEndian.AppendUint32(newRecord(48), uint32(u.n))
	b = binary.BigEndian.AppendUint64(b, u.session)
	b = binary.BigEndian.AppendUint64(b, u.seal)
	if !u.loose {
		b = u.at.append(b)
	}
	return seal(b)
}

func decodeUnsent(b []byte) (unsent, error) {
	b, err := unseal("unsent", b)
	if err != nil {
		return unsent{}, err
	}
	if len(b) < 20 {
		return unsent{}, badRecord("unsent")
	}
	u := unsent{
		n:       int(binary.BigEndian.Uint32(b)),
		session: binary.BigEndian.Uint64(b[4:]),
		seal:    binary.BigEndian.Uint64(b[12:]),
		loose:   len(b) == 20,
	}
	ok := true
	if !u.loose {
		u.at, ok = spotFrom(b[20:])
	}
	if u.n > dbfs.ChunkSize || !ok {
		return unsent{}, badRecord("unsent")
	}
	return u, nil
}

type looseRecord struct {
	n     int // length of the chunk in bytes
	clock uint32
}

func (l looseRecord) encode() []byte {
	b := binary.BigEndian.AppendUint32(newRecord(8), uint32(l.n))
	return seal(binary.BigEndian.AppendUint32(b, l.clock))
}

func decodeLoose(b []byte) (looseRecord, error) {
	b, err := unseal("loose chunk", b)
	if err != nil {
		return looseRecord{}, err
	}
	if len(b) != 8 {
		return looseRecord{}, badRecord("loose chunk")
	}
	return looseRecord{int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])}, nil
}

func encodeBytes(n int64, closed bool) []byte {
	b := binary.BigEndian.AppendUint64(newRecord(9), uint64(n))
	if closed {
		b = append(b, 1)
	}
	return seal(b)
}

func decodeBytes(b []byte) (n int64, closed bool, err error) {
	b, err = unseal("total", b)
	if err != nil {
		return 0, false, err
	}
	if len(b) != 8 && len(b) != 9 {
		return 0, false, badRecord("total")
	}
	return int64(binary.BigEndian.Uint64(b)), len(b) == 9, nil
}

// A mark says which seals of a session survive loss of power: all up to this one, and all of
// the sessions before.
type mark struct{ session, seal uint64 }

func (m mark) encode() []byte {
	b := binary.BigEndian.AppendUint64(newRecord(16), m.session)
	return seal(binary.BigEndian.AppendUint64(b, m.seal))
}

func decodeMark(b []byte) (mark, error) {
	b, err := unseal("mark", b)
	if err != nil {
		return mark{}, err
	}
	if len(b) != 16 {
		return mark{}, badRecord("mark")
	}
	return mark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}
