package e2e

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// Files of several names, nodes without bytes, and what programs can ask about a file, on two devices.

// areOne reports whether names lead to one file that has just these, and holds text.
func (v *device) areOne(text string, names ...string) bool {
	var first unix.Stat_t
	for i, name := range names {
		var st unix.Stat_t
		b, err := os.ReadFile(v.at(name))
		if err != nil || string(b) != text || unix.Lstat(v.at(name), &st) != nil || int(st.Nlink) != len(names) {
			return false
		}
		if i == 0 {
			first = st
		}
		if st.Ino != first.Ino {
			return false
		}
	}
	return true
}

func (v *device) becomeOne(text string, names ...string) {
	v.t.Helper()
	v.until(v.name+" has one file of many names", func() bool { return v.areOne(text, names...) })
}

func (v *device) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// attribute reads what the mount tells of a file.
func (v *device) attribute(name, attr string) string {
	b := make([]byte, 100)
	n, err := unix.Getxattr(v.at(name), attr, b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

func TestFilesOfSeveralNames(t *testing.T) {
	s := newSite(t, "")
	ana, bob := newDevice(t, s, family, "desk", nil), newDevice(t, s, family, "laptop", nil)
	ana.put("/a", []byte("one"))
	ana.put("/d/other", []byte("other"))
	ana.must(os.Link(ana.at("/a"), ana.at("/d/b")))
	ana.sent()
	bob.becomeOne("one", "/a", "/d/b")

	bob.put("/d/b", []byte("two")) // through the second name
	bob.sent()
	ana.becomeOne("two", "/a", "/d/b")
	bob.becomeOne("two", "/a", "/d/b")

	ana.must(os.Remove(ana.at("/a"))) // the first name; bob gives it a third meanwhile
	bob.must(os.Link(bob.at("/d/b"), bob.at("/c")))
	ana.sent()
	bob.sent()
	ana.sent()
	ana.becomeOne("two", "/c", "/d/b")
	bob.becomeOne("two", "/c", "/d/b")

	bob.put("/new", []byte("three"))
	bob.must(os.Rename(bob.at("/new"), bob.at("/d/b"))) // which leaves the file
	bob.sent()
	ana.becomeOne("two", "/c")
	ana.becomeOne("three", "/d/b")

	ana.must(os.Link(ana.at("/c"), ana.at("/c2")))
	ana.sent()
	for _, v := range []*device{ana, bob} { // also after a restart
		v.end()
		v.start()
		v.becomeOne("two", "/c", "/c2")
		v.becomeOne("three", "/d/b")
		st, err := v.d.FileStatus(t.Context(), "/c2")
		if err != nil || st.Kind != dbfs.KindFile || st.Size != 3 {
			t.Errorf("%s tells of the second name: %+v, %v", v.name, st, err)
		}
	}
	ana.must(os.RemoveAll(ana.at("/c")))
	ana.must(os.RemoveAll(ana.at("/c2")))
	ana.must(os.RemoveAll(ana.at("/d")))
	ana.sent()
	bob.until("all is gone", func() bool { all, err := os.ReadDir(bob.at("/")); return err == nil && len(all) == 0 })
}

func TestSpecialNodesTravel(t *testing.T) {
	s := newSite(t, "")
	ana, bob := newDevice(t, s, family, "desk", nil), newDevice(t, s, family, "laptop", nil)
	ana.must(unix.Mkfifo(ana.at("/pipe"), 0o600))
	if os.Geteuid() == 0 {
		ana.must(unix.Mknod(ana.at("/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	}
	ana.sent()
	var st unix.Stat_t
	bob.until("the pipe", func() bool { return unix.Lstat(bob.at("/pipe"), &st) == nil })
	if st.Mode != unix.S_IFIFO|0o600 {
		t.Errorf("the pipe has mode %o", st.Mode)
	}
	if os.Geteuid() == 0 {
		bob.until("the device", func() bool { return unix.Lstat(bob.at("/null"), &st) == nil })
		if st.Mode != unix.S_IFCHR|0o600 || st.Rdev != unix.Mkdev(1, 3) {
			t.Errorf("the device has mode %o and number %#x", st.Mode, st.Rdev)
		}
	}
}

// What dbfs knows of a file is read as an attribute, and is what filestatus says.
func TestStateAttributes(t *testing.T) {
	s := newSite(t, "")
	ana := newDevice(t, s, family, "desk", nil)
	bob := newDevice(t, s, family, "laptop", func(set *daemon.Settings) { set.CacheSize = 64 << 20 })
	state := func(v *device, want control.FileState) {
		t.Helper()
		v.until("the state "+string(want), func() bool { return v.attribute("/f", "user.dbfs.state") == string(want) })
		st, err := v.d.FileStatus(t.Context(), "/f")
		if err != nil || st.State != want || v.attribute("/f", "user.dbfs.hash") != st.Hash.String() {
			t.Errorf("filestatus says %+v, %v; the hash is said to be %s", st, err, v.attribute("/f", "user.dbfs.hash"))
		}
	}
	f, err := os.Create(ana.at("/f"))
	ana.must(err)
	_, err = f.Write(ownBytes("f", 9<<20))
	ana.must(err)
	ana.must(f.Sync())
	state(ana, control.StateUnsent) // and it stays that while it is open
	ana.must(f.Close())
	ana.sent()
	state(ana, control.StateLocal)
	bob.becomes("/f", control.OnlineOnly)
	state(bob, control.StateOnline)
	r, err := os.Open(bob.at("/f"))
	bob.must(err)
	_, err = r.ReadAt(make([]byte, 10), 0)
	bob.must(err)
	bob.must(r.Close())
	bob.until("some is here", func() bool { return bob.residency("/f") != control.OnlineOnly })
	if bob.attribute("/f", "user.dbfs.pinned") != "no" {
		t.Error("it is said to be pinned")
	}
	bob.pin("/f", false)
	bob.until("it is pinned", func() bool { return bob.attribute("/f", "user.dbfs.pinned") == "yes" })
	bob.becomes("/f", control.Pinned)
	state(bob, control.StateLocal)
}
