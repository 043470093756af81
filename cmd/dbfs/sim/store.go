package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
)

// store is the server.Store under all servers. Others may act before a transaction begins; it
// conflicts now and then, and sometimes does not say that it was done.
type store struct {
	rows *rows
	w    *world // nil while the world is being made
}

var errNoAnswer = fmt.Errorf("%w: the database does not say whether it was done", dbfs.ErrOffline)

func (s *store) Update(_ context.Context, ns dbfs.NamespaceID, fn func(server.Tx) error) error {
	s.w.meanwhile()
	s.w.hearAll()
	for s.w.fault(conflicts) {
		set := server.NewWriteSet(txn{s.rows, false})
		if err := fn(server.NewKeyTx(ns, set)); err != nil {
			return err
		}
	}
	err := s.rows.update(func(t dbfs.Txn) error { return fn(server.NewKeyTx(ns, t)) })
	if err == nil && s.w.fault(unknownOutcome) {
		return errNoAnswer
	}
	return err
}

func (s *store) View(_ context.Context, ns dbfs.NamespaceID, fn func(server.ReadTx) error) error {
	return fn(server.NewKeyTx(ns, txn{s.rows, false}))
}

func (s *store) Get(_ context.Context, table server.Table, key []byte) ([]byte, error) {
	return txn{s.rows, false}.Get(server.TableKey(table, key))
}

func (s *store) Scan(_ context.Context, table server.Table, prefix, after []byte, limit int) ([]server.Row, error) {
	return server.ScanTable(txn{s.rows, false}, table, prefix, after, limit)
}

func (s *store) CAS(_ context.Context, table server.Table, key, old, now []byte) (bool, error) {
	s.w.meanwhile()
	full := string(server.TableKey(table, key))
	b, there := s.rows.values[full]
	if there != (old != nil) || !bytes.Equal(b, old) {
		return false, nil
	}
	s.rows.put(full, bytes.Clone(now))
	s.rows.undo = s.rows.undo[:0]
	if s.w.fault(unknownOutcome) {
		return false, errNoAnswer
	}
	return true, nil
}

func (s *store) Close() error { return nil }

// A backup is all rows of a namespace.
type backup map[string][]byte

func of(key string, ns dbfs.NamespaceID) bool {
	return key[0] != 't' && binary.BigEndian.Uint64([]byte(key[1:9])) == uint64(ns)
}

func (s *store) backup(ns dbfs.NamespaceID) backup {
	b := make(backup)
	for _, k := range s.rows.keys {
		if of(k, ns) {
			b[k] = s.rows.values[k]
		}
	}
	return b
}

// restore brings a namespace back to a backup, under another epoch.
func (s *store) restore(ns dbfs.NamespaceID, b backup, epoch uint32) error {
	err := s.rows.update(func(t dbfs.Txn) error {
		for k := range s.backup(ns) {
			s.rows.put(k, nil)
		}
		for k, v := range b {
			s.rows.put(strings.Clone(k), v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.changeHead(ns, func(h *server.Head) { h.Epoch = epoch })
}

// changeHead is what an operator's tools do to a log.
func (s *store) changeHead(ns dbfs.NamespaceID, change func(*server.Head)) error {
	return s.rows.update(func(t dbfs.Txn) error {
		tx := server.NewKeyTx(ns, t)
		head, err := tx.Head()
		if err != nil {
			return err
		}
		change(&head)
		return tx.SetHead(head)
	})
}
