package fs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// long is more than two chunks.
const long = 2*dbfs.ChunkSize + 12345

// withLent is a drive on which large files can be lent, and a server that takes what is written.
func withLent(t *testing.T, opts ...driveOption) (*drive, *elsewhere) {
	t.Helper()
	d := newDrive(t, opts...)
	if mode, why := d.fs.Mode(); mode != "passthrough" {
		t.Skipf("files cannot be lent to the kernel here: %s", why)
	}
	return d, newElsewhere(d, d.root)
}

// sent makes a file that the server has, and which is here from its first byte to its last.
func (d *drive) sent(server *elsewhere, name string, content []byte) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(name), content, 0o644))
	d.allClosed()
	server.take()
}

func (d *drive) allClosed() {
	d.t.Helper()
	d.eventually("nobody has a file open", func() bool { return len(d.fs.openFiles()) == 0 })
}

// openLent opens a file for reading, which must get it lent.
func (d *drive) openLent(name string) *os.File {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	d.must(err)
	if !d.isLent(name) {
		d.t.Fatalf("%s is not lent", name)
	}
	return f
}

func (d *drive) isLent(name string) bool {
	f := d.fs.openFile(d.stat(name).Ino)
	return f != nil && f.isLent() != 0
}

func (d *drive) wantAt(f io.ReaderAt, want []byte) {
	d.t.Helper()
	got := make([]byte, len(want)+1)
	n, err := f.ReadAt(got, 0)
	if err != io.EOF {
		d.t.Fatalf("read to the end: %v", err)
	}
	if !bytes.Equal(got[:n], want) {
		d.t.Fatalf("read %d bytes that differ from the %d expected, first at %d", n, len(want), firstDifference(got[:n], want))
	}
}

// A holder is a child with a map of a file, whose descriptor it has closed.
type holder struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ended bool
}

// hold maps a file; how is "read", "write" or, with the descriptor left open, "open".
func (d *drive) hold(name, how string) *holder {
	d.t.Helper()
	h := &holder{t: d.t, cmd: exec.Command("/proc/self/exe", d.path(name), how)}
	h.cmd.Env = append(os.Environ(), childVar+"=hold")
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.cmd.Stderr = os.Stderr
	var err error
	h.in, err = h.cmd.StdinPipe()
	d.must(err)
	out, err := h.cmd.StdoutPipe()
	d.must(err)
	h.out = bufio.NewReader(out)
	d.must(h.cmd.Start())
	d.t.Cleanup(h.end)
	if said, err := h.out.ReadString('\n'); said != "ready\n" {
		d.t.Fatalf("map %s: %q, %v", name, said, err)
	}
	return h
}

// say tells the child to do something, and returns what it answers.
func (h *holder) say(format string, a ...any) string {
	h.t.Helper()
	fmt.Fprintf(h.in, format+"\n", a...)
	said, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatalf("the child that holds a map: %v", err)
	}
	return strings.TrimSpace(said)
}

func (h *holder) wants(want []byte) {
	h.t.Helper()
	if got := h.say("sum"); got != fmt.Sprintf("%x", sha256.Sum256(want)) {
		h.t.Fatal("the map shows other bytes than the file had when it was mapped")
	}
}

func (h *holder) end() {
	if !h.ended {
		h.ended = true
		h.in.Close()
		h.cmd.Wait()
	}
}

