package index

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A plan is what trigrams say of a regular expression: an expression over trigrams that
// every text with a match satisfies. Trigrams are folded, so plans are.
type plan struct {
	op  planOp
	tri uint32 // opTri
	of  []plan // opAnd, opOr
}

type planOp uint8

const (
	opAny  planOp = iota // every text may match
	opNone               // no text can
	opTri
	opAnd
	opOr
)

func planAnd(of ...plan) plan { return planJoin(opAnd, opAny, opNone, of) }
func planOr(of ...plan) plan  { return planJoin(opOr, opNone, opAny, of) }

// planJoin joins plans, without those that change nothing; one of the plan all decides it.
func planJoin(op, nothing, all planOp, of []plan) plan {
	out := plan{op: op}
	for _, p := range of {
		switch p.op {
		case nothing:
		case all:
			return p
		case op:
			for _, sub := range p.of {
				out.put(sub)
			}
		default:
			out.put(p)
		}
	}
	switch len(out.of) {
	case 0:
		return plan{op: nothing}
	case 1:
		return out.of[0]
	}
	return out
}

// put adds a plan unless it is a trigram that is there already.
func (p *plan) put(sub plan) {
	same := func(q plan) bool { return sub.op == opTri && q.op == opTri && q.tri == sub.tri }
	if !slices.ContainsFunc(p.of, same) {
		p.of = append(p.of, sub)
	}
}

// A shape is what is known of the strings that a part of an expression can match. All
// strings are folded.
type shape struct {
	exact  []string // everything it can match; nil: that is not known
	prefix []string // every match begins with one of these
	suffix []string // and ends with one of these
	plan   plan     // and satisfies this, besides what exact, prefix and suffix say
}

const (
	maxExact = 24 // strings in exact
	maxEdge  = 24 // strings in prefix and suffix
	maxClass = 64 // characters of a class that are spelt out
)

// planOf derives the plan of an expression.
func planOf(re *syntax.Regexp) plan {
	s := shapeOf(re.Simplify())
	return s.whole()
}

// whole is all that the shape says, as a plan.
func (s shape) whole() plan {
	if s.exact != nil {
		return planAnd(s.plan, planSet(s.exact))
	}
	return planAnd(s.plan, planSet(s.prefix), planSet(s.suffix))
}

// planSet: one of these strings stands in the text.
func planSet(set []string) plan {
	var of []plan
	for _, s := range set {
		of = append(of, planString(s))
	}
	return planOr(of...)
}

func planString(s string) plan {
	var of []plan
	for i := 0; i+3 <= len(s); i++ {
		if s[i] != '\n' && s[i+1] != '\n' && s[i+2] != '\n' {
			of = append(of, plan{op: opTri, tri: uint32(s[i])<<16 | uint32(s[i+1])<<8 | uint32(s[i+2])})
		}
	}
	return planAnd(of...)
}

var anything = []string{""}

func exactly(set ...string) shape {
	slices.Sort(set)
	set = slices.Compact(set)
	return shape{exact: set, prefix: set, suffix: set}.bound()
}

func shapeOf(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpNoMatch:
		return shape{prefix: anything, suffix: anything, plan: plan{op: opNone}}
	case syntax.OpLiteral:
		s := exactly("")
		for _, r := range re.Rune {
			s = concat(s, letter(r, re.Flags&syntax.FoldCase != 0))
		}
		return s
	case syntax.OpCharClass:
		return charClass(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return shape{prefix: anything, suffix: anything}
	case syntax.OpCapture:
		return shapeOf(re.Sub[0])
	case syntax.OpConcat:
		s := exactly("")
		for _, sub := range re.Sub {
			s = concat(s, shapeOf(sub))
		}
		return s
	case syntax.OpAlternate:
		s := shapeOf(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			s = alternate(s, shapeOf(sub))
		}
		return s
	case syntax.OpQuest:
		return alternate(shapeOf(re.Sub[0]), exactly(""))
	case syntax.OpPlus:
		return shapeOf(re.Sub[0]).open().bound()
	case syntax.OpStar, syntax.OpRepeat: // Simplify leaves no repeat
		return shape{prefix: anything, suffix: anything}
	}
	return exactly("") // the empty string, or an assertion of which nothing is known
}

