package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A kind is one kind of operation that programs do. Each has a directory of its own, and makes version after version there, by
// numbers that grow. What it makes says which version it is.
type kind struct {
	name string
	make func(dir string) error           // the directory, before the first version
	step func(dir string, v uint64) error // makes a version
	look func(dir string, p past) error   // whether what is there is what may be there

	// torn says of a step that changes something in place that when it fails it may have been half done. Then nothing is
	// asked of the place until the next one.
	torn bool
}

// A past is which versions there have been.
type past struct {
	safe, last uint64          // the last that was made, and that was tried
	made       map[uint64]bool // all that were
}

// errWrong says that something is there that nobody wrote.
var errWrong = errors.New("wrong")

func wrong(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errWrong}, a...)...)
}

// between returns nil for a version that may be there.
func (p past) between(v uint64) error {
	if v < p.safe || v > p.last {
		return wrong("it is version %d, promised was %d, tried %d", v, p.safe, p.last)
	}
	return nil
}

var kinds = []kind{
	{name: "create", step: createStep, look: createLook},
	{name: "overwrite", torn: true, step: inPlace(30_000, false), look: inPlaceLook},
	{name: "overwrite-large", torn: true, step: inPlace(5<<20, false), look: inPlaceLook},
	{name: "sync", torn: true, step: inPlace(70_000, true), look: inPlaceLook},
	{name: "save", step: saveStep, look: inPlaceLook},
	{name: "patch", make: patchMake, step: patchStep, look: patchLook},
	{name: "map", make: patchMake, step: mapStep, look: patchLook},
	{name: "append", step: appendStep, look: appendLook},
	{name: "truncate", make: patchMake, step: truncateStep, look: truncateLook},
	{name: "punch", make: patchMake, step: punchStep, look: punchLook},
	{name: "copy-range", make: patchMake, step: copyStep, look: copyLook},
	{name: "tmpfile", step: tmpfileStep, look: oneNameLook},
	{name: "rename", make: oneNameMake, step: renameStep, look: oneNameLook},
	{name: "exchange", make: exchangeMake, step: exchangeStep, look: exchangeLook},
	{name: "link", make: linkMake, step: linkStep, look: oneNameLook},
	{name: "symlink", step: symlinkStep, look: symlinkLook},
	{name: "directories", step: dirStep, look: oneNameLook},
	{name: "xattr", make: patchMake, step: xattrStep, look: xattrLook},
	{name: "times", make: patchMake, step: timesStep, look: timesLook},
}

func number(dir string, v uint64) string { return filepath.Join(dir, strconv.FormatUint(v, 10)) }

func writeFile(name string, flag int, b []byte, sync bool) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// create: a new file for each version, and all stay.
func createStep(dir string, v uint64) error {
	return writeFile(number(dir, v), os.O_EXCL, version("create", v, 3000), false)
}

func createLook(dir string, p past) error {
	for v := uint64(1); v <= p.last; v++ {
		b, err := os.ReadFile(number(dir, v))
		switch {
		case errors.Is(err, os.ErrNotExist) && !p.made[v]:
		case err != nil:
			return wrong("version %d: %v", v, err)
		case p.made[v] && !bytes.Equal(b, version("create", v, 3000)):
			return wrong("version %d holds %s", v, brief(b))
		}
	}
	return nil
}

// inPlace: one file, overwritten from its beginning.
func inPlace(size int, sync bool) func(dir string, v uint64) error {
	return func(dir string, v uint64) error {
		b := version("file", v, size+int(v%100))
		f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if _, err = f.Write(b); err == nil {
			err = f.Truncate(int64(len(b)))
		}
		if err == nil && sync {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}
}

func inPlaceLook(dir string, p past) error {
	b, err := os.ReadFile(filepath.Join(dir, "file"))
	if p.safe == 0 && (errors.Is(err, os.ErrNotExist) || len(b) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := parse("file", b)
	if err != nil {
		return wrong("%v", err)
	}
	return p.between(v)
}

// save: written beside, synced, and renamed over.
func saveStep(dir string, v uint64) error {
	tmp := filepath.Join(dir, "file.tmp")
	if err := writeFile(tmp, os.O_TRUNC, version("file", v, 20_000), true); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "file"))
}

// patch and map: a few bytes in the middle of a large file.
const (
	patchSize = 9 << 20
	patchAt   = 5<<20 + 100
)

func patchMake(dir string) error {
	return os.WriteFile(filepath.Join(dir, "file"), noise(7, patchSize), 0o644)
}

func patchStep(dir string, v uint64) error {
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, v), patchAt)
	return errors.Join(err, f.Close())
}

