// Package cache remembers on disk what is worth keeping: chunks of files, and the tree
// that the server told of.
//
// A Body is one version of a file's bytes, open for reading; what is not here is fetched,
// verified and kept. A Draft is a file's bytes while somebody writes them; sealing it cuts
// the changed chunks out, which are unsent from then on.
//
// On disk a file of more than SmallSize bytes has one sparse file, its body, with the
// chunks that are here at their natural offsets. A chunk that has no place in a body
// (of a small file, of an old version that is still being read, unsent and
// overwritten since) is loose: it lies by itself under its id. A chunk is present,
// absent or all zeros; zeros take no space. The book, in Badger, knows which is where.
//
// Everything lives in one of two homes. In the cache directory are clean bytes, which
// can be fetched again: they have a budget, and what was not used for longest goes
// first. In the state directory is whatever holds unsent bytes, which are the only copy:
// they are never evicted, and while a draft or a pending edit names them they are set
// aside before they are overwritten.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dbfs/dbfs"
)

// Options say where a Cache keeps its bytes and how many. Zero means the default where
// one is given.
type Options struct {
	State string // directory of unsent bytes
	Cache string // directory of clean bytes; deleting it while nobody has it open loses nothing

	// KV is the client's metadata database, where the book of unsent bytes can be kept, so
	// that one sync serves both; it stays the caller's. Nil: one of its own under State.
	KV dbfs.KV

	Size    int64 // budget of clean bytes: 10 GiB
	Unsent  int64 // budget of unsent bytes: 10 GiB
	MinFree int64 // bytes that clean ones leave free on the disk of Cache: 1 GiB; negative: none
	Reserve int64 // bytes that even unsent ones leave free, on both disks: 128 MiB

	Chunks       dbfs.ChunkStore // where missing chunks come from
	FetchTimeout time.Duration   // for one chunk: 1 minute
	ReadAhead    int             // chunks fetched before a sequential reader asks: 4; negative: none
	Patience     time.Duration   // how long a writer waits for room among the unsent bytes: 30 s

	Log   *slog.Logger     // nil: slog's default
	Clock func() time.Time // for the order of eviction; nil: time.Now
}

