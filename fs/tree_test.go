package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

func TestRenames(t *testing.T) {
	d := newDrive(t)
	d.must(os.MkdirAll(d.path("a/deep"), 0o755))
	d.write("a/deep/f", "in a")
	d.must(os.MkdirAll(d.path("b"), 0o755))
	ino := d.stat("a").Ino
	d.must(unix.Rename(d.path("a"), d.path("b"))) // over an empty directory
	if got := d.stat("b").Ino; got != ino {
		t.Errorf("inode %d became %d", ino, got)
	}
	d.wantRead("b/deep/f", "in a")
	d.must(os.Mkdir(d.path("c"), 0o755))
	d.must(os.Rename(d.path("b"), d.path("c/b"))) // to another directory, with what is in it
	d.wantRead("c/b/deep/f", "in a")
	d.must(os.Rename(d.path("c/b/deep/f"), d.path("f")))
	d.wantRead("f", "in a")
	d.must(os.Rename(d.path("f"), d.path("f"))) // to itself
	d.wantRead("f", "in a")
	if got := fmt.Sprint(d.names("")); got != "[c f]" {
		t.Errorf("the root lists %s", got)
	}
}

func TestExchange(t *testing.T) {
	d := newDrive(t)
	exchange := func(a, b string) {
		t.Helper()
		d.must(unix.Renameat2(unix.AT_FDCWD, d.path(a), unix.AT_FDCWD, d.path(b), unix.RENAME_EXCHANGE))
	}
	d.must(os.MkdirAll(d.path("a/deep"), 0o755))
	d.write("a/deep/f", "in a")
	d.write("g", "alone")
	dirIno, fileIno := d.stat("a").Ino, d.stat("g").Ino
	open, err := os.OpenFile(d.path("g"), os.O_RDWR, 0)
	d.must(err)
	defer open.Close()
	exchange("a", "g")
	if got := d.stat("g").Ino; got != dirIno {
		t.Errorf("the directory has inode %d, had %d", got, dirIno)
	}
	if got := d.stat("a").Ino; got != fileIno {
		t.Errorf("the file has inode %d, had %d", got, fileIno)
	}
	d.wantRead("g/deep/f", "in a")
	d.wantRead("a", "alone")
	if _, err := open.WriteAt([]byte("ALONE"), 0); err != nil { // what is open goes on
		t.Error(err)
	}
	d.wantRead("a", "ALONE")
	exchange("a", "g/deep/f")
	d.wantRead("g/deep/f", "ALONE")
	d.wantRead("a", "in a")
	exchange("a", "a")
	if got := fmt.Sprint(d.names("")); got != "[a g]" {
		t.Errorf("the root lists %s", got)
	}
}

// What rm -r removes travels as one edit.
func TestRemovedTree(t *testing.T) {
	d, there := withElsewhere(t)
	d.must(os.MkdirAll(d.path("dir/a/b"), 0o755))
	for i := range 50 {
		d.write(fmt.Sprint("dir/a/b/", i), "bytes")
		d.write(fmt.Sprint("dir/", i), "bytes")
	}
	d.write("kept", "bytes")
	there.take()
	d.must(os.RemoveAll(d.path("dir")))
	b, err := d.root.Batch(func(*dbfs.Op) bool { return true })
	d.must(err)
	if len(b.Ops) != 1 || b.Ops[0].Type != dbfs.OpDeleteTree {
		t.Errorf("sent are %d edits, the first a %s", len(b.Ops), b.Ops[0].Type)
	}
	there.take()
	if got := fmt.Sprint(d.names("")); got != "[kept]" {
		t.Errorf("the root lists %s", got)
	}
	d.must(os.Mkdir(d.path("dir"), 0o755))
	if got := len(d.names("dir")); got != 0 {
		t.Errorf("a new directory of that name has %d names", got)
	}
}

func TestStandingInARemovedDirectory(t *testing.T) {
	d := newDrive(t)
	d.must(os.Mkdir(d.path("gone"), 0o755))
	dir, err := os.Open(d.path("gone"))
	d.must(err)
	defer dir.Close()
	d.must(os.Remove(d.path("gone")))
	var st unix.Stat_t
	d.must(unix.Fstat(int(dir.Fd()), &st))
	if st.Nlink != 0 || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("%d links, mode %o", st.Nlink, st.Mode)
	}
	d.must(unix.Fchmod(int(dir.Fd()), 0o700))
	d.must(unix.Fstat(int(dir.Fd()), &st))
	if st.Mode&0o777 != 0o700 {
		t.Errorf("chmod of what is gone gave mode %o", st.Mode)
	}
	_, err = unix.Openat(int(dir.Fd()), "f", unix.O_CREAT|unix.O_WRONLY, 0o644)
	wantErrno(t, "create in what is gone", err, unix.ENOENT)
}

func TestReplacedDirectoryStaysOpen(t *testing.T) {
	d := newDrive(t)
	d.must(os.Mkdir(d.path("old"), 0o750))
	d.must(os.Mkdir(d.path("new"), 0o711))
	dir, err := os.Open(d.path("old"))
	d.must(err)
	defer dir.Close()
	before := d.stat("old")
	d.must(unix.Rename(d.path("new"), d.path("old")))
	var st unix.Stat_t
	d.must(unix.Fstat(int(dir.Fd()), &st))
	if st.Ino != before.Ino || st.Mode != before.Mode {
		t.Errorf("inode %d, mode %o became %d, %o", before.Ino, before.Mode, st.Ino, st.Mode)
	}
}

