package index

import (
	"cmp"
	"slices"
)

const (
	fewEnough = 16 // candidates; reading them is quicker than thinking on
	tooLong   = 20 // a list so many times the candidates is not worth reading
)

// candidates returns the documents of a part whose trigrams satisfy p, dead ones
// included; all reports that trigrams say nothing, and every document may.
func candidates(part part, p plan) (docs []uint32, all bool, err error) {
	switch p.op {
	case opAny:
		return nil, true, nil
	case opNone:
		return nil, false, nil
	case opOr:
		for _, sub := range p.of {
			d, all, err := candidates(part, sub)
			if err != nil || all {
				return nil, all, err
			}
			docs = append(docs, d...)
		}
		slices.Sort(docs)
		return slices.Compact(docs), false, nil
	case opTri:
		p = plan{op: opAnd, of: []plan{p}}
	}
	return candidatesAnd(part, p.of)
}

// candidatesAnd reads the shortest list first and looks for its documents in the others,
// shortest first, and in what is not a single trigram last.
func candidatesAnd(part part, of []plan) ([]uint32, bool, error) {
	var lists []list
	var rest []plan
	for _, p := range of {
		if p.op != opTri {
			rest = append(rest, p)
			continue
		}
		key := triKey(p.tri)
		l, ok, err := part.lookup(key[:])
		if err != nil || !ok {
			return nil, false, err
		}
		lists = append(lists, l)
	}
	slices.SortFunc(lists, func(a, b list) int { return cmp.Compare(a.count, b.count) })
	var docs []uint32
	var c docCursor
	for i, l := range lists {
		if i > 0 && (len(docs) <= fewEnough || int(l.count) > tooLong*len(docs)) {
			break // the longer ones are not worth more
		}
		c.open(l, false)
		if i == 0 {
			for doc, ok := c.next(); ok; doc, ok = c.next() {
				docs = append(docs, doc)
			}
		} else {
			docs = inList(docs, &c)
		}
		if c.err() != nil {
			return nil, false, c.err()
		}
	}
	all := len(lists) == 0
	for _, p := range rest {
		if !all && len(docs) <= fewEnough {
			break
		}
		d, every, err := candidates(part, p)
		if err != nil {
			return nil, false, err
		}
		if every {
			continue
		}
		if all {
			docs, all = d, false
		} else {
			docs = slices.DeleteFunc(docs, func(doc uint32) bool {
				_, ok := slices.BinarySearch(d, doc)
				return !ok
			})
		}
	}
	return docs, all, nil
}

// inList keeps the documents that the cursor has too.
func inList(docs []uint32, c *docCursor) []uint32 {
	n := 0
	for i := 0; i < len(docs); {
		at, ok := c.seek(docs[i])
		if !ok {
			break
		}
		for i < len(docs) && docs[i] < at {
			i++
		}
		if i < len(docs) && docs[i] == at {
			docs[n] = at
			n++
			i++
		}
	}
	return docs[:n]
}
