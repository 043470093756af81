package fs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// withPortable mounts a namespace of portable names as "p" in the root one.
func withPortable(t *testing.T) (*drive, *journal.Journal) {
	d := newDrive(t)
	j := d.addNamed(otherNS, 0, dbfs.RoleWrite, dbfs.NamesPortable)
	here := newElsewhere(d, d.root)
	here.put(dbfs.Node{Name: "p", Kind: dbfs.KindMount, Mount: otherNS})
	here.advance()
	d.eventually("the namespace is listed", func() bool { return len(d.names("")) == 1 })
	return d, j
}

func (d *drive) wantNames(dir, want string) {
	d.t.Helper()
	names := d.names(dir)
	slices.Sort(names)
	if got := strings.Join(names, " "); got != want {
		d.t.Errorf("%s lists %s, want %s", dir, got, want)
	}
}

func (d *drive) there(name string) bool {
	_, err := os.Lstat(d.path(name))
	return err == nil
}

func TestSpellingsOnAMount(t *testing.T) {
	d, _ := withPortable(t)
	if d.there("p/readme") || d.there("p/README") {
		t.Error("it is there before it is made")
	}
	d.write("p/readme", "one")
	d.wantRead("p/README", "one")
	d.wantRead("p/readme", "one")
	d.wantNames("p", "readme")

	// Created where another spelling is: that one is opened.
	d.write("p/ReadMe", "three")
	d.wantRead("p/readme", "three")
	d.wantRead("p/README", "three")
	d.wantNames("p", "readme")
	_, err := os.OpenFile(d.path("p/README"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	wantErrno(t, "make it exclusively", err, unix.EEXIST)
	wantErrno(t, "make a directory", os.Mkdir(d.path("p/README"), 0o755), unix.EEXIST)
	wantErrno(t, "make a link", os.Symlink("x", d.path("p/README")), unix.EEXIST)

	// The only change is the spelling.
	d.must(os.Rename(d.path("p/readme"), d.path("p/README")))
	d.wantNames("p", "README")
	d.wantRead("p/readme", "three")
	d.must(os.Rename(d.path("p/ReadMe"), d.path("p/rEADME"))) // neither is its own
	d.wantNames("p", "rEADME")
	d.must(os.Rename(d.path("p/rEADME"), d.path("p/rEADME")))
	d.wantNames("p", "rEADME")
	wantErrno(t, "rename it, if nothing is there", unix.Renameat2(unix.AT_FDCWD, d.path("p/rEADME"), unix.AT_FDCWD, d.path("p/readme"), unix.RENAME_NOREPLACE), unix.EEXIST)

	// Renamed over, by another spelling: what is replaced keeps its own.
	d.write("p/new", "four")
	d.must(os.Rename(d.path("p/new"), d.path("p/Readme")))
	d.wantRead("p/rEADME", "four")
	d.wantRead("p/Readme", "four")
	d.eventually("the kernel knows the right name", func() bool { return d.stat("p/rEADME").Ino != d.stat("p/README").Ino })
	d.wantNames("p", "rEADME")

	// Removed by another spelling.
	d.stat("p/rEADME")
	d.must(os.Remove(d.path("p/readme")))
	d.eventually("it is gone in every spelling", func() bool { return !d.there("p/rEADME") && !d.there("p/readme") && !d.there("p/README") })
	d.wantNames("p", "")
	d.write("p/README", "five")
	d.wantNames("p", "README")
	d.wantRead("p/readme", "five")

	// By composition.
	d.write("p/\u00e9", "six")
	d.wantRead("p/E\u0301", "six")
	d.must(os.Rename(d.path("p/\u00e9"), d.path("p/e\u0301")))
	d.wantNames("p", "README e\u0301")
}

func TestSpellingsOfDirectories(t *testing.T) {
	d, _ := withPortable(t)
	d.must(os.MkdirAll(d.path("p/docs/sub"), 0o755))
	d.write("p/docs/sub/f", "one")
	d.wantRead("p/DOCS/SUB/F", "one")
	d.wantRead("p/docs/sub/f", "one")
	if a, b := d.stat("p/docs").Ino, d.stat("p/DOCS").Ino; a != b {
		t.Errorf("one directory has the numbers %d and %d", a, b)
	}
	d.must(os.MkdirAll(d.path("p/DOCS/Sub/deeper"), 0o755))
	d.write("p/Docs/SUB/DEEPER/g", "two")
	d.wantNames("p/docs/sub", "deeper f")
	d.wantNames("p/DOCS/sub", "deeper f")
	d.wantRead("p/docs/sub/deeper/G", "two")

	// Who stands in it stays there.
	out := d.shell(`cd "$D/p/DOCS/SUB"; cat F; stat "$D/p/Docs" "$D/p/docs" >/dev/null; cat f deeper/G; touch made; cd ..; ls sub`)
	if want := "oneonetwodeeper\nf\nmade\n"; out != want {
		t.Errorf("in the directory: %q, want %q", out, want)
	}

	d.must(os.Rename(d.path("p/docs"), d.path("p/DOCS")))
	d.wantNames("p", "DOCS")
	d.wantRead("p/docs/sub/f", "one")
	d.must(os.Rename(d.path("p/Docs/sub"), d.path("p/docs/SUB"))) // in a directory by another spelling, too
	d.wantNames("p/DOCS", "SUB")
	d.must(os.Rename(d.path("p/docs/sub/f"), d.path("p/DOCS/f")))
	d.wantNames("p/DOCS", "SUB f")

	wantErrno(t, "remove what holds something", unix.Rmdir(d.path("p/docs/sub")), unix.ENOTEMPTY)
	d.must(os.RemoveAll(d.path("p/DOCS/sub")))
	d.wantNames("p/DOCS", "f")
	d.must(os.Mkdir(d.path("p/docs/e"), 0o755))
	d.must(unix.Rmdir(d.path("p/docs/E")))
	d.eventually("it is gone", func() bool { return !d.there("p/docs/e") && !d.there("p/DOCS/E") })
	d.must(os.RemoveAll(d.path("p/docs")))
	d.eventually("all is gone", func() bool { return !d.there("p/DOCS") && !d.there("p/docs/f") })
}

// What programs do with a file by another spelling.
func TestProgramsBySpelling(t *testing.T) {
	d, _ := withPortable(t)
	d.write("p/readme", "one\n")
	for _, step := range []struct{ script, want string }{
		{`cp README copy; cat copy`, "one\n"},
		{`mv readme README; ls`, "README\ncopy\n"},
		{`mv Readme readme; ls`, "copy\nreadme\n"},
		{`echo two >> ReadMe; cat readme README`, "one\ntwo\none\ntwo\n"},
		{`chmod 600 README; stat -c %a readme Readme`, "600\n600\n"},
		{`touch -d @1000000000 README; stat -c %Y readme Readme`, "1000000000\n1000000000\n"},
		{`truncate -s 4 README; cat readme Readme; stat -c %s readme README`, "one\none\n4\n4\n"},
		{`sed -i s/one/three/ README; cat readme; ls`, "three\ncopy\nreadme\n"},
		{`cp copy README; cat readme`, "one\n"},
		{`exec 3<README; echo four >> readme; cat <&3`, "one\nfour\n"},
		{`ln -s readme link; cat LINK; readlink Link`, "one\nfour\nreadme\n"},
		{`mv link LINK; ls; rm Link`, "LINK\ncopy\nreadme\n"},
		{`test -f README; test README -nt copy; wc -c < README`, "9\n"},
		{`tar cf - README | tar tf -`, "README\n"},
		{`mkdir Dir; cp README dir/; mv copy DIR; ls dIR`, "README\ncopy\n"},
		{`rm -r DIR; ls`, "readme\n"},
		{`printf '#!/bin/sh\necho run\n' > Run; chmod +x run; ./RUN`, "run\n"},
		{`mkfifo Pipe; echo through > pipe & cat PIPE; rm piPE`, "through\n"},
		{`rm RUN README; sleep 0.1; ls`, ""},
	} {
		if out := d.shell(`cd "$D/p"; ` + step.script); out != step.want {
			t.Errorf("%s\ngives %q, want %q", step.script, out, step.want)
		}
	}
}

// Many processes use one file and one directory by many spellings at once. None of them is ever
// told that it is not there, or has to try again.
func TestSpellingsAtOnce(t *testing.T) {
	d, _ := withPortable(t)
	d.must(os.Mkdir(d.path("p/dir"), 0o755))
	d.write("p/dir/file", "x")
	dirs, files := []string{"dir", "DIR", "Dir"}, []string{"file", "FILE", "File"}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for k := range 300 {
				p := d.path(fmt.Sprintf("p/%s/%s", dirs[(i+k)%3], files[(i+k/3)%3]))
				b, err := os.ReadFile(p)
				if err != nil || string(b) != "x" {
					t.Errorf("read %s: %q, %v", p, b, err)
					return
				}
				if k%7 == i {
					f, err := os.OpenFile(p, os.O_WRONLY, 0)
					if err != nil {
						t.Errorf("open %s: %v", p, err)
						return
					}
					f.Close()
				}
			}
		})
	}
	all.Wait()
}

