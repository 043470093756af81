package server_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/dir"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A world is a server that people use.
type world struct {
	clock   *clock
	store   server.Store
	objects server.Objects
	srv     *server.Server
	url     string
	admin   *person
}

// A person is an account with one device, seen near and far.
type person struct {
	session *server.Session
	client  *remote.Client
	chunks  *remote.Chunks
	me      remote.Me
}

// newWorld starts a server; nil objects stand for a store in a directory.
func newWorld(t *testing.T, objects server.Objects) *world {
	t.Helper()
	return newWorldWith(t, objects, server.Options{})
}

// newWorldWith is newWorld with options. Clock and log are the world's.
func newWorldWith(t *testing.T, objects server.Objects, opts server.Options) *world {
	t.Helper()
	if objects == nil {
		d, err := dir.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		objects = d
	}
	w := &world{clock: &clock{at: time.Now()}, store: newStore(t), objects: objects}
	var err error
	opts.Now, opts.Log = w.clock.now, slog.New(slog.NewTextHandler(io.Discard, nil))
	w.srv, err = server.New(w.store, objects, opts)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(w.srv.Handler())
	t.Cleanup(hs.Close)
	w.url = hs.URL
	token, _, err := w.srv.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.admin = w.login(t, token)
	return w
}

// login makes a device for the account that the token logs in.
func (w *world) login(t *testing.T, token string) *person {
	t.Helper()
	login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: token, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	session, err := w.srv.Session(t.Context(), login.Token)
	if err != nil {
		t.Fatal(err)
	}
	me, err := session.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := remote.NewClient(w.url, login.Token, nil)
	return &person{session: session, client: client, chunks: remote.NewChunks(client, nil), me: me}
}

// person makes an account.
func (w *world) person(t *testing.T, name string) *person {
	t.Helper()
	user, err := w.admin.session.AddUser(t.Context(), name, false)
	if err != nil {
		t.Fatal(err)
	}
	return w.login(t, user.Token)
}

// namespace makes a shared namespace of the person.
func (p *person) namespace(t *testing.T, name string) dbfs.NamespaceID {
	t.Helper()
	ns, err := p.session.CreateNamespace(t.Context(), name, dbfs.NamesExact)
	if err != nil {
		t.Fatal(err)
	}
	return ns.ID
}

func (p *person) share(t *testing.T, ns dbfs.NamespaceID, with *person, role dbfs.Role) {
	t.Helper()
	if err := p.session.SetMember(t.Context(), ns, with.me.Name, role); err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) server.Store {
	t.Helper()
	s := memstore.New()
	t.Cleanup(func() { s.Close() })
	return s
}
