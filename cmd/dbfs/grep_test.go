package main

import (
	"strings"
	"testing"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/control/controltest"
)

func TestGrepAsksWhatItsFlagsSay(t *testing.T) {
	tests := []struct {
		args []string
		want control.GrepRequest
	}{
		{[]string{"x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work"}},
		{[]string{"x", "/"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/"}},
		{[]string{"-e", "-x", "-e", "y", "sub"}, control.GrepRequest{Patterns: []string{"-x", "y"}, Path: "/work/sub"}},
		{[]string{"-iwF", "a("}, control.GrepRequest{Patterns: []string{"a("}, Path: "/work", IgnoreCase: true, Word: true, Fixed: true}},
		{[]string{"-C3", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", Before: 3, After: 3}},
		{[]string{"-C3", "-A1", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", Before: 3, After: 1}},
		{[]string{"-B0", "-C3", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", After: 3}},
		{[]string{"-l", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", Mode: control.GrepFiles}},
		{[]string{"-c", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", Mode: control.GrepCount}},
		{[]string{"-q", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work", Mode: control.GrepFiles}},
		{[]string{"-c", "--json", "x"}, control.GrepRequest{Patterns: []string{"x"}, Path: "/work"}},
		{[]string{"-g", "*.go", "-g", "!x,y", "x", "team:/"}, control.GrepRequest{Patterns: []string{"x"}, Path: "team:/", Globs: []string{"*.go", "!x,y"}}},
	}
	for _, test := range tests {
		fake := &controltest.Fake{}
		s := newSession(t)
		s.serve(t, fake)
		s.do(t, append([]string{"grep"}, test.args...)...)
		asked := fake.Asked()
		if len(asked) != 1 {
			t.Errorf("%q: asked %v", test.args, asked)
			continue
		}
		got := asked[0].(control.GrepRequest)
		if !sameRequest(got, test.want) {
			t.Errorf("%q:\n got %+v\nwant %+v", test.args, got, test.want)
		}
	}
}

func sameRequest(a, b control.GrepRequest) bool {
	lists := strings.Join(a.Patterns, "\n") == strings.Join(b.Patterns, "\n") && strings.Join(a.Globs, "\n") == strings.Join(b.Globs, "\n")
	return lists && a.Path == b.Path && a.IgnoreCase == b.IgnoreCase && a.Word == b.Word && a.Fixed == b.Fixed &&
		a.Before == b.Before && a.After == b.After && a.Mode == b.Mode
}

func TestGrepByFile(t *testing.T) {
	s := newSession(t)
	s.serve(t, &controltest.Fake{Events: []control.GrepEvent{{Path: "/work/a", Count: 3}, {Path: "/work/sub/b", Count: 1}}})
	for want, args := range map[string][]string{
		"a\nsub/b\n":     {"-l", "x"},
		"a:3\nsub/b:1\n": {"-c", "x"},
		"/home/ana/Dbfs/work/a\n/home/ana/Dbfs/work/sub/b\n": {"-l", "x", "/home/ana/Dbfs"},
		"3\n/work/sub/b:1\n": {"-c", "x", "a"}, // one file, as asked for, has no name before its count
	} {
		if got := s.do(t, append([]string{"grep"}, args...)...); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}
