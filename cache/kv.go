package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/opendb"
)

// KVOptions size a KV. Zero means the default.
type KVOptions struct {
	// Memtable is how many bytes of fresh writes are held before they are sorted into a table: 8 MiB,
	// half of them in a layer, a quarter in one of Badger's, which keeps up to eight of the buffers that
	// have written one out: of 4 MiB each, these took more than the daemon may have. A KV takes up to about five times that of
	// memory under a storm of writes: one to three layers, two or three of Badger's tables, and the
	// buffers of what writes those out, which are kept for some seconds. An Update may write about a quarter of it.
	Memtable int64

	// Reserve is how many bytes must be free on the disk for an Update: 64 MiB. Badger
	// writes through memory maps, where a full disk is not an error but a SIGBUS.
	Reserve int64

	// Log hears what Badger has to say; nil: slog's default.
	Log *slog.Logger
}

// KV is the dbfs.KV on the disk, over Badger. It holds its directory against other
// openers. All methods may be called from several goroutines.
//
// An Update goes into the newest layer, with its record in that layer's log; a full layer is written
// into Badger in the background. So an Update costs one write(2), where one of Badger's own costs two
// changes of goroutine besides, and a Sync is one fdatasync(2) of a file that has its blocks. What is written again or deleted soon
// never comes to Badger.
type KV struct {
	owner   *os.File // keeps others out
	db      *badger.DB
	logs    *logFiles // Badger's
	reserve *reserve
	log     *slog.Logger
	logDir  string
	room    int64                // that a layer has
	flush   func(*logFile) error // (*logFile).sync; another in tests
	syncing group
	stop    context.CancelFunc
	working sync.WaitGroup

	commit sync.Mutex // one Update is entered at a time; before mu
	spoilt error      // why nothing can be entered any more; nil: it can. Guarded by commit

	durable atomic.Uint64 // Updates up to this one survive a loss of power; 0: not even what was there at the start

	making sync.Mutex // one log is begun at a time; before mu. It guards what follows
	spare  *logFile   // begun ahead of time, for the next layer; nil: none
	failed *logFile   // could not be begun, and perhaps has its header: no other may have that number; nil: none
	made   int        // files in all
	number uint64     // of the last use of one

	mu      sync.Mutex // guards what follows
	seq     uint64     // of the last Update that is visible
	layers  []*layer   // oldest first, the last is written to; a new slice whenever it changes
	files   []*logFile // that are not in use
	moved   *sync.Cond // a layer has been drained, or the last reader of a full one has left
	drained error      // why a layer cannot be drained, as of the last attempt; nil: it can
	closing bool
}

const valueLogPeriod = 10 * time.Minute

// maxLayers bounds what waits to be written into Badger, in memory and in log files.
const maxLayers = 3

// poured is how many times a layer's room must be free on the disk when one goes into Badger, whose log and table it comes to.
const poured = 4

