package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// says returns a client of a server that answers everything alike.
func says(status int, header map[string]string, body string) *Client {
	return NewClient("http://server", "token", InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	})))
}

func TestAnswersThatAreErrors(t *testing.T) {
	tests := []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   error
		text   string // of the error
	}{
		{"auth", 401, nil, `{"code":"auth","message":"expired; log in again"}`, dbfs.ErrAuth, "expired; log in again"},
		{"forbidden", 403, nil, `{"code":"forbidden","message":"namespace x"}`, dbfs.ErrForbidden, "namespace x"},
		{"read only", 403, nil, `{"code":"read_only","message":"namespace x"}`, dbfs.ErrReadOnly, "namespace x"},
		{"reset", 410, nil, `{"code":"reset"}`, dbfs.ErrReset, "410"},
		{"stale", 409, nil, `{"code":"stale_seq"}`, dbfs.ErrStaleSeq, ""},
		{"a code of the future", 409, nil, `{"code":"tuesday","message":"not today"}`, dbfs.ErrInvalid, "not today"},
		{"proxy's 401", 401, map[string]string{"Content-Type": "text/html"}, `<html>`, dbfs.ErrAuth, "401"},
		{"proxy's 403", 403, map[string]string{"Content-Type": "text/html"}, `<html>`, dbfs.ErrForbidden, "403"},
		{"older server", 404, map[string]string{"Content-Type": "text/plain"}, `404 page not found`, dbfs.ErrUnsupported, "404"},
		{"nginx's 413", 413, nil, `too big`, dbfs.ErrTooLarge, "413"},
		{"internal", 500, nil, `{"code":"internal","message":"its log says why"}`, dbfs.ErrOffline, "its log says why"},
		{"bad gateway", 502, nil, `<html>`, dbfs.ErrOffline, "502"},
		{"full disk", 507, nil, `{"code":"no_space","message":"the server's disk is full"}`, dbfs.ErrOffline, "disk is full"},
		{"too many", 429, nil, ``, dbfs.ErrOffline, "429"},
		{"redirect", 307, map[string]string{"Location": "http://elsewhere/"}, ``, dbfs.ErrOffline, "elsewhere"},
		{"portal", 200, map[string]string{"Content-Type": "text/html"}, `<html>please pay`, dbfs.ErrOffline, "not a dbfs server"},
		{"half an answer", 200, map[string]string{"Content-Length": "100"}, `[`, dbfs.ErrCorrupt, "JSON"},
		{"not JSON", 200, nil, `hello`, dbfs.ErrCorrupt, "invalid character"},
		{"JSON of another kind", 200, nil, `{"a":1}`, dbfs.ErrCorrupt, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := says(test.status, test.header, test.body).Namespaces(t.Context())
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %v with %q", err, test.want, test.text)
			}
		})
	}
}

// Every error of the table comes out as it went in, and stays what it is on the way.
func TestErrorsTravel(t *testing.T) {
	for _, row := range wireErrors {
		status, reply := EncodeError(fmt.Errorf("deep: %w", fmt.Errorf("deeper: %w", row.err)))
		got := decodeError(status, reply, 0)
		want := row.err
		if status >= 500 {
			want = dbfs.ErrOffline
		}
		if !errors.Is(got, want) || !strings.Contains(got.Error(), "deeper") {
			t.Errorf("%v came out as %v", row.err, got)
		}
	}
	status, reply := EncodeError(errors.New("password: hunter2"))
	if status != 500 || strings.Contains(reply.Message, "hunter2") {
		t.Errorf("%d %+v: an unknown error stays at home", status, reply)
	}
}

// The broken connection shows only over a real one.
func TestTruncatedAnswer(t *testing.T) {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		w.Write([]byte(`[{"id":`))
	}))
	defer hs.Close()
	if _, err := NewClient(hs.URL, "", nil).Namespaces(t.Context()); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("%v, want ErrOffline", err)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := NewClient("http://"+addr, "", nil).Namespaces(t.Context()); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want ErrOffline with its cause", err)
	}
	for _, url := range []string{"", "server:8080", "ftp://server", "http://", "http://a b"} {
		if _, err := NewClient(url, "", nil).Namespaces(t.Context()); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", url, err)
		}
	}
}

