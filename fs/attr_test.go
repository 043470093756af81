package fs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// somebody is a user, and a group, without rights.
const somebody = 1234

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as other users")
	}
}

func TestModes(t *testing.T) {
	d := newDrive(t)
	d.write("f", "")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	for _, mode := range []uint32{0, 0o777, 0o644, 0o4755, 0o2755, 0o1777, 0o7777} {
		for _, name := range []string{"f", "dir"} {
			d.must(unix.Chmod(d.path(name), mode))
			if got := d.stat(name).Mode & 0o7777; got != mode {
				t.Errorf("chmod %o of %s gave %o", mode, name, got)
			}
		}
	}
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	d.must(os.WriteFile(d.path("masked"), nil, 0o666))
	if got := d.stat("masked").Mode & 0o7777; got != 0o640 {
		t.Errorf("a file made with 666 under umask 027 has mode %o", got)
	}
}

func TestSetgidDirectoryHandsOnItsGroup(t *testing.T) {
	needRoot(t)
	d := newDrive(t)
	d.must(os.Mkdir(d.path("shared"), 0o777))
	d.must(os.Chown(d.path("shared"), 0, 4321))
	d.must(unix.Chmod(d.path("shared"), 0o2777))
	d.must(childAs(t, somebody, "create", d.path("shared/file")))
	d.must(childAs(t, somebody, "mkdir", d.path("shared/dir")))
	if st := d.stat("shared/file"); st.Gid != 4321 || st.Uid != 1234 || st.Mode&unix.S_ISGID != 0 {
		t.Errorf("file: owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode)
	}
	if st := d.stat("shared/dir"); st.Gid != 4321 || st.Mode&unix.S_ISGID == 0 {
		t.Errorf("directory: group %d, mode %o", st.Gid, st.Mode)
	}
}

func TestSetuidDoesNotOutliveAChange(t *testing.T) {
	needRoot(t)
	for _, test := range []struct {
		what string
		mode uint32
		do   func(d *drive, name string) error
		want uint32
	}{
		{"write", 0o6777, func(d *drive, n string) error { return childAs(t, somebody, "write", n, "x") }, 0o777},
		{"write, no group execute", 0o6767, func(d *drive, n string) error { return childAs(t, somebody, "write", n, "x") }, 0o2767},
		{"truncate", 0o6777, func(d *drive, n string) error { return childAs(t, somebody, "truncate", n) }, 0o777},
		{"chown", 0o6777, func(d *drive, n string) error { return os.Chown(n, 5, 5) }, 0o777},
		{"chgrp", 0o6777, func(d *drive, n string) error { return childAs(t, somebody, "chgrp", n, "1234") }, 0o777},
		{"write by root", 0o6777, func(d *drive, n string) error { return child(t, "write", n, "x") }, 0o6777},
	} {
		t.Run(test.what, func(t *testing.T) {
			d := newDrive(t)
			d.write("f", "abc")
			d.must(os.Chown(d.path("f"), 1234, 1234))
			d.must(unix.Chmod(d.path("f"), test.mode))
			d.must(test.do(d, d.path("f")))
			if got := d.stat("f").Mode & 0o7777; got != test.want {
				t.Errorf("mode %o became %o, want %o", test.mode, got, test.want)
			}
		})
	}
}

func TestCapabilitiesDoNotOutliveAChange(t *testing.T) {
	needRoot(t)
	// A version 2 capability set: cap_net_raw, effective.
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for what, change := range map[string]func(name string) error{
		"write":    func(n string) error { return child(t, "write", n, "x") },
		"truncate": func(n string) error { return child(t, "truncate", n) },
		"chown":    func(n string) error { return os.Chown(n, 5, 5) },
	} {
		d := newDrive(t)
		d.write("f", "abc")
		d.must(unix.Setxattr(d.path("f"), capability, caps, 0))
		d.must(change(d.path("f")))
		_, err := unix.Getxattr(d.path("f"), capability, make([]byte, 100))
		wantErrno(t, "capability after "+what, err, unix.ENODATA)
	}
}

func TestTimes(t *testing.T) {
	d := newDrive(t)
	d.write("f", "")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	d.must(os.Symlink("f", d.path("link")))
	for _, name := range []string{"f", "dir", "link"} {
		for _, want := range []unix.Timespec{{Sec: 0}, {Sec: 1e9, Nsec: 123_456_789}, {Sec: -1, Nsec: 999_999_999}, {Sec: -3e8, Nsec: 1}, {Sec: 4e9}} {
			d.must(unix.UtimesNanoAt(unix.AT_FDCWD, d.path(name), []unix.Timespec{want, want}, unix.AT_SYMLINK_NOFOLLOW))
			if got := d.stat(name).Mtim; got != want {
				t.Errorf("time of %s: got %v, want %v", name, got, want)
			}
			d.forget(name)
			if got := d.stat(name).Mtim; got != want {
				t.Errorf("time of %s, asked anew: got %v, want %v", name, got, want)
			}
		}
	}
}

// forget makes the kernel forget a name in the root directory and all that it leads to.
func (d *drive) forget(name string) { d.fs.server.EntryNotify(cache.RootInode, name) }

func TestDirectoryTimeFollowsItsEntries(t *testing.T) {
	d := newDrive(t)
	d.must(os.Mkdir(d.path("dir"), 0o755))
	past := time.Unix(1e9, 0)
	for _, step := range []func() error{
		func() error { return os.WriteFile(d.path("dir/f"), nil, 0o644) },
		func() error { return os.Rename(d.path("dir/f"), d.path("dir/g")) },
		func() error { return os.Rename(d.path("dir/g"), d.path("g")) },
		func() error { return os.Rename(d.path("g"), d.path("dir/g")) },
		func() error { return os.Remove(d.path("dir/g")) },
	} {
		d.must(os.Chtimes(d.path("dir"), past, past))
		d.must(step())
		if st := d.stat("dir"); time.Since(time.Unix(st.Mtim.Unix())) > time.Minute || time.Since(time.Unix(st.Ctim.Unix())) > time.Minute {
			t.Errorf("an entry changed, the directory's times are %v, %v", st.Mtim, st.Ctim)
		}
	}
}

func TestChangeTimeMoves(t *testing.T) {
	d := newDrive(t)
	d.write("f", "")
	p := d.path("f")
	for _, test := range []struct {
		what string
		do   func() error
	}{
		{"chmod", func() error { return os.Chmod(p, 0o600) }},
		{"utimes", func() error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) }},
		{"setxattr", func() error { return unix.Setxattr(p, "user.a", []byte("b"), 0) }},
		{"write", func() error { return os.WriteFile(p, []byte("x"), 0) }},
		{"rename", func() error { return os.Rename(p, d.path("g")) }},
		{"rename back", func() error { return os.Rename(d.path("g"), p) }},
	} {
		before := ctime(d, "f", "g")
		time.Sleep(time.Millisecond)
		d.must(test.do())
		if after := ctime(d, "f", "g"); after <= before {
			t.Errorf("%s: the time of change did not move", test.what)
		}
	}
}

