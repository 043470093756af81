package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// What an object store answered, for those who can do something about it.
var (
	errExpired = errors.New("the signed address is no longer good")
	errGone    = errors.New("the object is not there")
)

// transfers move frames to and from signed addresses. There is no limit on how long one
// takes, only on how long it stands still.
type transfers struct {
	base *url.URL          // of the server, for addresses that begin with "/"; nil: such fail
	near http.RoundTripper // to the server
	far  http.RoundTripper // to object stores elsewhere
	idle time.Duration     // without a byte moving, until a transfer is given up
	pace Pace              // nil: as fast as they go
	rest rest              // that an object store has asked for
}

// A Pace lets transfers wait, so that they take no more than they may of a line. Each call is about
// paceBytes at most.
type Pace interface {
	Up(ctx context.Context, n int) error   // n bytes are about to be sent
	Down(ctx context.Context, n int) error // n bytes have come
}

const paceBytes = 16 << 10

// waitUp waits until n bytes may be sent that go at once.
func (t *transfers) waitUp(ctx context.Context, n int) error {
	for ; t.pace != nil && n > 0; n -= paceBytes {
		if err := t.pace.Up(ctx, min(n, paceBytes)); err != nil {
			return err
		}
	}
	return nil
}

// put sends a frame. An object that is already there is no error: the server looks at it
// before it believes anything. Errors: errExpired, dbfs.ErrOffline.
func (t *transfers) put(ctx context.Context, addr string, header http.Header, frame []byte) error {
	ctx, w := watch(ctx, t.idle)
	defer w.stop()
	up := &upload{frame: frame, moved: w.moved}
	if t.pace != nil {
		up.wait = func(n int) error { return t.pace.Up(ctx, n) }
	}
	defer up.end()
	req, rt, err := t.request(ctx, http.MethodPut, addr, header)
	if err != nil {
		return err
	}
	req.Body, _ = up.body()
	req.GetBody = up.body
	req.ContentLength = int64(len(frame))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return w.failed(ctx, req, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusPreconditionFailed:
		return nil
	}
	return t.refused(req, resp)
}

// get fills buf with a frame of exactly that length. Errors: errExpired, errGone,
// dbfs.ErrOffline, and dbfs.ErrCorrupt for one of another length.
func (t *transfers) get(ctx context.Context, addr string, header http.Header, buf []byte) error {
	ctx, w := watch(ctx, t.idle)
	defer w.stop()
	req, rt, err := t.request(ctx, http.MethodGet, addr, header)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return w.failed(ctx, req, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return t.refused(req, resp)
	}
	if resp.ContentLength >= 0 && resp.ContentLength != int64(len(buf)) {
		return fmt.Errorf("%w: an object of %d bytes, want %d", dbfs.ErrCorrupt, resp.ContentLength, len(buf))
	}
	body := reader(func(p []byte) (int, error) {
		if t.pace == nil {
			n, err := resp.Body.Read(p)
			w.moved()
			return n, err
		}
		n, err := resp.Body.Read(p[:min(len(p), paceBytes)])
		w.moved()
		if waited := t.pace.Down(ctx, n); waited != nil {
			return n, waited
		}
		w.moved()
		return n, err
	})
	if _, err := io.ReadFull(body, buf); err != nil {
		return w.failed(ctx, req, err)
	}
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%w: an object of more than %d bytes", dbfs.ErrCorrupt, len(buf))
	}
	return nil
}

// request makes a request for a signed address, which is as good as a key: it carries no
// token, follows no redirect, and stays out of error messages but for its host.
func (t *transfers) request(ctx context.Context, method, addr string, header http.Header) (*http.Request, http.RoundTripper, error) {
	if err := t.rest.over(); err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the server gave an address that is none", dbfs.ErrCorrupt)
	}
	rt := t.far
	switch {
	case strings.HasPrefix(addr, "/") && u.Host == "" && t.base != nil:
		rt = t.near
		u.Scheme, u.Host = t.base.Scheme, t.base.Host
		u.Path = t.base.Path + u.Path
		u.RawPath = ""
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, nil, fmt.Errorf("%w: the server gave an address that is not HTTP", dbfs.ErrCorrupt)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the server gave an address that is none", dbfs.ErrCorrupt)
	}
	for k, v := range header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	return req, rt, nil
}

// refused is the error for an answer that is not the wanted one. A store that says for how long it wants to be left
// alone is.
func (t *transfers) refused(req *http.Request, resp *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	text := fmt.Sprintf("object store %s answered %s: %s", req.URL.Host, resp.Status, bytes.TrimSpace(said))
	switch resp.StatusCode {
	case http.StatusForbidden:
		return fmt.Errorf("%w: %s", errExpired, text)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s", errGone, text)
	}
	t.rest.ask(retryAfter(resp.Header))
	return fmt.Errorf("%w: %s", dbfs.ErrOffline, text)
}

// A watchdog ends a transfer that stands still.
type watchdog struct {
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{idle: idle, cancel: cancel}
	w.timer = time.AfterFunc(idle, func() {
		cancel(fmt.Errorf("%w: the transfer stood still for %s", dbfs.ErrOffline, idle))
	})
	return ctx, w
}

func (w *watchdog) moved() { w.timer.Reset(w.idle) }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// failed is the error for a transfer that broke off.
func (w *watchdog) failed(ctx context.Context, req *http.Request, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // the caller's own, or that it stood still
	}
	return fmt.Errorf("%w: object store %s: %w", dbfs.ErrOffline, req.URL.Host, err)
}

// An upload lends a frame to an HTTP transport, which may go on reading after its answer
// and may start again from the beginning on another connection. After end nobody reads
// the frame any more, so its buffer can be used again.
type upload struct {
	moved func()
	wait  func(n int) error // before n bytes; nil: there is no need to

	mu    sync.Mutex // guards what follows, and reading from it
	frame []byte     // nil after end
}

func (u *upload) body() (io.ReadCloser, error) {
	off := 0
	return io.NopCloser(reader(func(p []byte) (int, error) {
		if n := min(len(p), u.left(off), paceBytes); u.wait != nil && n > 0 {
			p = p[:n]
			u.moved()
			if err := u.wait(n); err != nil {
				return 0, err
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.frame == nil {
			return 0, http.ErrBodyReadAfterClose
		}
		if off == len(u.frame) {
			return 0, io.EOF
		}
		u.moved()
		n := copy(p, u.frame[off:])
		off += n
		return n, nil
	})), nil
}

// left returns how many bytes there are after the first off.
func (u *upload) left(off int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return max(0, len(u.frame)-off)
}

func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frame = nil
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
