// Package memstore is a server.Store in memory: the real rules of a store with nothing
// behind them. Tests run servers on it, also servers whose transactions conflict now and then.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
)

// A Store keeps all rows in one sorted map.
type Store struct {
	// Conflict, when not nil, is asked after each run of an Update's fn whether to throw
	// the writes away and run it again, as an engine does after a conflict.
	Conflict func() bool

	mu     sync.RWMutex // guards what follows; held for the whole of a transaction
	rows   rows
	closed bool
}

var _ server.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{rows: rows{values: make(map[string][]byte)}} }

func (s *Store) open(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("%w: the store is closed", dbfs.ErrOffline)
	}
	return ctx.Err()
}

// Update is server.Store's, as are the methods below.
func (s *Store) Update(ctx context.Context, ns dbfs.NamespaceID, fn func(server.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.open(ctx); err != nil {
			return err
		}
		set := server.NewWriteSet(&s.rows)
		if err := fn(server.NewKeyTx(ns, set)); err != nil {
			return err
		}
		if s.Conflict == nil || !s.Conflict() {
			return set.Each(s.rows.put)
		}
	}
}

func (s *Store) View(ctx context.Context, ns dbfs.NamespaceID, fn func(server.ReadTx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.open(ctx); err != nil {
		return err
	}
	return fn(server.NewKeyTx(ns, &s.rows))
}

func (s *Store) Get(ctx context.Context, table server.Table, key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.rows.Get(server.TableKey(table, key))
}

func (s *Store) Scan(ctx context.Context, table server.Table, prefix, after []byte, limit int) ([]server.Row, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return server.ScanTable(&s.rows, table, prefix, after, limit)
}

func (s *Store) CAS(ctx context.Context, table server.Table, key, old, new []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(ctx); err != nil {
		return false, err
	}
	full := string(server.TableKey(table, key))
	now, exists := s.rows.values[full]
	if exists != (old != nil) || !bytes.Equal(now, old) {
		return false, nil
	}
	return true, s.rows.put(full, slices.Clone(new))
}

func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// rows is a sorted map, and a dbfs.Txn of which only the reading half is used.
type rows struct {
	keys   []string // sorted
	values map[string][]byte
}

// put sets a value; nil deletes it.
func (r *rows) put(key string, value []byte) error {
	i, found := slices.BinarySearch(r.keys, key)
	switch {
	case value == nil && found:
		r.keys = slices.Delete(r.keys, i, i+1)
		delete(r.values, key)
	case value != nil:
		if !found {
			r.keys = slices.Insert(r.keys, i, key)
		}
		r.values[key] = value
	}
	return nil
}

func (r *rows) Get(key []byte) ([]byte, error) {
	v, ok := r.values[string(key)]
	if !ok {
		return nil, dbfs.ErrNotExist
	}
	return slices.Clone(v), nil
}

func (r *rows) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	from := max(string(prefix), string(start))
	i, found := slices.BinarySearch(r.keys, from)
	if found && start != nil && from == string(start) {
		i++
	}
	for ; i < len(r.keys) && strings.HasPrefix(r.keys[i], string(prefix)); i++ {
		if !fn([]byte(r.keys[i]), r.values[r.keys[i]]) {
			return nil
		}
	}
	return nil
}

func (r *rows) Set(key, value []byte) error { return r.put(string(key), slices.Clone(value)) }
func (r *rows) Delete(key []byte) error     { return r.put(string(key), nil) }
