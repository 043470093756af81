package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const oldText = "the old text of a file"

// An opening is a way in which a program has a file open while another device changes it. before
// is done before that, and after it comes what it returned. The text is what the program then
// meant the file to hold.
type opening struct {
	before func(name string) (after func() error, err error)
	text   string
	synced bool // before the change; else a crash may lose it
}

// opened makes an opening of what is done with an open file before and after the change; after
// that the file is closed.
func opened(flags int, before, after func(f *os.File) error) func(string) (func() error, error) {
	return func(name string) (func() error, error) {
		f, err := os.OpenFile(name, flags, 0)
		if err != nil {
			return nil, err
		}
		return func() error {
			if err := after(f); err != nil {
				return err
			}
			return f.Close()
		}, before(f)
	}
}

func leave(*os.File) error { return nil }

func overwriteStart(f *os.File) error {
	_, err := f.WriteAt([]byte("ONE"), 0)
	return err
}

func andSync(do func(f *os.File) error) func(f *os.File) error {
	return func(f *os.File) error {
		if err := do(f); err != nil {
			return err
		}
		return f.Sync()
	}
}

// mapped changes the file through a shared map, made before the change from elsewhere; with closed
// by a map that has outlived its descriptor.
func mapped(closed bool) func(string) (func() error, error) {
	return func(name string) (func() error, error) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		m, err := unix.Mmap(int(f.Fd()), 0, len(oldText), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, err
		}
		_ = m[0] // the page is here
		if closed {
			f.Close()
		}
		return func() error {
			if err := storeInto(m, "ONE"); err != nil {
				return err
			}
			if err := unix.Msync(m, unix.MS_SYNC); err != nil {
				return err
			}
			if err := unix.Munmap(m); err != nil || closed {
				return err
			}
			return f.Close()
		}, nil
	}
}

// storeInto copies a text into a map; where nobody serves the file any more it fails.
func storeInto(m []byte, text string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("store into a map: %v", fault)
		}
	}()
	copy(m, text)
	return nil
}

// duplicated writes through a duplicate of a descriptor that was closed before the change.
func duplicated(name string) (func() error, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	dup := os.NewFile(uintptr(fd), name)
	return func() error {
		if err := overwriteStart(dup); err != nil {
			return err
		}
		return dup.Close()
	}, f.Close()
}

func append1(f *os.File) error {
	_, err := f.WriteString(" and one")
	return err
}

func cut3(f *os.File) error { return f.Truncate(3) }

var openings = map[string]opening{
	"write after":              {before: opened(os.O_WRONLY, leave, overwriteStart), text: "ONE" + oldText[3:]},
	"write before":             {before: opened(os.O_WRONLY, overwriteStart, leave), text: "ONE" + oldText[3:]},
	"write on both sides":      {before: opened(os.O_RDWR, overwriteStart, append1At(len(oldText))), text: "ONE" + oldText[3:] + " and one"},
	"synced before":            {before: opened(os.O_WRONLY, andSync(overwriteStart), leave), text: "ONE" + oldText[3:], synced: true},
	"synced on both sides":     {before: opened(os.O_RDWR, andSync(overwriteStart), andSync(append1At(len(oldText)))), text: "ONE" + oldText[3:] + " and one", synced: true},
	"append":                   {before: opened(os.O_WRONLY|os.O_APPEND, leave, append1), text: oldText + " and one"},
	"truncate":                 {before: opened(os.O_RDWR, leave, cut3), text: oldText[:3]},
	"truncate before":          {before: opened(os.O_RDWR, cut3, leave), text: oldText[:3]},
	"O_TRUNC":                  {before: opened(os.O_WRONLY|os.O_TRUNC, leave, overwriteStart), text: "ONE"},
	"duplicate":                {before: duplicated, text: "ONE" + oldText[3:]},
	"map":                      {before: mapped(false), text: "ONE" + oldText[3:]},
	"map without a descriptor": {before: mapped(true), text: "ONE" + oldText[3:]},
}

func append1At(off int) func(f *os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteAt([]byte(" and one"), int64(off))
		return err
	}
}

