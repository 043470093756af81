package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/dir"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/throttle"
)

// sharing starts a server on which chunks are shared by all who prove that they have them.
func sharing(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, nil, server.Options{Dedup: server.DedupServer})
}

func verify(t *testing.T, w *world) {
	t.Helper()
	server.Unread(w.srv)
	if err := w.srv.VerifyUploads(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lie uploads a frame under a chunk's name, whatever is in it.
func (p *person) lie(t *testing.T, w *world, ns dbfs.NamespaceID, ref dbfs.ChunkRef, frame []byte) {
	t.Helper()
	up := p.grant(t, w, ns, ref, frame)
	w.send(t, up, frame)
	if r, code := p.register(t, w, ns, up.Ticket); r == "" {
		t.Fatalf("register: %s", code)
	}
}

// TestUploadsAreReadBack: what is good is found to be so, what is a lie gets no receipt any more,
// not even for who told it, and is mended by who has the chunk.
func TestUploadsAreReadBack(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	good, b := chunktest.Noise(5000, 1)
	put(t, w.admin, ns, good, b)
	bad, b := chunktest.Noise(5000, 2)
	_, other := chunktest.Noise(5000, 3)
	w.admin.lie(t, w, ns, bad, remote.AppendFrame(nil, bad, other))
	future, fb := chunktest.Noise(5000, 4)
	frame := remote.AppendFrame(nil, future, fb)
	frame[4] = 9
	w.admin.lie(t, w, ns, future, frame)

	verify(t, w)
	if r := row(t, w, ns, good); !r.Verified || r.Bad {
		t.Errorf("what is good: %+v", r)
	}
	for _, ref := range []dbfs.ChunkRef{bad, future} {
		if r := row(t, w, ns, ref); r.Verified || !r.Bad {
			t.Errorf("a lie: %+v", r)
		}
		if has(t, w.admin, ns, ref) {
			t.Error("a lie gets a receipt")
		}
	}
	put(t, w.admin, ns, bad, b)
	if r := row(t, w, ns, bad); r.Bad {
		t.Errorf("mended: %+v", r)
	}
	get(t, w.admin, ns, bad, b)
	verify(t, w)
	if r := row(t, w, ns, bad); !r.Verified {
		t.Errorf("mended and read back: %+v", r)
	}
}

// TestReadBackSoon: the chunk of one member gets to another's namespace in seconds, by the verifier alone.
func TestReadBackSoon(t *testing.T) {
	w := newWorld(t, nil)
	bob := w.person(t, "bob")
	shared := w.admin.namespace(t, "shared")
	w.admin.share(t, shared, bob, dbfs.RoleWrite)
	early, b := chunktest.Noise(1000, 1)
	put(t, bob, shared, early, b) // before the verifier starts
	start(t, w.srv.RunVerifier)
	ref, b := chunktest.Noise(1000, 2)
	put(t, bob, shared, ref, b)
	for _, ref := range []dbfs.ChunkRef{early, ref} {
		eventually(t, func() bool { return has(t, w.admin, w.admin.me.Root, ref) })
	}
}

// flaky answers the first reads with something else.
type flaky struct {
	*dir.Store
	times int
}

// TestOneBadReadIsNoLie: an object store that answers with nonsense once does not make a chunk bad.
func TestOneBadReadIsNoLie(t *testing.T) {
	d, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f := &flaky{Store: d}
	w := newWorld(t, f)
	ref, b := chunktest.Noise(1000, 1)
	put(t, w.admin, w.admin.me.Root, ref, b)
	f.times = 1
	verify(t, w)
	if r := row(t, w, w.admin.me.Root, ref); !r.Verified || r.Bad || f.times != 0 {
		t.Errorf("%+v after a bad answer", r)
	}
}

func TestDedupDomains(t *testing.T) {
	ref, b := chunktest.Noise(remote.MinProof, 1)
	for _, test := range []struct {
		domain               server.Domain
		neighbour, elsewhere bool
	}{
		{server.DedupNamespace, false, false},
		{server.DedupAccount, true, false},
		{server.DedupServer, true, true},
	} {
		w := newWorldWith(t, nil, server.Options{Dedup: test.domain})
		bob := w.person(t, "bob")
		other := w.admin.namespace(t, "other")
		put(t, w.admin, w.admin.me.Root, ref, b)
		verify(t, w)
		if got := has(t, w.admin, other, ref); got != test.neighbour {
			t.Errorf("%s: the same account, another namespace: %v", test.domain, got)
		}
		var tp tamper
		c := bob.through(t, w, &tp)
		if r, err := c.Check(t.Context(), bob.me.Root, []dbfs.ChunkRef{ref}); err != nil || r[0] != "" {
			t.Errorf("%s: another account gets a receipt for a hash: %q, %v", test.domain, r, err)
		}
		if _, err := c.Get(t.Context(), bob.me.Root, ref); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("%s: another account gets bytes for a hash: %v", test.domain, err)
		}
		if _, err := c.Put(t.Context(), bob.me.Root, ref, b); err != nil {
			t.Error(err)
		}
		if got := tp.seen["PUT object"] == 0; got != test.elsewhere {
			t.Errorf("%s: another account need not upload: %v", test.domain, got)
		}
		get(t, bob, bob.me.Root, ref, b)
	}
}

// TestProofs: what proves that somebody has a chunk, and what does not.
func TestProofs(t *testing.T) {
	w := sharing(t)
	ann, bob, eve := w.person(t, "ann"), w.person(t, "bob"), w.person(t, "eve")
	ref, b := chunktest.Noise(remote.MinProof, 1)
	put(t, ann, ann.me.Root, ref, b)
	unread, ub := chunktest.Noise(remote.MinProof, 2)
	short, sb := chunktest.Noise(remote.MinProof-1, 3)
	put(t, ann, ann.me.Root, short, sb)
	verify(t, w)
	put(t, ann, ann.me.Root, unread, ub)

	for what, ref := range map[string]dbfs.ChunkRef{"what is unread": unread, "what is short": short, "what nobody has": {ID: dbfs.ChunkID{1}, Len: remote.MinProof}} {
		_, prove, err := server.CheckAll(t.Context(), eve.session, eve.me.Root, []dbfs.ChunkRef{ref})
		if err != nil || prove[0] {
			t.Errorf("%s can be proved: %v, %v", what, prove, err)
		}
	}
	nonce := func(p *person) string { return server.NewNonce(p.session, p.me.Root) }
	try := func(p *person, ref dbfs.ChunkRef, nonce string, proof []byte, want error) {
		t.Helper()
		r, err := p.session.Prove(t.Context(), p.me.Root, ref, nonce, proof)
		if !errors.Is(err, want) || (r == "") != (want != nil) || (err == nil) != (want == nil) {
			t.Errorf("receipt %q, %v, want %v", r, err, want)
		}
		if _, err := p.session.Get(t.Context(), p.me.Root, ref); (err == nil) != (want == nil) {
			t.Errorf("get: %v", err)
		}
	}
	old, bobs := nonce(eve), nonce(bob)
	try(eve, ref, bobs, remote.Proof(bobs, b), dbfs.ErrInvalid) // heard from another
	try(eve, ref, "B"+old[1:], remote.Proof(old, b), dbfs.ErrVersion)
	try(eve, ref, old[:len(old)-3]+"AAA", remote.Proof(old, b), dbfs.ErrInvalid)
	try(eve, unread, old, remote.Proof(old, ub), dbfs.ErrForbidden)
	try(eve, ref, old, ref.ID[:], dbfs.ErrForbidden)            // a hash alone
	try(eve, ref, old, remote.Proof(old, b), dbfs.ErrForbidden) // the nonce was used for it
	fresh := nonce(eve)
	try(eve, ref, fresh, remote.Proof(old, b), dbfs.ErrForbidden) // the proof of another nonce
	w.clock.move(6 * time.Minute)
	try(eve, ref, nonce(eve), nil, dbfs.ErrForbidden)
	fresh = nonce(eve)
	try(eve, ref, fresh, remote.Proof(fresh, b), dbfs.ErrForbidden) // she has failed three times
	try(bob, ref, bobs, remote.Proof(bobs, b), dbfs.ErrInvalid)     // too late
	w.clock.move(time.Hour)
	fresh = nonce(eve)
	try(eve, ref, fresh, remote.Proof(fresh, b), nil)
	if ours, theirs := row(t, w, eve.me.Root, ref), row(t, w, ann.me.Root, ref); ours.Object != theirs.Object {
		t.Errorf("stored twice: %s and %s", ours.Object, theirs.Object)
	}
}

// TestUnprovedIsUploaded: a client whose proof is not taken sends the bytes.
func TestUnprovedIsUploaded(t *testing.T) {
	w := sharing(t)
	ann, bob := w.person(t, "ann"), w.person(t, "bob")
	ref, b := chunktest.Noise(remote.MinProof, 1)
	put(t, ann, ann.me.Root, ref, b)
	verify(t, w)
	if has(t, bob, bob.me.Root, ref) {
		t.Fatal("a receipt for a hash")
	}
	object := row(t, w, ann.me.Root, ref).Object
	if err := w.objects.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	put(t, bob, bob.me.Root, ref, b)
	get(t, bob, bob.me.Root, ref, b)
}

// TestDedupDomainIsKnown: an unknown one is no domain at all.
func TestDedupDomainIsKnown(t *testing.T) {
	if _, err := server.New(newStore(t), nil, server.Options{Dedup: "world"}); !errors.Is(err, dbfs.ErrInvalid) || !strings.Contains(err.Error(), "world") {
		t.Errorf("got %v", err)
	}
}

// Deltas at the server.

func TestPutDelta(t *testing.T) {
	w := newWorld(t, nil)
	ns, bob := w.admin.me.Root, w.person(t, "bob")
	base, was := chunktest.Noise(2<<20, 1)
	now := bytes.Clone(was)
	copy(now[1<<20:], "100 bytes in the middle")
	ref := dbfs.ChunkRef{ID: dbfs.HashChunk(now), Len: len(now)}
	for _, kind := range []string{"local", "signature"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, nil)
			p := w.admin
			put(t, p, p.me.Root, base, was)
			var tp tamper
			c := p.through(t, w, &tp)
			like := dbfs.Like{Same: base, Few: true, Local: func(dbfs.ChunkRef) []byte { return nil }}
			if kind == "local" {
				like.Local = func(ref dbfs.ChunkRef) []byte { return was }
			}
			if r, err := c.PutLike(t.Context(), p.me.Root, ref, now, like); err != nil || r == "" {
				t.Fatalf("receipt %q, %v", r, err)
			}
			if n, saved := c.Deltas(); n != 1 || saved < 2<<20-8<<10 || tp.seen["PUT object"] != 0 {
				t.Errorf("%d deltas save %d bytes, %d uploads", n, saved, tp.seen["PUT object"])
			}
			// Whole at once, and good without its base.
			if err := w.objects.Delete(t.Context(), row(t, w, p.me.Root, base).Object); err != nil {
				t.Fatal(err)
			}
			get(t, p, p.me.Root, ref, now)
			if !has(t, p, p.me.Root, ref) {
				t.Error("no receipt for what was sent as a delta")
			}
		})
	}
	// Without a base the chunk goes whole: it is not there, it is damaged, it is what somebody else has.
	put(t, bob, bob.me.Root, base, was)
	like := dbfs.Like{Same: base, Few: true, Local: func(dbfs.ChunkRef) []byte { return was }}
	if r, err := w.admin.chunks.PutLike(t.Context(), ns, ref, now, like); err != nil || r == "" {
		t.Fatalf("receipt %q, %v", r, err)
	}
	if n, _ := w.admin.chunks.Deltas(); n != 0 {
		t.Error("a delta with a base that is another account's")
	}
	get(t, w.admin, ns, ref, now)
	// A wrong base on this machine makes a delta that the server refuses.
	put(t, w.admin, ns, base, was)
	next := append(bytes.Clone(now), "more"...)
	wrong := bytes.Clone(was)
	copy(wrong, "not what the server has")
	ref = dbfs.ChunkRef{ID: dbfs.HashChunk(next), Len: len(next)}
	like.Local = func(dbfs.ChunkRef) []byte { return wrong }
	if r, err := w.admin.chunks.PutLike(t.Context(), ns, ref, next, like); err != nil || r == "" {
		t.Fatalf("receipt %q, %v", r, err)
	}
	get(t, w.admin, ns, ref, next)
}

