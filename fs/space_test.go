package fs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

var newFile = journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o644}}

// withShared mounts a second namespace as "shared" in the root one.
func withShared(t *testing.T, role dbfs.Role) (*drive, *journal.Journal) {
	d := newDrive(t)
	other := d.add(otherNS, 0, role)
	here := newElsewhere(d, d.root)
	here.put(dbfs.Node{Name: "shared", Kind: dbfs.KindMount, Mount: otherNS})
	here.advance()
	d.eventually("the shared folder is listed", func() bool { return len(d.names("")) == 1 })
	return d, other
}

func TestTwoNamespaces(t *testing.T) {
	d, other := withShared(t, dbfs.RoleWrite)
	d.write("shared/f", "for all")
	d.wantRead("shared/f", "for all")
	if _, err := other.Lookup("f"); err != nil {
		t.Errorf("it is not in the shared namespace: %v", err)
	}
	d.write("mine", "for me")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	wantErrno(t, "rename a directory in", os.Rename(d.path("dir"), d.path("shared/dir")), unix.EXDEV)
	wantErrno(t, "remove the mount", unix.Rmdir(d.path("shared")), unix.EBUSY)
	if st := d.stat("shared"); st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("it has mode %o", st.Mode)
	}
	d.must(os.Chmod(d.path("shared"), 0o711))
	if got := d.stat("shared").Mode & 0o777; got != 0o711 {
		t.Errorf("its mode is %o", got)
	}
	d.must(os.Rename(d.path("shared"), d.path("renamed")))
	d.wantRead("renamed/f", "for all")
}

func TestNamespaceThatIsNotHere(t *testing.T) {
	d, _ := withShared(t, dbfs.RoleWrite)
	d.write("shared/f", "x")
	f, err := os.Open(d.path("shared/f"))
	d.must(err)
	defer f.Close()
	d.fs.Remove(otherNS)
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Errorf("a file that was open: %v", err)
	}
	_, err = os.Stat(d.path("shared/not looked up before"))
	wantErrno(t, "look up", err, unix.EIO)
}

func TestReaderMayNotWrite(t *testing.T) {
	d, other := withShared(t, dbfs.RoleRead)
	there := newElsewhere(d, other)
	there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Content: there.content("from them")})
	there.put(dbfs.Node{Name: "dir", Kind: dbfs.KindDir})
	there.advance()
	d.eventually("their file is there", func() bool { return onlyErr(os.Stat(d.path("shared/f"))) == nil })
	d.wantRead("shared/f", "from them")
	f, p := d.path("shared/f"), d.path
	for what, err := range map[string]error{
		"write":    onlyErr(os.OpenFile(f, os.O_WRONLY, 0)),
		"truncate": os.Truncate(f, 0),
		"chmod":    os.Chmod(f, 0o600),
		"utimes":   unix.Utimes(f, nil),
		"xattr":    unix.Setxattr(f, "user.a", nil, 0),
		"unxattr":  unix.Removexattr(f, "user.a"),
		"remove":   unix.Unlink(f),
		"rmdir":    unix.Rmdir(p("shared/dir")),
		"rename":   os.Rename(f, p("shared/g")),
		"create":   os.WriteFile(p("shared/new"), nil, 0o644),
		"mkdir":    os.Mkdir(p("shared/new"), 0o755),
		"symlink":  os.Symlink("f", p("shared/new")),
	} {
		wantErrno(t, what, err, unix.EROFS)
	}
	reader, err := os.Open(f) // what may be done changes under open files, too
	d.must(err)
	defer reader.Close()
	d.fs.Add(other, dbfs.RoleWrite)
	d.write("shared/f", "from me")
	d.wantRead("shared/f", "from me")
	d.fs.Add(other, dbfs.RoleRead)
	wantErrno(t, "write again", onlyErr(os.OpenFile(f, os.O_WRONLY, 0)), unix.EROFS)
}

func TestReadOnlyMount(t *testing.T) {
	d := newDrive(t, func(c *Config, _ *cache.Options) { c.ReadOnly = true })
	wantErrno(t, "create", os.WriteFile(d.path("f"), nil, 0o644), unix.EROFS)
}
