package cache

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// lockDir takes a directory, which is made if it is not there, for this process until the
// file returned is closed. The kernel gives it up with the process, so nothing stale stays.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskError(err)
	}
	f, err := os.OpenFile(dir+"/owner", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: another process holds %s", dbfs.ErrLocked, dir)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}
