package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, h http.HandlerFunc, body io.Reader) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://server/a/b?x=1", body)
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: InProcess(h)}).Do(req)
}

func TestInProcessCarriesARequest(t *testing.T) {
	resp, err := get(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Host != "server" || r.RequestURI != "/a/b?x=1" || r.ContentLength != 5 {
			t.Errorf("handler saw %q %q, %d bytes, %v", r.Host, r.RequestURI, r.ContentLength, err)
		}
		w.Header().Set("X-A", "b")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "never seen")
		w.Write(append(b, b...))
	}, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "hellohello" || resp.StatusCode != http.StatusTeapot || resp.ContentLength != 10 {
		t.Errorf("got %q, %d, length %d, %v", b, resp.StatusCode, resp.ContentLength, err)
	}
	if resp.Header.Get("X-A") != "b" || resp.Header.Get("X-Late") != "" {
		t.Errorf("header %v", resp.Header)
	}
}

func TestInProcessSilentHandlerAnswersOK(t *testing.T) {
	resp, err := get(t, func(http.ResponseWriter, *http.Request) {}, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

// The first bytes of the answer arrive while the last of the request have not been sent.
func TestInProcessStreams(t *testing.T) {
	upload, send := io.Pipe()
	resp, err := get(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.Copy(w, r.Body)
	}, upload)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, word := range []string{"one", "two"} {
		go send.Write([]byte(word))
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
			t.Fatalf("got %q, %v, want %q", got, err, word)
		}
	}
	send.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// Whatever ends the exchange at the client ends the handler: before the answer, in it, or
// while it waits for a request's body.
func TestInProcessEndsTheHandler(t *testing.T) {
	tests := map[string]struct {
		handler http.HandlerFunc
		body    io.Reader
		answers bool
	}{
		"parked":     {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, false},
		"reading":    {func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }, silence(), false},
		"writing":    {func(w http.ResponseWriter, r *http.Request) { io.Copy(w, endless{}) }, nil, true},
		"half-way":   {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("x")); <-r.Context().Done() }, nil, true},
		"both sides": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); io.Copy(w, r.Body) }, silence(), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://server/", test.body)
			if err != nil {
				t.Fatal(err)
			}
			if !test.answers {
				time.AfterFunc(10*time.Millisecond, cancel)
			}
			resp, err := InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(over)
				test.handler(w, r)
			})).RoundTrip(req)
			if test.answers {
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("round trip: %v, want Canceled", err)
			}
			cancel()
			select {
			case <-over:
			case <-time.After(5 * time.Second):
				t.Fatal("the handler goes on")
			}
		})
	}
}

// silence is a body that never comes.
func silence() io.Reader {
	r, _ := io.Pipe()
	return r
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestInProcessPanicIsAnError(t *testing.T) {
	if resp, err := get(t, func(http.ResponseWriter, *http.Request) { panic("oops") }, nil); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("got %v, %v", resp, err)
	}
	resp, err := get(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("half")); panic("oops") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || !bytes.Equal(b, []byte("half")) {
		t.Errorf("got %q, %v, want half and an error", b, err)
	}
}
