package index

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/dbfs/dbfs"
)

// globs decides which paths a grep looks at, as ripgrep's -g does: each glob is written
// as in .gitignore, one that begins with ! excludes, the last that matches decides, and
// when one includes, what none matches is left out.
type globs struct {
	of       []glob
	includes bool // one of them includes
}

type glob struct {
	re      *regexp.Regexp // of the path, or of the name alone
	name    bool
	exclude bool
}

// parseGlobs reads the globs. ErrInvalid says which is wrong.
func parseGlobs(patterns []string) (globs, error) {
	var gs globs
	for _, pattern := range patterns {
		g, err := parseGlob(pattern)
		if err != nil {
			return globs{}, err
		}
		gs.of = append(gs.of, g)
		gs.includes = gs.includes || !g.exclude
	}
	return gs, nil
}

func parseGlob(pattern string) (glob, error) {
	var g glob
	rest := pattern
	rest, g.exclude = strings.CutPrefix(rest, "!")
	dir := strings.HasSuffix(rest, "/")
	rest = strings.TrimSuffix(rest, "/")
	g.name = !strings.Contains(rest, "/") && !dir
	if dir { // everything below
		if !strings.Contains(rest, "/") {
			rest = "**/" + rest
		}
		rest += "/**"
	}
	rest = strings.TrimPrefix(rest, "/")
	expr, err := globExpr(rest)
	if err == nil && rest == "" {
		err = fmt.Errorf("%w: it is empty", dbfs.ErrInvalid)
	}
	if err == nil {
		g.re, err = regexp.Compile("^(?s:" + expr + ")$")
	}
	if err != nil {
		return g, fmt.Errorf("%w: glob %q: %v", dbfs.ErrInvalid, pattern, err)
	}
	return g, nil
}

// globExpr turns a glob into a regular expression.
func globExpr(g string) (string, error) {
	var b strings.Builder
	depth := 0 // of braces
	for i := 0; i < len(g); i++ {
		switch c := g[i]; {
		case strings.HasPrefix(g[i:], "**/") && (i == 0 || g[i-1] == '/'):
			b.WriteString("(?:.*/)?")
			i += 2
		case g[i:] == "**" && (i == 0 || g[i-1] == '/'):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			n, class, err := globClass(g[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += n - 1
		case c == '{':
			depth++
			b.WriteString("(?:")
		case c == '}' && depth > 0:
			depth--
			b.WriteString(")")
		case c == ',' && depth > 0:
			b.WriteString("|")
		case c == '\\':
			if i++; i == len(g) {
				return "", fmt.Errorf("a \\ at the end")
			}
			b.WriteString(regexp.QuoteMeta(g[i : i+1]))
		case c >= 0x80:
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(g[i : i+1]))
		}
	}
	if depth > 0 {
		return "", fmt.Errorf("a { without its }")
	}
	return b.String(), nil
}

// globClass turns the [...] that g begins with into a class that never matches a slash.
func globClass(g string) (n int, class string, err error) {
	end := strings.IndexByte(g[min(2, len(g)):], ']') // [] ...] and [!] ...] hold a bracket
	if len(g) > 2 && g[1] == '!' && g[2] == ']' {
		end = strings.IndexByte(g[3:], ']') + 1
	}
	if end < 0 || len(g) < 3 {
		return 0, "", fmt.Errorf("a [ without its ]")
	}
	end += 2
	body := g[1:end]
	not := strings.HasPrefix(body, "!") || strings.HasPrefix(body, "^")
	if not {
		body = body[1:]
	}
	body = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(body)
	if not {
		return end + 1, "[^/" + body + "]", nil
	}
	return end + 1, "[" + body + "]", nil
}

// match reports whether a grep looks at that path.
func (gs globs) match(p string) bool {
	for i := len(gs.of) - 1; i >= 0; i-- {
		if g := gs.of[i]; g.match(p) {
			return !g.exclude
		}
	}
	return !gs.includes
}

// match reports whether the glob matches the path; one that excludes also the path of a
// directory above it.
func (g glob) match(p string) bool {
	for {
		s := p
		if g.name {
			s = path.Base(p)
		}
		if g.re.MatchString(s) {
			return true
		}
		slash := strings.LastIndexByte(p, '/')
		if !g.exclude || slash < 0 {
			return false
		}
		p = p[:slash]
	}
}
