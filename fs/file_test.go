package fs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// sizes are file lengths around every border that the parts below have.
var sizes = []int{0, 1, 4095, 4096, 4097, cache.SmallSize - 1, cache.SmallSize, cache.SmallSize + 1, dbfs.ChunkSize - 1, dbfs.ChunkSize, dbfs.ChunkSize + 1, 9_000_000}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func TestFilesOfAllSizes(t *testing.T) {
	d := newDrive(t)
	for _, size := range sizes {
		want := noise(uint64(size), size)
		name := d.path(fmt.Sprint(size))
		d.must(os.WriteFile(name, want, 0o644))
		for range 2 { // what the kernel has, then what is on the disk
			got, err := os.ReadFile(name)
			d.must(err)
			if !bytes.Equal(got, want) {
				t.Errorf("a file of %d bytes reads back %d different ones", size, len(got))
			}
			if st := d.stat(fmt.Sprint(size)); st.Size != int64(size) || st.Nlink != 1 {
				t.Errorf("a file of %d bytes shows size %d, %d links", size, st.Size, st.Nlink)
			}
			d.dropPages(fmt.Sprint(size))
		}
	}
}

// dropPages makes the kernel forget the bytes of a file.
func (d *drive) dropPages(name string) {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	d.must(err)
	defer f.Close()
	d.must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

func TestWriteAnywhere(t *testing.T) {
	d := newDrive(t)
	for _, off := range []int64{0, 1, 100, 4096, cache.SmallSize - 3, cache.SmallSize + 10, dbfs.ChunkSize - 3, 2*dbfs.ChunkSize + 5} {
		name := fmt.Sprint(off)
		d.write(name, "start")
		f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
		d.must(err)
		_, err = f.WriteAt([]byte("hello"), off)
		d.must(err)
		want := make([]byte, max(5, off+5))
		copy(want, "start")
		copy(want[off:], "hello")
		check := func(when string) {
			t.Helper()
			got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
			d.must(err)
			if !bytes.Equal(got, want) {
				t.Errorf("write at %d, %s: %d bytes that are not the %d expected", off, when, len(got), len(want))
			}
		}
		check("while open")
		d.must(f.Close())
		d.wantRead(name, string(want))
	}
}

func TestTruncate(t *testing.T) {
	d := newDrive(t)
	for _, from := range sizes {
		for _, to := range sizes {
			name := fmt.Sprintf("%d to %d", from, to)
			want := noise(uint64(from), from)
			d.must(os.WriteFile(d.path(name), want, 0o644))
			d.must(os.Truncate(d.path(name), int64(to)))
			want = append(want[:min(from, to)], make([]byte, max(0, to-from))...)
			if got := d.read(name); got != string(want) {
				t.Errorf("%s: wrong bytes", name)
			}
			d.must(os.Remove(d.path(name)))
		}
	}
}

func TestSparseFileTakesNoSpace(t *testing.T) {
	d := newDrive(t)
	f, err := os.Create(d.path("sparse"))
	d.must(err)
	d.must(f.Truncate(1 << 30))
	_, err = f.WriteAt([]byte("end"), 1<<30-3)
	d.must(err)
	d.must(f.Close())
	if st := d.stat("sparse"); st.Size != 1<<30 || st.Blocks > 2*dbfs.ChunkSize/512 {
		t.Errorf("size %d in %d blocks, want 1 GiB in one chunk's", st.Size, st.Blocks)
	}
	f, err = os.Open(d.path("sparse"))
	d.must(err)
	defer f.Close()
	b := make([]byte, 10)
	_, err = f.ReadAt(b, 1<<30-10)
	d.must(err)
	if string(b) != "\x00\x00\x00\x00\x00\x00\x00end" {
		t.Errorf("the end reads %q", b)
	}
}

func TestTooLarge(t *testing.T) {
	d := newDrive(t)
	f, err := os.Create(d.path("f"))
	d.must(err)
	defer f.Close()
	for what, try := range map[string]func() error{
		"truncate":  func() error { return f.Truncate(dbfs.MaxFileSize + 1) },
		"write":     func() error { _, err := f.WriteAt([]byte{1}, dbfs.MaxFileSize); return err },
		"fallocate": func() error { return unix.Fallocate(int(f.Fd()), 0, dbfs.MaxFileSize, 1) },
	} {
		wantErrno(t, what, try(), unix.EFBIG)
	}
	if st := d.stat("f"); st.Size != 0 {
		t.Errorf("refused, and yet the size is %d", st.Size)
	}
	d.must(f.Truncate(dbfs.MaxFileSize))
}

func TestAppendThroughTwoHandles(t *testing.T) {
	d := newDrive(t)
	d.write("log", "")
	open := func() *os.File {
		f, err := os.OpenFile(d.path("log"), os.O_WRONLY|os.O_APPEND, 0)
		d.must(err)
		return f
	}
	a, b := open(), open()
	want := ""
	for i := range 50 {
		for _, f := range []*os.File{a, b} {
			line := fmt.Sprintf("%d %d\n", i, f.Fd())
			_, err := f.WriteString(line)
			d.must(err)
			want += line
		}
	}
	d.must(a.Close())
	d.wantRead("log", want)
	d.must(b.Close())
	d.wantRead("log", want)
}

func TestAppendFromSeveralProcesses(t *testing.T) {
	d := newDrive(t)
	d.write("log", "")
	const procs, lines = 4, 200
	var wg sync.WaitGroup
	for p := range procs {
		wg.Go(func() {
			if err := child(t, "append", d.path("log"), fmt.Sprint(lines), fmt.Sprintf("process %d wrote this\n", p)); err != nil {
				t.Errorf("process %d: %v", p, err)
			}
		})
	}
	wg.Wait()
	counts := make(map[string]int)
	for line := range strings.Lines(d.read("log")) {
		counts[line]++
	}
	for p := range procs {
		if got := counts[fmt.Sprintf("process %d wrote this\n", p)]; got != lines {
			t.Errorf("%d lines of process %d, want %d", got, p, lines)
		}
	}
}

func TestOpenTruncates(t *testing.T) {
	d := newDrive(t)
	d.write("f", strings.Repeat("long ", 100_000))
	d.write("f", "short") // O_TRUNC
	d.wantRead("f", "short")
	f, err := os.OpenFile(d.path("f"), os.O_WRONLY|os.O_TRUNC, 0)
	d.must(err)
	d.must(f.Close())
	d.wantRead("f", "")
}

func TestMemoryMaps(t *testing.T) {
	for _, test := range []struct {
		how     string
		changes bool
	}{{"shared", true}, {"closed", true}, {"private", false}} {
		for _, size := range []int{5000, 200_000} {
			t.Run(fmt.Sprint(test.how, size), func(t *testing.T) {
				d := newDrive(t)
				want := noise(1, size)
				d.must(os.WriteFile(d.path("f"), want, 0o644))
				past := time.Unix(1e9, 0)
				d.must(os.Chtimes(d.path("f"), past, past))
				before := d.stat("f")
				if err := child(t, "map", d.path("f"), "4090", "mapped memory", test.how); err != nil {
					t.Fatal(err)
				}
				if test.changes {
					copy(want[4090:], "mapped memory")
				}
				d.eventually("bytes as the map left them", func() bool { return d.read("f") == string(want) })
				d.eventually("the file is closed", func() bool { return len(d.fs.openFiles()) == 0 })
				if after := d.stat("f"); (after.Mtim != before.Mtim) != test.changes {
					t.Errorf("time of modification went from %v to %v", before.Mtim, after.Mtim)
				}
				d.dropPages("f")
				d.wantRead("f", string(want))
			})
		}
	}
}

func TestUnlinkedButOpen(t *testing.T) {
	for _, size := range []int{10, 300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			d := newDrive(t)
			want := noise(2, size)
			d.must(os.WriteFile(d.path("f"), want, 0o640))
			f, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
			d.must(err)
			defer f.Close()
			d.must(os.Remove(d.path("f")))
			_, err = f.WriteAt([]byte("after"), 5)
			d.must(err)
			copy(want[5:], "after")
			d.must(f.Sync())
			d.must(f.Chmod(0o600))
			d.must(f.Truncate(int64(size - 1)))
			want = want[:size-1]
			var st unix.Stat_t
			d.must(unix.Fstat(int(f.Fd()), &st))
			if st.Nlink != 0 || st.Size != int64(len(want)) || st.Mode&0o777 != 0o600 {
				t.Errorf("fstat shows %d links, size %d, mode %o", st.Nlink, st.Size, st.Mode)
			}
			d.must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
			d.must(err)
			if !bytes.Equal(got, want) {
				t.Errorf("reads %d other bytes than were written", len(got))
			}
			d.write("f", "another") // the name is free
			d.wantRead("f", "another")
			d.must(f.Close())
			d.wantRead("f", "another")
			d.eventually("nothing is kept of what is gone", func() bool {
				d.fs.mu.Lock()
				defer d.fs.mu.Unlock()
				return len(d.fs.ghosts) == 0 && len(d.fs.files) == 0 && len(d.fs.handles) == 0
			})
			if n := len(d.root.Pending()); n != 1 {
				t.Errorf("%d edits are pending, want one: of the other file", n)
			}
		})
	}
}

