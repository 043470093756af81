package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// InProcess returns a transport that hands requests to a handler in this process: no
// sockets, no copies of bodies, the same HTTP. Bodies stream both ways; a request whose
// context ends, or whose answer's body is closed, sees its own context end, as with a
// connection that breaks. A handler that panics breaks its own connection only.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	body, send := io.Pipe()
	w := &reply{header: make(http.Header), body: send, sent: make(chan struct{})}
	upload := &requestBody{client: req.Body}
	abort := func() {
		upload.Close()
		body.CloseWithError(context.Cause(ctx))
	}
	context.AfterFunc(ctx, abort)
	go t.serve(w, atServer(ctx, req, upload), cancel)
	select {
	case <-w.sent:
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // a handler that answers because it was told to stop has not answered
		abort()
		return nil, context.Cause(ctx)
	}
	return w.response(req, &replyBody{body, cancel}), nil
}

// serve runs the handler and ends the exchange.
func (t inProcess) serve(w *reply, req *http.Request, cancel context.CancelCauseFunc) {
	defer func() {
		if p := recover(); p != nil {
			err := fmt.Errorf("the handler of %s %s panicked: %v", req.Method, req.URL.Path, p)
			w.body.CloseWithError(err)
			cancel(err)
			return
		}
		w.WriteHeader(http.StatusOK)
		w.body.Close()
	}()
	t.handler.ServeHTTP(w, req)
}

// atServer makes of a client's request what a handler expects.
func atServer(ctx context.Context, req *http.Request, body io.ReadCloser) *http.Request {
	r := req.Clone(ctx)
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "in-process"
	r.Body = body
	if req.Body == nil {
		r.Body = http.NoBody
	}
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	return r
}

// A requestBody is the client's body as the handler reads it. It is closed when the
// exchange is over, and nothing reads the client's after that.
type requestBody struct {
	client io.ReadCloser // nil: none
	once   sync.Once

	mu     sync.Mutex // held while the client's is read
	closed bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	return b.client.Read(p)
}

// Close closes the client's body first: a Read that waits for it gives up then.
func (b *requestBody) Close() error {
	b.once.Do(func() {
		if b.client == nil {
			return
		}
		b.client.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.closed = true
	})
	return nil
}

// A reply is the http.ResponseWriter of one request.
type reply struct {
	header http.Header
	body   *io.PipeWriter

	once   sync.Once
	sent   chan struct{} // closed when what follows is final
	status int
	final  http.Header
}

func (w *reply) Header() http.Header { return w.header }

func (w *reply) WriteHeader(status int) {
	if status < 200 {
		return // informational
	}
	w.once.Do(func() {
		w.status, w.final = status, w.header.Clone()
		close(w.sent)
	})
}

func (w *reply) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Flush is http.Flusher's: what was written has been read already.
func (w *reply) Flush() { w.WriteHeader(http.StatusOK) }

func (w *reply) response(req *http.Request, body io.ReadCloser) *http.Response {
	length, err := strconv.ParseInt(w.final.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.final, Body: body, ContentLength: length, Request: req,
	}
}

// A replyBody ends the exchange when the client has had enough.
type replyBody struct {
	*io.PipeReader
	cancel context.CancelCauseFunc
}

func (b *replyBody) Close() error {
	b.cancel(context.Canceled)
	return b.PipeReader.Close()
}
