package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
)

// memory is the segment that new documents enter. Its lists are chains of uvarints: for
// each document the gap, and for a word also how often it stands there and the distances
// between its positions. Readers get lists in the form of segment files, made on demand.
type memory struct {
	lo uint32 // documents are numbered from lo+1

	mu      sync.RWMutex // guards what follows; rows and records only grow, so a view of them needs no lock
	arena   arena
	keys    []byte // one after the other
	entries []memKey
	slots   []uint32 // open addressing: index+1 into entries
	tris    []memTri
	triSlot []uint32 // open addressing: index+1 into tris
	rows    []row
	records []byte
	tokens  uint64 // of all contents
	tmp     []byte
}

type memKey struct {
	hash uint64
	at   uint32 // in keys
	n    uint16
	memList
}

type memTri struct {
	tri uint32
	memList
}

type memList struct {
	chain chain
	count uint32
	last  uint32
}

func newMemory(lo uint32) *memory {
	return &memory{lo: lo, slots: make([]uint32, 1<<12), triSlot: make([]uint32, 1<<12)}
}

// size is about how many bytes of memory it takes.
func (m *memory) size() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.arena.size() + len(m.keys) + 40*len(m.entries) + 28*len(m.tris) +
		4*(len(m.slots)+len(m.triSlot)) + rowSize*len(m.rows) + len(m.records)
}

func (m *memory) next() uint32 { return m.lo + uint32(len(m.rows)) + 1 }

// addName adds a name document linked to a content's document (0: none) and returns its number.
func (m *memory) addName(n *nameRecord, link uint32, keys [][]byte) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.next()
	for _, key := range keys {
		m.putKey(key, doc)
	}
	m.rows = append(m.rows, row{doc: doc, link: link, record: uint32(len(m.records)), kind: isName})
	m.records = appendNameRecord(m.records, n)
	return doc
}

