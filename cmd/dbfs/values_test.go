package main

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	good := map[string]int64{"10GiB": 10 << 30, "500MB": 500e6, "4096": 4096, "0": 0, "1.5 KiB": 1536, "10G": 10e9}
	for text, want := range good {
		var got byteSize
		if err := got.Set(text); err != nil || int64(got) != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "banana", "-1", "10XB", "99999999999999999999", "16EiB"} {
		var got byteSize
		if err := got.Set(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestAutomatic(t *testing.T) {
	for text, off := range map[string]bool{"auto": false, "off": true} {
		var got automatic
		if err := got.Set(text); err != nil || got.off != off || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "on", "false", "OFF"} {
		var got automatic
		if err := got.Set(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestSpans(t *testing.T) {
	good := map[string]time.Duration{"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "60": time.Minute, "0.5": 500 * time.Millisecond, "0": 0}
	for text, want := range good {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-1", "-1h", "1w", "1e300", "NaN", "Inf", "d"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestFlagsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := span(rapid.Int64Range(0, int64(1e6*time.Hour)).Draw(t, "nanoseconds"))
		var again span
		if err := again.Set(d.String()); err != nil || again != d {
			t.Fatalf("%v came back as %v, %v", &d, &again, err)
		}
		n := byteSize(rapid.Int64Range(0, 1023).Draw(t, "n") << (10 * rapid.IntRange(0, 4).Draw(t, "unit")))
		var same byteSize
		if err := same.Set(n.String()); err != nil || same.String() != n.String() {
			t.Fatalf("%v came back as %v, %v", &n, &same, err)
		}
	})
}

func TestRoughly(t *testing.T) {
	tests := map[time.Duration]string{
		0: "0 s", 999 * time.Millisecond: "0 s", 14 * time.Second: "14 s", time.Minute: "1 min", 61 * time.Second: "1 min 1 s",
		2 * time.Hour: "2 h", 26*time.Hour + 5*time.Minute: "1 d 2 h", 150 * time.Minute: "2 h 30 min",
	}
	for d, want := range tests {
		if got := roughly(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{"plain ä": "plain ä", "a\tb": `a\x09b`, "\x1b[31m": `\x1b[31m`, "bad\xff": "bad\ufffd"} {
		if got := visible(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestPaintSpansIgnoresNonsense(t *testing.T) {
	s := newSession(t)
	s.outTerm = true
	got := s.paintSpans(red, "abc", [][2]int{{-1, 1}, {0, 1}, {0, 2}, {2, 1}, {2, 9}})
	if want := "\x1b[1;31ma\x1b[0mbc"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseMoment(t *testing.T) {
	zone := time.FixedZone("", 7200)
	now := time.Date(2026, 5, 3, 12, 0, 0, 0, zone)
	for v, want := range map[string]time.Time{
		"2026-05-01":           time.Date(2026, 5, 1, 0, 0, 0, 0, zone),
		"2026-05-01 17:30":     time.Date(2026, 5, 1, 17, 30, 0, 0, zone),
		"2026-05-01 17:30:05":  time.Date(2026, 5, 1, 17, 30, 5, 0, zone),
		"2026-05-01T17:30:00Z": time.Date(2026, 5, 1, 17, 30, 0, 0, time.UTC),
		"2h":                   now.Add(-2 * time.Hour),
		"1d":                   now.Add(-24 * time.Hour),
	} {
		if got, err := parseMoment(v, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", v, got, err, want)
		}
	}
	for _, v := range []string{"", "yesterday", "2026-13-01", "-2h", "17:30"} {
		if got, err := parseMoment(v, now); err == nil {
			t.Errorf("%q: %v", v, got)
		}
	}
}
