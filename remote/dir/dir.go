// Package dir is an object store in a directory: what a server keeps chunks in when it has
// no S3. An object is a file under its own name, written once, whole and synced, and never
// changed. Its signed addresses are relative and served by the dbfs server itself, so
// they work however a client reaches that server.
//
//	DIR/c/7f/7f83b1…-9c0e…   an object
//	DIR/tmp/…                one that is being written; old ones are swept by Open
package dir

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

const (
	tmpDir = "tmp"

	// tmpLife is how long a file may take to be written; older ones were left by a crash.
	tmpLife = 24 * time.Hour
)

// A Store keeps objects in a directory. It may be used from several goroutines, and by
// several processes. Objects are named by slash-separated paths.
type Store struct {
	root *os.Root
	key  [32]byte         // signs addresses; fresh with each Open, so that a restart voids them
	now  func() time.Time // decides when an address has expired
}

// Open opens the store in a directory, which is made if it is not there.
func Open(name string) (*Store, error) {
	if err := os.MkdirAll(name, 0o700); err != nil {
		return nil, fmt.Errorf("open object directory: %w", err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open object directory: %w", err)
	}
	s := &Store{root: root, now: time.Now}
	rand.Read(s.key[:])
	if err := s.sweep(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open object directory %s: %w", name, err)
	}
	return s, nil
}

// Close releases the directory. No call may be running.
func (s *Store) Close() error { return s.root.Close() }

// Stat returns an object's size in bytes. Its hash is not kept: what does not have the hash
// that it was announced with never becomes an object.
func (s *Store) Stat(ctx context.Context, name string) (int64, []byte, error) {
	info, err := s.root.Stat(name)
	if err != nil {
		return 0, nil, failed("stat", name, err)
	}
	return info.Size(), nil, nil
}

// Get reads n bytes of an object from off on.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// Put stores an object; when it returns nil the object survives a loss of power.
func (s *Store) Put(ctx context.Context, name string, b []byte) error {
	return s.write(name, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(b))
		return err
	})
}

// Delete removes an object; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("delete", name, err)
	}
	return nil
}

// keepFree is how many bytes of the disk are left to others. A drive with its server inside
// shares the disk with it, and can do nothing, not even delete, on one that is full.
const keepFree = 192 << 20

// room returns ErrNoSpace when the disk is as full as this store may make it.
func (s *Store) room() error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root.Name(), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < keepFree {
		return fmt.Errorf("%w: %d MiB free on its disk, and %d MiB are kept for others", dbfs.ErrNoSpace, free>>20, keepFree>>20)
	}
	return nil
}

// write makes an object of what fill writes. It appears under its name only when all of
// it is on the disk, and takes nobody's place: then the error is ErrExist.
func (s *Store) write(name string, fill func(io.Writer) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return failed("create", name, err)
	}
	tmp := path.Join(tmpDir, rand.Text())
	f, err := s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed("create", name, err)
	}
	defer s.root.Remove(tmp)
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return failed("write", name, err)
	}
	if err := s.link(tmp, name); err != nil {
		return failed("store", name, err)
	}
	return nil
}

// link gives a file its final name. A link, unlike a rename, never replaces.
func (s *Store) link(tmp, name string) error {
	err := s.root.Link(tmp, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeDirs(path.Dir(name)); err != nil {
			return err
		}
		err = s.root.Link(tmp, name)
	}
	if err != nil {
		return err
	}
	return s.syncDir(path.Dir(name))
}

// makeDirs makes a directory and those above it, each on the disk in the one above.
func (s *Store) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := s.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncDir(path.Dir(dir))
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what a crash left half written.
func (s *Store) sweep() error {
	if err := s.makeDirs(tmpDir); err != nil {
		return err
	}
	entries, err := fs.ReadDir(s.root.FS(), tmpDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || s.now().Sub(info.ModTime()) < tmpLife {
			continue // just finished by another process, or still being written by one
		}
		if err := s.root.Remove(path.Join(tmpDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, tmpDir+"/") {
		return fmt.Errorf("%w: object name %q", dbfs.ErrInvalid, name)
	}
	return nil
}

// failed says what went wrong in the words of package dbfs.
func failed(what, name string, err error) error {
	kind := dbfs.ErrOffline
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = dbfs.ErrNotExist
	case errors.Is(err, fs.ErrExist):
		kind = dbfs.ErrExist
	case errors.Is(err, dbfs.ErrInvalid), errors.Is(err, dbfs.ErrCorrupt):
		return fmt.Errorf("%s object %s: %w", what, name, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = dbfs.ErrNoSpace
	}
	return fmt.Errorf("%s object %s: %w: %v", what, name, kind, err)
}
