package index

import "encoding/binary"

// inlineMax is the longest list, in bytes, that stands in the dictionary itself.
const inlineMax = 24

// A listWriter writes one list after another as postings.go draws them. Full blocks go
// to out at once; a short list never gets there and is handed back for the dictionary.
type listWriter struct {
	out *pageWriter // nil: the whole list is handed back

	words bool // with positions
	base  uint32
	count uint32
	prev  uint32 // last document of the blocks written
	last  uint32 // last document added
	start int64  // of this list in out
	body  []byte // blocks that have no out
	docs  []uint32
	docB  []byte // of a word: the block's documents, encoded
	posB  []byte // of a word: the block's positions, encoded
	tmp   []byte
}

func (w *listWriter) begin(base uint32, words bool) {
	w.words, w.base, w.count, w.prev, w.last = words, base, 0, base, base
	w.body, w.docs, w.docB, w.posB = w.body[:0], w.docs[:0], w.docB[:0], w.posB[:0]
	if w.out != nil {
		w.start = w.out.pos()
	}
}

// add appends a document; positions (upwards, not empty) only to the list of a word.
func (w *listWriter) add(doc uint32, positions []uint32) {
	if w.words {
		w.addWord(doc-w.last, positions)
	}
	w.docs = append(w.docs, doc)
	w.last = doc
	w.count++
	if len(w.docs) == blockDocs {
		w.block()
	}
}

func (w *listWriter) addWord(gap uint32, positions []uint32) {
	if len(positions) == 1 {
		w.docB = binary.AppendUvarint(w.docB, uint64(gap)<<1|1)
	} else {
		w.docB = binary.AppendUvarint(w.docB, uint64(gap)<<1)
		w.docB = binary.AppendUvarint(w.docB, uint64(len(positions)))
	}
	prev := uint32(0)
	for _, p := range positions {
		w.posB = binary.AppendUvarint(w.posB, uint64(p-prev))
		prev = p
	}
}

func (w *listWriter) block() {
	b := binary.AppendUvarint(w.tmp[:0], uint64(w.last-w.prev))
	if w.words {
		b = binary.AppendUvarint(b, uint64(len(w.docB)))
		b = binary.AppendUvarint(b, uint64(len(w.posB)))
		b = append(append(b, w.docB...), w.posB...)
		w.tmp = b
	} else {
		head := len(b)
		b = appendRice(b, w.prev, w.docs)
		body := append(w.posB[:0], b[head:]...)
		b = append(binary.AppendUvarint(b[:head], uint64(len(body))), body...)
		w.tmp, w.posB = b, body[:0]
	}
	w.put(b)
	w.prev = w.last
	w.docs, w.docB, w.posB = w.docs[:0], w.docB[:0], w.posB[:0]
}

func (w *listWriter) put(b []byte) {
	if w.out != nil {
		w.out.write(b)
	} else {
		w.body = append(w.body, b...)
	}
}

// end finishes the list. When all of it is in out, inline is nil and size is its length
// there; otherwise inline is the list, good until the next begin.
func (w *listWriter) end() (inline []byte, size int64) {
	if len(w.docs) > 0 {
		b := w.tmp[:0]
		if w.words {
			b = append(append(binary.AppendUvarint(b, uint64(len(w.docB))), w.docB...), w.posB...)
		} else {
			b = appendRice(b, w.prev, w.docs)
		}
		w.tmp = b
		if w.out != nil && w.count < blockDocs && len(b) <= inlineMax {
			return b, int64(len(b))
		}
		w.put(b)
	}
	if w.out != nil {
		return nil, w.out.pos() - w.start
	}
	return w.body, int64(len(w.body))
}
