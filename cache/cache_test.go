package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

var ctx = context.Background()

// store is a chunk store in memory. It fails while it is offline.
type store struct {
	mu      sync.Mutex
	chunks  map[dbfs.ChunkID][]byte
	offline bool
	gets    int
	gate    chan struct{} // not nil: Get waits for it to be closed, or the context
}

func newStore() *store { return &store{chunks: map[dbfs.ChunkID][]byte{}} }

func (s *store) Check(context.Context, dbfs.NamespaceID, []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	return nil, dbfs.ErrUnsupported
}

func (s *store) Put(_ context.Context, _ dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (r dbfs.Receipt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ref.Verify(raw); err != nil {
		return r, err
	}
	s.chunks[ref.ID] = bytes.Clone(raw)
	return r, nil
}

func (s *store) Get(ctx context.Context, _ dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	s.mu.Lock()
	s.gets++
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offline {
		return nil, dbfs.ErrOffline
	}
	b, ok := s.chunks[ref.ID]
	if !ok {
		return nil, dbfs.ErrNotExist
	}
	return bytes.Clone(b), nil
}

func (s *store) setOffline(yes bool) { s.set(func() { s.offline = yes }) }

func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// upload puts the bytes of a whole file into the store and returns their blocklist.
func (s *store) upload(data []byte) dbfs.Content {
	c := contentOf(data)
	for i, id := range c.Chunks.All() {
		if id != dbfs.ZeroChunk {
			s.Put(ctx, 1, c.Ref(i), chunkOf(data, i))
		}
	}
	return c
}

func contentOf(data []byte) dbfs.Content {
	size := int64(len(data))
	var ids []dbfs.ChunkID
	for i := range dbfs.NumChunks(size) {
		ids = append(ids, dbfs.HashChunk(chunkOf(data, i)))
	}
	return dbfs.Content{Size: size, Chunks: dbfs.Blocks(ids...)}
}

func chunkOf(data []byte, i int) []byte {
	data = data[i*dbfs.ChunkSize:]
	return data[:min(len(data), dbfs.ChunkSize)]
}

// world is a cache with what it needs around it, and what the journal would say.
type world struct {
	t     testing.TB
	store *store
	opts  Options
	c     *Cache

	mu     sync.Mutex
	needed map[dbfs.ChunkID]bool
}

func newWorld(t testing.TB, change func(*Options)) *world {
	s := newStore()
	dir := fastDir(t)
	w := &world{t: t, store: s, needed: map[dbfs.ChunkID]bool{}}
	w.opts = Options{
		State: dir + "/state", Cache: dir + "/cache",
		MinFree: -1, Chunks: s, FetchTimeout: 5 * time.Second, Patience: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&w.opts)
	}
	w.open()
	t.Cleanup(func() {
		if w.c != nil {
			w.close()
		}
	})
	return w
}

// fastDir returns a directory in memory where the machine has one: what is tested here
// does not depend on the disk, and other programs may be using it.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "dbfs-cache-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) open() {
	w.t.Helper()
	c, err := Open(w.opts)
	if err == nil {
		err = c.Recover(w.isNeeded)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.c = c
}

func (w *world) close() {
	w.t.Helper()
	if err := w.c.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.c = nil
}

func (w *world) isNeeded(id dbfs.ChunkID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.needed[id]
}

// need is the journal's entry of an edit; unneed its leaving the journal.
func (w *world) need(c dbfs.Content) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range c.Chunks.All() {
		w.needed[id] = true
	}
}

func (w *world) unneed(c dbfs.Content) {
	w.t.Helper()
	w.mu.Lock()
	for _, id := range c.Chunks.All() {
		delete(w.needed, id)
	}
	w.mu.Unlock()
	w.check(w.c.Unpin(append(c.Refs(), c.Refs()...))) // the journal may name a chunk twice
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func file(n int) File { return File{1, dbfs.NodeID{15: byte(n)}} }

// random returns n bytes that never occur twice.
func random(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(seed[8*i:], rand.Uint64())
	}
	rand.NewChaCha8(seed).Read(b)
	if n > 0 {
		b[n-1] |= 1 // a last chunk of one byte is none of zeros
	}
	return b
}

