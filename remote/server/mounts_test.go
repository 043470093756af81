package server_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// stopping is a store whose writes fail from the nth on.
type stopping struct {
	*memstore.Store
	left int // writes that still work; negative: all
}

var errStopped = errors.New("the power is off")

func (s *stopping) write() error {
	if s.left == 0 {
		return errStopped
	}
	s.left--
	return nil
}

func (s *stopping) Update(ctx context.Context, ns dbfs.NamespaceID, fn func(server.Tx) error) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.Store.Update(ctx, ns, fn)
}

func (s *stopping) CAS(ctx context.Context, table server.Table, key, old, new []byte) (bool, error) {
	if err := s.write(); err != nil {
		return false, err
	}
	return s.Store.CAS(ctx, table, key, old, new)
}

// What needs several writes may stop after any of them; tried again it succeeds, and the
// result is the same as in one go.
func TestStoppedAnywhere(t *testing.T) {
	for stop := 0; ; stop++ {
		store := &stopping{Store: memstore.New(), left: -1}
		w := newMetaWorld(t, store)
		admin := w.Device(t, "admin")
		bob := w.Device(t, "bob")
		ns, err := admin.CreateNamespace(t.Context(), "team", dbfs.NamesExact)
		if err != nil {
			t.Fatal(err)
		}
		stopped := false
		try := func(what string, do func() error) {
			t.Helper()
			if err := do(); errors.Is(err, errStopped) {
				stopped = true
				store.left = -1
				err = do()
				if err != nil {
					t.Fatalf("stopped after %d writes: %s again: %v", stop, what, err)
				}
			} else if err != nil {
				t.Fatalf("stopped after %d writes: %s: %v", stop, what, err)
			}
		}
		store.left = stop
		try("add a member", func() error { return admin.SetMember(t.Context(), ns.ID, "bob", dbfs.RoleWrite) })
		try("mount", func() error { _, err := bob.Mount(t.Context(), ns.ID, "/team"); return err })
		try("unmount", func() error { return bob.Unmount(t.Context(), ns.ID) })
		try("mount again", func() error { _, err := bob.Mount(t.Context(), ns.ID, "/other"); return err })
		try("take out", func() error { return admin.SetMember(t.Context(), ns.ID, "bob", dbfs.RoleNone) })
		try("add a user", func() error { _, err := admin.AddUser(t.Context(), "carol", false); return err })
		page, err := bob.Log(t.Context(), bob.Root, dbfs.Cursor{Epoch: 1}, 10)
		if err != nil || len(page.Entries) != 4 {
			t.Fatalf("stopped after %d writes: %d entries, %v, want made and gone twice", stop, len(page.Entries), err)
		}
		if users, err := admin.Users(t.Context()); err != nil || len(users) != 3 {
			t.Fatalf("stopped after %d writes: users %+v, %v", stop, users, err)
		}
		if !stopped {
			if stop < 15 {
				t.Errorf("only %d writes were stopped", stop)
			}
			return
		}
	}
}

// So it is with the very first account: whatever was stopped, the token that Bootstrap
// shows in the end logs in.
func TestBootstrapStoppedAnywhere(t *testing.T) {
	for stop := 0; ; stop++ {
		store := &stopping{Store: memstore.New(), left: stop}
		run := func() (string, error) {
			s, err := server.New(store, nil, server.Options{})
			if err != nil {
				return "", err
			}
			token, _, err := s.Bootstrap(t.Context())
			return token, err
		}
		_, err := run()
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		store.left = -1
		token, again := run()
		if again != nil {
			t.Fatalf("stopped after %d writes: %v", stop, again)
		}
		s, err2 := server.New(store, nil, server.Options{})
		if err2 != nil {
			t.Fatal(err2)
		}
		loginSession(t, s, token)
		if err == nil {
			return
		}
	}
}
