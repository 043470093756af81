package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Hands do on a device what its user wants done. Paths are those of the drive.
type hands interface {
	write(path string, b []byte) error // all of a file, which is made if it is not there
	patch(path string, off int64, b []byte) error
	save(path, text string) error // as editors do: beside the file, to the disk, and over it
	mkdir(path string) error
	remove(path string) error // a file, symlink or empty directory
	rename(from, to string) error
	exchange(a, b string) error
	symlink(target, path string) error
	chmod(path string, mode fs.FileMode) error
	touch(path string, mtime time.Time) error

	read(path string) ([]byte, error)
	list(dir string) ([]string, error)
	look(path string) (string, error) // a line that describes it; fs.ErrNotExist
}

// mountHands work on a mount, as every program does.
type mountHands struct{ v *device }

func (h mountHands) write(path string, b []byte) error { return os.WriteFile(h.v.at(path), b, 0o644) }

func (h mountHands) patch(path string, off int64, b []byte) error {
	f, err := os.OpenFile(h.v.at(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return errors.Join(err, f.Close())
}

func (h mountHands) save(path, text string) error {
	tmp := h.v.at(path + ".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, h.v.at(path))
}

func (h mountHands) mkdir(path string) error { return os.Mkdir(h.v.at(path), 0o755) }

func (h mountHands) remove(path string) error { return os.Remove(h.v.at(path)) }

func (h mountHands) rename(from, to string) error { return os.Rename(h.v.at(from), h.v.at(to)) }

func (h mountHands) exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, h.v.at(a), unix.AT_FDCWD, h.v.at(b), unix.RENAME_EXCHANGE)
}

func (h mountHands) symlink(target, path string) error { return os.Symlink(target, h.v.at(path)) }

func (h mountHands) chmod(path string, mode fs.FileMode) error { return os.Chmod(h.v.at(path), mode) }

func (h mountHands) touch(path string, mtime time.Time) error {
	return os.Chtimes(h.v.at(path), mtime, mtime)
}

func (h mountHands) read(path string) ([]byte, error) { return os.ReadFile(h.v.at(path)) }

func (h mountHands) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(h.v.at(dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (h mountHands) look(path string) (string, error) { return describe(h.v.at(path)) }

// missing reports whether an error says that there is nothing of a name.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// all reads a device's whole tree, every byte of it.
func all(h hands, dir string, f forest) error {
	names, err := h.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if f[path], err = h.look(path); err != nil {
			return err
		}
		if len(f[path]) > 3 && f[path][:4] == "dir " {
			if err := all(h, path, f); err != nil {
				return err
			}
		}
	}
	return nil
}
