package fs

import (
	"fmt"
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
	"github.com/dbfs/dbfs/journal"
)

// wantLinks checks that all names lead to one inode that has as many links, and holds content.
func (d *drive) wantLinks(content string, names ...string) {
	d.t.Helper()
	first := d.stat(names[0])
	for _, name := range names {
		if st := d.stat(name); st.Ino != first.Ino || int(st.Nlink) != len(names) {
			d.t.Errorf("%s: inode %d with %d links; want %d with %d", name, st.Ino, st.Nlink, first.Ino, len(names))
		}
		d.wantRead(name, content)
	}
}

func TestLinkedNamesAreOneFile(t *testing.T) {
	d := newDrive(t)
	d.write("a", "one")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	d.must(os.Link(d.path("a"), d.path("b")))
	d.must(os.Link(d.path("b"), d.path("dir/c")))
	d.wantLinks("one", "a", "b", "dir/c")

	f, err := os.OpenFile(d.path("b"), os.O_WRONLY|os.O_APPEND, 0)
	d.must(err)
	_, err = f.WriteString(" two")
	d.must(err)
	d.wantLinks("one two", "a", "b", "dir/c") // also while it is open
	d.must(f.Close())
	d.must(os.Chmod(d.path("dir/c"), 0o600))
	d.must(unix.Setxattr(d.path("a"), "user.x", []byte("y"), 0))
	if st := d.stat("a"); st.Mode&0o777 != 0o600 {
		t.Errorf("mode %o under another name", st.Mode)
	}
	b := make([]byte, 10)
	if n, err := unix.Getxattr(d.path("dir/c"), "user.x", b); err != nil || string(b[:n]) != "y" {
		t.Errorf("attribute %q, %v under another name", b[:max(n, 0)], err)
	}

	d.must(os.Remove(d.path("a"))) // its own name
	d.wantLinks("one two", "b", "dir/c")
	d.must(os.Rename(d.path("b"), d.path("d")))
	d.wantLinks("one two", "d", "dir/c")
	d.must(os.Remove(d.path("dir/c")))
	d.wantLinks("one two", "d")
	d.must(os.Remove(d.path("d")))
	if got := fmt.Sprint(d.names(""), d.names("dir")); got != "[dir] []" {
		t.Errorf("what is left: %s", got)
	}
}

// What the kernel remembers of a listing, and what it asks for after a restart of nothing but
// its caches, is one inode for all names.
func TestLinkedNamesInListings(t *testing.T) {
	d := newDrive(t)
	d.write("a", "x")
	d.must(os.Link(d.path("a"), d.path("b")))
	entries, err := os.ReadDir(d.path(""))
	d.must(err)
	var inodes []uint64
	for _, e := range entries {
		info, err := e.Info()
		d.must(err)
		inodes = append(inodes, info.Sys().(*syscall.Stat_t).Ino)
		if !e.Type().IsRegular() {
			t.Errorf("%s is listed as %v", e.Name(), e.Type())
		}
	}
	if len(inodes) != 2 || inodes[0] != inodes[1] {
		t.Errorf("listed inodes %v", inodes)
	}
}

func TestRenameOverALinkedName(t *testing.T) {
	for _, over := range []string{"a", "b"} {
		for _, sent := range []bool{false, true} {
			t.Run(fmt.Sprint(over, sent), func(t *testing.T) {
				d, there := withElsewhere(t)
				d.write("a", "old")
				d.must(os.Link(d.path("a"), d.path("b")))
				if sent {
					there.take()
				}
				r, err := os.Open(d.path(over))
				d.must(err)
				defer r.Close()
				d.write("new", "new")
				d.must(os.Rename(d.path("new"), d.path(over)))
				other := map[string]string{"a": "b", "b": "a"}[over]
				d.wantLinks("new", over)
				d.wantLinks("old", other)
				var st unix.Stat_t
				d.must(unix.Fstat(int(r.Fd()), &st))
				if st.Nlink != 1 || st.Ino != d.stat(other).Ino {
					t.Errorf("who has it open sees inode %d with %d links, and the other name inode %d", st.Ino, st.Nlink, d.stat(other).Ino)
				}
				d.must(os.WriteFile(d.path(other), []byte("more"), 0o644))
				b := make([]byte, 10)
				if n, _ := r.ReadAt(b, 0); string(b[:n]) != "more" {
					t.Errorf("who has it open reads %q", b[:n])
				}
				there.take()
				d.wantLinks("new", over)
				d.wantLinks("more", other)
			})
		}
	}
}

func TestRenameToAnotherNameOfTheSame(t *testing.T) {
	d := newDrive(t)
	d.write("a", "x")
	d.must(os.Link(d.path("a"), d.path("b")))
	d.must(os.Rename(d.path("a"), d.path("b"))) // does nothing
	d.must(os.Rename(d.path("b"), d.path("a")))
	d.wantLinks("x", "a", "b")
}

