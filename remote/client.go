package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
)

// callTimeout bounds every request but a poll, its answer read to the end.
const callTimeout = 60 * time.Second

// A Client speaks to a server for one device. It keeps no state but what the server asked
// for with Retry-After: until then calls fail at once. All methods may be called from
// several goroutines.
type Client struct {
	base  *url.URL // nil: baseURL was none
	raw   string
	token string
	http  *http.Client
	rest  rest
}

// NewClient returns a client of the server at a base URL. The token is a device's, from
// Login, or empty before that. rt carries the requests; nil stands for the network.
func NewClient(baseURL string, token string, rt http.RoundTripper) *Client {
	if rt == nil {
		rt = newTransport()
	}
	c := &Client{raw: baseURL, token: token, rest: rest{what: "the server"}, http: &http.Client{
		Transport: rt,
		// A redirect would carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if u, err := url.Parse(baseURL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		u.Path = strings.TrimSuffix(u.Path, "/")
		c.base = u
	}
	return c
}

func newTransport() *http.Transport {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   16,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
}

// call sends in as JSON and decodes the answer into out; either may be nil. Errors are of
// the root package's list. A caller whose ctx ends gets that ctx's error instead.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.callWithin(ctx, callTimeout, method, path, in, out)
}

func (c *Client) callWithin(ctx context.Context, limit time.Duration, method, path string, in, out any) error {
	err := c.exchange(ctx, limit, method, path, in, out)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, strings.SplitN(path, "?", 2)[0], err)
	}
	return nil
}

func (c *Client) exchange(ctx context.Context, limit time.Duration, method, path string, in, out any) error {
	if err := c.rest.over(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", dbfs.ErrOffline, err)
	}
	defer resp.Body.Close()
	return c.answer(resp, out)
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	if c.base == nil {
		return nil, fmt.Errorf("%w: %q is not the URL of a server", dbfs.ErrInvalid, c.raw)
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", dbfs.ErrInvalid, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", dbfs.ErrInvalid, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// answer reads a response: out where it is 2xx, an error otherwise.
func (c *Client) answer(resp *http.Response, out any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	if err != nil {
		return fmt.Errorf("%w: the answer broke off: %w", dbfs.ErrOffline, err)
	}
	if len(body) > maxReplyBytes {
		return fmt.Errorf("%w: an answer of more than %d bytes", dbfs.ErrCorrupt, maxReplyBytes)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refusal(resp, body)
	}
	if out == nil {
		return nil
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		// A portal that wants a click first, or a proxy's page: the server is not to be reached.
		return fmt.Errorf("%w: what answers at %s is not a dbfs server", dbfs.ErrOffline, c.raw)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: the server's answer: %v", dbfs.ErrCorrupt, err)
	}
	return nil
}

func (c *Client) refusal(resp *http.Response, body []byte) error {
	if resp.StatusCode < 400 {
		return fmt.Errorf("%w: %s answers with a redirect (%d) to %q", dbfs.ErrOffline, c.raw, resp.StatusCode, resp.Header.Get("Location"))
	}
	var reply ErrorReply
	if json.Unmarshal(body, &reply) != nil {
		reply = ErrorReply{}
	}
	err := decodeError(resp.StatusCode, reply, retryAfter(resp.Header))
	var busy *BusyError
	if errors.As(err, &busy) {
		c.rest.ask(busy.After)
	}
	return err
}

// maxRetryAfter bounds what a server, or something that poses as one, can ask for.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads the header, in seconds or as a date; zero when there is none.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	d := time.Duration(0)
	if secs, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(secs, 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), maxRetryAfter)
}