// ctime returns the time of change of whichever of the names is there.
func ctime(d *drive, names ...string) int64 {
	d.t.Helper()
	for _, name := range names {
		var st unix.Stat_t
		if unix.Lstat(d.path(name), &st) == nil {
			return st.Ctim.Nano()
		}
	}
	d.t.Fatalf("none of %v is there", names)
	return 0
}

// acl is a minimal access control list as the kernel wants it: version 2, then owner, group
// and others with tag, rights and no id.
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"

func TestXattrs(t *testing.T) {
	d := newDrive(t)
	d.write("f", "")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	for _, name := range []string{d.path("f"), d.path("dir")} {
		get := func(attr string) (string, error) {
			b := make([]byte, 70_000)
			n, err := unix.Getxattr(name, attr, b)
			return string(b[:max(0, n)]), err
		}
		set := func(attr, value string, flags int) error { return unix.Setxattr(name, attr, []byte(value), flags) }
		_, err := get("user.none")
		wantErrno(t, "get what is not there", err, unix.ENODATA)
		wantErrno(t, "replace what is not there", set("user.a", "1", unix.XATTR_REPLACE), unix.ENODATA)
		d.must(set("user.a", "1", unix.XATTR_CREATE))
		wantErrno(t, "create what is there", set("user.a", "2", unix.XATTR_CREATE), unix.EEXIST)
		d.must(set("user.a", "2", unix.XATTR_REPLACE))
		d.must(set("user.empty", "", 0))
		large := strings.Repeat("x", 64<<10)
		d.must(set("user.large", large, 0))
		wantErrno(t, "more than a node carries", set("user.more", large, 0), unix.ENOSPC)
		wantErrno(t, "an access control list", set("system.posix_acl_access", acl, 0), unix.EOPNOTSUPP)
		for attr, want := range map[string]string{"user.a": "2", "user.empty": "", "user.large": large} {
			if got, err := get(attr); err != nil || got != want {
				t.Errorf("%s: %s, %v, want %s", attr, brief(got), err, brief(want))
			}
		}
		_, err = unix.Getxattr(name, "user.large", make([]byte, 10))
		wantErrno(t, "too little room", err, unix.ERANGE)
		if got := d.xattrs(name); !slices.Equal(got, []string{"user.a", "user.empty", "user.large"}) {
			t.Errorf("list: %v", got)
		}
		d.must(unix.Removexattr(name, "user.large"))
		wantErrno(t, "remove twice", unix.Removexattr(name, "user.large"), unix.ENODATA)
		if got := d.xattrs(name); !slices.Equal(got, []string{"user.a", "user.empty"}) {
			t.Errorf("list after removing: %v", got)
		}
	}
}

func (d *drive) xattrs(name string) []string {
	d.t.Helper()
	b := make([]byte, 70_000)
	n, err := unix.Listxattr(name, b)
	d.must(err)
	var names []string
	for s := range bytes.SplitSeq(bytes.TrimSuffix(b[:n], []byte{0}), []byte{0}) {
		names = append(names, string(s))
	}
	return names
}

