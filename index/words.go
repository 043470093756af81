package index

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// phrase finds the words in texts and in names.
func (e *evaluation) phrase(n phrase, within *files) (files, error) {
	byName, err := e.inNames(n)
	if err != nil || n.nameOnly {
		return byName, err
	}
	var byText files
	switch {
	case n.prefix:
		byText, err = e.prefix(n.terms[0])
	case len(n.terms) == 1:
		byText, err = e.word(n.terms[0], within)
	default:
		byText, err = e.inRow(n.terms, within)
	}
	return union(byText, byName), err
}

func (e *evaluation) word(term string, within *files) (files, error) {
	lists, df, err := e.lists('w', term)
	if err != nil {
		return files{}, err
	}
	idf := e.idf(df)
	join := newJoin(e.s)
	for i, p := range e.s.parts {
		if lists[i].count == 0 {
			continue
		}
		var c wordCursor
		c.open(lists[i], false)
		join.enter(p)
		err := e.each(&c, p, within, func() error {
			r, ok, err := join.content(c.doc())
			if ok {
				join.add(e.bm25(idf, c.tf(), r.length))
			}
			return err
		})
		if err != nil {
			return files{}, err
		}
	}
	return join.done()
}

// each moves c over its documents, passing over what is certainly not within.
func (e *evaluation) each(c *wordCursor, p part, within *files, fn func() error) error {
	if within == nil {
		for n := 0; c.next(); n++ {
			if n&0xffff == 0xffff && e.ctx.Err() != nil {
				return e.ctx.Err()
			}
			if err := fn(); err != nil {
				return err
			}
		}
		return c.err()
	}
	lo, hi := p.bounds()
	for keys := within.keys[gallop(within.keys, fileKey(lo+1, 0)):]; len(keys) > 0; {
		content := uint32(keys[0] >> 32)
		if content > hi || !c.seek(content) {
			break
		}
		if c.doc() == content {
			if err := fn(); err != nil {
				return err
			}
		}
		keys = keys[gallop(keys, fileKey(max(content+1, c.doc()), 0)):]
	}
	return c.err()
}

// prefix finds texts with a word that begins so. It does not count how often.
func (e *evaluation) prefix(term string) (files, error) {
	docs := roaring.New()
	var c wordCursor
	var block []uint32
	for _, p := range e.s.parts {
		err := p.ascend(append([]byte{'w'}, term...), func(_ []byte, l list) error {
			c.open(l, false)
			block = block[:0]
			for c.next() {
				block = append(block, c.doc())
			}
			docs.AddMany(block)
			return cmp.Or(c.err(), e.ctx.Err())
		})
		if err != nil {
			return files{}, err
		}
	}
	idf := e.idf(float64(docs.GetCardinality()))
	join := newJoin(e.s)
	for it := docs.Iterator(); it.HasNext(); {
		doc := it.Next()
		if p, ok := e.s.partOf(doc); ok {
			join.enter(p)
		}
		r, ok, err := join.content(doc)
		if err != nil {
			return files{}, err
		}
		if ok {
			join.add(e.bm25(idf, 1, r.length))
		}
	}
	return join.done()
}

// inRow finds texts in which the terms follow each other.
func (e *evaluation) inRow(terms []string, within *files) (files, error) {
	lists := make([][]list, len(terms))
	weight := 0.0
	for i, term := range terms {
		l, df, err := e.lists('w', term)
		if err != nil || df == 0 {
			return files{}, err
		}
		lists[i] = l
		weight += e.idf(df)
	}
	join := newJoin(e.s)
	for i, p := range e.s.parts {
		cursors := make([]wordCursor, len(terms))
		lead := 0
		for t := range terms {
			cursors[t].open(lists[t][i], false)
			if lists[t][i].count < lists[lead][i].count {
				lead = t
			}
		}
		if lists[lead][i].count == 0 {
			continue
		}
		join.enter(p)
		err := e.each(&cursors[lead], p, within, func() error {
			tf, err := rowCount(cursors, lead)
			if err != nil || tf == 0 {
				return err
			}
			r, ok, err := join.content(cursors[lead].doc())
			if ok {
				join.add(e.bm25(weight, tf, r.length))
			}
			return err
		})
		if err != nil {
			return files{}, err
		}
	}
	return join.done()
}

