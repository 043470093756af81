package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// maxSocketPath is how long the path of a Unix socket may be in bytes, without its NUL.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen opens a control socket. A socket that a dead daemon left is replaced: the
// caller holds a lock that makes it the only daemon to use this path.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%w: a socket's path may have %d bytes, not %d: %s", dbfs.ErrNameTooLong, maxSocketPath, len(path), path)
	}
	if err := PrivateDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Until this nobody else can come in either: the directory is private.
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return ln, nil
}

// PrivateDir makes a directory that only its owner may enter, and refuses one that
// belongs to somebody else or lets others in. An empty one of our own is closed to others.
func PrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("private directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("private directory %s: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%w: %s is not a directory", dbfs.ErrNotDir, dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%w: %s belongs to user %d", dbfs.ErrForbidden, dir, st.Uid)
	case st.Mode&0o077 == 0:
		return nil
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return WithHint(fmt.Errorf("%w: others may enter %s (mode %o)", dbfs.ErrForbidden, dir, st.Mode&0o777), "chmod 700 "+dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("private directory: %w", err)
	}
	return nil
}
