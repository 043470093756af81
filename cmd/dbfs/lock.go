package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// holder is what a lock file says of the daemon that holds it.
type holder struct {
	PID     int    `json:"pid"`
	Profile string `json:"profile"`
	Mount   string `json:"mount"`
}

// takeLock locks a file for the life of this process, or of the returned file if that is
// closed earlier. The kernel lets go of it however the process ends, so a lock is never
// stale. Somebody else's is ErrLocked, and the message says whose.
func takeLock(file string, h holder) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, lockedBy(f)
	}
	if err == nil {
		err = h.write(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return f, nil
}

func (h holder) write(f *os.File) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, '\n'), 0)
	return err
}

// readHolder returns what a lock file says, also when nobody holds the lock any more:
// then it was the last one. A file that does not say has just been taken.
func readHolder(file string) (holder, error) {
	var h holder
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err == nil && h.PID == 0 {
		err = errors.New("it names nobody")
	}
	if err != nil {
		return holder{}, fmt.Errorf("lock %s: %w", file, err)
	}
	return h, nil
}

// lockedBy names the holder of a lock.
func lockedBy(f *os.File) error {
	h, err := readHolder(f.Name())
	if err != nil {
		return fmt.Errorf("%w: another daemon holds %s", dbfs.ErrLocked, f.Name())
	}
	err = fmt.Errorf("%w: process %d has profile %s mounted at %s", dbfs.ErrLocked, h.PID, h.Profile, h.Mount)
	return control.WithHint(err, fmt.Sprintf("dbfs umount %q", h.Mount))
}