// A maildir delivers by a link to the new name and an unlink of the old one.
func TestMaildirDelivery(t *testing.T) {
	for _, sent := range []bool{false, true} {
		d, there := withElsewhere(t)
		d.must(os.Mkdir(d.path("tmp"), 0o755))
		d.must(os.Mkdir(d.path("new"), 0o755))
		for i := range 20 {
			tmp, to := fmt.Sprintf("tmp/%d", i), fmt.Sprintf("new/%d", i)
			d.write(tmp, to)
			if sent && i%2 == 0 {
				there.take()
			}
			d.must(os.Link(d.path(tmp), d.path(to)))
			if sent && i%3 == 0 {
				there.take()
			}
			d.must(os.Remove(d.path(tmp)))
		}
		there.take()
		if left := d.names("tmp"); len(left) > 0 {
			t.Errorf("left in tmp: %v", left)
		}
		for i := range 20 {
			d.wantLinks(fmt.Sprintf("new/%d", i), fmt.Sprintf("new/%d", i))
		}
		for _, n := range there.nodes {
			if n.Kind == dbfs.KindLink && !n.Deleted {
				t.Errorf("%s is still a link", n.Name)
			}
		}
	}
}

func TestLinksThroughARestart(t *testing.T) {
	d, there := withElsewhere(t)
	d.write("a", "one")
	d.must(os.Link(d.path("a"), d.path("b")))
	d.write("c", "other")
	d.must(os.Link(d.path("c"), d.path("d")))
	there.take()
	d.must(os.Remove(d.path("c")))
	ino := d.stat("a").Ino
	d.remount()
	d.wantLinks("one", "a", "b")
	d.wantLinks("other", "d")
	if got := d.stat("b").Ino; got != ino {
		t.Errorf("inode %d became %d", ino, got)
	}
}

func TestLinksFromElsewhere(t *testing.T) {
	d, there := withElsewhere(t)
	f := there.put(remoteFile("a", there.content("one")))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("a"))) == nil })
	wantErrno(t, "before", onlyErr(os.Stat(d.path("b"))), unix.ENOENT)
	d.wantLinks("one", "a")
	f, link := there.link(f, dbfs.RootNode, "b")
	there.advance()
	d.eventually("the second name", func() bool { return onlyErr(os.Stat(d.path("b"))) == nil && d.stat("a").Nlink == 2 })
	d.wantLinks("one", "a", "b")

	f = there.write(f, "two")
	there.advance()
	d.eventually("the new bytes under both names", func() bool { return d.read("a") == "two" && d.read("b") == "two" && d.stat("b").Size == 3 })

	r, err := os.Open(d.path("b")) // keeps its version; both names go on under another inode
	d.must(err)
	f = there.write(f, "three")
	there.advance()
	d.eventually("newer bytes under both names", func() bool { return d.read("a") == "three" && d.read("b") == "three" })
	d.wantLinks("three", "a", "b")
	d.must(r.Close())

	// The file's own name goes: it takes the place of the other.
	there.remove(link)
	f = there.move(f, dbfs.RootNode, "b")
	there.advance()
	d.eventually("one name", func() bool { return onlyErr(os.Stat(d.path("a"))) != nil && d.stat("b").Nlink == 1 })
	d.wantLinks("three", "b")
	_, link = there.link(f, dbfs.RootNode, "c")
	there.advance()
	d.eventually("two names", func() bool { return onlyErr(os.Stat(d.path("c"))) == nil && d.stat("b").Nlink == 2 })
	there.remove(link)
	there.advance()
	d.eventually("one name again", func() bool { return onlyErr(os.Stat(d.path("c"))) != nil && d.stat("b").Nlink == 1 })
}

// Whose writes lose against another device's has them in one conflicted copy, which is no name of
// the file.
func TestConflictOfALinkedFile(t *testing.T) {
	d, there := withElsewhere(t)
	f := there.put(remoteFile("a", there.content("one")))
	there.link(f, dbfs.RootNode, "b")
	there.advance()
	d.eventually("both are there", func() bool { return onlyErr(os.Stat(d.path("b"))) == nil && d.stat("a").Nlink == 2 })
	w, err := os.OpenFile(d.path("b"), os.O_RDWR, 0)
	d.must(err)
	_, err = w.WriteString("mine")
	d.must(err)
	there.write(there.nodes[f.ID], "theirs")
	there.advance()
	d.eventually("theirs", func() bool { return d.read("a") == "theirs" && d.read("b") == "theirs" })
	d.must(w.Close())
	d.eventually("a copy", func() bool { return len(d.names("")) == 3 })
	d.wantLinks("theirs", "a", "b")
	for _, name := range d.names("") {
		if strings.Contains(name, "conflicted copy") {
			d.wantLinks("mine", name)
		}
	}
}

func TestLinksHaveALimit(t *testing.T) {
	d := newDrive(t)
	d.write("a", "x")
	for i := range dbfs.MaxLinks {
		d.must(os.Link(d.path("a"), d.path(fmt.Sprint(i))))
	}
	wantErrno(t, "one link too many", os.Link(d.path("a"), d.path("b")), unix.EMLINK)
	if st := d.stat("7"); st.Nlink != dbfs.MaxLinks+1 {
		t.Errorf("%d links", st.Nlink)
	}
	d.must(os.Remove(d.path("7")))
	d.must(os.Link(d.path("a"), d.path("b")))
}

