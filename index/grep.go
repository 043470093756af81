package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// GrepOptions of one grep. The flags of ripgrep that each stands for are in parentheses.
type GrepOptions struct {
	Pattern    string   // in the syntax of Go's regexp
	IgnoreCase bool     // (-i)
	Word       bool     // only whole words (-w)
	Fixed      bool     // the pattern is a string (-F)
	Globs      []string // which paths, as in .gitignore; ! excludes (-g)
	In         string   // only this file or what is below this directory; empty: everything
	Before     int      // lines of context before a match (-B, -C)
	After      int      // and after it (-A, -C)
	FilesOnly  bool     // stop at the first match of a file, and give no lines (-l)
	CountOnly  bool     // count, and give no lines (-c)
	MaxPerFile int      // matching lines of one file; 0: all (-m)
	MaxFiles   int      // files with matches; 0: all
}

// FileMatches is what a grep found in one file. Its lines belong to whoever gets it.
type FileMatches struct {
	Node     dbfs.NodeID
	Path     string
	Lines    []Line // matches and their context in order; numbers jump where a gap is
	Count    int    // matching lines
	Matches  int    // matches in them
	Searched int64  // bytes of text looked at
	BinaryAt int64  // where a NUL ended the search; -1: nowhere
	Offline  bool   // it may match, but its bytes are not on this machine: nothing else is set
}

// GrepStats says how complete the answer of a grep is, and what it took.
type GrepStats struct {
	Candidates  int           `json:"candidates"`   // files that had to be looked at
	Searched    int           `json:"searched"`     // files looked at
	Bytes       int64         `json:"bytes"`        // of text looked at
	Matched     int           `json:"matched"`      // files with matches
	Lines       int           `json:"lines"`        // matching lines
	Matches     int           `json:"matches"`      // matches
	Possible    int           `json:"possible"`     // candidates by their trigrams whose bytes are not here
	NotSearched int           `json:"not_searched"` // files of which only the name is known and whose bytes are not here
	Failed      int           `json:"failed"`       // files that could not be read
	Unplanned   bool          `json:"unplanned"`    // the pattern has no usable trigram: every text was a candidate
	Stopped     bool          `json:"stopped"`      // MaxFiles was reached
	Elapsed     time.Duration `json:"elapsed"`
}

// Grep finds the lines that match a regular expression, in order of path, and calls emit
// for each file with matches as it is found, and for each that may match but is not
// here. An error of emit ends it. Trigrams choose the files; each is then read from the
// Source, so that the lines are those of now. It never downloads.
func (x *Index) Grep(ctx context.Context, opt GrepOptions, emit func(*FileMatches) error) (GrepStats, error) {
	start := time.Now()
	m, err := newMatcher(opt)
	if err != nil {
		return GrepStats{}, err
	}
	gs, err := parseGlobs(opt.Globs)
	if err != nil {
		return GrepStats{}, err
	}
	var stats GrepStats
	var found []candidate
	err = x.look(func(s *snapshot) (err error) {
		stats.Unplanned = false
		found, err = x.grepFiles(ctx, s, m.plan, &stats.Unplanned)
		return err
	})
	if err == nil {
		found = x.inScope(found, opt, gs)
		stats.Candidates = len(found)
		err = x.verify(ctx, m, &opt, found, &stats, emit)
	}
	stats.Elapsed = time.Since(start)
	if err != nil {
		return stats, fmt.Errorf("grep: %w", err)
	}
	return stats, nil
}

// A candidate is a file that a grep has to look at.
type candidate struct {
	node  dbfs.NodeID
	path  string
	known bool // its text is indexed
}

