package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample are results as an earlier run wrote them. They must be read for ever.
func sample(t *testing.T) *Results {
	t.Helper()
	r, err := Read("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := sample(t).Markdown(&b); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/v1.md")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the table of testdata/v1.json is not testdata/v1.md, but\n%s", got)
	}
}

// TestPlots draws all that the sample has, and reads each as the XML that it should be.
func TestPlots(t *testing.T) {
	dir := t.TempDir()
	files, err := sample(t).Plot(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkXML(string(b)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, system := range []string{"dbfs", "peer"} {
			if !strings.Contains(string(b), ">"+system+"<") {
				t.Errorf("%s says nothing of %s", file, system)
			}
		}
	}
	if got, want := strings.Join(names, " "), "speed.svg memory.svg growth-write.svg growth-create.svg"; got != want {
		t.Errorf("plots are %s, want %s", got, want)
	}
}

func checkXML(text string) error {
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestNothing draws results without a measure: there is no plot, and the text stands.
func TestNothing(t *testing.T) {
	files, err := New().Plot(t.TempDir())
	if err != nil || len(files) > 0 {
		t.Errorf("plots of nothing: %v, %v", files, err)
	}
	if err := New().Markdown(io.Discard); err != nil {
		t.Error(err)
	}
}

func TestCell(t *testing.T) {
	r := sample(t)
	create := Work{Name: "create", Goal: 0.35}
	cold := Work{Name: "read-cold", Base: "read-dropped"}
	for _, tt := range []struct {
		work   Work
		system string
		ratio  float64
		runs   int
		below  bool
	}{
		{create, Bare, 1, 3, false},
		{create, "dbfs", 0.25, 2, true}, // medians are 1 s and 4 s
		{create, "peer", 0.05, 3, false},
		{Work{Name: "git", Goal: 0.45}, "dbfs", 0, 0, true},
		{cold, "dbfs", 0.5, 3, false},
		{cold, Bare, 0, 0, false},
	} {
		c := r.Cell(tt.system, tt.work, 0)
		if round(c.Ratio) != tt.ratio || c.Runs != tt.runs {
			t.Errorf("%s on %s: ratio %v of %d runs, want %v of %d", tt.work.Name, tt.system, c.Ratio, c.Runs, tt.ratio, tt.runs)
		}
		if got := tt.work.Below(tt.system, c); got != tt.below {
			t.Errorf("%s on %s is below its goal: %v, want %v", tt.work.Name, tt.system, got, tt.below)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		of   []float64
		want float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 8}, 3},
	} {
		if got := Median(tt.of); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.of, got, tt.want)
		}
	}
}

func TestKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r := New()
	r.Measures = []Measure{{Run: 1, System: "disk", Work: "write", Seconds: 1.5}}
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Made.Equal(r.Made) || len(got.Measures) != 1 || got.Measures[0].Seconds != 1.5 {
		t.Errorf("read %+v, wrote %+v", got, r)
	}
}

func TestOthersAreRefused(t *testing.T) {
	for text, want := range map[string]string{`{"version":2}`: "version 2", `{`: "unexpected end", `[]`: "cannot unmarshal"} {
		file := filepath.Join(t.TempDir(), "r.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is read with %v, want %q", text, err, want)
		}
	}
}
