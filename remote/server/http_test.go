package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// rawWorld is a server that is spoken to by hand.
type rawWorld struct {
	*metaWorld
	store *memstore.Store
	login remote.Login
	root  dbfs.NamespaceID
}

func newRawWorld(t *testing.T) *rawWorld {
	t.Helper()
	store := memstore.New()
	w := &rawWorld{metaWorld: newMetaWorld(t, store), store: store}
	w.login = w.loginAs(t, "laptop", 0)
	se, err := w.Session(t.Context(), w.login.Token)
	if err != nil {
		t.Fatal(err)
	}
	me, err := se.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.root = me.Root
	return w
}

func (w *rawWorld) loginAs(t *testing.T, name string, again dbfs.DeviceID) remote.Login {
	t.Helper()
	l, err := w.Login(t.Context(), remote.LoginRequest{Token: w.tokens["admin"], Name: name, Device: again})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// do sends a request and returns status and body.
func (w *rawWorld) do(t *testing.T, method, path, auth, body string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, req)
	if kind := rec.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("%s %s: answered with %q", method, path, kind)
	}
	return rec.Code, rec.Body.String()
}

func TestRequests(t *testing.T) {
	w := newRawWorld(t)
	good := "Bearer " + w.login.Token
	commit := "/v1/ns/" + w.root.String() + "/commit"
	fits := fmt.Sprintf(`{"epoch":1,"device":%q,"seq":1,"from":"the future","ops":[
		{"id":"%s-1","type":"create","node":"%s","parent":"%s","name":"d","kind":"dir","attr":{"mode":493,"mtime":1,"colour":"red"}}]}`,
		w.login.Device, w.login.Device, strings.Repeat("1", 32), strings.Repeat("0", 32))
	tests := []struct {
		name, method, path, auth, body string
		status                         int
		has                            string
	}{
		{"unknown fields are skipped", "POST", commit, good, fits, 200, `"ok":true`},
		{"no token", "GET", "/v1/namespaces", "", "", 401, `"auth"`},
		{"wrong token", "GET", "/v1/namespaces", "Bearer dbfs-device-x", "", 401, `"auth"`},
		{"no bearer", "GET", "/v1/namespaces", w.login.Token, "", 401, `"auth"`},
		{"an account's token", "GET", "/v1/namespaces", "Bearer " + w.tokens["admin"], "", 401, "log in"},
		{"damaged JSON", "POST", commit, good, fits[:len(fits)-9], 400, `"invalid"`},
		{"not JSON", "POST", commit, good, "\x00\xff", 400, `"invalid"`},
		{"no body", "POST", commit, good, "", 400, `"invalid"`},
		{"JSON of another kind", "POST", commit, good, `[1,2]`, 400, `"invalid"`},
		{"unknown type of edit", "POST", commit, good, strings.Replace(fits, "create", "explode", 1), 400, "explode"},
		{"bad node id", "POST", commit, good, strings.Replace(fits, "1111", "11", 1), 400, `"invalid"`},
		{"too long", "POST", commit, good, `{"x":"` + strings.Repeat("x", remote.MaxCommit) + `"}`, 413, `"too_large"`},
		{"too long for a poll", "POST", "/v1/poll", good, strings.Repeat(" ", 1<<17), 413, `"too_large"`},
		{"bad namespace", "POST", "/v1/ns/zzz/commit", good, fits, 400, `"invalid"`},
		{"bad limit", "GET", "/v1/ns/" + w.root.String() + "/log?limit=many", good, "", 400, `limit=`},
		{"negative cursor", "GET", "/v1/ns/" + w.root.String() + "/log?after=-1", good, "", 400, `after=`},
		{"bad place in a listing", "GET", "/v1/ns/" + w.root.String() + "/tree?after=12", good, "", 400, `node id`},
		{"cursor of another epoch", "GET", "/v1/ns/" + w.root.String() + "/log?epoch=9", good, "", 410, `"reset"`},
		{"unknown path", "GET", "/v2/everything", good, "", 400, `"unsupported"`},
		{"unknown method", "PUT", "/v1/namespaces", good, "", 400, `"unsupported"`},
		{"login with nonsense", "POST", "/v1/login", "", `{"token":"x","name":"y"}`, 401, `"auth"`},
		{"login with a device's token", "POST", "/v1/login", "", fmt.Sprintf(`{"token":%q,"name":"y"}`, w.login.Token), 401, "account's"},
		{"login without a name", "POST", "/v1/login", "", fmt.Sprintf(`{"token":%q}`, w.tokens["admin"]), 400, `"invalid"`},
		{"role of no kind", "POST", "/v1/namespaces/" + w.root.String() + "/members", good, `{"account":"a","role":"king"}`, 400, "king"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := w.do(t, test.method, test.path, test.auth, test.body)
			if status != test.status || !strings.Contains(body, test.has) {
				t.Errorf("%d %s, want %d with %s", status, body, test.status, test.has)
			}
		})
	}
}

