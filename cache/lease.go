package cache

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A body's file can be in the hands of others: the kernel reads and maps one that it has been lent
// (loan.go), a map outlives the handle that it was made through, and both outlive the process that
// lent it. So whoever is about to destroy bytes in place first asks the kernel, which knows, and
// works in another file if somebody else has this one.

// isShared reports whether anybody has a file but this one descriptor, which is open for writing.
// Where the file system knows no leases nothing is ever lent, so nobody has.
func isShared(f *os.File) (bool, error) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	switch {
	case err == nil:
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false, err
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
		return false, nil
	}
	return true, nil // EAGAIN; and whatever else keeps us from knowing
}

// stillShared is isShared with some patience: who has closed a file may take a moment to let go of it.
func stillShared(f *os.File) (bool, error) {
	for range 5 {
		if shared, err := isShared(f); !shared || err != nil {
			return shared, err
		}
		time.Sleep(time.Millisecond)
	}
	return isShared(f)
}

// shared reports whether anybody else has the body's file.
func (b *body) shared() (bool, error) {
	if b.f == nil || fault.Bug(fault.NoLease) {
		return false, nil
	}
	return isShared(b.f)
}

// stillShared is shared with some patience, also with a Sync that is under way.
func (b *body) stillShared() (bool, error) {
	shared, err := b.shared()
	if !shared || err != nil {
		return shared, err
	}
	if b.home == b.c.state {
		b.c.syncing.running.Lock()
		defer b.c.syncing.running.Unlock()
	}
	return stillShared(b.f)
}

// own makes sure that nobody else has the body's file, so that bytes may be destroyed in place: if
// somebody has, the body gets another file, with the chunks for which keep says so.
func (b *body) own(keep func(i int) bool) error {
	shared, err := b.stillShared()
	if err != nil || !shared {
		return err
	}
	name := b.home.bodyFile(b.file)
	durable := b.home == b.c.state // what is unsent in the old file may have survived a Sync
	err = writeFile(name, func(f *os.File) error {
		if err := b.copyTo(f, keep); err != nil || !durable {
			return err
		}
		return diskError(f.Sync())
	})
	if err == nil && durable {
		err = diskError(syncFile(filepath.Dir(name)))
	}
	if err != nil {
		return err
	}
	f, err := openSparse(name, false)
	if err != nil {
		return err
	}
	b.f.Close()
	b.f = f
	return nil
}

func (b *body) copyTo(f *os.File, keep func(i int) bool) error {
	size := b.content.Size
	if err := f.Truncate(size); err != nil {
		return diskError(err)
	}
	for i := range b.present.all() {
		if !keep(i) || i >= b.content.Chunks.Len() {
			continue
		}
		off := int64(i) * dbfs.ChunkSize
		if err := copyRange(f, off, b.f, off, int64(dbfs.ChunkLen(size, i))); err != nil {
			return err
		}
	}
	return nil
}

func keepAll(int) bool { return true }
