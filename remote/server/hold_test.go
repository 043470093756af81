package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
)

// Who edits a large file and is then away for longer than versions are kept has what it did not write
// for its conflicted copy, if it holds the version: without that it is gone.
func TestHeldVersionStaysReadable(t *testing.T) {
	for _, held := range []bool{true, false} {
		w := newWorld(t, nil)
		ns, two := w.admin.namespace(t, "shared"), w.person(t, "two")
		w.admin.share(t, ns, two, dbfs.RoleWrite)
		var refs []dbfs.ChunkRef
		var receipts []dbfs.Receipt
		for i, size := range []int{dbfs.ChunkSize, 100, dbfs.ChunkSize, 100, dbfs.ChunkSize} {
			ref, b := chunktest.Noise(size, uint64(i))
			r, err := w.admin.session.Put(t.Context(), ns, ref, b)
			if err != nil {
				t.Fatal(err)
			}
			refs, receipts = append(refs, ref), append(receipts, r)
		}
		content := func(a, b int) *dbfs.Content {
			return &dbfs.Content{Size: dbfs.ChunkSize + 100, Chunks: dbfs.Blocks(refs[a].ID, refs[b].ID)}
		}
		id := dbfs.NodeID{1}
		create := dbfs.Op{Type: dbfs.OpCreate, Node: id, Name: "f", Kind: dbfs.KindFile, Content: content(0, 1), Attr: dbfs.Attr{Mode: 0o644}}
		if err := w.admin.edit(t, ns, 1, create, receipts...); err != nil {
			t.Fatal(err)
		}
		if held {
			if err := two.client.Hold(t.Context(), ns, id, 1); err != nil {
				t.Fatal(err)
			}
		}
		write := dbfs.Op{Type: dbfs.OpWrite, Node: id, Base: dbfs.Revs{Content: 1}, Content: content(2, 3)}
		if err := w.admin.edit(t, ns, 2, write, receipts...); err != nil {
			t.Fatal(err)
		}
		collect := func() {
			t.Helper()
			for range 4 {
				w.clock.move(19 * 24 * time.Hour)
				if _, err := w.srv.Collect(t.Context(), false, func(remote.Collection) {}); err != nil {
					t.Fatal(err)
				}
			}
		}
		collect()
		// It comes back: of its copy the first chunk is what it wrote, and the second was there.
		mine, b := chunktest.Noise(dbfs.ChunkSize, 9)
		r, err := two.session.Put(t.Context(), ns, mine, b)
		if err != nil {
			t.Fatal(err)
		}
		was, err := two.session.Check(t.Context(), ns, refs[1:2])
		if err != nil || (was[0] != "") != held {
			t.Fatalf("held %t: the server has what was not written: %t, %v", held, was[0] != "", err)
		}
		if !held {
			if _, err := two.session.Get(t.Context(), ns, refs[1]); !errors.Is(err, dbfs.ErrNotExist) {
				t.Errorf("what nobody holds: %v, want it gone", err)
			}
			continue
		}
		again := dbfs.Op{
			Type: dbfs.OpCreate, Node: dbfs.NodeID{2}, Name: "copy", Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o644},
			Content: &dbfs.Content{Size: dbfs.ChunkSize + 100, Chunks: dbfs.Blocks(mine.ID, refs[1].ID)},
		}
		if err := two.edit(t, ns, 1, again, r, was[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := two.session.Get(t.Context(), ns, refs[1]); err != nil {
			t.Errorf("what was not written: %v", err)
		}
		if err := two.client.LetGo(t.Context(), ns, id, 1); err != nil {
			t.Fatal(err)
		}
		collect()
		if _, err := two.session.Revision(t.Context(), ns, id, 1); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("the version after it was let go: %v", err)
		}
		if _, err := two.session.Get(t.Context(), ns, refs[0]); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("what is in no file any more: %v", err)
		}
	}
}

// A hold runs out when nobody asks for it anew.
func TestHoldRunsOut(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	id := dbfs.NodeID{1}
	create := dbfs.Op{Type: dbfs.OpCreate, Node: id, Name: "f", Kind: dbfs.KindFile, Content: &dbfs.Content{}, Attr: dbfs.Attr{Mode: 0o644}}
	write := dbfs.Op{Type: dbfs.OpWrite, Node: id, Base: dbfs.Revs{Content: 1}, Content: &dbfs.Content{Size: 5, Chunks: dbfs.Blocks(dbfs.ZeroChunk)}}
	for i, op := range []dbfs.Op{create, write} {
		if err := w.admin.edit(t, ns, uint64(i+1), op); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		renew bool
		pass  time.Duration
		there bool
	}{{true, dbfs.HoldTime - time.Hour, true}, {true, dbfs.HoldTime - time.Hour, true}, {false, 2 * time.Hour, false}} {
		if step.renew {
			if err := w.admin.session.Hold(t.Context(), ns, id, 1); err != nil {
				t.Fatal(err)
			}
		}
		w.clock.move(step.pass)
		if _, err := w.srv.Collect(t.Context(), false, func(remote.Collection) {}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.admin.session.Revision(t.Context(), ns, id, 1); (err == nil) != step.there {
			t.Errorf("step %d: the version is there: %t, want %t", i, err == nil, step.there)
		}
	}
	if err := w.admin.session.Hold(t.Context(), ns, id, 1); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("hold what is gone: %v", err)
	}
}
