package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// grepJSON writes the JSON lines of "rg --json", so that editors that read those can read
// ours: of every file begin, match and context lines, end; at last a summary. The
// summary has one more field, "dbfs", which says how complete the answer is.
type grepJSON struct {
	w     io.Writer
	place place

	path string  // of the file that has begun; "" if none has
	file rgStats // of that file
	all  rgStats
}

type (
	rgLine struct {
		Type string `json:"type"`
		Data any    `json:"data"`
	}
	// rgText is text, or, where it is not UTF-8, base64 of its bytes.
	rgText struct {
		Text  *string `json:"text,omitempty"`
		Bytes []byte  `json:"bytes,omitempty"`
	}
	rgMatch struct {
		Path       rgText       `json:"path"`
		Lines      rgText       `json:"lines"`
		LineNumber int64        `json:"line_number"`
		Offset     int64        `json:"absolute_offset"`
		Submatches []rgSubmatch `json:"submatches"`
	}
	rgSubmatch struct {
		Match rgText `json:"match"`
		Start int    `json:"start"`
		End   int    `json:"end"`
	}
	rgElapsed struct {
		Secs  int64  `json:"secs"`
		Nanos int64  `json:"nanos"`
		Human string `json:"human"`
	}
	rgStats struct {
		Elapsed       rgElapsed `json:"elapsed"`
		Searches      int64     `json:"searches"`
		SearchesMatch int64     `json:"searches_with_match"`
		BytesSearched int64     `json:"bytes_searched"`
		BytesPrinted  int64     `json:"bytes_printed"`
		MatchedLines  int64     `json:"matched_lines"`
		Matches       int64     `json:"matches"`
	}
	rgEnd struct {
		Path         rgText  `json:"path"`
		BinaryOffset *int64  `json:"binary_offset"`
		Stats        rgStats `json:"stats"`
	}
	rgSummary struct {
		Elapsed rgElapsed            `json:"elapsed_total"`
		Stats   rgStats              `json:"stats"`
		DBFS    *control.GrepSummary `json:"dbfs"`
	}
)

func rgBytes(b []byte) rgText {
	if !utf8.Valid(b) {
		return rgText{Bytes: b}
	}
	s := string(b)
	return rgText{Text: &s}
}

func rgTime(d time.Duration) rgElapsed {
	return rgElapsed{int64(d / time.Second), int64(d % time.Second), fmt.Sprintf("%.6fs", d.Seconds())}
}

func (g *grepJSON) event(e *control.GrepEvent) error {
	if e.Path != g.path {
		if err := g.begin(e.Path); err != nil {
			return err
		}
	}
	word := "match"
	if e.Context {
		word = "context"
	} else {
		g.file.MatchedLines++
		g.file.Matches += int64(len(e.Spans))
	}
	m := rgMatch{Path: g.shown(e.Path), Lines: rgBytes(e.Text), LineNumber: e.Line, Offset: e.Offset, Submatches: []rgSubmatch{}}
	for _, span := range e.Spans {
		if 0 <= span[0] && span[0] <= span[1] && span[1] <= len(e.Text) {
			m.Submatches = append(m.Submatches, rgSubmatch{rgBytes(e.Text[span[0]:span[1]]), span[0], span[1]})
		}
	}
	return g.write(word, m)
}

func (g *grepJSON) begin(path string) error {
	if err := g.endFile(); err != nil {
		return err
	}
	g.path, g.file = path, rgStats{Searches: 1, SearchesMatch: 1}
	return g.write("begin", map[string]rgText{"path": g.shown(path)})
}

func (g *grepJSON) endFile() error {
	if g.path == "" {
		return nil
	}
	g.all.MatchedLines += g.file.MatchedLines
	g.all.Matches += g.file.Matches
	g.all.SearchesMatch++
	return g.write("end", rgEnd{Path: g.shown(g.path), Stats: g.file})
}

func (g *grepJSON) end(sum *control.GrepSummary) error {
	if err := g.endFile(); err != nil {
		return err
	}
	g.all.Searches, g.all.BytesSearched, g.all.Elapsed = sum.Searched, sum.Bytes, rgTime(sum.Elapsed)
	return g.write("summary", rgSummary{rgTime(sum.Elapsed), g.all, sum})
}

func (g *grepJSON) shown(path string) rgText { return rgBytes([]byte(g.place.show(path))) }

func (g *grepJSON) write(word string, data any) error {
	b, err := json.Marshal(rgLine{word, data})
	if err != nil {
		return fmt.Errorf("encode match: %w", err)
	}
	b = append(b, '\n')
	g.file.BytesPrinted += int64(len(b))
	g.all.BytesPrinted += int64(len(b))
	if _, err := g.w.Write(b); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
