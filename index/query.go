package index

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dbfs/dbfs"
)

// The language of queries:
//
//	a b              both        a OR b    one of them     -a    not        ( … )
//	"a b"            the words in a row    pre*            words that begin so
//	name:a name:"a b" name:pre*            only in the name
//	ext:pdf,docx     in:path/to            size:>10M size:<=4k
//	before:2025-03-01 after:7d             the time of change; 7d, 12h, 2w, 3m, 1y before now
//
// Words without a field are looked for in the text and in the name.

// A query is a tree of these nodes.
type (
	allOf  struct{ of []node } // with nothing in it: every file
	anyOf  struct{ of []node }
	not    struct{ of node }
	phrase struct {
		terms    []string // folded; in a row
		prefix   bool     // the one term is the beginning of a word
		nameOnly bool
	}
	hasExt  struct{ exts []string }
	inPath  struct{ path string } // without slashes at its ends
	sizeIs  struct{ min, max int64 }
	changed struct{ from, to int64 } // nanoseconds; from <= mtime < to
)

type node interface{ isNode() }

func (allOf) isNode()   {}
func (anyOf) isNode()   {}
func (not) isNode()     {}
func (phrase) isNode()  {}
func (hasExt) isNode()  {}
func (inPath) isNode()  {}
func (sizeIs) isNode()  {}
func (changed) isNode() {}

const (
	maxQuery = 4096 // bytes
	maxDepth = 64   // of parentheses and minus signs
)

// parseQuery reads a query. ErrInvalid says what is wrong with it, and where.
func parseQuery(q string, now time.Time) (node, error) {
	if len(q) > maxQuery {
		return nil, fmt.Errorf("%w: query of %d bytes; the limit is %d", dbfs.ErrInvalid, len(q), maxQuery)
	}
	if !utf8.ValidString(q) {
		return nil, fmt.Errorf("%w: query is not UTF-8", dbfs.ErrInvalid)
	}
	p := queryParser{q: q, now: now}
	n, err := p.anyOf()
	if err == nil && p.peek() == ')' {
		err = p.wrong("a ) without its (")
	}
	if err != nil {
		return nil, err
	}
	if all, ok := n.(allOf); ok && len(all.of) == 0 {
		return nil, fmt.Errorf("%w: nothing to search for", dbfs.ErrInvalid)
	}
	return n, nil
}

type queryParser struct {
	q     string
	at    int
	depth int
	now   time.Time
}

func (p *queryParser) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: query, at %d: %s", dbfs.ErrInvalid, p.at+1, fmt.Sprintf(format, args...))
}

// peek skips spaces and returns the next byte; 0 at the end.
func (p *queryParser) peek() byte {
	for p.at < len(p.q) {
		r, n := utf8.DecodeRuneInString(p.q[p.at:])
		if !unicode.IsSpace(r) {
			return p.q[p.at]
		}
		p.at += n
	}
	return 0
}

func (p *queryParser) anyOf() (node, error) {
	var of []node
	for {
		n, err := p.allOf()
		if err != nil {
			return nil, err
		}
		of = append(of, n)
		if !p.word("OR") {
			break
		}
		if p.ends() {
			return nil, p.wrong("nothing after OR")
		}
	}
	if len(of) == 1 {
		return of[0], nil
	}
	for _, n := range of {
		if all, ok := n.(allOf); ok && len(all.of) == 0 {
			return nil, p.wrong("nothing before OR")
		}
	}
	return anyOf{of}, nil
}

// word consumes w if it stands here by itself.
func (p *queryParser) word(w string) bool {
	p.peek()
	rest, ok := strings.CutPrefix(p.q[p.at:], w)
	if !ok || rest != "" && !strings.ContainsAny(rest[:1], " \t\n()\"") {
		return false
	}
	p.at += len(w)
	return true
}

func (p *queryParser) ends() bool {
	c := p.peek()
	return c == 0 || c == ')'
}

