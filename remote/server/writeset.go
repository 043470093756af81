package server

import (
	"maps"
	"slices"
	"strings"

	"github.com/dbfs/dbfs"
)

// A WriteSet is a transaction that keeps its writes to itself: an engine runs Update's fn
// on one over a snapshot and, when fn is content, applies what it has collected. Not for
// concurrent use.
type WriteSet struct {
	base   dbfs.Txn
	writes map[string][]byte // nil: deleted
}

// NewWriteSet returns a transaction that reads from base and never writes to it.
func NewWriteSet(base dbfs.Txn) *WriteSet {
	return &WriteSet{base: base, writes: make(map[string][]byte)}
}

// Get is dbfs.Txn's, as are Set, Delete and Scan.
func (w *WriteSet) Get(key []byte) ([]byte, error) {
	v, written := w.writes[string(key)]
	if !written {
		return w.base.Get(key)
	}
	if v == nil {
		return nil, dbfs.ErrNotExist
	}
	return slices.Clone(v), nil
}

func (w *WriteSet) Set(key, value []byte) error {
	w.writes[string(key)] = append([]byte{}, value...)
	return nil
}

func (w *WriteSet) Delete(key []byte) error {
	w.writes[string(key)] = nil
	return nil
}

// Scan merges what was written with what base has.
func (w *WriteSet) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	mine := w.between(string(prefix), string(start), start != nil)
	more := true
	emit := func(key string) {
		if v := w.writes[key]; more && v != nil {
			more = fn([]byte(key), v)
		}
	}
	err := w.base.Scan(prefix, start, func(k, v []byte) bool {
		for len(mine) > 0 && mine[0] < string(k) {
			emit(mine[0])
			mine = mine[1:]
		}
		if _, written := w.writes[string(k)]; !written && more {
			more = fn(k, v)
		}
		return more
	})
	for _, key := range mine {
		emit(key)
	}
	return err
}

// between returns the written keys of a scan, in order.
func (w *WriteSet) between(prefix, start string, started bool) []string {
	var keys []string
	for key := range w.writes {
		if strings.HasPrefix(key, prefix) && (!started || key > start) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Each calls fn with every write in order of key; a nil value is a deletion. fn may keep
// what it is given, but not change it.
func (w *WriteSet) Each(fn func(key string, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(w.writes)) {
		if err := fn(key, w.writes[key]); err != nil {
			return err
		}
	}
	return nil
}

// Len is how many keys were written.
func (w *WriteSet) Len() int { return len(w.writes) }
