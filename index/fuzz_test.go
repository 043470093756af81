package index

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"regexp"
	"testing"
	"time"
)

// resum makes the checksums of a segment file right, if it has the shape of one.
func resum(b []byte) []byte {
	if len(b) < footerSize {
		return b
	}
	b = append([]byte(nil), b...)
	foot := b[len(b)-footerSize:]
	copy(foot[footerSize-8:], footerMagic)
	sums := binary.LittleEndian.Uint64(foot[9*8:])
	if sums > uint64(len(b)) {
		return b
	}
	for i := uint64(0); i*pageSize < sums; i++ {
		if at := sums + 4*i; at+4 <= uint64(len(b)-footerSize) {
			binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[i*pageSize:min((i+1)*pageSize, sums)], castagnoli))
		}
	}
	binary.LittleEndian.PutUint32(b[len(b)-12:], crc32.Checksum(b[sums:max(sums, uint64(len(b)-12))], castagnoli))
	return b
}

func FuzzManifest(f *testing.F) {
	e := edit{add: []segmentRef{{1, 2, 3}, {4, 0, 0}}, drop: []uint64{9}, dead: []segmentRef{{number: 4, dead: 2}}, nextDoc: 77, mark: []byte("m")}
	f.Add(encodeEdit(e))
	f.Add(encodeEdit(edit{noMark: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEdit(b); err == nil {
			if again, err := decodeEdit(encodeEdit(e)); err != nil || len(again.add) != len(e.add) || again.nextDoc != e.nextDoc || string(again.mark) != string(e.mark) {
				t.Fatalf("edit changed on the way: %+v, %+v, %v", e, again, err)
			}
		}
		rec := append([]byte(manifestMagic), binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), crc32.Checksum(b, castagnoli))...)
		decodeManifest(append(rec, b...))
		decodeManifest(b)
	})
}

func FuzzDead(f *testing.F) {
	var d *dead
	f.Add(encodeDead(d.with(3).with(70), 100), 100)
	f.Fuzz(func(t *testing.T, b []byte, docs int) {
		if d, err := decodeDead(b, docs); err == nil && !reflect.DeepEqual(encodeDead(d, docs), b) {
			t.Fatal("dead documents changed on the way")
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{`a "b c" OR -d* (name:x ext:go,c) in:p`, "size:>1.5M before:2025-01 after:7d", "日本 é", "-(-(a))"} {
		f.Add(q)
	}
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, q string) {
		n, err := parseQuery(q, now)
		if (n == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", q, n, err)
		}
	})
}

// FuzzPlan checks that no plan rules out a text that matches.
func FuzzPlan(f *testing.F) {
	f.Add(`fo+(bar|baz)?[x-z]q`, "a foobarzq b", false)
	f.Add(`(?i)straße\s+K`, "STRAßE  \u212a", true)
	f.Add(`^a{2,3}.c$`, "aaaxc", false)
	f.Fuzz(func(t *testing.T, pattern, line string, fold bool) {
		m, err := newMatcher(GrepOptions{Pattern: pattern, IgnoreCase: fold})
		if err != nil || len(pattern) > 200 || len(line) > 1000 {
			return
		}
		loc := m.re.FindStringIndex(line)
		if loc == nil || regexp.MustCompile(`\n`).MatchString(line) {
			return
		}
		a := newAnalysis()
		a.text([]byte(line))
		if !satisfies(m.plan, a.tris) {
			t.Fatalf("pattern %q matches %q, but its plan %+v does not", pattern, line, m.plan)
		}
		find := finder{m: m}
		find.window([]byte(line))
		if _, ok := find.next(0); !ok && line != "" {
			t.Fatalf("pattern %q matches %q, but needs %q", pattern, line, m.need)
		}
	})
}

func satisfies(p plan, tris []uint32) bool {
	switch p.op {
	case opAny:
		return true
	case opTri:
		for _, t := range tris {
			if t == p.tri {
				return true
			}
		}
		return false
	case opAnd:
		for _, sub := range p.of {
			if !satisfies(sub, tris) {
				return false
			}
		}
		return true
	case opOr:
		for _, sub := range p.of {
			if satisfies(sub, tris) {
				return true
			}
		}
	}
	return false
}

func FuzzText(f *testing.F) {
	f.Add([]byte("camelCase HTTPServer foo_bar __init__ é日本語 x"))
	f.Add([]byte("\xff\xfea\x00b\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, ok := Decode(raw)
		if !ok {
			return
		}
		last := uint32(0)
		tok := tokenizer{parts: true, emit: func(tk token) {
			if len(tk.term) == 0 || len(tk.term) > maxTerm || tk.pos < last || tk.start >= tk.end || tk.end > len(text) {
				t.Fatalf("token %q at %d, bytes %d to %d of %d", tk.term, tk.pos, tk.start, tk.end, len(text))
			}
			last = tk.pos
		}}
		tok.run(text)
	})
}
