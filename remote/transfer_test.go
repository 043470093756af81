package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// objectStore is a transfers and the address of what answers it.
func objectStore(t *testing.T, answer http.HandlerFunc) (*transfers, string) {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	rt := newTransport()
	t.Cleanup(rt.CloseIdleConnections)
	return &transfers{near: rt, far: rt, idle: time.Second}, srv.URL
}

func TestTransferAnswers(t *testing.T) {
	tests := []struct {
		status   int
		put, get error
	}{
		{200, nil, nil},
		{412, nil, dbfs.ErrOffline},
		{403, errExpired, errExpired},
		{404, errGone, errGone},
		{400, dbfs.ErrOffline, dbfs.ErrOffline},
		{409, dbfs.ErrOffline, dbfs.ErrOffline},
		{429, dbfs.ErrOffline, dbfs.ErrOffline},
		{500, dbfs.ErrOffline, dbfs.ErrOffline},
		{503, dbfs.ErrOffline, dbfs.ErrOffline},
		{307, dbfs.ErrOffline, dbfs.ErrOffline},
	}
	for _, test := range tests {
		tr, addr := objectStore(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(test.status)
			io.WriteString(w, "slow down")
		})
		if err := tr.put(t.Context(), addr, nil, []byte("frame")); !errors.Is(err, test.put) {
			t.Errorf("put answered with %d: %v, want %v", test.status, err, test.put)
		}
		err := tr.get(t.Context(), addr, nil, make([]byte, len("slow down")))
		if !errors.Is(err, test.get) {
			t.Errorf("get answered with %d: %v, want %v", test.status, err, test.get)
		}
		if err != nil && !strings.Contains(err.Error(), "slow down") {
			t.Errorf("get answered with %d: %v; it does not say what the store said", test.status, err)
		}
	}
}

// A store that says for how long it wants to be left alone is, by everybody; then it is asked again.
func TestTransfersObeyRetryAfter(t *testing.T) {
	asked := 0
	tr, addr := objectStore(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		}
	})
	for i := range 3 {
		if err := tr.put(t.Context(), addr, nil, []byte("frame")); !errors.Is(err, dbfs.ErrOffline) {
			t.Errorf("put %d: %v", i, err)
		}
		var busy *BusyError
		if err := tr.get(t.Context(), addr, nil, nil); !errors.As(err, &busy) || busy.After <= 0 || busy.After > time.Second {
			t.Errorf("get %d: %v", i, err)
		}
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
	time.Sleep(1100 * time.Millisecond)
	if err := tr.put(t.Context(), addr, nil, []byte("frame")); err != nil || asked != 2 {
		t.Errorf("after the rest: %v, asked %d times", err, asked)
	}
}

func TestTransferLengths(t *testing.T) {
	for _, test := range []struct {
		name    string
		chunked bool
		size    int
		want    error
	}{
		{"right", false, 5, nil},
		{"right", true, 5, nil},
		{"short", false, 6, dbfs.ErrCorrupt},
		{"short", true, 6, dbfs.ErrOffline},
		{"long", false, 4, dbfs.ErrCorrupt},
		{"long", true, 4, dbfs.ErrCorrupt},
	} {
		tr, addr := objectStore(t, func(w http.ResponseWriter, r *http.Request) {
			if test.chunked {
				w.(http.Flusher).Flush()
			}
			io.WriteString(w, "frame")
		})
		if err := tr.get(t.Context(), addr, nil, make([]byte, test.size)); !errors.Is(err, test.want) {
			t.Errorf("%s, chunked %v: %v, want %v", test.name, test.chunked, err, test.want)
		}
	}
}

func TestTransferStandsStill(t *testing.T) {
	release := make(chan struct{})
	tr, addr := objectStore(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half ")
			w.(http.Flusher).Flush()
		}
		<-release
	})
	defer close(release)
	tr.idle = 50 * time.Millisecond
	for _, path := range []string{"/silent", "/half"} {
		if err := tr.get(t.Context(), addr+path, nil, make([]byte, 10)); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "stood still") {
			t.Errorf("get %s: %v, want ErrOffline that says it stood still", path, err)
		}
	}
	if err := tr.put(t.Context(), addr, nil, make([]byte, 4<<20)); !errors.Is(err, dbfs.ErrOffline) || !strings.Contains(err.Error(), "stood still") {
		t.Errorf("put: %v, want ErrOffline that says it stood still", err)
	}
}

// TestSlowTransferIsLetBe moves a byte now and then, for longer than a transfer may stand still.
func TestSlowTransferIsLetBe(t *testing.T) {
	tr, addr := objectStore(t, func(w http.ResponseWriter, r *http.Request) {
		for range 10 {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	tr.idle = 500 * time.Millisecond
	if err := tr.get(t.Context(), addr, nil, make([]byte, 10)); err != nil {
		t.Error(err)
	}
}

func TestTransferIsCancelled(t *testing.T) {
	release := make(chan struct{})
	tr, addr := objectStore(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tr.get(ctx, addr, nil, make([]byte, 10)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
}

func TestTransferOfNobody(t *testing.T) {
	tr, _ := objectStore(t, nil)
	err := tr.get(t.Context(), "http://127.0.0.1:1/bucket/object?X-Amz-Signature=secret", nil, make([]byte, 10))
	if !errors.Is(err, dbfs.ErrOffline) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v; want ErrOffline that names the host and not the signature", err)
	}
}

// TestAddresses: relative ones are the server's, below its base path; what is neither is refused.
func TestAddresses(t *testing.T) {
	near, far := new(http.Transport), new(http.Transport)
	base, _ := url.Parse("https://files.example/dbfs")
	tr := &transfers{base: base, near: near, far: far}
	for addr, want := range map[string]string{
		"/v1/objects/c/7f/a-b?sig=1%2F2": "https://files.example/dbfs/v1/objects/c/7f/a-b?sig=1%2F2",
		"https://s3.example/b/c%2Bd?x=1": "https://s3.example/b/c%2Bd?x=1",
	} {
		req, rt, err := tr.request(t.Context(), "GET", addr, http.Header{"x-amz-Thing": {"1"}})
		if err != nil || req.URL.String() != want || (rt == near) != strings.HasPrefix(addr, "/") {
			t.Errorf("%s: %v, %v; want %s", addr, req, err, want)
		}
		if err == nil && (req.Header.Get("X-Amz-Thing") != "1" || req.Header.Get("Authorization") != "") {
			t.Errorf("%s: headers %v", addr, req.Header)
		}
	}
	for _, addr := range []string{"", "file:///etc/passwd", "c/7f", "//evil.example/x", "http:///x", "%"} {
		if req, _, err := tr.request(t.Context(), "GET", addr, nil); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%q: %v, %v; want ErrCorrupt", addr, req, err)
		}
	}
}

// TestUploadLetsGo: after end, whoever still reads gets nothing of the buffer.
func TestUploadLetsGo(t *testing.T) {
	up := &upload{frame: bytes.Repeat([]byte("x"), 100), moved: func() {}}
	first, _ := up.body()
	if n, err := first.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	second, _ := up.body()
	if b, err := io.ReadAll(second); len(b) != 100 || err != nil {
		t.Errorf("from the beginning again: %d bytes, %v", len(b), err)
	}
	up.end()
	if n, err := first.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("after the end: read %d, %v", n, err)
	}
}
