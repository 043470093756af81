package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dbfs/dbfs"
)

func TestParseMount(t *testing.T) {
	tests := []struct {
		line string
		want mountPoint
		ok   bool
	}{
		{"36 35 0:98 / /home/ana/Dbfs rw,nosuid shared:1 - fuse.dbfs dbfs:default rw,user_id=0", mountPoint{"/home/ana/Dbfs", "/", "default", "0:98"}, true},
		{`36 35 0:98 / /home/ana/Dbfs\040(work) rw - fuse.dbfs dbfs:work rw`, mountPoint{"/home/ana/Dbfs (work)", "/", "work", "0:98"}, true},
		{"36 35 0:98 /sub /bind rw master:2 propagate_from:3 - fuse.dbfs dbfs:default rw", mountPoint{"/bind", "/sub", "default", "0:98"}, true},
		{"36 35 0:98 / /home rw - ext4 dbfs:default rw", mountPoint{}, false},
		{"36 35 0:98 / /home rw - fuse.dbfs other:default rw", mountPoint{"/home", "/", "other:default", "0:98"}, false},
		{"36 35 0:98 / /home rw", mountPoint{}, false},
		{"36 35 - fuse.dbfs dbfs:x rw", mountPoint{}, false},
		{" - fuse.dbfs", mountPoint{}, false},
		{"", mountPoint{}, false},
	}
	for _, test := range tests {
		if got, ok := parseMount(test.line); got != test.want || ok != test.ok {
			t.Errorf("%q:\n got %+v, %v\nwant %+v, %v", test.line, got, ok, test.want, test.ok)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(`36 35 0:98 / /home/ana/Dbfs\040(work) rw - fuse.dbfs dbfs:work rw`)
	f.Fuzz(func(t *testing.T, line string) { parseMount(line) })
}

func TestPlaces(t *testing.T) {
	s := newSession(t)
	s.profile = defaultProfile
	link := filepath.Join(tempDir(t), "link")
	if err := os.Symlink("/home/ana/Dbfs", link); err != nil {
		t.Fatal(err)
	}
	s.tool.mounts = func() ([]mountPoint, error) {
		return []mountPoint{
			{dir: "/home/ana/Dbfs", root: "/", profile: defaultProfile},
			{dir: "/bind", root: "/sub/dir", profile: defaultProfile},
			{dir: "/mnt/work", root: "/", profile: "work"},
		}, nil
	}
	tests := []struct {
		arg, drive, shown string
		err               error
	}{
		{"", "/work", "", nil}, // the working directory
		{".", "/work", ".", nil},
		{"plan.docx", "/work/plan.docx", "plan.docx", nil},
		{"../x/", "/x", "../x/", nil},
		{"/home/ana/Dbfs", "/", "/home/ana/Dbfs", nil},
		{"/home/ana/Dbfs/a//b/../c", "/a/c", "/home/ana/Dbfs/a//b/../c", nil},
		{"/home/ana/Dbfsx", "/home/ana/Dbfsx", "/home/ana/Dbfsx", nil}, // no mount: from the top of the drive
		{"/a/b/", "/a/b", "/a/b", nil},
		{"/bind/x", "/sub/dir/x", "/bind/x", nil},
		{"team:/a/../b", "team:/b", "team:/b", nil},
		{"./team:/a", "/work/team:/a", "./team:/a", nil},
		{"../../elsewhere", "", "", dbfs.ErrNotExist},
		{"/mnt/work/x", "", "", dbfs.ErrInvalid},
	}
	for _, test := range tests {
		got, err := s.place(test.arg)
		if !errors.Is(err, test.err) || got != (place{test.drive, test.shown}) {
			t.Errorf("%q: got %+v, %v; want %q shown as %q, %v", test.arg, got, err, test.drive, test.shown, test.err)
		}
	}
	s.cwd = func() (string, error) { return "/", nil }
	if got, err := s.place(""); got != (place{"/", "/home/ana/Dbfs"}) || err != nil {
		t.Errorf("outside: got %+v, %v", got, err)
	}
	s.tool.mounts = func() ([]mountPoint, error) { return nil, nil }
	if got, err := s.place(""); got != (place{"/", "/"}) || err != nil {
		t.Errorf("nothing mounted: got %+v, %v", got, err)
	}
}

func TestLinkIntoTheMount(t *testing.T) {
	s := newSession(t)
	s.profile = defaultProfile
	dir := tempDir(t)
	mount := filepath.Join(dir, "mount")
	if err := os.MkdirAll(filepath.Join(mount, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"todir": mount, "tosub": filepath.Join(mount, "sub")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.tool.mounts = func() ([]mountPoint, error) {
		return []mountPoint{{dir: mount, root: "/", profile: defaultProfile}}, nil
	}
	for arg, want := range map[string]string{"todir": "/", "tosub": "/sub", "todir/new": "/new", "tosub/new": "/sub/new"} {
		arg = filepath.Join(dir, arg)
		if got, err := s.place(arg); got != (place{want, arg}) || err != nil {
			t.Errorf("%s: got %+v, %v; want %s", arg, got, err, want)
		}
	}
}

func TestShow(t *testing.T) {
	tests := []struct {
		p          place
		path, want string
	}{
		{place{"/work", ""}, "/work/a/b", "a/b"},
		{place{"/work", ""}, "/work", "."},
		{place{"/work", "."}, "/work/a", "./a"},
		{place{"/work", "sub/"}, "/work/a", "sub/a"},
		{place{"/", "/home/ana/Dbfs"}, "/a", "/home/ana/Dbfs/a"},
		{place{"/", "/"}, "/a", "/a"},
		{place{"/", "/"}, "/", "/"},
		{place{"/work/f", "f"}, "/work/f", "f"},
		{place{"/work", "w"}, "/other", "/other"},
		{place{"/work", "w"}, "team:/x", "team:/x"},
		{place{"team:/a", "team:/a"}, "team:/a/b", "team:/a/b"},
		{place{"team:/", "team:/"}, "team:/b", "team:/b"},
		{place{"team:/a", "team:/a"}, "other:/a/b", "other:/a/b"},
	}
	for _, test := range tests {
		if got := test.p.show(test.path); got != test.want {
			t.Errorf("%+v shows %s as %q, want %q", test.p, test.path, got, test.want)
		}
	}
}

func TestXDG(t *testing.T) {
	env := map[string]string{}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	p := findPlaces(lookup, "/home/ana", 12345)
	want := places{"/home/ana/.config/dbfs", "/home/ana/.local/state/dbfs", "/home/ana/.cache/dbfs", "/tmp/dbfs-12345", "/home/ana"}
	if p != want {
		t.Errorf("no variables: got %+v\nwant %+v", p, want)
	}
	env["XDG_CONFIG_HOME"], env["XDG_STATE_HOME"], env["XDG_CACHE_HOME"], env["XDG_RUNTIME_DIR"] = "/c", "/s", "relative", "/r"
	p = findPlaces(lookup, "/home/ana", 12345)
	want = places{"/c/dbfs", "/s/dbfs", "/home/ana/.cache/dbfs", "/r/dbfs", "/home/ana"}
	if p != want {
		t.Errorf("variables: got %+v\nwant %+v", p, want)
	}
	for got, want := range map[string]string{
		p.profileFile("w"): "/c/dbfs/profiles/w.toml", p.token("w"): "/s/dbfs/w/token", p.socket("w"): "/r/dbfs/w.sock",
		p.mountPoint("w"): "/home/ana/Dbfs (w)", p.mountPoint(defaultProfile): "/home/ana/Dbfs",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestProfileNames(t *testing.T) {
	for _, name := range []string{"default", "a", "work.2", "_x-Y"} {
		if err := checkProfile(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a b", "-x", "ä", string(make([]byte, 65))} {
		if err := checkProfile(name); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
