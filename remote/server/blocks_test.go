package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/dir"
	"github.com/dbfs/dbfs/remote/s3"
	"github.com/dbfs/dbfs/remote/server"
)

// The suite, against the server near and far, over a directory and over S3.

func TestNearChunks(t *testing.T) {
	chunktest.Chunks(t, func(t *testing.T) chunktest.Place {
		p := newWorld(t, nil).admin
		return chunktest.Place{Store: p.session, NS: p.me.Root, Other: p.namespace(t, "other")}
	})
}

func TestFarChunks(t *testing.T) {
	chunktest.Chunks(t, func(t *testing.T) chunktest.Place {
		p := newWorld(t, nil).admin
		return chunktest.Place{Store: p.chunks, NS: p.me.Root, Other: p.namespace(t, "other")}
	})
}

func TestInProcessChunks(t *testing.T) {
	chunktest.Chunks(t, func(t *testing.T) chunktest.Place {
		w := newWorld(t, nil)
		rt := remote.InProcess(w.srv.Handler())
		return chunktest.Place{Store: w.admin.through(t, w, rt), NS: w.admin.me.Root, Other: w.admin.namespace(t, "other")}
	})
}

func TestFarChunksOnS3(t *testing.T) {
	store := bucket(t)
	chunktest.Chunks(t, func(t *testing.T) chunktest.Place {
		p := newWorld(t, store).admin
		return chunktest.Place{Store: p.chunks, NS: p.me.Root, Other: p.namespace(t, "other")}
	})
}

func TestFaultyFarChunks(t *testing.T) {
	p := newWorld(t, nil).admin
	f := chunktest.NewFaulty(p.chunks)
	f.Order(chunktest.Fault{On: chunktest.Put, Err: dbfs.ErrOffline, After: true})
	ref, b := chunktest.Noise(1000, 1)
	if _, err := f.Put(t.Context(), p.me.Root, ref, b); !errors.Is(err, dbfs.ErrOffline) {
		t.Fatalf("ordered to fail: %v", err)
	}
	if r, err := f.Check(t.Context(), p.me.Root, []dbfs.ChunkRef{ref}); err != nil || r[0] == "" {
		t.Errorf("after an answer was lost: receipts %q, %v", r, err)
	}
}