// rowCount counts how often the words of the cursors follow each other in the document
// that the lead is at.
func rowCount(cursors []wordCursor, lead int) (uint32, error) {
	doc := cursors[lead].doc()
	for i := range cursors {
		c := &cursors[i]
		if i != lead && (!c.seek(doc) || c.doc() != doc) {
			return 0, c.err()
		}
	}
	count := uint32(0)
	for _, pos := range cursors[lead].positions() {
		if uint32(lead) > pos {
			continue
		}
		all := true
		for i := range cursors {
			if i != lead {
				positions := cursors[i].positions()
				at := lowerBound(positions, pos-uint32(lead)+uint32(i))
				all = at < len(positions) && positions[at] == pos-uint32(lead)+uint32(i)
			}
			if err := cursors[i].err(); err != nil {
				return 0, err
			}
			if !all {
				break
			}
		}
		if all {
			count++
		}
	}
	return count, nil
}

// inNames finds names that have the words, several of them in a row.
func (e *evaluation) inNames(n phrase) (files, error) {
	var out files
	var seen *roaring.Bitmap
	if n.prefix {
		seen = roaring.New()
	}
	df := 0.0
	for _, p := range e.s.parts {
		found, err := namesIn(p, n)
		if err != nil {
			return files{}, err
		}
		walk := p.walk()
		for _, doc := range found {
			r, _, ok, err := walk.find(doc)
			if err != nil {
				return files{}, err
			}
			if !ok || seen != nil && !seen.CheckedAdd(doc) {
				continue
			}
			if len(n.terms) > 1 {
				if ok, err := p.nameHasRow(r, n.terms); err != nil {
					return files{}, err
				} else if !ok {
					continue
				}
			}
			df++
			out.add(fileKey(r.link, r.doc), 0)
		}
	}
	score := float32(nameBonus * e.idf(df) / e.idf(1))
	for i := range out.scores {
		out.scores[i] = score
	}
	out.sort()
	return out, nil
}

// namesIn returns the name documents of a part that have all the terms, doubles possible
// for a prefix.
func namesIn(p part, n phrase) ([]uint32, error) {
	var c docCursor
	read := func(l list, into []uint32) ([]uint32, error) {
		c.open(l, false)
		for doc, ok := c.next(); ok; doc, ok = c.next() {
			into = append(into, doc)
		}
		return into, c.err()
	}
	var found []uint32
	if n.prefix {
		err := p.ascend(append([]byte{'n'}, n.terms[0]...), func(_ []byte, l list) (err error) {
			found, err = read(l, found)
			return err
		})
		return found, err
	}
	for i, term := range n.terms {
		l, ok, err := p.lookup(append([]byte{'n'}, term...))
		if err != nil || !ok {
			return nil, err
		}
		docs, err := read(l, nil)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			docs = slices.DeleteFunc(docs, func(doc uint32) bool {
				_, has := slices.BinarySearch(found, doc)
				return !has
			})
		}
		found = docs
	}
	return found, nil
}

// nameHasRow reports whether the terms follow each other in a name.
func (p livePart) nameHasRow(r row, terms []string) (bool, error) {
	n, err := p.name(r)
	if err != nil {
		return false, err
	}
	at := make([]map[uint32]bool, len(terms)) // positions of each term
	t := tokenizer{parts: true, emit: func(t token) {
		for i, term := range terms {
			if term == string(t.term) {
				if at[i] == nil {
					at[i] = map[uint32]bool{}
				}
				at[i][t.pos] = true
			}
		}
	}}
	t.run([]byte(n.name))
	for pos := range at[0] {
		ok := true
		for i := range terms {
			ok = ok && at[i][pos+uint32(i)]
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}
