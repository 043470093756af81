package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

func wantErrno(t testing.TB, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestErrno(t *testing.T) {
	for _, test := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{fmt.Errorf("%w: the connection: %w", dbfs.ErrOffline, io.EOF), unix.EIO}, // not the end of the file
		{fmt.Errorf("%w: dial: %w", dbfs.ErrOffline, unix.ECONNREFUSED), unix.EIO},
		{fmt.Errorf("%w: %w", dbfs.ErrOffline, context.Canceled), unix.EIO},
		{dbfs.ErrNotExist, unix.ENOENT},
		{fmt.Errorf("deep: %w", fmt.Errorf("down: %w", dbfs.ErrNotEmpty)), unix.ENOTEMPTY},
		{dbfs.ErrOffline, unix.EIO},
		{dbfs.ErrCorrupt, unix.EIO},
		{fmt.Errorf("the server does not have it (%v): %w", dbfs.ErrNotExist, dbfs.ErrCorrupt), unix.EIO},
		{errors.New("whatever"), unix.EIO},
		{&os.PathError{Op: "open", Path: "body", Err: unix.EMFILE}, unix.ENFILE},
		{fmt.Errorf("between namespaces: %w", unix.EXDEV), unix.EXDEV},
		{context.Canceled, unix.EINTR},
	} {
		if got := errno(test.err); got != fuse.Status(test.want) {
			t.Errorf("%v becomes %v, want %v", test.err, got, test.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	d := newDrive(t)
	d.write("file", "x")
	d.must(os.MkdirAll(d.path("dir/sub"), 0o755))
	d.must(os.Mkdir(d.path("empty"), 0o755))
	d.must(os.Symlink("loop", d.path("loop")))
	d.must(os.Symlink("file", d.path("link")))
	long, notUTF8 := strings.Repeat("n", 256), "caf\xe9"
	p := d.path
	create := func(name string) error {
		return onlyErr(os.OpenFile(p(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644))
	}
	rename := func(a, b string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, p(a), unix.AT_FDCWD, p(b), flags)
	}
	for _, test := range []struct {
		what string
		err  error
		want syscall.Errno
	}{
		{"open what is not there", onlyErr(os.Open(p("nothing"))), unix.ENOENT},
		{"open below a file", onlyErr(os.Open(p("file/x"))), unix.ENOTDIR},
		{"open a loop", onlyErr(os.Open(p("loop"))), unix.ELOOP},
		{"open a directory for writing", onlyErr(os.OpenFile(p("dir"), os.O_WRONLY, 0)), unix.EISDIR},
		{"create what is there", create("file"), unix.EEXIST},
		{"create over a link", create("link"), unix.EEXIST},
		{"create a name of 256 bytes", create(long), unix.ENAMETOOLONG},
		{"create a name that is not UTF-8", create(notUTF8), unix.EINVAL},
		{"look up a name that is not UTF-8", onlyErr(os.Stat(p(notUTF8))), unix.ENOENT},
		{"look up a name of 256 bytes", onlyErr(os.Stat(p(long))), unix.ENAMETOOLONG},
		{"mkdir what is there", unix.Mkdir(p("file"), 0o755), unix.EEXIST},
		{"mkdir in nothing", unix.Mkdir(p("nothing/x"), 0o755), unix.ENOENT},
		{"rmdir a file", unix.Rmdir(p("file")), unix.ENOTDIR},
		{"rmdir what is not empty", unix.Rmdir(p("dir")), unix.ENOTEMPTY},
		{"unlink a directory", unix.Unlink(p("dir")), unix.EISDIR},
		{"unlink nothing", unix.Unlink(p("nothing")), unix.ENOENT},
		{"rename nothing", rename("nothing", "x", 0), unix.ENOENT},
		{"rename a directory over a file", rename("empty", "file", 0), unix.ENOTDIR},
		{"rename a file over a directory", rename("file", "empty", 0), unix.EISDIR},
		{"rename over a directory that is not empty", rename("empty", "dir", 0), unix.ENOTEMPTY},
		{"rename a directory into itself", rename("dir", "dir/sub/x", 0), unix.EINVAL},
		{"rename over something, not replacing", rename("file", "link", unix.RENAME_NOREPLACE), unix.EEXIST},
		{"rename to a name that is not UTF-8", rename("file", notUTF8, 0), unix.EINVAL},
		{"exchange with nothing", rename("file", "nothing", unix.RENAME_EXCHANGE), unix.ENOENT},
		{"exchange a directory with what is in it", rename("dir", "dir/sub", unix.RENAME_EXCHANGE), unix.EINVAL},
		{"exchange, not replacing", rename("file", "link", unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE), unix.EINVAL},
		{"whiteout", rename("file", "x", unix.RENAME_WHITEOUT), unix.EINVAL},
		{"hard link to a directory", unix.Link(p("dir"), p("second")), unix.EPERM},
		{"hard link where something is", unix.Link(p("file"), p("link")), unix.EEXIST},
		{"hard link to nothing", unix.Link(p("nothing"), p("second")), unix.ENOENT},
		{"hard link in nothing", unix.Link(p("file"), p("nothing/second")), unix.ENOENT},
		{"symlink to nothing", unix.Symlink("", p("s")), unix.ENOENT},
		{"symlink to what is not UTF-8", unix.Symlink(notUTF8, p("s")), unix.EINVAL},
		{"fifo where something is", unix.Mkfifo(p("file"), 0o644), unix.EEXIST},
		{"truncate a directory", unix.Truncate(p("dir"), 0), unix.EISDIR},
		{"readlink of a file", onlyErr(unix.Readlink(p("file"), make([]byte, 10))), unix.EINVAL},
	} {
		wantErrno(t, test.what, test.err, test.want)
	}
	if got := fmt.Sprint(d.names("")); got != "[dir empty file link loop]" {
		t.Errorf("after many refusals the tree holds %v", got)
	}
}
