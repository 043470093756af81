package index

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxTerm is the longest term in bytes; longer tokens are cut there, in texts and queries alike.
	maxTerm = 64

	// maxTokens bounds the positions of one text.
	maxTokens = 1 << 23
)

// A tokenizer cuts text into terms. A token is a run of letters, digits, marks and
// underscores; its term is the whole of it, folded: compatibility forms resolved,
// diacritics taken off, lower case. The parts of an identifier (camelCase, snake_case)
// are terms too, at the position of the whole. Chinese and Japanese have no spaces:
// there every two neighbouring characters are a term, and the last of a run by itself.
type tokenizer struct {
	emit  func(t token)
	parts bool // emit parts of identifiers

	pos  uint32
	term []byte
}

// A token is a term where it stands. The term is good until emit returns.
type token struct {
	term       []byte
	pos        uint32
	start, end int // byte offsets in the text
}

// byte classes
const (
	other = iota
	lower
	upper
	digit
	under
	wide // first byte of something that is not ASCII
)

var class, folded = func() (class, folded [256]byte) {
	for i := range 256 {
		b := byte(i)
		folded[i] = b
		switch {
		case b >= 'a' && b <= 'z':
			class[i] = lower
		case b >= 'A' && b <= 'Z':
			class[i], folded[i] = upper, b+'a'-'A'
		case b >= '0' && b <= '9':
			class[i] = digit
		case b == '_':
			class[i] = under
		case b >= utf8.RuneSelf:
			class[i] = wide
		}
	}
	return class, folded
}()

// run emits the terms of text, in the order in which their tokens begin.
func (t *tokenizer) run(text []byte) {
	t.pos = 0
	for i := 0; i < len(text) && t.pos < maxTokens; {
		switch class[text[i]] {
		case other:
			i++
		case wide:
			i = t.wideToken(text, i, i)
		default:
			start, mixed := i, false
			for i++; i < len(text); i++ {
				c := class[text[i]]
				if c == other || c == wide {
					break
				}
				mixed = mixed || c == upper || c == under
			}
			if i < len(text) && class[text[i]] == wide {
				i = t.wideToken(text, start, i)
			} else {
				t.asciiToken(text, start, i, mixed)
			}
		}
	}
}

// asciiToken emits text[start:end]. mixed says that it may have parts.
func (t *tokenizer) asciiToken(text []byte, start, end int, mixed bool) {
	for start < end && text[start] == '_' {
		start++
	}
	for start < end && text[end-1] == '_' {
		end--
	}
	if start == end {
		return
	}
	t.ascii(text, start, end)
	if mixed && t.parts {
		t.asciiParts(text, start, end)
	}
	t.pos++
}

func (t *tokenizer) ascii(text []byte, start, end int) {
	t.term = t.term[:0]
	for _, b := range text[start:min(end, start+maxTerm)] {
		t.term = append(t.term, folded[b])
	}
	t.emit(token{t.term, t.pos, start, end})
}

func (t *tokenizer) asciiParts(text []byte, start, end int) {
	from := start
	for i := start + 1; i <= end; i++ {
		if i < end && !partBegins(text, i, end) {
			continue
		}
		if part := trimUnder(text, from, i); part < i && (from > start || i < end) {
			t.ascii(text, part, i)
		}
		from = i
	}
}

func trimUnder(text []byte, from, to int) int {
	for from < to && text[from] == '_' {
		from++
	}
	return from
}

// partBegins reports whether a part of the identifier begins at i: fooBar, HTTPServer, foo_bar.
func partBegins(text []byte, i, end int) bool {
	before, here := class[text[i-1]], class[text[i]]
	switch here {
	case under:
		return before != under
	case upper:
		return before == lower || before == digit || before == upper && i+1 < end && class[text[i+1]] == lower
	}
	return false
}

// wideToken emits the token that begins at start and of which text[i:] is the first part
// that is not ASCII, and returns where it ends.
func (t *tokenizer) wideToken(text []byte, start, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRune(text[i:])
		if r < utf8.RuneSelf && class[r] != other || r == '_' {
			i += n
			continue
		}
		if isIdeograph(r) {
			if i > start {
				t.folded(text, start, i)
			}
			return t.ideographs(text, i)
		}
		if !isWordRune(r) || r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	if i == start {
		_, n := utf8.DecodeRune(text[i:])
		return i + n
	}
	t.folded(text, start, i)
	return i
}

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

func isIdeograph(r rune) bool {
	return r >= 0x2e80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

// folded emits a token that is not all ASCII, and its parts.
func (t *tokenizer) folded(text []byte, start, end int) {
	if !t.fold(text, start, end) {
		return
	}
	if t.parts {
		t.foldedParts(text, start, end)
	}
	t.pos++
}

// fold emits text[start:end] folded; false when nothing of it is left.
func (t *tokenizer) fold(text []byte, start, end int) bool {
	t.term = foldTerm(t.term[:0], text[start:end])
	if len(t.term) == 0 {
		return false
	}
	t.emit(token{t.term, t.pos, start, end})
	return true
}

func (t *tokenizer) foldedParts(text []byte, start, end int) {
	from, before := start, rune(0)
	for i := start; i < end; {
		r, n := utf8.DecodeRune(text[i:end])
		if before != 0 && (r == '_') != (before == '_') || unicode.IsLower(before) && unicode.IsUpper(r) {
			t.fold(text, from, i)
			from = i
		}
		before = r
		i += n
	}
	if from > start {
		t.fold(text, from, end)
	}
}

// foldTerm appends word folded to b, without the underscores at its ends, at most
// maxTerm bytes of it, cut between characters.
func foldTerm(b, word []byte) []byte {
	start := len(b)
	for _, r := range string(norm.NFKD.Bytes(word)) {
		if unicode.Is(unicode.Mn, r) || r == '_' && len(b) == start {
			continue
		}
		r = unicode.ToLower(r)
		if len(b)-start+utf8.RuneLen(r) > maxTerm {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	for len(b) > start && b[len(b)-1] == '_' {
		b = b[:len(b)-1]
	}
	return b
}

// ideographs emits the run of them that begins at i and returns where it ends.
func (t *tokenizer) ideographs(text []byte, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRune(text[i:])
		if !isIdeograph(r) {
			break
		}
		end := i + n
		if next, m := utf8.DecodeRune(text[end:]); isIdeograph(next) {
			end += m
		}
		t.fold(text, i, end)
		t.pos++
		i += n
	}
	return i
}
