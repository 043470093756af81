package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/chunktest"
)

// realStore returns a store on the S3 server that the environment names, in a bucket made
// for this test and removed with all that is in it.
func realStore(t *testing.T) *Store {
	t.Helper()
	endpoint := os.Getenv("DBFS_TEST_S3")
	if endpoint == "" {
		t.Skip("DBFS_TEST_S3 names no S3 server; scripts/test starts one")
	}
	s := newStore(t, Options{Bucket: "dbfs-" + strings.ToLower(rand.Text()), Prefix: "some/where", Endpoint: endpoint, PathStyle: true})
	if _, err := s.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &s.opts.Bucket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeBucket(t, s) })
	return s
}

func newStore(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func removeBucket(t *testing.T, s *Store) {
	ctx := context.Background()
	list, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.opts.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.opts.Bucket, Key: o.Key}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &s.opts.Bucket}); err != nil {
		t.Error(err)
	}
}

func TestObjects(t *testing.T) { chunktest.Objects(t, realStore(t)) }

func TestCheck(t *testing.T) {
	good := realStore(t)
	if err := good.Check(t.Context()); err != nil {
		t.Errorf("good bucket: %v", err)
	}
	list, err := good.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &good.opts.Bucket})
	if err != nil || len(list.Contents) != 0 {
		t.Errorf("the check left %d objects, %v", len(list.Contents), err)
	}
	missing, wrong := good.opts, good.opts
	missing.Bucket += "-not"
	wrong.AccessKey, wrong.SecretKey = os.Getenv("AWS_ACCESS_KEY_ID"), "wrong"
	stranger := good.opts
	stranger.AccessKey, stranger.SecretKey = "nobody", "nothing"
	for _, test := range []struct {
		name string
		opts Options
		kind error
		says string
	}{
		{"missing bucket", missing, dbfs.ErrNotExist, "create it first"},
		{"wrong secret", wrong, dbfs.ErrForbidden, "wrong credentials"},
		{"unknown key", stranger, dbfs.ErrForbidden, "ccess key"},
	} {
		err := newStore(t, test.opts).Check(t.Context())
		if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q in one line", test.name, err, test.says)
		}
	}
}

// fakeS3 answers every request with a status, for what a good S3 server never does.
func fakeS3(t *testing.T, answer http.HandlerFunc) *Store {
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	return newStore(t, Options{Bucket: "b", Endpoint: srv.URL, PathStyle: true, AccessKey: "k", SecretKey: "s"})
}

func TestServerWithoutConditionalWrites(t *testing.T) {
	s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
		}
	})
	if err := s.Check(t.Context()); err != nil {
		t.Fatalf("check: %v", err)
	}
	if _, header, err := s.SignPut(t.Context(), "a", 1, [32]byte{}, time.Minute); err != nil || header.Get("If-None-Match") != "" {
		t.Errorf("signed headers %v, %v; want none that the server does not know", header, err)
	}
}

func TestOutageIsOffline(t *testing.T) {
	s := fakeS3(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, _, err := s.Stat(t.Context(), "a"); !errors.Is(err, dbfs.ErrOffline) {
		t.Errorf("refused credentials: %v, want ErrOffline", err)
	}
	gone := newStore(t, Options{Bucket: "b", Endpoint: "http://127.0.0.1:1", PathStyle: true, AccessKey: "k", SecretKey: "s"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := gone.Check(ctx); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v, want ErrOffline that says where", err)
	}
}

func TestSignedPutFixesTheBytes(t *testing.T) {
	s := newStore(t, Options{Bucket: "b", Endpoint: "http://127.0.0.1:1", PathStyle: true, AccessKey: "k", SecretKey: "s"})
	url, header, err := s.SignPut(t.Context(), "c/00/a", 7, [32]byte{1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"content-length", "if-none-match", "x-amz-checksum-sha256"} {
		if !strings.Contains(url, want) {
			t.Errorf("%s is not signed in %s", want, url)
		}
	}
	if header.Get("If-None-Match") != "*" || header.Get("X-Amz-Checksum-Sha256") == "" {
		t.Errorf("headers to send: %v", header)
	}
	if strings.Contains(strings.ToLower(url), "crc32") {
		t.Errorf("a second checksum is in %s", url)
	}
}

func TestParseURL(t *testing.T) {
	tests := []struct {
		url  string
		want Options
	}{
		{"s3://bucket", Options{Bucket: "bucket"}},
		{"s3://bucket/a/b/", Options{Bucket: "bucket", Prefix: "a/b"}},
		{"s3://b?endpoint=http://127.0.0.1:7070&path_style=true&region=eu-1", Options{Bucket: "b", Endpoint: "http://127.0.0.1:7070", PathStyle: true, Region: "eu-1"}},
	}
	for _, test := range tests {
		if got, err := ParseURL(test.url); got != test.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", test.url, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "file:///x", "s3://", "s3:///x", "s3://b?path_style=maybe", "s3://b?endpont=x", "s3://key:secret@b", "s3://b?%zz=%zz", "%"} {
		if got, err := ParseURL(bad); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%q: %+v, %v; want ErrInvalid", bad, got, err)
		}
	}
}