func mapStep(dir string, v uint64) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const page = patchAt &^ 4095
	m, err := unix.Mmap(int(f.Fd()), page, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint64(m[patchAt-page:], v)
	err = unix.Msync(m, unix.MS_SYNC)
	return errors.Join(err, unix.Munmap(m), f.Sync())
}

func patchLook(dir string, p past) error { return patchedLook(filepath.Join(dir, "file"), p) }

// patchedLook looks at a file that is what patchMake makes but for the version in it; version 0: none is.
func patchedLook(name string, p past) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	want := noise(7, patchSize)
	if len(b) != len(want) {
		return wrong("it has %d bytes, want %d", len(b), len(want))
	}
	v := binary.BigEndian.Uint64(b[patchAt:])
	if v == binary.BigEndian.Uint64(want[patchAt:]) {
		v = 0
	}
	copy(b[patchAt:], want[patchAt:patchAt+8])
	if !bytes.Equal(b, want) {
		return wrong("beside what was written something else has changed")
	}
	return p.between(v)
}

// append: a record at the end for each version.
const record = 16

func appendStep(dir string, v uint64) error {
	rec := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, v), ^v)
	return writeFile(filepath.Join(dir, "file"), os.O_APPEND, rec, false)
}

func appendLook(dir string, p past) error {
	b, err := os.ReadFile(filepath.Join(dir, "file"))
	if p.safe == 0 && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	found := map[uint64]bool{}
	was := uint64(0)
	for i := 0; i+record <= len(b); i += record {
		v := binary.BigEndian.Uint64(b[i:])
		if ^v != binary.BigEndian.Uint64(b[i+8:]) || v <= was || v > p.last {
			return wrong("record %d after %d, of %d tried: % x", v, was, p.last, b[i:i+record])
		}
		found[v], was = true, v
	}
	for v := uint64(1); v <= p.safe; v++ {
		if p.made[v] && !found[v] {
			return wrong("record %d is gone, of %d", v, p.safe)
		}
	}
	return nil
}

// truncate: the size is the version, now shorter than the file was at first, now longer.
func truncateStep(dir string, v uint64) error {
	size := int64(patchSize/2 + v)
	if v%2 == 1 {
		size += patchSize
	}
	return os.Truncate(filepath.Join(dir, "file"), size)
}

func truncateLook(dir string, p past) error {
	b, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		return err
	}
	v := uint64(len(b) - patchSize/2)
	switch {
	case len(b) == patchSize:
		v = 0
	case len(b) > patchSize:
		v -= patchSize
	}
	if len(b) < patchSize/2 || !bytes.Equal(b[:patchSize/2], noise(7, patchSize)[:patchSize/2]) {
		return wrong("of %d bytes the first half is another", len(b))
	}
	if tail := b[min(patchSize, len(b)):]; len(bytes.Trim(tail, "\x00")) > 0 {
		return wrong("there are bytes where it was made longer")
	}
	return p.between(v)
}

// punch: a hole for each version.
const punched = patchSize / 4096

func punchStep(dir string, v uint64) error {
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(v%punched)*4096, 4096)
	return errors.Join(err, f.Close())
}

func punchLook(dir string, p past) error {
	b, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		return err
	}
	want := noise(7, patchSize)
	if len(b) != len(want) {
		return wrong("it has %d bytes, want %d", len(b), len(want))
	}
	for i := range uint64(punched) {
		got, was := b[i*4096:(i+1)*4096], want[i*4096:(i+1)*4096]
		tried := i <= p.last && i > 0 || p.last >= punched
		switch {
		case len(bytes.Trim(got, "\x00")) == 0 && tried:
		case p.made[i]:
			return wrong("hole %d of %d is filled", i, p.safe)
		case !bytes.Equal(got, was):
			return wrong("page %d is neither a hole nor what it was", i)
		}
	}
	return nil
}

// copy-range: a copy for each version, in place of the one before.
func copyStep(dir string, v uint64) error {
	from, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		return err
	}
	defer from.Close()
	tmp := filepath.Join(dir, "copy.tmp")
	to, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	for n := int64(0); err == nil && n < patchSize; {
		var k int
		in, out := n, n
		if k, err = unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(patchSize-n), 0); k == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		n += int64(k)
	}
	if err == nil {
		_, err = to.WriteAt(binary.BigEndian.AppendUint64(nil, v), patchAt)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "copy"))
}

