package dbfs

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// A Blocklist is the chunks of a file in order. Those of zeros take no room in it, so that a sparse file of
// terabytes has a short one. It is a value that is never changed: copies share what it holds. The zero
// Blocklist is that of an empty file.
type Blocklist struct {
	n   int
	ids []ChunkID // those that are not of zeros, in order
	at  []uint32  // where each of them is; nil: they are the first ones
}

// longList is from how many chunks on a list is written down as what is in it and where, not as chunk after
// chunk. Shorter ones are read by every version of dbfs.
const longList = 4096

// Blocks returns the list of these chunks, which are the list's from then on.
func Blocks(ids ...ChunkID) Blocklist {
	if !slices.Contains(ids, ZeroChunk) {
		return Blocklist{n: len(ids), ids: ids}
	}
	l := Blocklist{n: len(ids)}
	for i, id := range ids {
		l.add(i, id)
	}
	return l
}

// add appends chunk i to a list that is being made, of chunks before it.
func (l *Blocklist) add(i int, id ChunkID) {
	if id == ZeroChunk {
		return
	}
	if l.at == nil && i != len(l.ids) {
		l.at = make([]uint32, len(l.ids), len(l.ids)+1)
		for k := range l.at {
			l.at[k] = uint32(k)
		}
	}
	if l.at != nil {
		l.at = append(l.at, uint32(i))
	}
	l.ids = append(l.ids, id)
}

// Len returns how many chunks there are, with those of zeros.
func (l Blocklist) Len() int { return l.n }

// IDs returns the chunks that are not of zeros, in order. It is the list's.
func (l Blocklist) IDs() []ChunkID { return l.ids }

// At returns chunk i; that of zeros where the list has none.
func (l Blocklist) At(i int) ChunkID {
	if k, found := l.find(i); found {
		return l.ids[k]
	}
	return ZeroChunk
}

// find returns which of ids is the first at i or behind it, and whether it is at i.
func (l Blocklist) find(i int) (k int, found bool) {
	if l.at == nil {
		return min(max(i, 0), len(l.ids)), i >= 0 && i < len(l.ids)
	}
	if i < 0 {
		return 0, false
	}
	return slices.BinarySearch(l.at, uint32(min(i, l.n)))
}

// place returns where the k-th of ids is.
func (l Blocklist) place(k int) int {
	if l.at == nil {
		return k
	}
	return int(l.at[k])
}

// All returns the chunks that are not of zeros, each with its place, in order.
func (l Blocklist) All() iter.Seq2[int, ChunkID] { return l.From(0) }

// From returns those of All from chunk i on.
func (l Blocklist) From(i int) iter.Seq2[int, ChunkID] {
	return func(yield func(int, ChunkID) bool) {
		k, _ := l.find(i)
		for ; k < len(l.ids); k++ {
			if !yield(l.place(k), l.ids[k]) {
				return
			}
		}
	}
}

// Index returns the place of the first chunk of that name, which is not ZeroChunk; -1: there is none.
func (l Blocklist) Index(id ChunkID) int {
	k := slices.Index(l.ids, id)
	if k < 0 {
		return -1
	}
	return l.place(k)
}

// Equal reports whether two lists are the same.
func (l Blocklist) Equal(m Blocklist) bool {
	return l.n == m.n && slices.Equal(l.ids, m.ids) && slices.Equal(l.at, m.at)
}

// IsZero reports whether there are no chunks; it also keeps empty lists out of JSON.
func (l Blocklist) IsZero() bool { return l.n == 0 }

// Edit returns the list of n chunks that is this one but for those that changed has, by their places from 0 on.
func (l Blocklist) Edit(n int, changed map[int]ChunkID) Blocklist {
	m := Blocklist{n: n, ids: make([]ChunkID, 0, min(n, len(l.ids)+len(changed)))}
	news := slices.Sorted(maps.Keys(changed))
	upTo := func(end int) { // adds what changed before chunk end
		for len(news) > 0 && news[0] < end {
			m.add(news[0], changed[news[0]])
			news = news[1:]
		}
	}
	for i, id := range l.All() {
		if i >= n {
			break
		}
		upTo(i)
		if _, is := changed[i]; !is {
			m.add(i, id)
		}
	}
	upTo(n)
	return m
}

