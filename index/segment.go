package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// A part is a run of documents that can be searched: a segment or the memory segment.
// All methods may be called from several goroutines. Lists may name documents that have
// no row in the part (added after the part was looked at); they are to be passed over.
type part interface {
	// bounds: documents d of the part have lo < d <= hi. Parts do not overlap.
	bounds() (lo, hi uint32)
	// size is how many documents it has, dead ones included.
	size() int
	// totalTokens is the tokens of all contents.
	totalTokens() uint64
	// lookup finds the list of a key.
	lookup(key []byte) (list, bool, error)
	// ascend calls fn with the keys that begin with prefix, upwards; the key is good
	// until fn returns.
	ascend(prefix []byte, fn func(key []byte, l list) error) error
	// row finds the row of a document and its ordinal: 0 for the part's first document.
	row(doc uint32) (row, int, bool, error)
	// rowAt returns the row of that ordinal.
	rowAt(i int) (row, error)
	// record returns at most n bytes from where a record begins, not to be changed.
	record(at uint32, n int) ([]byte, error)
}

// A segment file:
//
//	8 bytes   "dbfsseg" and the version (1)
//	blocks    for every 32 keys, upwards: their lists (postings.go), then their dictionary:
//	            uvarint bytes shared with the key before, uvarint length of the rest, the rest,
//	            uvarint documents, uvarint length of the list<<1|1 when it stands here, the list if so
//	rows      of all documents, upwards (table.go)
//	records   of all documents in the same order
//	fences    u32 document of every 128th row
//	blocks'   for each block: uvarint bytes shared, uvarint length of the rest, the rest of its
//	index     first key; uvarint length of its lists, uvarint length of its dictionary
//	sums      u32 CRC-32C of every 16 KiB page of all that is above
//	footer    u64 each: lo, hi, documents, contents, tokens, and where rows, records, fences,
//	          blocks' index and sums begin; u32 blocks; u32 CRC-32C of sums and footer; "dbfsend" and the version
//
// Numbers of fixed length are little-endian. A segment is complete once it has its name:
// a torn one never counts.
const (
	segmentMagic  = "dbfsseg\x01"
	footerMagic   = "dbfsend\x01"
	footerSize    = 10*8 + 4 + 4 + 8
	blockKeys     = 32
	rowsPerFence  = 128
	maxSegment    = 2 << 30 // bytes; offsets are 32 bits
	maxKey        = 1 + maxTerm
	magicPrefix   = 7 // bytes of the magics before the version
	maxDictionary = blockKeys * (maxKey + 4*binary.MaxVarintLen64 + inlineMax)
)

type footer struct {
	lo, hi           uint64
	docs, contents   uint64
	tokens           uint64
	rows, records    uint64
	fences, blockIdx uint64
	sums             uint64
	blocks           uint32
}

func (f *footer) fields() []*uint64 {
	return []*uint64{&f.lo, &f.hi, &f.docs, &f.contents, &f.tokens, &f.rows, &f.records, &f.fences, &f.blockIdx, &f.sums}
}

func appendFooter(b []byte, f footer) []byte {
	for _, v := range f.fields() {
		b = binary.LittleEndian.AppendUint64(b, *v)
	}
	b = binary.LittleEndian.AppendUint32(b, f.blocks)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, footerMagic...)
}

// A segment is an open segment file.
type segment struct {
	foot  footer
	pages *pages
	refs  atomic.Int32 // one for the index, one for each snapshot

	// The blocks' index: block i has the first key keys[keyEnd[i-1]:keyEnd[i]], its lists
	// begin at blockAt[2i], its dictionary at blockAt[2i+1] and ends at blockAt[2i+2].
	keys    []byte
	keyEnd  []uint32
	blockAt []uint32
	fences  []uint32
}

// openSegment opens a file and reads what stays in memory of it. Damage to that is
// ErrCorrupt, an unknown version ErrVersion.
func openSegment(name string, cache *Cache) (*segment, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s, err := readSegment(f, cache)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	return s, nil
}

func readSegment(f *os.File, cache *Cache) (*segment, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	foot, sums, err := readFooter(f, info.Size())
	if err != nil {
		return nil, err
	}
	s := &segment{foot: foot, pages: newPages(f, int64(foot.sums), sums, cache)}
	s.refs.Store(1)
	if err := s.readFences(); err != nil {
		return nil, err
	}
	return s, s.readBlockIndex()
}

