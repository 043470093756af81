package fs

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

func TestPipesAndSockets(t *testing.T) {
	d, there := withElsewhere(t)
	d.must(unix.Mkfifo(d.path("pipe"), 0o640))
	if st := d.stat("pipe"); st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("the pipe has mode %o", st.Mode)
	}
	got := make(chan string)
	go func() {
		b, err := os.ReadFile(d.path("pipe"))
		got <- fmt.Sprint(string(b), err)
	}()
	w, err := os.OpenFile(d.path("pipe"), os.O_WRONLY, 0)
	d.must(err)
	_, err = io.WriteString(w, "through")
	d.must(err)
	d.must(w.Close())
	if s := <-got; s != "through<nil>" {
		t.Errorf("what came through the pipe: %s", s)
	}

	d.must(os.Chdir(d.dir)) // a socket's path may have 107 bytes
	defer os.Chdir("/")
	l, err := net.Listen("unix", "socket")
	d.must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	c, err := net.Dial("unix", "socket")
	d.must(err)
	c.Close()
	l.Close()
	if st := d.stat("socket"); st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Errorf("the socket has mode %o", st.Mode)
	}
	d.must(os.Chdir("/"))
	there.take()
	d.wantSent(there, "pipe", dbfs.KindFifo, 0)
	d.wantSent(there, "socket", dbfs.KindSocket, 0)
	d.must(os.Rename(d.path("pipe"), d.path("other")))
	d.must(os.Link(d.path("other"), d.path("second")))
	if st := d.stat("second"); st.Nlink != 2 || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("a pipe's second name: %+v", st)
	}
	for _, name := range []string{"other", "second", "socket"} {
		d.must(os.Remove(d.path(name)))
	}
}

// wantSent checks what the server was told of a special node.
func (d *drive) wantSent(there *elsewhere, name string, kind dbfs.Kind, device uint32) {
	d.t.Helper()
	n := there.nodes[d.nodeAt(name).ID]
	if n.Kind != kind || n.Device != device || n.Content.Size != 0 {
		d.t.Errorf("%s travelled as %s with number %#x", name, n.Kind, n.Device)
	}
}

func TestDevices(t *testing.T) {
	needRoot(t)
	d, there := withElsewhere(t)
	null := unix.Mkdev(1, 3)
	d.must(unix.Mknod(d.path("null"), unix.S_IFCHR|0o644, int(null)))
	d.must(unix.Mknod(d.path("disk"), unix.S_IFBLK|0o640, int(unix.Mkdev(259, 70000))))
	if st := d.stat("null"); st.Mode != unix.S_IFCHR|0o644 || st.Rdev != null {
		t.Errorf("null: mode %o, device %#x", st.Mode, st.Rdev)
	}
	if st := d.stat("disk"); st.Mode != unix.S_IFBLK|0o640 || st.Rdev != unix.Mkdev(259, 70000) {
		t.Errorf("disk: mode %o, device %#x", st.Mode, st.Rdev)
	}
	wantErrno(t, "open on a mount without devices", onlyErr(os.Open(d.path("null"))), unix.EACCES)
	d.must(os.Mkdir(d.path("open"), 0o777))
	d.must(os.Chmod(d.path("open"), 0o777))
	wantErrno(t, "a device, made by who is not root", childAs(t, somebody, "mknod", d.path("open/null")), unix.EPERM)
	there.take()
	d.wantSent(there, "null", dbfs.KindCharDev, 0x103)
	d.remount()
	if st := d.stat("null"); st.Rdev != null {
		t.Errorf("after a restart it is device %#x", st.Rdev)
	}
}

func TestSpecialNodesFromElsewhere(t *testing.T) {
	d, there := withElsewhere(t)
	there.put(dbfs.Node{Name: "pipe", Kind: dbfs.KindFifo, Attr: dbfs.Attr{Mode: 0o600}})
	there.put(dbfs.Node{Name: "null", Kind: dbfs.KindCharDev, Device: 0x103, Attr: dbfs.Attr{Mode: 0o666}})
	there.advance()
	d.eventually("they are there", func() bool { return onlyErr(os.Lstat(d.path("null"))) == nil })
	if a, b := d.stat("pipe"), d.stat("null"); a.Mode != unix.S_IFIFO|0o600 || b.Mode != unix.S_IFCHR|0o666 || b.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("pipe %+v, null %+v", a, b)
	}
	for _, e := range must(os.ReadDir(d.path(""))) {
		if e.Type()&(os.ModeNamedPipe|os.ModeCharDevice) == 0 {
			t.Errorf("%s is listed as %v", e.Name(), e.Type())
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A file without a name is nobody's business until it gets one.
func TestFileWithoutAName(t *testing.T) {
	for _, size := range []int{0, 20, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			d, there := withElsewhere(t)
			want := noise(1, size)
			fd, err := unix.Open(d.dir, unix.O_TMPFILE|unix.O_RDWR, 0o640)
			d.must(err)
			f := os.NewFile(uintptr(fd), "tmp")
			_, err = f.Write(want)
			d.must(err)
			d.must(f.Chmod(0o600))
			d.must(f.Sync())
			var st unix.Stat_t
			d.must(unix.Fstat(fd, &st))
			if st.Nlink != 0 || st.Size != int64(size) || st.Mode != unix.S_IFREG|0o600 {
				t.Errorf("without a name: %+v", st)
			}
			if left := d.root.Pending(); len(left) > 0 || len(d.names("")) > 0 {
				t.Errorf("it is recorded: %v", left)
			}
			d.must(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, d.path("a"), unix.AT_SYMLINK_FOLLOW))
			if got := d.stat("a"); got.Ino != st.Ino || got.Nlink != 1 || got.Mode != st.Mode {
				t.Errorf("with a name: %+v", got)
			}
			d.wantRead("a", string(want))
			_, err = f.WriteString("more") // it goes on under the name
			d.must(err)
			d.must(os.Link(d.path("a"), d.path("b")))
			d.must(f.Close())
			d.wantLinks(string(want)+"more", "a", "b")
			d.eventually("it may be sent", func() bool { return !d.root.StateOf(d.nodeAt("a").ID).Open })
			there.take()
			d.remount()
			d.wantLinks(string(want)+"more", "a", "b")
		})
	}
}

func TestFileThatNeverGetsAName(t *testing.T) {
	d := newDrive(t)
	fd, err := unix.Open(d.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o600)
	d.must(err)
	f := os.NewFile(uintptr(fd), "tmp")
	_, err = f.Write(noise(1, large))
	d.must(err)
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, d.path("a"), unix.AT_SYMLINK_FOLLOW)
	wantErrno(t, "a name for what was to have none", err, unix.ENOENT)
	d.must(f.Close())
	d.eventually("it is gone", func() bool {
		d.fs.mu.Lock()
		defer d.fs.mu.Unlock()
		return len(d.fs.ghosts) == 0 && len(d.fs.files) == 0
	})
	if left := d.root.Pending(); len(left) > 0 || len(d.names("")) > 0 {
		t.Errorf("something is recorded: %v", left)
	}
	if st := d.cache.Stats(); st.Unsent != 0 {
		t.Errorf("%d bytes are still unsent", st.Unsent)
	}
}
