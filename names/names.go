// Package names holds the rules that the names of a namespace follow, as far as they take
// Unicode's tables: which names there may be, and which of them are one and the same.
//
// Where names are exact, every name is its own. Where they are portable, names are one if
// people could take them for one (README and readme, or é written as one character or as
// two), and those that Windows cannot have are refused. A name is always kept and shown as it
// was given; only its key is compared.
//
// The server decides by its keys. A client's own find what a name leads to, and may be made
// with other tables of Unicode: nothing of a client's may be lost or overwritten where the
// two differ. For names that Check lets pass they never differ with time: folding and
// normalization of a character that is assigned are fixed for ever by Unicode's stability
// policy, and characters that are not assigned yet are refused.
package names

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/rangetable"

	"github.com/dbfs/dbfs"
)

// Key returns what is unique among the children of a directory. Keys have no NUL.
//
// Of portable names it is casefold(NFC(name)) as Unicode's definition D145 of a caseless match
// of canonical equivalents has it, with the result normalized again: folding alone makes two
// keys of "ΐ" and "Ϊ́".
func Key(rule dbfs.NameRule, name string) string {
	if rule != dbfs.NamesPortable {
		return name
	}
	if lower, ascii := lowerASCII(name); ascii {
		return lower
	}
	return norm.NFC.String(fold(norm.NFD.String(name)))
}

// fold is Unicode's full case folding. Letters of Cherokee fold to their capitals; package
// cases lets the two change places.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 0xab70 <= r && r <= 0xabbf || 0x13f8 <= r && r <= 0x13fd {
			return unicode.ToUpper(r)
		}
		return r
	}, cases.Fold().String(s))
}

// lowerASCII folds a name of nothing but ASCII.
func lowerASCII(name string) (lower string, ascii bool) {
	upper := false
	for i := range len(name) {
		c := name[i]
		if c >= utf8.RuneSelf {
			return "", false
		}
		upper = upper || 'A' <= c && c <= 'Z'
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}

// Same reports whether two names are one.
func Same(rule dbfs.NameRule, a, b string) bool {
	return a == b || rule == dbfs.NamesPortable && Key(rule, a) == Key(rule, b)
}

// Check returns ErrInvalid or ErrNameTooLong, saying why, unless a name may be given.
func Check(rule dbfs.NameRule, name string) error {
	err := dbfs.CheckName(name)
	if err != nil || rule != dbfs.NamesPortable {
		return err
	}
	if why := unportable(name); why != "" {
		return fmt.Errorf("%w: the name %q %s, and names are portable here", dbfs.ErrInvalid, name, why)
	}
	return nil
}

// assigned are the characters that this program's tables know.
var assigned = rangetable.Assigned(cases.UnicodeVersion)

// unportable returns why a name cannot stand everywhere; "": it can.
func unportable(name string) string {
	if last := name[len(name)-1]; last == '.' || last == ' ' {
		return "ends with a dot or a space"
	}
	for _, r := range name {
		switch {
		case r < ' ' || r == 0x7f:
			return "holds a control character"
		case strings.ContainsRune(`<>:"\|?*`, r):
			return fmt.Sprintf("holds %q", r)
		case r >= utf8.RuneSelf && !unicode.Is(assigned, r):
			return fmt.Sprintf("holds %U, a character that Unicode %s does not have", r, cases.UnicodeVersion)
		}
	}
	if device(name) {
		return "is that of a device on Windows"
	}
	return ""
}

// device reports whether Windows takes a name for a device: that it does whatever the
// extension, and with spaces before it.
func device(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	number, com := strings.CutPrefix(base, "COM")
	if !com {
		var lpt bool
		if number, lpt = strings.CutPrefix(base, "LPT"); !lpt {
			return false
		}
	}
	return len(number) > 0 && strings.Contains("123456789¹²³", number) && utf8.RuneCountInString(number) == 1
}
