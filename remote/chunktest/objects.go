package chunktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// ObjectStore is what the server wants of an object store; the promises stand with its
// interface Objects.
type ObjectStore interface {
	SignPut(ctx context.Context, name string, size int64, sum [32]byte, expires time.Duration) (url string, header http.Header, err error)
	SignGet(ctx context.Context, name string, expires time.Duration) (url string, header http.Header, err error)
	Stat(ctx context.Context, name string) (size int64, sum []byte, err error)
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	Put(ctx context.Context, name string, b []byte) error
	Delete(ctx context.Context, name string) error
}

// Objects runs everything that an object store must do against one.
func Objects(t *testing.T, store ObjectStore) {
	o := objects{ObjectStore: store, client: http.DefaultClient}
	if h, ok := store.(http.Handler); ok {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		o.base, o.client = srv.URL, srv.Client()
	}
	t.Run("put and get", o.putAndGet)
	t.Run("signed put", o.signedPut)
	t.Run("signed put of others bytes", o.signedPutOfOtherBytes)
	t.Run("never replaces", o.neverReplaces)
	t.Run("missing", o.missing)
	t.Run("changed address", o.changedAddress)
	t.Run("expired address", o.expiredAddress)
	t.Run("one signed put wins", o.oneSignedPutWins)
}

type objects struct {
	ObjectStore
	client *http.Client
	base   string // what addresses that begin with a slash are at
}

// object returns a fresh name and some bytes.
func object(n int) (string, []byte) {
	b := make([]byte, n)
	rand.Read(b)
	return "c/7f/" + strings.ToLower(rand.Text()), b
}

func (o *objects) do(t *testing.T, method, url string, header http.Header, body []byte) (int, []byte) {
	t.Helper()
	if strings.HasPrefix(url, "/") {
		url = o.base + url
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := o.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

func (o *objects) signPut(t *testing.T, name string, b []byte) (string, http.Header) {
	t.Helper()
	url, header, err := o.SignPut(t.Context(), name, int64(len(b)), sha256.Sum256(b), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return url, header
}

func (o *objects) signGet(t *testing.T, name string, expires time.Duration) (string, http.Header) {
	t.Helper()
	url, header, err := o.SignGet(t.Context(), name, expires)
	if err != nil {
		t.Fatal(err)
	}
	return url, header
}

// has fails the test unless the object is there and is b, by every way of asking.
func (o *objects) has(t *testing.T, name string, b []byte) {
	t.Helper()
	sum := sha256.Sum256(b)
	if n, got, err := o.Stat(t.Context(), name); err != nil || n != int64(len(b)) || got != nil && !bytes.Equal(got, sum[:]) {
		t.Errorf("stat: %d bytes with hash %x, %v; want %d with %x", n, got, err, len(b), sum)
	}
	url, header := o.signGet(t, name, time.Minute)
	if code, got := o.do(t, "GET", url, header, nil); code != 200 || !bytes.Equal(got, b) {
		t.Errorf("signed get: status %d, %d bytes; want 200 and the %d written", code, len(got), len(b))
	}
	r, err := o.Get(t.Context(), name, 1, int64(len(b)-2))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b[1:len(b)-1]) {
		t.Errorf("ranged get: %d bytes, %v; want %d", len(got), err, len(b)-2)
	}
}

func (o *objects) lacks(t *testing.T, name string) {
	t.Helper()
	if n, _, err := o.Stat(t.Context(), name); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("stat: %d bytes, %v; want ErrNotExist", n, err)
	}
}

func (o *objects) putAndGet(t *testing.T) {
	for _, n := range []int{3, 20 << 10, dbfs.ChunkSize + 52} {
		name, b := object(n)
		if err := o.Put(t.Context(), name, b); err != nil {
			t.Fatalf("put %d bytes: %v", n, err)
		}
		o.has(t, name, b)
	}
}

func (o *objects) signedPut(t *testing.T) {
	for _, n := range []int{3, 20 << 10, dbfs.ChunkSize + 52} {
		name, b := object(n)
		url, header := o.signPut(t, name, b)
		if code, msg := o.do(t, "PUT", url, header, b); code != 200 {
			t.Fatalf("signed put of %d bytes: status %d: %s", n, code, msg)
		}
		o.has(t, name, b)
	}
}

func (o *objects) signedPutOfOtherBytes(t *testing.T) {
	name, b := object(1000)
	url, header := o.signPut(t, name, b)
	flipped := bytes.Clone(b)
	flipped[500] ^= 1
	for what, body := range map[string][]byte{"shorter": b[:999], "longer": append(bytes.Clone(b), 1), "empty": {}, "changed": flipped} {
		if code, _ := o.do(t, "PUT", url, header, body); code < 400 || code > 499 {
			t.Errorf("%s bytes: status %d, want 4xx", what, code)
		}
		o.lacks(t, name)
	}
	if code, msg := o.do(t, "PUT", url, header, b); code != 200 {
		t.Errorf("the right bytes afterwards: status %d: %s", code, msg)
	}
}

func (o *objects) neverReplaces(t *testing.T) {
	name, b := object(1000)
	_, other := object(1000)
	url, header := o.signPut(t, name, b)
	if err := o.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
	if err := o.Put(t.Context(), name, other); !errors.Is(err, dbfs.ErrExist) {
		t.Errorf("second put: %v, want ErrExist", err)
	}
	if code, _ := o.do(t, "PUT", url, header, b); code != http.StatusPreconditionFailed {
		t.Errorf("signed put: status %d, want 412", code)
	}
	o.has(t, name, b)
}

func (o *objects) missing(t *testing.T) {
	name, _ := object(1)
	o.lacks(t, name)
	if _, err := o.Get(t.Context(), name, 0, 1); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("get: %v, want ErrNotExist", err)
	}
	url, header := o.signGet(t, name, time.Minute)
	if code, _ := o.do(t, "GET", url, header, nil); code != 404 {
		t.Errorf("signed get: status %d, want 404", code)
	}
	if err := o.Delete(t.Context(), name); err != nil {
		t.Errorf("delete: %v, want nothing", err)
	}
	name, b := object(10)
	if err := o.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
	if err := o.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	o.lacks(t, name)
}

