package index

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// An analysis is what indexing needs of one text: its terms with their positions and its
// trigrams. It is used again for the next text, so that its tables are made once.
type analysis struct {
	tok tokenizer

	// The terms in order of first appearance. Each is a key: kind byte and term.
	keys  []byte
	ends  []uint32 // where each key ends in keys
	hash  []uint64
	count []uint32 // how often each appears
	last  []uint32 // where each appeared last
	slots []uint32 // open addressing: index+1 into ends; a power of two of them

	seq []uint32 // the tokens of the text: which term
	pos []uint32 // and at which position

	tokens uint32
	tris   []uint32 // distinct trigrams, unordered
	seen   []uint64 // a bit for each of 2^24 trigrams; all zero between texts
}

var hashSeed = maphash.MakeSeed()

func newAnalysis() *analysis {
	a := &analysis{slots: make([]uint32, 1<<12), seen: make([]uint64, 1<<18)}
	a.tok = tokenizer{emit: a.token, parts: true}
	return a
}

// text analyses text, which is decoded (Decode) and is not kept.
func (a *analysis) text(text []byte) {
	a.reset()
	a.tok.run(text)
	a.tokens = a.tok.pos
	a.trigrams(foldRare(text))
}

func (a *analysis) reset() {
	a.keys, a.ends, a.hash, a.count, a.last = a.keys[:0], a.ends[:0], a.hash[:0], a.count[:0], a.last[:0]
	a.seq, a.pos, a.tris = a.seq[:0], a.pos[:0], a.tris[:0]
	clear(a.slots)
	if cap(a.seq) > 1<<17 || len(a.slots) > 1<<16 { // one enormous text: its tables are not kept
		*a = analysis{tok: a.tok, slots: make([]uint32, 1<<12), seen: a.seen}
	}
}

func (a *analysis) key(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = a.ends[i-1]
	}
	return a.keys[start:a.ends[i]]
}

func (a *analysis) token(t token) {
	start := len(a.keys)
	a.keys = append(append(a.keys, 'w'), t.term...)
	key := a.keys[start:]
	h := maphash.Bytes(hashSeed, key)
	mask := uint64(len(a.slots) - 1)
	for s := h & mask; ; s = (s + 1) & mask {
		i := a.slots[s]
		if i == 0 {
			a.slots[s] = a.newTerm(h)
			break
		}
		if a.hash[i-1] == h && bytes.Equal(a.key(int(i-1)), key) {
			a.keys = a.keys[:start]
			a.add(i-1, t.pos)
			return
		}
	}
	a.add(uint32(len(a.ends)-1), t.pos)
	if 2*len(a.ends) > len(a.slots) {
		a.grow()
	}
}

func (a *analysis) newTerm(h uint64) uint32 {
	a.ends = append(a.ends, uint32(len(a.keys)))
	a.hash = append(a.hash, h)
	a.count = append(a.count, 0)
	a.last = append(a.last, 0)
	return uint32(len(a.ends))
}

// add notes that term stands at pos, once: foo_foo has its part twice.
func (a *analysis) add(term, pos uint32) {
	if a.count[term] > 0 && a.last[term] == pos {
		return
	}
	a.last[term] = pos
	a.seq = append(a.seq, term)
	a.pos = append(a.pos, pos)
	a.count[term]++
}

func (a *analysis) grow() {
	a.slots = make([]uint32, 2*len(a.slots))
	mask := uint64(len(a.slots) - 1)
	for i, h := range a.hash {
		s := h & mask
		for a.slots[s] != 0 {
			s = (s + 1) & mask
		}
		a.slots[s] = uint32(i + 1)
	}
}

// byTerm sorts the positions by term: those of term i are pos[start[i]:start[i+1]], upwards.
func (a *analysis) byTerm() (pos, start []uint32) {
	start = make([]uint32, len(a.ends)+1)
	for i, n := range a.count {
		start[i+1] = start[i] + n
	}
	pos = make([]uint32, len(a.seq))
	next := slices.Clone(start)
	for i, term := range a.seq {
		pos[next[term]] = a.pos[i]
		next[term]++
	}
	return pos, start
}

func (a *analysis) trigrams(text []byte) {
	var t uint32
	n := 0
	for _, b := range text {
		if b == '\n' {
			n = 0
			continue
		}
		t = (t<<8 | uint32(folded[b])) & 0xffffff
		if n++; n < 3 {
			continue
		}
		if bit := uint64(1) << (t & 63); a.seen[t>>6]&bit == 0 {
			a.seen[t>>6] |= bit
			a.tris = append(a.tris, t)
		}
	}
	for _, t := range a.tris {
		a.seen[t>>6] = 0
	}
}

// Letters outside ASCII that are a case of one inside it. Where case does not matter,
// regexp takes them for k and s, and so must the trigrams.
var rare = []struct{ from, to []byte }{{[]byte("\u212a"), []byte("k")}, {[]byte("\u017f"), []byte("s")}}

func foldRare(text []byte) []byte {
	for _, r := range rare {
		if bytes.Contains(text, r.from) {
			text = bytes.ReplaceAll(text, r.from, r.to)
		}
	}
	return text
}
