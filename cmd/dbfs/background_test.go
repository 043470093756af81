package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestAwaitReady(t *testing.T) {
	for _, c := range []struct {
		lines []readyLine
		want  string // of the error, or the mount
		names []int64
	}{
		{[]readyLine{{Mount: "/m", PID: 7}}, "/m", nil},
		{[]readyLine{{Listed: 500}, {Listed: 1000}, {Mount: "/m", PID: 7}}, "/m", []int64{500, 1000}},
		{[]readyLine{{Listed: 500}}, "ended before it was ready", []int64{500}},
		{nil, "ended before it was ready", nil},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range c.lines {
			if err := json.NewEncoder(w).Encode(line); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		var names []int64
		line, err := awaitReady(r, func(n int64) { names = append(names, n) })
		r.Close()
		got := line.Mount
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || !slices.Equal(names, c.names) {
			t.Errorf("%+v: %q after %d, want %q after %d", c.lines, got, names, c.want, c.names)
		}
	}
}
