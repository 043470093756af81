package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/host"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote"
)

// A far is a server with an account, and what a profile remembers of its login there.
type far struct {
	t     *testing.T
	srv   *host.Server
	http  *httptest.Server
	login remote.Login
}

func newFar(t *testing.T) *far {
	t.Helper()
	srv, err := host.Open(t.Context(), t.TempDir(), host.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	f := &far{t: t, srv: srv, http: httptest.NewServer(srv.Handler())}
	t.Cleanup(f.http.Close)
	if f.login, err = srv.Login(t.Context(), remote.LoginRequest{Token: srv.Token, Name: "here"}); err != nil {
		t.Fatal(err)
	}
	return f
}

// build makes a daemon of a state directory, with the login that it was left with.
func (f *far) build(dir string) *Daemon {
	f.t.Helper()
	d, err := New(Settings{
		Profile: "test", Server: f.http.URL, Token: f.login.Token, Login: f.login.Device, Device: "here", CacheSize: 64 << 20, UnsentSize: 64 << 20,
		Mount: filepath.Join(dir, "mount"), State: filepath.Join(dir, "state"), Cache: filepath.Join(dir, "cache"),
		Socket: filepath.Join(dir, "socket"), Log: slog.New(slog.DiscardHandler),
		Renewed: func(l remote.Login) error {
			f.login = l
			return nil
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

func (f *far) end(d *Daemon) {
	f.t.Helper()
	if err := d.close(); err != nil {
		f.t.Fatal(err)
	}
}

// copyDir copies a directory with all that is in it.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOldCopyBecomesANewDevice: one state directory after its starts is the same device; an older
// copy of it is another one, with the edits that it has not sent.
func TestOldCopyBecomesANewDevice(t *testing.T) {
	f, dir, old := newFar(t), t.TempDir(), t.TempDir()
	first := f.login.Device
	for range 3 {
		d := f.build(dir)
		if d.me.Device != first {
			t.Fatalf("device %s, logged in as %s", d.me.Device, first)
		}
		f.end(d)
	}
	d := f.build(dir)
	root := d.space(d.me.Root).journal
	if _, err := root.Create(dbfs.RootNode, "unsent", journal.NewNode{Kind: dbfs.KindDir}); err != nil {
		t.Fatal(err)
	}
	f.end(d)
	copyDir(t, dir, old)
	f.end(f.build(dir)) // life goes on

	before := f.login
	d = f.build(old)
	if d.me.Device == first || f.login.Device != d.me.Device || f.login.Token == before.Token {
		t.Errorf("an older copy goes on as %s, with the login of %s; it was %s", d.me.Device, f.login.Device, first)
	}
	pending := d.space(d.me.Root).journal.Pending()
	if len(pending) != 1 || pending[0].Name != "unsent" || pending[0].ID.Device != d.me.Device {
		t.Errorf("its edits are %+v", pending)
	}
	f.end(d)
	copied := f.login
	d = f.build(old)
	if d.me.Device != copied.Device {
		t.Errorf("started again it is %s, was %s", d.me.Device, copied.Device)
	}
	f.end(d)
	f.login = before
	d = f.build(dir)
	if d.me.Device != first {
		t.Errorf("the other one is %s now, was %s", d.me.Device, first)
	}
	f.end(d)
}

// TestCopyIsNoticedLater: without the network a start goes on; then nothing is exchanged before
// the server has been asked.
func TestCopyIsNoticedLater(t *testing.T) {
	f, dir, old := newFar(t), t.TempDir(), t.TempDir()
	f.end(f.build(dir))
	copyDir(t, dir, old)
	f.end(f.build(dir))
	f.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	d := f.build(old)
	defer d.close()
	if d.me.Device != f.login.Device {
		t.Errorf("offline it is %s", d.me.Device)
	}
	f.http.Config.Handler = f.srv.Handler()
	before := f.login
	for range 2 {
		_, err := d.link.meta.Log(t.Context(), d.me.Root, dbfs.Cursor{}, 1)
		if !errors.Is(err, dbfs.ErrAuth) || !strings.Contains(err.Error(), "new device") {
			t.Errorf("the log is read: %v", err)
		}
		if _, err := d.link.notifier.Wait(t.Context(), nil, 0); !errors.Is(err, dbfs.ErrAuth) {
			t.Errorf("polled: %v", err)
		}
	}
	if f.login.Device == before.Device {
		t.Error("no login for the next start was kept")
	}
}

// TestLostAnswerToAStart: whoever does not hear the answer asks again, also after a restart.
func TestLostAnswerToAStart(t *testing.T) {
	f, dir := newFar(t), t.TempDir()
	f.end(f.build(dir))
	d := f.build(dir)
	kv, client := d.kv, remote.NewClient(f.http.URL, f.login.Token, nil)
	lost := func(ctx context.Context, last, now string) (remote.Login, error) {
		if l, err := client.Start(ctx, last, now); err != nil || l.Device != 0 {
			t.Errorf("start: %+v, %v", l, err)
		}
		return remote.Login{}, dbfs.ErrOffline
	}
	never := func(remote.Login) error {
		t.Error("it is taken for a copy")
		return nil
	}
	for range 2 {
		s, err := newStarter(kv, lost, never)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ensure(t.Context()); !errors.Is(err, dbfs.ErrOffline) {
			t.Errorf("unanswered: %v", err)
		}
	}
	f.end(d)
	d = f.build(dir)
	if err := d.link.meta.(started).ensure(t.Context()); err != nil || d.me.Device != f.login.Device {
		t.Errorf("device %s, %v", d.me.Device, err)
	}
	f.end(d)
}