func TestTroubleOfTheServersOwn(t *testing.T) {
	w := newRawWorld(t)
	w.store.Close()
	status, body := w.do(t, "GET", "/v1/namespaces", "Bearer "+w.login.Token, "")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"offline"`) {
		t.Errorf("%d %s, want 503 offline", status, body)
	}
}

func TestTokens(t *testing.T) {
	store := memstore.New()
	clock := &clock{at: time.Now()}
	s, err := server.New(store, nil, server.Options{Now: clock.now, TokenLife: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	account, _, err := s.Bootstrap(ctx)
	if err != nil {
		t.Fatal(err)
	}
	login := func(again dbfs.DeviceID) remote.Login {
		t.Helper()
		l, err := s.Login(ctx, remote.LoginRequest{Token: account, Name: "laptop", Device: again})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	refused := func(token, why string) {
		t.Helper()
		if _, err := s.Session(ctx, token); !errors.Is(err, dbfs.ErrAuth) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want ErrAuth: %s", err, why)
		}
	}
	first := login(0)
	second := login(first.Device) // the database is there, the token was lost
	if second.Device != first.Device {
		t.Errorf("device %s, want %s", second.Device, first.Device)
	}
	refused(first.Token, "another token")
	clock.move(time.Hour + time.Second)
	refused(second.Token, "expired")
	third := login(first.Device)
	se, err := s.Session(ctx, third.Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := se.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	refused(third.Token, "revoked")
	if _, err := s.Login(ctx, remote.LoginRequest{Token: account, Name: "x", Device: 77}); !errors.Is(err, dbfs.ErrForbidden) {
		t.Errorf("device of nobody: %v, want ErrForbidden", err)
	}
	fourth := login(first.Device) // a revoked device that logs in again is good again
	if se, err = s.Session(ctx, fourth.Token); err != nil {
		t.Fatal(err)
	}
	reset, err := se.ResetUser(ctx, "admin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Login(ctx, remote.LoginRequest{Token: account, Name: "x"}); !errors.Is(err, dbfs.ErrAuth) {
		t.Errorf("replaced account token: %v, want ErrAuth", err)
	}
	account = reset.Token
	login(0)
	for _, table := range []server.Table{server.TableServer, server.TableAccount, server.TableDevice} {
		rows, err := store.Scan(ctx, table, nil, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if text := string(row.Key) + string(row.Value); strings.Contains(text, "dbfs-login-") || strings.Contains(text, "dbfs-device-") {
				t.Errorf("a token is kept in clear: %q", text)
			}
		}
	}
}

// The first token is shown until it is used, so that no crash loses it, and never after.
func TestBootstrap(t *testing.T) {
	store := memstore.New()
	token := ""
	for range 3 {
		s, err := server.New(store, nil, server.Options{})
		if err != nil {
			t.Fatal(err)
		}
		again, fresh, err := s.Bootstrap(t.Context())
		if err != nil || !fresh || token != "" && again != token {
			t.Fatalf("%q, %t, %v, want %q", again, fresh, err, token)
		}
		token = again
	}
	s, err := server.New(store, nil, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Login(t.Context(), remote.LoginRequest{Token: token, Name: "x"})
	if err != nil || l.Name != "admin" {
		t.Fatalf("%+v, %v", l, err)
	}
	if again, fresh, err := s.Bootstrap(t.Context()); err != nil || fresh || again != "" {
		t.Errorf("after use: %q, %t, %v", again, fresh, err)
	}
}

// A server restarted over its store knows its devices, its batches and its receipts.
func TestServerRestart(t *testing.T) {
	store := memstore.New()
	w := newMetaWorld(t, store)
	d := w.Device(t, "admin")
	c := dbfs.Content{Size: 1, Chunks: dbfs.Blocks([]dbfs.ChunkID{{1}}...)}
	receipt := w.Receipt(d.Root, c.Ref(0))
	batch := dbfs.Batch{Epoch: 1, Device: d.ID, Seq: 1, Receipts: []dbfs.Receipt{receipt}, Ops: []dbfs.Op{{
		ID: dbfs.OpID{Device: d.ID, N: 1}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindFile, Content: &c,
	}}}
	first, err := d.Commit(t.Context(), d.Root, batch)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.Login(t.Context(), remote.LoginRequest{Token: w.tokens["admin"], Name: "x", Device: d.ID})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(store, nil, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	se, err := s.Session(t.Context(), l.Token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := se.Commit(t.Context(), d.Root, batch); err != nil || len(again) != 1 || again[0].Time != first[0].Time {
		t.Errorf("again: %+v, %v", again, err)
	}
	c.Size = 1
	batch.Seq, batch.Ops = 2, []dbfs.Op{{ID: dbfs.OpID{Device: d.ID, N: 2}, Type: dbfs.OpCreate, Node: dbfs.NodeID{2}, Name: "g", Kind: dbfs.KindFile, Content: &c}}
	if _, err := se.Commit(t.Context(), d.Root, batch); err != nil {
		t.Errorf("with a receipt from before: %v", err)
	}
}

// TestDrain: parked polls go home with a while to wait, and so do those that come late.
func TestDrain(t *testing.T) {
	w := newMetaWorld(t, memstore.New())
	hs := httptest.NewUnstartedServer(nil)
	hs.Config = w.HTTPServer()
	hs.Start()
	defer hs.Close()
	d := w.Device(t, "admin")
	l, err := w.Login(t.Context(), remote.LoginRequest{Token: w.tokens["admin"], Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	c := remote.NewClient(hs.URL, l.Token, nil)
	at := map[dbfs.NamespaceID]dbfs.Cursor{d.Root: {Epoch: 1}}
	got := make(chan dbfs.Hint, 1)
	go func() {
		hint, err := c.Wait(context.Background(), at, time.Minute)
		if err != nil {
			t.Error(err)
		}
		got <- hint
	}()
	time.Sleep(50 * time.Millisecond)
	w.Drain()
	w.Drain() // twice is once
	for range 2 {
		select {
		case hint := <-got:
			if len(hint.Changed) > 0 || hint.Retry > time.Minute {
				t.Errorf("%+v", hint)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the poll is still parked")
		}
		hint, err := d.Wait(t.Context(), at, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		got <- hint
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := hs.Config.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func FuzzCommitRequest(f *testing.F) {
	store := memstore.New()
	s, err := server.New(store, nil, server.Options{})
	if err != nil {
		f.Fatal(err)
	}
	token, _, err := s.Bootstrap(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	l, err := s.Login(f.Context(), remote.LoginRequest{Token: token, Name: "fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	client := remote.NewClient("http://x", l.Token, remote.InProcess(s.Handler()))
	me, err := client.Me(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	sample := dbfs.Batch{Epoch: 1, Device: l.Device, Seq: 1, Ops: []dbfs.Op{
		{ID: dbfs.OpID{Device: l.Device, N: 1}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindFile, Content: &dbfs.Content{Size: 1, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, 1)...)}},
		{ID: dbfs.OpID{Device: l.Device, N: 2}, Type: dbfs.OpMove, Node: dbfs.NodeID{1}, Base: dbfs.Revs{Place: dbfs.SelfRev}, Name: "g", Replace: &dbfs.Victim{}},
		{ID: dbfs.OpID{Device: l.Device, N: 3}, Type: dbfs.OpDelete, Node: dbfs.NodeID{1}, Base: dbfs.Revs{Content: 1, Place: 1}},
	}}
	for i := range sample.Ops {
		b := sample
		b.Ops = sample.Ops[:i+1]
		text, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	handler := s.Handler()
	f.Fuzz(func(t *testing.T, body string) {
		req := httptest.NewRequest("POST", "/v1/ns/"+me.Root.String()+"/commit", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+l.Token)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code >= 500 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		// Whatever was taken, the log is one that a client believes.
		at := dbfs.Cursor{Epoch: 1}
		for {
			page, err := client.Log(t.Context(), me.Root, at, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if at = page.Next; !page.More {
				break
			}
		}
	})
}
