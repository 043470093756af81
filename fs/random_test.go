package fs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

var seedFlag = flag.Uint64("seed", 0, "of the random tests; 0: another each time")

// seedOf returns the seed of a random test, and says it.
func seedOf(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (-seed %[1]d repeats what it decides)", seed)
	return seed
}

// small makes a cache that has to evict all the time.
func small(_ *Config, o *cache.Options) { o.Size = 1 << 20 }

// TestRandomFile does to a file what may be done to one, through several handles, and keeps
// its bytes beside it in memory.
func TestRandomFile(t *testing.T) {
	seed := seedOf(t)
	d := newDrive(t, small)
	server := newElsewhere(d, d.root)
	for _, max := range []int{10_000, 200_000, 6_000_000} {
		f := &fileModel{d: d, name: d.path(fmt.Sprint(max)), max: max, rng: rand.New(rand.NewPCG(seed, uint64(max))), readers: make(map[*os.File]bool)}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("file of up to %d bytes, last steps:\n%s", max, strings.Join(f.done[len(f.done)-min(20, len(f.done)):], "\n"))
			}
		})
		d.must(os.WriteFile(f.name, nil, 0o644))
		for i := range 250 {
			f.step()
			if i%25 == 0 { // let go of everything, so that it can be sent and evicted
				f.closeAll()
				server.take()
			}
		}
		f.closeAll()
		server.take()
		f.check()
		if t.Failed() {
			t.FailNow()
		}
	}
}

// A fileModel is a file and what it should hold.
type fileModel struct {
	d       *drive
	name    string
	max     int
	rng     *rand.Rand
	want    []byte
	handles []*os.File
	readers map[*os.File]bool // those of handles that only read
	done    []string
}

func (f *fileModel) closeAll() {
	f.d.t.Helper()
	for _, h := range f.handles {
		f.d.must(h.Close())
	}
	f.handles = nil
	f.d.eventually("the file is closed", func() bool { return len(f.d.fs.openFiles()) == 0 })
}

func (f *fileModel) did(format string, a ...any) { f.done = append(f.done, fmt.Sprintf(format, a...)) }

func (f *fileModel) step() {
	f.d.t.Helper()
	if len(f.handles) == 0 || len(f.handles) < 4 && f.rng.IntN(10) == 0 {
		f.open()
	}
	i := f.rng.IntN(len(f.handles))
	h := f.handles[i]
	if f.readers[h] {
		f.readerStep(h, i)
		return
	}
	off, n := f.span()
	switch f.rng.IntN(17) {
	case 0, 1, 2, 3:
		f.did("write %d at %d", n, off)
		b := noise(f.rng.Uint64(), n)
		_, err := h.WriteAt(b, int64(off))
		f.d.must(err)
		f.grow(off + n)
		copy(f.want[off:], b)
	case 4, 5, 6:
		f.did("read %d at %d", n, off)
		f.read(h, off, n)
	case 7:
		f.did("truncate to %d", off)
		f.d.must(h.Truncate(int64(off)))
		f.grow(off)
		f.want = f.want[:off]
	case 8:
		f.did("close")
		f.d.must(h.Close())
		f.handles = slices.Delete(f.handles, i, i+1)
	case 9:
		f.did("fsync, drop pages")
		f.d.must(h.Sync())
		f.d.must(unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_DONTNEED))
	case 10:
		f.did("truncate the name to %d", off)
		f.d.must(os.Truncate(f.name, int64(off)))
		f.grow(off)
		f.want = f.want[:off]
	case 11:
		if len(f.want) == 0 || f.rng.IntN(3) > 0 { // a process each: not too often
			return
		}
		text := fmt.Sprintf("map %d", len(f.done))
		at := f.rng.IntN(len(f.want))
		text = text[:min(len(text), len(f.want)-at)]
		f.did("map %q at %d", text, at)
		f.d.must(child(f.d.t, "map", f.name, fmt.Sprint(at), text, "shared"))
		copy(f.want[at:], text)
	case 12, 13:
		f.allocate(h, off, n)
	case 14:
		f.did("look for holes")
		f.holes(h)
	case 15:
		if f.max > dbfs.ChunkSize && f.rng.IntN(2) == 0 { // a whole chunk, which is shared if it is recorded
			f.copyRange(h, 0, dbfs.ChunkSize, dbfs.ChunkSize)
			return
		}
		f.copyRange(h, off, n, f.rng.IntN(f.max))
	case 16:
		f.did("evict")
		f.d.evictAll()
	}
}