// holdMap is the child of a holder.
func holdMap(args []string) error {
	how, prot := os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE
	if args[1] == "read" {
		how, prot = os.O_RDONLY, unix.PROT_READ
	}
	f, err := os.OpenFile(args[0], how, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if args[1] != "open" {
		if err := f.Close(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var at int
		var text string
		switch n, _ := fmt.Sscanf(lines.Text(), "store %d %s", &at, &text); {
		case n == 2:
			copy(m[at:], text)
			fmt.Println("done")
		case lines.Text() == "sync":
			fmt.Println(f.Sync())
		default:
			fmt.Printf("%x\n", sha256.Sum256(m))
		}
	}
	return nil
}

func TestLentFileIsReadWithoutUs(t *testing.T) {
	d, server := withLent(t, counted)
	want := noise(1, long)
	d.sent(server, "a", want)
	counts := d.requests.of(func() {
		f := d.openLent("a")
		d.wantAt(f, want)
		d.must(f.Close())
		d.dropPages("a")
		f = d.openLent("a")
		d.wantAt(f, want)
		d.must(f.Close())
	})
	if counts["READ"] != 0 {
		t.Errorf("reading a file that is lent cost %v", counts)
	}
}

// What is small, being written or not here from its first byte to its last is not lent.
func TestNotLent(t *testing.T) {
	d, server := withLent(t)
	d.sent(server, "small", noise(1, lendSize-1))
	d.sent(server, "written", noise(3, long))
	server.put(remoteFile("elsewhere", server.content(string(noise(4, long)))))
	server.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("elsewhere"))) == nil })
	w, err := os.OpenFile(d.path("written"), os.O_RDWR, 0)
	d.must(err)
	defer w.Close()
	for _, name := range []string{"small", "written", "elsewhere"} {
		f, err := os.Open(d.path(name))
		d.must(err)
		defer f.Close()
		if d.isLent(name) {
			t.Errorf("%s is lent", name)
		}
	}
	off, _ := withElsewhere(t)
	off.fs.lender.stop("for a test")
	if mode, why := off.fs.Mode(); mode != "cached" || why != "for a test" {
		t.Errorf("mode %s: %s", mode, why)
	}
}

// The kernel may be short of something once; what it will never do it need not be asked again.
func TestRefusedLoans(t *testing.T) {
	d, server := withLent(t)
	d.sent(server, "a", noise(1, long))
	for errno, last := range map[syscall.Errno]bool{unix.ENOMEM: false, unix.EMFILE: false, unix.EINTR: false} {
		d.fs.refused(errno)
		if mode, _ := d.fs.Mode(); (mode == "cached") != last {
			t.Errorf("after %v the mode is %s", errno, mode)
		}
	}
	f := d.openLent("a")
	d.must(f.Close())
	d.allClosed()
	d.fs.refused(unix.ELOOP)
	f, err := os.Open(d.path("a"))
	d.must(err)
	defer f.Close()
	if mode, why := d.fs.Mode(); mode != "cached" || why == "" || d.isLent("a") {
		t.Errorf("after ELOOP the mode is %s (%s)", mode, why)
	}
}

// Who has a file lent sees what is written to it, at once, and what is written is recorded; however
// short the file becomes meanwhile.
func TestWriterOfALentFile(t *testing.T) {
	for i, how := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR} {
		d, server := withLent(t)
		want := noise(1, long)
		d.must(os.WriteFile(d.path("a"), want, 0o644))
		d.allClosed()
		if i%2 == 0 {
			server.take()
		} else if i == 3 { // what an fsync has made safe is to stay so
			d.must(d.cache.Sync())
		}
		r := d.openLent("a")
		w, err := os.OpenFile(d.path("a"), how, 0)
		d.must(err)
		want = bytes.Clone(want)
		copy(want[dbfs.ChunkSize-3:], "across the border")
		_, err = w.WriteAt([]byte("across the border"), dbfs.ChunkSize-3)
		d.must(err)
		d.wantAt(r, want)
		d.must(w.Sync())
		d.wantRecorded("a", want)
		d.must(w.Truncate(10))
		d.wantAt(r, want[:10])
		d.must(w.Sync())
		d.wantRecorded("a", want[:10])
		_, err = w.WriteAt([]byte("far"), long)
		d.must(err)
		want = append(append(want[:10:10], make([]byte, long-10)...), "far"...)
		d.wantAt(r, want)
		d.must(unix.Fallocate(int(w.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 5))
		clear(want[:5])
		d.wantAt(r, want)
		d.must(os.Truncate(d.path("a"), long))
		want = want[:long]
		d.wantAt(r, want)
		d.must(w.Close())
		d.eventually("it is recorded", func() bool { return d.recorded("a") == sumOf(want) })
		d.wantAt(r, want)
		d.must(r.Close())
		d.allClosed()
		server.take()
		d.dropPages("a")
		f, err := os.Open(d.path("a"))
		d.must(err)
		d.wantAt(f, want)
		d.must(f.Close())
	}
}

