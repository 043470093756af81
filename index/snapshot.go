package index

import (
	"slices"
	"sort"

	"github.com/dbfs/dbfs"
)

// A snapshot is the index at one moment: what one search looks at. It keeps the files
// of its segments open until it is released.
type snapshot struct {
	parts []livePart // in order of their documents
	links []uint64
	hurt  bool // something was lost: names may be linked to contents that are gone
}

type livePart struct {
	part
	dead *dead // will not change
}

// snapshot returns the index as it is now.
func (x *Index) snapshot() (*snapshot, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, errClosed
	}
	s := &snapshot{links: x.links.snapshot(), hurt: x.losses > x.healed}
	for _, seg := range x.segments {
		seg.retain()
		s.parts = append(s.parts, livePart{seg.segment, seg.now.share()})
	}
	if x.frozen != nil {
		s.parts = append(s.parts, livePart{x.frozen.mem.view(), x.frozen.now.share()})
	}
	s.parts = append(s.parts, livePart{x.mem.view(), x.memDead.share()})
	return s, nil
}

func (s *snapshot) release() {
	for _, p := range s.parts {
		if seg, ok := p.part.(*segment); ok {
			seg.release()
		}
	}
}

// partOf returns the part that a document would be in; false when there is none.
func (s *snapshot) partOf(doc uint32) (livePart, bool) {
	i := sort.Search(len(s.parts), func(i int) bool {
		_, hi := s.parts[i].bounds()
		return hi >= doc
	})
	if i == len(s.parts) {
		return livePart{}, false
	}
	lo, _ := s.parts[i].bounds()
	return s.parts[i], doc > lo
}

// live finds the row of a document; false when it is dead or gone.
func (p livePart) live(doc uint32) (row, bool, error) {
	r, i, ok, err := p.row(doc)
	return r, ok && !p.dead.has(i), err
}

// live finds the row of a document anywhere.
func (s *snapshot) live(doc uint32) (row, livePart, bool, error) {
	p, ok := s.partOf(doc)
	if !ok {
		return row{}, p, false, nil
	}
	r, ok, err := p.live(doc)
	return r, p, ok, err
}

// name reads the record of a name document.
func (p livePart) name(r row) (nameRecord, error) {
	b, err := p.record(r.record, maxNameRecord)
	if err != nil {
		return nameRecord{}, err
	}
	n, _, err := decodeNameRecord(b)
	return n, err
}

// docs calls fn with the live documents of a key, newest part first, until it returns false.
func (s *snapshot) docs(key []byte, fn func(p livePart, r row) bool) error {
	var c docCursor
	for _, p := range slices.Backward(s.parts) {
		l, ok, err := p.lookup(key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c.open(l, false)
		for doc, ok := c.next(); ok; doc, ok = c.next() {
			r, ok, err := p.live(doc)
			if err != nil {
				return err
			}
			if ok && !fn(p, r) {
				return nil
			}
		}
		if c.err() != nil {
			return c.err()
		}
	}
	return nil
}

// Keys. The last two have no term.
func nodeKey(node dbfs.NodeID) []byte { return append([]byte{'i'}, node[:]...) }
func contentTerm(key key128) []byte   { return append([]byte{'c'}, key[:]...) }

var longKey, unknownKey = []byte{'l'}, []byte{'u'}

// A foundName is a name document with its record.
type foundName struct {
	row
	nameRecord
}

// node finds a node's name document.
func (s *snapshot) node(node dbfs.NodeID) (found foundName, ok bool, err error) {
	scanErr := s.docs(nodeKey(node), func(p livePart, r row) bool {
		found.row, ok = r, true
		found.nameRecord, err = p.name(r)
		return false
	})
	if err == nil {
		err = scanErr
	}
	return found, ok && err == nil, err
}

// content finds a content's document (0: there is none) and the names that have it.
func (s *snapshot) content(key key128) (doc uint32, names []row, err error) {
	err = s.docs(contentTerm(key), func(_ livePart, r row) bool {
		if r.is(isContent) {
			doc = r.doc
		} else {
			names = append(names, r)
		}
		return true
	})
	return doc, names, err
}
