// Package badgerdb is the engine that a server has when nobody chose another: a
// server.Store in one Badger database in a directory, which one process may open at a time.
//
// Every commit is on the disk before it is answered. Badger syncs once for each of its
// transactions, so commits that come in at the same moment share one (group.go).
package badgerdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/opendb"
	"github.com/dbfs/dbfs/remote/server"
)

// Sizes that bound what the engine takes of memory: about two memtables, the two caches
// and one table for each compactor.
const (
	memtable   = 20 << 20 // a transaction holds 15 % of it: the largest batch, with its history
	blockCache = 8 << 20
	indexCache = 8 << 20
	valueLog   = 16 << 20 // all values are below the threshold, so it stays empty
)

// stripes is how many locks namespaces and rows are spread over.
const stripes = 256

// A Store is a server.Store in Badger. All methods may be called from several goroutines.
type Store struct {
	db    *badger.DB
	group *group
	seed  maphash.Seed

	// Whoever writes a namespace or a row holds the lock of its stripe until the write is
	// durable. No two are ever held at once.
	locks [stripes]sync.Mutex

	closing sync.Once
}

var _ server.Store = (*Store)(nil)

// Open opens the database in a directory, made if it is not there. dbfs.ErrLocked: another
// process has it open. What Badger has to say goes to log.
func Open(dir string, log *slog.Logger) (*Store, error) {
	db, err := opendb.Open(options(dir, log))
	if err != nil {
		return nil, fmt.Errorf("open the server's database in %s: %w", dir, openError(err))
	}
	s := &Store{db: db, group: newGroup(db), seed: maphash.MakeSeed()}
	if err := server.Upgrade(s.read, s.group.commit, log); err != nil {
		return nil, fmt.Errorf("open the server's database in %s: %w", dir, errors.Join(err, s.Close()))
	}
	return s, nil
}

func options(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false). // the stripes' locks do
		WithMemTableSize(memtable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithBlockCacheSize(blockCache).
		WithIndexCacheSize(indexCache).
		WithValueLogFileSize(valueLog).
		WithMetricsEnabled(false).
		WithLogger(logger{log})
}

func openError(err error) error {
	if strings.Contains(err.Error(), "Cannot acquire directory lock") { // Badger has no value for it
		return fmt.Errorf("%w: %w", dbfs.ErrLocked, err)
	}
	return err
}

// Update is server.Store's, as are the methods below.
func (s *Store) Update(ctx context.Context, ns dbfs.NamespaceID, fn func(server.Tx) error) error {
	lock := s.lock(binary.BigEndian.AppendUint64(nil, uint64(ns)))
	lock.Lock()
	defer lock.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	set, err := s.collect(ns, fn)
	if err != nil || set.Len() == 0 {
		return err
	}
	return s.group.commit(set)
}

// collect runs fn on the newest snapshot.
func (s *Store) collect(ns dbfs.NamespaceID, fn func(server.Tx) error) (*server.WriteSet, error) {
	var set *server.WriteSet
	err := s.read(func(txn dbfs.Txn) error {
		set = server.NewWriteSet(txn)
		return fn(server.NewKeyTx(ns, set))
	})
	return set, err
}

func (s *Store) View(ctx context.Context, ns dbfs.NamespaceID, fn func(server.ReadTx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.read(func(txn dbfs.Txn) error { return fn(server.NewKeyTx(ns, txn)) })
}

func (s *Store) Get(ctx context.Context, table server.Table, key []byte) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.read(func(txn dbfs.Txn) error {
		value, err = txn.Get(server.TableKey(table, key))
		return err
	})
	return value, err
}

func (s *Store) Scan(ctx context.Context, table server.Table, prefix, after []byte, limit int) (rows []server.Row, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.read(func(txn dbfs.Txn) error {
		rows, err = server.ScanTable(txn, table, prefix, after, limit)
		return err
	})
	return rows, err
}

func (s *Store) CAS(ctx context.Context, table server.Table, key, old, new []byte) (bool, error) {
	full := server.TableKey(table, key)
	lock := s.lock(full)
	lock.Lock()
	defer lock.Unlock()
	now, err := s.Get(ctx, table, key)
	if errors.Is(err, dbfs.ErrNotExist) {
		now, err = nil, nil
	}
	if err != nil || (now == nil) != (old == nil) || !bytes.Equal(now, old) {
		return false, err
	}
	set := server.NewWriteSet(nil)
	if new == nil {
		err = set.Delete(full)
	} else {
		err = set.Set(full, new)
	}
	if err == nil {
		err = s.group.commit(set)
	}
	return err == nil, err
}

// Close waits for the commits that have begun; later calls fail with dbfs.ErrOffline.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		s.group.close()
		err = s.db.Close()
	})
	return err
}

func (s *Store) lock(key []byte) *sync.Mutex {
	return &s.locks[maphash.Bytes(s.seed, key)%stripes]
}

// read runs fn on a snapshot.
func (s *Store) read(fn func(dbfs.Txn) error) error {
	if s.db.IsClosed() {
		return errClosed
	}
	return s.db.View(func(txn *badger.Txn) error { return fn(snapshot{txn}) })
}

var errClosed = fmt.Errorf("%w: the server's database is closed", dbfs.ErrOffline)

// A snapshot is a Badger transaction that is only read.
type snapshot struct{ txn *badger.Txn }

func (t snapshot) Get(key []byte) ([]byte, error) {
	item, err := t.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, dbfs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

func (t snapshot) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	opts := badger.DefaultIteratorOptions
	opts.Prefix = prefix
	opts.PrefetchSize = 16
	it := t.txn.NewIterator(opts)
	defer it.Close()
	from := prefix
	if bytes.Compare(start, from) > 0 {
		from = start
	}
	it.Seek(from)
	if start != nil && it.Valid() && bytes.Equal(it.Item().Key(), start) {
		it.Next()
	}
	for more := true; more && it.Valid(); it.Next() {
		item := it.Item()
		err := item.Value(func(v []byte) error {
			more = fn(item.Key(), v)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Set and Delete are never reached: a WriteSet is between.
func (t snapshot) Set(key, value []byte) error { return badger.ErrReadOnlyTxn }
func (t snapshot) Delete(key []byte) error     { return badger.ErrReadOnlyTxn }

// logger hands Badger's remarks to slog, its chatter as debugging.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, a ...any)   { l.log.Error(remark(f, a), "from", "badger") }
func (l logger) Warningf(f string, a ...any) { l.log.Warn(remark(f, a), "from", "badger") }
func (l logger) Infof(f string, a ...any)    { l.log.Debug(remark(f, a), "from", "badger") }
func (l logger) Debugf(string, ...any)       {}

func remark(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
