package chunktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/dbfs/dbfs"
)

// A Place is a chunk store to be tested, empty, with two namespaces that the caller may
// write. A chunk put into one is not within the reach of the other.
type Place struct {
	Store     dbfs.ChunkStore
	NS, Other dbfs.NamespaceID
}

// Chunks runs everything that a chunk store must do. Each part gets a Place of its own.
func Chunks(t *testing.T, open func(t *testing.T) Place) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"put, check, get", putCheckGet},
		{"chunks that are not there", notThere},
		{"chunks that cannot be", cannotBe},
		{"put refuses other bytes", refusesOtherBytes},
		{"put again", putAgain},
		{"buffers", buffers},
		{"namespaces are apart", apart},
		{"long check", longCheck},
		{"many at once", manyAtOnce},
		{"one chunk many times at once", oneManyTimes},
		{"cancelled", cancelled},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// Noise returns a chunk of n bytes that does not compress and what names it. The same seed
// gives the same bytes.
func Noise(n int, seed uint64) (dbfs.ChunkRef, []byte) {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1})
	b := make([]byte, n)
	r.Read(b)
	return named(b)
}

// Text returns a chunk of n bytes that compresses well, and what names it.
func Text(n int, seed uint64) (dbfs.ChunkRef, []byte) {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d: line %d of a text that repeats itself\n", seed, i)
	}
	return named(b[:n:n])
}

func named(b []byte) (dbfs.ChunkRef, []byte) {
	return dbfs.ChunkRef{ID: dbfs.HashChunk(b), Len: len(b)}, b
}

func mustPut(t *testing.T, p Place, ref dbfs.ChunkRef, b []byte) {
	t.Helper()
	r, err := p.Store.Put(t.Context(), p.NS, ref, b)
	if err != nil || r == "" {
		t.Fatalf("put %d bytes: receipt %q, %v", ref.Len, r, err)
	}
}

func mustGet(t *testing.T, p Place, ref dbfs.ChunkRef, want []byte) {
	t.Helper()
	got, err := p.Store.Get(t.Context(), p.NS, ref)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("get of %d bytes: %d bytes, equal: %v, %v", ref.Len, len(got), bytes.Equal(got, want), err)
	}
}

// wantReceipts checks which of the refs the store has: have names their places.
func wantReceipts(t *testing.T, p Place, ns dbfs.NamespaceID, refs []dbfs.ChunkRef, have ...int) {
	t.Helper()
	got, err := p.Store.Check(t.Context(), ns, refs)
	if err != nil || len(got) != len(refs) {
		t.Fatalf("check of %d: %d receipts, %v", len(refs), len(got), err)
	}
	want := make([]bool, len(refs))
	for _, i := range have {
		want[i] = true
	}
	for i := range refs {
		if (got[i] != "") != want[i] {
			t.Errorf("check of chunk %d: receipt %q, want one: %v", i, got[i], want[i])
		}
	}
}

func putCheckGet(t *testing.T, p Place) {
	for _, n := range []int{1, 100, 20 << 10, 1 << 20, dbfs.ChunkSize} {
		for what, make := range map[string]func(int, uint64) (dbfs.ChunkRef, []byte){"noise": Noise, "text": Text} {
			t.Run(fmt.Sprint(n, " bytes of ", what), func(t *testing.T) {
				ref, b := make(n, uint64(n))
				absent, _ := make(n, uint64(n)+1)
				if n == 1 {
					absent = dbfs.ChunkRef{ID: dbfs.HashChunk([]byte{b[0] ^ 0x80 | 1}), Len: 1}
				}
				mustPut(t, p, ref, b)
				wantReceipts(t, p, p.NS, []dbfs.ChunkRef{absent, ref}, 1)
				mustGet(t, p, ref, b)
			})
		}
	}
}

func notThere(t *testing.T, p Place) {
	ref, b := Noise(100, 1)
	wantReceipts(t, p, p.NS, nil)
	wantReceipts(t, p, p.NS, []dbfs.ChunkRef{ref})
	if got, err := p.Store.Get(t.Context(), p.NS, ref); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("get: %d bytes, %v; want ErrNotExist", len(got), err)
	}
	mustPut(t, p, ref, b)
	longer := dbfs.ChunkRef{ID: ref.ID, Len: ref.Len + 1}
	if got, err := p.Store.Get(t.Context(), p.NS, longer); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("get with another length: %d bytes, %v; want ErrNotExist", len(got), err)
	}
	wantReceipts(t, p, p.NS, []dbfs.ChunkRef{longer})
}

