package daemon

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

// build makes a daemon in a directory, which is not run. It is to be closed.
func build(t *testing.T, dir string) *Daemon {
	t.Helper()
	d, err := New(Settings{
		Profile: "test", Server: Embedded, Device: "here", CacheSize: 64 << 20, UnsentSize: 64 << 20,
		Mount: filepath.Join(dir, "mount"), State: filepath.Join(dir, "state"), Cache: filepath.Join(dir, "cache"),
		Socket: filepath.Join(dir, "socket"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is unsent of a namespace that the account has lost keeps its bytes, in this run and
// the next, and is sent when the namespace is back.
func TestLeftNamespaceKeepsItsEdits(t *testing.T) {
	dir := t.TempDir()
	d := build(t, dir)
	had := d.me.Namespaces
	team := dbfs.Namespace{ID: 99, Name: "team", Role: dbfs.RoleWrite}
	both := append(had[:len(had):len(had)], team)
	d.setNamespaces(both)
	sp := d.space(team.ID)
	chunk := unsentFile(t, sp.journal)

	d.setNamespaces(had)
	if d.space(team.ID) != nil {
		t.Error("the namespace is still shown")
	}
	if !d.needs(chunk) {
		t.Error("its unsent bytes count as not needed")
	}
	d.setNamespaces(both)
	if d.space(team.ID) != sp {
		t.Error("it came back as another one: what has its files open writes to the old one")
	}
	d.setNamespaces(had)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}

	d = build(t, dir)
	defer d.close()
	if !d.needs(chunk) {
		t.Error("after a restart its unsent bytes count as not needed")
	}
	st := &control.Status{}
	d.attention(st, d.syncer.Status())
	if len(st.Attention) != 1 {
		t.Errorf("attention is called to %+v, want the edits that cannot be sent", st.Attention)
	}
	d.setNamespaces(both)
	if sp := d.space(team.ID); sp == nil || len(sp.journal.Pending()) != 1 {
		t.Error("it came back without its edit")
	}
}

// unsentFile records a file of one chunk in a namespace that it says is empty otherwise.
func unsentFile(t *testing.T, j *journal.Journal) dbfs.ChunkID {
	t.Helper()
	listing, err := j.List()
	if err == nil {
		err = listing.Finish(dbfs.Cursor{Epoch: 1, JID: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := j.Create(dbfs.RootNode, "plan", journal.NewNode{Kind: dbfs.KindFile})
	if err != nil {
		t.Fatal(err)
	}
	content := dbfs.Content{Size: 3, Chunks: []dbfs.ChunkID{dbfs.HashChunk([]byte("abc"))}}
	if _, err := j.Write(n.ID, n.Content, content, 1); err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	return content.Chunks[0]
}

// A wait for everything does not end well while something is kept that cannot be sent; a wait
// for a path that is not there does not end well at all.
func TestWaitSaysWhatItCannotWaitFor(t *testing.T) {
	d := build(t, t.TempDir())
	defer d.close()
	had := d.me.Namespaces
	d.setNamespaces(append(had[:len(had):len(had)], dbfs.Namespace{ID: 99, Name: "team", Role: dbfs.RoleWrite}))
	unsentFile(t, d.space(99).journal)
	d.setNamespaces(had)
	nothing := func(control.Progress) error { return nil }
	if _, err := d.Wait(t.Context(), control.WaitRequest{Path: "/"}, nothing); !errors.Is(err, dbfs.ErrForbidden) {
		t.Errorf("wait for edits of a namespace that is gone: %v, want ErrForbidden", err)
	}
	if _, err := d.Wait(t.Context(), control.WaitRequest{Path: "/nope"}, nothing); !errors.Is(err, dbfs.ErrNotExist) && !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("wait for a path that is not there: %v", err)
	}
}
