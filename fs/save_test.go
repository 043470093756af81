package fs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// committed is a drive with a file that the server has.
func committed(t *testing.T, size int) (*drive, *elsewhere, dbfs.Node) {
	d, there := withElsewhere(t)
	n := there.put(remoteFile("text", there.content(strings.Repeat("a", size))))
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("text"))) == nil })
	return d, there, n
}

func (d *drive) nodeAt(name string) dbfs.Node {
	d.t.Helper()
	n, err := d.root.Lookup(name)
	d.must(err)
	return n
}

// Programs see a rename; the file is the same one all the same.
func TestSaveByRename(t *testing.T) {
	for _, size := range []int{20, large} {
		for name, save := range map[string]func(d *drive) error{
			"rename over it": func(d *drive) error { return os.Rename(d.path("tmp"), d.path("text")) },
			"remove, and rename": func(d *drive) error {
				d.must(os.Remove(d.path("text")))
				return os.Rename(d.path("tmp"), d.path("text"))
			},
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				d, _, n := committed(t, size)
				d.read("text")
				was := d.stat("text")
				reader, err := os.Open(d.path("text")) // bytes are read later
				d.must(err)
				defer reader.Close()
				writer, err := os.OpenFile(d.path("text"), os.O_RDWR, 0)
				d.must(err)
				defer writer.Close()

				saved := strings.Repeat("b", 2*size)
				d.write("tmp", saved)
				d.must(os.Chmod(d.path("tmp"), 0o600))
				d.must(unix.Setxattr(d.path("tmp"), "user.x", []byte("y"), 0))
				tmp := d.stat("tmp")
				d.must(save(d))

				now := d.stat("text")
				if now.Ino != tmp.Ino || now.Ino == was.Ino || now.Mode != tmp.Mode || now.Mtim != tmp.Mtim || now.Size != tmp.Size || now.Nlink != 1 {
					t.Errorf("stat of the name\n%+v, of the new file before\n%+v", now, tmp)
				}
				var attr [1]byte
				if _, err := unix.Getxattr(d.path("text"), "user.x", attr[:]); err != nil || attr[0] != 'y' {
					t.Errorf("the attribute is %q, %v", attr, err)
				}
				wantErrno(t, "the temporary name", onlyErr(os.Stat(d.path("tmp"))), unix.ENOENT)
				if got := d.nodeAt("text"); got.ID != n.ID || got.Revs.Place != n.Revs.Place {
					t.Errorf("the node is %s at %v, want %s as it was", got.ID, got.Revs, n.ID)
				}
				d.wantRead("text", saved)

				_, err = writer.WriteAt([]byte("lost"), 0) // as everywhere: it has no name any more
				d.must(err)
				got, err := io.ReadAll(reader)
				d.must(err)
				if want := "lost" + strings.Repeat("a", size-4); string(got) != want {
					t.Errorf("who had the old file open reads %s", brief(string(got)))
				}
				var st unix.Stat_t
				d.must(unix.Fstat(int(reader.Fd()), &st))
				if st.Ino != was.Ino || st.Nlink != 0 {
					t.Errorf("the old file has inode %d with %d links, had %d", st.Ino, st.Nlink, was.Ino)
				}
				d.must(writer.Close())
				d.must(reader.Close())
				d.wantRead("text", saved)
				if held := d.root.StateOf(n.ID).Open; held {
					t.Error("the file is held back, and nobody writes to it")
				}

				d.write("text", "and on") // in place
				d.wantRead("text", "and on")
			})
		}
	}
}

// What goes on being written after the rename is written to the file that has the name.
func TestSaveOfAnOpenFile(t *testing.T) {
	for _, size := range []int{20, large} {
		d, _, n := committed(t, size)
		f, err := os.Create(d.path("tmp"))
		d.must(err)
		_, err = f.WriteString(strings.Repeat("b", size))
		d.must(err)
		d.must(os.Rename(d.path("tmp"), d.path("text")))
		if got := d.nodeAt("text"); got.ID != n.ID || got.Content.Size != int64(size) {
			t.Errorf("after the rename: node %s with %d bytes, want %s with what was written", got.ID, got.Content.Size, n.ID)
		}
		if !d.root.StateOf(n.ID).Open {
			t.Error("the file is not held back, and somebody writes to it")
		}
		_, err = f.WriteString("and more")
		d.must(err)
		d.must(f.Chmod(0o600))
		d.must(flush(f))
		want := strings.Repeat("b", size) + "and more"
		d.wantRead("text", want)
		if got := d.nodeAt("text"); got.Content.Size != int64(len(want)) || got.Attr.Mode != 0o600 {
			t.Errorf("%d bytes are recorded, mode %o", got.Content.Size, got.Attr.Mode)
		}
		second, err := os.OpenFile(d.path("text"), os.O_WRONLY|os.O_APPEND, 0)
		d.must(err)
		_, err = second.WriteString(" still")
		d.must(err)
		d.must(f.Close())
		d.must(second.Close())
		d.wantRead("text", want+" still")
		d.eventually("nobody holds it", func() bool { return !d.root.StateOf(n.ID).Open })
		for _, op := range d.root.Pending() {
			if op.Node != n.ID {
				t.Errorf("an edit of another node: %+v", op)
			}
		}
	}
}

// A change from elsewhere reaches a file that was saved by a rename, under its new number.
func TestRemoteChangeAfterSave(t *testing.T) {
	d, there, n := committed(t, large)
	d.write("tmp", "mine")
	d.must(os.Rename(d.path("tmp"), d.path("text")))
	d.wantRead("text", "mine")
	n = there.move(n, dbfs.RootNode, "elsewhere")
	there.advance()
	d.eventually("it has moved", func() bool { return fmt.Sprint(d.names("")) == "[elsewhere]" })
	d.wantRead("elsewhere", "mine")
	there.write(n, "theirs")
	there.advance()
	d.eventually("both versions are there", func() bool { return len(d.names("")) == 2 })
	d.wantRead("elsewhere", "theirs")
}

// Many save at once, while others open, read and write what they save.
func TestSavesUnderLoad(t *testing.T) {
	d, _, n := committed(t, 20)
	var saving, reading sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		saving.Go(func() {
			tmp := fmt.Sprint("tmp", i)
			for k := range 60 {
				if err := os.WriteFile(d.path(tmp), []byte(strings.Repeat(string(rune('a'+k%26)), 1000)), 0o644); err != nil {
					t.Error(err)
				}
				if err := os.Rename(d.path(tmp), d.path("text")); err != nil {
					t.Error(err)
				}
			}
		})
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b, err := os.ReadFile(d.path("text"))
				if err != nil || len(b) != 1000 && len(b) != 20 || strings.Trim(string(b), string(b[:1])) != "" {
					t.Errorf("read %s, %v", brief(string(b)), err)
					return
				}
			}
		})
	}
	saving.Wait()
	close(stop)
	reading.Wait()
	if got := fmt.Sprint(d.names("")); got != "[text]" {
		t.Errorf("names %s", got)
	}
	if got := d.nodeAt("text"); got.ID != n.ID {
		t.Errorf("the node is %s, want %s", got.ID, n.ID)
	}
	d.eventually("nobody holds it", func() bool { return !d.root.StateOf(n.ID).Open })
}
