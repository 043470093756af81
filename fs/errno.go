package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// status turns an error into what the kernel is told. An error that is nobody's fault here
// and cannot be helped by the caller is EIO, and goes to the log with its reason: it is
// never "no such file".
func (fs *FS) status(err error) fuse.Status {
	s := errno(err)
	switch {
	case s == fuse.EIO:
		fs.cfg.Log.Warn("request failed", "err", err)
	case errors.Is(err, dbfs.ErrInvalid): // a name that may not be here, mostly: EINVAL does not say why
		fs.cfg.Log.Warn("request refused", "err", err)
	}
	return s
}

var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	// First, as they may wrap what the network or the disk said, which is not the answer.
	{dbfs.ErrOffline, syscall.EIO},
	{dbfs.ErrCorrupt, syscall.EIO},
	{dbfs.ErrNotExist, syscall.ENOENT},
	{dbfs.ErrExist, syscall.EEXIST},
	{dbfs.ErrNotEmpty, syscall.ENOTEMPTY},
	{dbfs.ErrNotDir, syscall.ENOTDIR},
	{dbfs.ErrIsDir, syscall.EISDIR},
	{dbfs.ErrInvalid, syscall.EINVAL},
	{dbfs.ErrNameTooLong, syscall.ENAMETOOLONG},
	{dbfs.ErrTooLarge, syscall.EFBIG},
	{dbfs.ErrLoop, syscall.EINVAL},
	{dbfs.ErrReadOnly, syscall.EROFS},
	{dbfs.ErrForbidden, syscall.EACCES},
	{dbfs.ErrNoSpace, syscall.ENOSPC},
	{dbfs.ErrBusy, syscall.EBUSY},
	{dbfs.ErrNoAttr, syscall.ENODATA},
	{dbfs.ErrManyLinks, syscall.EMLINK},
	{dbfs.ErrUnsupported, syscall.EOPNOTSUPP},
	{context.Canceled, syscall.EINTR},
}

func errno(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return fuse.Status(e.errno)
		}
	}
	var sys syscall.Errno
	if errors.As(err, &sys) {
		if sys == syscall.EMFILE {
			sys = syscall.ENFILE // it is this daemon that has no descriptors left, not the caller
		}
		return fuse.Status(sys)
	}
	return fuse.EIO
}
