// Package s3 is an object store in a bucket of any S3: Amazon's, or a server that speaks
// its protocol. The dbfs server alone holds the credentials; clients get signed addresses
// that are good for one object and some minutes.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/dbfs/dbfs"
)

// Options say which bucket, and how to reach it. Only Bucket must be given.
type Options struct {
	Bucket    string
	Prefix    string // before the names of all objects, without a slash at its end
	Endpoint  string // URL of the S3 server; empty: Amazon's, in Region
	Region    string // empty: what the AWS environment says, or else us-east-1
	PathStyle bool   // the bucket in the path instead of the host name, as most servers but Amazon's want it

	// AccessKey and SecretKey are used instead of the credentials in the usual places:
	// AWS_ACCESS_KEY_ID, ~/.aws, the instance's role.
	AccessKey, SecretKey string
}

// ParseURL reads s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME][&path_style=true].
func ParseURL(text string) (Options, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Options{}, fmt.Errorf("%w: object store address: %v", dbfs.ErrInvalid, err)
	}
	if u.Scheme != "s3" || u.Host == "" || u.User != nil {
		return Options{}, fmt.Errorf("%w: object store address %q, want s3://BUCKET[/PREFIX][?endpoint=URL]", dbfs.ErrInvalid, u.Redacted())
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, fmt.Errorf("%w: object store address: %v", dbfs.ErrInvalid, err)
	}
	o := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for k, v := range query {
		switch k {
		case "endpoint":
			o.Endpoint = v[0]
		case "region":
			o.Region = v[0]
		case "path_style":
			o.PathStyle, err = strconv.ParseBool(v[0])
		default:
			err = fmt.Errorf("there are endpoint, region and path_style")
		}
		if err != nil {
			return Options{}, fmt.Errorf("%w: object store address: %s=%s: %v", dbfs.ErrInvalid, k, v[0], err)
		}
	}
	return o, nil
}

// A Store keeps objects in a bucket. It may be used from several goroutines.
type Store struct {
	opts    Options
	client  *s3.Client
	presign *s3.PresignClient

	// unconditional is set where Check found a server that does not know If-None-Match.
	// Nothing rests on that header, because names are never used twice.
	unconditional atomic.Bool
}

// New returns a store. It looks credentials up but does not speak to the S3 server: Check does.
func New(ctx context.Context, o Options) (*Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx, func(c *config.LoadOptions) error {
		if o.AccessKey != "" {
			c.Credentials = credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")
		}
		c.Region = o.Region
		c.DefaultRegion = "us-east-1"
		c.HTTPClient = transport()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	client := s3.NewFromConfig(cfg, func(c *s3.Options) {
		c.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			c.BaseEndpoint = &o.Endpoint
		}
		c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // we give the SHA-256 ourselves
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // chunks are verified as chunks
	})
	return &Store{opts: o, client: client, presign: s3.NewPresignClient(client)}, nil
}

// SignPut returns an address for a PUT of exactly the bytes of that size and SHA-256.
func (s *Store) SignPut(ctx context.Context, name string, size int64, sum [32]byte, expires time.Duration) (string, http.Header, error) {
	r, err := s.presign.PresignPutObject(ctx, s.putInput(name, size, sum), s3.WithPresignExpires(expires))
	if err != nil {
		return "", nil, s.failed("sign a write of", name, err)
	}
	return r.URL, sendable(r.SignedHeader), nil
}

// SignGet returns an address for a GET of the object.
func (s *Store) SignGet(ctx context.Context, name string, expires time.Duration) (string, http.Header, error) {
	r, err := s.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &s.opts.Bucket, Key: s.key(name)}, s3.WithPresignExpires(expires))
	if err != nil {
		return "", nil, s.failed("sign a read of", name, err)
	}
	return r.URL, sendable(r.SignedHeader), nil
}

// Stat returns an object's size in bytes, and its SHA-256 if the S3 server kept it.
func (s *Store) Stat(ctx context.Context, name string) (int64, []byte, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.opts.Bucket, Key: s.key(name), ChecksumMode: "ENABLED"})
	if err != nil {
		return 0, nil, s.failed("stat", name, err)
	}
	sum, err := base64.StdEncoding.DecodeString(aws.ToString(out.ChecksumSHA256))
	if err != nil || len(sum) != sha256.Size {
		sum = nil
	}
	return aws.ToInt64(out.ContentLength), sum, nil
}

// Get reads n bytes of an object from off on.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	span := fmt.Sprintf("bytes=%d-%d", off, off+n-1)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.opts.Bucket, Key: s.key(name), Range: &span})
	if err != nil {
		return nil, s.failed("read", name, err)
	}
	return out.Body, nil
}

// Put stores an object.
func (s *Store) Put(ctx context.Context, name string, b []byte) error {
	in := s.putInput(name, int64(len(b)), sha256.Sum256(b))
	in.Body = bytes.NewReader(b)
	if _, err := s.client.PutObject(ctx, in); err != nil {
		return s.failed("write", name, err)
	}
	return nil
}

// Delete removes an object; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.opts.Bucket, Key: s.key(name)}); err != nil {
		return s.failed("delete", name, err)
	}
	return nil
}

// Check tells whether the bucket is there and may be written, and if not, in one line, what
// is wrong. It leaves nothing behind. Call it at the start.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.client.Options().Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("S3 bucket %q: %w: no credentials, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%v)", s.opts.Bucket, dbfs.ErrForbidden, err)
	}
	// A listing, unlike HEAD, is refused with words.
	if _, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.opts.Bucket, MaxKeys: aws.Int32(1)}); err != nil {
		return s.diagnose(err)
	}
	probe := "check/" + rand.Text()
	err := s.Put(ctx, probe, []byte(probe))
	if statusOf(err) == http.StatusNotImplemented {
		s.unconditional.Store(true)
		err = s.Put(ctx, probe, []byte(probe))
	}
	if err != nil {
		return s.diagnose(err)
	}
	return s.Delete(ctx, probe)
}

// transport gives up on an S3 server that is silent for 30 s.
func transport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = 30 * time.Second
		t.MaxIdleConnsPerHost = 64
	})
}

func (s *Store) putInput(name string, size int64, sum [32]byte) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket:         &s.opts.Bucket,
		Key:            s.key(name),
		ContentLength:  &size,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}
	if !s.unconditional.Load() {
		in.IfNoneMatch = aws.String("*")
	}
	return in
}

func (s *Store) key(name string) *string {
	if s.opts.Prefix != "" {
		name = s.opts.Prefix + "/" + name
	}
	return &name
}

// sendable leaves out what an HTTP client sets by itself.
func sendable(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Host")
	h.Del("Content-Length")
	return h
}