func readFooter(f io.ReaderAt, size int64) (footer, []uint32, error) {
	var foot footer
	if size < int64(len(segmentMagic)+footerSize) || size > maxSegment+maxSegment/8 {
		return foot, nil, fmt.Errorf("%w: %d bytes", dbfs.ErrCorrupt, size)
	}
	b := make([]byte, footerSize)
	if _, err := f.ReadAt(b, size-footerSize); err != nil {
		return foot, nil, err
	}
	if magic := b[footerSize-8:]; string(magic) != footerMagic {
		if string(magic[:magicPrefix]) == footerMagic[:magicPrefix] {
			return foot, nil, fmt.Errorf("%w: %d", dbfs.ErrVersion, magic[magicPrefix])
		}
		return foot, nil, fmt.Errorf("%w: no footer", dbfs.ErrCorrupt)
	}
	for i, v := range foot.fields() {
		*v = binary.LittleEndian.Uint64(b[8*i:])
	}
	foot.blocks = binary.LittleEndian.Uint32(b[80:])
	if err := foot.check(size); err != nil {
		return foot, nil, err
	}
	all := make([]byte, size-int64(foot.sums))
	if _, err := f.ReadAt(all, int64(foot.sums)); err != nil {
		return foot, nil, err
	}
	if crc32.Checksum(all[:len(all)-12], castagnoli) != binary.LittleEndian.Uint32(all[len(all)-12:]) {
		return foot, nil, fmt.Errorf("%w: footer does not match its checksum", dbfs.ErrCorrupt)
	}
	sums := make([]uint32, (len(all)-footerSize)/4)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(all[4*i:])
	}
	return foot, sums, nil
}

// check refuses a footer whose places do not follow each other within the file.
func (f *footer) check(size int64) error {
	pages := (f.sums + pageSize - 1) / pageSize
	ok := f.rows >= uint64(len(segmentMagic)) && f.rows <= f.records && f.records <= f.fences &&
		f.fences <= f.blockIdx && f.blockIdx <= f.sums && f.sums+4*pages+footerSize == uint64(size) &&
		f.lo <= f.hi && f.hi <= 1<<32-1 && f.docs <= f.hi-f.lo && f.contents <= f.docs &&
		f.records-f.rows == f.docs*rowSize &&
		f.blockIdx-f.fences == (f.docs+rowsPerFence-1)/rowsPerFence*4 &&
		uint64(f.blocks)*4 <= f.sums-f.blockIdx
	if !ok {
		return fmt.Errorf("%w: footer does not fit the file", dbfs.ErrCorrupt)
	}
	return nil
}

func (s *segment) readFences() error {
	r := pageReader{p: s.pages, passing: true}
	b, err := r.read(int64(s.foot.fences), int(s.foot.blockIdx-s.foot.fences))
	if err != nil {
		return err
	}
	s.fences = make([]uint32, len(b)/4)
	for i := range s.fences {
		s.fences[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}

func (s *segment) readBlockIndex() error {
	r := pageReader{p: s.pages, passing: true}
	b, err := r.read(int64(s.foot.blockIdx), int(s.foot.sums-s.foot.blockIdx))
	if err != nil {
		return err
	}
	d := decoder{b: b}
	n := int(s.foot.blocks)
	s.keyEnd, s.blockAt = make([]uint32, 0, n), make([]uint32, 0, 2*n+1)
	at := uint64(len(segmentMagic))
	var key []byte
	for range n {
		key = nextKey(&d, key)
		s.keys = append(s.keys, key...)
		s.keyEnd = append(s.keyEnd, uint32(len(s.keys)))
		lists, dict := d.uvarint(), d.uvarint()
		s.blockAt = append(s.blockAt, uint32(at), uint32(at+lists))
		if dict > maxDictionary || lists > s.foot.rows || at+lists+dict > s.foot.rows {
			d.bad = true
		}
		if d.bad {
			return fmt.Errorf("%w: index of blocks", dbfs.ErrCorrupt)
		}
		at += lists + dict
	}
	if len(d.b) != 0 || at != s.foot.rows {
		return fmt.Errorf("%w: index of blocks", dbfs.ErrCorrupt)
	}
	s.blockAt = append(s.blockAt, uint32(at))
	return nil
}

// nextKey decodes a key that shares its beginning with the one before, in whose place it
// is put together.
func nextKey(d *decoder, before []byte) []byte {
	shared, n := d.uvarint(), d.uvarint()
	if shared > uint64(len(before)) || shared+n == 0 || n > maxKey || shared+n > maxKey {
		d.bad = true
		return before
	}
	return append(before[:shared], d.bytes(n)...)
}

// retain keeps the file open until release.
func (s *segment) retain() { s.refs.Add(1) }

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		s.pages.cache.forget(s.pages.id)
		s.pages.f.Close()
	}
}

