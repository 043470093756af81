package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/control/controltest"
)

// open serves a daemon on a socket for the length of the test.
func open(t *testing.T, d control.Daemon) (socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "s")
	serve(t, d, socket)
	return socket
}

func serve(t *testing.T, d control.Daemon, socket string) *control.Server {
	t.Helper()
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := control.NewServer(d, slog.New(slog.DiscardHandler))
	ended := make(chan error)
	go func() { ended <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return srv
}

// shortDir is a private directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "dbfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func sample() *controltest.Fake {
	when := time.Date(2026, 8, 1, 9, 30, 0, 0, time.UTC)
	file := control.FileStatus{Path: "/a/b", Name: "b", Kind: dbfs.KindFile, Size: 5, Mode: 0o644, ModTime: when,
		Namespace: 7, Node: dbfs.NewNodeID(when), Rev: 9, Sync: control.Uploading, Residency: control.Partial, LocalBytes: 3, Reason: "offline"}
	dir := file
	dir.Path, dir.Name, dir.Kind = "/a", "a", dbfs.KindDir
	ns := control.NamespaceStatus{ID: 7, Name: "personal", Role: dbfs.RoleWrite, Cursor: dbfs.Cursor{Epoch: 1, JID: 88}, Confirmed: when, Ops: 2}
	return &controltest.Fake{
		Stat: control.Status{
			Version: control.Version{Version: "1.2", Go: "go1.26", API: 1, PID: 4}, Profile: "p", Account: "ana", Server: "http://h", Mount: "/m", Since: when,
			Sync:       control.Sync{Word: control.Uploading, Link: control.Online, Ops: 2, Files: 1, Bytes: 10, Rate: 5, Oldest: when},
			Namespaces: []control.NamespaceStatus{ns}, Cache: control.CacheStatus{Used: 1, Budget: 2}, Search: control.SearchStatus{Word: "current", Behind: time.Second},
			Attention: []control.Attention{{Kind: "conflict", Message: "1 conflict", Command: "dbfs conflicts", Since: when}},
		},
		Files:   []control.FileStatus{dir, file},
		Steps:   []control.Progress{{Done: 1, Total: 3, Files: 2, Item: "/a/b"}, {Done: 3, Total: 3}},
		Hits:    []control.Hit{{Path: "/a/b", Score: 1.5, Size: 5, ModTime: when, Residency: control.Local, Snippet: "one two", Spans: [][2]int{{4, 7}}}},
		Events:  []control.GrepEvent{{Path: "/a/b", Line: 1, Text: []byte("not UTF-8 \xff\n"), Spans: [][2]int{{0, 3}}}, {Path: "/a/b", Line: 2, Offset: 12, Text: []byte("x"), Context: true}},
		Summary: control.GrepSummary{Considered: 4, Candidates: 3, Searched: 2, Matched: 1, Lines: 1, NotSearched: 1, Bytes: 13, Elapsed: time.Millisecond},
		Copies:  []control.Conflict{{Path: "/a/b (ana's conflicted copy)", Original: "/a/b", Device: "ana", Time: when, Size: 5}},
	}
}

// answers is everything that a Daemon says.
func answers(t *testing.T, d control.Daemon) []any {
	t.Helper()
	ctx := context.Background()
	var got []any
	say := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("after %d answers: %v", len(got), err)
		}
		got = append(got, v)
	}
	collect := func(p control.Progress) error { got = append(got, p); return nil }

	v, err := d.Version(ctx)
	say(v, err)
	st, err := d.Status(ctx)
	say(st, err)
	fs, err := d.FileStatus(ctx, "/a/b")
	say(fs, err)
	say("listed", d.List(ctx, control.ListRequest{Path: "/a", Recursive: true}, func(f *control.FileStatus) error { got = append(got, *f); return nil }))
	wait, err := d.Wait(ctx, control.WaitRequest{Path: "/a"}, collect)
	say(wait, err)
	res, err := d.Search(ctx, control.SearchRequest{Query: "one", Path: "/a", Limit: 3})
	say(res, err)
	sum, err := d.Grep(ctx, control.GrepRequest{Patterns: []string{"x", "y"}, Globs: []string{"*.go"}, Word: true, Before: 1, Mode: control.GrepCount},
		func(e *control.GrepEvent) error { got = append(got, *e); return nil })
	say(sum, err)
	copies, err := d.Conflicts(ctx)
	say(copies, err)
	limit, err := d.Throttle(ctx, control.ThrottleRequest{Limit: "1M:off"})
	say(limit, err)
	say("paused", d.Pause(ctx, time.Minute))
	say("resumed", d.Resume(ctx))
	say("unmounted", d.Umount(ctx, control.UmountRequest{Wait: true}, collect))
	return got
}

