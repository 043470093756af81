package fs

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// Passthrough. A large file that is complete and not being written to is lent to the kernel
// when it is opened for reading: then it is read and mapped without us, at the speed of the disk.
//
// While an inode has any handle that was opened so, the kernel wants every handle of it to be: a writer
// comes in by FOPEN_DIRECT_IO as well, which sends its reads and writes here. So whether a file is
// lent is decided when nobody has it open, and holds until the last handle is gone (file.fresh).
//
// What the kernel cannot keep from us is a shared map for writing, through a handle that was opened for
// reading and writing: it maps the disk's file, nobody tells us what is stored, and it outlives the
// handle. So from the moment when such a handle exists the file is watched until nobody else may
// write to it, and its bytes are believed only as far as they have been copied (cache.DraftLent).

// lendSize is the length in bytes from which on it pays to lend a file: that costs two system calls.
const lendSize = 1 << 20

// maxLent is how many files are lent at a time: each costs descriptors.
const maxLent = 1000

// lender says whether files are lent.
type lender struct {
	mu   sync.Mutex // guards what follows
	on   bool
	why  string // why not
	lent int    // files
}

// take counts one more file that is lent, if there may be one.
func (l *lender) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on || l.lent >= maxLent {
		return false
	}
	l.lent++
	return true
}

func (l *lender) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent--
}

func (l *lender) stop(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.why = false, why
}

func (l *lender) is() (on bool, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on, l.why
}

// Mode returns how large files are read, "passthrough" or "cached", and of the latter why.
func (fs *FS) Mode() (mode, why string) {
	if on, why := fs.lender.is(); !on {
		return "cached", why
	}
	return "passthrough", ""
}

// decideLending is called once, when the kernel has answered.
func (fs *FS) decideLending() {
	switch {
	case fs.cfg.NoPassthrough:
		fs.lender.stop("switched off")
	case os.Geteuid() != 0:
		fs.lender.stop("not root")
	case fs.server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0:
		fs.lender.stop("this kernel does not have it")
	case !fs.cfg.Cache.Lends():
		fs.lender.stop("the cache's file system is not known to be fit for it")
	default:
		fs.lender.mu.Lock()
		defer fs.lender.mu.Unlock()
		fs.lender.on = true
	}
}

// lend lends a file that has just been opened by the first handle, if it can be. What the kernel has of it in
// its own cache stays there, and is not looked at meanwhile.
func (fs *FS) lend(f *file) {
	if f.lendable() && fs.lender.take() && !fs.lendBody(f) {
		fs.lender.giveBack()
	}
}

func (fs *FS) lendBody(f *file) bool {
	if err := f.openBody(); err != nil {
		return false // whoever reads is told
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writers > 0 || f.draft != nil || f.body == nil {
		return false
	}
	loan, err := f.body.Lend()
	if err != nil {
		fs.cfg.Log.Warn("a file could not be handed to the kernel", "node", f.id, "err", err)
	}
	if loan == nil {
		return false
	}
	id, errno := fs.server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(loan.Fd())})
	if errno != 0 {
		fs.refused(errno)
		if err := loan.Close(); err != nil {
			fs.cfg.Log.Warn("close a file", "node", f.id, "err", err)
		}
		return false
	}
	f.loan, f.backing = loan, id
	return true
}

func (f *file) lendable() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.base.Size >= lendSize && f.writers == 0 && f.draft == nil && !f.deleted
}

// refused notes that the kernel does not take files, unless it may take the next one.
func (fs *FS) refused(errno syscall.Errno) {
	switch errno {
	case syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.EBADF:
		return
	}
	fs.lender.stop(fmt.Sprintf("the kernel says: %v", errno))
	fs.cfg.Log.Warn("large files are read through the daemon", "err", errno)
}

// isLent returns the number under which the kernel has the file; 0: it is not lent.
func (f *file) isLent() int32 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.backing
}