// OpenKV opens the store in a directory, which is made if it is not there. ErrLocked:
// another process, or another KV of this one, has it open. ErrNoSpace: the disk is all but full.
func OpenKV(dir string, opts KVOptions) (*KV, error) {
	owner, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	memtable := orDefault(opts.Memtable, 8<<20)
	room := memtable / 2
	if err := roomBelow(dir, room); err != nil { // Badger begins files at once
		owner.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := opendb.Open(badgerOptions(dir, max(1<<20, memtable/4), opts.Log))
	if err != nil {
		owner.Close()
		return nil, fmt.Errorf("open database %s: %w", dir, diskError(err))
	}
	k := &KV{
		owner:   owner,
		db:      db,
		logs:    newLogFiles(dir),
		reserve: newReserve(dir, orDefault(opts.Reserve, 64<<20)),
		log:     opts.Log,
		logDir:  dir + "/log",
		room:    room,
		flush:   (*logFile).sync,
		seq:     1,
	}
	if k.log == nil {
		k.log = slog.Default()
	}
	k.moved = sync.NewCond(&k.mu)
	if err := k.recover(); err != nil {
		k.closeFiles()
		return nil, errors.Join(fmt.Errorf("open database %s: %w", dir, diskError(err)), db.Close(), owner.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.working.Go(func() { k.collect(ctx) })
	k.working.Go(func() { k.drainAll(ctx) })
	return k, nil
}

// Close ends the store; what was updated but not synced is written out first.
func (k *KV) Close() error {
	k.mu.Lock()
	k.closing = true
	k.moved.Broadcast()
	k.mu.Unlock()
	k.stop()
	k.working.Wait()
	err := errors.Join(k.drainRest(), k.db.Close())
	if err == nil {
		err = k.skipNumber()
	}
	k.closeFiles()
	if err := errors.Join(err, k.owner.Close()); err != nil {
		return fmt.Errorf("close %s: %w", k.db.Opts().Dir, err)
	}
	return nil
}

// collect gives back the space of values that were too large for the tables.
func (k *KV) collect(ctx context.Context) {
	tick := time.NewTicker(valueLogPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for ctx.Err() == nil && k.db.RunValueLogGC(0.5) == nil {
			}
		}
	}
}

// View implements dbfs.KV.
func (k *KV) View(fn func(dbfs.Txn) error) error {
	v := k.begin()
	defer v.end()
	return fn(v)
}

// Update implements dbfs.KV. ErrTooLarge: more than one transaction holds; ErrNoSpace:
// the disk is all but full.
func (k *KV) Update(fn func(dbfs.Txn) error) error {
	u := newUpdate(k.begin())
	err := u.run(fn)
	if err != nil {
		return err
	}
	return k.enter(u)
}

// enter makes what an Update has written visible.
func (k *KV) enter(u *kvUpdate) error {
	if len(u.changes) == 0 {
		return nil
	}
	if u.room > k.room/2 {
		return fmt.Errorf("%w: transaction", dbfs.ErrTooLarge)
	}
	if err := k.reserve.check(int64(len(u.rec))); err != nil {
		return err
	}
	k.commit.Lock()
	defer k.commit.Unlock()
	if k.spoilt != nil {
		return k.spoilt
	}
	l, err := k.withRoom(u.room)
	if err != nil {
		return err
	}
	seq := k.seq + 1 // only who holds commit changes it
	if err := l.log.append(u.rec, seq); err != nil {
		if errors.Is(err, errSpoiled) {
			k.spoilt = err
		}
		return err
	}
	fault.Here(fault.UpdateLogged)
	for _, c := range u.changes {
		l.put(u.key(c), u.value(c), seq)
	}
	k.mu.Lock()
	k.seq = seq
	k.mu.Unlock()
	return nil
}

// Sync implements dbfs.KV. Callers that come while a sync is running share the next one, and
// those that come when nothing was updated since the last one have nothing to wait for: an
// fsync(2) on the drive syncs the book of bytes and then the journal, which are one KV.
func (k *KV) Sync() error {
	k.mu.Lock()
	seq := k.seq
	k.mu.Unlock()
	if k.durable.Load() >= seq {
		return nil
	}
	if err := k.syncing.do(k.sync); err != nil {
		return fmt.Errorf("sync %s: %w", k.db.Opts().Dir, diskError(err))
	}
	return nil
}

// sync is run by one goroutine at a time.
func (k *KV) sync() error {
	k.mu.Lock()
	seq, layers := k.seq, k.layers
	k.mu.Unlock()
	if k.durable.Load() == 0 { // what an earlier process has left
		if err := k.logs.sync(); err != nil {
			return err
		}
	}
	for _, l := range layers { // in their order: nothing counts that is behind a gap
		if err := k.flush(l.log); err != nil {
			return err
		}
	}
	k.durable.Store(seq)
	return nil
}

// kvError turns Badger's errors into those of the closed list.
func kvError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrKeyNotFound):
		return dbfs.ErrNotExist
	case errors.Is(err, badger.ErrTxnTooBig):
		return fmt.Errorf("%w: transaction", dbfs.ErrTooLarge)
	case errors.Is(err, badger.ErrEmptyKey), errors.Is(err, badger.ErrInvalidKey):
		return fmt.Errorf("%w: %v", dbfs.ErrInvalid, err)
	}
	return diskError(err)
}

// diskError says ErrNoSpace where the disk or a quota is full.
func diskError(err error) error {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %v", dbfs.ErrNoSpace, err)
		}
	}
	return err
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