func cannotBe(t *testing.T, p Place) {
	good, _ := Noise(100, 1)
	for what, ref := range map[string]dbfs.ChunkRef{
		"zeros":    {ID: dbfs.ZeroChunk, Len: 100},
		"empty":    {ID: good.ID, Len: 0},
		"negative": {ID: good.ID, Len: -1},
		"too long": {ID: good.ID, Len: dbfs.ChunkSize + 1},
	} {
		if _, err := p.Store.Check(t.Context(), p.NS, []dbfs.ChunkRef{good, ref}); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("check of a chunk that is %s: %v, want ErrInvalid", what, err)
		}
		if _, err := p.Store.Put(t.Context(), p.NS, ref, make([]byte, max(ref.Len, 0))); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("put of a chunk that is %s: %v, want ErrInvalid", what, err)
		}
		if _, err := p.Store.Get(t.Context(), p.NS, ref); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("get of a chunk that is %s: %v, want ErrInvalid", what, err)
		}
	}
}

func refusesOtherBytes(t *testing.T, p Place) {
	ref, b := Noise(1000, 1)
	changed := bytes.Clone(b)
	changed[999] ^= 1
	for what, b := range map[string][]byte{"changed": changed, "shorter": b[:999], "longer": append(bytes.Clone(b), 0), "empty": nil} {
		if r, err := p.Store.Put(t.Context(), p.NS, ref, b); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("put of %s bytes: receipt %q, %v; want ErrCorrupt", what, r, err)
		}
	}
	wantReceipts(t, p, p.NS, []dbfs.ChunkRef{ref})
}

func putAgain(t *testing.T, p Place) {
	ref, b := Text(5000, 1)
	for range 3 {
		mustPut(t, p, ref, b)
	}
	mustGet(t, p, ref, b)
}

// buffers scribbles over what it has handed in and what it was handed.
func buffers(t *testing.T, p Place) {
	for _, n := range []int{1000, dbfs.ChunkSize} {
		ref, b := Noise(n, 1)
		kept := bytes.Clone(b)
		mustPut(t, p, ref, b)
		clear(b)
		got, err := p.Store.Get(t.Context(), p.NS, ref)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			got[i] ^= 0xff
		}
		mustGet(t, p, ref, kept)
	}
}

func apart(t *testing.T, p Place) {
	ref, b := Noise(1000, 1)
	mustPut(t, p, ref, b)
	if got, err := p.Store.Get(t.Context(), p.Other, ref); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("get in another namespace: %d bytes, %v; want ErrNotExist", len(got), err)
	}
	in := Place{Store: p.Store, NS: p.Other}
	mustPut(t, in, ref, b)
	mustGet(t, in, ref, b)
	mustGet(t, p, ref, b)
}

// longCheck asks about more chunks than fit in one message.
func longCheck(t *testing.T, p Place) {
	refs := make([]dbfs.ChunkRef, 2500)
	for i := range refs {
		refs[i], _ = Noise(100, uint64(i))
	}
	for _, i := range []int{0, 999, 1000, 2499} {
		ref, b := Noise(100, uint64(i))
		mustPut(t, p, ref, b)
	}
	wantReceipts(t, p, p.NS, refs, 0, 999, 1000, 2499)
}

func manyAtOnce(t *testing.T, p Place) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ref, b := Noise(20<<10, uint64(i))
			if _, err := p.Store.Put(t.Context(), p.NS, ref, b); err != nil {
				t.Errorf("put %d: %v", i, err)
				return
			}
			mustGet(t, p, ref, b)
		})
	}
	wg.Wait()
}

func oneManyTimes(t *testing.T, p Place) {
	ref, b := Noise(20<<10, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if r, err := p.Store.Put(t.Context(), p.NS, ref, b); err != nil || r == "" {
				t.Errorf("put: receipt %q, %v", r, err)
			}
			mustGet(t, p, ref, b)
		})
	}
	wg.Wait()
}

func cancelled(t *testing.T, p Place) {
	ref, b := Noise(1000, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Store.Check(ctx, p.NS, []dbfs.ChunkRef{ref}); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v, want context.Canceled", err)
	}
	if _, err := p.Store.Put(ctx, p.NS, ref, b); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v, want context.Canceled", err)
	}
	if _, err := p.Store.Get(ctx, p.NS, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v, want context.Canceled", err)
	}
	mustPut(t, p, ref, b)
	mustGet(t, p, ref, b)
}
