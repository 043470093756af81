package fs

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readAheadKB is how far the kernel reads ahead of who reads a file from its beginning to its end. What
// it does unless told otherwise, 128 KiB, makes eight requests of what could be two or one.
const readAheadKB = 512

// setReadAhead tells the kernel, as far as it listens: only root may.
func (fs *FS) setReadAhead(dir string) {
	if os.Geteuid() != 0 {
		return
	}
	name, err := readAheadFile(dir)
	if err == nil {
		err = os.WriteFile(name, []byte(strconv.Itoa(readAheadKB)), 0)
	}
	if err != nil {
		fs.cfg.Log.Debug("the kernel reads ahead as far as it thinks fit", "err", err)
	}
}

// readAheadFile returns where the kernel can be told of the file system that is mounted at dir.
func readAheadFile(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev)), nil
}