// recorded returns a sum of what the journal has of a file, chunk by chunk as it would be sent.
func (d *drive) recorded(name string) string {
	d.t.Helper()
	n, err := d.root.Child(dbfs.RootNode, name)
	d.must(err)
	h := sha256.New()
	for i := range n.Content.Chunks.Len() {
		if n.Content.Chunks.At(i) == dbfs.ZeroChunk {
			h.Write(make([]byte, n.Content.Ref(i).Len))
			continue
		}
		b, err := d.cache.Chunk(context.Background(), cache.File{NS: rootNS, Node: n.ID}, i, n.Content.Ref(i))
		if err != nil {
			b, err = d.chunks.Get(context.Background(), rootNS, n.Content.Ref(i))
		}
		if err != nil {
			return err.Error()
		}
		h.Write(b)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func sumOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func (d *drive) wantRecorded(name string, want []byte) {
	d.t.Helper()
	if got := d.recorded(name); got != sumOf(want) {
		d.t.Fatalf("the journal has other bytes of %s: %s", name, got)
	}
}

// A map for writing is made through a handle that had to be lent because a reader was there before: the
// kernel tells nobody what is stored, not even after the handle is gone.
func TestStoresIntoALentFile(t *testing.T) {
	for _, how := range []string{"write", "open"} {
		d, server := withLent(t)
		want := bytes.Clone(noise(1, long))
		d.sent(server, "a", want)
		r := d.openLent("a")
		h := d.hold("a", how)
		store := func(at int, text string) {
			t.Helper()
			h.say("store %d %s", at, text)
			copy(want[at:], text)
		}
		store(5, "first")
		d.wantAt(r, want)
		d.eventually("it is recorded", func() bool { return d.recorded("a") == sumOf(want) })
		recorded := bytes.Clone(want)
		store(6, "second") // into a page that was written to disk meanwhile
		store(dbfs.ChunkSize+7, "third")
		n, err := d.root.Child(dbfs.RootNode, "a")
		d.must(err)
		if how == "open" {
			if said := h.say("sync"); said != "<nil>" {
				t.Fatalf("fsync: %s", said)
			}
			d.wantRecorded("a", want)
		}
		d.eventually("it is recorded", func() bool { return d.recorded("a") == sumOf(want) })
		d.must(r.Close())
		store(8, "fourth") // nobody but the map is left
		d.eventually("it is recorded", func() bool { return d.recorded("a") == sumOf(want) })
		if len(d.fs.openFiles()) != 1 {
			t.Error("nobody watches the map")
		}
		// What was recorded once is still what its name says, though it was stored over.
		b, err := d.cache.Chunk(context.Background(), cache.File{NS: rootNS, Node: n.ID}, 0, n.Content.Ref(0))
		if err == nil && !bytes.Equal(b, recorded[:dbfs.ChunkSize]) {
			t.Error("a recorded chunk has changed")
		}
		st := d.stat("a")
		if age := time.Since(time.Unix(st.Mtim.Unix())); age > 10*time.Second || age < -time.Second {
			t.Errorf("the file's time is %v old", age)
		}
		store(9, "fifth")
		h.end()
		d.eventually("the watch ends", func() bool { return len(d.fs.openFiles()) == 0 })
		d.wantRecorded("a", want)
		server.take()
		d.dropPages("a")
		f := d.openOnceLent("a", want)
		d.must(f.Close())
	}
}

// Who opens a file that is lent for reading and writing, and does nothing, has not changed it.
func TestNothingIsStored(t *testing.T) {
	d, server := withLent(t)
	want := noise(1, long)
	d.sent(server, "a", want)
	r := d.openLent("a")
	before := d.stat("a")
	time.Sleep(20 * time.Millisecond)
	h := d.hold("a", "write")
	h.wants(want)
	time.Sleep(2 * watchEvery)
	h.end()
	d.must(r.Close())
	d.allClosed()
	if after := d.stat("a"); after.Mtim != before.Mtim {
		t.Errorf("the file's time went from %v to %v", before.Mtim, after.Mtim)
	}
	if n := d.root.Backlog().Edits; n != 0 {
		t.Errorf("%d edits are recorded", n)
	}
}

// openOnceLent reads a file through us, which makes it fit to be lent, and opens it again.
func (d *drive) openOnceLent(name string, want []byte) *os.File {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	d.must(err)
	d.wantAt(f, want)
	d.must(f.Close())
	d.allClosed()
	f = d.openLent(name)
	d.wantAt(f, want)
	return f
}

// tight is a cache with room for little more than one long file.
func tight(_ *Config, o *cache.Options) { o.Size = long + dbfs.ChunkSize }

// evictSome makes a tight cache evict some of the file that was used last.
func (d *drive) evictSome(server *elsewhere) {
	d.t.Helper()
	time.Sleep(1100 * time.Millisecond) // the order is by seconds
	d.sent(server, "b", noise(3, dbfs.ChunkSize+5))
	time.Sleep(100 * time.Millisecond) // for the evictor
}

// A map outlives its handle: whoever destroys bytes in place afterwards must leave those alone.
func TestMapsOutliveTheirHandles(t *testing.T) {
	want := noise(1, long)
	other := noise(2, long)
	for what, destroy := range map[string]func(d *drive, server *elsewhere){
		"evict some": func(d *drive, server *elsewhere) { d.evictSome(server) },
		"evict": func(d *drive, _ *elsewhere) {
			_, err := d.cache.Clear()
			d.must(err)
		},
		"free": func(d *drive, _ *elsewhere) {
			n, err := d.root.Child(dbfs.RootNode, "a")
			d.must(err)
			_, err = d.cache.Free(cache.File{NS: rootNS, Node: n.ID}, n.Content)
			d.must(err)
		},
		"another version": func(d *drive, server *elsewhere) {
			n, err := d.root.Child(dbfs.RootNode, "a")
			d.must(err)
			server.write(n, string(other))
			server.advance()
			d.eventually("it is there", func() bool { return d.read("a") == string(other) })
		},
		"write": func(d *drive, server *elsewhere) {
			f, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
			d.must(err)
			_, err = f.WriteAt(other, 0)
			d.must(err)
			d.must(f.Close())
			d.allClosed()
			server.take()
			d.wantRead("a", string(other))
		},
		"replace": func(d *drive, server *elsewhere) {
			d.sent(server, "a", other)
			d.wantRead("a", string(other))
		},
		"truncate": func(d *drive, server *elsewhere) {
			d.must(os.Truncate(d.path("a"), dbfs.ChunkSize))
			d.allClosed()
			server.take()
			d.wantRead("a", string(want[:dbfs.ChunkSize]))
		},
		"discard": func(d *drive, _ *elsewhere) { // what was written and never sealed
			n, err := d.root.Child(dbfs.RootNode, "a")
			d.must(err)
			draft, err := d.cache.Draft(cache.File{NS: rootNS, Node: n.ID}, n.Content)
			d.must(err)
			_, err = draft.WriteAt(context.Background(), []byte("never"), 5)
			d.must(err)
			d.must(draft.Close())
			d.wantRead("a", string(want))
		},
		"remove": func(d *drive, _ *elsewhere) { d.must(os.Remove(d.path("a"))) },
	} {
		t.Run(what, func(t *testing.T) {
			d, server := withLent(t, tight)
			d.sent(server, "a", want)
			if what == "write" || what == "truncate" { // before it is sent again
				d.must(os.WriteFile(d.path("a"), append(bytes.Clone(want[:1]), want[1:]...), 0o644))
				d.allClosed()
			}
			h := d.hold("a", "read")
			d.allClosed() // though the map is there
			destroy(d, server)
			h.wants(want)
			h.end()
		})
	}
}

// Two versions of a file are open: the older one is written to while the newer one is lent.
func TestWriterOfTheVersionBefore(t *testing.T) {
	d, server := withLent(t)
	first, second := noise(1, long), noise(2, long+1)
	d.sent(server, "a", first)
	w, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	d.must(err)
	n, err := d.root.Child(dbfs.RootNode, "a")
	d.must(err)
	server.write(n, string(second))
	server.advance()
	d.eventually("the name leads to the second", func() bool { return d.stat("a").Size == long+1 })
	d.wantRead("a", string(second))
	d.eventually("its reader is gone", func() bool { return len(d.fs.openFiles()) == 1 })
	r := d.openLent("a")
	_, err = w.WriteAt([]byte("mine"), 5)
	d.must(err)
	d.must(w.Truncate(dbfs.ChunkSize))
	d.must(w.Sync())
	d.wantAt(r, second)
	d.must(w.Close())
	d.wantAt(r, second)
	d.must(r.Close())
}

// A reader keeps the version it was lent, whatever another device and local writers make of the file.
func TestLentVersionStays(t *testing.T) {
	d, server := withLent(t)
	first, second := noise(1, long), bytes.Clone(noise(2, long))
	d.sent(server, "a", first)
	r := d.openLent("a")
	n, err := d.root.Child(dbfs.RootNode, "a")
	d.must(err)
	server.write(n, string(second))
	server.advance()
	d.eventually("the name shows the second", func() bool { return d.read("a") == string(second) })
	d.wantAt(r, first)
	w, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	d.must(err)
	copy(second, "mine")
	_, err = w.WriteAt([]byte("mine"), 0)
	d.must(err)
	d.must(w.Truncate(dbfs.ChunkSize + 5))
	d.must(w.Close())
	d.wantAt(r, first)
	_, err = d.cache.Clear()
	d.must(err)
	d.wantAt(r, first)
	d.wantRead("a", string(second[:dbfs.ChunkSize+5]))
	d.must(os.Remove(d.path("a")))
	d.wantAt(r, first)
	d.must(r.Close())
}

// The homes of clean and of unsent bytes may be on two mounts of one disk, where no file can be
// renamed from one to the other.
func TestLentAcrossMounts(t *testing.T) {
	at := t.TempDir()
	d, server := withLent(t, func(_ *Config, o *cache.Options) {
		from := filepath.Dir(o.State) + "/bound"
		if err := os.Mkdir(from, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("no bind mounts here: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
		o.State = at + "/state"
	})
	want := bytes.Clone(noise(1, long))
	d.sent(server, "a", want)
	r := d.openLent("a")
	h := d.hold("a", "read")
	w, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	d.must(err)
	_, err = w.WriteAt([]byte("all see this"), 5)
	d.must(err)
	copy(want[5:], "all see this")
	d.wantAt(r, want)
	h.wants(want)
	d.must(w.Close())
	h.end()
	d.must(r.Close())
	d.allClosed()
	server.take()
	d.dropPages("a")
	d.wantRead("a", string(want))
}

// TestRandomLentFile is TestRandomFile for a file that is lent whenever its first handle reads.
func TestRandomLentFile(t *testing.T) {
	seed := seedOf(t)
	d, server := withLent(t)
	const max = 10_000_000 // more than two chunks
	f := &fileModel{d: d, name: d.path("a"), max: max, rng: rand.New(rand.NewPCG(seed, max)), readers: make(map[*os.File]bool)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last steps:\n%s", strings.Join(f.done[len(f.done)-min(30, len(f.done)):], "\n"))
		}
	})
	f.want = bytes.Clone(noise(seed, max))
	d.must(os.WriteFile(f.name, f.want, 0o644))
	lent := 0
	for range 12 {
		f.closeAll()
		server.take()
		if f.rng.IntN(3) == 0 {
			_, err := d.cache.Clear()
			d.must(err)
		}
		d.dropPages("a")
		d.must(onlyErr(os.ReadFile(f.name))) // fetched and seen to be right
		d.allClosed()
		h, err := os.Open(f.name)
		d.must(err)
		f.did("open the first")
		f.handles, f.readers[h] = append(f.handles, h), true
		if d.isLent("a") {
			lent++
		}
		for range 25 {
			f.step()
		}
	}
	f.closeAll()
	server.take()
	f.check()
	if lent < 3 {
		t.Errorf("the file was lent %d times of 12", lent)
	}
}

// What the kernel had cached of a file before it was lent is not shown when it has changed since.
func TestPagesFromBeforeTheLoan(t *testing.T) {
	d, server := withLent(t)
	want := bytes.Clone(noise(1, long))
	d.must(os.WriteFile(d.path("a"), want, 0o644))
	w, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	d.must(err)
	d.wantRead("a", string(want)) // through the kernel's cache, as it is open for writing
	d.must(w.Close())
	d.allClosed()
	server.take()
	for i, how := range []int{os.O_WRONLY, os.O_RDWR} {
		r := d.openLent("a")
		w, err := os.OpenFile(d.path("a"), how, 0)
		d.must(err)
		text := fmt.Sprintf("change %d", i)
		copy(want, text)
		_, err = w.WriteAt([]byte(text), 0)
		d.must(err)
		d.must(w.Close())
		d.must(r.Close())
		d.allClosed()
		w, err = os.OpenFile(d.path("a"), os.O_RDWR, 0)
		d.must(err)
		d.wantRead("a", string(want)) // again
		d.must(w.Close())
		d.allClosed()
		server.take()
		d.wantRead("a", string(want))
		d.allClosed()
	}
}

// What a writer cuts off does not come back when the file grows again: there is a hole then, also if
// nothing was recorded in between.
func TestCutAndGrownAgain(t *testing.T) {
	d, server := withLent(t)
	for i, cut := range []int64{0, 10, dbfs.ChunkSize, dbfs.ChunkSize + 10} {
		name := fmt.Sprint("a", i)
		want := bytes.Clone(noise(1, 2*long))
		d.sent(server, name, want)
		r := d.openLent(name)
		w, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
		d.must(err)
		d.must(w.Truncate(cut))
		_, err = w.WriteAt([]byte("far"), int64(len(want))-3)
		d.must(err)
		clear(want[cut:])
		copy(want[len(want)-3:], "far")
		d.wantAt(r, want)
		d.must(w.Close())
		d.eventually("it is recorded", func() bool { return d.recorded(name) == sumOf(want) })
		d.must(r.Close())
		d.allClosed()
		server.take()
		d.wantRecorded(name, want)
	}
}

// The time that a program sets stays, also while the file is watched; what is stored into a map moves it.
func TestTimeOfALentFile(t *testing.T) {
	d, server := withLent(t)
	d.sent(server, "a", noise(1, long))
	past := time.Unix(1_000_000_000, 5)
	r := d.openLent("a")
	w, err := os.OpenFile(d.path("a"), os.O_RDWR, 0)
	d.must(err)
	_, err = w.WriteAt([]byte("change"), 0)
	d.must(err)
	d.must(os.Chtimes(d.path("a"), past, past))
	time.Sleep(2 * watchEvery)
	if got := onlyValue(w.Stat()).ModTime(); !got.Equal(past) {
		t.Errorf("the time that was set has become %v", got)
	}
	d.must(w.Close())
	h := d.hold("a", "open")
	h.say("store %d %s", dbfs.ChunkSize, "stored")
	if said := h.say("sync"); said != "<nil>" {
		t.Errorf("fsync: %s", said)
	}
	n, err := d.root.Child(dbfs.RootNode, "a")
	d.must(err)
	if n.Attr.MTime == past.UnixNano() {
		t.Error("what was stored into a map, and synced, has not moved the time")
	}
	d.eventually("stat shows the time", func() bool { return onlyValue(os.Stat(d.path("a"))).ModTime().UnixNano() == n.Attr.MTime })
	h.end()
	d.must(r.Close())
	d.allClosed()
	if got := onlyValue(os.Stat(d.path("a"))).ModTime().UnixNano(); got != n.Attr.MTime {
		t.Errorf("after the last close the time is another: %d, %d", got, n.Attr.MTime)
	}
}

func onlyValue[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