// bucket returns a store on the S3 server that the environment names.
func bucket(t *testing.T) *s3.Store {
	t.Helper()
	endpoint := os.Getenv("DBFS_TEST_S3")
	if endpoint == "" {
		t.Skip("DBFS_TEST_S3 names no S3 server; scripts/test starts one")
	}
	name := "dbfs-" + strings.ToLower(rand.Text())
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithDefaultRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	client := awss3.NewFromConfig(cfg, func(o *awss3.Options) { o.BaseEndpoint, o.UsePathStyle = &endpoint, true })
	if _, err := client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeBucket(t, client, name) })
	store, err := s3.New(t.Context(), s3.Options{Bucket: name, Endpoint: endpoint, PathStyle: true})
	if err == nil {
		err = store.Check(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func removeBucket(t *testing.T, client *awss3.Client, name string) {
	ctx := context.Background()
	pages := awss3.NewListObjectsV2Paginator(client, &awss3.ListObjectsV2Input{Bucket: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &name, Key: o.Key}); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := client.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Error(err)
	}
}

// What a chunk is to whom.

func put(t *testing.T, p *person, ns dbfs.NamespaceID, ref dbfs.ChunkRef, b []byte) {
	t.Helper()
	if r, err := p.chunks.Put(t.Context(), ns, ref, b); err != nil || r == "" {
		t.Fatalf("put: receipt %q, %v", r, err)
	}
}

func get(t *testing.T, p *person, ns dbfs.NamespaceID, ref dbfs.ChunkRef, want []byte) {
	t.Helper()
	if got, err := p.chunks.Get(t.Context(), ns, ref); err != nil || !bytes.Equal(got, want) {
		t.Errorf("get: %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func has(t *testing.T, p *person, ns dbfs.NamespaceID, ref dbfs.ChunkRef) bool {
	t.Helper()
	receipts, err := p.chunks.Check(t.Context(), ns, []dbfs.ChunkRef{ref})
	if err != nil {
		t.Fatal(err)
	}
	return receipts[0] != ""
}

func row(t *testing.T, w *world, ns dbfs.NamespaceID, ref dbfs.ChunkRef) server.ChunkRow {
	t.Helper()
	r, err := server.GetChunkRow(t.Context(), w.srv, ns, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func setRow(t *testing.T, w *world, ns dbfs.NamespaceID, ref dbfs.ChunkRef, change func(*server.ChunkRow)) {
	t.Helper()
	r := row(t, w, ns, ref)
	change(&r)
	if err := server.SetChunkRow(t.Context(), w.srv, ns, ref.ID, r); err != nil {
		t.Fatal(err)
	}
}

func TestChunksNeedARole(t *testing.T) {
	w := newWorld(t, nil)
	reader, stranger := w.person(t, "reader"), w.person(t, "stranger")
	ns := w.admin.namespace(t, "shared")
	w.admin.share(t, ns, reader, dbfs.RoleRead)
	ref, b := chunktest.Noise(100, 1)
	put(t, w.admin, ns, ref, b)
	get(t, reader, ns, ref, b)
	for _, test := range []struct {
		name          string
		p             *person
		change, fetch error
	}{
		{"reader", reader, dbfs.ErrReadOnly, nil},
		{"stranger", stranger, dbfs.ErrForbidden, dbfs.ErrForbidden},
	} {
		for kind, store := range map[string]dbfs.ChunkStore{"near": test.p.session, "far": test.p.chunks} {
			if _, err := store.Check(t.Context(), ns, []dbfs.ChunkRef{ref}); !errors.Is(err, test.change) {
				t.Errorf("%s %s checks: %v, want %v", kind, test.name, err, test.change)
			}
			if _, err := store.Put(t.Context(), ns, ref, b); !errors.Is(err, test.change) {
				t.Errorf("%s %s puts: %v, want %v", kind, test.name, err, test.change)
			}
			if _, err := store.Get(t.Context(), ns, ref); !errors.Is(err, test.fetch) {
				t.Errorf("%s %s gets: %v, want %v", kind, test.name, err, test.fetch)
			}
		}
	}
}

// TestReach: who gets, by naming it, a chunk that is stored elsewhere.
func TestReach(t *testing.T) {
	w := newWorld(t, nil)
	ann, bob := w.person(t, "ann"), w.person(t, "bob")
	shared := ann.namespace(t, "shared") // Ann's, Bob writes too
	secret := ann.namespace(t, "secret") // Ann's alone
	ann.share(t, shared, bob, dbfs.RoleWrite)
	bobs := bob.namespace(t, "bobs")

	annsIn := func(ns dbfs.NamespaceID, seed uint64) dbfs.ChunkRef {
		ref, b := chunktest.Noise(100, seed)
		put(t, ann, ns, ref, b)
		return ref
	}
	bobsIn := func(ns dbfs.NamespaceID, seed uint64) dbfs.ChunkRef {
		ref, b := chunktest.Noise(100, seed)
		put(t, bob, ns, ref, b)
		return ref
	}
	verified := func(ns dbfs.NamespaceID, ref dbfs.ChunkRef) dbfs.ChunkRef {
		setRow(t, w, ns, ref, func(r *server.ChunkRow) { r.Verified = true })
		return ref
	}
	condemned := func(ns dbfs.NamespaceID, ref dbfs.ChunkRef) dbfs.ChunkRef {
		setRow(t, w, ns, ref, func(r *server.ChunkRow) { r.State = "condemned" })
		return ref
	}
	for _, test := range []struct {
		name string
		who  *person
		ns   dbfs.NamespaceID
		ref  dbfs.ChunkRef
		want bool
	}{
		{"Ann, from one of hers to another", ann, ann.me.Root, annsIn(secret, 1), true},
		{"Ann, what Bob put into hers, unverified", ann, ann.me.Root, bobsIn(shared, 2), false},
		{"Ann, what Bob put into hers, verified", ann, ann.me.Root, verified(shared, bobsIn(shared, 3)), true},
		{"Ann, what is condemned", ann, ann.me.Root, condemned(secret, annsIn(secret, 4)), false},
		{"Bob, what Ann has where he cannot read", bob, shared, verified(secret, annsIn(secret, 5)), false},
		{"Bob, from Ann's to his own", bob, bobs, verified(shared, annsIn(shared, 6)), false},
		{"Bob, his own, put into Ann's", bob, bobs, bobsIn(shared, 7), false},
		{"Bob, from one of his to another", bob, bob.me.Root, bobsIn(bobs, 8), true},
		{"Bob, in the same namespace", bob, shared, annsIn(shared, 9), true},
	} {
		if got := has(t, test.who, test.ns, test.ref); got != test.want {
			t.Errorf("%s: has it: %v, want %v", test.name, got, test.want)
		}
		_, err := test.who.chunks.Get(t.Context(), test.ns, test.ref)
		if test.want && err != nil || !test.want && !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("%s: get: %v", test.name, err)
		}
	}
}

// TestSharedObjectIsStoredOnce: a chunk in two namespaces of one owner is one object.
func TestSharedObjectIsStoredOnce(t *testing.T) {
	w := newWorld(t, nil)
	other := w.admin.namespace(t, "other")
	ref, b := chunktest.Noise(100, 1)
	put(t, w.admin, w.admin.me.Root, ref, b)
	setRow(t, w, w.admin.me.Root, ref, func(r *server.ChunkRow) { r.Touched -= 7200 })
	if !has(t, w.admin, other, ref) {
		t.Fatal("not found in the neighbour")
	}
	here, there := row(t, w, other, ref), row(t, w, w.admin.me.Root, ref)
	if here.Object != there.Object {
		t.Errorf("objects %s and %s, want one", here.Object, there.Object)
	}
	if now := w.clock.now().Unix(); there.Touched != now || here.Touched != now {
		t.Errorf("touched at %d and %d, now is %d: the lender must be safe from deletion first", there.Touched, here.Touched, now)
	}
	get(t, w.admin, other, ref, b)
}

func TestTouch(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(100, 1)
	put(t, w.admin, ns, ref, b)
	start := row(t, w, ns, ref).Touched
	if start != w.clock.now().Unix() {
		t.Errorf("put: touched at %d, now is %d", start, w.clock.now().Unix())
	}
	w.clock.move(59 * time.Minute)
	if !has(t, w.admin, ns, ref) || row(t, w, ns, ref).Touched != start {
		t.Errorf("a receipt within the hour: touched at %d, want %d still", row(t, w, ns, ref).Touched, start)
	}
	w.clock.move(2 * time.Minute)
	if !has(t, w.admin, ns, ref) || row(t, w, ns, ref).Touched != w.clock.now().Unix() {
		t.Errorf("a receipt after an hour: touched at %d, want %d", row(t, w, ns, ref).Touched, w.clock.now().Unix())
	}
}

// TestDyingChunk: what garbage collection has condemned gets no receipt, can be read until it
// is being deleted, and comes back to life as another object.
func TestDyingChunk(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	for i, state := range []string{"condemned", "deleting"} {
		ref, b := chunktest.Noise(100, uint64(i))
		put(t, w.admin, ns, ref, b)
		old := row(t, w, ns, ref).Object
		setRow(t, w, ns, ref, func(r *server.ChunkRow) { r.State = state; r.Touched = 0 })
		if has(t, w.admin, ns, ref) {
			t.Errorf("%s: gets a receipt", state)
		}
		if _, err := w.admin.chunks.Get(t.Context(), ns, ref); (state == "condemned") != (err == nil) {
			t.Errorf("%s: get: %v", state, err)
		}
		put(t, w.admin, ns, ref, b)
		if now := row(t, w, ns, ref); now.State != "live" || now.Object == old {
			t.Errorf("%s, put again: %s in %s; want live, and not in %s", state, now.State, now.Object, old)
		}
		get(t, w.admin, ns, ref, b)
	}
}

// TestPutMends: what is damaged or lost at the object store is corrupt, and good again when
// somebody who has it puts it.
func TestPutMends(t *testing.T) {
	for what, harm := range map[string]func(w *world, object string) error{
		"lost": func(w *world, object string) error { return w.objects.Delete(t.Context(), object) },
		"damaged": func(w *world, object string) error {
			size, _, err := w.objects.Stat(t.Context(), object)
			return errors.Join(err, w.objects.Delete(t.Context(), object), w.objects.Put(t.Context(), object, make([]byte, size)))
		},
		"cut": func(w *world, object string) error {
			return errors.Join(w.objects.Delete(t.Context(), object), w.objects.Put(t.Context(), object, []byte("DCF1")))
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, nil)
			ns := w.admin.me.Root
			ref, b := chunktest.Noise(100, 1)
			put(t, w.admin, ns, ref, b)
			if err := harm(w, row(t, w, ns, ref).Object); err != nil {
				t.Fatal(err)
			}
			for kind, store := range map[string]dbfs.ChunkStore{"near": w.admin.session, "far": w.admin.chunks} {
				if got, err := store.Get(t.Context(), ns, ref); !errors.Is(err, dbfs.ErrCorrupt) {
					t.Errorf("%s: %d bytes, %v; want ErrCorrupt", kind, len(got), err)
				}
			}
			put(t, w.admin, ns, ref, b)
			get(t, w.admin, ns, ref, b)
		})
	}
}

// A member who uploads garbage under the hash of another's chunk must not get the other to
// take it for stored: the other puts its own bytes.
func TestWhatAnotherUploadedIsVerified(t *testing.T) {
	w := newWorld(t, nil)
	ann, bob := w.person(t, "ann"), w.person(t, "bob")
	shared := ann.namespace(t, "shared")
	ann.share(t, shared, bob, dbfs.RoleWrite)

	good, b := chunktest.Noise(100, 1)
	put(t, bob, shared, good, b)
	if !has(t, ann, shared, good) {
		t.Error("a good chunk is wanted again")
	}
	if !row(t, w, shared, good).Verified {
		t.Error("a chunk that was read is not marked as verified: it would be read for every question")
	}

	bad, b := chunktest.Noise(100, 2)
	put(t, bob, shared, bad, b)
	object := row(t, w, shared, bad).Object
	size, _, err := w.objects.Stat(t.Context(), object)
	if err := errors.Join(err, w.objects.Delete(t.Context(), object), w.objects.Put(t.Context(), object, make([]byte, size))); err != nil {
		t.Fatal(err)
	}
	if has(t, ann, shared, bad) {
		t.Fatal("garbage got a receipt")
	}
	put(t, ann, shared, bad, b)
	if !has(t, ann, shared, bad) {
		t.Error("no receipt for what was put")
	}
	get(t, ann, shared, bad, b)
}

// TestPutAgainKeepsWhatIsGood, and knows from then on that it is.
func TestPutAgainKeepsWhatIsGood(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Text(1000, 1)
	put(t, w.admin, ns, ref, b)
	first := row(t, w, ns, ref)
	put(t, w.admin, ns, ref, b)
	second := row(t, w, ns, ref)
	if second.Object != first.Object || first.Verified || !second.Verified {
		t.Errorf("first %+v, then %+v; want the same object, then verified", first, second)
	}
}

// Clients that are not honest, or not well.

// api posts to the server as the person and decodes the answer into out.
func (p *person) api(t *testing.T, w *world, path string, in, out any) (status int) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: p.loginToken(t, w), Name: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+login.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == 200 {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp.StatusCode
}

func (p *person) loginToken(t *testing.T, w *world) string {
	t.Helper()
	user, err := w.admin.session.ResetUser(t.Context(), p.me.Name)
	if err != nil {
		t.Fatal(err)
	}
	return user.Token
}

// grant asks for an address for a frame.
func (p *person) grant(t *testing.T, w *world, ns dbfs.NamespaceID, ref dbfs.ChunkRef, frame []byte) remote.Upload {
	t.Helper()
	var reply remote.GrantReply
	o := remote.NewObject{Chunk: ref, Size: int64(len(frame)), SHA256: sha256.Sum256(frame)}
	if status := p.api(t, w, "/v1/blobs/grant", remote.GrantRequest{NS: ns, Objects: []remote.NewObject{o}}, &reply); status != 200 {
		t.Fatalf("grant: status %d", status)
	}
	return reply.Uploads[0]
}

func (w *world) send(t *testing.T, up remote.Upload, frame []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", w.url+up.URL, bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("upload: status %d", resp.StatusCode)
	}
}

// register returns the receipt, or the code of the error.
func (p *person) register(t *testing.T, w *world, ns dbfs.NamespaceID, ticket string) (dbfs.Receipt, string) {
	t.Helper()
	var reply remote.RegisterReply
	if status := p.api(t, w, "/v1/blobs/register", remote.RegisterRequest{NS: ns, Tickets: []string{ticket}}, &reply); status != 200 {
		t.Fatalf("register: status %d", status)
	}
	if e := reply.Chunks[0].Error; e != nil {
		return "", e.Code
	}
	return reply.Chunks[0].Receipt, ""
}

// TestLiesAreFoundOut: a member uploads other bytes under a chunk's name. Nobody gets them
// for the chunk, and whoever has the chunk can put it right.
func TestLiesAreFoundOut(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(100, 1)
	_, lie := chunktest.Noise(100, 2)
	frame := remote.AppendFrame(nil, ref, lie)
	up := w.admin.grant(t, w, ns, ref, frame)
	w.send(t, up, frame)
	if r, code := w.admin.register(t, w, ns, up.Ticket); r == "" {
		t.Fatalf("register: %s", code)
	}
	if got, err := w.admin.chunks.Get(t.Context(), ns, ref); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("get: %d bytes, %v; want ErrCorrupt", len(got), err)
	}
	put(t, w.admin, ns, ref, b)
	get(t, w.admin, ns, ref, b)
}

