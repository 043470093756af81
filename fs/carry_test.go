package fs

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// A pair is a drive with another namespace shown in it, at "other".
type pair struct {
	*drive
	other       *journal.Journal
	here, there *elsewhere
}

func newPair(t *testing.T) *pair {
	t.Helper()
	d := newDrive(t)
	p := &pair{drive: d, other: d.add(otherNS, 0, dbfs.RoleAdmin)}
	p.here, p.there = newElsewhere(d, d.root), newElsewhere(d, p.other)
	p.here.put(dbfs.Node{Kind: dbfs.KindMount, Parent: dbfs.RootNode, Name: "other", Mount: otherNS})
	p.here.advance()
	return p
}

// sync takes to the server what both namespaces have, until nothing is left.
func (p *pair) sync() {
	p.t.Helper()
	// The kernel tells of a close after it.
	p.eventually("everything is sent", func() bool {
		p.here.take()
		p.there.take()
		p.must(p.root.CarryOn(otherNS, p.other))
		p.must(p.other.CarryOn(rootNS, p.root))
		return len(p.root.Pending())+len(p.other.Pending()) == 0
	})
}

func (p *pair) gone(name string) {
	p.t.Helper()
	if _, err := os.Stat(p.path(name)); !errors.Is(err, os.ErrNotExist) {
		p.t.Errorf("%s is there: %v", name, err)
	}
}

// live returns how many nodes the server has.
func (e *elsewhere) live() int {
	n := 0
	for _, node := range e.nodes {
		if !node.Deleted {
			n++
		}
	}
	return n
}

func (p *pair) ino(name string) uint64 {
	p.t.Helper()
	st, err := os.Stat(p.path(name))
	p.must(err)
	return st.Sys().(*syscall.Stat_t).Ino
}

// A file that is renamed into another namespace is the same file to programs, at once, with all its
// attributes; and whatever comes first, it is in one place in the end.
func TestRenameBetweenNamespaces(t *testing.T) {
	p := newPair(t)
	for name, prepare := range map[string]func(name string){
		"sent":           func(name string) { p.write(name, "bytes"); p.sync() },
		"never sent":     func(name string) { p.write(name, "bytes") },
		"edited offline": func(name string) { p.write(name, "old"); p.sync(); p.write(name, "bytes") },
	} {
		t.Run(name, func(t *testing.T) {
			prepare("f")
			p.must(os.Chmod(p.path("f"), 0o640))
			p.must(unix.Setxattr(p.path("f"), "user.colour", []byte("blue"), 0))
			before, err := os.Stat(p.path("f"))
			p.must(err)
			p.must(os.Rename(p.path("f"), p.path("other/g")))
			p.wantRead("other/g", "bytes")
			p.gone("f")
			after, err := os.Stat(p.path("other/g"))
			p.must(err)
			if !os.SameFile(before, after) || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("it was %+v, and is %+v", before, after)
			}
			colour := make([]byte, 16)
			if n, err := unix.Getxattr(p.path("other/g"), "user.colour", colour); err != nil || string(colour[:n]) != "blue" {
				t.Errorf("extended attribute %q, %v", colour[:n], err)
			}
			p.sync()
			p.wantRead("other/g", "bytes")
			p.gone("f")
			if n := p.there.live(); n != 1 {
				t.Errorf("the other namespace has %d nodes, want 1", n)
			}
			if n := p.here.live(); n != 1 { // the mount
				t.Errorf("the first namespace has %d nodes, want 1", n)
			}
			p.must(os.Remove(p.path("other/g")))
			p.sync()
		})
	}
}

