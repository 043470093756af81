package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

func TestChangesAreSeen(t *testing.T) {
	everywhere(t,
		as(alice, write("a", "one"), mkdir("d"), write("d/b", "two")),
		as(bob, sees("a", "one"), sees("d/b", "two"), write("a", "three")),
		as(alice, sees("a", "three"), remove("d/b")),
		as(bob, lacks("d/b"), rename("a", "d/c")),
		as(alice, holds("", "d"), holds("d", "c"), sees("d/c", "three")),
	)
}

// Who reaches the server first keeps the name.
func TestBothEdit(t *testing.T) {
	everywhere(t,
		as(alice, write("a.txt", "old")), synced(),
		as(bob, offline(), write("a.txt", "bob's")),
		as(alice, write("a.txt", "alice's"), sent()),
		as(bob, online(), sees("a.txt", "alice's"), sees(copyOf("a.txt", bob), "bob's")),
		as(alice, holds("", copyOf("a.txt", bob), "a.txt"), sees(copyOf("a.txt", bob), "bob's")),
	)
}

func TestBothWriteTheSame(t *testing.T) {
	story(t,
		as(alice, write("a", "old")), synced(),
		as(bob, offline(), write("a", "new")),
		as(alice, write("a", "new"), sent()),
		as(bob, online()), synced(),
		as(bob, holds("", "a"), sees("a", "new")),
	)
}

func TestEditBeatsDelete(t *testing.T) {
	story(t,
		as(alice, write("a", "old"), write("b", "old")), synced(),
		as(bob, offline(), write("a", "bob's"), remove("b")),
		as(alice, remove("a"), write("b", "alice's"), sent()),
		as(bob, online(), sees("a", "bob's"), sees("b", "alice's")),
		as(alice, sees("a", "bob's"), holds("", "a", "b")),
	)
}

func TestRenameAndEdit(t *testing.T) {
	story(t,
		as(alice, write("a", "old"), write("b", "old")), synced(),
		as(bob, offline(), write("a", "bob's"), rename("b", "b2")),
		as(alice, rename("a", "a2"), write("b", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "a2", "b2"), sees("a2", "bob's"), sees("b2", "alice's")),
	)
}

func TestBothRename(t *testing.T) {
	story(t,
		as(alice, write("a", "it")), synced(),
		as(bob, offline(), rename("a", "bobs")),
		as(alice, rename("a", "alices"), sent()),
		as(bob, online(), holds("", "alices"), sees("alices", "it")),
	)
}

