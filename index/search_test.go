package index

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// library is a small drive on which queries are tried.
func library() (*drive, []File) {
	d := newDrive()
	files := []File{
		d.put(1, "work/annual report.txt", "The annual figures are good.\nProfit rose by ten percent."),
		d.put(2, "work/draft.txt", "An annual draft; the report is not yet written."),
		d.put(3, "home/café.md", "Crème brûlée und Straße. Ｆｕｌｌ width."),
		d.put(4, "src/main.go", "package main\nfunc parseHTTPRequest(foo_bar int) {}\n"),
		d.put(5, "src/copy.go", "package main\nfunc parseHTTPRequest(foo_bar int) {}\n"),
		d.put(6, "home/日記.txt", "今日は東京都へ行きました。"),
		d.put(7, "big/numbers.csv", strings.Repeat("1,2,3\n", 4000)),
	}
	scan := d.put(8, "home/holiday photo.jpg", "\xff\xd8\x00\x01annual")
	cloud := d.put(9, "cloud/annual plan.pdf", "not here")
	cloud.Text = nil
	return d, append(files, scan, cloud, File{Node: nodeNumber(10), Name: "annual"})
}

func TestQueries(t *testing.T) {
	d, files := library()
	d.put(10, "work/annual", "") // a directory
	now := time.Unix(0, 100)
	tests := []struct {
		query string
		want  string // node numbers
	}{
		{"annual", "1 2 9 10"},
		{"ANNUAL report", "1 2"},
		{`"annual report"`, "1"},
		{`"annual figures"`, "1"},
		{`"figures annual"`, ""},
		{"annual -report", "9 10"},
		{"draft OR profit", "1 2"},
		{"annual (draft OR profit)", "1 2"},
		{"annual -(draft OR profit)", "9 10"},
		{"-annual ext:txt", "6"},
		{"ann*", "1 2 9 10"},
		{"fig* prof*", "1"},
		{"name:annual", "1 9 10"},
		{"name:ann*", "1 9 10"},
		{`name:"annual plan"`, "9"},
		{`name:"plan annual"`, ""},
		{"name:annual figures", "1"},
		{"plan.pdf", "9"},
		{"creme", "3"},
		{"Brûlée", "3"},
		{"cafe", "3"},
		{"full width", "3"},
		{"strasse", ""},
		{"straße", "3"},
		{"parseHTTPRequest", "4 5"},
		{"parse request", "4 5"},
		{"foo_bar", "4 5"},
		{"foo bar", "4 5"},
		{`"main func"`, "4 5"},
		{"東京", "6"},
		{"東京都", "6"},
		{"京", "6"},
		{"都", "6"},
		{"都東", ""},
		{"日記", "6"},
		{"ext:go", "4 5"},
		{"ext:go,md", "3 4 5"},
		{"ext:.PDF", "9"},
		{"in:work", "1 2 10"},
		{"in:/work/ annual", "1 2 10"},
		{"in:wor", ""},
		{"annual in:cloud", "9"},
		{"size:>10k", "7"},
		{"size:<5 -ext:go", "10"},
		{"photo", "8"},
		{"name:photo ext:jpg", "8"},
		{`"10,000 things that are nowhere"`, ""},
		{"1,2,3", "7"},
		{"before:1971-01-01 ext:csv", "7"},
		{"after:1971-01-01", ""},
	}
	check := func(t *testing.T, x *Index) {
		for _, tt := range tests {
			res, err := x.Search(context.Background(), tt.query, SearchOptions{Now: now})
			if err != nil {
				t.Errorf("%s: %v", tt.query, err)
				continue
			}
			var got []string
			for n := 1; n <= 10; n++ {
				if slices.ContainsFunc(res.Hits, func(h Hit) bool { return h.Node == nodeNumber(n) }) {
					got = append(got, map[bool]string{true: "10", false: string(rune('0' + n))}[n == 10])
				}
			}
			if s := strings.Join(got, " "); s != tt.want || res.Total != len(got) {
				t.Errorf("%s: found %q (total %d), want %q", tt.query, s, res.Total, tt.want)
			}
		}
	}
	x := openIndex(t, t.TempDir(), d.options())
	for _, f := range files {
		feed(t, x, f)
	}
	t.Run("memory", func(t *testing.T) { check(t, x) })
	flush(t, x)
	t.Run("segment", func(t *testing.T) { check(t, x) })
}

func TestBadQueries(t *testing.T) {
	x := openIndex(t, t.TempDir(), newDrive().options())
	for _, q := range []string{
		"", "   ", `"`, `"open`, "(a", "a)", "OR b", "a OR", "a OR OR b", "-", "a - b", "ext:", "ext:,", "size:", "size:x", "size:>",
		"size:1e400", "before:yesterday", "after:", `name:"x`, "\xff", strings.Repeat("(", 100), strings.Repeat("a ", 4000), "!!!",
	} {
		if _, err := x.Search(context.Background(), q, SearchOptions{}); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%.20q: %v, want ErrInvalid", q, err)
		}
	}
}