func (o *objects) changedAddress(t *testing.T) {
	name, b := object(100)
	if err := o.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
	other, _ := object(100)
	get, header := o.signGet(t, name, time.Minute)
	if code, _ := o.do(t, "PUT", strings.Replace(get, name, other, 1), header, b); code != 403 {
		t.Errorf("put with an address to get: status %d, want 403", code)
	}
	if code, _ := o.do(t, "GET", strings.Replace(get, name, other, 1), header, nil); code != 403 {
		t.Errorf("get of another name: status %d, want 403", code)
	}
	put, header := o.signPut(t, other, b)
	if code, _ := o.do(t, "GET", strings.Replace(put, other, name, 1), header, nil); code != 403 {
		t.Errorf("get with an address to put: status %d, want 403", code)
	}
	o.lacks(t, other)
}

func (o *objects) expiredAddress(t *testing.T) {
	name, b := object(100)
	if err := o.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
	url, header := o.signGet(t, name, time.Second)
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		if code, _ := o.do(t, "GET", url, header, nil); code == 403 {
			return
		}
	}
	t.Error("an address good for a second still works after ten")
}

// oneSignedPutWins sends the same bytes many times at once, as a client does that has not
// heard the answer: the object is there, and nobody is told anything but "done" or "exists".
func (o *objects) oneSignedPutWins(t *testing.T) {
	name, b := object(100 << 10)
	url, header := o.signPut(t, name, b)
	codes := make(chan int, 8)
	for range cap(codes) {
		go func() {
			code, _ := o.do(t, "PUT", url, header, b)
			codes <- code
		}()
	}
	done := 0
	for range cap(codes) {
		switch code := <-codes; code {
		case http.StatusOK:
			done++
		case http.StatusPreconditionFailed, http.StatusConflict:
		default:
			t.Errorf("status %d, want 200, 409 or 412", code)
		}
	}
	if done != 1 {
		t.Errorf("%d puts of one name were accepted, want 1", done)
	}
	o.has(t, name, b)
}