// A delta keeps to a limit as other uploads do: in pieces that a limiter takes.
func TestDeltaKeepsPace(t *testing.T) {
	w := newWorld(t, nil)
	p := w.admin
	base, was := chunktest.Noise(2<<20, 1)
	put(t, p, p.me.Root, base, was)
	now := bytes.Clone(was)
	_, other := chunktest.Noise(100<<10, 2)
	copy(now[1<<20:], other)
	ref := dbfs.ChunkRef{ID: dbfs.HashChunk(now), Len: len(now)}
	like := dbfs.Like{Same: base, Few: true, Local: func(dbfs.ChunkRef) []byte { return was }}
	c := p.through(t, w, &tamper{})
	var pace pieces
	c.SetPace(&pace)
	if r, err := c.PutLike(t.Context(), p.me.Root, ref, now, like); err != nil || r == "" {
		t.Fatalf("receipt %q, %v", r, err)
	}
	if n, _ := c.Deltas(); n != 1 || pace.up < 100<<10 || pace.up > 200<<10 {
		t.Errorf("%d deltas, and %d bytes waited", n, pace.up)
	}
}

// pieces is a pace that takes no more at once than a limiter does.
type pieces struct{ up int }

func (p *pieces) Up(_ context.Context, n int) error {
	if n > throttle.Piece {
		return fmt.Errorf("%d bytes at once", n)
	}
	p.up += n
	return nil
}

func (p *pieces) Down(context.Context, int) error { return nil }

func (f *flaky) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if f.times > 0 {
		f.times--
		return io.NopCloser(bytes.NewReader(make([]byte, n))), nil
	}
	return f.Store.Get(ctx, name, off, n)
}

// start runs something until the test ends.
func start(t *testing.T, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s")
		}
	}
}
