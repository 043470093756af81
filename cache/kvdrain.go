package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/skl"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// recover brings what an earlier process has left in the logs into Badger, and begins anew.
func (k *KV) recover() error {
	if err := os.MkdirAll(k.logDir, 0o700); err != nil {
		return err
	}
	batch := k.db.NewWriteBatch()
	defer func() { batch.Cancel() }()
	some := false
	last, err := readLogs(k.logDir, func(changes []byte) error {
		if !some {
			if err := k.roomBelow(); err != nil {
				return err
			}
		}
		some = true
		return decodeChanges(changes, func(key, value []byte) error {
			if value == nil {
				return batch.Delete(slices.Clone(key))
			}
			return batch.Set(slices.Clone(key), slices.Clone(value))
		})
	})
	if err != nil {
		return err
	}
	if some {
		if err := batch.Flush(); err != nil {
			return err
		}
		if err := k.logs.sync(); err != nil {
			return err
		}
	}
	k.number = last + 1 // left out
	if err := k.openFiles(); err != nil {
		return err
	}
	log, err := k.newLog()
	if err != nil {
		return err
	}
	k.layers = []*layer{k.newLayer(log)}
	return nil
}

// openFiles takes the files that there are for use again.
func (k *KV) openFiles() error {
	names, err := filepath.Glob(filepath.Join(k.logDir, "*.log"))
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		l := newLogFile(f)
		k.files = append(k.files, l)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		l.ready = info.Size()
	}
	k.made = len(names)
	return nil
}

func (k *KV) closeFiles() {
	for _, l := range k.layers {
		l.log.f.Close()
	}
	for _, l := range k.files {
		l.f.Close()
	}
	for _, l := range []*logFile{k.spare, k.failed} {
		if l != nil {
			l.f.Close()
		}
	}
}

func (k *KV) newLayer(log *logFile) *layer { return &layer{list: skl.NewSkiplist(k.room), log: log} }

// newLog begins the next use of a file, of a new one if all are in use. Called with making held, or before anybody else is there.
func (k *KV) newLog() (*logFile, error) {
	if log := k.spare; log != nil {
		k.spare = nil
		return log, nil
	}
	log := k.failed
	k.mu.Lock()
	if n := len(k.files); log == nil && n > 0 {
		log, k.files = k.files[n-1], k.files[:n-1]
	}
	k.mu.Unlock()
	if log == nil {
		var err error
		for log, err = k.createLog(); errors.Is(err, os.ErrExist); log, err = k.createLog() {
			k.made++
		}
		if err != nil {
			return nil, fmt.Errorf("make a log: %w", err)
		}
		k.made++
	}
	if err := log.begin(k.number + 1); err != nil {
		k.failed = log
		return nil, fmt.Errorf("begin a log: %w", err)
	}
	k.failed = nil
	k.number++
	return log, nil
}

func (k *KV) createLog() (*logFile, error) {
	return createLog(filepath.Join(k.logDir, fmt.Sprintf("%d.log", k.made)))
}

func (k *KV) giveBack(log *logFile) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.files = append(k.files, log)
}

// makeSpare begins a log ahead of time: to wait for its header to be durable is not for an Update.
func (k *KV) makeSpare() error {
	k.making.Lock()
	defer k.making.Unlock()
	log, err := k.newLog()
	k.spare = log
	return err
}

// skipNumber says that nothing of the logs has to be read.
func (k *KV) skipNumber() error {
	k.making.Lock()
	defer k.making.Unlock()
	if k.spare != nil {
		k.giveBack(k.spare)
		k.spare = nil
	}
	k.number++
	log, err := k.newLog()
	if err == nil {
		k.giveBack(log)
	}
	return err
}

