package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
)

// KVOptions size a KV. Zero means the default.
type KVOptions struct {
	// Memtable is how many bytes of fresh writes are held before they are sorted into a
	// table: 8 MiB. A KV takes up to about five times that of memory under a storm of writes: two or
	// three tables, of 1.3 times that each, and the buffers of what writes them out, which are kept
	// for some seconds. An Update may write about an eighth of it.
	Memtable int64

	// Reserve is how many bytes must be free on the disk for an Update: 64 MiB. Badger
	// writes through memory maps, where a full disk is not an error but a SIGBUS.
	Reserve int64

	// Log hears what Badger has to say; nil: slog's default.
	Log *slog.Logger
}

// KV is the dbfs.KV on the disk, over Badger. It holds its directory against other
// openers. All methods may be called from several goroutines.
type KV struct {
	owner   *os.File // keeps others out
	db      *badger.DB
	logs    *logFiles
	syncing group
	updates atomic.Uint64 // that are done, one of them before this process
	durable atomic.Uint64 // how many of them survive a loss of power
	reserve *reserve
	stop    context.CancelFunc
	stopped chan struct{} // closed when the value-log collection has ended
}

const valueLogPeriod = 10 * time.Minute

// OpenKV opens the store in a directory, which is made if it is not there. ErrLocked:
// another process, or another KV of this one, has it open.
func OpenKV(dir string, opts KVOptions) (*KV, error) {
	owner, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	memtable := orDefault(opts.Memtable, 8<<20)
	db, err := badger.Open(badgerOptions(dir, memtable, opts.Log))
	if err != nil {
		owner.Close()
		return nil, fmt.Errorf("open database %s: %w", dir, diskError(err))
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &KV{
		owner:   owner,
		db:      db,
		logs:    newLogFiles(dir),
		reserve: newReserve(dir, orDefault(opts.Reserve, 64<<20)),
		stop:    stop,
		stopped: make(chan struct{}),
	}
	k.updates.Store(1)
	go k.collect(ctx)
	return k, nil
}

// badgerOptions sizes everything on purpose: the defaults take hundreds of megabytes.
// Tables are not compressed (hashes do not shrink), so Badger reads them where the page
// cache has them and needs no cache of its own.
func badgerOptions(dir string, memtable int64, log *slog.Logger) badger.Options {
	if log == nil {
		log = slog.Default()
	}
	return badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithMetricsEnabled(false).
		WithSyncWrites(false).
		WithDetectConflicts(false). // callers do not overlap updates of the same keys
		WithNumVersionsToKeep(1).
		WithMemTableSize(memtable).
		WithNumMemtables(1). // waiting; one more is being written to and one flushed
		WithNumCompactors(2).
		WithNumGoroutines(2).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(10).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithValueThreshold(min(1<<20, memtable/8)). // values stay in the tables
		WithValueLogFileSize(64 << 20)
}

// Close ends the store; what was updated but not synced is written out first.
func (k *KV) Close() error {
	k.stop()
	<-k.stopped
	err := k.db.Close()
	if err := errors.Join(err, k.owner.Close()); err != nil {
		return fmt.Errorf("close %s: %w", k.db.Opts().Dir, err)
	}
	return nil
}

// collect gives back the space of values that were too large for the tables.
func (k *KV) collect(ctx context.Context) {
	defer close(k.stopped)
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
	return kvError(k.db.View(func(t *badger.Txn) error { return fn(kvView{t}) }))
}

// Update implements dbfs.KV. ErrTooLarge: more than one transaction holds; ErrNoSpace:
// the disk is all but full.
func (k *KV) Update(fn func(dbfs.Txn) error) error {
	defer k.updates.Add(1) // also if it failed: some of it may be there
	return kvError(k.db.Update(func(t *badger.Txn) error {
		u := kvUpdate{kvView{t}, new(int64)}
		if err := fn(u); err != nil {
			return err
		}
		return k.reserve.check(*u.size)
	}))
}

// Sync implements dbfs.KV. Callers that come while a sync is running share the next one, and
// those that come when nothing was updated since the last one have nothing to wait for: an
// fsync(2) on the drive syncs the book of bytes and then the journal, which are one KV.
func (k *KV) Sync() error {
	if k.durable.Load() >= k.updates.Load() {
		return nil
	}
	if err := k.syncing.do(k.sync); err != nil {
		return fmt.Errorf("sync %s: %w", k.db.Opts().Dir, diskError(err))
	}
	return nil
}

// sync is run by one goroutine at a time.
func (k *KV) sync() error {
	done := k.updates.Load()
	if err := k.logs.sync(); err != nil {
		return err
	}
	k.durable.Store(done)
	return nil
}

// kvView is a transaction that reads.
type kvView struct{ t *badger.Txn }

func (v kvView) Get(key []byte) ([]byte, error) {
	item, err := v.t.Get(key)
	if err != nil {
		return nil, kvError(err)
	}
	b, err := item.ValueCopy(nil)
	return b, kvError(err)
}

func (v kvView) Set(_, _ []byte) error { return errView }
func (v kvView) Delete(_ []byte) error { return errView }

var errView = fmt.Errorf("%w: a write in a View", dbfs.ErrInvalid)

func (v kvView) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	o := badger.IteratorOptions{Prefix: prefix} // values are in the tables: fetching them ahead gains nothing
	it := v.t.NewIterator(o)
	defer it.Close()
	for seek(it, prefix, start); it.ValidForPrefix(prefix); it.Next() {
		more := false
		item := it.Item()
		err := item.Value(func(value []byte) error {
			more = fn(item.Key(), value)
			return nil
		})
		if err != nil || !more {
			return kvError(err)
		}
	}
	return nil
}