// addContent adds a content's document and returns its number. a is nil when it is not text.
func (m *memory) addContent(key key128, flags uint8, a *analysis) uint32 {
	var tokens uint32
	var pos, start []uint32
	if a != nil {
		tokens = a.tokens
		pos, start = a.byTerm()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.next()
	m.putKey(contentTerm(key), doc)
	if flags&isLong != 0 {
		m.putKey(longKey, doc)
	}
	if a != nil {
		for i := range a.ends {
			m.put(m.key(a.key(i), a.hash[i]), doc, pos[start[i]:start[i+1]])
		}
		for _, t := range a.tris {
			m.put(m.tri(t), doc, nil)
		}
	}
	m.rows = append(m.rows, row{doc, tokens, uint32(len(m.records)), isContent | flags, quantise(tokens)})
	m.records = append(m.records, key[:]...)
	m.tokens += uint64(tokens)
	return doc
}

func (m *memory) putKey(key []byte, doc uint32) {
	m.put(m.key(key, maphash.Bytes(hashSeed, key)), doc, nil)
}

func (m *memory) put(l *memList, doc uint32, positions []uint32) {
	if l.count == 0 {
		l.last = m.lo
	}
	b := binary.AppendUvarint(m.tmp[:0], uint64(doc-l.last))
	if positions != nil {
		b = binary.AppendUvarint(b, uint64(len(positions)))
		prev := uint32(0)
		for _, p := range positions {
			b = binary.AppendUvarint(b, uint64(p-prev))
			prev = p
		}
	}
	m.tmp = b
	m.arena.append(&l.chain, b)
	l.last = doc
	l.count++
}

// key returns the list of a key, a new one if there is none.
func (m *memory) key(key []byte, h uint64) *memList {
	if e := m.find(key, h); e != nil {
		return &e.memList
	}
	m.entries = append(m.entries, memKey{hash: h, at: uint32(len(m.keys)), n: uint16(len(key))})
	m.keys = append(m.keys, key...)
	if 2*len(m.entries) > len(m.slots) {
		m.slots = make([]uint32, 2*len(m.slots))
		for i := range m.entries {
			m.place(m.slots, m.entries[i].hash, i)
		}
	} else {
		m.place(m.slots, h, len(m.entries)-1)
	}
	return &m.entries[len(m.entries)-1].memList
}

func (m *memory) place(slots []uint32, h uint64, i int) {
	mask := uint64(len(slots) - 1)
	s := h & mask
	for slots[s] != 0 {
		s = (s + 1) & mask
	}
	slots[s] = uint32(i + 1)
}

func (m *memory) find(key []byte, h uint64) *memKey {
	mask := uint64(len(m.slots) - 1)
	for s := h & mask; m.slots[s] != 0; s = (s + 1) & mask {
		if e := &m.entries[m.slots[s]-1]; e.hash == h && bytes.Equal(m.term(e), key) {
			return e
		}
	}
	return nil
}

func (m *memory) term(e *memKey) []byte { return m.keys[e.at : e.at+uint32(e.n)] }

func (m *memory) tri(t uint32) *memList {
	if e := m.findTri(t); e != nil {
		return &e.memList
	}
	m.tris = append(m.tris, memTri{tri: t})
	if 2*len(m.tris) > len(m.triSlot) {
		m.triSlot = make([]uint32, 2*len(m.triSlot))
		for i := range m.tris {
			m.place(m.triSlot, triHash(m.tris[i].tri), i)
		}
	} else {
		m.place(m.triSlot, triHash(t), len(m.tris)-1)
	}
	return &m.tris[len(m.tris)-1].memList
}

func (m *memory) findTri(t uint32) *memTri {
	mask := uint64(len(m.triSlot) - 1)
	for s := triHash(t) & mask; m.triSlot[s] != 0; s = (s + 1) & mask {
		if e := &m.tris[m.triSlot[s]-1]; e.tri == t {
			return e
		}
	}
	return nil
}

func triHash(t uint32) uint64 { return uint64(t) * 0x9e3779b97f4a7c15 >> 32 }

// encode turns the list into the form of segment files.
func (m *memory) encode(l memList, words bool) list {
	var w listWriter
	w.begin(m.lo, words)
	m.each(l, words, nil, func(doc uint32, positions []uint32) { w.add(doc, positions) })
	b, size := w.end()
	return list{count: l.count, base: m.lo, size: size, inline: slices.Clone(b)}
}

// each calls fn with the documents of a list. It uses and returns tmp as a buffer.
func (m *memory) each(l memList, words bool, tmp []byte, fn func(doc uint32, positions []uint32)) []byte {
	tmp = m.arena.read(tmp[:0], l.chain)
	d := decoder{b: tmp}
	var positions []uint32
	doc := m.lo
	for range l.count {
		doc += uint32(d.uvarint())
		if words {
			n, p := d.uvarint(), uint32(0)
			positions = positions[:0]
			for range n {
				p += uint32(d.uvarint())
				positions = append(positions, p)
			}
		}
		fn(doc, positions)
	}
	return tmp
}

func isWordKey(key []byte) bool { return key[0] == 'w' }

// view returns the segment as it is now. The view shows no document that is added later.
func (m *memory) view() *memoryView {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, r := len(m.rows), len(m.records)
	return &memoryView{m, m.rows[:n:n], m.records[:r:r], m.tokens}
}

// A memoryView is a memory segment at one moment: a part.
type memoryView struct {
	m       *memory
	rows    []row
	records []byte
	tokens  uint64
}

func (v *memoryView) bounds() (lo, hi uint32) { return v.m.lo, v.m.lo + uint32(len(v.rows)) }
func (v *memoryView) size() int               { return len(v.rows) }
func (v *memoryView) totalTokens() uint64     { return v.tokens }

func (v *memoryView) lookup(key []byte) (list, bool, error) {
	v.m.mu.RLock()
	defer v.m.mu.RUnlock()
	if key[0] == 'g' {
		if e := v.m.findTri(triOf(key)); e != nil {
			return v.m.encode(e.memList, false), true, nil
		}
	} else if e := v.m.find(key, maphash.Bytes(hashSeed, key)); e != nil {
		return v.m.encode(e.memList, isWordKey(key)), true, nil
	}
	return list{}, false, nil
}

func triOf(key []byte) uint32   { return uint32(key[1])<<16 | uint32(key[2])<<8 | uint32(key[3]) }
func triKey(tri uint32) [4]byte { return [4]byte{'g', byte(tri >> 16), byte(tri >> 8), byte(tri)} }

// ascend gathers the keys first, so that fn runs without the lock.
func (v *memoryView) ascend(prefix []byte, fn func(key []byte, l list) error) error {
	var found [][]byte
	v.m.mu.RLock()
	for i := range v.m.entries {
		if key := v.m.term(&v.m.entries[i]); bytes.HasPrefix(key, prefix) {
			found = append(found, key)
		}
	}
	v.m.mu.RUnlock()
	slices.SortFunc(found, bytes.Compare)
	for _, key := range found {
		l, _, err := v.lookup(key)
		if err == nil {
			err = fn(key, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *memoryView) row(doc uint32) (row, int, bool, error) {
	if i := int(doc) - int(v.m.lo) - 1; i >= 0 && i < len(v.rows) {
		return v.rows[i], i, true, nil
	}
	return row{}, 0, false, nil
}

func (v *memoryView) rowAt(i int) (row, error) { return v.rows[i], nil }

func (v *memoryView) record(at uint32, n int) ([]byte, error) {
	b := v.records[min(int(at), len(v.records)):]
	return b[:min(n, len(b))], nil
}

// sorted returns all keys upwards, trigrams in their place among them: what a segment's
// dictionary is written from. The memory segment takes no documents any more.
func (m *memory) sorted() []memTerm {
	terms := make([]memTerm, 0, len(m.entries)+len(m.tris))
	for i := range m.entries {
		e := &m.entries[i]
		terms = append(terms, memTerm{m.term(e), &e.memList})
	}
	keys := make([]byte, 0, 4*len(m.tris))
	for i := range m.tris {
		k := triKey(m.tris[i].tri)
		keys = append(keys, k[:]...)
		terms = append(terms, memTerm{keys[4*i : 4*i+4], &m.tris[i].memList})
	}
	slices.SortFunc(terms, func(a, b memTerm) int {
		if c := cmp.Compare(front(a.key), front(b.key)); c != 0 {
			return c
		}
		return bytes.Compare(a.key, b.key)
	})
	return terms
}

// front is the beginning of a key as a number in the same order.
func front(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

type memTerm struct {
	key  []byte
	list *memList
}
