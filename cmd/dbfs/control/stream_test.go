package control

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

func TestReadStream(t *testing.T) {
	tests := []struct {
		text  string
		items int
		want  error
	}{
		{`{"item":1}` + "\n{}\n" + `{"item":2}` + "\n" + `{"done":{}}` + "\n", 2, nil},
		{`{"done":{}}`, 0, nil},
		{`{"item":1}` + "\n" + `{"error":{"kind":"offline","message":"x"}}` + "\n", 1, dbfs.ErrOffline},
		{`{"item":1}` + "\n", 1, ErrNoDaemon}, // cut off
		{"", 0, ErrNoDaemon},
		{"{\n", 0, dbfs.ErrCorrupt},
		{`{"done":"text"}` + "\n", 0, dbfs.ErrCorrupt},
		{`{"newer":"field"}` + "\n" + `{"done":{}}` + "\n", 0, nil},
	}
	for _, test := range tests {
		items := 0
		err := readStream(strings.NewReader(test.text), func() {}, func(json.RawMessage) error { items++; return nil }, &empty{})
		if !errors.Is(err, test.want) || items != test.items {
			t.Errorf("%q: %d items, %v; want %d, %v", test.text, items, err, test.items, test.want)
		}
	}
	long := `{"item":"` + strings.Repeat("x", maxLine) + `"}`
	if err := readStream(strings.NewReader(long), func() {}, func(json.RawMessage) error { return nil }, &empty{}); err == nil {
		t.Error("a line without end was taken")
	}
}

func FuzzReadStream(f *testing.F) {
	f.Add(`{"item":{"path":"/a","text":"eA=="}}` + "\n{}\n" + `{"done":{"lines":1}}` + "\n")
	f.Add(`{"error":{"kind":"offline","message":"x"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var sum GrepSummary
		err := readStream(strings.NewReader(text), func() {}, func(b json.RawMessage) error { return unmarshal(b, &GrepEvent{}) }, &sum)
		if err != nil {
			return
		}
		for line := range strings.Lines(text) {
			var l streamLine
			if json.Unmarshal([]byte(line), &l) == nil && l.Done != nil {
				return
			}
		}
		t.Errorf("%q has no end, but was taken for whole", text)
	})
}
