// Command s3server is a real S3 server for the tests and the demonstration: the Versity
// gateway over a directory, with one bucket, on a loopback port. It is a module of its
// own so that the gateway's many dependencies never reach the project's.
//
// It runs in the foreground until SIGINT or SIGTERM; its pid is all one needs to stop it.
// Once it answers, it writes how to reach it, as shell assignments:
//
//	DBFS_TEST_S3=http://127.0.0.1:43210
//	DBFS_TEST_S3_BUCKET=dbfs
//	AWS_ACCESS_KEY_ID=…
//	AWS_SECRET_ACCESS_KEY=…
//	AWS_REGION=us-east-1
//
// With -env FILE these lines go to a file that appears whole, so that its existence means
// "ready"; otherwise to standard output.
//
// The keys are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or made up.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const (
	region   = "us-east-1"
	patience = 30 * time.Second       // how long the gateway may take to answer
	grace    = 300 * time.Millisecond // how long it may take to stop
)

// A server is what the command line asks for.
type server struct {
	dir    string // holds objects/ and, on disks without extended attributes, meta/
	addr   string
	bucket string
	access string
	secret string
}

func main() {
	dir := flag.String("dir", "", "keep the objects in `DIR`/objects/BUCKET (default: a fresh directory, removed at the end)")
	bucket := flag.String("bucket", "dbfs", "create this bucket")
	listen := flag.String("listen", "127.0.0.1:0", "listen on this address; port 0 takes a free one")
	env := flag.String("env", "", "write how to reach the server to `FILE` instead of standard output")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *bucket, *listen, *env); err != nil {
		fmt.Fprintln(os.Stderr, "s3server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, bucket, listen, env string) error {
	env, err := absolute(env) // the gateway changes the working directory
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "dbfs-s3-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = absolute(dir); err != nil {
		return err
	}
	addr, err := freeAddr(listen)
	if err != nil {
		return err
	}
	s := &server{dir: dir, addr: addr, bucket: bucket,
		access: fromEnv("AWS_ACCESS_KEY_ID"), secret: fromEnv("AWS_SECRET_ACCESS_KEY")}
	return s.serve(ctx, env)
}

// serve runs the gateway until ctx ends, and announces it once the bucket is there.
func (s *server) serve(ctx context.Context, env string) error {
	objects, err := s.backend()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- embedgw.RunVersityGW(ctx, objects, s.config()) }()

	err = s.createBucket(ctx)
	if err == nil {
		err = announce(env, s.lines())
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, ended(ctx, done))
}

// ended waits for the gateway. It would wait long for clients that keep their connections;
// objects are whole files or not there, so it may be left after a moment.
func ended(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return nil
	}
}

// backend stores objects as files. What S3 keeps beside an object's bytes goes into
// extended attributes where the disk has them, and into files of their own elsewhere.
func (s *server) backend() (backend.Backend, error) {
	objects, beside := filepath.Join(s.dir, "objects"), filepath.Join(s.dir, "meta")
	if err := os.MkdirAll(objects, 0o700); err != nil {
		return nil, err
	}
	opts := posix.PosixOpts{ValidateBucketNames: true, Concurrency: 256,
		CopyObjectThreshold: 5 << 30} // as Amazon's; without one nothing can be copied
	if (meta.XattrMeta{}).Test(objects) == nil {
		return posix.New(objects, meta.XattrMeta{}, opts)
	}
	if err := os.MkdirAll(beside, 0o700); err != nil {
		return nil, err
	}
	store, err := meta.NewSideCar(beside)
	if err != nil {
		return nil, err
	}
	opts.SideCarDir = beside
	return posix.New(objects, store, opts)
}

func (s *server) config() *embedgw.Config {
	return &embedgw.Config{
		RootUserAccess:    s.access,
		RootUserSecret:    s.secret,
		Region:            region,
		Ports:             []string{s.addr},
		MaxConnections:    4096,
		MaxRequests:       1024,
		MultipartMaxParts: 10000,
		KeepAlive:         true,
		Quiet:             true,
	}
}

// createBucket asks until the gateway answers. A bucket that is already there is fine.
func (s *server) createBucket(ctx context.Context) error {
	client := s3.New(s3.Options{
		Region:       region,
		BaseEndpoint: aws.String(s.endpoint()),
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(s.access, s.secret, ""),
		Retryer:      aws.NopRetryer{},
	})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.bucket})
		if mine := (*types.BucketAlreadyOwnedByYou)(nil); err == nil || errors.As(err, &mine) {
			return nil
		}
		if refused := (*net.OpError)(nil); !errors.As(err, &refused) {
			return fmt.Errorf("create bucket %s: %w", s.bucket, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create bucket %s: %w", s.bucket, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) endpoint() string { return "http://" + s.addr }

func (s *server) lines() string {
	return fmt.Sprintf("DBFS_TEST_S3=%s\nDBFS_TEST_S3_BUCKET=%s\nAWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nAWS_REGION=%s\n",
		s.endpoint(), s.bucket, s.access, s.secret, region)
}

// announce writes the lines to standard output, or to a file that appears whole and that
// only its owner may read: it holds the keys.
func announce(env, lines string) error {
	if env == "" {
		_, err := fmt.Print(lines)
		return err
	}
	if err := os.WriteFile(env+".new", []byte(lines), 0o600); err != nil {
		return err
	}
	return os.Rename(env+".new", env)
}

// freeAddr replaces port 0 by one that nobody listens on now.
func freeAddr(listen string) (string, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func fromEnv(key string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return rand.Text()
}

func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