func TestRegister(t *testing.T) {
	w := newWorld(t, nil)
	ns, other := w.admin.me.Root, w.admin.namespace(t, "other")
	bob := w.person(t, "bob")
	w.admin.share(t, other, bob, dbfs.RoleWrite)
	ref, b := chunktest.Noise(100, 1)
	frame := remote.AppendFrame(nil, ref, b)
	up := w.admin.grant(t, w, ns, ref, frame)
	late := w.admin.grant(t, w, ns, ref, frame)

	want := func(what string, p *person, ns dbfs.NamespaceID, ticket, code string) {
		t.Helper()
		if r, got := p.register(t, w, ns, ticket); got != code || (r == "") != (code != "") {
			t.Errorf("%s: receipt %q, code %q; want code %q", what, r, got, code)
		}
	}
	want("before the upload", w.admin, ns, up.Ticket, "not_exist")
	w.send(t, up, frame)
	want("in another namespace", w.admin, other, up.Ticket, "invalid")
	want("by another account", bob, other, up.Ticket, "invalid")
	want("changed", w.admin, ns, "B"+up.Ticket[1:], "version")
	want("cut", w.admin, ns, up.Ticket[:50], "invalid")
	want("as it should be", w.admin, ns, up.Ticket, "")
	want("again", w.admin, ns, up.Ticket, "")
	w.send(t, late, frame)
	w.clock.move(24*time.Hour - time.Second)
	want("late", w.admin, ns, late.Ticket, "")
	w.clock.move(time.Second)
	want("too late", w.admin, ns, late.Ticket, "invalid")
}

