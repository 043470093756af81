package cache

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// baseTable is how long a table is that a compaction writes. Each that is under way, of up to ten, takes
// twice as much of memory, which is kept for a while: with Badger's own 2 MiB it was 44 MiB.
const baseTable = 512 << 10

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
		WithBaseTableSize(baseTable).
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
	dir string

	syncFile func(name string) error // syncFile; another in tests

	mu     sync.Mutex // held by a sync; guards what follows
	names  []string   // as of the last sync
	failed error      // why nothing more is called durable before a new start; nil: it is
}

func newLogFiles(dir string) *logFiles { return &logFiles{dir: dir, syncFile: syncFile} }

// sync makes every log durable. What the kernel could not write once it does not write again, and the next
// sync of the file says nothing of it: so after one failure there is none that succeeds. What was updated
// is in the KV's own logs until the next start, which brings it into Badger again. A log that vanishes meanwhile has become a table, which
// Badger has synced before it removed the log.
func (l *logFiles) sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	names, err := l.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.syncFile(l.dir + "/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
			var path *os.PathError
			if errors.As(err, &path) && path.Op == "sync" {
				l.failed = fmt.Errorf("%w; the next start brings what is here into the database again", err)
			}
			return err
		}
	}
	if slices.Equal(names, l.names) {
		return nil
	}
	if err := l.syncFile(l.dir); err != nil {
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
