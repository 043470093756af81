package cache

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// A reserve keeps the last bytes of a disk free. It asks the file system now and then, not
// at every write.
type reserve struct {
	dir  string
	keep int64 // bytes that must stay free

	mu      sync.Mutex // guards what follows
	free    int64      // as last asked
	written int64      // bytes since then
	asked   time.Time
}

const (
	reserveEvery = 20 * time.Millisecond
	reserveBytes = 1 << 20
)

func newReserve(dir string, keep int64) *reserve { return &reserve{dir: dir, keep: keep} }

// check returns ErrNoSpace if n more bytes would go into what is to stay free.
func (r *reserve) check(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += n
	if r.written > reserveBytes || time.Since(r.asked) > reserveEvery {
		free, err := freeBytes(r.dir)
		if err != nil {
			return err
		}
		r.free, r.written, r.asked = free, 0, time.Now()
	}
	if r.free-r.written-n < r.keep {
		return fmt.Errorf("%w: %d bytes free on the disk of %s", dbfs.ErrNoSpace, r.free, r.dir)
	}
	return nil
}

// freeBytes returns what an unprivileged user may still write to the disk of a directory.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
