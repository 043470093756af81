package fs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// large is longer than what the cache keeps without a body.
const large = 300_000

func remoteFile(name string, c dbfs.Content) dbfs.Node {
	return dbfs.Node{Name: name, Kind: dbfs.KindFile, Content: c}
}

// withElsewhere is a drive whose root another device changes as well.
func withElsewhere(t *testing.T) (*drive, *elsewhere) {
	d := newDrive(t)
	return d, newElsewhere(d, d.root)
}

func TestRemoteFileAppears(t *testing.T) {
	d, there := withElsewhere(t)
	wantErrno(t, "before", onlyErr(os.Stat(d.path("new"))), unix.ENOENT) // and the kernel remembers that
	if got := d.names(""); len(got) != 0 {
		t.Fatalf("listed %v", got)
	}
	there.put(remoteFile("new", there.content("from elsewhere")))
	there.advance()
	d.eventually("the name leads somewhere", func() bool { return onlyErr(os.Stat(d.path("new"))) == nil })
	d.eventually("the listing has it", func() bool { return slices.Equal(d.names(""), []string{"new"}) })
	d.wantRead("new", "from elsewhere")
}

func TestRemoteContentReachesNewOpens(t *testing.T) {
	d, there := withElsewhere(t)
	for _, size := range []int{20, large} {
		name := fmt.Sprint(size)
		n := there.put(remoteFile(name, there.content(strings.Repeat("a", size))))
		there.advance()
		d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path(name))) == nil })
		d.read(name) // now the kernel has name, attributes and pages
		ino := d.stat(name).Ino
		for i, next := range []string{strings.Repeat("b", size), strings.Repeat("c", size/2), strings.Repeat("d", 2*size), ""} {
			d.eventually("nobody has it open", func() bool { return len(d.fs.openFiles()) == 0 })
			n = there.write(n, next)
			there.advance()
			d.wantRead(name, next) // at once: who opens after the change has the new version
			d.eventually("stat shows it", func() bool {
				st := d.stat(name)
				return st.Size == int64(len(next)) && st.Mtim.Nano() == n.Attr.MTime
			})
			if got := d.stat(name).Ino; got != ino {
				t.Errorf("change %d: inode %d became %d, though nobody had it open", i, ino, got)
			}
		}
	}
}

// Who opens a file right after another device made it shorter, again and again, sees no zeros at its end. On a mount of a user without
// rights one in a hundred did.
func TestRemoteFileGetsShorter(t *testing.T) {
	d, there := withElsewhere(t)
	n := there.put(remoteFile("f", there.content(strings.Repeat("a", large))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("f"))) == nil })
	for i, end := 0, time.Now().Add(1500*time.Millisecond); time.Now().Before(end); i++ {
		d.eventually("nobody has it open", func() bool { return len(d.fs.openFiles()) == 0 })
		next := strings.Repeat(string(rune('a'+i%26)), large-(i%2)*(large/2+i))
		n = there.write(n, next)
		there.advance()
		d.wantRead("f", next)
	}
}

func TestOpenReaderKeepsItsVersion(t *testing.T) {
	d, there := withElsewhere(t)
	for _, size := range []int{20, large} {
		name := fmt.Sprint(size)
		n := there.put(remoteFile(name, there.content(strings.Repeat("a", size))))
		there.advance()
		d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path(name))) == nil })
		f, err := os.Open(d.path(name))
		d.must(err)
		b := make([]byte, size)
		_, err = f.ReadAt(b[:5], 0) // the rest is read later
		d.must(err)
		n = there.write(n, strings.Repeat("b", 2*size))
		there.advance()
		d.eventually("the name shows the new version", func() bool { return d.stat(name).Size == int64(2*size) })
		d.wantRead(name, strings.Repeat("b", 2*size))
		d.must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		_, err = f.ReadAt(b, 0)
		d.must(err)
		var st unix.Stat_t
		d.must(unix.Fstat(int(f.Fd()), &st))
		if string(b) != strings.Repeat("a", size) || st.Size != int64(size) || st.Nlink != 0 {
			t.Errorf("the open file reads %s, size %d, %d links", brief(string(b)), st.Size, st.Nlink)
		}
		there.write(n, "third")
		there.advance()
		d.eventually("the third version", func() bool { return d.read(name) == "third" })
		_, err = f.ReadAt(b, 0)
		d.must(err)
		if string(b) != strings.Repeat("a", size) {
			t.Errorf("after the third version the open file reads %s", brief(string(b)))
		}
		d.must(f.Close())
		d.wantRead(name, "third")
	}
}

