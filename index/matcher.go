package index

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode/utf8"

	"github.com/dbfs/dbfs"
)

// maxPattern is the longest pattern of a grep, in bytes.
const maxPattern = 64 << 10

// notWord is a character beside which a word ends.
const notWord = `[^\p{L}\p{M}\p{N}\p{Pc}\n]`

// A matcher finds the lines in which a pattern matches. Several goroutines may use it.
type matcher struct {
	re   *regexp.Regexp // no match crosses a line; ^ and $ are those of lines
	word bool           // group 1 of re is the match, what is around it its surroundings
	more *regexp.Regexp // with word: the same, but not at the beginning; nil: one match a line is all there is
	need []byte         // every line that matches has it; nil: nothing known
	fold bool           // need is lower-case, and the line's case does not matter
	plan plan
}

// newMatcher compiles the pattern of a grep. ErrInvalid says what is wrong with it.
func newMatcher(opt GrepOptions) (*matcher, error) {
	pattern := opt.Pattern
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%w: pattern of %d bytes; the limit is %d", dbfs.ErrInvalid, len(pattern), maxPattern)
	}
	if opt.Fixed {
		pattern = regexp.QuoteMeta(pattern)
	}
	flags := syntax.Perl &^ syntax.OneLine
	if opt.IgnoreCase {
		flags |= syntax.FoldCase
	}
	tree, err := syntax.Parse(pattern, flags)
	if err == nil {
		err = oneLine(tree)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: pattern: %v", dbfs.ErrInvalid, err)
	}
	m := &matcher{word: opt.Word, plan: planOf(tree)}
	need, fold := required(tree.Simplify())
	if need != "" {
		m.need, m.fold = []byte(need), fold
	}
	expr := tree.String()
	if opt.Word {
		if !hasAnchor(tree) {
			if m.more, err = regexp.Compile(notWord + "(" + expr + ")(?:" + notWord + "|(?m:$))"); err != nil {
				return nil, fmt.Errorf("%w: pattern: %v", dbfs.ErrInvalid, err)
			}
		}
		expr = "(?:(?m:^)|" + notWord + ")(" + expr + ")(?:" + notWord + "|(?m:$))"
	}
	if m.re, err = regexp.Compile(expr); err != nil {
		return nil, fmt.Errorf("%w: pattern: %v", dbfs.ErrInvalid, err)
	}
	return m, nil
}

// oneLine changes an expression so that no match holds a line break.
func oneLine(re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpLiteral:
		if slices.Contains(re.Rune, '\n') {
			return fmt.Errorf("a line break cannot match: lines are looked at one by one")
		}
	case syntax.OpCharClass:
		if re.Rune = withoutBreak(re.Rune); len(re.Rune) == 0 {
			re.Op = syntax.OpNoMatch
		}
	case syntax.OpAnyChar:
		re.Op = syntax.OpAnyCharNotNL
	case syntax.OpBeginText:
		re.Op = syntax.OpBeginLine
	case syntax.OpEndText:
		re.Op = syntax.OpEndLine
	}
	for _, sub := range re.Sub {
		if err := oneLine(sub); err != nil {
			return err
		}
	}
	return nil
}

func withoutBreak(ranges []rune) []rune {
	var out []rune
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if lo > '\n' || hi < '\n' {
			out = append(out, lo, hi)
			continue
		}
		if lo < '\n' {
			out = append(out, lo, '\n'-1)
		}
		if hi > '\n' {
			out = append(out, '\n'+1, hi)
		}
	}
	return out
}

func hasAnchor(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginLine || slices.ContainsFunc(re.Sub, hasAnchor)
}

// A span is a range of bytes: the first, and the one after the last.
type span [2]int

// finder finds matching lines in one window of a text after the other. It is used by one goroutine.
type finder struct {
	m      *matcher
	win    []byte // whole lines; the last may lack its line break
	folded []byte // win in lower case, when the matcher needs that
	quick  bool   // lines without need can be passed over
}

func (f *finder) window(win []byte) {
	f.win = win
	f.quick = f.m.need != nil
	if f.quick && f.m.fold {
		// Outside ASCII there are letters whose case is k or s.
		f.quick = !bytes.Contains(win, rare[0].from) && !bytes.Contains(win, rare[1].from)
		f.folded = f.folded[:0]
		if f.quick {
			f.folded = appendFolded(f.folded, win)
		}
	}
}

func appendFolded(b, text []byte) []byte {
	b = slices.Grow(b, len(text))[:len(text)]
	for i, c := range text {
		b[i] = folded[c]
	}
	return b
}

// next returns the first matching line that begins at from or later, its line break not included.
func (f *finder) next(from int) (span, bool) {
	for from < len(f.win) {
		if !f.quick {
			loc := f.m.re.FindIndex(f.win[from:])
			if loc == nil {
				return span{}, false
			}
			at := from + loc[0]
			if at == len(f.win) && f.win[at-1] == '\n' { // after the last line
				return span{}, false
			}
			return f.line(at), true
		}
		text := f.win
		if f.m.fold {
			text = f.folded
		}
		i := bytes.Index(text[from:], f.m.need)
		if i < 0 {
			return span{}, false
		}
		line := f.line(from + i)
		if f.m.re.Match(f.win[line[0]:line[1]]) {
			return line, true
		}
		from = line[1] + 1
	}
	return span{}, false
}

// line returns the line that holds byte i.
func (f *finder) line(i int) span {
	start := bytes.LastIndexByte(f.win[:i], '\n') + 1
	if n := bytes.IndexByte(f.win[i:], '\n'); n >= 0 {
		return span{start, i + n}
	}
	return span{start, len(f.win)}
}

// matches returns where in a line the pattern matches.
func (m *matcher) matches(line []byte) []span {
	if m.word {
		return m.words(line)
	}
	var out []span
	for _, loc := range m.re.FindAllIndex(line, -1) {
		out = append(out, span{loc[0], loc[1]})
	}
	return out
}

// words steps from match to match: what ends one may begin the next.
func (m *matcher) words(line []byte) []span {
	var out []span
	re, from := m.re, 0
	for re != nil {
		loc := re.FindSubmatchIndex(line[from:])
		if loc == nil {
			break
		}
		s := span{from + loc[2], from + loc[3]}
		out = append(out, s)
		if s[0] == s[1] {
			if s[1] == len(line) {
				break
			}
			_, n := utf8.DecodeRune(line[s[1]:])
			s[1] += n
		}
		re, from = m.more, s[1]
	}
	return out
}