// allocate makes a hole or zeros, or only makes the file longer.
func (f *fileModel) allocate(h *os.File, off, n int) {
	f.d.t.Helper()
	const punch, zero, keep = unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_KEEP_SIZE
	mode := []uint32{0, keep, punch | keep, punch | keep, zero, zero | keep}[f.rng.IntN(6)]
	f.did("allocate %d at %d, mode %d", n, off, mode)
	f.d.must(unix.Fallocate(int(h.Fd()), mode, int64(off), int64(n)))
	if mode&keep == 0 {
		f.grow(off + n)
	}
	if mode&(punch|zero) != 0 {
		clear(f.want[min(off, len(f.want)):min(off+n, len(f.want))])
	}
}

// holes goes from hole to hole, which all have to hold zeros, and comes to the end.
func (f *fileModel) holes(h *os.File) {
	f.d.t.Helper()
	fd := int(h.Fd())
	for at := 0; at < len(f.want); {
		data, err := unix.Seek(fd, int64(at), unix.SEEK_DATA)
		if err == unix.ENXIO {
			data = int64(len(f.want))
		} else {
			f.d.must(err)
		}
		if i := slices.IndexFunc(f.want[at:data], func(b byte) bool { return b != 0 }); i >= 0 {
			f.d.t.Fatalf("a hole from %d to %d, though there are bytes at %d", at, data, at+i)
		}
		if at = int(data); at == len(f.want) {
			return
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		f.d.must(err)
		if hole <= data || hole > int64(len(f.want)) {
			f.d.t.Fatalf("data from %d to %d of %d", data, hole, len(f.want))
		}
		at = int(hole)
	}
	_, err := unix.Seek(fd, int64(len(f.want)), unix.SEEK_HOLE)
	wantErrno(f.d.t, "look for a hole at the end", err, unix.ENXIO)
}

// copyRange copies a range to where it does not overlap.
func (f *fileModel) copyRange(h *os.File, off, n, to int) {
	f.d.t.Helper()
	n = min(n, len(f.want)-off)
	if n <= 0 || to < off+n && off < to+n {
		return
	}
	f.did("copy %d from %d to %d", n, off, to)
	for done := 0; done < n; {
		from, at := int64(off+done), int64(to+done)
		k, err := unix.CopyFileRange(int(h.Fd()), &from, int(h.Fd()), &at, n-done, 0)
		f.d.must(err)
		if k == 0 {
			f.d.t.Fatalf("copied %d of %d", done, n)
		}
		done += k
	}
	f.grow(to + n)
	copy(f.want[to:], f.want[off:off+n])
}

// open opens the file one more time, at times only for reading.
func (f *fileModel) open() {
	f.d.t.Helper()
	how := []int{os.O_RDWR, os.O_RDONLY}[f.rng.IntN(2)]
	f.did("open, flags %d", how)
	h, err := os.OpenFile(f.name, how, 0)
	f.d.must(err)
	f.handles = append(f.handles, h)
	f.readers[h] = how == os.O_RDONLY
}

// readerStep does what can be done through a handle that only reads.
func (f *fileModel) readerStep(h *os.File, i int) {
	f.d.t.Helper()
	off, n := f.span()
	switch f.rng.IntN(8) {
	case 0:
		f.did("close a reader")
		f.d.must(h.Close())
		f.handles = slices.Delete(f.handles, i, i+1)
	case 1:
		f.did("look for holes, reading")
		f.holes(h)
	default:
		f.did("read %d at %d, reading", n, off)
		f.read(h, off, n)
	}
}

func (f *fileModel) span() (off, n int) {
	return f.rng.IntN(f.max), 1 + f.rng.IntN(max(1, f.max/(1<<f.rng.IntN(8))))
}

func (f *fileModel) grow(size int) {
	if size > len(f.want) {
		f.want = append(f.want, make([]byte, size-len(f.want))...)
	}
}

func (f *fileModel) read(h *os.File, off, n int) {
	f.d.t.Helper()
	b := make([]byte, n)
	got, err := h.ReadAt(b, int64(off))
	if err != nil && err != io.EOF {
		f.d.t.Fatal(err)
	}
	want := f.want[min(off, len(f.want)):min(off+n, len(f.want))]
	if !bytes.Equal(b[:got], want) {
		f.d.t.Fatalf("read %d at %d: %d bytes that differ from the %d expected, first at %d\n%s",
			n, off, got, len(want), off+firstDifference(b[:got], want), strings.Join(f.done, "\n"))
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// check reads the closed file, from the kernel and from below.
func (f *fileModel) check() {
	f.d.t.Helper()
	for range 2 {
		got, err := os.ReadFile(f.name)
		f.d.must(err)
		if !bytes.Equal(got, f.want) {
			f.d.t.Errorf("the file has %d bytes that differ from the %d expected, first at %d", len(got), len(f.want), firstDifference(got, f.want))
		}
		f.d.dropPages(filepath.Base(f.name))
	}
}

// TestEvictedAndFetchedAgain reads through a mount what is only at the server any more.
func TestEvictedAndFetchedAgain(t *testing.T) {
	d := newDrive(t, small)
	server := newElsewhere(d, d.root)
	want := make(map[string][]byte)
	for i := range 8 {
		name := fmt.Sprint(i)
		want[name] = noise(uint64(i), 1<<(15+2*(i%4))+i)
		d.must(os.WriteFile(d.path(name), want[name], 0o644))
	}
	d.eventually("all is closed", func() bool { return len(d.fs.openFiles()) == 0 })
	server.take()
	if n := len(d.root.Pending()); n != 0 {
		t.Fatalf("%d edits are still pending", n)
	}
	for range 3 {
		for name, b := range want {
			d.dropPages(name)
			if got, err := os.ReadFile(d.path(name)); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: %d bytes, %v, that differ from the %d written", name, len(got), err, len(b))
			}
		}
	}
	if st := d.cache.Stats(); st.Fetched == 0 || st.Evicted == 0 {
		t.Errorf("%d bytes were evicted and %d fetched, want some", st.Evicted, st.Fetched)
	}
}

// TestRandomTree does the same to the mount and to a directory of the disk, and compares
// what both say and what becomes of both.
func TestRandomTree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := newDrive(t)
	m := &treeModel{rng: rand.New(rand.NewPCG(seed, 1)), roots: [2]string{d.dir, t.TempDir()}}
	for range 3000 {
		what, do := m.step()
		got, want := do(m.roots[0]), do(m.roots[1])
		if errnoOf(got) != errnoOf(want) {
			t.Fatalf("%s: %v, on the disk %v", what, got, want)
		}
	}
	got, want := treeText(t, m.roots[0]), treeText(t, m.roots[1])
	if got != want {
		t.Fatalf("the trees differ:\n%s\non the disk:\n%s", got, want)
	}
	if strings.Count(got, "\n") < 20 {
		t.Errorf("at the end there was little to compare:\n%s", got)
	}
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

type treeModel struct {
	rng   *rand.Rand
	roots [2]string
}

// name returns a path of few names, so that the same ones meet again and again.
func (m *treeModel) name() string {
	p := ""
	for range 1 + m.rng.IntN(4) {
		p += "/" + string(rune('a'+m.rng.IntN(5)))
	}
	return p
}

// step chooses something to do with a tree.
func (m *treeModel) step() (string, func(root string) error) {
	a, b, n := m.name(), m.name(), m.rng.IntN(100_000)
	switch k := m.rng.IntN(24); {
	case k > 21:
		return "link " + a + " " + b, func(root string) error { return unix.Link(root+a, root+b) }
	case k == 21:
		return "unlink " + a, func(root string) error { return unix.Unlink(root + a) }
	case k == 20:
		return "exchange " + a + " " + b, func(root string) error {
			return unix.Renameat2(unix.AT_FDCWD, root+a, unix.AT_FDCWD, root+b, unix.RENAME_EXCHANGE)
		}
	case k < 4:
		return "mkdir " + a, func(root string) error { return unix.Mkdir(root+a, 0o755) }
	case k < 8:
		return "write " + a, func(root string) error { return os.WriteFile(root+a, noise(uint64(n), n), 0o644) }
	case k < 12:
		return "rename " + a + " " + b, func(root string) error { return unix.Rename(root+a, root+b) }
	case k == 12:
		return "rename, not replacing, " + a + " " + b, func(root string) error {
			return unix.Renameat2(unix.AT_FDCWD, root+a, unix.AT_FDCWD, root+b, unix.RENAME_NOREPLACE)
		}
	case k == 13:
		return "unlink " + a, func(root string) error { return unix.Unlink(root + a) }
	case k == 14:
		return "rmdir " + a, func(root string) error { return unix.Rmdir(root + a) }
	case k == 15:
		return "symlink " + a, func(root string) error { return unix.Symlink("."+b, root+a) }
	case k == 16:
		return "chmod " + a, func(root string) error { return unix.Chmod(root+a, 0o700+uint32(n%0o100)) }
	case k == 17:
		return "truncate " + a, func(root string) error { return unix.Truncate(root+a, int64(n)) }
	case k == 18:
		return "read " + a, func(root string) error { return onlyErr(os.ReadFile(root + a)) }
	}
	return "append to " + a, func(root string) error {
		f, err := os.OpenFile(root+a, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(noise(uint64(n), n/10))
		return errors.Join(err, f.Close())
	}
}

// treeText writes down all that a tree holds.
func treeText(t *testing.T, root string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(root, func(p string, e iofs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s %v", strings.TrimPrefix(p, root), info.Mode())
		if !info.IsDir() {
			fmt.Fprintf(&text, " %d links", info.Sys().(*syscall.Stat_t).Nlink)
		}
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, " %d %x", len(b), sum(b))
		case info.Mode()&iofs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text.WriteString(" -> " + to)
		}
		text.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
