package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/dbfs/dbfs"
)

// RootInode is the root of the mount, as the kernel wants it; numbers above are given away.
const RootInode = 1

// Inodes gives away inode numbers: one 64-bit count for all namespaces of this client,
// never going back, so that no number ever means another file. Safe for several goroutines.
type Inodes struct {
	kv dbfs.KV

	mu    sync.Mutex // guards what follows
	next  uint64
	limit uint64 // the database knows that everything below may be in use
}

var inoLimitKey = []byte("I")

// inoReserve is how many numbers one write reserves. What a crash leaves unused is lost,
// which 64 bits can bear.
const inoReserve = 4096

// OpenInodes continues the count that kv holds.
func OpenInodes(kv dbfs.KV) (*Inodes, error) {
	i := &Inodes{kv: kv, next: RootInode + 1}
	err := kv.View(func(txn dbfs.Txn) error {
		b, err := txn.Get(inoLimitKey)
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) != 8 {
			return fmt.Errorf("%w: inode count of %d bytes", dbfs.ErrCorrupt, len(b))
		}
		i.next = binary.BigEndian.Uint64(b)
		return nil
	})
	i.limit = i.next
	return i, err
}

// Reserve sets n numbers aside for the caller, who gets them one by one from take; taking
// more is a bug. It may write to the database, so it comes before a transaction, never in one.
func (i *Inodes) Reserve(n int) (take func() uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.limit-i.next < uint64(n) {
		limit := i.next + uint64(n) + inoReserve
		err := i.kv.Update(func(txn dbfs.Txn) error {
			return txn.Set(inoLimitKey, binary.BigEndian.AppendUint64(nil, limit))
		})
		if err != nil {
			return nil, fmt.Errorf("reserve inode numbers: %w", err)
		}
		i.limit = limit
	}
	next, end := i.next, i.next+uint64(n)
	i.next = end
	return func() uint64 {
		if next == end {
			panic("cache: more inode numbers taken than reserved")
		}
		next++
		return next - 1
	}, nil
}

// Lookup returns the node that an inode number leads to, or ErrNotExist.
func (i *Inodes) Lookup(txn dbfs.Txn, ino uint64) (dbfs.NamespaceID, dbfs.NodeID, error) {
	b, err := txn.Get(inoKey(ino))
	if err != nil {
		return 0, dbfs.NodeID{}, err
	}
	if len(b) != 24 {
		return 0, dbfs.NodeID{}, fmt.Errorf("%w: inode %d", dbfs.ErrCorrupt, ino)
	}
	return dbfs.NamespaceID(binary.BigEndian.Uint64(b)), dbfs.NodeID(b[8:]), nil
}

func inoKey(ino uint64) []byte { return binary.BigEndian.AppendUint64([]byte("i/"), ino) }