func (p *queryParser) allOf() (node, error) {
	var of []node
	for !p.ends() {
		at := p.at
		if p.word("OR") {
			p.at = at
			break
		}
		n, err := p.one()
		if err != nil {
			return nil, err
		}
		if all, ok := n.(allOf); ok { // (a b) c, and foo-bar
			of = append(of, all.of...)
		} else {
			of = append(of, n)
		}
	}
	if len(of) == 1 {
		return of[0], nil
	}
	return allOf{of}, nil
}

func (p *queryParser) one() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.wrong("nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	switch p.peek() {
	case '-':
		p.at++
		if at := p.at; p.ends() || p.at > at {
			return nil, p.wrong("nothing after -")
		}
		n, err := p.one()
		if all, ok := n.(allOf); ok && len(all.of) == 0 {
			return n, err // -"..." of no words excludes nothing
		}
		return not{n}, err
	case '(':
		return p.parens()
	case '"':
		s, err := p.quoted()
		return p.words(s, false, false), err
	}
	return p.bare()
}

func (p *queryParser) parens() (node, error) {
	start := p.at
	p.at++
	n, err := p.anyOf()
	if err != nil {
		return nil, err
	}
	if p.peek() != ')' {
		p.at = start
		return nil, p.wrong("a ( without its )")
	}
	p.at++
	return n, nil
}

func (p *queryParser) quoted() (string, error) {
	end := strings.IndexByte(p.q[p.at+1:], '"')
	if end < 0 {
		return "", p.wrong("a quotation mark without its second")
	}
	s := p.q[p.at+1 : p.at+1+end]
	p.at += end + 2
	return s, nil
}

// bare reads a word or a field and its value.
func (p *queryParser) bare() (node, error) {
	start := p.at
	for p.at < len(p.q) {
		r, n := utf8.DecodeRuneInString(p.q[p.at:])
		if unicode.IsSpace(r) || r == '(' || r == ')' || r == '"' {
			break
		}
		p.at += n
		if field := p.q[start:p.at]; r == ':' && fields[field[:len(field)-1]] != nil {
			return p.field(field[:len(field)-1])
		}
	}
	return p.unquoted(p.q[start:p.at], false), nil
}

// fields are the words that may stand before a colon, and what makes a node of the value.
var fields map[string]func(p *queryParser, value string, quoted bool) (node, error)

func init() { // they call the parser, which reads the table
	fields = map[string]func(p *queryParser, value string, quoted bool) (node, error){
		"name": (*queryParser).name, "ext": (*queryParser).ext, "in": (*queryParser).in,
		"size": (*queryParser).size, "before": (*queryParser).before, "after": (*queryParser).after,
	}
}

func (p *queryParser) field(field string) (node, error) {
	start := p.at
	var value string
	var err error
	quoted := p.at < len(p.q) && p.q[p.at] == '"'
	if quoted {
		value, err = p.quoted()
	} else {
		for p.at < len(p.q) && p.q[p.at] != ')' && p.q[p.at] != '(' && !unicode.IsSpace(rune(p.q[p.at])) {
			p.at++
		}
		value = p.q[start:p.at]
	}
	if err == nil && value == "" {
		err = p.wrong("nothing after %s:", field)
	}
	if err != nil {
		return nil, err
	}
	return fields[field](p, value, quoted)
}

func (p *queryParser) name(value string, quoted bool) (node, error) {
	if quoted {
		return p.words(value, false, true), nil
	}
	return p.unquoted(value, true), nil
}

func (p *queryParser) unquoted(s string, nameOnly bool) node {
	trimmed := strings.TrimRight(s, "*")
	return p.words(trimmed, trimmed != s, nameOnly)
}