func TestOpenWriterLosesItsNameNotItsBytes(t *testing.T) {
	d, there := withElsewhere(t)
	for _, size := range []int{20, large} {
		name := fmt.Sprintf("%d.txt", size)
		n := there.put(remoteFile(name, there.content(strings.Repeat("a", size))))
		there.advance()
		d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path(name))) == nil })
		f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
		d.must(err)
		_, err = f.WriteAt([]byte("mine"), 0)
		d.must(err)
		there.write(n, "theirs")
		there.advance()
		d.eventually("the name shows theirs", func() bool { return d.read(name) == "theirs" })
		_, err = f.WriteAt([]byte("too"), 4)
		d.must(err)
		d.names("")
		d.must(f.Close())
		d.wantRead(name, "theirs")
		var copies []string
		d.eventually("the copy is listed", func() bool { // and it is: negative names and listings were cached
			copies = slices.DeleteFunc(d.names(""), func(n string) bool { return !strings.HasPrefix(n, fmt.Sprint(size, " (conflicted copy, here")) })
			return len(copies) == 1
		})
		d.wantRead(copies[0], "minetoo"+strings.Repeat("a", size-7))
	}
}

func TestWriterThatSyncsGoesOnAsTheCopy(t *testing.T) {
	d, there := withElsewhere(t)
	n := there.put(remoteFile("log", there.content("start ")))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("log"))) == nil })
	f, err := os.OpenFile(d.path("log"), os.O_WRONLY|os.O_APPEND, 0)
	d.must(err)
	for i := range 3 {
		_, err = fmt.Fprint(f, i)
		d.must(err)
		d.must(f.Sync())
		if i == 0 {
			there.write(n, "theirs")
			there.advance()
			d.eventually("the name shows theirs", func() bool { return d.read("log") == "theirs" })
		}
	}
	d.must(f.Close())
	d.eventually("one copy, with all that was written", func() bool {
		names := d.names("")
		return len(names) == 2 && d.read(names[1]) == "start 012"
	})
	d.wantRead("log", "theirs")
}

func TestRemoteRemoval(t *testing.T) {
	d, there := withElsewhere(t)
	n := there.put(remoteFile("f", there.content("bytes")))
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	in := there.put(dbfs.Node{Name: "in", Kind: dbfs.KindFile, Parent: dir.ID})
	there.advance()
	d.eventually("all is there", func() bool { return onlyErr(os.Stat(d.path("dir/in"))) == nil })
	d.wantRead("f", "bytes")
	f, err := os.Open(d.path("f"))
	d.must(err)
	defer f.Close()
	stand, err := os.Open(d.path("dir"))
	d.must(err)
	defer stand.Close()
	there.remove(n)
	there.remove(in)
	there.remove(dir)
	there.advance()
	d.eventually("the listing is empty", func() bool { return len(d.names("")) == 0 })
	d.eventually("the name is gone", func() bool { return os.IsNotExist(onlyErr(os.Stat(d.path("f")))) })
	d.eventually("the name is gone for who stands beside it", func() bool {
		return unix.Fstatat(int(stand.Fd()), "in", new(unix.Stat_t), 0) == unix.ENOENT
	})
	b := make([]byte, 5)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "bytes" {
		t.Errorf("who has it open reads %q, %v", b, err)
	}
	for _, open := range []*os.File{f, stand} { // the kernel is told of each by itself
		var st unix.Stat_t
		d.eventually("what is gone has no links", func() bool {
			d.must(unix.Fstat(int(open.Fd()), &st))
			return st.Nlink == 0
		})
	}
	f.Close()
	stand.Close()
	d.eventually("nothing is kept of files that are gone", func() bool {
		d.fs.mu.Lock()
		defer d.fs.mu.Unlock()
		for _, g := range d.fs.ghosts { // the kernel keeps the directory, for remembering what is not in it
			if g.node.Kind == dbfs.KindFile {
				return false
			}
		}
		return len(d.fs.files) == 0
	})
}

func TestRemoteRemovalOfAFileSomebodyWrites(t *testing.T) {
	d, there := withElsewhere(t)
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	n := there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Parent: dir.ID, Content: there.content("bytes")})
	there.advance()
	d.eventually("all is there", func() bool { return onlyErr(os.Stat(d.path("dir/f"))) == nil })
	f, err := os.OpenFile(d.path("dir/f"), os.O_RDWR, 0)
	d.must(err)
	_, err = f.WriteAt([]byte("B"), 0)
	d.must(err)
	there.remove(n)
	there.remove(dir)
	there.advance()
	d.eventually("the directory is gone", func() bool { return os.IsNotExist(onlyErr(os.Stat(d.path("dir")))) })
	d.must(f.Close())
	d.eventually("the file is back, with its directory", func() bool { return onlyErr(os.Stat(d.path("dir/f"))) == nil })
	d.wantRead("dir/f", "Bytes")
	if got := d.names(""); !slices.Equal(got, []string{"dir"}) {
		t.Errorf("the root lists %v", got)
	}
}

