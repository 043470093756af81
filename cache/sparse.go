package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// openSparse opens a file for reading and writing; with create it is made if it is not
// there, and its directory too.
func openSparse(name string, create bool) (*os.File, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flag, 0o600)
	if create && errors.Is(err, os.ErrNotExist) {
		if err := makeDir(filepath.Dir(name)); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, flag, 0o600)
	}
	return f, diskError(err)
}

// punch gives the blocks of a range back to the disk; the range reads as zeros.
func punch(f *os.File, off, n int64) error {
	n = min(n, dbfs.MaxFileSize-off) // beyond it there may be none in any file
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(f, off, n)
	}
	if err != nil {
		return fmt.Errorf("punch %s: %w", f.Name(), err)
	}
	return nil
}

func writeZeros(f *os.File, off, n int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	for n = min(n, st.Size()-off); n > 0; {
		k := min(n, int64(len(zeroPage)))
		if _, err := f.WriteAt(zeroPage[:k], off); err != nil {
			return diskError(err)
		}
		off, n = off+k, n-k
	}
	return nil
}

var zeroPage [64 << 10]byte

// copyRange copies n bytes between files, inside the kernel and without copying anything
// where the file system can share blocks.
func copyRange(dst *os.File, dstOff int64, src *os.File, srcOff, n int64) error {
	for n > 0 {
		k, err := unix.CopyFileRange(int(src.Fd()), &srcOff, int(dst.Fd()), &dstOff, int(n), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EIO):
			return copyBytes(dst, dstOff, src, srcOff, n)
		case err != nil:
			return diskError(err)
		case k == 0:
			return io.ErrUnexpectedEOF
		}
		n -= int64(k)
	}
	return nil
}

func copyBytes(dst *os.File, dstOff int64, src *os.File, srcOff, n int64) error {
	buf := pieces.Get().(*piece)
	defer pieces.Put(buf)
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		if _, err := src.ReadAt(b, srcOff); err != nil {
			return noEOF(err)
		}
		if _, err := dst.WriteAt(b, dstOff); err != nil {
			return diskError(err)
		}
		k := int64(len(b))
		srcOff, dstOff, n = srcOff+k, dstOff+k, n-k
	}
	return nil
}

// copySparse copies a whole file, holes as holes.
func copySparse(dst, src *os.File) error {
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(st.Size()); err != nil {
		return diskError(err)
	}
	for off := int64(0); off < st.Size(); {
		from, err := unix.Seek(int(src.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		to, err := unix.Seek(int(src.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(dst, from, src, from, to-from); err != nil {
			return err
		}
		off = to
	}
	return nil
}

// A piece is what is read of a file at a time where not all of it is needed at once.
type piece [256 << 10]byte

var pieces = sync.Pool{New: func() any { return new(piece) }}

// isHole reports whether n bytes of a file from off on are all in a hole, as far as the file system can tell.
func isHole(f *os.File, off, n int64) bool {
	if _, data := seek(f, off, off+n, false); data {
		return false
	}
	st, err := f.Stat() // where there is no data the file may have ended
	return err == nil && st.Size() >= off+n
}

// seek returns where the first data of a file is, or the first hole, from a place on, and whether that is before end.
// Where the file system cannot tell, all is data.
func seek(f *os.File, from, end int64, hole bool) (at int64, found bool) {
	whence := unix.SEEK_DATA
	if hole {
		whence = unix.SEEK_HOLE
	}
	at, err := unix.Seek(int(f.Fd()), from, whence)
	if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
		return from, hole
	}
	if err != nil {
		return from, !hole
	}
	return at, at < end
}

// hashRange names the n bytes of a file from off on.
func hashRange(f *os.File, off int64, n int) (dbfs.ChunkID, error) {
	if isHole(f, off, int64(n)) {
		return dbfs.ZeroChunk, nil
	}
	buf := pieces.Get().(*piece)
	defer pieces.Put(buf)
	h := sha256.New()
	zero := true
	for n > 0 {
		b := buf[:min(n, len(buf))]
		if _, err := f.ReadAt(b, off); err != nil {
			return dbfs.ChunkID{}, noEOF(err)
		}
		zero = zero && allZero(b)
		h.Write(b)
		off, n = off+int64(len(b)), n-len(b)
	}
	if zero {
		return dbfs.ZeroChunk, nil
	}
	return dbfs.ChunkID(h.Sum(nil)), nil
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeroPage))
		if !bytes.Equal(b[:n], zeroPage[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// noEOF is for reads of bytes that must be there.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