// A caller who gives up hears that, not that the server is gone.
func TestCallerGivesUp(t *testing.T) {
	c := NewClient("http://server", "", InProcess(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Namespaces(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("%v, want DeadlineExceeded alone", err)
	}
	// Its own limit is the server's fault.
	if err := c.callWithin(t.Context(), 20*time.Millisecond, http.MethodGet, "/v1/me", nil, nil); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("%v, want ErrOffline", err)
	}
}

// A server that asked to be left alone is left alone.
func TestRetryAfter(t *testing.T) {
	calls := 0
	c := NewClient("http://server", "", InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	})))
	for range 3 {
		_, err := c.Namespaces(t.Context())
		var busy *BusyError
		if !errors.Is(err, dbfs.ErrOffline) || !errors.As(err, &busy) || busy.After < 25*time.Second || busy.After > 30*time.Second {
			t.Errorf("%v (%+v), want busy for 30 s", err, busy)
		}
	}
	if calls != 1 {
		t.Errorf("asked %d times, want once", calls)
	}
	for text, want := range map[string]time.Duration{"": 0, "soon": 0, "-5": 0, "7": 7 * time.Second, "99999999": maxRetryAfter, "99999999999999999999": 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): maxRetryAfter, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0} {
		if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("Retry-After %q: %v, want %v", text, got, want)
		}
	}
}

// goodPage is a log page after 4 with two batches.
func goodPage() dbfs.LogPage {
	n := dbfs.Node{ID: dbfs.NodeID{1}, Name: "a", Kind: dbfs.KindDir, Revs: dbfs.Revs{Place: 5}, Last: 5}
	m := n
	m.Revs.Place, m.Last = 6, 6
	return dbfs.LogPage{
		Entries: []dbfs.Entry{{JID: 5, Type: dbfs.OpMove, Node: n, End: true}, {JID: 6, Type: dbfs.OpMove, Node: m, End: true}},
		Next:    dbfs.Cursor{Epoch: 2, JID: 6}, Head: 6,
	}
}

// What a server says about the log is believed only if it can be true.
func TestNonsenseLog(t *testing.T) {
	tests := map[string]func(*dbfs.LogPage){
		"gap":             func(p *dbfs.LogPage) { p.Entries[1].JID = 7 },
		"repeated":        func(p *dbfs.LogPage) { p.Entries[1].JID = 5 },
		"not from here":   func(p *dbfs.LogPage) { p.Entries = p.Entries[1:] },
		"half a batch":    func(p *dbfs.LogPage) { p.Entries[1].End = false },
		"bad name":        func(p *dbfs.LogPage) { p.Entries[0].Node.Name = "../etc" },
		"no name":         func(p *dbfs.LogPage) { p.Entries[0].Node.Name = "" },
		"own parent":      func(p *dbfs.LogPage) { p.Entries[0].Node.Parent = p.Entries[0].Node.ID },
		"other revision":  func(p *dbfs.LogPage) { p.Entries[0].Node.Last = 4 },
		"hollow revision": func(p *dbfs.LogPage) { p.Entries[0].Node.Revs.Place = 3 },
		"deleted root":    func(p *dbfs.LogPage) { p.Entries[0].Node.ID, p.Entries[0].Node.Deleted = dbfs.RootNode, true },
		"file as root":    func(p *dbfs.LogPage) { p.Entries[0].Node.ID, p.Entries[0].Node.Kind = dbfs.RootNode, dbfs.KindFile },
		"short list": func(p *dbfs.LogPage) {
			p.Entries[0].Node.Kind, p.Entries[0].Node.Content.Size = dbfs.KindFile, 9
		},
		"type bits":     func(p *dbfs.LogPage) { p.Entries[0].Node.Attr.Mode = 0o100644 },
		"next before":   func(p *dbfs.LogPage) { p.Next.JID = 5 },
		"next beyond":   func(p *dbfs.LogPage) { p.Next.JID = 7; p.Head = 7 },
		"other epoch":   func(p *dbfs.LogPage) { p.Next.Epoch = 3 },
		"head before":   func(p *dbfs.LogPage) { p.Head = 5 },
		"more of none":  func(p *dbfs.LogPage) { *p = dbfs.LogPage{Next: dbfs.Cursor{Epoch: 2, JID: 4}, Head: 9, More: true} },
		"end too early": func(p *dbfs.LogPage) { p.Head = 9 },
	}
	ask := func(t *testing.T, p dbfs.LogPage) error {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = says(200, nil, string(text)).Log(t.Context(), 1, dbfs.Cursor{Epoch: 2, JID: 4}, 10)
		return err
	}
	if err := ask(t, goodPage()); err != nil {
		t.Fatalf("a good page: %v", err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := goodPage()
			spoil(&p)
			if err := ask(t, p); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
		})
	}
}

