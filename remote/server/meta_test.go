package server_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/metatest"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/badgerdb"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// A metaWorld is a server without chunks, seen near or far.
type metaWorld struct {
	*server.Server
	clock  *clock
	tokens map[string]string // of accounts
	admin  metatest.Service  // of the first device; every test begins with one of the administrator

	// view makes a service of a device's token.
	view func(token string) metatest.Service
}

func newMetaWorld(t testing.TB, store server.Store) *metaWorld {
	t.Helper()
	w := &metaWorld{clock: &clock{at: time.Now()}, tokens: make(map[string]string)}
	var err error
	if w.Server, err = server.New(store, nil, server.Options{Now: w.clock.now, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if w.tokens["admin"], _, err = w.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.view = w.near(t)
	return w
}

func (w *metaWorld) near(t testing.TB) func(string) metatest.Service {
	return func(token string) metatest.Service {
		session, err := w.Session(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
}

func (w *metaWorld) Device(t testing.TB, account string) metatest.Device {
	t.Helper()
	if w.tokens[account] == "" {
		user, err := w.admin.AddUser(t.Context(), account, false)
		if err != nil {
			t.Fatal(err)
		}
		w.tokens[account] = user.Token
	}
	l, err := w.Login(t.Context(), remote.LoginRequest{Token: w.tokens[account], Name: "a device of " + account})
	if err != nil {
		t.Fatal(err)
	}
	service := w.view(l.Token)
	if w.admin == nil {
		w.admin = service
	}
	me, err := service.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return metatest.Device{Service: service, ID: l.Device, Root: me.Root, Name: account}
}

func (w *metaWorld) Receipt(ns dbfs.NamespaceID, ref dbfs.ChunkRef) dbfs.Receipt {
	return w.SealReceipt(ns, ref)
}

func (w *metaWorld) Advance(d time.Duration) { w.clock.move(d) }

func TestNear(t *testing.T) {
	metatest.Run(t, func(t testing.TB) metatest.World { return newMetaWorld(t, memstore.New()) })
}

// Conflicts in the store run every commit's rules more than once.
func TestNearWithConflicts(t *testing.T) {
	metatest.Run(t, func(t testing.TB) metatest.World {
		store := memstore.New()
		again := 0
		store.Conflict = func() bool { again++; return again%3 != 0 }
		return newMetaWorld(t, store)
	})
}

func TestFarOnBadger(t *testing.T) {
	metatest.Run(t, func(t testing.TB) metatest.World {
		w := newMetaWorld(t, openBadger(t))
		hs := httptest.NewUnstartedServer(w.Handler())
		hs.Config = w.HTTPServer()
		hs.Start()
		t.Cleanup(hs.Close)
		w.view = func(token string) metatest.Service { return remote.NewClient(hs.URL, token, nil) }
		return w
	})
}

func TestInProcess(t *testing.T) {
	metatest.Run(t, func(t testing.TB) metatest.World {
		w := newMetaWorld(t, memstore.New())
		rt := remote.InProcess(w.Handler())
		w.view = func(token string) metatest.Service { return remote.NewClient("http://embedded", token, rt) }
		return w
	})
}

func openBadger(t testing.TB) server.Store {
	t.Helper()
	s, err := badgerdb.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func loginSession(t testing.TB, s *server.Server, accountToken string) *server.Session {
	t.Helper()
	l, err := s.Login(t.Context(), remote.LoginRequest{Token: accountToken, Name: "a device"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Session(t.Context(), l.Token)
	if err != nil {
		t.Fatal(err)
	}
	return session
}
