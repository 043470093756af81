package server

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/dbfs/dbfs"
)

// marks is the set of chunks that something names, each within its namespace, of those whose
// ids begin between two numbers. It holds fingerprints of 16 bytes: should two ever be equal, a
// chunk is kept for nothing. When it is full it goes on with the lower half of its part only,
// and the upper half has to be walked for again, so that memory has a bound whatever there is.
type marks struct {
	from, to uint64 // by the first 8 bytes of the id; to is within
	seen     []mark // the first sorted of them in order, each once
	sorted   int
	most     int
}

type mark struct{ first, rest uint64 }

// fullMarks is how many marks are held at once: 64 MiB.
const fullMarks = 4 << 20

func newMarks(from uint64, most int) *marks { return &marks{from: from, to: 1<<64 - 1, most: most} }

func firstOf(id dbfs.ChunkID) uint64 { return binary.BigEndian.Uint64(id[:]) }

func markOf(ns dbfs.NamespaceID, id dbfs.ChunkID) mark {
	const golden = 0x9e3779b97f4a7c15 // spreads namespace ids, which may be small, over all bits
	return mark{firstOf(id), binary.BigEndian.Uint64(id[8:]) ^ uint64(ns)*golden}
}

func (a mark) compare(b mark) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.rest, b.rest))
}

// add marks the chunks of a content.
func (m *marks) add(ns dbfs.NamespaceID, c dbfs.Content) {
	for _, id := range c.Chunks.IDs() {
		if first := firstOf(id); first >= m.from && first <= m.to {
			m.seen = append(m.seen, markOf(ns, id))
		}
	}
	if len(m.seen) < max(m.most, 2*m.sorted) {
		return
	}
	for m.sort(); len(m.seen) >= m.most; {
		m.halve()
	}
}

func (m *marks) sort() {
	slices.SortFunc(m.seen, mark.compare)
	m.seen = slices.Compact(m.seen)
	m.sorted = len(m.seen)
}

// halve gives up the upper half of the part.
func (m *marks) halve() {
	if m.from == m.to {
		m.most *= 2 // as many namespaces as that name one chunk
		return
	}
	m.to = m.from + (m.to-m.from)/2
	end, _ := slices.BinarySearchFunc(m.seen, m.to, func(a mark, to uint64) int {
		if a.first <= to {
			return -1
		}
		return 1
	})
	m.seen, m.sorted = m.seen[:end], end
}

// has reports whether a chunk is marked. sort comes first.
func (m *marks) has(ns dbfs.NamespaceID, id dbfs.ChunkID) bool {
	_, found := slices.BinarySearchFunc(m.seen, markOf(ns, id), mark.compare)
	return found
}