func TestNonsenseTree(t *testing.T) {
	good := func() dbfs.TreePage {
		node := func(b byte) dbfs.Node {
			return dbfs.Node{ID: dbfs.NodeID{b}, Name: "a", Kind: dbfs.KindDir, Revs: dbfs.Revs{Place: 1}, Last: 1}
		}
		return dbfs.TreePage{Nodes: []dbfs.Node{node(3), node(4)}, Next: dbfs.NodeID{4}, More: true, Cursor: dbfs.Cursor{Epoch: 1, JID: 1}}
	}
	tests := map[string]func(*dbfs.TreePage){
		"deleted":         func(p *dbfs.TreePage) { p.Nodes[0].Deleted = true },
		"out of order":    func(p *dbfs.TreePage) { p.Nodes[0], p.Nodes[1] = p.Nodes[1], p.Nodes[0] },
		"twice":           func(p *dbfs.TreePage) { p.Nodes[1] = p.Nodes[0] },
		"from before":     func(p *dbfs.TreePage) { p.Nodes[0].ID = dbfs.NodeID{1} },
		"root in between": func(p *dbfs.TreePage) { p.Nodes[0].ID = dbfs.RootNode },
		"of the future":   func(p *dbfs.TreePage) { p.Nodes[0].Last, p.Nodes[0].Revs.Place = 2, 2 },
		"goes on before":  func(p *dbfs.TreePage) { p.Next = dbfs.NodeID{3} },
		"starts again":    func(p *dbfs.TreePage) { p.Nodes, p.Next = nil, dbfs.RootNode },
		"bad name":        func(p *dbfs.TreePage) { p.Nodes[1].Name = ".." },
	}
	ask := func(t *testing.T, p dbfs.TreePage) error {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = says(200, nil, string(text)).Tree(t.Context(), 1, dbfs.NodeID{2}, 10)
		return err
	}
	if err := ask(t, good()); err != nil {
		t.Fatalf("a good page: %v", err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := good()
			spoil(&p)
			if err := ask(t, p); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
		})
	}
}

func TestNonsenseDeleted(t *testing.T) {
	good := func() dbfs.DeletedPage {
		node := func(b byte) dbfs.DeletedNode {
			return dbfs.DeletedNode{Node: dbfs.Node{ID: dbfs.NodeID{b}, Name: "a", Kind: dbfs.KindDir, Revs: dbfs.Revs{Place: 5}, Last: 5, Deleted: true}}
		}
		return dbfs.DeletedPage{Nodes: []dbfs.DeletedNode{node(3), node(4)}, Next: dbfs.Departure{JID: 6}, More: true}
	}
	tests := map[string]func(*dbfs.DeletedPage){
		"alive":             func(p *dbfs.DeletedPage) { p.Nodes[0].Node.Deleted = false },
		"the root":          func(p *dbfs.DeletedPage) { p.Nodes[0].Node.ID = dbfs.RootNode },
		"out of order":      func(p *dbfs.DeletedPage) { p.Nodes[0], p.Nodes[1] = p.Nodes[1], p.Nodes[0] },
		"twice":             func(p *dbfs.DeletedPage) { p.Nodes[1] = p.Nodes[0] },
		"from before":       func(p *dbfs.DeletedPage) { p.Nodes[0].Node.ID = dbfs.NodeID{1} },
		"goes on before":    func(p *dbfs.DeletedPage) { p.Next = dbfs.Departure{JID: 5, Node: dbfs.NodeID{3}} },
		"does not go on":    func(p *dbfs.DeletedPage) { p.Nodes, p.Next = nil, dbfs.Departure{JID: 5, Node: dbfs.NodeID{2}} },
		"out of its folder": func(p *dbfs.DeletedPage) { p.Nodes[1].Node.Name = "../a" },
	}
	ask := func(t *testing.T, p dbfs.DeletedPage) error {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = says(200, nil, string(text)).Deleted(t.Context(), 1, dbfs.Departure{JID: 5, Node: dbfs.NodeID{2}}, 10)
		return err
	}
	if err := ask(t, good()); err != nil {
		t.Fatalf("a good page: %v", err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := good()
			spoil(&p)
			if err := ask(t, p); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
		})
	}
}

