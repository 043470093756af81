package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
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