// openLent fills in the reply to an open of a file that is lent.
func (fs *FS) openLent(f *file, h *handle, flags uint32, out *fuse.OpenOut) error {
	out.BackingID = f.isLent()
	out.OpenFlags = fuse.FOPEN_PASSTHROUGH
	switch flags & syscall.O_ACCMODE {
	case syscall.O_RDONLY:
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
		return nil
	case syscall.O_WRONLY: // which nobody can map
		out.OpenFlags |= fuse.FOPEN_DIRECT_IO
		return nil
	}
	out.OpenFlags |= fuse.FOPEN_DIRECT_IO
	draft, err := f.writable()
	if err != nil {
		return err
	}
	if err := draft.Mapped(); err != nil {
		return err
	}
	fs.mu.Lock()
	h.mapper = true
	fs.mu.Unlock()
	fs.watch(f, draft)
	return nil
}

// watchEvery is how long after a store into a map it is recorded at the latest, more or less; of a very
// large file, or after a failure, it takes longer. The msync of such a map reaches the disk and not us.
const (
	watchEvery = 500 * time.Millisecond
	maxWatch   = 30 * time.Second
)

// watch sees to a file that is lent and into which somebody may store through a map: as long as that
// is so, it counts as one more writer.
func (fs *FS) watch(f *file, draft *cache.Draft) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mappers++
	if f.watched || f.closed {
		return
	}
	f.watched = true
	f.handles++
	f.writers++
	fs.telling.Go(func() {
		wait, told := watchEvery, f.timeNow()
		for f.mayBeWritten(draft) {
			select {
			case <-fs.done:
				return // Close records what there is
			case <-time.After(wait):
			}
			began := time.Now()
			if t := f.timeNow(); t != told { // also by somebody's fsync
				fs.server.InodeNotify(f.ino, -1, 0)
				told = t
				f.wasStoredInto()
			}
			if draft.Dirty() && !fs.recordMapped(f) {
				wait = min(2*wait, maxWatch)
				continue
			}
			wait = max(watchEvery, 10*time.Since(began)) // of a very large file not all the time
		}
		if err := fs.leave(f, true); err != nil {
			fs.cfg.Log.Error("close failed", "err", err)
		}
	})
}

// mayBeWritten reports whether the watch goes on, and ends it otherwise: a handle for reading and writing
// that comes later begins another.
func (f *file) mayBeWritten(draft *cache.Draft) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mappers > 0 || draft.Written() {
		return true
	}
	f.watched = false
	return false
}

// noteStored notes that mtime is right: only what is stored into a map from now on moves it. Called with mu held.
func (f *file) noteStored() {
	if f.draft == nil || f.backing == 0 {
		return
	}
	if t, err := f.draft.MTime(); err == nil {
		f.asOf = t
	}
}

// stored moves mtime to when something was stored into a map, if that was after mtime was set.
func (f *file) stored() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draft == nil || f.backing == 0 {
		return
	}
	if t, err := f.draft.MTime(); err == nil && !t.Equal(f.asOf) {
		f.mtime, f.asOf = t.UnixNano(), t
	}
}

// wasStoredInto notes that somebody has changed a file that is lent, without saying so.
func (f *file) wasStoredInto() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wear.written = time.Now()
	f.fs.watchOver(f)
}

func (f *file) timeNow() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.mtime
}

func (f *file) mapperLeft() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mappers--
}

// recordMapped makes what was stored into a map survive a loss of power, and reports whether it could.
func (fs *FS) recordMapped(f *file) bool {
	if err := f.sync(context.Background()); err != nil {
		fs.cfg.Log.Error("what was stored into a map could not be recorded; trying again", "node", f.id, "err", err)
		return false
	}
	return true
}

// endLoan takes the file back from the kernel. Called with mu held.
func (f *file) endLoan() error {
	if f.backing == 0 {
		return nil
	}
	f.fs.server.UnregisterBackingFd(f.backing) // it fails when there is no mount any more
	f.backing = 0
	f.fs.lender.giveBack()
	loan := f.loan
	f.loan = nil
	if loan == nil { // the draft has it
		return nil
	}
	return loan.Close()
}

// beginDraft begins the draft of a version. Called with mu held.
func (f *file) beginDraft(key cache.File, base dbfs.Content) (*cache.Draft, error) {
	if f.loan == nil {
		return f.fs.cfg.Cache.Draft(key, base)
	}
	draft, err := f.fs.cfg.Cache.DraftLent(key, base, f.loan)
	if err == nil {
		f.loan = nil
		f.fs.pages.set(f.ino, 0)
	}
	return draft, err
}