// Other devices' edits are seen in every spelling.
func TestSpellingsElsewhere(t *testing.T) {
	d, j := withPortable(t)
	there := newElsewhere(d, j)
	if d.there("p/name") || d.there("p/NAME") {
		t.Error("it is there before it is made")
	}
	n := there.put(dbfs.Node{Name: "Name", Kind: dbfs.KindFile, Content: there.content("one")})
	there.advance()
	for _, spelling := range []string{"p/NAME", "p/name", "p/Name"} {
		d.wantRead(spelling, "one")
	}
	n = there.move(n, dbfs.RootNode, "NAME")
	there.advance()
	d.eventually("it is listed by its new spelling", func() bool { return slices.Equal(d.names("p"), []string{"NAME"}) })
	n = there.write(n, "two!")
	there.advance()
	for _, spelling := range []string{"p/NAME", "p/name", "p/Name"} {
		d.eventually(spelling+" has the new bytes", func() bool { return d.read(spelling) == "two!" })
	}
	there.remove(n)
	there.advance()
	for _, spelling := range []string{"p/NAME", "p/name", "p/Name"} {
		d.eventually(spelling+" is gone", func() bool { return !d.there(spelling) })
	}
}

// Names that cannot stand everywhere are refused, here and nowhere else, and the log says why.
func TestUnportableNamesOnAMount(t *testing.T) {
	d, _ := withPortable(t)
	d.write("p/f", "x")
	for _, name := range []string{"CON", "nul.txt", "a.", "a ", "a:b", "what?", "a\x01", "\U0003fffd"} {
		wantErrno(t, "write "+name, os.WriteFile(d.path("p/"+name), nil, 0o644), unix.EINVAL)
		wantErrno(t, "mkdir "+name, os.Mkdir(d.path("p/"+name), 0o755), unix.EINVAL)
		wantErrno(t, "link "+name, os.Symlink("x", d.path("p/"+name)), unix.EINVAL)
		wantErrno(t, "rename to "+name, os.Rename(d.path("p/f"), d.path("p/"+name)), unix.EINVAL)
		d.must(os.WriteFile(d.path(name), nil, 0o644))
	}
	d.wantNames("p", "f")
}

// Nothing is kept of an alias that the kernel has dropped.
func TestAliasesAreForgotten(t *testing.T) {
	d, _ := withPortable(t)
	d.write("p/name", "x")
	for i := range 200 {
		spelling := []byte("name")
		for k := range spelling {
			if i>>k&1 == 1 {
				spelling[k] -= 'a' - 'A'
			}
		}
		d.stat("p/" + string(spelling))
	}
	d.must(os.Remove(d.path("p/NAME")))
	d.shell(`echo 2 > /proc/sys/vm/drop_caches 2>/dev/null || true`)
	d.wantFewAliases()
}

func (d *drive) wantFewAliases() {
	d.t.Helper()
	as := d.fs.aliases
	as.mu.Lock()
	defer as.mu.Unlock()
	if n := len(as.byIno); n > 16 || n != len(as.inoOf) {
		d.t.Errorf("%d aliases, %d by name", n, len(as.inoOf))
	}
}