func (w *world) draft(f File, base dbfs.Content) *Draft {
	w.t.Helper()
	d, err := w.c.Draft(f, base)
	w.check(err)
	return d
}

func (w *world) write(d *Draft, p []byte, off int64) {
	w.t.Helper()
	n, err := d.WriteAt(ctx, p, off)
	if n != len(p) || err != nil {
		w.t.Fatalf("wrote %d of %d: %v", n, len(p), err)
	}
}

func (w *world) seal(d *Draft) dbfs.Content {
	w.t.Helper()
	c, err := d.Seal(ctx)
	w.check(err)
	return c
}

// sealed checks that the seal of a draft is of those bytes.
func (w *world) sealed(d *Draft, want []byte) dbfs.Content {
	w.t.Helper()
	c := w.seal(d)
	if !c.Equal(contentOf(want)) {
		w.t.Fatalf("sealed %d bytes that are not the %d written", c.Size, len(want))
	}
	return c
}

// make writes a new file and returns what it sealed, closed and in the journal.
func (w *world) make(f File, data []byte) dbfs.Content {
	w.t.Helper()
	d := w.draft(f, dbfs.Content{})
	w.write(d, data, 0)
	c := w.sealed(d, data)
	w.need(c)
	w.check(d.Close())
	return c
}

// sent is the syncer: chunks to the store, then out of the journal.
func (w *world) sent(f File, c dbfs.Content) {
	w.t.Helper()
	for i, id := range c.Chunks.All() {
		if id == dbfs.ZeroChunk {
			continue
		}
		b, err := w.c.Chunk(ctx, f, i, c.Ref(i))
		w.check(err)
		_, err = w.store.Put(ctx, f.NS, c.Ref(i), b)
		w.check(err)
	}
	w.unneed(c)
}

// reads checks that a version of a file reads as data, in pieces.
func (w *world) reads(f File, data []byte) {
	w.t.Helper()
	b, err := w.c.Open(f, contentOf(data))
	w.check(err)
	w.readsAs(b.ReadAt, data)
	w.check(b.Close())
}

func (w *world) readsAs(readAt func(context.Context, []byte, int64) (int, error), data []byte) {
	w.t.Helper()
	const piece = 1 << 20
	for off := 0; off <= len(data); off += piece {
		want := data[off:min(off+piece, len(data))]
		p := make([]byte, piece)
		n, err := readAt(ctx, p, int64(off))
		if err != nil && err != io.EOF || (err == io.EOF) != (n < piece) {
			w.t.Fatalf("read at %d: %d bytes, %v", off, n, err)
		}
		if !bytes.Equal(p[:n], want) {
			w.t.Fatalf("read at %d: %d bytes, want %d, or others", off, n, len(want))
		}
	}
}

func (w *world) clean(want int64) {
	w.t.Helper()
	if got := w.c.Stats().Clean; got != want {
		w.t.Errorf("%d clean bytes, want %d", got, want)
	}
}

func (w *world) unsent(want int64) {
	w.t.Helper()
	if got := w.c.Stats().Unsent; got != want {
		w.t.Errorf("%d unsent bytes, want %d", got, want)
	}
}

var sizes = []int{0, 1, 4096, SmallSize, SmallSize + 1, dbfs.ChunkSize, dbfs.ChunkSize + 1, 2*dbfs.ChunkSize + 12345}

