package badgerdb

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote/server"
)

// A group puts the commits that wait at the same moment into one Badger transaction, so
// that they share one sync. While it is on its way to the disk the next ones gather: nobody
// waits for company.
//
// The commits in one group never touch the same key, because each holds its stripe's lock.
type group struct {
	db    *badger.DB
	queue chan *commit

	mu     sync.RWMutex // held for reading by whoever is about to use queue
	closed bool
	done   chan struct{} // closed when run has returned
}

type commit struct {
	set  *server.WriteSet
	size int64
	err  chan error // of size one
}

// queueLength is more than can be waiting: there are as many writers as stripes.
const queueLength = stripes

func newGroup(db *badger.DB) *group {
	g := &group{db: db, queue: make(chan *commit, queueLength), done: make(chan struct{})}
	go g.run()
	return g
}

// commit writes a set and returns when it is durable.
func (g *group) commit(set *server.WriteSet) error {
	c := &commit{set: set, err: make(chan error, 1)}
	if err := g.weigh(c); err != nil {
		return err
	}
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return errClosed
	}
	g.queue <- c
	g.mu.RUnlock()
	return <-c.err
}

// entryOverhead is more than Badger adds to a key and a value, in bytes.
const entryOverhead = 32

// weigh returns dbfs.ErrTooLarge for a commit that no transaction can hold.
func (g *group) weigh(c *commit) error {
	c.set.Each(func(key string, value []byte) error {
		c.size += int64(len(key) + len(value) + entryOverhead)
		return nil
	})
	if !g.fits(c.size, c.set.Len()) {
		return fmt.Errorf("%w: a transaction of %d rows and %d bytes", dbfs.ErrTooLarge, c.set.Len(), c.size)
	}
	return nil
}

func (g *group) fits(size int64, rows int) bool {
	return size < g.db.MaxBatchSize() && int64(rows) < g.db.MaxBatchCount()
}

// run writes one group after the other until the queue is closed and empty.
func (g *group) run() {
	defer close(g.done)
	next := <-g.queue
	for next != nil {
		var members []*commit
		members, next = g.gather(next)
		err := g.write(members)
		for _, c := range members {
			c.err <- err
		}
		if next == nil {
			next = <-g.queue
		}
	}
}

// gather takes what is waiting as far as it fits into one transaction; rest is the one that
// did not.
func (g *group) gather(first *commit) (members []*commit, rest *commit) {
	members = []*commit{first}
	size, rows := first.size, first.set.Len()
	for {
		select {
		case c := <-g.queue:
			if c == nil {
				return members, nil
			}
			size, rows = size+c.size, rows+c.set.Len()
			if !g.fits(size, rows) {
				return members, c
			}
			members = append(members, c)
		default:
			return members, nil
		}
	}
}

func (g *group) write(members []*commit) error {
	txn := g.db.NewTransaction(true)
	defer txn.Discard()
	for _, c := range members {
		err := c.set.Each(func(key string, value []byte) error {
			if value == nil {
				return txn.Delete([]byte(key))
			}
			return txn.Set([]byte(key), value)
		})
		if err != nil {
			return fmt.Errorf("write to the server's database: %w", err)
		}
	}
	fault.Here(fault.GroupGathered)
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("write to the server's database: %w", writeError(err))
	}
	fault.Here(fault.GroupWritten)
	return nil
}

func writeError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", dbfs.ErrNoSpace, err)
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return fmt.Errorf("%w: %w", errClosed, err)
	}
	return err
}

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	close(g.queue)
	<-g.done
}