// words makes a phrase of the words in s. The last of several may not be a prefix within
// the phrase, and stands beside it.
func (p *queryParser) words(s string, prefix, nameOnly bool) node {
	var terms []string
	ideograph := false
	t := tokenizer{emit: func(t token) {
		terms = append(terms, string(t.term))
		r, n := utf8.DecodeRuneInString(s[t.start:])
		ideograph = isIdeograph(r) && t.start+n == t.end
	}}
	t.run([]byte(s))
	switch {
	case len(terms) == 0:
		return allOf{}
	case ideograph && len(terms) == 1: // one character may be the first of two
		return phrase{terms: terms, prefix: true, nameOnly: nameOnly}
	case ideograph: // the last pair holds it already
		terms = terms[:len(terms)-1]
	}
	if !prefix || len(terms) == 1 {
		return phrase{terms: terms, prefix: prefix, nameOnly: nameOnly}
	}
	last := len(terms) - 1
	return allOf{[]node{
		phrase{terms: terms[:last], nameOnly: nameOnly},
		phrase{terms: terms[last:], prefix: true, nameOnly: nameOnly},
	}}
}

func (p *queryParser) ext(value string, _ bool) (node, error) {
	var n hasExt
	for ext := range strings.SplitSeq(value, ",") {
		if ext = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(ext), ".")); ext != "" {
			n.exts = append(n.exts, ext)
		}
	}
	if n.exts == nil {
		return nil, p.wrong("no extension in %q", value)
	}
	return n, nil
}

func (p *queryParser) in(value string, _ bool) (node, error) {
	return inPath{strings.Trim(value, "/")}, nil
}

// size reads an operator, a number and a unit of 1024: size:>10M.
func (p *queryParser) size(value string, _ bool) (node, error) {
	num := strings.TrimLeft(value, "<>=")
	op := value[:len(value)-len(num)]
	digits := strings.TrimRight(strings.ToLower(num), "bi")
	shift := 0
	if digits != "" {
		if i := strings.IndexByte("kmgt", digits[len(digits)-1]); i >= 0 {
			shift, digits = 10*(i+1), digits[:len(digits)-1]
		}
	}
	f, err := strconv.ParseFloat(digits, 64)
	if f *= float64(int64(1) << shift); err != nil || !(f >= 0 && f < 1<<62) {
		return nil, p.wrong("%q is not a size", value)
	}
	v := int64(f)
	const most = 1<<63 - 1
	switch op {
	case ">":
		return sizeIs{v + 1, most}, nil
	case ">=":
		return sizeIs{v, most}, nil
	case "<":
		return sizeIs{0, v - 1}, nil
	case "<=":
		return sizeIs{0, v}, nil
	case "", "=":
		return sizeIs{v, v}, nil
	}
	return nil, p.wrong("%q is not a size", value)
}

func (p *queryParser) before(value string, _ bool) (node, error) {
	t, err := p.time(value)
	return changed{-1 << 63, t}, err
}

func (p *queryParser) after(value string, _ bool) (node, error) {
	t, err := p.time(value)
	return changed{t, 1<<63 - 1}, err
}

// time reads a day (2025-03-01), a month, a year or a time back from now (7d).
func (p *queryParser) time(value string) (int64, error) {
	for _, layout := range []string{"2006-01-02", "2006-01", "2006", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, value, p.now.Location()); err == nil {
			return t.UnixNano(), nil
		}
	}
	n, err := strconv.Atoi(value[:len(value)-1])
	if err == nil && n >= 0 && n < 100_000 {
		switch value[len(value)-1] {
		case 'h':
			return p.now.Add(-time.Duration(n) * time.Hour).UnixNano(), nil
		case 'd':
			return p.now.AddDate(0, 0, -n).UnixNano(), nil
		case 'w':
			return p.now.AddDate(0, 0, -7*n).UnixNano(), nil
		case 'm':
			return p.now.AddDate(0, -n, 0).UnixNano(), nil
		case 'y':
			return p.now.AddDate(-min(n, 200), 0, 0).UnixNano(), nil
		}
	}
	return 0, p.wrong("%q is not a time: say 2025-03-01 or 7d", value)
}
