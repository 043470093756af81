package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
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
	content := dbfs.Content{Size: 3, Chunks: dbfs.Blocks(dbfs.HashChunk([]byte("abc")))}
	if _, err := j.Write(n.ID, n.Content, content, 1); err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	return content.Chunks.At(0)
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

// pendingFile records a file with bytes that are on this disk only.
func pendingFile(t *testing.T, d *Daemon, sp *space, dir dbfs.NodeID, name string, text []byte) dbfs.Node {
	t.Helper()
	n, err := sp.journal.Create(dir, name, journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o640}, Held: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.journal.Release(n.ID)
	draft, err := d.cache.Draft(cache.File{NS: sp.journal.NS(), Node: n.ID}, dbfs.Content{})
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Close()
	if _, err := draft.WriteAt(t.Context(), text, 0); err != nil {
		t.Fatal(err)
	}
	content, err := draft.Seal(t.Context())
	if err == nil {
		n, err = sp.journal.Write(n.ID, n.Content, content, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// read returns what a file of the root namespace holds, by its path.
func read(t *testing.T, d *Daemon, p string) []byte {
	t.Helper()
	root := d.space(d.me.Root)
	n, err := root.journal.Lookup(p)
	if err != nil {
		t.Fatal(err)
	}
	body, err := d.cache.Open(cache.File{NS: d.me.Root, Node: n.ID}, n.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b := make([]byte, n.Content.Size)
	if n, err := body.ReadAt(t.Context(), b, 0); n < len(b) {
		t.Fatalf("%s: %d of %d bytes, %v", p, n, len(b), err)
	}
	return b
}

// listed lets a namespace be one that the server says is empty.
func listed(t *testing.T, j *journal.Journal) {
	t.Helper()
	listing, err := j.List()
	if err == nil {
		err = listing.Finish(dbfs.Cursor{Epoch: 1, JID: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What is unsent of a lost namespace is exported, each file once, wherever a crash comes.
func TestUnsentIsRecovered(t *testing.T) {
	dir := t.TempDir()
	d := build(t, dir)
	had := d.me.Namespaces
	team := dbfs.Namespace{ID: 99, Name: "te/am", Role: dbfs.RoleWrite}
	d.setNamespaces(append(had[:len(had):len(had)], team))
	sp, root := d.space(team.ID), d.space(d.me.Root)
	listed(t, sp.journal)
	listed(t, root.journal)
	large := bytes.Repeat([]byte("0123456789abcdef"), (dbfs.ChunkSize+1000)/16)
	pendingFile(t, d, sp, dbfs.RootNode, "small", []byte("unsent"))
	sub, err := sp.journal.Create(dbfs.RootNode, "sub", journal.NewNode{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}})
	if err != nil {
		t.Fatal(err)
	}
	pendingFile(t, d, sp, sub.ID, "large", large)
	d.setNamespaces(had)

	// A crash after the files were recorded, before the edits were dropped.
	name := recoveredName(team.Name, time.Now())
	all, _, err := sp.journal.Salvage()
	if err != nil {
		t.Fatal(err)
	}
	x := &export{d: d, from: sp, root: root, dir: name}
	for i := range all {
		if err := x.one(t.Context(), &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	d = build(t, dir)
	defer d.close()
	for range 2 {
		d.recoverAll(t.Context())
	}
	root = d.space(d.me.Root)
	if got := read(t, d, name+"/small"); string(got) != "unsent" {
		t.Errorf("small holds %q", got)
	}
	if got := read(t, d, name+"/sub/large"); !bytes.Equal(got, large) {
		t.Errorf("large holds other bytes, %d of them", len(got))
	}
	top, err := root.journal.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := root.journal.Names(top.ID); err != nil || len(names) != 2 {
		t.Errorf("the directory holds %v, %v", names, err)
	}
	if len(d.gone()) > 0 && d.gone()[0].journal.Backlog().Edits > 0 {
		t.Error("the edits are still in the namespace's journal")
	}
	for _, id := range []dbfs.ChunkID{dbfs.HashChunk([]byte("unsent")), dbfs.HashChunk(large[:dbfs.ChunkSize])} {
		if !d.needs(id) {
			t.Error("the bytes count as not needed")
		}
	}

	// Somebody removes a file: it does not come back. The same bytes, unsent once more, do.
	n, err := root.journal.Lookup(name + "/small")
	if err == nil {
		err = root.journal.Delete(n.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.setNamespaces(append(had[:len(had):len(had)], team))
	pendingFile(t, d, d.space(team.ID), dbfs.RootNode, "small", []byte("unsent"))
	d.setNamespaces(had)
	d.recoverAll(t.Context())
	if got := read(t, d, name+"/small"); string(got) != "unsent" {
		t.Errorf("small holds %q", got)
	}
}

// Bytes that are not here any more, and cannot be fetched, keep their edit.
func TestWhatCannotBeExportedIsKept(t *testing.T) {
	d := build(t, t.TempDir())
	defer d.close()
	d.set.FetchTimeout = time.Millisecond
	had := d.me.Namespaces
	d.setNamespaces(append(had[:len(had):len(had)], dbfs.Namespace{ID: 99, Name: "team", Role: dbfs.RoleWrite}))
	sp := d.space(99)
	unsentFile(t, sp.journal) // there is no such chunk
	listed(t, d.space(d.me.Root).journal)
	pendingFile(t, d, sp, dbfs.RootNode, "here", []byte("here"))
	d.setNamespaces(had)
	d.recoverAll(t.Context())
	if got := read(t, d, recoveredName("team", time.Now())+"/here"); string(got) != "here" {
		t.Errorf("here holds %q", got)
	}
	if n := len(sp.journal.Pending()); n != 1 {
		t.Errorf("%d edits are kept, want the one whose bytes are not here", n)
	}
	st := &control.Status{}
	d.attention(st, d.syncer.Status())
	if len(st.Attention) != 2 {
		t.Errorf("attention is called to %+v, want what was recovered, and what is kept", st.Attention)
	}
}
