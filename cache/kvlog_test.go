package cache

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache/kvtest"
)

// writeLog makes a file of that number with records that set the given keys.
func writeLog(t testing.TB, name string, number, seq uint64, keys ...string) {
	t.Helper()
	l, err := createLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.f.Close()
	if err := l.begin(number); err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		rec := appendChange(make([]byte, recordHeadLen), []byte(k), []byte("v"))
		if err := l.append(rec, seq+uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll returns the keys that the logs of a directory set, in order.
func readAll(t testing.TB, dir string) (keys string, last uint64) {
	t.Helper()
	var got []string
	last, err := readLogs(dir, func(changes []byte) error {
		return decodeChanges(changes, func(k, _ []byte) error {
			got = append(got, string(k))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, " "), last
}

func TestLogsAreReadInOrder(t *testing.T) {
	type file struct {
		name        string
		number, seq uint64
		keys        string
	}
	for _, c := range []struct {
		what  string
		files []file
		want  string
		last  uint64
	}{
		{"none", nil, "", 0},
		{"one", []file{{"0", 5, 70, "a b c"}}, "a b c", 5},
		{"two, whatever they are called", []file{{"1", 5, 70, "a b"}, {"0", 6, 72, "c"}}, "a b c", 6},
		{"an older one, which is in Badger", []file{{"0", 3, 60, "x"}, {"1", 5, 70, "a"}, {"2", 6, 71, "b"}}, "a b", 6},
		{"one that is begun only", []file{{"0", 5, 70, "a"}, {"1", 6, 0, ""}}, "a", 6},
		{"a number was left out at the end", []file{{"0", 5, 70, "a"}, {"1", 7, 0, ""}}, "", 7},
		{"the end of the first was not synced", []file{{"0", 5, 70, "a"}, {"1", 6, 72, "c"}}, "a", 6},
		{"the first was not synced at all", []file{{"0", 5, 0, ""}, {"1", 6, 72, "c"}}, "", 6},
	} {
		dir := t.TempDir()
		for _, f := range c.files {
			writeLog(t, filepath.Join(dir, f.name+".log"), f.number, f.seq, strings.Fields(f.keys)...)
		}
		if got, last := readAll(t, dir); got != c.want || last != c.last {
			t.Errorf("%s: read %q up to file %d, want %q, %d", c.what, got, last, c.want, c.last)
		}
	}
}

// Wherever a loss of power or a crash cuts a log off or damages it, the records before are read, and no other.
func TestLogIsTorn(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "0.log")
	writeLog(t, name, 9, 100, "a", "bb", "ccc", "dddd")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{logHeaderLen}
	for _, k := range []string{"a", "bb", "ccc", "dddd"} {
		ends = append(ends, ends[len(ends)-1]+recordHeadLen+3+len(k)+1)
	}
	for at := range ends[len(ends)-1] {
		want := ""
		for i, k := range []string{"a", "bb", "ccc", "dddd"} {
			if at >= ends[i+1] {
				want = strings.TrimSpace(want + " " + k)
			}
		}
		for how, torn := range map[string][]byte{
			"cut off": whole[:at],
			"zeros":   append(bytes.Clone(whole[:at]), make([]byte, len(whole)-at)...),
			"a bit":   append(append(bytes.Clone(whole[:at]), whole[at]^4), whole[at+1:]...),
		} {
			if at == 0 && how == "a bit" {
				continue // the version: its checksum is wrong, too
			}
			if err := os.WriteFile(name, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, _ := readAll(t, dir); got != want {
				t.Fatalf("%s at byte %d: read %q, want %q", how, at, got, want)
			}
		}
	}
}

// What an earlier use has left in a file is not read, though it is whole.
func TestLogIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "0.log")
	writeLog(t, name, 4, 100, "old", "older", "oldest")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := newLogFile(f)
	l.ready = logStep
	if err := l.begin(5); err != nil {
		t.Fatal(err)
	}
	if err := l.append(appendChange(make([]byte, recordHeadLen), []byte("new"), []byte("v")), 101); err != nil {
		t.Fatal(err)
	}
	if got, last := readAll(t, dir); got != "new" || last != 5 {
		t.Errorf("read %q up to file %d", got, last)
	}
}

func TestLogOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	l, err := createLog(filepath.Join(dir, "0.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.f.Close()
	if _, err := l.f.Write([]byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0x8e, 0x5c, 0x96, 0x2c}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "0.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "0.log"), seal(b[:9]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLogs(dir, nil); !errors.Is(err, dbfs.ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func FuzzDecodeChanges(f *testing.F) {
	f.Add(appendChange(appendChange(nil, []byte("key"), []byte("value")), []byte("gone"), nil))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := decodeChanges(b, func(k, v []byte) error {
			again = appendChange(again, k, v)
			return nil
		})
		if err == nil && decodeChanges(again, func(_, _ []byte) error { return nil }) != nil {
			t.Errorf("%x is read, and what was read of it is not", b)
		}
		readRecords(b, 1, 0, func([]byte) error { return nil })
	})
}

// A count is a sequence of Updates of which each says in one transaction how many there are, in
// a key of its own among seven, beside something long.
type count struct{ kv *KV }

func (c count) up(t testing.TB, n int) {
	t.Helper()
	err := c.kv.Update(func(txn dbfs.Txn) error {
		b := fmt.Append(nil, n)
		return errors.Join(txn.Set([]byte("n"), b), txn.Set(fmt.Append(nil, "k", n%7), append(b, bytes.Repeat([]byte{' '}, 9000)...)), txn.Delete(fmt.Append(nil, "k", (n+1)%7)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns how many there are, and fails if the keys do not fit.
func (c count) read(t testing.TB) (n int) {
	t.Helper()
	err := c.kv.View(func(txn dbfs.Txn) error {
		b, err := txn.Get([]byte("n"))
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil
		}
		fmt.Sscan(string(b), &n)
		there := 0
		scanned := txn.Scan([]byte("k"), nil, func(k, v []byte) bool {
			there++
			var i, at int
			fmt.Sscan(string(v), &i)
			fmt.Sscan(string(k[1:]), &at)
			if i > n || i <= n-6 || i%7 != at {
				t.Errorf("of %d, %s is %d", n, k, i)
			}
			return true
		})
		if there != min(n, 6) {
			t.Errorf("of %d, %d keys are there", n, there)
		}
		return errors.Join(err, scanned)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A loss of power takes any part of what was not synced, and leaves what there was at some moment
// after the last Sync. A process that is killed stands for it, and the damage that is done then.
// When a file of Badger's could not be synced once, nothing that went into it counts as there: it stays in the logs.
func TestKVBadgerIsNotSynced(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	failing := true
	kv.logs.syncFile = func(name string) error {
		if failing && strings.HasSuffix(name, ".mem") {
			failing = false
			return &os.PathError{Op: "sync", Path: name, Err: unix.EIO}
		}
		return syncFile(name)
	}
	value := bytes.Repeat([]byte("v"), 1<<10)
	n := 0
	for ; n < 10_000; n++ {
		if err := kv.Update(func(txn dbfs.Txn) error { return txn.Set(fmt.Appendf(nil, "k%05d", n), value) }); err != nil {
			break
		}
	}
	if n == 10_000 {
		t.Fatal("updates went on, though nothing could be brought into Badger")
	}
	if err := kv.Close(); err == nil {
		t.Error("everything was called durable")
	}
	kv = openKV(t, dir)
	defer kv.Close()
	err := kv.View(func(txn dbfs.Txn) error {
		for i := range n {
			if _, err := txn.Get(fmt.Appendf(nil, "k%05d", i)); err != nil {
				return fmt.Errorf("key %d of %d: %w", i, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A log that is there is not begun over.
func TestKVLogsKeepTheirFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "0.log")
	if err := os.WriteFile(name, []byte("something"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := createLog(name); !errors.Is(err, os.ErrExist) {
		t.Errorf("it was: %v", err)
	}
}

func TestKVLosesPower(t *testing.T) {
	for round := range uint64(8) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, round))
			all := 1 + rnd.IntN(200)
			dir := testDir(t)
			child(t, dir, func() { loser(t, dir, all, rnd) })
			var synced int
			var name string
			var from, end int64
			b, err := os.ReadFile(filepath.Join(dir, "synced"))
			if err == nil {
				_, err = fmt.Sscan(string(b), &synced, &name, &from, &end)
			}
			if err != nil {
				t.Fatal(err)
			}
			damage(t, name, from, end, rnd)
			kv := openKV(t, dir)
			defer kv.Close()
			n := (count{kv}).read(t)
			t.Logf("%d Updates of %d are there, of which %d were synced", n, all, synced)
			if n < synced || n > all {
				t.Error("that is wrong")
			}
		})
	}
}

// loser makes Updates and syncs some of them. In the end it says which file holds what from where to where is not synced.
func loser(t *testing.T, dir string, all int, rnd *rand.Rand) {
	kv := openKV(t, dir)
	c := count{kv}
	var mu sync.Mutex
	safe := map[*logFile][2]int64{} // which use, and up to where
	kv.flush = func(l *logFile) error {
		mu.Lock()
		defer mu.Unlock()
		safe[l] = [2]int64{int64(l.number), l.end}
		return nil
	}
	synced := 0
	for n := range all {
		if c.up(t, n+1); rnd.IntN(40) == 0 {
			if err := kv.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = n + 1
		}
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	for len(kv.layers) > 1 {
		kv.moved.Wait()
	}
	log := kv.layers[0].log
	mu.Lock()
	from := safe[log]
	mu.Unlock()
	if from[0] != int64(log.number) {
		from[1] = logHeaderLen
	}
	if err := os.WriteFile(filepath.Join(dir, "synced"), fmt.Append(nil, synced, " ", log.f.Name(), " ", from[1], " ", log.end), 0o600); err != nil {
		t.Fatal(err)
	}
}

// damage makes zeros of pages between two places of a file, at random.
func damage(t *testing.T, name string, from, to int64, rnd *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := from; at < to; at = (at/4096 + 1) * 4096 {
		if rnd.IntN(8) == 0 {
			if _, err := f.WriteAt(zeros[:min(to, (at/4096+1)*4096)-at], at); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Who reads sees one moment, also when what is newer has gone into Badger meanwhile.
func TestKVViewOutlivesLayers(t *testing.T) {
	kv := openKV(t, t.TempDir())
	defer kv.Close()
	c, n := count{kv}, 0
	up := func(much int) {
		for range much {
			n++
			c.up(t, n)
		}
	}
	up(3)
	err := kv.View(func(txn dbfs.Txn) error {
		up(80) // more than a layer
		if got := c.read(t); got != n {
			t.Errorf("a new View sees %d, want %d", got, n)
		}
		if b, err := txn.Get([]byte("n")); string(b) != "3" {
			t.Errorf("the old View sees %q, %v", b, err)
		}
		names := ""
		err := txn.Scan([]byte("k"), nil, func(k, _ []byte) bool { names += string(k) + " "; return true })
		if names != "k1 k2 k3 " {
			t.Errorf("the old View scans %q", names)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	up(200)
	if got := c.read(t); got != n {
		t.Errorf("%d are there, want %d", got, n)
	}
}

// An Update whose record cannot be written is not there, and nothing comes behind it.
func TestKVLogFails(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	c := count{kv}
	c.up(t, 1)
	log := kv.layers[0].log
	whole := log.f
	var err error
	if log.f, err = os.Open(whole.Name()); err != nil { // for reading
		t.Fatal(err)
	}
	for range 2 {
		if err := kv.Update(func(txn dbfs.Txn) error { return txn.Set([]byte("n"), []byte("2")) }); err == nil {
			t.Error("an Update that was not written down succeeded")
		}
	}
	if n := c.read(t); n != 1 {
		t.Errorf("%d are there", n)
	}
	log.f.Close()
	log.f = whole
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	kv = openKV(t, dir)
	defer kv.Close()
	if n := (count{kv}).read(t); n != 1 {
		t.Errorf("%d are there later", n)
	}
}

// After a sync that failed the next one writes everything again, and succeeds only if it was there still.
func TestKVSyncFails(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			dir := t.TempDir()
			kv := openKV(t, dir)
			c := count{kv}
			c.up(t, 1)
			log := kv.layers[0].log
			syncs := 0
			log.fdatasync = func(int) error {
				if syncs++; syncs == 1 {
					return unix.EIO
				}
				return nil
			}
			if err := kv.Sync(); !errors.Is(err, unix.EIO) {
				t.Errorf("a sync that failed: %v", err)
			}
			if lost {
				if _, err := log.f.WriteAt(zeros[:4096], 4096); err != nil {
					t.Fatal(err)
				}
			}
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(log.f.Name(), old, old); err != nil {
				t.Fatal(err)
			}
			c.up(t, 2)
			for range 2 {
				if err := kv.Sync(); (err != nil) != lost {
					t.Errorf("the next sync: %v", err)
				}
			}
			if want := map[bool]int{false: 2, true: 1}[lost]; syncs != want {
				t.Errorf("%d syncs, want %d", syncs, want)
			}
			if err := kv.Close(); (err != nil) != lost {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// A log that could not be begun may have its header all the same: no other gets its number.
func TestKVLogIsNotBegun(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	defer kv.Close()
	turn := func() error {
		kv.commit.Lock()
		defer kv.commit.Unlock()
		_, err := kv.withRoom(kv.room)
		return err
	}
	file := func(name string) *logFile {
		l, err := createLog(filepath.Join(kv.logDir, name))
		if err != nil {
			t.Fatal(err)
		}
		kv.giveBack(l)
		return l
	}
	count{kv}.up(t, 1)
	bad := file("8.log")
	bad.fdatasync = func(int) error { return unix.EIO }
	if err := turn(); !errors.Is(err, unix.EIO) {
		t.Fatalf("a log whose header is not durable was begun: %v", err)
	}
	bad.fdatasync = unix.Fdatasync
	file("9.log")
	if err := turn(); err != nil {
		t.Fatal(err)
	}
	heads, err := listLogs(kv.logDir)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range heads {
		if i > 0 && heads[i-1].number == h.number {
			t.Errorf("%s and %s have number %d", heads[i-1].name, h.name, h.number)
		}
	}
}

// What does not fit below stays in the log, and is there when it fits again.
func TestKVHasNoRoomBelow(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	count{kv}.up(t, 1)
	kv.room = 1 << 60
	if err := kv.Close(); !errors.Is(err, dbfs.ErrNoSpace) {
		t.Errorf("close: %v", err)
	}
	kv = openKV(t, dir)
	defer kv.Close()
	if n := (count{kv}).read(t); n != 1 {
		t.Errorf("%d are there", n)
	}
}

// turning is a KV that begins a new layer after every other Update.
type turning struct {
	*KV
	n atomic.Int32
}

func (k *turning) Update(fn func(dbfs.Txn) error) error {
	err := k.KV.Update(fn)
	if k.n.Add(1)%2 == 0 {
		k.commit.Lock()
		defer k.commit.Unlock()
		_, full := k.withRoom(k.room)
		err = errors.Join(err, full)
	}
	return err
}

// What a KV must do it does with what was written spread over layers and Badger.
func TestKVOverLayers(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) dbfs.KV {
		kv := openKV(t, t.TempDir())
		t.Cleanup(func() { kv.Close() })
		return &turning{KV: kv}
	})
}
