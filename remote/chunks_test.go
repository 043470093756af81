package remote

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// nonsense is a server that answers each path with what the table says.
func nonsense(t *testing.T, answers map[string]any) *Chunks {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		b, err := json.Marshal(answers[strings.TrimPrefix(r.URL.Path, "/v1/blobs/")])
		if err != nil {
			t.Error(err)
		}
		w.Write(b)
	})
	return NewChunks(NewClient("http://server", "token", InProcess(h)), nil)
}

// TestNonsense: a server that says what it cannot mean is corrupt, and nothing worse happens.
func TestNonsense(t *testing.T) {
	raw := text(1000)
	ref := refOf(raw)
	granted := GrantReply{Uploads: []Upload{{Ticket: "t", URL: "/here"}}}
	for name, answers := range map[string]map[string]any{
		"nothing":         {},
		"too few answers": {"check": CheckReply{}, "grant": GrantReply{}, "locate": LocateReply{}},
		"too many answers": {
			"check":  CheckReply{Receipts: make([]dbfs.Receipt, 2)},
			"grant":  GrantReply{Uploads: make([]Upload, 2)},
			"locate": LocateReply{Chunks: make([]Located, 2)},
		},
		"addresses that are none": {
			"check":  []int{1},
			"grant":  GrantReply{Uploads: []Upload{{URL: "file:///etc/passwd"}}},
			"locate": LocateReply{Chunks: []Located{{URL: "file:///etc/passwd", Size: 100}}},
		},
		"a huge frame": {
			"check":    "x",
			"grant":    granted,
			"register": RegisterReply{Chunks: make([]Registered, 1)},
			"locate":   LocateReply{Chunks: []Located{{URL: "/here", Size: 1 << 40}}},
		},
		"a negative frame": {
			"check":    7,
			"grant":    granted,
			"register": RegisterReply{},
			"locate":   LocateReply{Chunks: []Located{{URL: "/here", Size: -1}}},
		},
	} {
		c := nonsense(t, answers)
		if r, err := c.Check(t.Context(), 1, []dbfs.ChunkRef{ref}); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%s: check: %q, %v; want ErrCorrupt", name, r, err)
		}
		if r, err := c.Put(t.Context(), 1, ref, raw); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%s: put: %q, %v; want ErrCorrupt", name, r, err)
		}
		if b, err := c.Get(t.Context(), 1, ref); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%s: get: %d bytes, %v; want ErrCorrupt", name, len(b), err)
		}
	}
}

// TestRegisterErrors: an upload that did not arrive can be tried again; one that the server
// refuses cannot.
func TestRegisterErrors(t *testing.T) {
	raw := text(1000)
	for code, want := range map[string]error{
		"not_exist": dbfs.ErrOffline,
		"corrupt":   dbfs.ErrOffline,
		"invalid":   dbfs.ErrInvalid,
		"busy":      dbfs.ErrBusy,
		"version":   dbfs.ErrVersion,
	} {
		c := nonsense(t, map[string]any{
			"grant":    GrantReply{Uploads: []Upload{{Ticket: "t", URL: "/here"}}},
			"register": RegisterReply{Chunks: []Registered{{Error: &ErrorReply{Code: code, Message: "as told"}}}},
		})
		if _, err := c.Put(t.Context(), 1, refOf(raw), raw); !errors.Is(err, want) {
			t.Errorf("register answers %q: %v, want %v", code, err, want)
		}
	}
}