func TestSymlinks(t *testing.T) {
	d := newDrive(t)
	d.write("target", "reached")
	for _, to := range []string{"target", "./target", d.path("target")} {
		d.must(os.Symlink(to, d.path("link")))
		if got, err := os.Readlink(d.path("link")); err != nil || got != to {
			t.Errorf("readlink: %q, %v, want %q", got, err, to)
		}
		d.wantRead("link", "reached")
		if st := d.stat("link"); st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Size != int64(len(to)) {
			t.Errorf("mode %o, size %d", st.Mode, st.Size)
		}
		d.must(os.Remove(d.path("link")))
	}
	long := strings.Repeat("x/", 2047) + "x"
	d.must(os.Symlink(long, d.path("long")))
	if got, err := os.Readlink(d.path("long")); err != nil || got != long {
		t.Errorf("a target of %d bytes: %d bytes, %v", len(long), len(got), err)
	}
}

func TestNames(t *testing.T) {
	d := newDrive(t)
	names := []string{"a", " ", "\n", "*", "ß", "名前", "é", "e\u0301", "con", ".hidden", "trailing.", "-rf", strings.Repeat("n", 255), strings.Repeat("ü", 127)}
	for _, n := range names {
		d.write(n, n)
	}
	for _, n := range names {
		d.wantRead(n, n)
	}
	got := d.names("")
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("listed %q, want %q", got, names)
	}
}

// TestLongPath works at the end of a path of nearly the 4,096 bytes that a system call takes.
func TestLongPath(t *testing.T) {
	d := newDrive(t)
	room := 4095 - len(d.dir) - len("/file")
	var parts []string
	for n := 0; room > 2; n++ {
		part := strings.Repeat(fmt.Sprint(n%10), min(254, room-1))
		parts = append(parts, part)
		room -= len(part) + 1
	}
	deep := filepath.Join(parts...)
	d.must(os.MkdirAll(d.path(deep), 0o755))
	d.write(deep+"/file", "at the end")
	d.wantRead(deep+"/file", "at the end")
	d.must(os.Rename(d.path(deep+"/file"), d.path("here")))
	d.wantRead("here", "at the end")
	if n := len(d.path(deep + "/file")); n < 4090 {
		t.Errorf("the path had only %d bytes", n)
	}
}

func TestLargeDirectory(t *testing.T) {
	n := 100_000
	if raceDetector { // which makes it eight times as slow
		n = 20_000
	}
	d, there := withElsewhere(t)
	want := make(map[string]bool)
	for i := range n { // making them through the kernel is measured elsewhere
		name := fmt.Sprintf("file %05d", i)
		want[name] = true
		there.put(dbfs.Node{Name: name, Kind: dbfs.KindFile})
		if i%2000 == 1999 {
			there.advance()
		}
	}
	dir := d.openDir("")
	defer dir.close()
	got := make(map[string]int)
	changes := 0
	for {
		names := dir.next()
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			got[name]++
		}
		if changes < 500 { // while it is read, some come and go
			d.must(os.Remove(d.path(fmt.Sprintf("file %05d", changes*2))))
			d.write(fmt.Sprintf("late %05d", changes), "")
			delete(want, fmt.Sprintf("file %05d", changes*2))
			changes++
		}
	}
	for name := range want {
		if got[name] != 1 {
			t.Fatalf("%s was listed %d times, want once", name, got[name])
		}
	}
	for name, times := range got {
		if times != 1 {
			t.Fatalf("%s was listed %d times", name, times)
		}
	}
	if now := len(d.names("")); now != n-changes+changes {
		t.Errorf("listed anew: %d names, want %d", now, n)
	}
}

func TestSeekInAChangingDirectory(t *testing.T) {
	d := newDrive(t)
	const n = 2000
	for i := range n {
		_, err := d.root.Create(dbfs.RootNode, fmt.Sprintf("%05d", i), newFile)
		d.must(err)
	}
	dir := d.openDir("")
	defer dir.close()
	type mark struct {
		at   int64
		next string
	}
	var marks []mark
	for {
		at := dir.tell()
		names := dir.next()
		if len(names) == 0 {
			break
		}
		marks = append(marks, mark{at, names[0]})
	}
	for i := 0; i < n; i += 3 {
		d.must(os.Remove(d.path(fmt.Sprintf("%05d", i))))
	}
	slices.Reverse(marks)
	for _, m := range marks {
		if m.next == "." {
			continue // the beginning reads the directory anew
		}
		dir.seek(m.at)
		names := dir.next()
		if len(names) == 0 || names[0] < m.next || names[0] > fmt.Sprintf("%05d", atoi(m.next)+1) {
			t.Errorf("back at position %d comes %.1q, there was %q", m.at, names, m.next)
		}
	}
}

func atoi(s string) (n int) {
	fmt.Sscan(strings.TrimLeft(s, "0")+" ", &n)
	return n
}

// A dirReader reads a directory as the kernel hands it out.
type dirReader struct {
	d  *drive
	fd int
}

func (d *drive) openDir(name string) *dirReader {
	d.t.Helper()
	fd, err := unix.Open(d.path(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	d.must(err)
	return &dirReader{d, fd}
}

func (r *dirReader) next() []string {
	b := make([]byte, 2000)
	n, err := unix.Getdents(r.fd, b)
	r.d.must(err)
	_, _, names := unix.ParseDirent(b[:n], -1, nil)
	if n > 0 && len(names) == 0 {
		return []string{"."}
	}
	return names
}

func (r *dirReader) tell() int64 {
	at, err := unix.Seek(r.fd, 0, unix.SEEK_CUR)
	r.d.must(err)
	return at
}

func (r *dirReader) seek(at int64) {
	_, err := unix.Seek(r.fd, at, unix.SEEK_SET)
	r.d.must(err)
}

func (r *dirReader) close() { unix.Close(r.fd) }