// withRoom returns the layer to write to; a full one is set on its way into Badger. It is called with commit held.
func (k *KV) withRoom(n int64) (*layer, error) {
	k.mu.Lock()
	for k.full(n) && len(k.layers) >= maxLayers {
		if err := k.drained; err != nil {
			k.mu.Unlock()
			return nil, err
		}
		k.moved.Wait()
	}
	newest, full := k.layers[len(k.layers)-1], k.full(n)
	k.mu.Unlock()
	if !full {
		return newest, nil
	}
	k.making.Lock()
	log, err := k.newLog()
	k.making.Unlock()
	if err != nil {
		return nil, err
	}
	next := k.newLayer(log)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.layers = append(slices.Clone(k.layers), next)
	k.moved.Broadcast()
	return next, nil
}

// full reports whether the newest layer has no room for so much. Called with mu held.
func (k *KV) full(n int64) bool {
	return k.layers[len(k.layers)-1].list.MemSize()+n > k.room
}

// drainAll writes full layers into Badger until ctx ends.
func (k *KV) drainAll(ctx context.Context) {
	const first, longest = 100 * time.Millisecond, 10 * time.Second
	for wait := first; ; {
		k.mu.Lock()
		for len(k.layers) == 1 && !k.closing {
			k.moved.Wait()
		}
		closing := k.closing
		k.mu.Unlock()
		if closing {
			return
		}
		err := k.drainOldest()
		if err == nil {
			err = k.makeSpare()
		}
		k.mu.Lock()
		k.drained = err
		k.moved.Broadcast()
		k.mu.Unlock()
		if err == nil {
			wait = first
			continue
		}
		k.log.Error("updates stay in the log", "dir", k.logDir, "err", err, "again in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, longest)
	}
}

// drainOldest writes the oldest layer into Badger, when nobody needs what was there before any more.
func (k *KV) drainOldest() error {
	k.mu.Lock()
	l := k.layers[0]
	for l.readers > 0 && !k.closing {
		k.moved.Wait()
	}
	k.mu.Unlock()
	if err := k.flush(l.log); err != nil {
		return err
	}
	if err := k.pour(l); err != nil {
		return err
	}
	fault.Here(fault.LayerPoured)
	if err := k.logs.sync(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.layers = slices.Clone(k.layers[1:])
	k.files = append(k.files, l.log)
	k.moved.Broadcast()
	return nil
}

// roomBelow returns ErrNoSpace when there is so little that Badger could run into the end of the disk.
func (k *KV) roomBelow() error { return roomBelow(k.logDir, k.room) }

func roomBelow(dir string, room int64) error {
	free, err := freeBytes(dir)
	if err == nil && free < poured*room {
		err = fmt.Errorf("%w: %d bytes free on the disk of %s, want %d", dbfs.ErrNoSpace, free, dir, poured*room)
	}
	return err
}

// pour writes the last version of each key into Badger.
func (k *KV) pour(l *layer) error {
	if err := k.roomBelow(); err != nil {
		return err
	}
	batch := k.db.NewWriteBatch()
	defer batch.Cancel()
	there := k.db.NewTransaction(false)
	defer there.Discard()
	keys := l.keys(nil, k.lastSeq())
	defer keys.close()
	for ; keys.valid(); keys.next() {
		value, deleted, err := keys.value()
		if err != nil {
			return err
		}
		if !deleted {
			err = batch.Set(keys.key(), value)
		} else if _, err = there.Get(keys.key()); err == nil {
			err = batch.Delete(keys.key())
		} else if errors.Is(err, badger.ErrKeyNotFound) { // made and deleted within this layer, as most edits are
			err = nil
		}
		if err != nil {
			return kvError(err)
		}
	}
	return kvError(batch.Flush())
}

func (k *KV) lastSeq() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seq
}

// drainRest brings everything into Badger, at the end.
func (k *KV) drainRest() error {
	for {
		k.mu.Lock()
		n, newest, none := len(k.layers), k.layers[len(k.layers)-1], k.seq == 1
		k.mu.Unlock()
		switch {
		case none:
			return nil
		case n > 1:
			if err := k.drainOldest(); err != nil {
				return err
			}
			continue
		}
		if err := k.flush(newest.log); err != nil {
			return err
		}
		if err := k.pour(newest); err != nil {
			return err
		}
		return k.logs.sync()
	}
}
