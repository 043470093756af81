package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
)

// BM25's parameters, and what a rare word in the name is worth.
const (
	bm25K1    = 1.2
	bm25B     = 0.75
	nameBonus = 2.0
)

// An evaluation finds the files that one query wants in one snapshot. One goroutine uses it.
type evaluation struct {
	ctx  context.Context
	s    *snapshot
	tree Tree

	contents float64 // documents that are contents or may be; what idf is taken from
	average  float64 // tokens of a content
}

func newEvaluation(ctx context.Context, s *snapshot, tree Tree) *evaluation {
	e := &evaluation{ctx: ctx, s: s, tree: tree}
	var tokens uint64
	for _, p := range s.parts {
		e.contents += float64(p.size()-p.dead.len()) / 2 // nearly every name has a content of its own
		tokens += p.totalTokens()
	}
	e.contents = max(1, e.contents)
	e.average = max(1, float64(tokens)/e.contents)
	return e
}

// idf is what a match of a word in df documents is worth.
func (e *evaluation) idf(df float64) float64 {
	df = min(df, e.contents)
	return math.Log(1 + (e.contents-df+0.5)/(df+0.5))
}

func (e *evaluation) bm25(idf float64, tf uint32, length uint8) float32 {
	norm := bm25K1 * (1 - bm25B + bm25B*float64(lengths[length])/e.average)
	return float32(idf * float64(tf) * (bm25K1 + 1) / (float64(tf) + norm))
}

// eval returns the files that n wants. Where within is not nil, it may leave out files
// that are not in it, and does so where that saves work.
func (e *evaluation) eval(n node, within *files) (files, error) {
	if err := e.ctx.Err(); err != nil {
		return files{}, err
	}
	switch n := n.(type) {
	case allOf:
		return e.allOf(n, within)
	case anyOf:
		var out files
		for _, child := range n.of {
			f, err := e.eval(child, within)
			if err != nil {
				return files{}, err
			}
			out = union(out, f)
		}
		return out, nil
	case phrase:
		return e.phrase(n, within)
	case hasExt:
		return e.hasExt(n)
	case not:
		base, err := e.base(within)
		if err != nil {
			return files{}, err
		}
		f, err := e.eval(n.of, &base)
		return subtract(base, f), err
	default:
		base, err := e.base(within)
		if err != nil {
			return files{}, err
		}
		return e.filter(base, n)
	}
}

// base returns within with its scores set to zero, or all files.
func (e *evaluation) base(within *files) (files, error) {
	if within != nil {
		return files{within.keys, make([]float32, len(within.keys))}, nil
	}
	var out files
	err := e.s.eachName(e.ctx, func(_ livePart, r row) error {
		out.add(fileKey(r.link, r.doc), 0)
		return nil
	})
	out.sort()
	return out, err
}

// allOf begins with what is likely to be in the fewest files and looks for the others
// only within what is left; what has to look at each file comes last.
func (e *evaluation) allOf(n allOf, within *files) (files, error) {
	type costed struct {
		node
		cost float64
	}
	var of []costed
	for _, child := range n.of {
		c, err := e.cost(child)
		if err != nil {
			return files{}, err
		}
		of = append(of, costed{child, c})
	}
	slices.SortStableFunc(of, func(a, b costed) int { return cmp.Compare(a.cost, b.cost) })
	out, err := e.base(within)
	if within == nil && len(of) > 0 && of[0].cost < everyFile {
		out, err = e.eval(of[0].node, nil)
		of = of[1:]
	}
	for _, child := range of {
		if err != nil || len(out.keys) == 0 {
			break
		}
		var f files
		if f, err = e.eval(child.node, &out); err == nil {
			out = intersect(out, f)
		}
	}
	return out, err
}

// everyFile is the cost of nodes that look at every file; those that read its record cost more.
const everyFile = 1e18

// cost is about how many documents have to be looked at.
func (e *evaluation) cost(n node) (float64, error) {
	switch n := n.(type) {
	case allOf:
		least := 2 * everyFile
		for _, child := range n.of {
			c, err := e.cost(child)
			if err != nil {
				return 0, err
			}
			least = min(least, c)
		}
		return least, nil
	case anyOf:
		sum := 0.0
		for _, child := range n.of {
			c, err := e.cost(child)
			if err != nil {
				return 0, err
			}
			sum += c
		}
		return sum, nil
	case phrase:
		if n.prefix {
			return e.contents / float64(len(n.terms[0])), nil
		}
		least := everyFile / 2
		for _, term := range n.terms {
			_, df, err := e.lists('w', term)
			if err != nil {
				return 0, err
			}
			least = min(least, df)
		}
		return least, nil
	case hasExt:
		return e.contents / 4, nil
	case not:
		return everyFile, nil
	case inPath:
		return 3 * everyFile, nil
	default:
		return 2 * everyFile, nil
	}
}

