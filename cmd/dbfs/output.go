package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// printJSON writes one object, in several lines if a person looks at it.
func (t *tool) printJSON(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	if t.outTerm {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// lineJSON writes one object of a stream.
func (t *tool) lineJSON(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// size writes a number of bytes.
func (t *tool) size(n int64) string {
	if t.bytes {
		return fmt.Sprint(n)
	}
	return humanize.IBytes(uint64(max(n, 0)))
}

// count writes "1 file", "12 files", "48,211 files".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanize.Comma(n) + " " + noun + "s"
}

// roughly writes a length of time as people say it: its two largest units.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(int64(d/time.Minute), "min", int64(d%time.Minute/time.Second), "s")
	case d < day:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "min")
	}
	return two(int64(d/day), "d", int64(d%day/time.Hour), "h")
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}

// ago writes a time as its distance from now.
func (t *tool) ago(at time.Time) string {
	if d := t.now().Sub(at); d >= time.Second {
		return roughly(d) + " ago"
	}
	return "now"
}

// clock writes a time of today as the time of day, any other with its date.
func (t *tool) clock(at time.Time) string {
	now := t.now()
	at = at.In(now.Location())
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// visible writes a name so that it cannot move a terminal's cursor or colour.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// name writes a path: as it is to a program, visibly to a person.
func (t *tool) name(p string) string {
	if t.outTerm {
		return visible(p)
	}
	return p
}

// A style is a terminal's escape sequence.
type style string

const (
	bold    style = "\x1b[1m"
	red     style = "\x1b[1;31m"
	green   style = "\x1b[32m"
	yellow  style = "\x1b[33m"
	magenta style = "\x1b[35m"
	plain   style = "\x1b[0m"
)

// paint writes s in a style, if colours are wanted.
func (t *tool) paint(st style, s string) string {
	if !t.colored() || s == "" {
		return s
	}
	return string(st) + s + string(plain)
}

// paintSpans paints byte ranges of s. Ranges that are not in order or not in s are left out.
func (t *tool) paintSpans(st style, s string, spans [][2]int) string {
	if !t.colored() {
		return s
	}
	var b strings.Builder
	at := 0
	for _, span := range spans {
		if span[0] < at || span[1] < span[0] || span[1] > len(s) {
			continue
		}
		b.WriteString(s[at:span[0]])
		b.WriteString(t.paint(st, s[span[0]:span[1]]))
		at = span[1]
	}
	b.WriteString(s[at:])
	return b.String()
}

// A table lines up columns. The last one is not padded.
type table struct{ rows [][]string }

func (tab *table) add(cells ...string) { tab.rows = append(tab.rows, cells) }

// write pads the columns to their widest cell, two spaces between them. The last cell of a
// row is not padded and widens nothing: it may be a sentence.
func (tab *table) write(w io.Writer) {
	var width []int
	for _, row := range tab.rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			if i < len(row)-1 {
				width[i] = max(width[i], printed(cell))
			}
		}
	}
	for _, row := range tab.rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-printed(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// printed counts what a cell takes on the screen: its runes without escape sequences.
func printed(s string) int {
	n := 0
	for {
		before, rest, found := strings.Cut(s, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			return n
		}
		_, s, _ = strings.Cut(rest, "m")
	}
}
