package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// A Loan is a body's file in the hands of the kernel, which reads and maps it by itself. While it
// lasts, and as long as any map made meanwhile, nobody destroys a byte of the file (lease.go). Who
// writes to a file that is lent writes to this very descriptor, so that all see it: LentDraft.
type Loan struct {
	c    *Cache
	file File
	f    *os.File // to read: a descriptor of its own, so that a lease of others sees the loan
	w    *os.File // to write; nil until the file has been taken, and where it could not be opened again
	name string   // where the file is, once it is no body's any more; "": nowhere
}

// maxAside is how many unsent bytes a file that is lent may have: whoever begins to write to it has to
// wait until they are set aside.
const maxAside = 1 << 30

// Lend lends the file of a version to the kernel; nil if it does not hold every byte of it, seen to be
// right. The version stays open as long as the loan.
func (h *Body) Lend() (*Loan, error) {
	if h.b == nil {
		return nil, nil
	}
	b := h.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lendable(h.content) {
		return nil, nil
	}
	f, err := os.Open(b.home.bodyFile(b.file))
	if err != nil {
		return nil, fmt.Errorf("lend %s: %w", b.file, diskError(err))
	}
	if !sameFile(f, b.f) {
		return nil, errors.Join(fmt.Errorf("lend %s: %w: another file has its name", b.file, dbfs.ErrCorrupt), f.Close())
	}
	return &Loan{c: h.c, file: b.file, f: f}, nil
}

// Lends reports whether files can be lent at all.
func (c *Cache) Lends() bool { return c.cache.lends() && c.state.lends() }

// lendable reports whether the file is that version, from its first byte to its last.
func (b *body) lendable(content dbfs.Content) bool {
	if b.home == nil || !b.home.lends() || b.draft != nil || b.touched.any() || !b.content.Equal(content) {
		return false
	}
	unsent := int64(0)
	for i := range content.Chunks.All() {
		if !(b.present.has(i) && b.checked.has(i)) {
			return false
		}
		if b.unsent.has(i) {
			unsent += int64(dbfs.ChunkLen(content.Size, i))
		}
	}
	if unsent > maxAside {
		return false
	}
	st, err := b.f.Stat()
	return err == nil && st.Size() == content.Size
}

// Fd is the descriptor to be lent; it is the loan's.
func (l *Loan) Fd() int { return int(l.f.Fd()) }

// Close ends the loan. Maps that were made meanwhile may still be there.
func (l *Loan) Close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	if l.w != nil {
		err = errors.Join(err, l.w.Close())
	}
	if l.name != "" {
		err = errors.Join(err, removeFile(l.name))
	}
	l.f, l.w, l.name = nil, nil, ""
	return err
}

// take takes the file away from its body, if it still has it: from now on whoever writes to the loan
// changes no body. What others need of it is kept for them.
func (l *Loan) take() error {
	if err := l.openWriter(); err != nil {
		return err
	}
	return l.part()
}

// openWriter opens the very same file, wherever it is, for writing.
func (l *Loan) openWriter() error {
	if l.w != nil {
		return nil
	}
	w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", l.Fd()), os.O_RDWR, 0)
	if err != nil {
		return diskError(err)
	}
	l.w = w
	return nil
}

func (l *Loan) part() error {
	b, err := l.c.acquire(l.file)
	if err != nil {
		return err
	}
	defer l.c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.f == nil || !sameFile(b.f, l.f) {
		return nil
	}
	name := b.home.lentFile(b.file, l.c.lent.Add(1))
	if err := makeDir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := b.yield(name); err != nil {
		return err
	}
	l.name = name
	return nil
}