// grepFiles returns the files whose texts satisfy the plan, or are not known well enough.
func (x *Index) grepFiles(ctx context.Context, s *snapshot, p plan, unplanned *bool) ([]candidate, error) {
	var out []candidate
	join := newJoin(s)
	for _, part := range s.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		docs, all, err := candidates(part, p)
		if err != nil {
			return nil, err
		}
		if all {
			*unplanned = true
		}
		if docs, err = alwaysCandidates(part, docs, all); err != nil {
			return nil, err
		}
		join.enter(part)
		for _, doc := range docs {
			r, ok, err := join.content(doc)
			if err != nil {
				return nil, err
			}
			if ok && r.kind&isBinary == 0 {
				join.add(0)
			}
		}
	}
	known, err := join.done()
	if err != nil {
		return nil, err
	}
	for _, key := range known.keys {
		if out, err = s.addCandidate(out, uint32(key), true); err != nil {
			return nil, err
		}
	}
	unknown, err := s.unknown(ctx)
	if err != nil {
		return nil, err
	}
	for _, doc := range unknown {
		if out, err = s.addCandidate(out, doc, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// alwaysCandidates adds the documents of a part that trigrams cannot rule out: all when
// they say nothing, otherwise the texts of which only the beginning is indexed.
func alwaysCandidates(p livePart, docs []uint32, all bool) ([]uint32, error) {
	if all {
		for i := range p.size() {
			r, err := p.rowAt(i)
			if err != nil {
				return nil, err
			}
			if r.is(isContent) {
				docs = append(docs, r.doc)
			}
		}
		return docs, nil
	}
	l, ok, err := p.lookup(longKey)
	if err != nil || !ok {
		return docs, err
	}
	var c docCursor
	c.open(l, false)
	for doc, ok := c.next(); ok; doc, ok = c.next() {
		docs = append(docs, doc)
	}
	slices.Sort(docs)
	return slices.Compact(docs), c.err()
}

func (s *snapshot) addCandidate(out []candidate, name uint32, known bool) ([]candidate, error) {
	r, p, ok, err := s.live(name)
	if err != nil || !ok {
		return out, err
	}
	n, err := p.name(r)
	if err != nil {
		return out, err
	}
	return append(out, candidate{node: n.node, known: known}), nil
}

// unknown returns the names whose content has not been looked into.
func (s *snapshot) unknown(ctx context.Context) ([]uint32, error) {
	var names []uint32
	if s.hurt {
		err := s.eachName(ctx, func(p livePart, r row) error {
			if r.link != 0 {
				_, _, ok, err := s.live(r.link)
				if ok || err != nil {
					return err
				}
			} else if n, err := p.name(r); err != nil || n.content == (key128{}) {
				return err
			}
			names = append(names, r.doc)
			return nil
		})
		return names, err
	}
	err := s.docs(unknownKey, func(_ livePart, r row) bool {
		names = append(names, r.doc)
		return true
	})
	return names, err
}

// inScope finds the candidates' paths, leaves out those that are not asked for, and
// brings the others into order.
func (x *Index) inScope(found []candidate, opt GrepOptions, gs globs) []candidate {
	in := strings.Trim(opt.In, "/")
	n := 0
	for _, c := range found {
		path, ok := x.opt.Tree.Path(c.node)
		if ok && isUnder(path, in) && gs.match(path) {
			c.path = path
			found[n] = c
			n++
		}
	}
	found = found[:n]
	slices.SortFunc(found, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	return found
}

const grepWorkers = 2

// A verdict is what looking at one candidate came to.
type verdict struct {
	out *FileMatches
	err error
}

// verify looks at the candidates, some at once, and deals with the verdicts in order.
func (x *Index) verify(ctx context.Context, m *matcher, opt *GrepOptions, found []candidate, stats *GrepStats, emit func(*FileMatches) error) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type job struct {
		candidate
		done chan verdict // of size one
	}
	jobs := make(chan job)
	ordered := make(chan job, 4*grepWorkers) // bounds what waits for its turn
	tasks.Go(func() {
		defer close(jobs)
		defer close(ordered)
		for _, c := range found {
			j := job{c, make(chan verdict, 1)}
			select {
			case ordered <- j:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				j.done <- verdict{err: ctx.Err()}
				return
			}
		}
	})
	for range grepWorkers {
		tasks.Go(func() {
			search := lineSearch{opt: opt, f: finder{m: m}}
			for j := range jobs {
				out := &FileMatches{Node: j.node, Path: j.path, BinaryAt: -1}
				j.done <- verdict{out, search.search(ctx, x.opt.Source, j.node, out)}
			}
		})
	}
	for j := range ordered {
		if err := stats.take(<-j.done, j.known, emit); err != nil {
			return err
		}
		if opt.MaxFiles > 0 && stats.Matched >= opt.MaxFiles {
			stats.Stopped = true
			return nil
		}
	}
	return ctx.Err()
}

// take counts a verdict and emits what is to be seen of it.
func (st *GrepStats) take(v verdict, known bool, emit func(*FileMatches) error) error {
	switch {
	case errors.Is(v.err, context.Canceled), errors.Is(v.err, context.DeadlineExceeded):
		return v.err
	case errors.Is(v.err, dbfs.ErrOffline) && known:
		st.Possible++
		return emit(&FileMatches{Node: v.out.Node, Path: v.out.Path, BinaryAt: -1, Offline: true})
	case errors.Is(v.err, dbfs.ErrOffline):
		st.NotSearched++
		return nil
	case errors.Is(v.err, dbfs.ErrNotExist), errors.Is(v.err, errNotText):
		return nil
	case v.err != nil:
		st.Failed++ // and what was found before it counts
	}
	st.Searched++
	st.Bytes += v.out.Searched
	if v.out.Count == 0 {
		return nil
	}
	st.Matched++
	st.Lines += v.out.Count
	st.Matches += v.out.Matches
	return emit(v.out)
}
