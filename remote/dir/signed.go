package dir

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
)

// Prefix is where the server that uses a Store must show it, as an http.Handler.
const Prefix = "/v1/objects/"

// A permit is what an address allows; the address is
//
//	/v1/objects/NAME?exp=SECONDS&sig=HEX                   to GET
//	/v1/objects/NAME?exp=SECONDS&n=BYTES&sha=HEX&sig=HEX   to PUT exactly those bytes
//
// with an HMAC-SHA256 over method, name and the parameters before it.
type permit struct {
	method, name string
	exp          int64  // seconds since 1970
	size         int64  // to PUT
	sum          string // to PUT: SHA-256 in hexadecimal
}

// SignPut returns an address for a PUT of exactly the bytes of that size and SHA-256.
func (s *Store) SignPut(ctx context.Context, name string, size int64, sum [32]byte, expires time.Duration) (string, http.Header, error) {
	p := permit{http.MethodPut, name, s.now().Add(expires).Unix(), size, hex.EncodeToString(sum[:])}
	return s.address(p), nil, checkName(name)
}

// SignGet returns an address for a GET of the object.
func (s *Store) SignGet(ctx context.Context, name string, expires time.Duration) (string, http.Header, error) {
	p := permit{method: http.MethodGet, name: name, exp: s.now().Add(expires).Unix()}
	return s.address(p), nil, checkName(name)
}

func (s *Store) address(p permit) string {
	q := p.query()
	q.Set("sig", hex.EncodeToString(s.signature(p)))
	return Prefix + p.name + "?" + q.Encode()
}

func (p permit) query() url.Values {
	q := url.Values{"exp": {strconv.FormatInt(p.exp, 10)}}
	if p.method == http.MethodPut {
		q.Set("n", strconv.FormatInt(p.size, 10))
		q.Set("sha", p.sum)
	}
	return q
}

func (s *Store) signature(p permit) []byte {
	h := hmac.New(sha256.New, s.key[:])
	fmt.Fprintf(h, "%s\n%s\n%s", p.method, p.name, p.query().Encode())
	return h.Sum(nil)
}

// permitOf returns what the address of a request allows, having checked that this store
// gave it and that it has not expired; if not, ErrForbidden.
func (s *Store) permitOf(r *http.Request) (permit, error) {
	name, ok := strings.CutPrefix(r.URL.Path, Prefix)
	q := r.URL.Query()
	p := permit{method: r.Method, name: name, sum: q.Get("sha")}
	if p.method == http.MethodHead {
		p.method = http.MethodGet
	}
	var err, err2 error
	p.exp, err = strconv.ParseInt(q.Get("exp"), 10, 64)
	if p.method == http.MethodPut {
		p.size, err2 = strconv.ParseInt(q.Get("n"), 10, 64)
	}
	sig, err3 := hex.DecodeString(q.Get("sig"))
	if !ok || errors.Join(err, err2, err3) != nil || !hmac.Equal(sig, s.signature(p)) {
		return permit{}, fmt.Errorf("%w: address was not given by this server, or before its restart", dbfs.ErrForbidden)
	}
	if s.now().Unix() > p.exp {
		return permit{}, fmt.Errorf("%w: address has expired", dbfs.ErrForbidden)
	}
	return p, nil
}

// transferTime is how long an object may take to come or go: time for the largest one at 7 KB/s.
const transferTime = 10 * time.Minute

// ServeHTTP answers requests to signed addresses, as an S3 would.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, err := s.permitOf(r)
	conn, limit := http.NewResponseController(w), time.Now().Add(transferTime)
	switch {
	case err != nil:
	case p.method == http.MethodPut:
		conn.SetReadDeadline(limit) // not every transport has deadlines
		err = s.receive(p, r)
	default:
		conn.SetWriteDeadline(limit)
		err = s.send(w, r, p.name)
	}
	if err != nil {
		http.Error(w, err.Error(), status(err))
	}
}

// receive makes an object of a request's body if that is what was announced.
func (s *Store) receive(p permit, r *http.Request) error {
	if r.ContentLength >= 0 && r.ContentLength != p.size {
		return fmt.Errorf("%w: a body of %d bytes, announced were %d", dbfs.ErrInvalid, r.ContentLength, p.size)
	}
	return s.write(p.name, func(w io.Writer) error {
		h := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r.Body, p.size+1))
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); n != p.size || got != p.sum {
			return fmt.Errorf("%w: a body of %d bytes with SHA-256 %s, announced were %d and %s", dbfs.ErrInvalid, n, got, p.size, p.sum)
		}
		return nil
	})
}

func (s *Store) send(w http.ResponseWriter, r *http.Request, name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return failed("open", name, err)
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

// status is the answer for an error; what it is not listed for is not the caller's fault.
func status(err error) int {
	switch {
	case errors.Is(err, dbfs.ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, dbfs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, dbfs.ErrExist):
		return http.StatusPreconditionFailed
	case errors.Is(err, dbfs.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, dbfs.ErrNoSpace):
		return http.StatusInsufficientStorage
	}
	return http.StatusServiceUnavailable
}
