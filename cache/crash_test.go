package cache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// child runs fn in another process, which then dies by SIGKILL, and returns when it is
// dead. The other process runs the same test up to here, with the same testDir.
func child(t *testing.T, dir string, fn func()) {
	t.Helper()
	if inChild(t) {
		fn()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "CACHE_TEST_CHILD="+t.Name(), "CACHE_TEST_DIR="+dir)
	out, err := cmd.CombinedOutput()
	state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !state.Signaled() || state.Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

func inChild(t *testing.T) bool { return os.Getenv("CACHE_TEST_CHILD") == t.Name() }

// testDir is a directory of the test that a child shares with its parent.
func testDir(t *testing.T) string {
	if dir := os.Getenv("CACHE_TEST_DIR"); dir != "" {
		return dir
	}
	return fastDir(t)
}

// crashing is a client that is killed at any moment. Its journal is a file of lines, each
// written when an edit is recorded ("+ file version") or about to be settled ("-").
type crashing struct {
	t     *testing.T
	dir   string
	lines *os.File
	edits map[[2]int]dbfs.Content // file and version: recorded and not settled
	next  int                     // version
}

// version returns the bytes of a version of a file: much of it is that of others.
func version(file, v int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(file), uint64(v)))
	size := []int{100, SmallSize, SmallSize + 1, dbfs.ChunkSize + 5, 2*dbfs.ChunkSize + 5}[(file+v/5)%5]
	data := bytes.Repeat([]byte{byte(file + 1)}, size)
	for range 3 {
		copy(data[rnd.IntN(size):], fmt.Sprint("version ", v))
	}
	return data
}

func (c *crashing) journal() {
	c.edits = map[[2]int]dbfs.Content{}
	f, err := os.OpenFile(c.dir+"/journal", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	c.lines = f
	for s := bufio.NewScanner(f); s.Scan(); {
		var op string
		var e [2]int
		if n, _ := fmt.Sscan(s.Text(), &op, &e[0], &e[1]); n != 3 {
			c.t.Fatalf("journal: %q", s.Text())
		}
		if op == "+" {
			c.edits[e] = contentOf(version(e[0], e[1]))
		} else {
			delete(c.edits, e)
		}
		c.next = max(c.next, e[1]+1)
	}
}

func (c *crashing) record(op string, file, v int) {
	if _, err := fmt.Fprintln(c.lines, op, file, v); err != nil {
		c.t.Fatal(err)
	}
	if op == "+" {
		c.edits[[2]int{file, v}] = contentOf(version(file, v))
	} else {
		delete(c.edits, [2]int{file, v})
	}
}

func (c *crashing) needed(id dbfs.ChunkID) bool {
	for _, content := range c.edits {
		if content.Chunks.Index(id) >= 0 {
			return true
		}
	}
	return false
}

func (c *crashing) open() *Cache {
	cache := c.openUnrecovered()
	if err := cache.Recover(c.needed); err != nil {
		c.t.Fatal(err)
	}
	return cache
}

func (c *crashing) openUnrecovered() *Cache {
	cache, err := Open(Options{
		State: c.dir + "/state", Cache: c.dir + "/cache", MinFree: -1, Size: 3 * dbfs.ChunkSize,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return cache
}

// check sees that every chunk that the journal names is here.
func (c *crashing) check(cache *Cache) {
	unsent := map[dbfs.ChunkID]int64{}
	for e, content := range c.edits {
		data := version(e[0], e[1])
		for i := range content.Chunks.All() {
			b, err := cache.Chunk(ctx, file(e[0]), i, content.Ref(i))
			if err != nil || !bytes.Equal(b, chunkOf(data, i)) {
				c.t.Fatalf("file %d version %d chunk %d: %d bytes, %v", e[0], e[1], i, len(b), err)
			}
			unsent[content.Chunks.At(i)] = int64(len(b))
		}
	}
	want := int64(0)
	for _, n := range unsent {
		want += n
	}
	if got := cache.Stats().Unsent; got != want {
		c.t.Fatalf("%d unsent bytes, the journal names %d", got, want)
	}
}

// live edits and settles until it is killed.
func (c *crashing) live(cache *Cache, rnd *rand.Rand) {
	last := map[int]int{}
	for e := range c.edits {
		last[e[0]] = max(last[e[0]], e[1])
	}
	for {
		f := rnd.IntN(4)
		v := c.next
		c.next++
		base := c.edits[[2]int{f, last[f]}] // or a new file
		d, err := cache.Draft(file(f), base)
		if err != nil {
			c.t.Fatal(err)
		}
		data := version(f, v)
		if err := d.Truncate(ctx, int64(len(data))); err != nil {
			c.t.Fatal(err)
		}
		if _, err := d.WriteAt(ctx, data, 0); err != nil {
			c.t.Fatal(err)
		}
		content, err := d.Seal(ctx)
		if err != nil || !content.Equal(contentOf(data)) {
			c.t.Fatalf("seal: %v", err)
		}
		c.record("+", f, v)
		last[f] = v
		if err := d.Close(); err != nil {
			c.t.Fatal(err)
		}
		c.settleSome(cache, rnd)
		if rnd.IntN(4) == 0 {
			cache.Sync()
		}
	}
}

func (c *crashing) settleSome(cache *Cache, rnd *rand.Rand) {
	for e, content := range c.edits {
		if rnd.IntN(3) == 0 {
			c.record("-", e[0], e[1])
			if err := cache.Unpin(content.Refs()); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := testDir(t)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		child(t, dir, func() {
			rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
			c := &crashing{t: t, dir: dir}
			c.journal()
			cache := c.open()
			c.check(cache)
			time.AfterFunc(time.Duration(rnd.IntN(200))*time.Millisecond, func() {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			})
			c.live(cache, rnd)
		})
	}
	c := &crashing{t: t, dir: dir}
	c.journal()
	cache := c.open()
	c.check(cache)
	t.Logf("%d edits, %d pending", c.next, len(c.edits))
	if c.next == 0 {
		t.Error("no child lived long enough to record anything")
	}
	if err := cache.Close(); err != nil {
		t.Error(err)
	}
}
