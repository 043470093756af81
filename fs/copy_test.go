package fs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// copyRange copies as much as one call does.
func copyRange(to *os.File, dst int64, from *os.File, src int64, n int) (int, error) {
	return unix.CopyFileRange(int(from.Fd()), &src, int(to.Fd()), &dst, n, 0)
}

// copyAll copies until nothing more comes.
func copyAll(to *os.File, dst int64, from *os.File, src int64, n int) (done int, err error) {
	for done < n {
		k, err := copyRange(to, dst+int64(done), from, src+int64(done), n-done)
		if k <= 0 || err != nil {
			return done, err
		}
		done += k
	}
	return done, nil
}

func (d *drive) open(name string) *os.File {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o644)
	d.must(err)
	d.t.Cleanup(func() { f.Close() })
	return f
}

// flush has the kernel say that a descriptor of an open file was closed.
func flush(f *os.File) error {
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func TestCopyFileRange(t *testing.T) {
	d := newDrive(t, counted)
	want := noise(1, 3*dbfs.ChunkSize+12345)
	d.must(os.WriteFile(d.path("a"), want, 0o644))
	a, b := d.open("a"), d.open("b")
	asked := d.requests.of(func() {
		n, err := copyAll(b, 0, a, 0, len(want)+1<<20) // more than there is
		if n != len(want) || err != nil {
			t.Errorf("copied %d of %d bytes, %v", n, len(want), err)
		}
	})
	if asked["WRITE"] > 0 || asked["COPY_FILE_RANGE"]+asked["COPY_FILE_RANGE_64"] == 0 {
		t.Errorf("the kernel asked for %v", asked)
	}
	d.wantRead("b", string(want))
	d.must(flush(b))
	if x, y := d.nodeAt("a"), d.nodeAt("b"); !x.Content.Equal(y.Content) {
		t.Errorf("the copy is %v, the original %v", y.Content, x.Content)
	}
	if n, err := copyRange(b, 0, a, int64(len(want)), 10); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
	_, err := copyRange(a, 10, a, 0, 100)
	wantErrno(t, "a range over itself", err, unix.EINVAL)
	if n, err := copyRange(a, 5000, a, 0, 5000); n != 5000 || err != nil {
		t.Errorf("within one file: %d, %v", n, err)
	}
	copy(want[5000:10000], want[:5000])
	d.wantRead("a", string(want))
}

// Holes stay holes, and what was in the way of one is gone.
func TestCopyOfHoles(t *testing.T) {
	d := newDrive(t)
	const size = 10 * dbfs.ChunkSize
	a, b := d.open("a"), d.open("b")
	d.must(a.Truncate(size))
	_, err := a.WriteAt([]byte("middle"), 5*dbfs.ChunkSize)
	d.must(err)
	_, err = b.WriteAt(noise(2, 2*dbfs.ChunkSize), 0)
	d.must(err)
	if n, err := copyAll(b, 0, a, 0, size); n != size || err != nil {
		t.Fatalf("copied %d, %v", n, err)
	}
	d.must(flush(a))
	d.must(flush(b))
	if st := d.stat("b"); st.Size != size || st.Blocks*512 > dbfs.ChunkSize {
		t.Errorf("the copy has %d bytes, in %d blocks", st.Size, st.Blocks)
	}
	if x, y := d.nodeAt("a"), d.nodeAt("b"); !x.Content.Equal(y.Content) {
		t.Errorf("the copy is another content")
	}
	const most = dbfs.MaxFileSize
	if n, err := copyRange(b, most-2, a, 5*dbfs.ChunkSize, 6); n != 2 || err != nil {
		t.Errorf("up to the end of what a file may have: %d, %v", n, err)
	}
	_, err = copyRange(b, most, a, 5*dbfs.ChunkSize, 6)
	wantErrno(t, "beyond what a file may have", err, unix.EFBIG)
}

// Random copies do what they do to bytes in memory, with other writes, truncates and reopening between.
func TestRandomCopies(t *testing.T) {
	d := newDrive(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	names := []string{"a", "b", "c"}
	model := make(map[string][]byte)
	for i, name := range names {
		model[name] = noise(uint64(i), rng.IntN(6<<20))
		d.must(os.WriteFile(d.path(name), model[name], 0o644))
	}
	for range 150 {
		from, to := names[rng.IntN(3)], names[rng.IntN(3)]
		src, dst, n := rng.IntN(7<<20), rng.IntN(7<<20), 1+rng.IntN(5<<20)
		if rng.IntN(3) == 0 {
			src, dst, n = src/dbfs.ChunkSize*dbfs.ChunkSize, dst/dbfs.ChunkSize*dbfs.ChunkSize, dbfs.ChunkSize
		}
		switch rng.IntN(6) {
		case 0:
			d.must(os.Truncate(d.path(to), int64(dst)))
			model[to] = fit(model[to], dst)
		case 1:
			p := noise(uint64(n), n/10+1)
			f, err := os.OpenFile(d.path(to), os.O_WRONLY, 0)
			d.must(err)
			_, err = f.WriteAt(p, int64(dst))
			d.must(err)
			d.must(f.Close())
			model[to] = put(model[to], dst, p)
		default:
			if from == to { // and no more than there is now: it grows under the copy
				n = min(n, len(model[from])-src)
			}
			if n <= 0 || from == to && src < dst+n && dst < src+n {
				continue
			}
			f, err := os.Open(d.path(from))
			d.must(err)
			g, err := os.OpenFile(d.path(to), os.O_WRONLY, 0)
			d.must(err)
			got, err := copyAll(g, int64(dst), f, int64(src), n)
			d.must(err)
			p := model[from][min(src, len(model[from])):min(src+n, len(model[from]))]
			if got != len(p) {
				t.Fatalf("copied %d bytes, want %d", got, len(p))
			}
			model[to] = put(model[to], dst, bytes.Clone(p))
			d.must(f.Close())
			d.must(g.Close())
		}
		if rng.IntN(20) == 0 {
			d.dropPages(to)
		}
	}
	for _, name := range names {
		f, err := os.Open(d.path(name))
		d.must(err)
		got, err := io.ReadAll(f)
		d.must(err)
		d.must(f.Close())
		if !bytes.Equal(got, model[name]) {
			t.Errorf("%s has %s, want %s", name, fmt.Sprint(len(got)), fmt.Sprint(len(model[name])))
		}
	}
}

// fit makes b that long.
func fit(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(b[:len(b):len(b)], make([]byte, n-len(b))...)
}

// put writes p at an offset.
func put(b []byte, off int, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = fit(bytes.Clone(b), max(len(b), off+len(p)))
	copy(b[off:], p)
	return b
}

// To copy whole chunks takes neither a download nor space, nor an upload; the rest of the file, and what is
// written to either file afterwards, is its own.
func TestCopiesShareChunks(t *testing.T) {
	d := newDrive(t)
	server := newElsewhere(d, d.root)
	var told []dbfs.NodeID
	d.fs.cfg.Shared = func(_ dbfs.NamespaceID, id dbfs.NodeID) { told = append(told, id) }
	want := noise(1, 3*dbfs.ChunkSize+100_000)
	d.must(os.WriteFile(d.path("a"), want, 0o644))
	d.allClosed()
	server.take()
	d.evictAll()
	a, b := d.open("a"), d.open("b")
	n, err := copyAll(b, 0, a, 0, len(want))
	if d.must(err); n != len(want) {
		t.Fatalf("copied %d of %d bytes", n, len(want))
	}
	d.must(a.Close())
	d.must(b.Close())
	d.allClosed()
	if st := d.cache.Stats(); st.Fetched > 0 || st.Unsent > 0 || st.Clean > 0 {
		t.Errorf("the copy took %d bytes fetched, %d unsent, %d clean", st.Fetched, st.Unsent, st.Clean)
	}
	if id := d.nodeAt("a").ID; len(told) != 1 || told[0] != id {
		t.Errorf("told of %v, want %v", told, id)
	}
	chunks := d.chunks.Len()
	b = d.open("b")
	_, err = b.WriteAt([]byte("changed"), dbfs.ChunkSize+77)
	d.must(err)
	d.must(b.Close())
	d.allClosed()
	server.take()
	if k := d.chunks.Len() - chunks; k != 1 {
		t.Errorf("%d chunks were sent, want the one that was changed", k)
	}
	d.evictAll()
	d.wantRead("a", string(want))
	copy(want[dbfs.ChunkSize+77:], "changed")
	d.wantRead("b", string(want))
}

// A copy of what is not sent yet, or not even recorded, keeps its bytes, whatever becomes of the original.
func TestCopyOutlivesOriginal(t *testing.T) {
	for _, how := range []string{"recorded", "written", "removed before", "never named"} {
		d := newDrive(t, small)
		server := newElsewhere(d, d.root)
		want := noise(3, 2*dbfs.ChunkSize)
		flags := unix.O_RDWR | unix.O_CREAT
		name := d.path("a")
		if how == "never named" {
			name, flags = d.dir, unix.O_RDWR|unix.O_TMPFILE
		}
		a, err := os.OpenFile(name, flags, 0o600)
		d.must(err)
		_, err = a.WriteAt(want, 0)
		d.must(err)
		if how != "written" {
			d.must(a.Sync())
		}
		if how == "removed before" {
			d.must(os.Remove(d.path("a")))
		}
		b := d.open("b")
		n, err := copyAll(b, 0, a, 0, len(want))
		if d.must(err); n != len(want) {
			t.Fatalf("%s: copied %d of %d bytes", how, n, len(want))
		}
		_, err = a.WriteAt(noise(4, len(want)), 0)
		d.must(err)
		d.must(a.Close())
		os.Remove(d.path("a"))
		d.evictAll()
		d.wantRead("b", string(want))
		d.must(b.Close())
		d.allClosed()
		d.evictAll()
		server.take()
		d.evictAll()
		d.wantRead("b", string(want))
		d.unmount()
	}
}

// evictAll evicts whatever may be.
func (d *drive) evictAll() {
	d.t.Helper()
	_, err := d.cache.Clear()
	d.must(err)
}