func TestLinksToSymlinks(t *testing.T) {
	d := newDrive(t)
	d.must(os.Symlink("where", d.path("a")))
	d.must(unix.Linkat(unix.AT_FDCWD, d.path("a"), unix.AT_FDCWD, d.path("b"), 0))
	if a, b := d.stat("a"), d.stat("b"); a.Ino != b.Ino || b.Nlink != 2 || b.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("a symlink's second name: %+v, the first %+v", b, a)
	}
	if to, err := os.Readlink(d.path("b")); err != nil || to != "where" {
		t.Errorf("readlink: %q, %v", to, err)
	}
}

// What has lost its last name while it is open gets no new one.
func TestLinkOfAnUnlinkedFile(t *testing.T) {
	d := newDrive(t)
	d.write("a", "x")
	f, err := os.Open(d.path("a"))
	d.must(err)
	defer f.Close()
	d.must(os.Remove(d.path("a")))
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, d.path("b"), unix.AT_SYMLINK_FOLLOW)
	wantErrno(t, "link", err, unix.ENOENT)
	if got := d.names(""); len(got) > 0 {
		t.Errorf("there is %v", got)
	}
}

// Programs that copy trees with their hard links, or by them.
func TestProgramsThatLink(t *testing.T) {
	d := newDrive(t)
	src := t.TempDir()
	for _, dir := range []string{"x", "y/z"} {
		d.must(os.MkdirAll(filepath.Join(src, dir), 0o755))
	}
	d.must(os.WriteFile(src+"/x/1", []byte("first"), 0o644))
	d.must(os.Link(src+"/x/1", src+"/y/z/2"))
	d.must(os.WriteFile(src+"/x/alone", []byte("alone"), 0o644))
	d.must(os.Symlink("1", src+"/x/sym"))
	run := func(t *testing.T, name string, args ...string) {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	t.Run("cp -a", func(t *testing.T) {
		run(t, "cp", "-a", src, d.path("cp"))
		d.wantLinks("first", "cp/x/1", "cp/y/z/2")
		d.wantLinks("alone", "cp/x/alone")
	})
	t.Run("cp -al", func(t *testing.T) {
		run(t, "cp", "-al", d.path("cp"), d.path("copy"))
		d.wantLinks("first", "cp/x/1", "cp/y/z/2", "copy/x/1", "copy/y/z/2")
		d.wantLinks("alone", "cp/x/alone", "copy/x/alone")
		run(t, "rm", "-r", d.path("cp"))
		d.wantLinks("first", "copy/x/1", "copy/y/z/2")
		d.wantLinks("alone", "copy/x/alone")
		if to, err := os.Readlink(d.path("copy/x/sym")); err != nil || to != "1" {
			t.Errorf("the symlink leads to %q, %v", to, err)
		}
	})
	t.Run("rsync", func(t *testing.T) {
		run(t, "rsync", "-aH", src+"/", d.path("rsync/"))
		d.wantLinks("first", "rsync/x/1", "rsync/y/z/2")
	})
	t.Run("tar", func(t *testing.T) {
		d.must(os.Mkdir(d.path("tar"), 0o755))
		run(t, "tar", "-C", src, "-cf", d.path("a.tar"), ".")
		run(t, "tar", "-C", d.path("tar"), "-xf", d.path("a.tar"))
		d.wantLinks("first", "tar/x/1", "tar/y/z/2")
	})
	t.Run("git clone --local", func(t *testing.T) {
		run(t, "git", "init", "-q", d.path("repo"))
		d.write("repo/file", "content")
		run(t, "git", "-C", d.path("repo"), "add", "file")
		run(t, "git", "-C", d.path("repo"), "commit", "-qm", "one")
		run(t, "git", "clone", "-q", "--local", d.path("repo"), d.path("clone"))
		run(t, "git", "-C", d.path("clone"), "fsck", "--strict")
		d.wantRead("clone/file", "content")
		linked := 0
		d.must(filepath.WalkDir(d.path("clone/.git/objects"), func(p string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && d.stat(strings.TrimPrefix(p, d.dir+"/")).Nlink == 2 {
				linked++
			}
			return err
		}))
		if linked == 0 {
			t.Error("git clone --local made no hard links")
		}
	})
}

// remount ends the mount and starts it anew over what the databases hold.
func (d *drive) remount() {
	d.t.Helper()
	d.unmount()
	d.fs = New(d.fs.cfg)
	j, err := journal.Open(journal.Config{
		NS: rootNS, KV: d.kv, Tree: cache.NewTree(rootNS, dbfs.NamesExact), Device: 1, Name: "here", Inodes: d.inodes.Reserve, RootIno: cache.RootInode,
		Clock: time.Now, Observe: func(cs []journal.Change) { d.fs.Changed(rootNS, cs) },
		Unpin: func(refs []dbfs.ChunkRef) { d.cache.Unpin(refs) },
	})
	d.must(err)
	d.root, d.journals = j, append(d.journals, j)
	d.fs.Add(j, dbfs.RoleAdmin)
	d.must(d.fs.Mount(d.dir))
}
