package names

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

const exact, portable = dbfs.NamesExact, dbfs.NamesPortable

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"README", "readme", true},
		{"a", "b", false},
		{"é", "e\u0301", true},
		{"É", "e\u0301", true},
		{"é", "e", false},
		{"straße", "STRASSE", true},
		{"Σας", "σασ", true},
		{"ΐ", "Ϊ\u0301", true},
		{"\u1fd3", "\u0390", true},
		{"\u1e9b\u0323", "ſ\u0323\u0307", true},
		{"ﬁ", "FI", true},
		{"K", "k", true}, // the sign of Kelvin
		{"Å", "å", true}, // … and of Ångström
		{"ı", "i", false},
		{"한", "\u1112\u1161\u11ab", true},
		{"١", "1", false},
		{"a b", "a  b", false},
		{"Ꭰ", "ꭰ", true}, // Cherokee folds to upper case
		{"\u0345\u0301", "\u0301\u0345", true},
	} {
		if got := Same(portable, c.a, c.b); got != c.want {
			t.Errorf("%q and %q are one: %v (keys %q, %q)", c.a, c.b, got, Key(portable, c.a), Key(portable, c.b))
		}
		if Same(exact, c.a, c.b) {
			t.Errorf("%q and %q are one where names are exact", c.a, c.b)
		}
	}
}

func TestCheck(t *testing.T) {
	good := []string{
		"a", ".e", " a", "a b", "README.md", "CONSOLE", "com", "COM0", "COM10", "lpt", "LPTX", "aux1", "nul-1", "con(1)",
		"é", "e\u0301", "한글.txt", "👍🏽", "\u200d", "a.b.c", "_", "~", "%", "a'b", "\u0085",
		"plan (conflicted copy, host.local 2026-05-01 2).txt", strings.Repeat("x", dbfs.MaxName),
	}
	for _, name := range good {
		if err := Check(portable, name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	bad := []string{
		"a.", "a ", "...", ". ", " ", "a:b", "a<", ">a", `a"b`, `a\b`, "a|b", "a?", "*", "a\nb", "a\x1f", "a\x7f",
		"CON", "con", "Con.txt", "con .txt", "PRN", "aux", "NUL", "nul.tar.gz", "COM1", "com9.log", "LPT1", "lpt3", "COM¹", "lpt².x", "CONIN$", "conout$",
		"\U0003fffd", "a\u0378", "\ufffe",
	}
	for _, name := range bad {
		if err := Check(portable, name); !errors.Is(err, dbfs.ErrInvalid) || !strings.Contains(err.Error(), "portable") {
			t.Errorf("%q: %v", name, err)
		}
		if err := Check(exact, name); err != nil {
			t.Errorf("%q where names are exact: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", "\xff"} {
		for _, rule := range []dbfs.NameRule{exact, portable} {
			if err := Check(rule, name); !errors.Is(err, dbfs.ErrInvalid) {
				t.Errorf("%q where names are %s: %v", name, rule, err)
			}
		}
	}
	if err := Check(portable, strings.Repeat("x", dbfs.MaxName+1)); !errors.Is(err, dbfs.ErrNameTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// TestEveryLetter holds that every character that is assigned has the key of its own upper, lower
// and title case, alone and composed, unless Unicode folds it apart.
func TestEveryLetter(t *testing.T) {
	apart := map[rune]bool{'İ': true, 'ı': true}
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) || apart[r] {
			continue
		}
		a := string(r)
		key := Key(portable, a)
		if strings.ContainsRune(key, 0) {
			t.Fatalf("%U has the key %q", r, key)
		}
		if again := Key(portable, key); again != key {
			t.Errorf("%U has the key %q, and that %q", r, key, again)
		}
		for _, b := range []string{strings.ToUpper(a), strings.ToLower(a), strings.ToTitle(a)} {
			if low := []rune(b); len(low) == 1 && apart[low[0]] {
				continue
			}
			if !Same(portable, a, b) {
				t.Errorf("%U: %q and %q have the keys %q and %q", r, a, b, key, Key(portable, b))
			}
		}
	}
}

// TestKeys: that two names are one does not depend on their spelling, and what is legal has a legal key's length.
func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringN(1, 40, 200).Draw(t, "a")
		b := rapid.StringN(1, 40, 200).Draw(t, "b")
		ka, kb := Key(portable, a), Key(portable, b)
		if Key(portable, ka) != ka {
			t.Fatalf("the key of %q is %q, and that of it %q", a, ka, Key(portable, ka))
		}
		if Key(exact, a) != a {
			t.Fatalf("exact key of %q", a)
		}
		if (ka == kb) != Same(portable, a, b) {
			t.Fatalf("%q, %q", a, b)
		}
		if len(ka) > 4*len(a) {
			t.Fatalf("%d bytes have a key of %d", len(a), len(ka))
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, name := range []string{"a", "CON", "e\u0301", "\xff", "ΐ.", "COM¹.x", strings.Repeat("ß", 127)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if Check(portable, name) != nil {
			return
		}
		key := Key(portable, name)
		if key == "" || strings.ContainsRune(key, 0) || Key(portable, key) != key {
			t.Errorf("%q has the key %q, and that %q", name, key, Key(portable, key))
		}
		if dbfs.CheckName(name) != nil {
			t.Errorf("%q is good where names are portable, and bad where they are exact", name)
		}
	})
}