func TestFarIsLikeNear(t *testing.T) {
	near, far := sample(), sample()
	copy(far.Files, near.Files) // node ids are random
	want := answers(t, near)
	client := control.NewClient(open(t, far))
	defer client.Close()
	got := answers(t, client)
	if len(got) != len(want) {
		t.Fatalf("%d answers, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("answer %d: got %+v\nwant %+v", i, got[i], want[i])
		}
	}
	if got, want := far.Asked(), near.Asked(); !reflect.DeepEqual(got, want) {
		t.Errorf("asked %+v\nwant  %+v", got, want)
	}
}

func TestEveryErrorArrives(t *testing.T) {
	list := []error{
		dbfs.ErrNotExist, dbfs.ErrExist, dbfs.ErrNotEmpty, dbfs.ErrNotDir, dbfs.ErrIsDir, dbfs.ErrInvalid, dbfs.ErrNameTooLong,
		dbfs.ErrTooLarge, dbfs.ErrLoop, dbfs.ErrReadOnly, dbfs.ErrForbidden, dbfs.ErrAuth, dbfs.ErrOffline, dbfs.ErrCorrupt,
		dbfs.ErrNoSpace, dbfs.ErrVersion, dbfs.ErrLocked, dbfs.ErrBusy, dbfs.ErrNoAttr, dbfs.ErrUnsupported, dbfs.ErrReset,
		dbfs.ErrStaleSeq, control.ErrNotSynced, control.ErrAttention,
	}
	fake := sample()
	client := control.NewClient(open(t, fake))
	defer client.Close()
	for _, want := range list {
		fake.Err = control.WithHint(fmt.Errorf("look at it: %w", want), "do this")
		_, unary := client.Status(t.Context())
		streamed := client.List(t.Context(), control.ListRequest{Path: "/"}, nil)
		for _, err := range []error{unary, streamed} {
			e := control.ErrorOf(err)
			if !errors.Is(err, want) || e.Hint != "do this" || !strings.HasPrefix(e.Message, "look at it: ") {
				t.Errorf("%v arrived as %+v", want, e)
			}
			for _, other := range list {
				if other != want && errors.Is(err, other) {
					t.Errorf("%v arrived as %v, too", want, other)
				}
			}
		}
	}
	fake.Err = errors.New("of no kind")
	if _, err := client.Status(t.Context()); control.ErrorOf(err).Kind != control.KindFailed {
		t.Errorf("an error of no kind arrived as %+v", err)
	}
}