func TestOwners(t *testing.T) {
	needRoot(t)
	for _, preserve := range []bool{true, false} {
		t.Run(fmt.Sprint("preserve ", preserve), func(t *testing.T) {
			d := newDrive(t, func(c *Config, _ *cache.Options) { c.Preserve, c.UID, c.GID = preserve, 77, 78 })
			d.write("f", "")
			err := os.Chown(d.path("f"), 5, 6)
			st := d.stat("f")
			if preserve {
				if err != nil || st.Uid != 5 || st.Gid != 6 {
					t.Errorf("chown: %v, shown %d:%d", err, st.Uid, st.Gid)
				}
				return
			}
			wantErrno(t, "chown where all have one owner", err, unix.EPERM)
			d.must(os.Chown(d.path("f"), 77, 78)) // which they are
			if st.Uid != 77 || st.Gid != 78 {
				t.Errorf("shown %d:%d, want 77:78", st.Uid, st.Gid)
			}
			n, err := d.root.Lookup("f")
			d.must(err)
			if n.Attr.UID != 0 {
				t.Errorf("stored owner %d", n.Attr.UID)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	needRoot(t)
	d := newDrive(t)
	d.write("f", "abc")
	wantErrno(t, "write to another's file", childAs(t, somebody, "write", d.path("f"), "x"), unix.EACCES)
	wantErrno(t, "truncate another's file", childAs(t, somebody, "truncate", d.path("f")), unix.EACCES)
	wantErrno(t, "create in another's directory", childAs(t, somebody, "create", d.path("g")), unix.EACCES)
	d.wantRead("f", "abc")
}

func TestStatfs(t *testing.T) {
	d := newDrive(t)
	var got, want unix.Statfs_t
	d.must(unix.Statfs(d.dir, &got))
	d.must(unix.Statfs(d.fs.cfg.Disk, &want))
	if got.Blocks != want.Blocks || got.Bsize != want.Bsize || got.Namelen != 255 {
		t.Errorf("got %d blocks of %d, names of %d; want %d of %d, 255", got.Blocks, got.Bsize, got.Namelen, want.Blocks, want.Bsize)
	}
	if used := float64(got.Bavail) / float64(want.Bavail); used < 0.9 || used > 1.1 {
		t.Errorf("%d blocks free, the disk has %d", got.Bavail, want.Bavail)
	}
}

func aboutFiles(cfg *Config, _ *cache.Options) {
	cfg.About = func(_ dbfs.NamespaceID, n dbfs.Node) (map[string]string, error) {
		if n.Kind != dbfs.KindFile {
			return nil, nil
		}
		return map[string]string{"state": "unsent", "hash": n.Content.ContentID().String()}, nil
	}
}

// What dbfs knows of a file can be read as an attribute, and only that.
func TestVirtualAttributes(t *testing.T) {
	d := newDrive(t, aboutFiles)
	d.write("f", "x")
	d.must(os.Mkdir(d.path("dir"), 0o755))
	get := func(name, attr string) (string, error) {
		b := make([]byte, 100)
		n, err := unix.Getxattr(d.path(name), attr, b)
		return string(b[:max(0, n)]), err
	}
	want := dbfs.HashChunk([]byte("x"))
	if got, err := get("f", "user.dbfs.hash"); err != nil || got != (dbfs.Content{Size: 1, Chunks: dbfs.Blocks(want)}).ContentID().String() {
		t.Errorf("hash: %q, %v", got, err)
	}
	if got, err := get("f", "user.dbfs.state"); err != nil || got != "unsent" {
		t.Errorf("state: %q, %v", got, err)
	}
	for _, name := range []string{"f", "dir"} {
		_, err := get(name, "user.dbfs.none")
		wantErrno(t, "get what there is not", err, unix.ENODATA)
		wantErrno(t, "set", unix.Setxattr(d.path(name), "user.dbfs.state", []byte("local"), 0), unix.EPERM)
		wantErrno(t, "remove", unix.Removexattr(d.path(name), "user.dbfs.state"), unix.EPERM)
		if n, err := unix.Listxattr(d.path(name), nil); n != 0 || err != nil {
			t.Errorf("%s lists %d bytes of attributes, %v", name, n, err)
		}
	}
	f, err := os.Open(d.path("f"))
	d.must(err)
	defer f.Close()
	d.must(os.Remove(d.path("f")))
	_, err = unix.Fgetxattr(int(f.Fd()), "user.dbfs.state", make([]byte, 10))
	wantErrno(t, "of what has no name", err, unix.ENODATA)
}

// A write takes a program's rights also from one that has lost its name.
func TestCapabilityOfAnUnlinkedFile(t *testing.T) {
	needRoot(t)
	d := newDrive(t)
	d.write("f", "program")
	value := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00") // cap_net_bind_service=ep
	d.must(unix.Setxattr(d.path("f"), capability, value, 0))
	f, err := os.OpenFile(d.path("f"), os.O_RDWR, 0)
	d.must(err)
	defer f.Close()
	d.must(os.Remove(d.path("f")))
	_, err = f.WriteString("changed")
	d.must(err)
	_, err = unix.Fgetxattr(int(f.Fd()), capability, make([]byte, 100))
	wantErrno(t, "its capability", err, unix.ENODATA)
}