func copyLook(dir string, p past) error {
	if err := patchLook(dir, past{}); err != nil { // the source
		return err
	}
	err := patchedLook(filepath.Join(dir, "copy"), p)
	if p.safe == 0 && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// oneNameLook looks at a directory that holds something called by its version: of two at a change.
func oneNameLook(dir string, p past) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	most := uint64(0)
	for _, e := range names {
		v, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil {
			continue
		}
		if v > p.last {
			return wrong("there is %d, of %d tried", v, p.last)
		}
		most = max(most, v)
		if e.Type().IsRegular() {
			b, err := os.ReadFile(number(dir, v))
			if err != nil {
				return err
			}
			if string(b) != "always the same" {
				return wrong("version %d holds %s", v, brief(b))
			}
		}
	}
	return p.between(most)
}

func oneNameMake(dir string) error {
	return os.WriteFile(number(dir, 0), []byte("always the same"), 0o644)
}

// present returns the highest version that is there.
func present(dir string) (most uint64, err error) {
	names, err := os.ReadDir(dir)
	for _, e := range names {
		if v, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			most = max(most, v)
		}
	}
	return most, err
}

func renameStep(dir string, v uint64) error {
	was, err := present(dir)
	if err != nil {
		return err
	}
	return os.Rename(number(dir, was), number(dir, v))
}

func linkMake(dir string) error {
	return os.WriteFile(filepath.Join(dir, "file"), []byte("always the same"), 0o644)
}

// instead makes a version, and removes the one before.
func instead(dir string, make func() error) error {
	was, err := present(dir)
	if err != nil {
		return err
	}
	if err := make(); err != nil || was == 0 {
		return err
	}
	return os.Remove(number(dir, was))
}

func linkStep(dir string, v uint64) error {
	return instead(dir, func() error { return os.Link(filepath.Join(dir, "file"), number(dir, v)) })
}

func dirStep(dir string, v uint64) error {
	return instead(dir, func() error { return os.Mkdir(number(dir, v), 0o755) })
}

// tmpfile: a file that has no name until it is whole.
func tmpfileStep(dir string, v uint64) error {
	return instead(dir, func() error {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "nameless")
		defer f.Close()
		if _, err := f.WriteString("always the same"); err != nil {
			return err
		}
		if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, number(dir, v), unix.AT_SYMLINK_FOLLOW); err != nil {
			return err
		}
		return f.Sync()
	})
}

// exchange: two files, of which each version has them the other way round.
func exchangeMake(dir string) error {
	return errors.Join(os.WriteFile(filepath.Join(dir, "a"), []byte{0}, 0o644), os.WriteFile(filepath.Join(dir, "b"), []byte{1}, 0o644))
}

func exchangeStep(dir string, v uint64) error {
	a, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil || len(a) == 1 && uint64(a[0]) == v%2 { // the one before failed, or did not seem to be done
		return err
	}
	return unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(dir, "b"), unix.RENAME_EXCHANGE)
}

func exchangeLook(dir string, p past) error {
	a, errA := os.ReadFile(filepath.Join(dir, "a"))
	b, errB := os.ReadFile(filepath.Join(dir, "b"))
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if len(a) != 1 || len(b) != 1 || a[0]+b[0] != 1 {
		return wrong("the two are %v and %v", a, b)
	}
	if p.safe == p.last && uint64(a[0]) != p.safe%2 {
		return wrong("exchange %d is undone", p.safe)
	}
	return nil
}

func symlinkStep(dir string, v uint64) error {
	tmp := filepath.Join(dir, "tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) { // of a step that failed
		return err
	}
	if err := os.Symlink(strconv.FormatUint(v, 10), tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "link"))
}

func symlinkLook(dir string, p past) error {
	target, err := os.Readlink(filepath.Join(dir, "link"))
	if p.safe == 0 && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := strconv.ParseUint(target, 10, 64)
	if err != nil {
		return wrong("%v", err)
	}
	return p.between(v)
}

func xattrStep(dir string, v uint64) error {
	return unix.Setxattr(filepath.Join(dir, "file"), "user.version", binary.BigEndian.AppendUint64(nil, v), 0)
}

func xattrLook(dir string, p past) error {
	var b [8]byte
	n, err := unix.Getxattr(filepath.Join(dir, "file"), "user.version", b[:])
	if p.safe == 0 && errors.Is(err, unix.ENODATA) {
		return nil
	}
	if err != nil {
		return err
	}
	if n != 8 {
		return wrong("it has %d bytes", n)
	}
	return p.between(binary.BigEndian.Uint64(b[:]))
}

func timesStep(dir string, v uint64) error {
	return os.Chtimes(filepath.Join(dir, "file"), time.Time{}, time.Unix(int64(v), 0))
}

func timesLook(dir string, p past) error {
	st, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		return err
	}
	v := uint64(st.ModTime().Unix())
	if p.safe == 0 && v > 1<<30 {
		return nil
	}
	return p.between(v)
}
