package index

import (
	"context"
	"io"
	"strings"
	"unicode/utf8"
)

// A Snippet is a place in a file's text.
type Snippet struct {
	Text       string   `json:"text"`       // may hold line breaks
	Offset     int64    `json:"offset"`     // of Text in the decoded text, in bytes
	Line       int      `json:"line"`       // of Text's first byte, from 1
	Highlights [][2]int `json:"highlights"` // byte ranges in Text: first byte, byte after the last
}

const (
	snippetSize  = 160 // bytes
	snippetTexts = 20  // more hits than that get none
)

// addSnippets reads the files of the first hits. One that is not here, or has changed
// so that nothing matches any more, gets none.
func (x *Index) addSnippets(ctx context.Context, q node, hits []Hit) {
	var words []phrase
	for _, p := range plainTerms(q) {
		if !p.nameOnly {
			words = append(words, p)
		}
	}
	if len(words) == 0 || x.opt.Source == nil {
		return
	}
	for i := range hits[:min(len(hits), snippetTexts)] {
		if ctx.Err() != nil {
			return
		}
		r, err := x.opt.Source.Open(ctx, hits[i].Node)
		if err != nil {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(r, MaxText))
		r.Close()
		if text, ok := Decode(raw); ok && err == nil {
			hits[i].Snippet = snippet(text, words)
		}
	}
}

// A place is where a word of the query stands in a text.
type place struct {
	start, end int
	word       int // which
}

// snippet returns the window of the text with the most different words of the query, of
// several the one where they are closest together; nil when none stands in it.
func snippet(text []byte, words []phrase) *Snippet {
	places := findPlaces(text, words)
	if len(places) == 0 {
		return nil
	}
	from, to := bestWindow(places)
	start, end := widen(text, places[from].start, places[to-1].end)
	s := &Snippet{Text: string(text[start:end]), Offset: int64(start), Line: 1 + strings.Count(string(text[:start]), "\n")}
	for _, p := range places[from:] {
		if p.end > end {
			break
		}
		if n := len(s.Highlights); n > 0 && s.Highlights[n-1][1] > p.start-start { // parts of one token
			s.Highlights[n-1][1] = max(s.Highlights[n-1][1], p.end-start)
			continue
		}
		s.Highlights = append(s.Highlights, [2]int{p.start - start, p.end - start})
	}
	return s
}

func findPlaces(text []byte, words []phrase) []place {
	exact := map[string]int{}
	type start struct {
		term string
		word int
	}
	var prefixes []start
	for _, p := range words {
		for _, term := range p.terms {
			if p.prefix {
				prefixes = append(prefixes, start{term, len(exact) + len(prefixes)})
			} else if _, ok := exact[term]; !ok {
				exact[term] = len(exact) + len(prefixes)
			}
		}
	}
	var places []place
	t := tokenizer{parts: true, emit: func(t token) {
		if word, ok := exact[string(t.term)]; ok {
			places = append(places, place{t.start, t.end, word})
			return
		}
		for _, p := range prefixes {
			if strings.HasPrefix(string(t.term), p.term) {
				places = append(places, place{t.start, t.end, p.word})
				return
			}
		}
	}}
	t.run(text)
	return places
}

// bestWindow returns the run of places, no wider than a snippet, with the most different words.
func bestWindow(places []place) (from, to int) {
	best, width := 0, 0
	count := map[int]int{}
	left := 0
	for right, p := range places {
		count[p.word]++
		for p.end-places[left].start > snippetSize && left < right {
			if w := places[left].word; count[w] == 1 {
				delete(count, w)
			} else {
				count[w]--
			}
			left++
		}
		if w := p.end - places[left].start; len(count) > best || len(count) == best && w < width {
			best, width, from, to = len(count), w, left, right+1
		}
	}
	return from, to
}

// widen grows a range to the size of a snippet, to the ends of words and within its lines
// where there is room.
func widen(text []byte, start, end int) (int, int) {
	room := max(0, snippetSize-(end-start))
	from, to := max(0, start-room/2), min(len(text), end+room/2)
	if i := strings.LastIndexByte(string(text[from:start]), '\n'); i >= 0 {
		from += i + 1
	} else if i := strings.IndexByte(string(text[from:start]), ' '); i >= 0 && from > 0 {
		from += i + 1
	}
	if i := strings.IndexByte(string(text[end:to]), '\n'); i >= 0 {
		to = end + i
	} else if i := strings.LastIndexByte(string(text[end:to]), ' '); i >= 0 && to < len(text) {
		to = end + i
	}
	for from < start && !utf8.RuneStart(text[from]) {
		from++
	}
	for to < len(text) && to > end && !utf8.RuneStart(text[to]) {
		to--
	}
	return from, to
}
