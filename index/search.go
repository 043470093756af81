package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
)

// SearchOptions of one search; the zero value asks for the best 20 without snippets.
type SearchOptions struct {
	Limit    int       // hits to return; 0 or less: 20
	Snippets bool      // read the files of the hits for the best place in each
	Now      time.Time // what after:7d counts from; zero: time.Now()
}

// A Result is what a search found.
type Result struct {
	Hits  []Hit `json:"hits"`  // best first
	Total int   `json:"total"` // files that match, those not among Hits included
}

// A Hit is one file that matches.
type Hit struct {
	Node    dbfs.NodeID `json:"node"`
	Path    string      `json:"path"` // within the namespace
	Name    string      `json:"name"`
	Size    int64       `json:"size"`
	MTime   int64       `json:"mtime"` // nanoseconds since 1970
	Score   float64     `json:"score"`
	Snippet *Snippet    `json:"snippet,omitempty"` // nil: not asked for, not on this machine, or only the name matches
}

// Search finds the files that a query wants. ErrInvalid: the query cannot be understood,
// the message says where. A segment found to be damaged is dropped and the search
// repeated without it: its answer is then less than it should be, and Lost is true.
func (x *Index) Search(ctx context.Context, query string, opt SearchOptions) (Result, error) {
	if opt.Limit <= 0 {
		opt.Limit = 20
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	q, err := parseQuery(query, opt.Now)
	if err != nil {
		return Result{}, err
	}
	var res Result
	err = x.look(func(s *snapshot) (err error) {
		res, err = x.search(ctx, s, q, opt)
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("search: %w", err)
	}
	if opt.Snippets {
		x.addSnippets(ctx, q, res.Hits)
	}
	return res, nil
}

// look runs fn on the index as it is, and again without the segments that turn out to be damaged.
func (x *Index) look(fn func(s *snapshot) error) error {
	for {
		s, err := x.snapshot()
		if err != nil {
			return err
		}
		err = fn(s)
		s.release()
		if !errors.Is(err, dbfs.ErrCorrupt) {
			return err
		}
		x.mu.Lock()
		again := x.forgetDamaged(err) || x.wasForgotten(err)
		x.mu.Unlock()
		if !again {
			return err
		}
	}
}

// wasForgotten reports whether the segment that err complains of is not looked at any more.
func (x *Index) wasForgotten(err error) bool {
	var d *damage
	return errors.As(err, &d) && !slices.ContainsFunc(x.segments, func(s *liveSegment) bool { return s.pages == d.pages })
}

func (x *Index) search(ctx context.Context, s *snapshot, q node, opt SearchOptions) (Result, error) {
	e := newEvaluation(ctx, s, x.opt.Tree)
	found, err := e.eval(q, nil)
	if err != nil {
		return Result{}, err
	}
	res := Result{Total: len(found.keys)}
	words := plainTerms(q)
	// A few more than wanted: some may be gone from the tree, and a name that is exactly
	// what was asked for moves up.
	for _, i := range found.best(opt.Limit + opt.Limit/2 + 16) {
		r, p, ok, err := s.live(uint32(found.keys[i]))
		if err != nil {
			return Result{}, err
		}
		if !ok {
			continue
		}
		n, err := p.name(r)
		if err != nil {
			return Result{}, err
		}
		path, ok := x.opt.Tree.Path(n.node)
		if !ok {
			res.Total--
			continue
		}
		score := float64(found.scores[i]) + nameFit(n.name, words)
		res.Hits = append(res.Hits, Hit{Node: n.node, Path: path, Name: n.name, Size: n.size, MTime: n.mtime, Score: score})
	}
	return Merge(opt.Limit, res), nil
}

// Merge joins the results of several indexes and keeps the best hits, at most limit.
func Merge(limit int, results ...Result) Result {
	var all Result
	for _, r := range results {
		all.Hits = append(all.Hits, r.Hits...)
		all.Total += r.Total
	}
	slices.SortStableFunc(all.Hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Path, b.Path))
	})
	all.Hits = all.Hits[:min(limit, len(all.Hits))]
	return all
}

// best returns the indices of the n files with the highest scores, in no order; among
// equals the newer names.
func (f files) best(n int) []int {
	worse := func(i, j int) bool {
		return f.scores[i] < f.scores[j] || f.scores[i] == f.scores[j] && uint32(f.keys[i]) < uint32(f.keys[j])
	}
	heap := make([]int, 0, min(n, len(f.keys))) // the worst is at the top
	sift := func(at int) {
		for {
			child := 2*at + 1
			if child >= len(heap) {
				return
			}
			if child+1 < len(heap) && worse(heap[child+1], heap[child]) {
				child++
			}
			if !worse(heap[child], heap[at]) {
				return
			}
			heap[at], heap[child] = heap[child], heap[at]
			at = child
		}
	}
	for i := range f.keys {
		if len(heap) < n {
			heap = append(heap, i)
			if len(heap) == n {
				for at := n/2 - 1; at >= 0; at-- {
					sift(at)
				}
			}
		} else if n > 0 && worse(heap[0], i) {
			heap[0] = i
			sift(0)
		}
	}
	return heap
}

// nameFit is what a name earns beyond having a word: being it, or beginning with it.
func nameFit(name string, words []phrase) float64 {
	stem := strings.TrimSuffix(name, "."+fileExt(name))
	whole, all := foldTerm(nil, []byte(stem)), foldTerm(nil, []byte(name))
	fit := 0.0
	for _, p := range words {
		for _, term := range p.terms {
			switch {
			case term == string(whole) || term == string(all):
				fit = max(fit, 1)
			case strings.HasPrefix(string(all), term):
				fit = max(fit, 0.5)
			}
		}
	}
	return fit
}

// plainTerms returns the phrases of a query that a file should have.
func plainTerms(n node) []phrase {
	var of []node
	switch n := n.(type) {
	case phrase:
		return []phrase{n}
	case allOf:
		of = n.of
	case anyOf:
		of = n.of
	}
	var all []phrase
	for _, child := range of {
		all = append(all, plainTerms(child)...)
	}
	return all
}
