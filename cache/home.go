package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// SmallSize is the length in bytes up to which chunks that lie by themselves are values in
// the database; longer ones are files.
const SmallSize = 64 << 10

// A home is one of the two places where bytes live, with the book of them: state, which
// nothing may be lost of, and cache, of which everything may.
type home struct {
	dir     string
	kv      dbfs.KV
	reserve *reserve // what bytes leave free of the disk

	lending sync.Once
	mayLend bool // set by lending
}

func (h *home) bodyFile(f File) string {
	name := f.String()
	return filepath.Join(h.dir, "bodies", name[len(name)-2:], name)
}

func (h *home) chunkFile(id dbfs.ChunkID) string {
	name := id.String()
	return filepath.Join(h.dir, "chunks", name[:2], name)
}

// get returns a value of the book; nil if there is none.
func (h *home) get(key []byte) ([]byte, error) {
	var v []byte
	err := h.kv.View(func(txn dbfs.Txn) (err error) {
		v, err = txn.Get(key)
		return err
	})
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, nil
	}
	return v, err
}

// update applies changes to the book all at once.
func (h *home) update(changes ...change) error {
	return h.kv.Update(func(txn dbfs.Txn) error { return apply(txn, changes) })
}

// A change is one key with the value it is to have; nil: none.
type change struct{ key, value []byte }

func apply(txn dbfs.Txn, changes []change) error {
	for _, c := range changes {
		if err := c.apply(txn); err != nil {
			return err
		}
	}
	return nil
}

func (c change) apply(txn dbfs.Txn) error {
	if c.value == nil {
		return txn.Delete(c.key)
	}
	return txn.Set(c.key, c.value)
}

func set(key, value []byte) change { return change{key, value} }
func del(key []byte) change        { return change{key: key} }

// moveFile takes a file from one home to the other: by its name, or, between file
// systems, by its bytes. The old name of a copy is left for the caller to remove.
func moveFile(from, to string) (copied bool, err error) {
	if err := makeDir(filepath.Dir(to)); err != nil {
		return false, err
	}
	err = os.Rename(from, to)
	if errors.Is(err, unix.EXDEV) {
		return true, copyFile(from, to)
	}
	return false, diskError(err)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return writeFile(to, func(dst *os.File) error { return copySparse(dst, src) })
}

// writeFile makes a file, or replaces it, so that nobody ever sees half of it.
func writeFile(name string, write func(*os.File) error) error {
	if err := makeDir(filepath.Dir(name)); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), tmpPrefix)
	if err != nil {
		return diskError(err)
	}
	defer tmp.Close()
	err = write(tmp)
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", name, diskError(err))
	}
	return nil
}

// makeDir makes one of the directories that files are spread over, for good.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return diskError(err)
	}
	above := filepath.Dir(dir)
	return diskError(errors.Join(syncFile(above), syncFile(filepath.Dir(above))))
}

const tmpPrefix = "tmp-"

// removeFile removes a file that may be gone already.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
