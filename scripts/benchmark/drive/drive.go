// Package drive starts the systems that the benchmark compares: dbfs, its peers, go-fuse's
// loopback and the bare disk. Whatever it starts it ends, by pid, and takes its mounts away.
package drive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A System is a way to keep files. It is started afresh for every run.
type System struct {
	Name  string
	About string // in a line: what it is, and how it is set up

	// Missing says in one line why the system cannot be measured here; "" when it can.
	Missing func(*Site) string
	// Version says which one it is.
	Version func(*Site) string
	// Start shows a drive that holds nothing. All that it keeps is below dir, which it makes.
	Start func(ctx context.Context, s *Site, dir string) (Drive, error)
}

// A Drive is a system that was started. Its methods are for one goroutine, but for PIDs.
type Drive interface {
	// Path is the directory that is measured.
	Path() string

	// User is who works in it; nil: whoever runs the benchmark.
	User() *syscall.Credential

	// PIDs are the processes whose memory counts; none where the kernel does it all.
	PIDs() []int

	// Stored reports whether there is a store, from which bytes come back.
	Stored() bool

	// Settle returns when nothing is on its way to the store any more.
	Settle(ctx context.Context) error

	// Forget makes the drive forget what it can get from its store again, and shows it anew. It returns
	// ErrNone where there is no store.
	Forget(ctx context.Context) error

	// Again shows the same files a second time, as another device would. It returns
	// ErrNone where there is no such thing. The second drive is stopped first.
	Again(ctx context.Context) (Drive, error)

	// Stop ends the drive, and what it keeps is removed.
	Stop() error
}

// ErrNone says that a drive has no such thing.
var ErrNone = errors.New("it has no such thing")

// A Site is what the systems are started with.
type Site struct {
	Scratch string // a directory on the disk that is measured
	Tools   string // where rclone is built

	Dbfs     string // programs
	Loopback string

	Endpoint, Bucket, Region, Key, Secret string // of the S3 server; no Endpoint: there is none
	Objects                               string // where the S3 server keeps the bucket, as files; may be empty

	Runner *syscall.Credential // who mounts without being root; nil: nobody does
}

// All lists the systems in the order in which they are measured.
func All() []System {
	return []System{disk, loopback, loopbackCached, dbfs, dbfsUser, rclone, s3fs, juicefs, geesefs}
}

// noStore is why a system that needs the S3 server is missing.
func noStore(s *Site) string {
	if s.Endpoint == "" {
		return "there is no S3 server: scripts/bench starts one"
	}
	return ""
}

// prefix names what a system keeps in the bucket, by the directory it was started in.
func (s *Site) prefix(dir string) string {
	return "bench-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
}

// clear removes a prefix from the bucket, in the S3 server's own files.
func (s *Site) clear(prefix string) error {
	if s.Objects == "" {
		return nil
	}
	if prefix == "" {
		return fmt.Errorf("no prefix to clear")
	}
	return os.RemoveAll(filepath.Join(s.Objects, s.Bucket, prefix))
}

// makeDirs makes directories of one owner.
func makeDirs(owner *syscall.Credential, dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if owner != nil {
			if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}
