package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/dbfs/dbfs"
)

// Client asks a daemon over its socket. It is a Daemon: near and far look the same.
type Client struct {
	socket   string
	http     *http.Client
	patience time.Duration // with a daemon that holds its socket and says nothing
}

var _ Daemon = (*Client)(nil)

const (
	dialTimeout  = 5 * time.Second
	replyTimeout = 30 * time.Second // for a whole reply, and for the silence within a stream
)

// NewClient returns a client of the daemon that listens at a socket. It connects when it is asked something.
func NewClient(socket string) *Client {
	c := &Client{socket: socket, patience: replyTimeout}
	c.http = &http.Client{Transport: c.Transport()}
	return c
}

// Transport returns what carries HTTP requests, for whatever host, over the socket. A
// server's API is behind it at /v1/server where the daemon is a Host.
func (c *Client) Transport() http.RoundTripper {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", c.socket)
		},
		DisableCompression: true,
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	return v, c.ask(ctx, http.MethodGet, "version", nil, &v)
}

func (c *Client) Status(ctx context.Context) (*Status, error) {
	return askFor[Status](ctx, c, http.MethodGet, "status", nil)
}

func (c *Client) FileStatus(ctx context.Context, path string) (*FileStatus, error) {
	return askFor[FileStatus](ctx, c, http.MethodPost, "filestatus", pathRequest{path})
}

func (c *Client) Search(ctx context.Context, req SearchRequest) (*SearchResult, error) {
	return askFor[SearchResult](ctx, c, http.MethodPost, "search", req)
}

func (c *Client) Conflicts(ctx context.Context) ([]Conflict, error) {
	var list conflictsList
	err := c.ask(ctx, http.MethodGet, "conflicts", nil, &list)
	return list.Conflicts, err
}

func (c *Client) Conflict(ctx context.Context, path string) (*ConflictDetail, error) {
	return askFor[ConflictDetail](ctx, c, http.MethodPost, "conflicts/show", pathRequest{path})
}

func (c *Client) ConflictBase(ctx context.Context, path string) ([]byte, error) {
	var reply bytesReply
	err := c.ask(ctx, http.MethodPost, "conflicts/base", pathRequest{path}, &reply)
	return reply.Bytes, err
}

func (c *Client) ResolveConflict(ctx context.Context, req ResolveRequest) error {
	return c.ask(ctx, http.MethodPost, "conflicts/resolve", req, &empty{})
}

func (c *Client) Holds(ctx context.Context) ([]Hold, error) {
	var list holdsList
	err := c.ask(ctx, http.MethodGet, "held", nil, &list)
	return list.Held, err
}

func (c *Client) HeldItems(ctx context.Context, id uint64, emit func(*HeldItem) error) error {
	_, err := follow[HeldItem, empty](ctx, c, "held/items", idRequest{id}, emit)
	return err
}

func (c *Client) DecideHold(ctx context.Context, d HoldDecision) error {
	return c.ask(ctx, http.MethodPost, "held/decide", d, &empty{})
}

func (c *Client) Throttle(ctx context.Context, req ThrottleRequest) (*Throttle, error) {
	return askFor[Throttle](ctx, c, http.MethodPost, "throttle", req)
}

func (c *Client) Pause(ctx context.Context, d time.Duration) error {
	return c.ask(ctx, http.MethodPost, "pause", PauseRequest{For: d}, &empty{})
}

func (c *Client) Resume(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "resume", empty{}, &empty{})
}

func (c *Client) List(ctx context.Context, req ListRequest, emit func(*FileStatus) error) error {
	_, err := follow[FileStatus, empty](ctx, c, "list", req, emit)
	return err
}

func (c *Client) Wait(ctx context.Context, req WaitRequest, progress func(Progress) error) (*WaitResult, error) {
	return follow[Progress, WaitResult](ctx, c, "wait", req, func(p *Progress) error { return progress(*p) })
}

func (c *Client) Grep(ctx context.Context, req GrepRequest, emit func(*GrepEvent) error) (*GrepSummary, error) {
	return follow[GrepEvent, GrepSummary](ctx, c, "grep", req, emit)
}

func (c *Client) Umount(ctx context.Context, req UmountRequest, progress func(Progress) error) error {
	_, err := follow[Progress, empty](ctx, c, "umount", req, func(p *Progress) error { return progress(*p) })
	return err
}

// ask sends a question that has one answer.
func (c *Client) ask(ctx context.Context, method, what string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, errSilent)
	defer cancel()
	resp, err := c.send(ctx, method, what, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return c.explain(ctx, err)
	}
	return unmarshal(b, out)
}

func askFor[Out any](ctx context.Context, c *Client, method, what string, in any) (*Out, error) {
	out := new(Out)
	if err := c.ask(ctx, method, what, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// follow sends a question whose answer is a stream and hands over its items.
func follow[Item, Out any](ctx context.Context, c *Client, what string, in any, emit func(*Item) error) (*Out, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.patience, func() { cancel(errSilent) })
	defer silence.Stop()
	resp, err := c.send(ctx, http.MethodPost, what, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()

	out := new(Out)
	var emitErr error // the caller's own: a closed pipe of theirs is not a dead daemon
	err = readStream(resp.Body,
		func() { silence.Reset(c.patience) },
		func(b json.RawMessage) error {
			item := new(Item)
			if err := unmarshal(b, item); err != nil {
				return err
			}
			silence.Stop() // a caller may take its time, as a pager does
			emitErr = emit(item)
			silence.Reset(c.patience)
			return emitErr
		}, out)
	switch {
	case emitErr != nil:
		return nil, emitErr
	case err != nil:
		return nil, c.explain(ctx, err)
	}
	return out, nil
}

// send returns a reply with a body still to be read, or the error that the daemon answered.
func (c *Client) send(ctx context.Context, method, what string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	url := fmt.Sprintf("http://dbfs/v%d/%s", APIVersion, what)
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

func refusal(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	var reply errorReply
	if err := json.Unmarshal(b, &reply); err != nil || reply.Error == nil {
		return fmt.Errorf("%w: the daemon answered %s", dbfs.ErrCorrupt, resp.Status)
	}
	return reply.Error
}

// errSilent is the cause of giving up on a daemon that holds its socket but does not speak.
var errSilent = errors.New("it does not answer")

// explain turns what the transport says into the errors of this package. Errors that
// the daemon itself answered, and the caller's own end of patience, pass unchanged.
func (c *Client) explain(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errSilent) {
		return WithHint(fmt.Errorf("%w: %w for %v", ErrNoDaemon, errSilent, c.patience), "see its log, or end it: dbfs umount --force")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNoDaemon
	case errors.Is(err, os.ErrPermission):
		return WithHint(fmt.Errorf("%w: the socket %s belongs to somebody else", dbfs.ErrForbidden, c.socket), "only the user who mounted it and root may ask")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: it ended in the middle of its answer", ErrNoDaemon)
	}
	return err
}