// A tree that another device removes is gone with everything in it, but for what somebody writes.
func TestRemoteRemovalOfATree(t *testing.T) {
	d, there := withElsewhere(t)
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	sub := there.put(dbfs.Node{Name: "sub", Kind: dbfs.KindDir, Parent: dir.ID})
	var files []dbfs.Node
	for _, name := range []string{"read", "written", "closed"} {
		files = append(files, there.put(dbfs.Node{Name: name, Kind: dbfs.KindFile, Parent: sub.ID, Content: there.content("bytes of " + name)}))
	}
	there.advance()
	d.eventually("all is there", func() bool { return onlyErr(os.Stat(d.path("dir/sub/closed"))) == nil })
	d.names("dir/sub")
	reader, err := os.Open(d.path("dir/sub/read"))
	d.must(err)
	defer reader.Close()
	writer, err := os.OpenFile(d.path("dir/sub/written"), os.O_RDWR, 0)
	d.must(err)
	_, err = writer.WriteAt([]byte("BYTES"), 0)
	d.must(err)
	stand, err := os.Open(d.path("dir/sub"))
	d.must(err)
	defer stand.Close()
	there.removeTree(dir, append(files, sub)...)
	there.advance()
	d.eventually("it is gone", func() bool { return os.IsNotExist(onlyErr(os.Stat(d.path("dir")))) && len(d.names("")) == 0 })
	wantErrno(t, "a name in it", unix.Faccessat(int(stand.Fd()), "closed", unix.R_OK, 0), unix.ENOENT)
	got := make([]byte, 100)
	n, _ := reader.ReadAt(got, 0)
	if string(got[:n]) != "bytes of read" {
		t.Errorf("who had a file open reads %q", got[:n])
	}
	d.must(writer.Close())
	d.eventually("what was written is back", func() bool { return onlyErr(os.Stat(d.path("dir/sub/written"))) == nil })
	d.wantRead("dir/sub/written", "BYTES of written")
	if got := d.names("dir/sub"); !slices.Equal(got, []string{"written"}) {
		t.Errorf("back are %v", got)
	}
}

func TestRemoteRename(t *testing.T) {
	d, there := withElsewhere(t)
	a := there.put(dbfs.Node{Name: "a", Kind: dbfs.KindDir})
	b := there.put(dbfs.Node{Name: "b", Kind: dbfs.KindDir})
	n := there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Parent: a.ID, Content: there.content("bytes")})
	there.advance()
	d.eventually("all is there", func() bool { return onlyErr(os.Stat(d.path("a/f"))) == nil })
	wantErrno(t, "not yet", onlyErr(os.Stat(d.path("b/g"))), unix.ENOENT)
	d.names("a")
	d.names("b")
	ino := d.stat("a/f").Ino
	stand, err := os.Open(d.path("a"))
	d.must(err)
	defer stand.Close()
	there.move(n, b.ID, "g")
	there.move(a, b.ID, "c")
	there.advance()
	d.eventually("it is at its new place", func() bool { return onlyErr(os.Stat(d.path("b/g"))) == nil })
	d.eventually("it has left the old one", func() bool { return os.IsNotExist(onlyErr(os.Stat(d.path("a")))) })
	if got := d.stat("b/g").Ino; got != ino {
		t.Errorf("inode %d became %d", ino, got)
	}
	d.wantRead("b/g", "bytes")
	if got := d.names("b"); !slices.Equal(got, []string{"c", "g"}) {
		t.Errorf("b lists %v", got)
	}
	fd, err := unix.Openat(int(stand.Fd()), "new", unix.O_CREAT|unix.O_WRONLY, 0o644) // a working directory goes on working
	d.must(err)
	d.must(unix.Close(fd))
	d.wantRead("b/c/new", "")
}

func TestRemoteAttributes(t *testing.T) {
	d, there := withElsewhere(t)
	f := there.put(remoteFile("f", there.content("bytes")))
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	there.advance()
	d.eventually("all is there", func() bool { return onlyErr(os.Stat(d.path("dir"))) == nil })
	open, err := os.Open(d.path("f"))
	d.must(err)
	defer open.Close()
	d.stat("f")
	there.chmod(f, 0o600)
	there.chmod(dir, 0o711)
	there.advance()
	d.eventually("the file's mode", func() bool { return d.stat("f").Mode&0o777 == 0o600 })
	d.eventually("the directory's mode", func() bool { return d.stat("dir").Mode&0o777 == 0o711 })
	var st unix.Stat_t
	d.must(unix.Fstat(int(open.Fd()), &st))
	if st.Mode&0o777 != 0o600 || st.Nlink != 1 {
		t.Errorf("fstat of the open file: mode %o, %d links", st.Mode, st.Nlink)
	}
}

