package daemon

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// holder is a server that notes what it is asked to hold.
type holder struct {
	err  error
	held []dbfs.JID
	gone []dbfs.JID
}

func (h *holder) Hold(_ context.Context, _ dbfs.NamespaceID, _ dbfs.NodeID, rev dbfs.JID) error {
	if h.err == nil {
		h.held = append(h.held, rev)
	}
	return h.err
}

func (h *holder) LetGo(_ context.Context, _ dbfs.NamespaceID, _ dbfs.NodeID, rev dbfs.JID) error {
	if h.err == nil {
		h.gone = append(h.gone, rev)
	}
	return h.err
}

// A large file of which little is here is held when somebody begins to write to it, also if the server
// cannot be reached at first, through a restart, again after a week, and until all is sent.
func TestLargeVersionIsHeld(t *testing.T) {
	dir := t.TempDir()
	d := build(t, dir)
	defer func() { d.close() }()
	server := &holder{err: dbfs.ErrOffline}
	d.link.holding = server
	sp := d.space(d.me.Root)
	const chunks = fetchRest/dbfs.ChunkSize + 1
	var ids []dbfs.ChunkID
	for i := range chunks {
		ids = append(ids, dbfs.ChunkID{1, byte(i)})
	}
	big := dbfs.Content{Size: chunks * dbfs.ChunkSize, Chunks: dbfs.Blocks(ids...)}
	node := dbfs.Node{
		ID: dbfs.NodeID{9}, Name: "big", Kind: dbfs.KindFile, Content: big, Attr: dbfs.Attr{Mode: 0o644},
		Revs: dbfs.Revs{Content: 1, Place: 1, Attr: 1}, Last: 1,
	}
	list, err := sp.journal.List()
	must(t, err)
	must(t, list.Add([]dbfs.Node{node}))
	must(t, list.Finish(dbfs.Cursor{Epoch: 1, JID: 1}))
	look := func() {
		t.Helper()
		d.building.look(t.Context())
	}
	sp.journal.Hold(node.ID) // somebody has it open to write
	d.building.begun(d.me.Root, node.ID)
	look()
	if len(server.held) > 0 {
		t.Errorf("held %v, offline", server.held)
	}
	server.err = nil
	look()
	look()
	if !slices.Equal(server.held, []dbfs.JID{1}) {
		t.Errorf("held %v, want version 1 once", server.held)
	}
	changed := big
	changed.Chunks = changed.Chunks.Edit(changed.Chunks.Len(), map[int]dbfs.ChunkID{0: {2}})
	_, err = sp.journal.Write(node.ID, big, changed, 5)
	must(t, err)
	sp.journal.Release(node.ID)
	look()
	if len(server.gone) > 0 {
		t.Errorf("let go of %v before it was sent", server.gone)
	}
	must(t, d.close())

	d = build(t, dir)
	d.link.holding = server
	sp = d.space(d.me.Root)
	rows, err := d.building.rows()
	if err != nil || len(rows) != 1 {
		t.Fatalf("written down is %+v, %v", rows, err)
	}
	rows[0].Asked = time.Now().Add(-renewEvery)
	must(t, d.building.write(&rows[0]))
	look()
	if !slices.Equal(server.held, []dbfs.JID{1, 1}) {
		t.Errorf("held %v, want it anew after a week", server.held)
	}
	must(t, sp.journal.Abandon(sp.journal.Pending()))
	look()
	if !slices.Equal(server.gone, []dbfs.JID{1}) {
		t.Errorf("let go of %v", server.gone)
	}
	if rows, err := d.building.rows(); err != nil || len(rows) != 0 {
		t.Errorf("written down is still %+v, %v", rows, err)
	}
}

// What is whole on this machine needs no hold, nor does what the server does not have.
func TestWhatIsHereIsNotHeld(t *testing.T) {
	d := build(t, t.TempDir())
	defer d.close()
	server := &holder{}
	d.link.holding = server
	sp := d.space(d.me.Root)
	list, err := sp.journal.List()
	must(t, err)
	zeros := dbfs.Content{Size: 100 << 20, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, 25)...)}
	must(t, list.Add([]dbfs.Node{{
		ID: dbfs.NodeID{9}, Name: "holes", Kind: dbfs.KindFile, Content: zeros, Attr: dbfs.Attr{Mode: 0o644},
		Revs: dbfs.Revs{Content: 1, Place: 1, Attr: 1}, Last: 1,
	}}))
	must(t, list.Finish(dbfs.Cursor{Epoch: 1, JID: 1}))
	made, err := sp.journal.Create(dbfs.RootNode, "new", journal.NewNode{Kind: dbfs.KindFile})
	must(t, err)
	for _, id := range []dbfs.NodeID{{9}, made.ID, {77}} {
		must(t, d.building.note(t.Context(), begun{file: cache.File{NS: d.me.Root, Node: id}}))
	}
	d.building.look(t.Context())
	if rows, err := d.building.rows(); err != nil || len(rows) != 0 || len(server.held) != 0 {
		t.Errorf("written down is %+v, %v; held %v", rows, err, server.held)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