// A pair is two devices of one account with a server, all programs of their own.
func pair(t *testing.T) (srv *served, one, two *drive) {
	t.Helper()
	m := newMachine(t)
	srv = m.serve()
	one, two = m.login("one", srv.url, srv.token), m.login("two", srv.url, srv.token)
	one.start()
	two.start()
	return srv, one, two
}

// A file that was opened before another device changed it, and is closed after that, does not
// undo the change: the name leads to what the other wrote, and what was written here is in a
// conflicted copy.
func TestOpenFilesUndoNothing(t *testing.T) {
	srv, one, two := pair(t)
	for what, o := range openings {
		t.Run(what, func(t *testing.T) {
			name := fileFor(what)
			o.begin(t, one, two, name)
			after, err := o.before(one.at(name))
			must0(t, err)
			changeElsewhere(t, one, two, name)
			must0(t, after())
			one.sent()
			awaitTexts(t, two, name, map[string]int{"two's": 1, o.text: 1})
			mustHold(t, two.at(name), "two's")
			mustHold(t, one.at(name), "two's")
		})
	}
	allAgree(t, srv, one, two)
	two.end()
	one.end()
}

// If the daemon is killed before such a file is closed, the other's change is not undone either;
// and what had been synced is in a conflicted copy.
func TestOpenFilesUndoNothingWhenKilled(t *testing.T) {
	srv, one, two := pair(t)
	for what, o := range openings {
		t.Run(what, func(t *testing.T) {
			name := fileFor(what)
			o.begin(t, one, two, name)
			after, err := o.before(one.at(name))
			must0(t, err)
			changeElsewhere(t, one, two, name)
			one.kill()
			after() // fails, or writes to a mount that is gone
			one.start()
			one.sent()
			mustHold(t, one.at(name), "two's")
			mustHold(t, two.at(name), "two's")
			if o.synced {
				awaitTexts(t, two, name, map[string]int{"two's": 1, "ONE" + oldText[3:]: 1})
			}
		})
	}
	allAgree(t, srv, one, two)
	two.end()
	one.end()
}

func fileFor(what string) string { return strings.ReplaceAll(what, " ", "-") }

// begin lets both devices have the file.
func (o opening) begin(t *testing.T, one, two *drive, name string) {
	t.Helper()
	must0(t, os.WriteFile(one.at(name), []byte(oldText), 0o644))
	awaitText(t, two.at(name), oldText)
}

// changeElsewhere lets device two change the file, and device one show it.
func changeElsewhere(t *testing.T, one, two *drive, name string) {
	t.Helper()
	must0(t, os.WriteFile(two.at(name), []byte("two's"), 0o644))
	two.sent()
	awaitText(t, one.at(name), "two's")
}

func awaitText(t *testing.T, name, want string) {
	t.Helper()
	var got []byte
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if got, err = os.ReadFile(name); err == nil && string(got) == want {
			return
		}
	}
	t.Fatalf("%s holds %s, %v; want %q", name, brief(got), err, want)
}

func mustHold(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s holds %s, %v; want %q", name, brief(got), err, want)
	}
}

// awaitTexts waits until the file and its copies hold exactly these texts, each so often.
func awaitTexts(t *testing.T, d *drive, name string, want map[string]int) {
	t.Helper()
	var got map[string]int
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got, err = textsOf(d, name)
		if err == nil && fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	t.Fatalf("%s and its copies hold %v, %v; want %v", name, got, err, want)
}

func textsOf(d *drive, name string) (map[string]int, error) {
	names, err := filepath.Glob(d.at(name + " (*"))
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, name := range append(names, d.at(name)) {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found[string(b)]++
	}
	return found, nil
}

// allAgree checks that two devices show what the server has, every byte of it.
func allAgree(t *testing.T, srv *served, one, two *drive) {
	t.Helper()
	one.sent()
	two.sent()
	sameTrees(t, one, two)
	want, err := srv.session().forest(within(t, patience))
	must0(t, err)
	got, err := walk(one.mount())
	if diff := compare(got, want); err != nil || diff != "" {
		t.Fatalf("device one does not show what the server has: %v\n%s", err, diff)
	}
}
