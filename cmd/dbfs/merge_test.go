package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	const base = "a\nb\nc\nd\ne\n"
	for _, c := range []struct {
		what, ours, theirs, want string
		conflicts                int
	}{
		{"nothing", base, base, base, 0},
		{"one side", "a\nB\nc\nd\ne\n", base, "a\nB\nc\nd\ne\n", 0},
		{"the same on both", "a\nB\nc\nd\ne\n", "a\nB\nc\nd\ne\n", "a\nB\nc\nd\ne\n", 0},
		{"far apart", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n", "A\nb\nc\nd\ne\nf\n", 0},
		{"one deletes, the other appends", "b\nc\nd\ne\n", base + "f", "b\nc\nd\ne\nf", 0},
		{"the same line", "a\nb\nX\nd\ne\n", "a\nb\nY\nd\ne\n", "a\nb\n<<<<<<< ours\nX\n||||||| base\nc\n=======\nY\n>>>>>>> theirs\nd\ne\n", 1},
		{"two places", "1\nb\nc\nd\n2\n", "3\nb\nc\nd\n4\n", "<<<<<<< ours\n1\n||||||| base\na\n=======\n3\n>>>>>>> theirs\nb\nc\nd\n<<<<<<< ours\n2\n||||||| base\ne\n=======\n4\n>>>>>>> theirs\n", 2},
		{"one deletes what the other edits", "a\nb\nd\ne\n", "a\nb\nC\nd\ne\n", "a\nb\n<<<<<<< ours\n||||||| base\nc\n=======\nC\n>>>>>>> theirs\nd\ne\n", 1},
		{"other insertions at one place", "a\nb\nc\n1\nd\ne\n", "a\nb\nc\n2\nd\ne\n", "a\nb\nc\n<<<<<<< ours\n1\n||||||| base\n=======\n2\n>>>>>>> theirs\nd\ne\n", 1},
		{"no newline at the end", "a\nb\nc\nd\nx", "a\nb\nc\nd\ny", "a\nb\nc\nd\n<<<<<<< ours\nx\n||||||| base\ne\n=======\ny\n>>>>>>> theirs\n", 1},
	} {
		if got, n := merge3(base, c.ours, c.theirs); got != c.want || n != c.conflicts {
			t.Errorf("%s: %d conflicts and\n%s\nwant %d and\n%s", c.what, n, got, c.conflicts, c.want)
		}
	}
}

// Whatever the texts are: who changed nothing has no say, agreement is no conflict, and no
// line that somebody wrote is missing.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "\n", "end"}), 0, 12).Draw(t, label), "")
		}
		base, x, y := text("base"), text("x"), text("y")
		for _, c := range [][4]string{{base, base, x, x}, {base, x, base, x}, {base, x, x, x}} {
			if got, n := merge3(c[0], c[1], c[2]); got != c[3] || n > 0 {
				t.Fatalf("merge of %q, %q, %q is %q with %d conflicts", c[0], c[1], c[2], got, n)
			}
		}
		got, n := merge3("", x, y)
		if !strings.Contains(got, x) || !strings.Contains(got, y) {
			t.Fatalf("from nothing, %q and %q become %q with %d conflicts", x, y, got, n)
		}
	})
}