// lists returns a term's list in each part (with a count of 0 where there is none), and
// how many documents they name together.
func (e *evaluation) lists(kind byte, term string) ([]list, float64, error) {
	out := make([]list, len(e.s.parts))
	df := 0.0
	key := append([]byte{kind}, term...)
	for i, p := range e.s.parts {
		l, _, err := p.lookup(key)
		if err != nil {
			return nil, 0, err
		}
		out[i] = l
		df += float64(l.count)
	}
	return out, df, nil
}

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

func (e *evaluation) hasExt(n hasExt) (files, error) {
	var out files
	var c docCursor
	for _, p := range e.s.parts {
		walk := p.walk()
		for _, ext := range n.exts {
			l, ok, err := p.lookup(append([]byte{'e'}, ext...))
			if err != nil {
				return files{}, err
			}
			if !ok {
				continue
			}
			c.open(l, false)
			for doc, ok := c.next(); ok; doc, ok = c.next() {
				r, _, live, err := walk.find(doc)
				if err != nil {
					return files{}, err
				}
				if live {
					out.add(fileKey(r.link, r.doc), 0)
				}
			}
			if c.err() != nil {
				return files{}, c.err()
			}
		}
	}
	out.sort()
	return out, nil
}

// filter keeps the files of base whose record or path pleases n.
func (e *evaluation) filter(base files, n node) (files, error) {
	var out files
	for i, key := range base.keys {
		if i&0xfff == 0 && e.ctx.Err() != nil {
			return files{}, e.ctx.Err()
		}
		r, p, ok, err := e.s.live(uint32(key))
		if err != nil {
			return files{}, err
		}
		if !ok {
			continue
		}
		rec, err := p.name(r)
		if err != nil {
			return files{}, err
		}
		if e.pleases(n, &rec) {
			out.add(key, base.scores[i])
		}
	}
	return out, nil
}

func (e *evaluation) pleases(n node, rec *nameRecord) bool {
	switch n := n.(type) {
	case inPath:
		path, ok := e.tree.Path(rec.node)
		return ok && isUnder(path, n.path)
	case sizeIs:
		return n.min <= rec.size && rec.size <= n.max
	case changed:
		return n.from <= rec.mtime && rec.mtime < n.to
	}
	return false
}

// isUnder reports whether path is dir or below it. The empty dir is the top.
func isUnder(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (dir == "" || rest == "" || rest[0] == '/')
}

// A join turns contents that were found into the files that have them.
type join struct {
	s     *snapshot
	walk  *rowWalk
	links []uint64 // not below the content at hand
	out   files

	doc uint32
	at  int // its ordinal
	err error
}

func newJoin(s *snapshot) *join { return &join{s: s, links: s.links} }

// enter says that the next contents are of part p.
func (j *join) enter(p livePart) {
	if j.walk == nil || j.walk.p.part != p.part {
		j.walk = p.walk()
	}
}

// content finds a live content, to which add then refers. Contents come upwards.
func (j *join) content(doc uint32) (row, bool, error) {
	r, i, ok, err := j.walk.find(doc)
	j.doc, j.at = doc, i
	return r, ok && r.is(isContent), err
}

// add adds the files of the content at hand. An error waits for done.
func (j *join) add(score float32) {
	next, live, err := j.walk.at(j.at + 1)
	if live && next.is(isName) && next.link == j.doc && next.doc == j.doc+1 {
		j.out.add(fileKey(j.doc, next.doc), score)
	}
	if j.err == nil {
		j.err = err
	}
	for j.links = j.links[gallop(j.links, fileKey(j.doc, 0)):]; len(j.links) > 0 && uint32(j.links[0]>>32) == j.doc; j.links = j.links[1:] {
		_, _, live, err := j.s.live(uint32(j.links[0]))
		if live {
			j.out.add(j.links[0], score)
		}
		if j.err == nil {
			j.err = err
		}
	}
}

func (j *join) done() (files, error) { return j.out, j.err }