func TestFetchAndKeep(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, nil)
			data := random(n)
			w.store.upload(data)
			w.reads(file(1), data)
			w.clean(int64(n))
			gets := w.store.count()
			if want := dbfs.NumChunks(int64(n)); gets != want {
				t.Errorf("%d fetches, want %d", gets, want)
			}
			w.store.setOffline(true)
			w.reads(file(1), data)
			w.close()
			w.open()
			w.clean(int64(n))
			w.reads(file(1), data)
			if got, err := w.c.Residency(file(1), contentOf(data)); got != int64(n) || err != nil {
				t.Errorf("resident %d, %v", got, err)
			}
			if n := w.store.count(); n != gets {
				t.Errorf("%d fetches more", n-gets)
			}
		})
	}
}

func TestWriteSealSend(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, nil)
			w.store.setOffline(true)
			data := random(n)
			c := w.make(file(1), data)
			w.unsent(int64(n))
			w.clean(0)
			w.reads(file(1), data)
			w.close()
			w.open()
			w.unsent(int64(n))
			w.reads(file(1), data)
			w.sent(file(1), c)
			w.unsent(0)
			w.clean(int64(n))
			w.reads(file(1), data)
			w.close()
			w.check(os.RemoveAll(w.opts.Cache))
			w.store.setOffline(false)
			w.open()
			w.clean(0)
			w.reads(file(1), data)
		})
	}
}

func TestReadErrors(t *testing.T) {
	for _, n := range []int{100, dbfs.ChunkSize} {
		w := newWorld(t, func(o *Options) { o.FetchTimeout = 50 * time.Millisecond })
		data := random(n)
		content := w.store.upload(data)
		b, err := w.c.Open(file(1), content)
		w.check(err)
		read := func(ctx context.Context) error {
			n, err := b.ReadAt(ctx, make([]byte, 50), 0)
			if err == nil || n != 0 {
				t.Errorf("read %d, %v", n, err)
			}
			return err
		}

		w.store.setOffline(true)
		if err := read(ctx); !errors.Is(err, dbfs.ErrOffline) {
			t.Errorf("offline: %v", err)
		}
		if _, err := b.ReadLocalAt(make([]byte, 50), 0); !errors.Is(err, dbfs.ErrOffline) {
			t.Errorf("local: %v", err)
		}
		w.store.setOffline(false)

		w.store.set(func() { w.store.gate = make(chan struct{}) })
		if err := read(ctx); !errors.Is(err, dbfs.ErrOffline) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slow store: %v", err)
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := read(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		close(w.store.gate)
		w.store.set(func() { w.store.gate = nil })

		w.store.set(func() { w.store.chunks = map[dbfs.ChunkID][]byte{} })
		if err := read(ctx); !errors.Is(err, dbfs.ErrCorrupt) || errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("chunk missing: %v", err)
		}
		w.store.set(func() { w.store.chunks[content.Chunks.At(0)] = random(n) })
		if err := read(ctx); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("wrong bytes: %v", err)
		}
		w.store.upload(data)
		w.readsAs(b.ReadAt, data)
		if n, err := b.ReadLocalAt(make([]byte, 50), 10); n != 50 || err != nil {
			t.Errorf("local: %d, %v", n, err)
		}
		w.check(b.Close())
	}
}