// TestRestart: what was handed out before a restart is still good after it.
func TestRestart(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(100, 1)
	frame := remote.AppendFrame(nil, ref, b)
	up := w.admin.grant(t, w, ns, ref, frame)
	w.send(t, up, frame)
	var err error
	if w.srv, err = server.New(w.store, w.objects, server.Options{Now: w.clock.now}); err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(w.srv.Handler())
	defer hs.Close()
	w.url = hs.URL
	if r, code := w.admin.register(t, w, ns, up.Ticket); r == "" {
		t.Errorf("register: %s", code)
	}
}

func TestBlockRequestsHaveLimits(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	refs := make([]dbfs.ChunkRef, remote.MaxCheck+1)
	objects := make([]remote.NewObject, remote.MaxBlobs+1)
	for i := range refs {
		refs[i] = dbfs.ChunkRef{ID: dbfs.ChunkID{1, byte(i >> 8), byte(i)}, Len: 1}
	}
	for i := range objects {
		objects[i] = remote.NewObject{Chunk: refs[i], Size: 53}
	}
	huge := []remote.NewObject{{Chunk: refs[0], Size: remote.MaxFrame}}
	zero := []dbfs.ChunkRef{{Len: 1}}
	for what, test := range map[string]struct {
		path string
		in   any
	}{
		"long check":          {"check", remote.CheckRequest{NS: ns, Chunks: refs}},
		"check of zeros":      {"check", remote.CheckRequest{NS: ns, Chunks: zero}},
		"long locate":         {"locate", remote.LocateRequest{NS: ns, Chunks: refs}},
		"long grant":          {"grant", remote.GrantRequest{NS: ns, Objects: objects}},
		"frame beyond reason": {"grant", remote.GrantRequest{NS: ns, Objects: huge}},
		"long register":       {"register", remote.RegisterRequest{NS: ns, Tickets: make([]string, remote.MaxBlobs+1)}},
		"not a request":       {"check", "check"},
	} {
		if status := w.admin.api(t, w, "/v1/blobs/"+test.path, test.in, nil); status != 400 {
			t.Errorf("%s: status %d, want 400", what, status)
		}
	}
	full := remote.CheckRequest{NS: ns, Chunks: refs[:remote.MaxCheck]}
	if status := w.admin.api(t, w, "/v1/blobs/check", full, new(remote.CheckReply)); status != 200 {
		t.Errorf("a check of %d: status %d, want 200", remote.MaxCheck, status)
	}
}