// written reports whether somebody else may write to the file: through a handle, or a map that has
// outlived it. Nobody may be writing to the loan.
func (l *Loan) written() (bool, error) {
	if l.w != nil {
		if err := l.w.Close(); err != nil {
			return true, err
		}
		l.w = nil
	}
	_, err := unix.FcntlInt(l.f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	others := err != nil // EAGAIN; and whatever else keeps us from knowing
	if err == nil {
		unix.FcntlInt(l.f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return others, l.openWriter()
}

// yield gives the body's file away, under another name. A crash leaves a file that no record knows
// of, or one among the lent, which the next Open removes.
func (b *body) yield(name string) error {
	for i := range b.present.all() {
		if err := b.vacate(i); err != nil {
			return err
		}
	}
	if err := b.leaveKept(); err != nil {
		return err
	}
	was := b.home.bodyFile(b.file)
	if err := b.forget(b.home); err != nil {
		return err
	}
	b.f.Close()
	b.home, b.f, b.content, b.parts = nil, nil, dbfs.Content{}, parts{}
	b.account()
	return diskError(os.Rename(was, name))
}

// giveBack makes the file the body of a version that it holds, unless somebody else has it, or the
// body is another's by now. Its chunks are compared with their names before anybody is given them.
func (l *Loan) giveBack(content dbfs.Content) error {
	if l.name == "" || content.Size <= SmallSize {
		return l.Close()
	}
	name := l.name
	l.name = ""
	f, err := openSparse(name, false)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	err = l.Close()
	b, e := l.c.acquire(l.file)
	if e != nil {
		return errors.Join(err, e, f.Close(), removeFile(name))
	}
	defer l.c.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	adopted := false
	if shared, e := stillShared(f); !shared && e == nil && b.home == nil && b.draft == nil && len(b.handles) == 0 {
		adopted, e = b.adopt(f, content)
		err = errors.Join(err, e)
	}
	if !adopted {
		err = errors.Join(err, f.Close(), removeFile(name))
	}
	return err
}

func (b *body) adopt(f *os.File, content dbfs.Content) (bool, error) {
	to := b.c.cache.bodyFile(b.file)
	if err := makeDir(filepath.Dir(to)); err != nil {
		return false, err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return false, diskError(err)
	}
	b.home, b.f, b.content, b.parts = b.c.cache, f, content, parts{clock: b.c.evictor.now()}
	var hints []change
	for i, id := range content.Chunks.All() {
		b.present.set(i)
		hints = append(hints, set(hintKey(id, spot{b.file, i}), []byte{}))
	}
	err := b.save(append(hints, set(contentKey(b.file), encodeContent(content)))...)
	b.c.evictor.wake()
	return true, err
}

// lentFile returns a name that no other loan has: versions of one file can be lent at the same time.
func (h *home) lentFile(f File, n int64) string {
	return filepath.Join(h.dir, "lent", fmt.Sprintf("%s-%d", f, n))
}

// clearLent removes what was lent when a process died.
func (h *home) clearLent() error { return os.RemoveAll(filepath.Join(h.dir, "lent")) }

// lends reports whether files of the home may be lent: it must be known of their file system that
// it has leases, and that a store into a map changes a file's time after every sync, by little steps.
func (h *home) lends() bool {
	h.lending.Do(func() {
		var st unix.Statfs_t
		if err := unix.Statfs(h.dir, &st); err != nil {
			return
		}
		switch st.Type {
		case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
			h.mayLend = leasesWork(h.dir) && timesAreFine(h.dir)
		}
	})
	return h.mayLend
}

// leasesWork tries out whether a lease notices another descriptor.
func leasesWork(dir string) bool {
	f, err := os.CreateTemp(dir, tmpPrefix)
	if err != nil {
		return false
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if alone, err := isShared(f); alone || err != nil {
		return false
	}
	other, err := os.Open(f.Name())
	if err != nil {
		return false
	}
	defer other.Close()
	shared, err := isShared(f)
	return shared && err == nil
}

// timesAreFine tries out whether a file's time is kept to the nanosecond: ext4 with small inodes has seconds,
// and two stores within one could not be told apart.
func timesAreFine(dir string) bool {
	f, err := os.CreateTemp(dir, tmpPrefix)
	if err != nil {
		return false
	}
	defer f.Close()
	defer os.Remove(f.Name())
	want := time.Unix(1_000_000_000, 123_456_789)
	if err := os.Chtimes(f.Name(), want, want); err != nil {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.ModTime().Equal(want)
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}