// There and back, before anything is sent, is nothing; a second way is as good as the first.
func TestRenameThereAndBack(t *testing.T) {
	p := newPair(t)
	p.write("f", "bytes")
	p.sync()
	for range 3 {
		p.must(os.Rename(p.path("f"), p.path("other/f")))
		p.must(os.Rename(p.path("other/f"), p.path("f")))
	}
	p.wantRead("f", "bytes")
	p.sync()
	p.wantRead("f", "bytes")
	p.gone("other/f")
	if n, m := p.here.live(), p.there.live(); n != 2 || m != 0 {
		t.Errorf("%d and %d nodes, want the mount with the file, and none", n, m)
	}
}

// Over a file that is there the rename makes its next version; over a symlink it replaces it.
func TestRenameOverInAnotherNamespace(t *testing.T) {
	p := newPair(t)
	p.write("f", "new")
	p.write("other/f", "old")
	p.must(os.Symlink("nowhere", p.path("other/l")))
	p.write("m", "more")
	p.must(os.Symlink("somewhere", p.path("k")))
	p.sync()
	old, err := p.other.Lookup("f")
	p.must(err)
	f, err := os.Open(p.path("other/f"))
	p.must(err)
	defer f.Close()
	if err := unix.Renameat2(unix.AT_FDCWD, p.path("f"), unix.AT_FDCWD, p.path("other/f"), unix.RENAME_NOREPLACE); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("over a file that is not to be replaced: %v", err)
	}
	ino := p.ino("f")
	p.must(os.Rename(p.path("f"), p.path("other/f")))
	p.must(os.Rename(p.path("m"), p.path("other/l")))
	p.must(os.Rename(p.path("k"), p.path("other/k")))
	p.wantRead("other/f", "new")
	if p.ino("other/f") != ino {
		t.Errorf("the inode is not that of the file that was moved")
	}
	b := make([]byte, 10)
	if n, _ := f.ReadAt(b, 0); string(b[:n]) != "old" {
		t.Errorf("who had it open reads %q, want what was there", b[:n])
	}
	p.sync()
	p.wantRead("other/f", "new")
	p.wantRead("other/l", "more")
	if to, err := os.Readlink(p.path("other/k")); err != nil || to != "somewhere" {
		t.Errorf("symlink to %q, %v", to, err)
	}
	if now, err := p.other.Lookup("f"); err != nil || now.ID != old.ID {
		t.Errorf("the file there is another node: %+v, %v", now, err)
	}
	p.gone("f")
	p.gone("m")
	p.gone("k")
}

// Who has the file open goes on reading and writing it, also what was written before and not recorded.
func TestRenameOpenBetweenNamespaces(t *testing.T) {
	p := newPair(t)
	for _, large := range []bool{false, true} {
		name, first := "small", []byte("first")
		if large {
			name, first = "large", make([]byte, 5<<20)
			for i := range first {
				first[i] = byte(i * i >> 8)
			}
		}
		p.write(name, string(first))
		p.sync()
		w, err := os.OpenFile(p.path(name), os.O_RDWR, 0)
		p.must(err)
		r, err := os.Open(p.path(name))
		p.must(err)
		if _, err := w.WriteAt([]byte("before"), 0); err != nil {
			t.Fatal(err)
		}
		p.must(os.Rename(p.path(name), p.path("other/"+name)))
		if _, err := w.WriteAt([]byte("afterwards"), int64(len(first))); err != nil {
			t.Fatal(err)
		}
		want := append([]byte("before"), first[min(6, len(first)):]...)[:max(6, len(first))]
		copyAt(&want, "afterwards", len(first))
		got := make([]byte, len(want)+1)
		if n, _ := r.ReadAt(got, 0); string(got[:n]) != string(want) {
			t.Errorf("%s: the reader sees %d bytes, not what was written", name, n)
		}
		p.takeSome()
		p.must(w.Sync())
		p.must(w.Close())
		p.must(r.Close())
		p.wantRead("other/"+name, string(want))
		p.sync()
		p.wantRead("other/"+name, string(want))
		p.gone(name)
	}
}

func copyAt(b *[]byte, s string, at int) {
	*b = append((*b)[:at], s...)
}

