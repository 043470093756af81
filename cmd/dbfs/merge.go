package main

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// merge3 puts two versions of a text together that were both made from base. Where they
// changed the same lines, or lines next to each other, in different ways, both stand in the
// result between markers, and conflicts counts these places.
func merge3(base, ours, theirs string) (merged string, conflicts int) {
	m := merger{base: base, a: udiff.Lines(base, ours), b: udiff.Lines(base, theirs)}
	for len(m.a) > 0 || len(m.b) > 0 {
		m.region()
	}
	m.out.WriteString(base[m.at:])
	return m.out.String(), m.conflicts
}

// merger has got to at in base; a and b are the edits of it that are still to come.
type merger struct {
	base      string
	at        int
	a, b      []udiff.Edit
	out       strings.Builder
	conflicts int
}

// region takes the next edit and, from both sides, all that touch it and one another.
func (m *merger) region() {
	start := len(m.base)
	for _, side := range [][]udiff.Edit{m.a, m.b} {
		if len(side) > 0 {
			start = min(start, side[0].Start)
		}
	}
	end, na, nb := start, 0, 0
	for grown := true; grown; {
		grown = false
		for na < len(m.a) && m.a[na].Start <= end {
			end, na, grown = max(end, m.a[na].End), na+1, true
		}
		for nb < len(m.b) && m.b[nb].Start <= end {
			end, nb, grown = max(end, m.b[nb].End), nb+1, true
		}
	}
	was, ours, theirs := m.base[start:end], m.side(m.a[:na], start, end), m.side(m.b[:nb], start, end)
	m.out.WriteString(m.base[m.at:start])
	switch {
	case ours == theirs, theirs == was:
		m.out.WriteString(ours)
	case ours == was:
		m.out.WriteString(theirs)
	default:
		m.conflicts++
		m.out.WriteString("<<<<<<< ours\n" + line(ours) + "||||||| base\n" + line(was) + "=======\n" + line(theirs) + ">>>>>>> theirs\n")
	}
	m.at, m.a, m.b = end, m.a[na:], m.b[nb:]
}

// side returns what one side makes of a region.
func (m *merger) side(edits []udiff.Edit, start, end int) string {
	var b strings.Builder
	for _, e := range edits {
		b.WriteString(m.base[start:e.Start] + e.New)
		start = e.End
	}
	return b.String() + m.base[start:end]
}

// line ends a text with a newline, so that a marker can follow.
func line(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}