// TestSweep: uploads that nothing came of go after two days; nothing else does.
func TestSweep(t *testing.T) {
	w := newWorld(t, nil)
	ns, other := w.admin.me.Root, w.admin.namespace(t, "other")
	kept, b := chunktest.Noise(100, 1)
	put(t, w.admin, ns, kept, b)
	if !has(t, w.admin, other, kept) {
		t.Fatal("not found in the neighbour")
	}
	dropped, d := chunktest.Noise(100, 2)
	frame := remote.AppendFrame(nil, dropped, d)
	w.send(t, w.admin.grant(t, w, ns, dropped, frame), frame)
	w.admin.grant(t, w, ns, dropped, frame) // and never sent
	put(t, w.admin, ns, kept, b)            // a second object for it, of which nothing comes
	setRow(t, w, ns, kept, func(r *server.ChunkRow) { r.State = "condemned" })
	put(t, w.admin, ns, kept, b) // the third takes the place of the first in one namespace

	sweep := func(want int) {
		t.Helper()
		if n, err := w.srv.SweepUploads(t.Context()); n != want || err != nil {
			t.Errorf("swept %d objects, %v; want %d", n, err, want)
		}
		get(t, w.admin, ns, kept, b)
		get(t, w.admin, other, kept, b)
	}
	sweep(0)
	w.clock.move(47 * time.Hour)
	sweep(0)
	w.clock.move(2 * time.Hour)
	sweep(3)
	sweep(0)
}