func seek(it *badger.Iterator, prefix, start []byte) {
	if bytes.Compare(start, prefix) < 0 {
		it.Seek(prefix)
		return
	}
	it.Seek(start)
	if it.Valid() && bytes.Equal(it.Item().Key(), start) {
		it.Next()
	}
}

// kvUpdate is a transaction that also writes.
type kvUpdate struct {
	kvView
	size *int64 // bytes written so far
}

func (u kvUpdate) Set(key, value []byte) error {
	*u.size += int64(len(key) + len(value))
	return kvError(u.t.Set(bytes.Clone(key), bytes.Clone(value)))
}

func (u kvUpdate) Delete(key []byte) error {
	*u.size += int64(len(key))
	return kvError(u.t.Delete(bytes.Clone(key)))
}

// scanRun is how many pairs an updating transaction copies at a time: Badger allows it one
// iterator, and fn may want to scan and write as well.
const scanRun = 64

func (u kvUpdate) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	for {
		var run [][2][]byte
		err := u.kvView.Scan(prefix, start, func(k, v []byte) bool {
			run = append(run, [2][]byte{bytes.Clone(k), bytes.Clone(v)})
			return len(run) < scanRun
		})
		if err != nil {
			return err
		}
		for _, kv := range run {
			if !fn(kv[0], kv[1]) {
				return nil
			}
		}
		if len(run) < scanRun {
			return nil
		}
		start = run[len(run)-1][0]
	}
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

// badgerLog passes Badger's complaints on and keeps its chatter to itself.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error("badger: " + line(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger: " + line(f, a)) }
func (l badgerLog) Infof(string, ...any)        {}
func (l badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string {
	return string(bytes.TrimSpace(fmt.Appendf(nil, f, a...)))
}

// logFiles are the files that hold what Badger has not sorted into tables yet. Badger's
// own Sync forgets logs that are full but not yet flushed, and keeps writers waiting
// while it works; so the files are synced from here, by name.
type logFiles struct {
	dir   string
	names []string // as of the last sync; used by one sync at a time
}

func newLogFiles(dir string) *logFiles { return &logFiles{dir: dir} }

// sync makes every log durable. A log that vanishes meanwhile has become a table, which
// Badger has synced before it removed the log.
func (l *logFiles) sync() error {
	names, err := l.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := syncFile(l.dir + "/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if slices.Equal(names, l.names) {
		return nil
	}
	if err := syncFile(l.dir); err != nil {
		return err
	}
	l.names = names
	return nil
}

func (l *logFiles) list() ([]string, error) {
	d, err := os.Open(l.dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(all, func(n string) bool { return !isLog(n) })
	slices.Sort(names)
	return names, nil
}

func isLog(name string) bool {
	ext := name[max(0, len(name)-5):]
	return ext == ".vlog" || len(ext) == 5 && ext[1:] == ".mem"
}

// syncFile makes a file's bytes, or a directory's names, durable.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
