package index

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// corpus is the Go library's source on a drive.
func corpus(b *testing.B) (*drive, []File, int64) {
	d := newDrive()
	var files []File
	var size int64
	root := goRoot(b)
	err := filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		files = append(files, d.put(len(files), rel, string(text)))
		size += int64(len(text))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return d, files, size
}

func BenchmarkIndexing(b *testing.B) {
	d, files, size := corpus(b)
	b.SetBytes(size)
	for b.Loop() {
		x := openIndex(b, b.TempDir(), d.options())
		for _, f := range files {
			feed(b, x, f)
		}
		flush(b, x)
		st := x.Stats()
		b.ReportMetric(100*float64(st.Disk)/float64(size), "%disk/text")
		b.ReportMetric(float64(st.Segments), "segments")
		x.Close()
	}
}

// percentiles reports the median and the 95th percentile of times in milliseconds.
func percentiles(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	ms := func(p int) float64 { return float64(times[len(times)*p/100]) / 1e6 }
	b.ReportMetric(ms(50), "p50-ms")
	b.ReportMetric(ms(95), "p95-ms")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkQueries(b *testing.B) {
	d, files, _ := corpus(b)
	x := openIndex(b, b.TempDir(), d.options())
	for _, f := range files {
		feed(b, x, f)
	}
	flush(b, x)
	word := regexp.MustCompile(`[A-Za-z]{3,}`)
	rng := rand.New(rand.NewPCG(3, 4))
	words := func() []string {
		for {
			text := files[rng.IntN(len(files))].Text
			if len(text) < 200 {
				continue
			}
			at := rng.IntN(len(text) - 100)
			if w := word.FindAllString(string(text[at:at+100]), -1); len(w) > 4 {
				return w[1 : len(w)-1]
			}
		}
	}
	kinds := map[string]func() string{
		"word":   func() string { return words()[0] },
		"two":    func() string { return strings.Join(words()[:2], " ") },
		"phrase": func() string { return `"` + strings.Join(words()[:2], " ") + `"` },
		"prefix": func() string { return words()[0][:3] + "*" },
	}
	for _, kind := range []string{"word", "two", "phrase", "prefix"} {
		b.Run(kind, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				query := kinds[kind]()
				start := time.Now()
				if _, err := x.Search(context.Background(), query, SearchOptions{}); err != nil {
					b.Fatal(query, err)
				}
				times = append(times, time.Since(start))
			}
			percentiles(b, times)
		})
	}
	greps := map[string]func() GrepOptions{
		"grep/slice": func() GrepOptions {
			for {
				text := files[rng.IntN(len(files))].Text
				if len(text) > 100 {
					at := rng.IntN(len(text) - 20)
					line, _, _ := strings.Cut(string(text[at:at+8+rng.IntN(12)]), "\n")
					if len(strings.TrimSpace(line)) >= 8 {
						return GrepOptions{Pattern: strings.ToValidUTF8(line, ""), Fixed: true}
					}
				}
			}
		},
		"grep/regexp": func() GrepOptions {
			w := words()
			return GrepOptions{Pattern: w[0] + `\w*\W+` + w[1]}
		},
	}
	for _, kind := range []string{"grep/slice", "grep/regexp"} {
		b.Run(kind, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				opt := greps[kind]()
				start := time.Now()
				if _, err := x.Grep(context.Background(), opt, func(*FileMatches) error { return nil }); err != nil {
					b.Fatal(opt, err)
				}
				times = append(times, time.Since(start))
			}
			percentiles(b, times)
		})
	}
	runtime.KeepAlive(d)
}