// takeSome sends what can be sent while a file is open.
func (p *pair) takeSome() {
	p.t.Helper()
	p.here.take()
	p.there.take()
	p.must(p.root.CarryOn(otherNS, p.other))
}

// Over one of several names it takes that name only; one of several names is not moved.
func TestRenameOverLinkInAnotherNamespace(t *testing.T) {
	p := newPair(t)
	p.write("f", "new")
	p.write("g", "newer")
	p.write("other/f", "old")
	p.must(os.Link(p.path("other/f"), p.path("other/l")))
	p.must(os.Link(p.path("other/f"), p.path("other/m")))
	p.sync()
	if err := os.Rename(p.path("other/l"), p.path("l")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("a link: %v, want EXDEV", err)
	}
	if err := os.Rename(p.path("other/f"), p.path("l")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("what has links: %v, want EXDEV", err)
	}
	ino := p.ino("other/m")
	p.must(os.Rename(p.path("f"), p.path("other/f")))
	p.must(os.Rename(p.path("g"), p.path("other/l")))
	for range 2 {
		p.wantRead("other/f", "new")
		p.wantRead("other/l", "newer")
		p.wantRead("other/m", "old")
		if p.ino("other/m") != ino {
			t.Errorf("what goes on under another name has another inode")
		}
		p.sync()
	}
}

// Directories are not moved: programs hear it, and copy. Two things do not change places either.
func TestRenameDirectoryBetweenNamespaces(t *testing.T) {
	p := newPair(t)
	p.must(os.Mkdir(p.path("d"), 0o755))
	p.must(os.Mkdir(p.path("other/e"), 0o755))
	p.write("f", "bytes")
	if err := os.Rename(p.path("d"), p.path("other/d")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("a directory: %v, want EXDEV", err)
	}
	if err := os.Rename(p.path("f"), p.path("other/e")); err == nil {
		t.Errorf("a file took the place of a directory")
	}
	if err := unix.Renameat2(unix.AT_FDCWD, p.path("f"), unix.AT_FDCWD, p.path("other/e"), unix.RENAME_EXCHANGE); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("an exchange: %v, want EXDEV", err)
	}
	p.wantRead("f", "bytes")
}

// What another device has written meanwhile stays where it was, beside what was moved.
func TestRenameOfWhatOthersChange(t *testing.T) {
	p := newPair(t)
	p.write("f", "bytes")
	p.sync()
	n, err := p.root.Lookup("f")
	p.must(err)
	p.must(os.Rename(p.path("f"), p.path("other/f")))
	p.gone("f")
	p.here.write(p.here.nodes[n.ID], "theirs")
	p.here.advance()
	p.eventually("the other device's version", func() bool { b, _ := os.ReadFile(p.path("f")); return string(b) == "theirs" })
	p.wantRead("other/f", "bytes")
	p.sync()
	p.wantRead("f", "theirs")
	p.wantRead("other/f", "bytes")
	if p.ino("f") == p.ino("other/f") {
		t.Errorf("both have inode %d", p.ino("f"))
	}
}

// What was given up at its new place is back where it was.
func TestRenameGivenUp(t *testing.T) {
	p := newPair(t)
	p.write("f", "bytes")
	p.sync()
	p.must(os.Rename(p.path("f"), p.path("other/f")))
	p.must(p.other.Abandon(p.other.Pending()))
	p.must(p.root.CarryOn(otherNS, p.other))
	p.eventually("it is back", func() bool { b, _ := os.ReadFile(p.path("f")); return string(b) == "bytes" })
	p.eventually("it is not there any more", func() bool { _, err := os.Stat(p.path("other/f")); return os.IsNotExist(err) })
	if _, err := p.root.Batch(func(*dbfs.Op) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if ops := p.root.Pending(); len(ops) != 0 {
		t.Errorf("still to be sent: %+v", ops)
	}
}