func (o Options) withDefaults() Options {
	o.Size = orDefault(o.Size, 10<<30)
	o.Unsent = orDefault(o.Unsent, 10<<30)
	o.MinFree = orDefault(o.MinFree, 1<<30)
	o.Reserve = orDefault(o.Reserve, 128<<20)
	o.FetchTimeout = orDefault(o.FetchTimeout, time.Minute)
	o.ReadAhead = orDefault(o.ReadAhead, 4)
	o.Patience = orDefault(o.Patience, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

// Cache is the chunk cache of one client. All methods, and those of its bodies and drafts,
// may be called from several goroutines.
//
// Order of locks: keeping.mu, evictor.mu, body.mu, pins.mu, then mu and the others, inside which no
// other is taken. None is held while something is fetched; pins.mu is held while the
// function given to Recover is asked.
type Cache struct {
	opts    Options
	session uint64 // random; marks what this process has checked
	state   *home
	cache   *home
	own     []*KV // databases to close
	owner   *os.File

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // what Close waits for

	pins    pins    // which chunks are unsent
	room    room    // budget of unsent bytes
	evictor evictor // budget of clean bytes
	keeping keeping // what of the clean bytes is not to be evicted
	fetcher fetcher
	hasher  hasher
	lent    atomic.Int64 // counts names of files that were lent: loan.go
	syncing group

	mu     sync.Mutex // guards what follows
	bodies map[File]*body
	drafts map[File]*Draft
	dirty  map[string]struct{} // files in state that the next Sync must sync, and their directories

	hits, misses, fetched atomic.Int64
	inDrafts              atomic.Int64 // bytes of short drafts in memory
}

// Open opens the cache; both directories are made if they are not there. Recover must
// follow before anything else. ErrLocked: somebody else has it open.
func Open(opts Options) (*Cache, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cache{
		opts:    opts,
		session: rand.Uint64(),
		ctx:     ctx,
		cancel:  cancel,
		bodies:  map[File]*body{},
		drafts:  map[File]*Draft{},
		dirty:   map[string]struct{}{},
	}
	c.pins.init(c)
	c.room.init(opts.Unsent)
	c.evictor.init(c)
	c.fetcher.init(c)
	c.hasher.init(c)
	if err := c.openHomes(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("open cache: %w", err), c.closeHomes())
	}
	c.running.Go(c.evictor.run)
	c.running.Go(c.hasher.run)
	return c, nil
}

func (c *Cache) openHomes() (err error) {
	if c.owner, err = lockDir(c.opts.State); err != nil {
		return err
	}
	c.state = &home{dir: c.opts.State, kv: c.opts.KV, reserve: newReserve(c.opts.State, c.opts.Reserve)}
	if c.state.kv == nil {
		kv, err := OpenKV(c.opts.State+"/book", KVOptions{Log: c.opts.Log, Reserve: c.opts.Reserve / 2})
		if err != nil {
			return err
		}
		c.own = append(c.own, kv)
		c.state.kv = kv
	}
	kv, err := c.openCleanBook()
	if err != nil {
		return err
	}
	c.own = append(c.own, kv)
	c.cache = &home{dir: c.opts.Cache, kv: kv, reserve: newReserve(c.opts.Cache, c.opts.Reserve)}
	if err := errors.Join(c.state.clearLent(), c.cache.clearLent()); err != nil {
		return err
	}
	if err := c.loadKept(); err != nil {
		return err
	}
	return c.evictor.load()
}

// openCleanBook opens the book of clean bytes. One that is damaged is thrown away with all
// that it knew of: those bytes can be fetched again. Books may use half of what bytes must
// leave free, so that what is evicted or sent can still be written down.
func (c *Cache) openCleanBook() (*KV, error) {
	dir := c.opts.Cache + "/book"
	opts := KVOptions{Log: c.opts.Log, Memtable: 4 << 20, Reserve: c.opts.Reserve / 2}
	kv, err := OpenKV(dir, opts)
	if err == nil || errors.Is(err, dbfs.ErrLocked) || errors.Is(err, dbfs.ErrNoSpace) || errors.Is(err, os.ErrPermission) {
		return kv, err
	}
	c.opts.Log.Warn("the cache's book is damaged; starting with an empty cache", "error", err)
	for _, d := range []string{"book", "bodies", "chunks"} {
		if err := os.RemoveAll(c.opts.Cache + "/" + d); err != nil {
			return nil, err
		}
	}
	return OpenKV(dir, opts)
}

// Close ends the cache. Bodies and drafts must be closed before.
func (c *Cache) Close() error {
	c.cancel()
	c.running.Wait()
	err := errors.Join(c.evictor.save(true), c.Sync(), c.closeHomes())
	if err != nil {
		return fmt.Errorf("close cache: %w", err)
	}
	return nil
}

func (c *Cache) closeHomes() error {
	var err error
	for _, kv := range c.own {
		err = errors.Join(err, kv.Close())
	}
	if c.owner != nil {
		err = errors.Join(err, c.owner.Close())
	}
	return err
}

// Stats are the cache's sizes now and its counts since Open.
type Stats struct {
	Clean, Size   int64 // bytes that can be fetched again, and their budget
	Unsent, Limit int64 // bytes that are the only copy, drafts included, and their budget
	Evicted       int64 // bytes
	Fetched       int64 // bytes
	Hits, Misses  int64 // reads of a chunk that was here, and that was not
}

// Stats returns what the cache holds and has done.
func (c *Cache) Stats() Stats {
	return Stats{
		Clean: c.evictor.clean.Load(), Size: c.opts.Size,
		Unsent: c.room.bytes(), Limit: c.opts.Unsent,
		Evicted: c.evictor.evicted.Load(), Fetched: c.fetched.Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(),
	}
}

// mustSync says that a file in state, or a directory, holds something the next Sync is to make durable.
func (c *Cache) mustSync(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		c.dirty[n] = struct{}{}
	}
}

// Sync returns when everything that was sealed before it was called survives loss of
// power. Callers that come together share the work.
func (c *Cache) Sync() error { return c.syncing.do(c.sync) }

func (c *Cache) sync() error {
	upTo := c.pins.lastSeal()
	c.mu.Lock()
	names := c.dirty
	c.dirty = map[string]struct{}{}
	c.mu.Unlock()
	for name := range names {
		// A file that is gone holds nothing unsent any more.
		if err := syncFile(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			for n := range names {
				c.mustSync(n)
			}
			return fmt.Errorf("sync %s: %w", name, diskError(err))
		}
	}
	if err := c.state.kv.Sync(); err != nil {
		return err
	}
	c.pins.synced(upTo)
	return nil
}