// Append writes the list down: 32 bytes a chunk; or, of a long one, how many chunks are not of zeros, for each the
// number of zeros before it, then their names. The numbers are uvarints. The reader has to know the list's length.
func (l Blocklist) Append(b []byte) []byte {
	if l.n <= longList {
		next := 0
		for i, id := range l.All() {
			b = append(b, make([]byte, len(ChunkID{})*(i-next))...)
			b = append(b, id[:]...)
			next = i + 1
		}
		return append(b, make([]byte, len(ChunkID{})*(l.n-next))...)
	}
	b = binary.AppendUvarint(b, uint64(len(l.ids)))
	next := 0
	for k := range l.ids {
		i := l.place(k)
		b = binary.AppendUvarint(b, uint64(i-next))
		next = i + 1
	}
	for _, id := range l.ids {
		b = append(b, id[:]...)
	}
	return b
}

// Bytes returns how many bytes Append writes at most.
func (l Blocklist) Bytes() int {
	if l.n <= longList {
		return l.n * len(ChunkID{})
	}
	return binary.MaxVarintLen32 + len(l.ids)*(binary.MaxVarintLen32+len(ChunkID{}))
}

// CutBlocklist reads what Append wrote of a list of n chunks, and returns what is after it; ErrCorrupt if it is
// not such.
func CutBlocklist(b []byte, n int) (l Blocklist, rest []byte, err error) {
	bad := func() (Blocklist, []byte, error) {
		return Blocklist{}, nil, fmt.Errorf("%w: list of %d chunks", ErrCorrupt, n)
	}
	if n < 0 || n > MaxFileChunks || n <= longList && len(b) < n*len(ChunkID{}) {
		return bad()
	}
	if n <= longList {
		l.ids = make([]ChunkID, n)
		for i := range l.ids {
			l.ids[i], b = ChunkID(b[:len(ChunkID{})]), b[len(ChunkID{}):]
		}
		return Blocks(l.ids...), b, nil
	}
	count, k := binary.Uvarint(b)
	if k <= 0 || count > MaxChunks || len(b) < int(count)*(1+len(ChunkID{})) {
		return bad()
	}
	b = b[k:]
	places := make([]int, count)
	next := uint64(0)
	for j := range places {
		gap, k := binary.Uvarint(b)
		if k <= 0 || gap > uint64(n) || next+gap >= uint64(n) {
			return bad()
		}
		places[j], next, b = int(next+gap), next+gap+1, b[k:]
	}
	if len(b) < len(places)*len(ChunkID{}) {
		return bad()
	}
	l = Blocklist{n: n, ids: make([]ChunkID, 0, count)}
	for _, i := range places {
		id := ChunkID(b[:len(ChunkID{})])
		if id == ZeroChunk {
			return bad()
		}
		l.add(i, id)
		b = b[len(ChunkID{}):]
	}
	return l, b, nil
}

// longJSON is a long list in JSON; a shorter one is an array of all its chunks.
type longJSON struct {
	N   int       `json:"n"`
	At  []uint32  `json:"at"`
	IDs []ChunkID `json:"ids"`
}

// MarshalJSON and UnmarshalJSON are for the wire and for those who read what the commands print.
func (l Blocklist) MarshalJSON() ([]byte, error) {
	if l.n > longList {
		long := longJSON{N: l.n, IDs: l.ids}
		for i := range l.All() {
			long.At = append(long.At, uint32(i))
		}
		return json.Marshal(long)
	}
	ids := make([]ChunkID, l.n)
	for i, id := range l.All() {
		ids[i] = id
	}
	return json.Marshal(ids)
}

func (l *Blocklist) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '{' {
		var ids []ChunkID
		if err := json.Unmarshal(b, &ids); err != nil {
			return err
		}
		*l = Blocks(ids...)
		return nil
	}
	var long longJSON
	if err := json.Unmarshal(b, &long); err != nil {
		return err
	}
	if long.N <= longList || long.N > MaxFileChunks || len(long.At) != len(long.IDs) {
		return fmt.Errorf("%w: list of %d chunks, %d at %d places", ErrInvalid, long.N, len(long.IDs), len(long.At))
	}
	m := Blocklist{n: long.N}
	next := uint32(0)
	for k, id := range long.IDs {
		if i := long.At[k]; i < next || int64(i) >= int64(long.N) || id == ZeroChunk {
			return fmt.Errorf("%w: chunk %d of a list of %d", ErrInvalid, i, long.N)
		}
		m.add(int(long.At[k]), id)
		next = long.At[k] + 1
	}
	*l = m
	return nil
}