func TestRenameWhileOpen(t *testing.T) {
	d := newDrive(t)
	d.must(os.Mkdir(d.path("dir"), 0o755))
	f, err := os.Create(d.path("a"))
	d.must(err)
	_, err = f.WriteString("one ")
	d.must(err)
	d.must(os.Rename(d.path("a"), d.path("dir/b")))
	_, err = f.WriteString("two")
	d.must(err)
	d.wantRead("dir/b", "one two")
	d.must(f.Close())
	d.wantRead("dir/b", "one two")
	wantErrno(t, "old name", onlyErr(os.Stat(d.path("a"))), unix.ENOENT)
}

func TestReplaceWhileOpen(t *testing.T) {
	d := newDrive(t)
	d.write("old", "old bytes")
	d.write("new", "new bytes")
	f, err := os.OpenFile(d.path("old"), os.O_RDWR, 0)
	d.must(err)
	d.must(os.Rename(d.path("new"), d.path("old")))
	d.wantRead("old", "new bytes")
	_, err = f.WriteAt([]byte("OLD"), 0)
	d.must(err)
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	d.must(err)
	if string(got) != "OLD bytes" {
		t.Errorf("the replaced file reads %q", got)
	}
	d.must(f.Close())
	d.wantRead("old", "new bytes")
}