func (s *segment) bounds() (lo, hi uint32) { return uint32(s.foot.lo), uint32(s.foot.hi) }
func (s *segment) size() int               { return int(s.foot.docs) }
func (s *segment) totalTokens() uint64     { return s.foot.tokens }

func (s *segment) firstKey(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = s.keyEnd[i-1]
	}
	return s.keys[start:s.keyEnd[i]]
}

// blockOf returns the block that has key if one has.
func (s *segment) blockOf(key []byte) int {
	return max(0, sort.Search(len(s.keyEnd), func(i int) bool { return bytes.Compare(s.firstKey(i), key) > 0 })-1)
}

var errFound = errors.New("found")

func (s *segment) lookup(key []byte) (list, bool, error) {
	var found list
	if len(s.keyEnd) == 0 {
		return found, false, nil
	}
	err := s.block(s.blockOf(key), false, func(k []byte, l list) error {
		if c := bytes.Compare(k, key); c < 0 {
			return nil
		} else if c == 0 {
			found = l
			found.inline = bytes.Clone(l.inline)
			return errFound
		}
		return io.EOF
	})
	switch err {
	case errFound:
		return found, true, nil
	case io.EOF:
		err = nil
	}
	return list{}, false, err
}

func (s *segment) ascend(prefix []byte, fn func(key []byte, l list) error) error {
	return s.from(prefix, false, func(key []byte, l list) error {
		if bytes.HasPrefix(key, prefix) {
			return fn(key, l)
		}
		if bytes.Compare(key, prefix) > 0 {
			return io.EOF
		}
		return nil
	})
}

// from calls fn with all keys beginning in the block where key would be; io.EOF ends it.
func (s *segment) from(key []byte, passing bool, fn func(key []byte, l list) error) error {
	if len(s.keyEnd) == 0 {
		return nil
	}
	for i := s.blockOf(key); i < len(s.keyEnd); i++ {
		if err := s.block(i, passing, fn); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// block calls fn with the keys of a block; key and inline list are good until it returns.
func (s *segment) block(i int, passing bool, fn func(key []byte, l list) error) error {
	off, start, end := int64(s.blockAt[2*i]), int64(s.blockAt[2*i+1]), int64(s.blockAt[2*i+2])
	r := pageReader{p: s.pages, passing: passing}
	b, err := r.read(start, int(end-start))
	if err != nil {
		return err
	}
	d := decoder{b: b}
	key := make([]byte, 0, maxKey)
	for len(d.b) > 0 {
		key = nextKey(&d, key)
		l := list{base: uint32(s.foot.lo), count: uint32(d.uvarint())}
		size := d.uvarint()
		l.size = int64(size >> 1)
		if size&1 == 1 {
			l.inline = d.bytes(size >> 1)
		} else {
			l.pages, l.off = s.pages, off
			off += l.size
		}
		if d.bad || uint64(l.count) > s.foot.docs || l.count == 0 || off > start {
			return fmt.Errorf("%w: %s: dictionary", dbfs.ErrCorrupt, s.pages.f.Name())
		}
		if err := fn(key, l); err != nil {
			return err
		}
	}
	return nil
}

func (s *segment) rowAt(i int) (row, error) {
	r := pageReader{p: s.pages}
	b, err := r.read(int64(s.foot.rows)+int64(i)*rowSize, rowSize)
	if err != nil {
		return row{}, err
	}
	return decodeRow(b), nil
}

func (s *segment) row(doc uint32) (row, int, bool, error) {
	fence := sort.Search(len(s.fences), func(i int) bool { return s.fences[i] > doc }) - 1
	if fence < 0 || uint64(doc) > s.foot.hi {
		return row{}, 0, false, nil
	}
	first := fence * rowsPerFence
	n := min(rowsPerFence, s.size()-first)
	r := pageReader{p: s.pages}
	b, err := r.read(int64(s.foot.rows)+int64(first)*rowSize, n*rowSize)
	if err != nil {
		return row{}, 0, false, err
	}
	i := sort.Search(n, func(i int) bool { return binary.LittleEndian.Uint32(b[i*rowSize:]) >= doc })
	if i == n || binary.LittleEndian.Uint32(b[i*rowSize:]) != doc {
		return row{}, 0, false, nil
	}
	return decodeRow(b[i*rowSize:]), first + i, true, nil
}

func (s *segment) record(at uint32, n int) ([]byte, error) {
	off := int64(s.foot.records) + int64(at)
	r := pageReader{p: s.pages}
	return r.read(off, int(min(int64(n), max(0, int64(s.foot.fences)-off))))
}