func TestRemoteChangeOfKind(t *testing.T) {
	d, there := withElsewhere(t)
	f := there.put(remoteFile("x", there.content("bytes")))
	there.advance()
	d.eventually("it is a file", func() bool { return onlyErr(os.ReadFile(d.path("x"))) == nil })
	there.remove(f)
	there.put(dbfs.Node{Name: "x", Kind: dbfs.KindDir})
	there.advance()
	d.eventually("it is a directory", func() bool { return d.stat("x").Mode&unix.S_IFMT == unix.S_IFDIR })
	d.write("x/f", "in it")
	d.wantRead("x/f", "in it")
}

func TestAdoptedKeepsItsInode(t *testing.T) {
	d, there := withElsewhere(t)
	d.must(os.Mkdir(d.path("dir"), 0o755))
	d.write("dir/f", "same bytes")
	dirIno, fileIno := d.stat("dir").Ino, d.stat("dir/f").Ino
	stand, err := os.Open(d.path("dir"))
	d.must(err)
	defer stand.Close()
	open, err := os.Open(d.path("dir/f"))
	d.must(err)
	defer open.Close()
	dir := there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Parent: dir.ID, Content: there.content("same bytes")})
	there.put(dbfs.Node{Name: "theirs", Kind: dbfs.KindFile, Parent: dir.ID, Content: there.content("theirs")})
	there.advance()
	d.eventually("their file is there", func() bool { return onlyErr(os.Stat(d.path("dir/theirs"))) == nil })
	if n := len(d.root.Pending()); n != 0 {
		t.Errorf("%d edits are pending, want none: all were adopted", n)
	}
	d.wantRead("dir/f", "same bytes")
	if a, b := d.stat("dir").Ino, d.stat("dir/f").Ino; a != dirIno || b != fileIno {
		t.Errorf("inodes %d, %d became %d, %d", dirIno, fileIno, a, b)
	}
	var st unix.Stat_t
	d.must(unix.Fstat(int(open.Fd()), &st))
	if st.Nlink != 1 {
		t.Errorf("the open file has %d links", st.Nlink)
	}
	fd, err := unix.Openat(int(stand.Fd()), "new", unix.O_CREAT|unix.O_WRONLY, 0o644)
	d.must(err)
	d.must(unix.Close(fd))
	d.wantRead("dir/new", "")
}

func TestNameConflict(t *testing.T) {
	d, there := withElsewhere(t)
	d.write("f", "mine")
	there.put(remoteFile("f", there.content("theirs")))
	there.advance()
	d.eventually("both are listed", func() bool { return len(d.names("")) == 2 })
	d.eventually("theirs has the name", func() bool { return d.read("f") == "theirs" })
	d.wantRead(d.names("")[1], "mine")
}

// A file is removed here between the moment when what was written to it is cut into chunks
// and the moment when that is recorded. Another device has moved it, so it stays, as it was;
// the kernel, where somebody has kept the inode, still has what was written.
func TestBytesThatWereNeverRecordedAreNotShown(t *testing.T) {
	d, there := withElsewhere(t)
	before := strings.Repeat("before ", 10_000)
	n := there.put(remoteFile("f", there.content(before)))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("f"))) == nil })
	d.wantRead("f", before)
	kept, err := unix.Open(d.path("f"), unix.O_PATH, 0)
	d.must(err)
	defer unix.Close(kept)

	w, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
	d.must(err)
	_, err = w.WriteString(strings.Repeat("after! ", 10_000))
	d.must(err)
	f := d.fs.openFile(d.stat("f").Ino)
	content, err := f.draft.Seal(t.Context())
	d.must(err)
	f.setSealed(&content)
	d.must(os.Remove(d.path("f")))
	d.must(w.Close())
	d.eventually("nobody has it open", func() bool { return len(d.fs.openFiles()) == 0 })

	there.move(n, dbfs.RootNode, "moved")
	there.advance()
	d.eventually("the kernel is told", d.fs.changes.idle)
	d.wantRead("moved", before)
}

// Between finding a node by its inode number and opening it, the number can go to another
// node: the kernel has to look the name up again.
func TestOpenByANumberThatHasMovedOn(t *testing.T) {
	d, there := withElsewhere(t)
	there.put(remoteFile("f", there.content("bytes")))
	there.advance()
	n, err := d.root.Lookup("f")
	d.must(err)
	sp, found, err := d.fs.find(n.Ino)
	d.must(err)
	_, err = d.root.NewInode(n.ID)
	d.must(err)
	if _, _, err := d.fs.open(sp, found, false); err != unix.ESTALE {
		t.Errorf("opened, though the number leads elsewhere: %v", err)
	}
	if open := d.fs.openFiles(); len(open) > 0 {
		t.Errorf("%d files stay open", len(open))
	}
	d.wantRead("f", "bytes")
}
