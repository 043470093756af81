package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/server"
)

// TestRestored: after a restoration no cursor, no receipt and no lost object is taken for good.
func TestRestored(t *testing.T) {
	w := newWorld(t, nil)
	ns, other := w.admin.me.Root, w.admin.namespace(t, "other")
	kept, b := chunktest.Noise(100, 1)
	lost, l := chunktest.Noise(100, 2)
	receipt, err := w.admin.session.Put(t.Context(), ns, kept, b)
	if err != nil {
		t.Fatal(err)
	}
	put(t, w.admin, ns, lost, l)
	if err := w.objects.Delete(t.Context(), row(t, w, ns, lost).Object); err != nil {
		t.Fatal(err)
	}
	if !has(t, w.admin, ns, lost) {
		t.Fatal("what is lost is noticed without a restoration: the test shows nothing")
	}
	if login, err := w.admin.session.Start(t.Context(), "", "one"); err != nil || login.Device != 0 {
		t.Fatalf("start: %+v, %v", login, err)
	}
	var last uint32
	for range 2 {
		r, err := w.srv.Restored(t.Context())
		if err != nil || r.Namespaces != 2 || r.Devices != 1 || r.Chunks != 2 && last == 0 || r.Missing != 1 && last == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		for _, ns := range []dbfs.NamespaceID{ns, other} {
			page, err := w.admin.client.Tree(t.Context(), ns, dbfs.RootNode, 1)
			if err != nil || page.Cursor.Epoch <= max(last, 1) {
				t.Errorf("epoch %d after %d, %v", page.Cursor.Epoch, last, err)
			}
		}
		if _, err := w.admin.client.Log(t.Context(), ns, dbfs.Cursor{Epoch: max(last, 1)}, 10); !errors.Is(err, dbfs.ErrReset) {
			t.Errorf("log of the epoch before: %v", err)
		}
		page, err := w.admin.client.Tree(t.Context(), ns, dbfs.RootNode, 1)
		if err != nil {
			t.Fatal(err)
		}
		last = page.Cursor.Epoch
	}
	if has(t, w.admin, ns, lost) {
		t.Error("a chunk whose object is lost is taken to be there")
	}
	get(t, w.admin, ns, kept, b)
	create := dbfs.Op{
		ID: dbfs.OpID{Device: w.admin.me.Device, N: 1}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindFile,
		Content: &dbfs.Content{Size: 100, Chunks: dbfs.Blocks(kept.ID)}, Attr: dbfs.Attr{Mode: 0o644},
	}
	batch := dbfs.Batch{Epoch: last, Device: w.admin.me.Device, Seq: 1, Ops: []dbfs.Op{create}, Receipts: []dbfs.Receipt{receipt}}
	var need *dbfs.NeedChunksError
	if _, err := w.admin.session.Commit(t.Context(), ns, batch); !errors.As(err, &need) {
		t.Errorf("with a receipt of before: %v, want NeedChunks", err)
	}
	if login, err := w.admin.session.Start(t.Context(), "two", "three"); err != nil || login.Device != 0 {
		t.Errorf("a device that went on since: %+v, %v; want it to go on", login, err)
	}
	restarted, err := server.New(w.store, w.objects, server.Options{Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if se, err := restarted.Session(t.Context(), w.admin.token(t, w)); err != nil {
		t.Error(err)
	} else if _, err := se.Commit(t.Context(), ns, batch); err == nil {
		t.Error("a receipt of before is good again after a restart")
	}
}

// token logs the person in anew and returns the device's token.
func (p *person) token(t *testing.T, w *world) string {
	t.Helper()
	login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: p.loginToken(t, w), Name: "again"})
	if err != nil {
		t.Fatal(err)
	}
	return login.Token
}

// TestStart: one daemon after the other goes on as a device; a copy, or an older state, does not.
func TestStart(t *testing.T) {
	w := newWorld(t, nil)
	p := w.admin
	for _, view := range []struct {
		name string
		remote.Starting
	}{{"near", p.session}, {"far", p.client}} {
		same := func(last, now string) {
			t.Helper()
			if l, err := view.Start(t.Context(), last, now); err != nil || l.Device != 0 {
				t.Errorf("%s: start %s after %s: %+v, %v; want it to go on", view.name, now, last, l, err)
			}
		}
		first := view.name + "1"
		same(map[bool]string{true: "", false: "near3"}[view.name == "near"], first)
		same("", first) // the answer was lost
		same(first, view.name+"2")
		same(view.name+"2", view.name+"3")
		l, err := view.Start(t.Context(), first, view.name+"4")
		if err != nil || l.Device == 0 || l.Device == p.me.Device || l.Account != p.me.Account {
			t.Fatalf("%s: an older state: %+v, %v; want another device", view.name, l, err)
		}
		again, err := w.srv.Session(t.Context(), l.Token)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := again.Start(t.Context(), first, "fresh"); err != nil || l.Device != 0 {
			t.Errorf("%s: the new device's first start: %+v, %v", view.name, l, err)
		}
		same(view.name+"3", view.name+"3") // the one that was first goes on
	}
	if _, err := p.session.Start(t.Context(), "x", ""); !errors.Is(err, dbfs.ErrInvalid) {
		t.Errorf("a start without a name: %v", err)
	}
	w.clock.move(time.Minute)
}