func TestReadersShareAFetch(t *testing.T) {
	w := newWorld(t, nil)
	data := random(dbfs.ChunkSize)
	content := w.store.upload(data)
	w.store.gate = make(chan struct{})
	b, err := w.c.Open(file(1), content)
	w.check(err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 1000)
			if _, err := b.ReadAt(ctx, p, int64(i)*1000); err != nil || !bytes.Equal(p, data[i*1000:][:1000]) {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	close(w.store.gate)
	wg.Wait()
	if got := w.store.count(); got != 1 {
		t.Errorf("%d fetches", got)
	}
	w.check(b.Close())
}

func TestReadAhead(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ReadAhead = 3 })
	data := random(8 * dbfs.ChunkSize)
	content := w.store.upload(data)
	for _, c := range []struct {
		name string
		offs []int64
		want int // fetches in the end
	}{
		{"random", []int64{30 << 20, 1 << 20, 20 << 20}, 3},
		{"sequential", []int64{0, 128 << 10, 256 << 10}, 2},
	} {
		w.check(w.c.Forget(file(1)))
		before := w.store.count()
		b, err := w.c.Open(file(1), content)
		w.check(err)
		for _, off := range c.offs {
			_, err := b.ReadAt(ctx, make([]byte, 128<<10), off)
			w.check(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for w.store.count()-before < c.want && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		if got := w.store.count() - before; got != c.want {
			t.Errorf("%s: %d fetches, want %d", c.name, got, c.want)
		}
		w.check(b.Close())
	}
}

// A chunk that another file has here is copied, not fetched.
func TestCopiedNotFetched(t *testing.T) {
	w := newWorld(t, nil)
	shared := random(dbfs.ChunkSize)
	one := append(bytes.Clone(shared), random(100<<10)...)
	two := append(random(dbfs.ChunkSize), shared...)
	w.store.upload(one)
	w.store.upload(two)
	w.reads(file(1), one)
	before := w.store.count()
	w.reads(file(2), two)
	if got := w.store.count() - before; got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
	w.store.setOffline(true)
	w.check(w.c.Forget(file(1)))
	w.reads(file(2), two)
}

func TestEvictsOldestFirst(t *testing.T) {
	now := time.Unix(1e9, 0)
	w := newWorld(t, func(o *Options) {
		o.Size = 3 * dbfs.ChunkSize
		o.Clock = func() time.Time { return now }
		o.ReadAhead = -1
	})
	var files [5][]byte
	resident := func(want ...int) {
		t.Helper()
		var got []int
		for i, data := range files {
			if n, err := w.c.Residency(file(i), contentOf(data)); err != nil {
				t.Fatal(err)
			} else if n > 0 {
				got = append(got, i)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("resident %v, want %v", got, want)
		}
	}
	for i := range files {
		n := dbfs.ChunkSize
		if i == 3 {
			n = SmallSize
		}
		files[i] = random(n)
		w.store.upload(files[i])
	}
	for i := range 3 {
		now = now.Add(time.Minute)
		w.reads(file(i), files[i])
	}
	resident(0, 1, 2)
	now = now.Add(time.Minute)
	w.reads(file(0), files[0]) // used again, and that not written down yet
	now = now.Add(time.Minute)
	w.reads(file(3), files[3]) // pushes 1 out
	resident(0, 2, 3)
	now = now.Add(time.Minute)
	w.reads(file(4), files[4]) // pushes 2 out
	resident(0, 3, 4)
	if got := w.c.Stats(); got.Clean > got.Size || got.Evicted != 2*dbfs.ChunkSize {
		t.Errorf("%+v", got)
	}
	for i := range files {
		w.reads(file(i), files[i])
	}
}

// A file larger than the cache can be read, and what is unsent is never evicted.
func TestEvictsWithinAFile(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Size = 2 * dbfs.ChunkSize; o.ReadAhead = 1 })
	mine := random(3 * dbfs.ChunkSize)
	c := w.make(file(1), mine)
	big := random(6 * dbfs.ChunkSize)
	w.store.upload(big)
	for range 2 {
		w.reads(file(2), big)
		if s := w.c.Stats(); s.Clean > s.Size {
			t.Errorf("%+v", s)
		}
	}
	w.store.setOffline(true)
	w.reads(file(1), mine)
	w.sent(file(1), c)
	w.check(w.c.evictor.makeRoom(0))
	if s := w.c.Stats(); s.Clean > s.Size || s.Unsent != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOldVersionStaysReadable(t *testing.T) {
	w := newWorld(t, nil)
	one := random(3*dbfs.ChunkSize + 5)
	two := bytes.Clone(one)
	copy(two[dbfs.ChunkSize:], random(dbfs.ChunkSize+10))
	one = append(one, 1)
	w.store.upload(one)
	w.store.upload(two)
	old, err := w.c.Open(file(1), contentOf(one))
	w.check(err)
	w.readsAs(old.ReadAt, one)
	before := w.store.count()
	w.reads(file(1), two)
	if got := w.store.count() - before; got != 3 {
		t.Errorf("%d fetches for a version of which 1 chunk was here, want 3", got)
	}
	w.store.setOffline(true)
	w.readsAs(old.ReadAt, one)
	w.reads(file(1), two) // still here, loose
	w.check(old.Close())
	w.reads(file(1), two) // now in the body
	w.reads(file(1), two)
}

// A writer takes the body over; readers of what it was see what it was.
func TestReadersBesideAWriter(t *testing.T) {
	w := newWorld(t, nil)
	one := random(2*dbfs.ChunkSize + 100)
	w.store.upload(one)
	w.reads(file(1), one)
	w.store.setOffline(true)
	old, err := w.c.Open(file(1), contentOf(one))
	w.check(err)
	d := w.draft(file(1), contentOf(one))
	two := bytes.Clone(one)
	w.write(d, []byte("new"), 10)
	copy(two[10:], "new")
	w.readsAs(d.ReadAt, two)
	w.readsAs(old.ReadAt, one)
	w.need(w.sealed(d, two))
	w.readsAs(old.ReadAt, one)
	w.check(d.Close())
	w.readsAs(old.ReadAt, one)
	w.check(old.Close())
	w.reads(file(1), two)
}

func TestOneDraftAtATime(t *testing.T) {
	w := newWorld(t, nil)
	d := w.draft(file(1), dbfs.Content{})
	if _, err := w.c.Draft(file(1), dbfs.Content{}); !errors.Is(err, dbfs.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	w.check(d.Close())
	w.check(d.Close())
	w.check(w.draft(file(1), dbfs.Content{}).Close())
}

func TestDraftDiscards(t *testing.T) {
	for _, n := range []int{1000, 2*dbfs.ChunkSize + 1000} {
		w := newWorld(t, nil)
		data := random(n)
		w.store.upload(data)
		w.reads(file(1), data)
		d := w.draft(file(1), contentOf(data))
		w.write(d, random(100), 500)
		w.write(d, random(100), int64(n))
		if !d.Dirty() || d.Size() != int64(n)+100 {
			t.Errorf("dirty %v, size %d", d.Dirty(), d.Size())
		}
		w.check(d.Close())
		w.unsent(0)
		w.reads(file(1), data)
	}
}

// A write of a whole chunk needs no fetch; one of a part fetches that chunk only.
func TestDraftFetchesOnlyWhatItMust(t *testing.T) {
	w := newWorld(t, nil)
	data := random(4*dbfs.ChunkSize + 1000)
	content := w.store.upload(data)
	d := w.draft(file(1), content)
	w.write(d, random(dbfs.ChunkSize), 0)
	w.write(d, random(1000), 4*dbfs.ChunkSize) // the whole last chunk
	if got := w.store.count(); got != 0 {
		t.Errorf("%d fetches for whole chunks", got)
	}
	w.write(d, []byte("x"), dbfs.ChunkSize)
	w.check(d.Truncate(ctx, 3*dbfs.ChunkSize))
	if got := w.store.count(); got != 1 {
		t.Errorf("%d fetches for a part of one", got)
	}
	w.check(d.Truncate(ctx, 2*dbfs.ChunkSize+1))
	if got := w.store.count(); got != 2 {
		t.Errorf("%d fetches after a cut within another", got)
	}
	w.store.setOffline(true)
	w.seal(d)
	w.check(d.Close())
}

func TestSealAgainCostsNothing(t *testing.T) {
	for _, n := range []int{1000, dbfs.ChunkSize + 1} {
		w := newWorld(t, nil)
		data := random(n)
		d := w.draft(file(1), dbfs.Content{})
		w.write(d, data, 0)
		one := w.sealed(d, data)
		seals := w.c.pins.lastSeal()
		two := w.sealed(d, data)
		if !one.Equal(two) || w.c.pins.lastSeal() != seals || d.Dirty() {
			t.Error("the second seal did something")
		}
		w.check(d.Close())
	}
}

func TestZerosTakeNoSpace(t *testing.T) {
	w := newWorld(t, nil)
	d := w.draft(file(1), dbfs.Content{})
	w.check(d.Truncate(ctx, 3*dbfs.ChunkSize))
	w.write(d, make([]byte, dbfs.ChunkSize), dbfs.ChunkSize)
	data := make([]byte, 3*dbfs.ChunkSize)
	w.readsAs(d.ReadAt, data)
	c := w.sealed(d, data)
	w.check(d.Close())
	w.unsent(0)
	w.clean(0)
	w.reads(file(1), data)
	if len(c.Refs()) != 0 {
		t.Errorf("%d chunks of zeros to send", len(c.Refs()))
	}
}

// What an edit names is there in the next process, and what none names is not kept.
func TestRecover(t *testing.T) {
	w := newWorld(t, nil)
	keep, lose := random(dbfs.ChunkSize+1), random(dbfs.ChunkSize+1)
	small := random(100)
	w.make(file(1), keep)
	c := w.make(file(2), lose)
	w.make(file(3), small)
	w.mu.Lock()
	for _, id := range c.Chunks.All() {
		delete(w.needed, id)
	}
	w.mu.Unlock()
	w.close()
	w.open()
	for range 2 {
		w.unsent(int64(len(keep) + len(small)))
		w.clean(int64(len(lose)))
		w.check(w.c.Recover(w.isNeeded))
	}
	w.store.setOffline(true)
	for i, data := range [][]byte{keep, lose, small} {
		w.reads(file(i+1), data)
	}
}

// Chunks that a pending edit names survive the file's being rewritten, cut and forgotten.
func TestUnsentIsSetAside(t *testing.T) {
	change := map[string]func(w *world, c dbfs.Content){
		"rewritten": func(w *world, c dbfs.Content) {
			d := w.draft(file(1), c)
			w.write(d, random(int(c.Size)), 0)
			w.need(w.seal(d))
			w.check(d.Close())
		},
		"cut": func(w *world, c dbfs.Content) {
			d := w.draft(file(1), c)
			w.check(d.Truncate(ctx, 10))
			w.need(w.seal(d))
			w.check(d.Close())
		},
		"emptied": func(w *world, c dbfs.Content) {
			d := w.draft(file(1), c)
			w.check(d.Truncate(ctx, 0))
			w.write(d, random(dbfs.ChunkSize), 0)
			w.need(w.seal(d))
			w.check(d.Close())
		},
		"retargeted": func(w *world, c dbfs.Content) {
			other := random(int(c.Size))
			w.store.upload(other)
			w.reads(file(1), other)
		},
		"forgotten": func(w *world, c dbfs.Content) { w.check(w.c.Forget(file(1))) },
		"evicted": func(w *world, c dbfs.Content) {
			w.c.evictor.size.Store(1)
			w.c.evictor.makeRoom(0)
		},
	}
	for name, change := range change {
		for _, synced := range []bool{false, true} {
			t.Run(fmt.Sprint(name, synced), func(t *testing.T) {
				w := newWorld(t, nil)
				data := random(2*dbfs.ChunkSize + 100)
				c := w.make(file(1), data)
				if synced {
					w.check(w.c.Sync())
				}
				change(w, c)
				w.c.evictor.size.Store(1 << 30)
				for range 2 {
					for i := range c.Chunks.All() {
						b, err := w.c.Chunk(ctx, file(1), i, c.Ref(i))
						if err != nil || !bytes.Equal(b, chunkOf(data, i)) {
							t.Fatalf("chunk %d: %d bytes, %v", i, len(b), err)
						}
					}
					w.close()
					w.open()
				}
				w.sent(file(1), c)
			})
		}
	}
}

func TestUnpinWhileADraftHolds(t *testing.T) {
	w := newWorld(t, nil)
	data := random(1000)
	d := w.draft(file(1), dbfs.Content{})
	w.write(d, data, 0)
	c := w.sealed(d, data)
	w.check(w.c.Unpin(c.Refs())) // an older edit of the same bytes is settled
	w.unsent(1000)
	w.need(c)
	w.check(d.Close())
	w.unsent(1000)
	w.unneed(c)
	w.unsent(0)
	w.clean(1000)
}

func TestUnpinManySmallOnes(t *testing.T) {
	w := newWorld(t, nil)
	var refs []dbfs.ChunkRef
	for i := range 40 {
		refs = append(refs, w.make(file(i), random(SmallSize)).Refs()...)
	}
	w.mu.Lock()
	for _, ref := range refs {
		delete(w.needed, ref.ID)
	}
	w.mu.Unlock()
	w.check(w.c.Unpin(refs))
	w.unsent(0)
	w.clean(40 * SmallSize)
}

func TestUnsentBudget(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Unsent = 2 * dbfs.ChunkSize })
	one := w.make(file(1), random(dbfs.ChunkSize))
	d := w.draft(file(2), dbfs.Content{})
	w.write(d, random(dbfs.ChunkSize/2), 0)
	n, err := d.WriteAt(ctx, random(2*dbfs.ChunkSize), dbfs.ChunkSize/2)
	if !errors.Is(err, dbfs.ErrNoSpace) || n != dbfs.ChunkSize/2 {
		t.Errorf("wrote %d, %v", n, err)
	}
	small := w.draft(file(3), dbfs.Content{})
	w.write(small, random(10), 0)
	if _, err := small.Seal(ctx); !errors.Is(err, dbfs.ErrNoSpace) {
		t.Errorf("sealed: %v", err)
	}
	w.c.opts.Patience = 10 * time.Second
	done := make(chan error)
	go func() {
		_, err := small.Seal(ctx)
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	w.sent(file(1), one)
	w.check(<-done)
	w.check(small.Close())
	w.check(d.Close())
	w.unsent(0)
}

// A process that seals and dies leaves bytes that are not on the disk yet: the next one's first
// Sync has to put them there, in bodies and by themselves.
func TestFirstSyncIsOfWhatTheLastProcessSealed(t *testing.T) {
	w := newWorld(t, nil)
	data := random(2 * dbfs.ChunkSize)
	content := w.make(file(1), data)
	d := w.draft(file(1), content)
	w.write(d, random(100), 0) // sets the first chunk aside
	w.need(w.seal(d))
	w.check(d.Close())
	w.close()
	w.open()
	body, aside := w.c.state.bodyFile(file(1)), w.c.state.chunkFile(content.Chunks.At(0))
	for _, name := range []string{body, filepath.Dir(body), aside, filepath.Dir(aside)} {
		if _, ok := w.c.dirty[name]; !ok {
			t.Errorf("%s is not for the next Sync", name)
		}
	}
	w.check(w.c.Sync())
	if len(w.c.dirty) > 0 {
		t.Errorf("still to be synced: %v", w.c.dirty)
	}
}

// The bytes of a file are there under another file's name too: a new one that was saved as the
// next version of an old one goes on as that, unsent or sent, with the network or without.
func TestSameBytesUnderAnotherName(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, nil)
			data := random(n)
			w.make(file(1), random(n+7))
			c := w.make(file(2), data)
			here := func(when string) {
				t.Helper()
				w.store.setOffline(true)
				if got, err := w.c.Residency(file(1), c); got != int64(n) || err != nil {
					t.Errorf("%s: resident %d, %v, want %d", when, got, err, n)
				}
				w.reads(file(1), data)
				w.store.setOffline(false)
			}
			here("unsent")
			w.sent(file(2), c)
			here("sent")
			w.store.setOffline(true)
			w.close()
			w.open()
			w.reads(file(1), data)
		})
	}
}
