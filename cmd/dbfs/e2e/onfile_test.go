package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// What others have lost data by, told as it was reported of them. Each begins with the name of the
// failure and where it is on file.

// A download is put in the place of a file that was changed meanwhile, and nothing is missed
// because length and time are the same (ownCloud client #3156, #5589).
func TestLostUpdate(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	story(t,
		as(alice, write("a.txt", "old")), synced(),
		as(bob, offline(), write("a.txt", "ONE"), touch("a.txt", noon)),
		as(alice, write("a.txt", "TWO"), touch("a.txt", noon), sent()),
		as(bob, online()), synced(),
		as(bob, sees("a.txt", "TWO"), sees(copyOf("a.txt", bob), "ONE"), holds("", copyOf("a.txt", bob), "a.txt")),
	)
}

// An old file whose time is set anew replaces a newer one (Syncthing #6252, MEGAsync #70).
func TestRetouchedStaleFile(t *testing.T) {
	story(t,
		as(alice, write("a", "old")), synced(),
		as(bob, offline(), touch("a", time.Now().Add(time.Hour))),
		as(alice, write("a", "new"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "a"), sees("a", "new")),
	)
}

// Clocks that are wrong, or turned back, make conflicts of nothing or hide some (syncany #515,
// Syncthing #40, #1306).
func TestWrongClocks(t *testing.T) {
	inOneProcess(t,
		as(alice, clock(-48*time.Hour), write("a", "one")), synced(),
		as(bob, clock(1000*time.Hour), sees("a", "one"), write("a", "two"), sent()),
		as(alice, sees("a", "two"), write("a", "three"), clock(-5000*time.Hour), write("b", "of the past"), sent()),
		as(bob, sees("a", "three"), sees("b", "of the past"), clock(-9000*time.Hour), offline(), write("a", "bob's")),
		as(alice, clock(9000*time.Hour), write("a", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("a", "alice's"), sees("a (conflicted copy, bob *)", "bob's"), holds("", "a", "a (conflicted copy, bob *)", "b")),
	)
}

// Saving by renaming, while somebody else edits the file (seafile-client #1244).
func TestSavedByRenaming(t *testing.T) {
	story(t,
		as(alice, write("a", "old")), synced(),
		as(bob, offline(), write("a", "bob's")),
		as(alice, saves("a", "alice's"), saves("a", "alice's again"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("a", "alice's again"), somebodyHolds("bob's")),
	)
}

// A file that is removed and made anew at once is lost (seafile-client #1244).
func TestFastDeleteAndRecreate(t *testing.T) {
	var steps []step
	for i := range 8 {
		text := fmt.Sprint("version ", i)
		steps = append(steps, write("a.new", text), remove("a"), rename("a.new", "a"))
	}
	story(t,
		as(alice, write("a", "old")), synced(),
		as(alice, steps...),
		as(bob, sees("a", "version 7")), synced(),
		as(bob, holds("", "a"), remove("a"), write("a", "bob's")),
		as(alice, sees("a", "bob's"), holds("", "a")),
	)
}

// Directories that are renamed on both sides come back, or take their files with them (ownCloud
// client #2170, #4148, Nextcloud #8449, #3425).
func TestConcurrentDirectoryRenames(t *testing.T) {
	story(t,
		as(alice, mkdir("d"), mkdir("d/sub"), write("d/x", "x"), write("d/sub/y", "y")), synced(),
		as(bob, offline(), rename("d", "bobs"), write("bobs/x", "bob's"), rename("bobs/sub", "bobs/under"), write("bobs/new", "new")),
		as(alice, rename("d", "alices"), write("alices/sub/y", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "alices"), holds("alices", "new", "under", "x"),
			sees("alices/x", "bob's"), sees("alices/under/y", "alice's"), sees("alices/new", "new")),
	)
}

// Directories that are moved into each other are gone (Kleppmann et al., on moves in trees).
func TestCycleOfThree(t *testing.T) {
	story(t,
		as(alice, mkdir("a"), mkdir("b"), mkdir("c"), write("a/1", "one"), write("b/2", "two"), write("c/3", "three")), synced(),
		as(bob, offline(), rename("b", "c/b"), rename("c", "a/c")),
		as(alice, rename("a", "b/a"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "c"), sees("c/b/a/1", "one"), sees("c/b/2", "two"), sees("c/3", "three")),
	)
}

// A folder is removed while somebody edits within it (kDrive #873, Nextcloud #7300, CmisSync
// #693, joplin #10611).
func TestEditInsideDeletedFolder(t *testing.T) {
	story(t,
		as(alice, mkdir("d"), mkdir("d/e"), write("d/e/x", "old"), write("d/y", "old")), synced(),
		as(bob, offline(), write("d/e/x", "bob's"), write("d/e/new", "new")),
		as(alice, remove("d/e/x"), remove("d/e"), remove("d/y"), remove("d"), sent(), lacks("d")),
		as(bob, online()), synced(),
		as(alice, sees("d/e/x", "bob's"), sees("d/e/new", "new"), holds("d", "e")),
	)
}

// A file that somebody has open and has changed is removed elsewhere (ownCloud client #215).
func TestOpenFileDeletedElsewhere(t *testing.T) {
	var f *os.File
	onMounts(t,
		as(alice, write("a", "old")), synced(),
		as(bob, must("open a", func(v *device) (err error) {
			f, err = os.OpenFile(v.at("a"), os.O_WRONLY, 0)
			return err
		}), must("write", func(v *device) error { return onlyErr(f.WriteAt([]byte("bob's"), 0)) })),
		as(alice, remove("a"), sent()),
		as(bob, lacks("a"), must("go on", func(v *device) error {
			_, err := f.WriteAt([]byte(" and more"), 5)
			return errors.Join(err, f.Close())
		}), sees("a", "bob's and more")), synced(),
		as(alice, sees("a", "bob's and more"), holds("", "a")),
	)
}

func onlyErr[T any](_ T, err error) error { return err }

// Copies of copies, until the names are too long (seafile-client #243, #778, Syncthing #2282).
func TestConflictsOfConflictedCopies(t *testing.T) {
	edit := func(text string) []step {
		return []step{write("a.txt", text), eachCopy(func(v *device, name string) error { return v.hands.write(name, []byte(text+" in the copy")) })}
	}
	acts := []act{as(alice, write("a.txt", "old")), synced()}
	for i := range 4 {
		acts = append(acts,
			as(bob, append([]step{offline()}, edit(fmt.Sprint("bob's ", i))...)...),
			as(alice, append(edit(fmt.Sprint("alice's ", i)), sent())...),
			as(bob, online()), synced())
	}
	acts = append(acts, as(alice, sees("a.txt", "alice's 3"), eachCopy(func(_ *device, name string) error {
		if strings.Count(name, "conflicted copy") != 1 || strings.Count(name, "(") != 1 {
			return fmt.Errorf("a copy of a copy is called %q", name)
		}
		return nil
	}), somebodyHolds("bob's 3")))
	story(t, acts...)
}

// eachCopy does something with every conflicted copy at the top.
func eachCopy(do func(v *device, name string) error) step {
	return must("look at the copies", func(v *device) error {
		names, err := v.hands.list("")
		for _, name := range names {
			if strings.Contains(name, "(") {
				err = errors.Join(err, do(v, name))
			}
		}
		return err
	})
}

// What was uploaded half is taken for the file, or one of no bytes (ownCloud client #84, #192,
// #4583, Nextcloud #1323, onedrive #3859).
func TestInterruptedUpload(t *testing.T) {
	big := noise(9, 30<<20)
	story(t,
		as(alice, write("seed", "")), synced(),
		as(alice, writeBytes("big", big), must("wait", func(*device) error {
			time.Sleep(30 * time.Millisecond)
			return nil
		}), offline()),
		as(bob, wholeOrNone("big", big)),
		as(alice, stopped(), started(), online()),
		as(bob, wholeOrNone("big", big), seesBytes("big", big)),
		as(alice, write("empty", ""), write("empty", "not any more")),
		as(bob, sees("empty", "not any more")),
	)
}

// wholeOrNone expects a file either with all of its bytes or not at all.
func wholeOrNone(path string, want []byte) step {
	return must("look for "+path, func(v *device) error {
		got, err := v.hands.read(path)
		if missing(err) || err == nil && string(got) == string(want) {
			return nil
		}
		return fmt.Errorf("it has %d bytes of %d, %v", len(got), len(want), err)
	})
}

// A name that differs in case only is removed on the other side (Syncthing #1787, #439, #2907,
// #7426, ownCloud core #11901).
func TestCaseOnlyRename(t *testing.T) {
	story(t,
		as(alice, write("Readme", "old"), mkdir("Dir"), write("Dir/x", "x")), synced(),
		as(bob, offline(), write("Readme", "bob's"), write("Dir/y", "y")),
		as(alice, rename("Readme", "README"), rename("Dir", "dir"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "README", "dir"), sees("README", "bob's"), holds("dir", "x", "y")),
	)
}

// Two ways to write an é make two files for ever, or one too few (ownCloud client #6338, #12336,
// seafile-client #1652, maestral #679).
func TestNamesStayAsTheyAre(t *testing.T) {
	story(t,
		as(alice, write("caf\u00e9", "one"), write("cafe\u0301", "two")),
		as(bob, sees("caf\u00e9", "one"), sees("cafe\u0301", "two"), write("cafe\u0301", "three")), synced(),
		as(alice, holds("", "cafe\u0301", "caf\u00e9"), sees("cafe\u0301", "three"), sees("caf\u00e9", "one")),
	)
}

// Times that cannot be kept make files go round for ever (ownCloud client #1380, #317, #2431,
// MEGAsync #258).
func TestNothingGoesRound(t *testing.T) {
	story(t,
		as(alice, write("a", "one"), touch("a", time.Unix(1_000_000_000, 123_456_789))), synced(),
		as(bob, sees("a", "one")), stillness(),
		as(bob, stopped(), started(), sees("a", "one")), stillness(),
	)
}

// stillness checks that nobody sends anything for a while.
func stillness() act {
	return then(func(w *world) {
		w.t.Helper()
		w.sync()
		session := w.site.session(w.site.tokens[family])
		before, err := session.Namespaces(w.t.Context())
		must0(w.t, err)
		time.Sleep(300 * time.Millisecond)
		w.sync()
		after, err := session.Namespaces(w.t.Context())
		must0(w.t, err)
		if before[0].Cursor != after[0].Cursor {
			w.t.Errorf("nobody did anything, and the log went from %v to %v", before[0].Cursor, after[0].Cursor)
		}
	})
}

// somebodyHolds waits for a file with a text, wherever it is and whatever it is called.
func somebodyHolds(text string) step {
	return eventually("looks for "+text, func(v *device) error {
		f := make(forest)
		if err := all(v.hands, "", f); err != nil {
			return err
		}
		for path := range f {
			if b, err := v.hands.read(path); err == nil && string(b) == text {
				return nil
			}
		}
		return os.ErrNotExist
	})
}

// clock puts a device's clock ahead, or back.
func clock(d time.Duration) step { return func(v *device) { v.near.late = d } }