func TestErrorOfKeepsWhatItWasWrappedIn(t *testing.T) {
	err := fmt.Errorf("upload: %w", control.WithPath(control.WithHint(dbfs.ErrNoSpace, "buy a disk"), "/a"))
	want := control.Error{Kind: "no_space", Message: "upload: no space", Hint: "buy a disk", Path: "/a"}
	if got := *control.ErrorOf(err); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNoDaemon(t *testing.T) {
	dir := shortDir(t)
	dead := filepath.Join(dir, "dead")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	for name, socket := range map[string]string{"no socket": filepath.Join(dir, "none"), "nobody listens": dead} {
		_, err := control.NewClient(socket).Status(t.Context())
		if !errors.Is(err, control.ErrNoDaemon) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A new daemon takes the place of the dead one's socket.
	serve(t, sample(), dead)
	client := control.NewClient(dead)
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestDaemonThatDiesInTheMiddle(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		io.ReadAtLeast(conn, make([]byte, 4096), 16)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n"+`{"item":{"path":"/a/b"}}`+"\n\n\n\n\r\n")
		conn.Close()
	}()
	seen := 0
	err = control.NewClient(socket).List(t.Context(), control.ListRequest{Path: "/"}, func(*control.FileStatus) error { seen++; return nil })
	if !errors.Is(err, control.ErrNoDaemon) && !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("got %v, want ErrNoDaemon", err)
	}
	if seen != 1 {
		t.Errorf("%d items before the end, want 1", seen)
	}
}

func TestClientEndsAStream(t *testing.T) {
	fake := sample()
	fake.Hang = true
	client := control.NewClient(open(t, fake))
	defer client.Close()

	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	_, err := client.Wait(ctx, control.WaitRequest{Path: "/"}, func(control.Progress) error {
		if steps++; steps == len(fake.Steps) {
			cancel() // the steps come while the answer is still being made
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || steps != len(fake.Steps) {
		t.Errorf("%d steps, %v; want %d, context.Canceled", steps, err, len(fake.Steps))
	}

	enough := errors.New("enough")
	if _, err := client.Grep(t.Context(), control.GrepRequest{Patterns: []string{"x"}}, func(*control.GrepEvent) error { return enough }); err != enough {
		t.Errorf("grep ended with %v, want the caller's own error", err)
	}
}

func TestCallersOwnErrorIsNotADeadDaemon(t *testing.T) {
	client := control.NewClient(open(t, sample()))
	defer client.Close()
	_, err := client.Grep(t.Context(), control.GrepRequest{Patterns: []string{"x"}}, func(*control.GrepEvent) error { return io.ErrUnexpectedEOF })
	if err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	client := control.NewClient(open(t, sample()))
	defer client.Close()
	web := http.Client{Transport: client.Transport()}
	defer web.CloseIdleConnections()
	tests := []struct {
		method, path, body string
		status             int
		kind               string
	}{
		{"POST", "/v1/filestatus", "{", 400, "invalid"},
		{"POST", "/v1/grep", `{"patterns":[]}`, 400, "invalid"},
		{"POST", "/v1/pause", `{"for_ns":-1}`, 400, "invalid"},
		{"POST", "/v1/search", `{"query":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "too_large"},
		{"GET", "/v1/no-such-thing", "", 501, "unsupported"},
		{"GET", "/v2/status", "", 501, "unsupported"},
	}
	for _, test := range tests {
		req, err := http.NewRequest(test.method, "http://dbfs"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", test.path, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		// A stream has begun with status 200 before its request is looked into by the daemon.
		if test.path != "/v1/grep" && resp.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", test.path, resp.StatusCode, test.status)
		}
		if want := fmt.Sprintf(`"error":{"kind":%q`, test.kind); !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %s, want %s", test.path, body, want)
		}
	}
}

// host is a fake that has a server inside.
type host struct{ *controltest.Fake }

func (host) ServerHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "server asked for %s", r.URL.Path) })
}

func TestServerBehindTheSocket(t *testing.T) {
	client := control.NewClient(open(t, host{sample()}))
	defer client.Close()
	web := http.Client{Transport: client.Transport()}
	defer web.CloseIdleConnections()
	resp, err := web.Get("http://dbfs/v1/server/v1/namespaces")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "server asked for /v1/namespaces" {
		t.Errorf("got %q", b)
	}
}

func TestListenRefusesAnOpenDirectory(t *testing.T) {
	dir := shortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := control.Listen(filepath.Join(dir, "s"))
	if e := control.ErrorOf(err); !errors.Is(err, dbfs.ErrForbidden) || e.Hint != "chmod 700 "+dir {
		t.Errorf("got %v, hint %q", err, e.Hint)
	}
	long := filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := control.Listen(long); !errors.Is(err, dbfs.ErrNameTooLong) {
		t.Errorf("path of %d bytes: %v", len(long), err)
	}
	link := filepath.Join(shortDir(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(filepath.Join(link, "s")); !errors.Is(err, dbfs.ErrNotDir) {
		t.Errorf("through a symlink: %v", err)
	}
}

func TestListenClosesAnEmptyDirectory(t *testing.T) {
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := control.PrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 700", info.Mode(), err)
	}
}

func TestSocketMode(t *testing.T) {
	socket := open(t, sample())
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", info.Mode().Perm())
	}
}