func TestNoObjectStore(t *testing.T) {
	srv, err := server.New(newStore(t), nil, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{clock: &clock{at: time.Now()}, srv: srv}
	token, _, err := srv.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := w.login(t, token)
	ref, b := chunktest.Noise(100, 1)
	if _, err := p.session.Put(t.Context(), p.me.Root, ref, b); !errors.Is(err, dbfs.ErrUnsupported) {
		t.Errorf("put: %v, want ErrUnsupported", err)
	}
	if _, err := srv.SweepUploads(t.Context()); err != nil {
		t.Errorf("sweep: %v", err)
	}
}

// Connections that are not good.

// tamper is a transport on which the first requests of a kind to object addresses go wrong.
type tamper struct {
	mu     sync.Mutex
	method string
	times  int
	change func(*http.Response)
	err    error
	seen   map[string]int // requests, by method and kind
}

func (tp *tamper) RoundTrip(req *http.Request) (*http.Response, error) {
	tp.mu.Lock()
	kind := "call"
	object := strings.HasPrefix(req.URL.Path, "/v1/objects/")
	if object {
		kind = "object"
	}
	if tp.seen == nil {
		tp.seen = make(map[string]int)
	}
	tp.seen[req.Method+" "+kind]++
	hit := object && req.Method == tp.method && tp.times > 0
	if hit {
		tp.times--
	}
	tp.mu.Unlock()
	if hit && tp.err != nil {
		return nil, tp.err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if hit && err == nil {
		tp.change(resp)
	}
	return resp, err
}

// through returns the person's chunk store over another transport.
func (p *person) through(t *testing.T, w *world, rt http.RoundTripper) *remote.Chunks {
	t.Helper()
	login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: p.loginToken(t, w), Name: "tampered"})
	if err != nil {
		t.Fatal(err)
	}
	return remote.NewChunks(remote.NewClient(w.url, login.Token, rt), rt)
}

func answerWith(status int) func(*http.Response) {
	return func(r *http.Response) {
		r.Body.Close()
		r.StatusCode, r.Status = status, fmt.Sprint(status)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("tampered")), -1
	}
}

func flip(r *http.Response) {
	b, _ := io.ReadAll(r.Body)
	b[len(b)/2] ^= 4
	r.Body = io.NopCloser(bytes.NewReader(b))
}

