package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dbfs/dbfs"
)

// What the rows of a key-value store are like, as a row under the key 'V': u32 big-endian.
//
//	none  (1) before nodes could be found by their last change
//	2         with an l row for every node that was ever changed
const layout = 2

var layoutKey = []byte{'V'}

// upgradeStep is how many nodes are looked at in one transaction.
const upgradeStep = 1000

// Upgrade brings an older key-value store to the present layout. read runs a function on a
// snapshot, write makes a set durable. It may be cut short at any point and begun again.
// dbfs.ErrVersion: the store was written by a newer server.
func Upgrade(read func(func(dbfs.Txn) error) error, write func(*WriteSet) error, log *slog.Logger) error {
	var has uint32
	err := read(func(txn dbfs.Txn) (err error) {
		has, err = layoutOf(txn)
		return err
	})
	if err != nil || has == layout {
		return err
	}
	if has > layout {
		return fmt.Errorf("%w: its rows are of layout %d, this server knows %d", dbfs.ErrVersion, has, layout)
	}
	if err := listLastChanges(read, write, log); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	set := NewWriteSet(nil)
	if err := set.Set(layoutKey, sealRow(binary.BigEndian.AppendUint32(nil, layout))); err != nil {
		return err
	}
	return write(set)
}

func layoutOf(txn dbfs.Txn) (uint32, error) {
	row, err := txn.Get(layoutKey)
	if errors.Is(err, dbfs.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	b, err := openRow("layout", row)
	if err == nil && len(b) != 4 {
		err = fmt.Errorf("%w: layout of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

// listLastChanges writes the l rows of all nodes.
func listLastChanges(read func(func(dbfs.Txn) error) error, write func(*WriteSet) error, log *slog.Logger) error {
	var after []byte
	for done := 0; ; {
		set, n := NewWriteSet(nil), 0
		err := read(func(txn dbfs.Txn) error {
			var bad error
			err := txn.Scan([]byte{'n'}, after, func(k, v []byte) bool {
				after = append([]byte(nil), k...)
				if bad = listLastChange(set, k, v); bad != nil {
					return false
				}
				n++
				return n < upgradeStep
			})
			return errors.Join(err, bad)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if done += n; done > upgradeStep {
			log.Info("upgrading the server's database", "nodes", done)
		}
		if set.Len() > 0 {
			if err := write(set); err != nil {
				return err
			}
		}
	}
}

func listLastChange(set *WriteSet, key, row []byte) error {
	if len(key) != 1+8+16 {
		return fmt.Errorf("%w: a node under a key of %d bytes", dbfs.ErrCorrupt, len(key))
	}
	n, err := dbfs.DecodeNode(row)
	if err != nil || n.Last == 0 {
		return err
	}
	ns := dbfs.NamespaceID(binary.BigEndian.Uint64(key[1:]))
	return set.Set(keyTx{ns: ns}.lastKey(n.Last, n.ID), nil)
}