// letter is one character of a literal.
func letter(r rune, fold bool) shape {
	set := []string{foldRune(r)}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			set = append(set, foldRune(f))
		}
	}
	return exactly(set...)
}

// foldRune folds as the trigrams of texts are folded: ASCII, and what is a case of it.
func foldRune(r rune) string {
	switch {
	case r >= 'A' && r <= 'Z':
		r += 'a' - 'A'
	case r == 0x212a:
		r = 'k'
	case r == 0x17f:
		r = 's'
	case r > unicode.MaxRune || !utf8.ValidRune(r):
		r = utf8.RuneError
	}
	return string(r)
}

func charClass(ranges []rune) shape {
	n := 0
	for i := 0; i < len(ranges); i += 2 {
		n += int(ranges[i+1]-ranges[i]) + 1
	}
	if n == 0 || n > maxClass || slices.Contains(ranges, utf8.RuneError) {
		return shape{prefix: anything, suffix: anything}
	}
	var set []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			set = append(set, foldRune(r))
		}
	}
	return exactly(set...)
}

// open forgets the exact set; what it says beyond its ends goes into the plan.
func (s shape) open() shape {
	if s.exact != nil {
		s.plan = planAnd(s.plan, planSet(s.exact))
		s.exact = nil
	}
	return s
}

// bound keeps the sets small. Of prefix and suffix two bytes are enough: what they say by
// themselves is put into the plan.
func (s shape) bound() shape {
	if s.exact != nil {
		if len(s.exact) <= maxExact {
			return s
		}
		s = s.open()
	}
	s.plan = planAnd(s.plan, planSet(s.prefix), planSet(s.suffix))
	s.prefix = edge(s.prefix, func(p string) string { return p[:min(2, len(p))] })
	s.suffix = edge(s.suffix, func(p string) string { return p[max(0, len(p)-2):] })
	return s
}

func edge(set []string, cut func(string) string) []string {
	var out []string
	for _, s := range set {
		out = append(out, cut(s))
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > maxEdge {
		return anything
	}
	return out
}

func concat(a, b shape) shape {
	s := shape{plan: planAnd(a.plan, b.plan)}
	if a.exact != nil && b.exact != nil && len(a.exact)*len(b.exact) <= 4*maxExact {
		s.exact = cross(a.exact, b.exact)
		s.prefix, s.suffix = s.exact, s.exact
		return s.bound()
	}
	// Where the two meet there are trigrams that neither has by itself.
	if len(a.suffix)*len(b.prefix) <= 4*maxEdge {
		s.plan = planAnd(s.plan, planSet(cross(a.suffix, b.prefix)))
	}
	s.plan = planAnd(s.plan, a.whole(), b.whole())
	s.prefix, s.suffix = a.prefix, b.suffix
	if a.exact != nil && len(a.exact)*len(b.prefix) <= 4*maxEdge {
		s.prefix = cross(a.exact, b.prefix)
	}
	if b.exact != nil && len(a.suffix)*len(b.exact) <= 4*maxEdge {
		s.suffix = cross(a.suffix, b.exact)
	}
	return s.bound()
}

func alternate(a, b shape) shape {
	var s shape
	if a.exact != nil && b.exact != nil && len(a.exact)+len(b.exact) <= maxExact {
		s.exact = unite(a.exact, b.exact)
		s.prefix, s.suffix = s.exact, s.exact
		s.plan = planOr(a.plan, b.plan)
		return s
	}
	s.plan = planOr(a.whole(), b.whole())
	s.prefix, s.suffix = unite(a.prefix, b.prefix), unite(a.suffix, b.suffix)
	return s.bound()
}

func cross(a, b []string) []string {
	out := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, x+y)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func unite(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// required returns a string that stands in every line that matches, the longest that is
// easily found, and whether its case does not matter (it is then lower-case ASCII).
// Empty: none is known.
func required(re *syntax.Regexp) (s string, fold bool) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune), false
		}
		for _, part := range strings.FieldsFunc(string(re.Rune), func(r rune) bool { return r >= utf8.RuneSelf }) {
			if len(part) > len(s) {
				s = strings.ToLower(part)
			}
		}
		return s, true
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if r, f := required(sub); len(r) > len(s) {
				s, fold = r, f
			}
		}
	}
	return s, fold
}