func TestNonsenseElsewhere(t *testing.T) {
	batch := dbfs.Batch{Epoch: 1, Device: 7, Seq: 1, Ops: []dbfs.Op{{
		ID: dbfs.OpID{Device: 7, N: 1}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "a", Kind: dbfs.KindDir,
	}}}
	commit := func(c *Client) error { _, err := c.Commit(t.Context(), 1, batch); return err }
	entry := `{"jid":5,"time":1,"op":"%s","type":"create","end":true,"node":{"id":"01000000000000000000000000000000","parent":"00000000000000000000000000000000","name":"a","kind":"dir","revs":{"crev":5,"prev":5,"arev":5},"last":5,"attr":{"mode":0,"mtime":0},"ctime":1}}`
	own := fmt.Sprintf(entry, "0000000000000007-1")
	if err := commit(says(200, nil, `{"ok":true,"entries":[`+own+`]}`)); err != nil {
		t.Fatalf("a good answer: %v", err)
	}
	tests := map[string]struct {
		body string
		ask  func(*Client) error
	}{
		"taken without entries":   {`{"ok":true}`, commit},
		"another's entry":         {`{"ok":true,"entries":[` + fmt.Sprintf(entry, "0000000000000008-1") + `]}`, commit},
		"an entry more":           {`{"ok":true,"entries":[` + own + `,` + strings.Replace(strings.Replace(own, `"jid":5`, `"jid":6`, 1), `"last":5`, `"last":6`, 1) + `]}`, commit},
		"refused, but not why":    {`{"ok":false}`, commit},
		"refused: an edit beyond": {`{"ok":false,"code":"crev","at":1}`, commit},
		"refused, showing a lie":  {`{"ok":false,"code":"crev","node":` + strings.Replace(own[strings.Index(own, `{"id"`):len(own)-1], `"a"`, `"a/b"`, 1) + `}`, commit},
		"needs no chunk":          {`{"ok":false,"code":"need_blocks"}`, commit},
		"nameless namespace":      {`[{"id":"0000000000000001","name":"","role":"read"}]`, func(c *Client) error { _, err := c.Namespaces(t.Context()); return err }},
		"namespace with slash":    {`[{"id":"0000000000000001","name":"a/b","role":"read"}]`, func(c *Client) error { _, err := c.Namespaces(t.Context()); return err }},
		"role of the future":      {`[{"id":"0000000000000001","name":"a","role":"god"}]`, func(c *Client) error { _, err := c.Namespaces(t.Context()); return err }},
		"news of others":          {`{"changed":["0000000000000009"]}`, func(c *Client) error { _, err := c.Wait(t.Context(), nil, time.Second); return err }},
		"login without device":    {`{"token":"x"}`, func(c *Client) error { _, err := c.Login(t.Context(), "x", "y", 0); return err }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := test.ask(says(200, nil, test.body)); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("%v, want ErrCorrupt", err)
			}
		})
	}
	h, err := says(200, nil, `{"changed":[],"retry_ms":99999999999,"herd_ms":-5}`).Wait(t.Context(), nil, time.Second)
	if err != nil || h.Retry != maxRetryAfter || h.Herd != 0 {
		t.Errorf("boundless waits: %+v, %v", h, err)
	}
}

// A name that JSON would quietly change does not leave the client.
func TestNamesThatJSONWouldChange(t *testing.T) {
	c := NewClient("http://server", "", InProcess(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })))
	for _, op := range []dbfs.Op{
		{Type: dbfs.OpCreate, Kind: dbfs.KindDir, Name: "a\xff"},
		{Type: dbfs.OpMove, Name: "\xc3("},
		{Type: dbfs.OpCreate, Kind: dbfs.KindSymlink, Name: "a", Target: "\xff"},
		{Type: dbfs.OpSetAttr, Mask: dbfs.AttrXattrs, Attr: dbfs.Attr{Xattrs: map[string][]byte{"user.\xff": nil}}},
	} {
		op.ID, op.Node = dbfs.OpID{Device: 1, N: 1}, dbfs.NodeID{1}
		_, err := c.Commit(t.Context(), 1, dbfs.Batch{Device: 1, Seq: 1, Ops: []dbfs.Op{op}})
		if !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", op, err)
		}
	}
}

func FuzzLogPage(f *testing.F) {
	text, err := json.Marshal(goodPage())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"entries":[],"next":{"epoch":2,"jid":4},"head":4}`)
	nodes := goodPage()
	for _, e := range nodes.Entries {
		nodes.Nodes = append(nodes.Nodes, e.Node)
	}
	nodes.Entries, nodes.State = nil, true
	if text, err = json.Marshal(nodes); err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, body string) {
		after := dbfs.Cursor{Epoch: 2, JID: 4}
		p, err := says(200, nil, body).Log(t.Context(), 1, after, 10)
		if err != nil {
			if !errors.Is(err, dbfs.ErrCorrupt) {
				t.Fatalf("%v, want ErrCorrupt", err)
			}
			return
		}
		for i, e := range p.Entries {
			if e.JID != after.JID+1+dbfs.JID(i) || e.Node.Check() != nil {
				t.Fatalf("believed %+v", e)
			}
		}
		last := after.JID
		for _, n := range p.Nodes {
			if n.Last <= last || n.Last > p.Next.JID || n.Check() != nil {
				t.Fatalf("believed %+v", n)
			}
			last = n.Last
		}
	})
}