func TestBadConnection(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(5000, 1)
	put(t, w.admin, ns, ref, b)
	for _, test := range []struct {
		name   string
		tamper *tamper
		put    error
		get    error
	}{
		{"upload address expired", &tamper{method: "PUT", times: 1, change: answerWith(403)}, nil, nil},
		{"upload addresses keep expiring", &tamper{method: "PUT", times: 99, change: answerWith(403)}, dbfs.ErrOffline, nil},
		{"object store busy for uploads", &tamper{method: "PUT", times: 1, change: answerWith(503)}, dbfs.ErrOffline, nil},
		{"answer to the upload is lost", &tamper{method: "PUT", times: 1, err: io.ErrUnexpectedEOF}, dbfs.ErrOffline, nil},
		{"upload was there before", &tamper{method: "PUT", times: 1, change: answerWith(412)}, nil, nil},
		{"download address expired", &tamper{method: "GET", times: 1, change: answerWith(403)}, nil, nil},
		{"download addresses keep expiring", &tamper{method: "GET", times: 99, change: answerWith(403)}, nil, dbfs.ErrOffline},
		{"object gone, and back", &tamper{method: "GET", times: 1, change: answerWith(404)}, nil, nil},
		{"object gone", &tamper{method: "GET", times: 99, change: answerWith(404)}, nil, dbfs.ErrCorrupt},
		{"object store busy", &tamper{method: "GET", times: 1, change: answerWith(503)}, nil, dbfs.ErrOffline},
		{"no connection", &tamper{method: "GET", times: 1, err: errors.New("no route")}, nil, dbfs.ErrOffline},
		{"damaged on its way", &tamper{method: "GET", times: 1, change: flip}, nil, nil},
		{"always damaged", &tamper{method: "GET", times: 99, change: flip}, nil, dbfs.ErrCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := w.admin.through(t, w, test.tamper)
			if r, err := c.Put(t.Context(), ns, ref, b); !errors.Is(err, test.put) || (r == "") != (err != nil) {
				t.Errorf("put: receipt %q, %v; want %v", r, err, test.put)
			}
			got, err := c.Get(t.Context(), ns, ref)
			if !errors.Is(err, test.get) || err == nil && !bytes.Equal(got, b) {
				t.Errorf("get: %d bytes, %v; want %v", len(got), err, test.get)
			}
		})
	}
}

// TestObjectStoreOutage: the server answers, its object store does not.
func TestObjectStoreOutage(t *testing.T) {
	gone, err := s3.New(t.Context(), s3.Options{Bucket: "b", Endpoint: "http://127.0.0.1:1", PathStyle: true, AccessKey: "k", SecretKey: "s"})
	if err != nil {
		t.Fatal(err)
	}
	p := newWorld(t, gone).admin
	ref, b := chunktest.Noise(100, 1)
	_, err = p.chunks.Put(t.Context(), p.me.Root, ref, b)
	if !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "127.0.0.1:1") || strings.Contains(err.Error(), "Signature") {
		t.Errorf("put: %v; want ErrOffline that says where, without the signature", err)
	}
}

// deaf is an object store that takes uploads and then does not answer the server.
type deaf struct{ *dir.Store }

func (deaf) Stat(context.Context, string) (int64, []byte, error) {
	return 0, nil, fmt.Errorf("%w: the bucket is on fire", dbfs.ErrOffline)
}

// TestObjectStoreDeafToServer: the client learns why, and can go on with everything else at once.
func TestObjectStoreDeafToServer(t *testing.T) {
	d, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := newWorld(t, deaf{d}).admin
	ref, b := chunktest.Noise(100, 1)
	if _, err := p.chunks.Put(t.Context(), p.me.Root, ref, b); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "on fire") {
		t.Errorf("put: %v, want ErrOffline that says why", err)
	}
	if _, err := p.client.Namespaces(t.Context()); err != nil {
		t.Errorf("metadata right afterwards: %v", err)
	}
}

// TestManyPutsShareCalls: 64 chunks at once need 64 uploads and few questions.
func TestManyPutsShareCalls(t *testing.T) {
	w := newWorld(t, nil)
	var tp tamper
	c := w.admin.through(t, w, &tp)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ref, b := chunktest.Noise(20<<10, uint64(i))
			if _, err := c.Put(t.Context(), w.admin.me.Root, ref, b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := tp.seen["PUT object"]; got != 64 {
		t.Errorf("%d uploads, want 64", got)
	}
	if got := tp.seen["POST call"]; got > 64 {
		t.Errorf("%d calls for grants and receipts of 64 chunks; want at most half of what they would be alone", got)
	}
	t.Logf("%d calls for 64 chunks", tp.seen["POST call"])
}
