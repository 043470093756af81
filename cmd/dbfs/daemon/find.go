package daemon

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/index"
)

// scope is a namespace that a search goes through, and below which path of it.
type scope struct {
	sp    *space
	below string // within the namespace; "": all of it
}

// scopes returns the namespaces that can hold something below a drive path, in the order of
// their places in the drive.
func (d *Daemon) scopes(below string) ([]scope, error) {
	sp, n, err := d.find(below)
	if err != nil {
		return nil, err
	}
	p, ok := sp.journal.Path(n.ID)
	if !ok {
		return nil, fmt.Errorf("%s: %w", below, dbfs.ErrNotExist)
	}
	found := []scope{{sp, p}}
	if sp.journal.NS() != d.me.Root {
		return found, nil
	}
	for _, other := range d.all() {
		at, mounted := strings.CutPrefix(d.top(other), "/")
		inside := p == "" || strings.HasPrefix(at, p+"/")
		if other != sp && (mounted && inside || !mounted && p == "") {
			found = append(found, scope{other, ""})
		}
	}
	slices.SortStableFunc(found[1:], func(a, b scope) int { return strings.Compare(d.top(a.sp), d.top(b.sp)) })
	return found, nil
}

// Search finds the best files for a query, in every namespace that may hold some.
func (d *Daemon) Search(ctx context.Context, req control.SearchRequest) (*control.SearchResult, error) {
	start := time.Now()
	scopes, err := d.scopes(orRoot(req.Path))
	if err != nil {
		return nil, err
	}
	limit := req.Limit
	if limit <= 0 {
		limit = 20
	}
	res := &control.SearchResult{}
	var all []control.Hit
	for _, sc := range scopes {
		query := req.Query
		if sc.below != "" {
			query = "in:" + strconv.Quote(sc.below) + " (" + query + ")"
		}
		sc.sp.feed.catchUp(ctx)
		found, err := sc.sp.feed.index.Search(ctx, query, index.SearchOptions{Limit: limit, Snippets: true})
		if err != nil {
			return nil, err
		}
		res.Total += found.Total
		for _, h := range found.Hits {
			all = append(all, d.hit(sc.sp, h))
		}
		n, since, _ := sc.sp.feed.waiting()
		res.Waiting += int64(n)
		if !since.IsZero() {
			res.Behind = max(res.Behind, time.Since(since))
		}
	}
	slices.SortStableFunc(all, func(a, b control.Hit) int {
		if a.Score != b.Score {
			return map[bool]int{true: -1, false: 1}[a.Score > b.Score]
		}
		return strings.Compare(a.Path, b.Path)
	})
	res.Hits = all[:min(len(all), limit)]
	res.Elapsed = time.Since(start)
	return res, nil
}

func orRoot(p string) string {
	if p == "" {
		return "/"
	}
	return p
}

func (d *Daemon) hit(sp *space, h index.Hit) control.Hit {
	hit := control.Hit{Path: d.top(sp) + h.Path, Score: h.Score, Size: h.Size, ModTime: time.Unix(0, h.MTime), Residency: control.OnlineOnly}
	if h.Snippet != nil {
		hit.Snippet, hit.Spans = h.Snippet.Text, h.Snippet.Highlights
	}
	n, err := sp.journal.Node(h.Node)
	if err != nil {
		return hit
	}
	if n.Kind != dbfs.KindFile {
		hit.Residency = control.Local
		return hit
	}
	local, err := d.cache.Residency(cache.File{NS: sp.journal.NS(), Node: n.ID}, n.Content)
	switch {
	case err != nil || local == 0 && n.Content.Size > 0:
	case local < n.Content.Size:
		hit.Residency = control.Partial
	default:
		hit.Residency = control.Local
	}
	return hit
}

// Grep hands over matches as they are found, file by file in order of path.
func (d *Daemon) Grep(ctx context.Context, req control.GrepRequest, emit func(*control.GrepEvent) error) (*control.GrepSummary, error) {
	start := time.Now()
	scopes, err := d.scopes(orRoot(req.Path))
	if err != nil {
		return nil, err
	}
	opt := index.GrepOptions{
		Pattern: onePattern(req.Patterns, req.Fixed), IgnoreCase: req.IgnoreCase, Word: req.Word, Fixed: req.Fixed && len(req.Patterns) == 1,
		Globs: req.Globs, Before: req.Before, After: req.After, FilesOnly: req.Mode == control.GrepFiles, CountOnly: req.Mode == control.GrepCount,
	}
	sum := &control.GrepSummary{}
	for _, sc := range scopes {
		opt.In = sc.below
		top := d.top(sc.sp)
		sc.sp.feed.catchUp(ctx)
		late, _, _ := sc.sp.feed.waiting()
		st, err := sc.sp.feed.index.Grep(ctx, opt, func(m *index.FileMatches) error {
			return emitMatches(top, req.Mode, m, emit)
		})
		if err != nil {
			return nil, err
		}
		sum.Considered += int64(st.Candidates + st.NotSearched)
		sum.Candidates += int64(st.Candidates)
		sum.Searched += int64(st.Searched)
		sum.Matched += int64(st.Matched)
		sum.Lines += int64(st.Lines)
		sum.NotSearched += int64(st.NotSearched + st.Possible + late)
		sum.Bytes += st.Bytes
	}
	sum.Elapsed = time.Since(start)
	return sum, nil
}

// onePattern joins patterns to one that matches what any of them does.
func onePattern(patterns []string, fixed bool) string {
	if len(patterns) == 1 {
		return patterns[0]
	}
	var parts []string
	for _, p := range patterns {
		if fixed {
			p = regexp.QuoteMeta(p)
		}
		parts = append(parts, "(?:"+p+")")
	}
	return strings.Join(parts, "|")
}

func emitMatches(top string, mode control.GrepMode, m *index.FileMatches, emit func(*control.GrepEvent) error) error {
	if m.Offline {
		return nil // counted: its text is not here, so nobody can say
	}
	at := path.Join(top, m.Path)
	if !strings.HasPrefix(top, "/") {
		at = top + m.Path
	}
	if mode != control.GrepLines {
		return emit(&control.GrepEvent{Path: at, Count: int64(m.Count)})
	}
	for _, l := range m.Lines {
		err := emit(&control.GrepEvent{Path: at, Line: int64(l.Number), Offset: l.Offset, Text: l.Text, Spans: l.Matches, Context: len(l.Matches) == 0})
		if err != nil {
			return err
		}
	}
	return nil
}