// What is half written is nobody's version of the file: a handle that ends late, or a truncate,
// does not record it.
func TestNobodyRecordsWhatAnotherWrites(t *testing.T) {
	d := newDrive(t)
	d.write("file", "the old text")
	f, err := os.OpenFile(d.path("file"), os.O_WRONLY|os.O_TRUNC, 0)
	d.must(err)
	_, err = f.WriteString("half of the")
	d.must(err)
	d.must(os.Truncate(d.path("file"), 4))
	if n, err := d.root.Lookup("file"); err != nil || n.Content.Size != int64(len("the old text")) {
		t.Errorf("while it is written the file is recorded with %d bytes, %v", n.Content.Size, err)
	}
	d.must(f.Close())
	if n, err := d.root.Lookup("file"); err != nil || n.Content.Size != 4 {
		t.Errorf("after close the file is recorded with %d bytes, %v", n.Content.Size, err)
	}
}

func TestOpenForWritingDoesNotWrite(t *testing.T) {
	d := newDrive(t)
	d.write("f", "as it was")
	before, edits := d.stat("f"), d.root.NextOp()
	f, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
	d.must(err)
	d.must(f.Close())
	if after := d.stat("f"); after.Mtim != before.Mtim || d.root.NextOp() != edits {
		t.Error("opening and closing for writing changed the file")
	}
}