func TestBothRenameToOneName(t *testing.T) {
	story(t,
		as(alice, write("a", "first"), write("b", "second")), synced(),
		as(bob, offline(), rename("b", "c")),
		as(alice, rename("a", "c"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("c", "first"), sees(asideOf("c", bob), "second")),
	)
}

func TestDirectoriesMoveIntoEachOther(t *testing.T) {
	story(t,
		as(alice, mkdir("a"), mkdir("b"), write("a/1", "one"), write("b/2", "two")), synced(),
		as(bob, offline(), rename("b", "a/b")),
		as(alice, rename("a", "b/a"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("b/a/1", "one"), sees("b/2", "two")),
	)
}

func TestBothMakeADirectory(t *testing.T) {
	story(t,
		as(alice, write("seed", "")), synced(),
		as(bob, offline(), mkdir("d"), mkdir("d/e"), write("d/e/y", "bob's")),
		as(alice, mkdir("d"), mkdir("d/e"), write("d/e/x", "alice's"), sent()),
		as(bob, online()), synced(),
		as(bob, holds("", "d", "seed"), holds("d", "e"), holds("d/e", "x", "y"), write("d/e/y", "again")),
		as(alice, sees("d/e/y", "again")),
	)
}

func TestBothCreateAFile(t *testing.T) {
	story(t,
		as(alice, write("seed", "")), synced(),
		as(bob, offline(), write("same", "equal"), write("other.txt", "bob's")),
		as(alice, write("same", "equal"), write("other.txt", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", asideOf("other.txt", bob), "other.txt", "same", "seed"),
			sees("other.txt", "alice's"), sees(asideOf("other.txt", bob), "bob's")),
	)
}

func TestDirectoryGoesWhileItIsFilled(t *testing.T) {
	story(t,
		as(alice, mkdir("d"), mkdir("e")), synced(),
		as(bob, offline(), write("d/x", "bob's"), remove("e")),
		as(alice, remove("d"), write("e/y", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("d/x", "bob's"), sees("e/y", "alice's")),
	)
}

func TestSymlinks(t *testing.T) {
	story(t,
		as(alice, symlink("no/where", "l")),
		as(bob, looks("l", "link to no/where"), offline(), symlink("same", "s"), symlink("bobs", "t")),
		as(alice, symlink("same", "s"), symlink("alices", "t"), sent()),
		as(bob, online()), synced(),
		as(alice, holds("", "l", "s", "t", asideOf("t", bob)), looks("t", "link to alices"), remove("l")),
		as(bob, lacks("l")),
	)
}

func TestModes(t *testing.T) {
	story(t,
		as(alice, write("a", "x"), mkdir("d")), synced(),
		as(bob, offline(), write("a", "bob's"), chmod("d", 0o711)),
		as(alice, chmod("a", 0o600), sent()),
		as(bob, online(), looks("a", "file 600, 5 bytes")),
		as(alice, looks("a", "file 600, 5 bytes"), looks("d", "dir 711"), chmod("a", 0o755)),
		as(bob, looks("a", "file 755, 5 bytes")),
	)
}

// Whether a save is a write of the file or a new file in its place depends on how much of it
// the server has seen; the bytes are safe either way.
func TestEditorsSave(t *testing.T) {
	story(t,
		as(alice, write("a", "one"), saves("a", "two")),
		as(bob, sees("a", "two"), saves("a", "three"), saves("a", "four")),
		as(alice, sees("a", "four"), holds("", "a")), synced(),
		as(bob, offline(), saves("a", "bob's")),
		as(alice, saves("a", "alice's"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("a", "alice's"), sees("a (* bob *", "bob's")),
	)
}

func TestDeletedAndMadeAnew(t *testing.T) {
	story(t,
		as(alice, write("a", "one"), remove("a"), write("a", "two")),
		as(bob, sees("a", "two"), offline(), write("a", "bob's")),
		as(alice, remove("a"), write("a", "three"), sent()),
		as(bob, online()), synced(),
		as(alice, sees("a", "three"), sees("a (* bob *", "bob's")),
	)
}

func TestAChangeInTheMiddleSendsOneChunk(t *testing.T) {
	const size = 20 << 20
	before := noise(1, size)
	after := replaced(before, size/2, "changed")
	everywhere(t,
		as(alice, writeBytes("big", before), sent()), stored(5),
		as(alice, patch("big", size/2, []byte("changed")), sent()), stored(6),
		as(bob, seesBytes("big", after)),
	)
}

func TestTwoNamesAreStoredOnce(t *testing.T) {
	b := noise(2, 64<<20)
	story(t,
		as(alice, writeBytes("a", b), sent()), stored(16),
		as(alice, writeBytes("b", b), sent()), stored(16),
	)
}

func TestHolesAreNotSent(t *testing.T) {
	onMounts(t,
		as(alice, write("sparse", ""), must("grow", func(v *device) error { return os.Truncate(v.at("sparse"), 30<<20) }),
			patch("sparse", 13<<20, []byte("x")), sent()), stored(1),
		as(bob, looks("sparse", "file 644, 31457280 bytes")),
	)
}

// stored checks how many objects the server's directory holds; of a bucket it says nothing.
func stored(want int) act {
	return then(func(w *world) {
		w.t.Helper()
		if w.site.blocks != "" {
			return
		}
		if got, bytes := w.site.objects(); got != want {
			w.t.Errorf("the server holds %d objects of %d bytes together, want %d", got, bytes, want)
		}
	})
}

// A daemon that starts without a server shows every name, reads what is here, takes edits,
// and says EIO where bytes are missing.
func TestStartWithoutServer(t *testing.T) {
	there := noise(3, 100_000)
	onMounts(t,
		as(alice, mkdir("d"), write("d/here", "cached"), writeBytes("d/there", there)), synced(),
		as(bob, sees("d/here", "cached"), stopped()),
		down(),
		as(bob, started(), holds("d", "here", "there"), sees("d/here", "cached"),
			unreadable("d/there", 100_000), lacks("d/never"),
			write("d/new", "made offline"), rename("d/here", "moved"), chmod("d", 0o700), stopped(), started(),
			sees("d/new", "made offline"), sees("moved", "cached")),
		up(),
		as(bob, seesBytes("d/there", there)),
		as(alice, sees("d/new", "made offline"), sees("moved", "cached"), looks("d", "dir 700")),
	)
}

// unreadable expects a file that is listed with its size, and whose bytes cannot be had: EIO,
// within the time for a fetch, and a line in the log that says why.
func unreadable(path string, size int64) step {
	return func(v *device) {
		v.t.Helper()
		info, err := os.Stat(v.at(path))
		if err != nil || info.Size() != size {
			v.t.Fatalf("%s: stat %s: %v, %v; want %d bytes", v.name, path, info, err, size)
		}
		start := time.Now()
		refused(unix.EIO, "read "+path, func(v *device) error {
			b, err := os.ReadFile(v.at(path))
			if err == nil || len(b) > 0 {
				v.t.Errorf("%s: read %s of %s, which is not here", v.name, brief(b), path)
			}
			return err
		})(v)
		if took := time.Since(start); took > 5*fetchTime {
			v.t.Errorf("%s: EIO came after %v; a fetch may take %v", v.name, took, fetchTime)
		}
		if !v.log.says("level=WARN", "request failed", "read", "chunk", "server unreachable") {
			v.t.Errorf("%s: the log does not say why %s cannot be read:\n%s", v.name, path, v.log.tail(10))
		}
	}
}

func TestBytesThatCannotBeHad(t *testing.T) {
	small, large := noise(4, 3000), noise(5, 9<<20)
	onMounts(t,
		as(alice, writeBytes("small", small), writeBytes("large", large)), synced(),
		as(bob, offline(), unreadable("small", 3000), unreadable("large", 9<<20)),
		as(bob, hung(), unreadable("small", 3000), unreadable("large", 9<<20)),
		as(bob, online(), seesBytes("small", small), seesBytes("large", large)),
	)
}

func TestReadOnlyMember(t *testing.T) {
	rofs := func(what string, try func(v *device) error) step { return refused(unix.EROFS, what, try) }
	onMounts(t,
		as(alice, write("own", "mine")), as(carol, write("hers", "hers")),
		shared("team", dbfs.RoleRead),
		as(carol, eventually("mount", isDir("team")), write("team/a", "carol's"), mkdir("team/d")),
		as(alice, sees("team/a", "carol's"),
			rofs("write", func(v *device) error { return os.WriteFile(v.at("team/a"), []byte("x"), 0o644) }),
			rofs("create", func(v *device) error { return os.WriteFile(v.at("team/b"), nil, 0o644) }),
			rofs("remove", func(v *device) error { return os.Remove(v.at("team/a")) }),
			rofs("mkdir", func(v *device) error { return os.Mkdir(v.at("team/x"), 0o755) }),
			rofs("rename", func(v *device) error { return os.Rename(v.at("team/a"), v.at("team/z")) }),
			rofs("chmod", func(v *device) error { return os.Chmod(v.at("team/a"), 0o600) }),
			sees("team/a", "carol's"), write("own", "still mine")),
		member("team", dbfs.RoleWrite),
		as(alice, eventually("write", func(v *device) error { return os.WriteFile(v.at("team/a"), []byte("alice's"), 0o644) })),
		as(carol, sees("team/a", "alice's")),
	)
}

func isDir(path string) func(v *device) error {
	return func(v *device) error {
		_, err := os.ReadDir(v.at(path))
		return err
	}
}

// shared makes a namespace of the guest's, gives the family a role in it, and mounts it for both.
func shared(name string, role dbfs.Role) act { return sharedNamed(name, role, dbfs.NamesExact) }

func sharedNamed(name string, role dbfs.Role, rule dbfs.NameRule) act {
	return then(func(w *world) {
		w.t.Helper()
		ctx := w.t.Context()
		host := w.site.session(w.site.tokens[guest])
		ns, err := host.CreateNamespace(ctx, name, rule)
		if err == nil {
			err = host.SetMember(ctx, ns.ID, family, role)
		}
		for _, account := range []string{guest, family} {
			if err == nil {
				_, err = w.site.session(w.site.tokens[account]).Mount(ctx, ns.ID, "/"+name)
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
	})
}

// member gives the family another role in a namespace of the guest's.
func member(name string, role dbfs.Role) act {
	return then(func(w *world) {
		w.t.Helper()
		host := w.site.session(w.site.tokens[guest])
		list, err := host.Namespaces(w.t.Context())
		for _, ns := range list {
			if err == nil && ns.Name == name {
				err = host.SetMember(w.t.Context(), ns.ID, family, role)
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
	})
}

func TestSharedNamespace(t *testing.T) {
	onMounts(t,
		as(alice, write("a", "alice's")), as(bob, sees("a", "alice's")), as(carol, write("c", "carol's")),
		shared("team", dbfs.RoleWrite),
		as(carol, eventually("mount", isDir("team")), mkdir("team/d"), write("team/d/plan", "one")),
		as(alice, sees("team/d/plan", "one"), write("team/d/plan", "two")),
		as(bob, sees("team/d/plan", "two")),
		as(carol, sees("team/d/plan", "two"), holds("", "c", "team"), offline(), write("team/d/plan", "carol's")),
		as(bob, write("team/d/plan", "bob's"), sent()),
		as(carol, online()), synced(),
		as(alice, sees("team/d/plan", "bob's"), sees(copyOf("team/d/plan", carol), "carol's"),
			refused(unix.EXDEV, "move a directory out", func(v *device) error { return unix.Rename(v.at("team/d"), v.at("d")) }),
			refused(unix.EBUSY, "remove the mount", func(v *device) error { return unix.Rmdir(v.at("team")) })),
	)
}

// A member who is taken out sees the namespace go, and nothing else.
func TestTakenOut(t *testing.T) {
	onMounts(t,
		as(alice, write("a", "alice's")), as(carol, write("c", "carol's")),
		shared("team", dbfs.RoleWrite),
		as(carol, eventually("mount", isDir("team")), write("team/x", "x")),
		as(alice, sees("team/x", "x")), synced(),
		member("team", dbfs.RoleNone),
		as(carol, write("team/x", "y"), sent()),
		as(alice, lacks("team"), sees("a", "alice's")),
	)
}

// recoveredFrom is where unsent edits of a namespace are found.
func recoveredFrom(namespace, path string) string {
	return filepath.Join("Recovered from "+namespace+" "+time.Now().Format(time.DateOnly), path)
}

// Who is taken out, or made a reader, while edits of theirs are unsent finds these in their own
// tree, on every device, once.
func TestUnsentIsRecovered(t *testing.T) {
	for _, role := range []dbfs.Role{dbfs.RoleNone, dbfs.RoleRead} {
		large := noise(7, 9<<20)
		after := as(alice, lacks("team"))
		if role == dbfs.RoleRead {
			after = as(alice, sees("team/x", "x"), sees("team/other", "carol's"), lacks("team/new"), refused(unix.EROFS, "write", func(v *device) error { return os.WriteFile(v.at("team/x"), nil, 0o644) }))
		}
		onMounts(t,
			as(alice, write("own", "mine")),
			shared("team", dbfs.RoleWrite),
			as(carol, eventually("mount", isDir("team")), write("team/x", "x"), mkdir("team/d"), writeBytes("team/d/large", large)),
			as(alice, sees("team/x", "x"), seesBytes("team/d/large", large)), synced(),
			as(alice, offline(), write("team/x", "alice's"), write("team/new", "new"), patch("team/d/large", 5<<20, []byte("in the middle")), remove("own")),
			as(carol, write("team/other", "carol's"), sent()),
			member("team", role),
			as(alice, online()),
			as(bob, sees(recoveredFrom("team", "x"), "alice's"), sees(recoveredFrom("team", "new"), "new"),
				seesBytes(recoveredFrom("team", "d/large"), slices.Concat(large[:5<<20], []byte("in the middle"), large[5<<20+13:])), lacks("own")),
			after,
			as(alice, stopped(), started(), sees(recoveredFrom("team", "new"), "new"), holds(recoveredFrom("team", ""), "d", "new", "x"),
				must("say so", func(v *device) error {
					if a := v.status().Attention; len(a) != 1 || a[0].Kind != "recovered" {
						return fmt.Errorf("attention is called to %+v", a)
					}
					return nil
				})),
			as(bob, remove(recoveredFrom("team", "new")), sent()),
			as(alice, lacks(recoveredFrom("team", "new")), stopped(), started(), lacks(recoveredFrom("team", "new"))),
		)
	}
}

func TestCacheDeletedByHand(t *testing.T) {
	big := noise(6, 6<<20)
	onMounts(t,
		as(alice, write("a", "one"), writeBytes("big", big)),
		as(bob, sees("a", "one"), seesBytes("big", big), offline(),
			write("b", "unsent"), patch("big", 5<<20, []byte("unsent")), stopped(),
			must("delete the cache", func(v *device) error { return os.RemoveAll(v.set.Cache) }), started(),
			sees("b", "unsent"), online(), sees("a", "one")),
		as(alice, sees("b", "unsent"), seesBytes("big", replaced(big, 5<<20, "unsent"))),
	)
}

// replaced returns a copy of b that holds text at a place.
func replaced(b []byte, at int, text string) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], text)
	return b
}

func TestSmallCache(t *testing.T) {
	const budget = 12 << 20
	b := noise(7, 40<<20)
	onMounts(t,
		given(bob, func(s *daemon.Settings) { s.CacheSize = budget }),
		as(alice, writeBytes("big", b), sent()),
		as(bob, seesBytes("big", b), seesBytes("big", b), offline(),
			writeBytes("unsent", b[:20<<20]), seesBytes("unsent", b[:20<<20]),
			eventually("evicts", func(v *device) error {
				if used := v.status().Cache.Used; used > budget {
					return os.ErrDeadlineExceeded
				}
				return nil
			}), online()),
		as(alice, seesBytes("unsent", b[:20<<20])),
	)
}

func TestServerRestarts(t *testing.T) {
	everywhere(t,
		as(alice, write("a", "one")), as(bob, sees("a", "one")),
		then(func(w *world) { w.site.restart() }),
		as(alice, write("a", "two"), write("b", "two")), as(bob, sees("a", "two"), write("c", "three")),
		down(),
		as(alice, write("a", "four")), as(bob, sees("a", "two"), write("b", "bob's")),
		up(),
		as(alice, sees("b", "bob's"), sees("c", "three")), as(bob, sees("a", "four")),
	)
}

// A server that was restored from an old copy has lost what came after it. What is unsent on
// the devices is not lost, and everybody agrees again.
func TestServerRestored(t *testing.T) {
	onMounts(t,
		as(alice, write("a", "one"), mkdir("d")), synced(), backedUp(),
		as(alice, write("a", "two"), write("d/b", "late")), synced(),
		as(bob, sees("a", "two"), offline(), write("c", "unsent"), write("a", "bob's"), write("d/e", "unsent")),
		restored(),
		as(alice, write("f", "after")),
		as(bob, online()), synced(),
		as(bob, sees("f", "after"), sees("c", "unsent"), sees("d/e", "unsent")),
		as(alice, sees("c", "unsent"), sees("d/e", "unsent"), somewhere("bob's")),
	)
}

// somewhere waits for a file at the top that holds a text, whatever it is called.
func somewhere(text string) step {
	return eventually("looks for "+text, func(v *device) error {
		entries, err := os.ReadDir(v.set.Mount)
		for _, e := range entries {
			if b, err := os.ReadFile(v.at(e.Name())); err == nil && strings.Contains(string(b), text) {
				return nil
			}
		}
		if err == nil {
			err = os.ErrNotExist
		}
		return err
	})
}

// A device that lost its state directory starts anew, with its old login.
func TestStateLost(t *testing.T) {
	onMounts(t,
		as(alice, write("a", "one")),
		as(bob, sees("a", "one"), write("b", "two"), write("c", "three"), sent(), stopped(),
			must("lose the state", func(v *device) error { return os.RemoveAll(v.set.State) }), started(),
			sees("a", "one"), sees("b", "two"), write("b", "four"), write("d", "five")),
		as(alice, sees("b", "four"), sees("d", "five")),
	)
}

// A device that comes later sees everything at once.
func TestSecondDeviceJoins(t *testing.T) {
	story(t,
		as(alice, mkdir("d"), write("d/a", "one"), symlink("d/a", "l"), write("b", ""), sent()),
		joins(bob),
		as(bob, holds("", "b", "d", "l"), sees("d/a", "one"), looks("l", "link to d/a"), write("b", "bob's")),
		as(alice, sees("b", "bob's")),
	)
}

// everywhere plays a story over a directory of objects and, if there is one to test with, over S3.
// Names change places in one step, whoever else changes them.
func TestExchange(t *testing.T) {
	story(t,
		as(alice, mkdir("d"), write("d/a", "one"), write("b", "two"), mkdir("e"), write("e/c", "three")), synced(),
		as(alice, exchange("d/a", "b")),
		as(bob, sees("d/a", "two"), sees("b", "one"), exchange("d", "e")),
		as(alice, sees("e/a", "two"), sees("d/c", "three")), synced(),
		as(bob, offline(), exchange("b", "e/a"), write("e/a", "bob's")), // which was b
		as(alice, write("b", "alice's"), sent()),
		as(bob, online(), sees("b", "two"), sees("e/a", "alice's"), sees(copyOf("e/a", bob), "bob's")),
	)
}

// A tree that is removed on one device and used on another: what was written there stays.
func TestTreeRemoved(t *testing.T) {
	many := func(v *device) {
		v.t.Helper()
		for i := range 60 {
			write(fmt.Sprintf("d/sub/%02d", i), fmt.Sprint("file ", i))(v)
		}
	}
	story(t,
		as(alice, mkdir("d"), mkdir("d/sub"), many, write("d/kept", "kept"), write("out", "out")), synced(),
		as(alice, clearAway("d/sub")),
		as(bob, holds("d", "kept"), holds("", "d", "out")), synced(),
		as(alice, mkdir("d/sub"), many), synced(),
		as(bob, offline(), write("d/sub/07", "bob's"), write("d/sub/new", "new")),
		as(alice, clearAway("d"), sent()),
		as(bob, online(), sees("d/sub/07", "bob's"), sees("d/sub/new", "new"), holds("d/sub", "07", "new"), holds("d", "sub")), synced(),
		as(bob, offline(), clearAway("d")),
		as(alice, write("d/sub/07", "alice's"), sent()),
		as(bob, online(), sees("d/sub/07", "alice's"), holds("d/sub", "07")),
		as(alice, holds("d/sub", "07"), holds("", "d", "out")),
	)
}

func everywhere(t *testing.T, acts ...act) {
	t.Run("directory", func(t *testing.T) { tell(t, "", true, acts) })
	t.Run("S3", func(t *testing.T) {
		endpoint, bucket := os.Getenv("DBFS_TEST_S3"), os.Getenv("DBFS_TEST_S3_BUCKET")
		if endpoint == "" {
			t.Skip("DBFS_TEST_S3 names no S3 server to test with; scripts/test starts one")
		}
		tell(t, "s3://"+bucket+"/e2e-"+dbfs.NewNodeID(time.Now()).String()+"?endpoint="+endpoint+"&path_style=true", true, acts)
	})
}