func TestLocksBetweenProcesses(t *testing.T) {
	d := newDrive(t)
	d.write("f", "")
	f, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
	d.must(err)
	defer f.Close()
	d.must(unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	d.must(unix.Flock(int(f.Fd()), unix.LOCK_EX))
	wantErrno(t, "fcntl lock that another process has", child(t, "lock", d.path("f")), unix.EAGAIN)
	wantErrno(t, "flock that another process has", child(t, "flock", d.path("f")), unix.EAGAIN)
	d.must(f.Close())
	if err := child(t, "lock", d.path("f")); err != nil {
		t.Errorf("lock that is free: %v", err)
	}
}

func TestSyncIsDurable(t *testing.T) {
	d := newDrive(t)
	f, err := os.Create(d.path("f"))
	d.must(err)
	defer f.Close()
	_, err = f.WriteString("safe")
	d.must(err)
	d.must(f.Sync())
	n, err := d.root.Lookup("f")
	d.must(err)
	if n.Content.Size != 4 {
		t.Errorf("after fsync of an open file its record says %d bytes, want 4", n.Content.Size)
	}
	dir, err := os.Open(d.dir)
	d.must(err)
	defer dir.Close()
	d.must(dir.Sync())
}

func onlyErr[T any](_ T, err error) error { return err }

func TestHoles(t *testing.T) {
	d := newDrive(t)
	f, err := os.Create(d.path("f"))
	d.must(err)
	defer f.Close()
	const size = 4 * dbfs.ChunkSize
	_, err = f.WriteAt([]byte(noise(1, size)), 0)
	d.must(err)
	punch := func(off, n int64) {
		d.must(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n))
	}
	find := func(off int64, whence int, want int64) {
		t.Helper()
		if at, err := unix.Seek(int(f.Fd()), off, whence); err != nil || at != want {
			t.Errorf("from %d: %d, %v, want %d", off, at, err, want)
		}
	}
	find(0, unix.SEEK_HOLE, size)
	punch(dbfs.ChunkSize, 2*dbfs.ChunkSize)
	punch(8192, 8192)
	find(0, unix.SEEK_DATA, 0)
	find(0, unix.SEEK_HOLE, 8192)
	find(8192, unix.SEEK_DATA, 16384)
	find(16384, unix.SEEK_HOLE, dbfs.ChunkSize)
	find(dbfs.ChunkSize+1, unix.SEEK_DATA, 3*dbfs.ChunkSize)
	find(3*dbfs.ChunkSize, unix.SEEK_HOLE, size)
	wantErrno(t, "beyond the end", onlyErr(unix.Seek(int(f.Fd()), size, unix.SEEK_DATA)), unix.ENXIO)
	d.must(flush(f))
	// What is sealed knows holes by the chunk.
	find(0, unix.SEEK_HOLE, dbfs.ChunkSize)
	find(dbfs.ChunkSize, unix.SEEK_DATA, 3*dbfs.ChunkSize)
	if st := d.stat("f"); st.Blocks > 2*dbfs.ChunkSize/512 {
		t.Errorf("%d blocks, though half of it is holes", st.Blocks)
	}
	punch(3*dbfs.ChunkSize, 1<<40) // to the end, and no longer
	if st := d.stat("f"); st.Size != size {
		t.Errorf("size %d, want %d", st.Size, size)
	}
	wantErrno(t, "collapse", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096), unix.EOPNOTSUPP)
}

// Between the moment when a file's bytes are sealed and the one when they are recorded it has
// the length that its writer gave it: the kernel cuts off what it has of a file that is said to be
// shorter, and shows zeros there when it is said to be longer again.
func TestLengthBetweenSealAndRecord(t *testing.T) {
	d := newDrive(t)
	d.must(os.WriteFile(d.path("a"), make([]byte, 100), 0o644))
	w, err := os.OpenFile(d.path("a"), os.O_WRONLY, 0)
	d.must(err)
	defer w.Close()
	for _, size := range []int64{200, 50, cache.SmallSize + 1} {
		_, err = w.WriteAt([]byte("x"), 0)
		d.must(err)
		d.must(w.Truncate(size))
		f := d.fs.openFile(d.stat("a").Ino)
		_, err = f.draft.Seal(t.Context())
		d.must(err)
		n, err := f.node()
		d.must(err)
		if n.Content.Size != size {
			t.Errorf("a file of %d bytes that is sealed and not recorded is said to have %d", size, n.Content.Size)
		}
	}
}
