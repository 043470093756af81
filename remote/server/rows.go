package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/dbfs/dbfs"
)

// A row that this package makes up itself is
//
//	u8  version (1)
//	..  body
//	u32 crc32c of all before, little-endian
//
// The body of a row in a Table is a JSON object; unknown fields are skipped.
const rowVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sealRow(body []byte) []byte {
	b := append([]byte{rowVersion}, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func openRow(what string, row []byte) ([]byte, error) {
	if len(row) < 5 {
		return nil, fmt.Errorf("%w: %s row of %d bytes", dbfs.ErrCorrupt, what, len(row))
	}
	b, sum := row[:len(row)-4], binary.LittleEndian.Uint32(row[len(row)-4:])
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, fmt.Errorf("%w: %s row does not match its checksum", dbfs.ErrCorrupt, what)
	}
	if b[0] != rowVersion {
		return nil, fmt.Errorf("%w: %s row of version %d", dbfs.ErrVersion, what, b[0])
	}
	return b[1:], nil
}

func marshalRow(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return sealRow(body), nil
}

func unmarshalRow(what string, row []byte, v any) error {
	body, err := openRow(what, row)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %s row: %v", dbfs.ErrCorrupt, what, err)
	}
	return nil
}

// getRow reads one row.
func getRow[V any](ctx context.Context, s *Server, table Table, what string, key []byte) (V, error) {
	var v V
	row, err := s.store.Get(ctx, table, key)
	if err != nil {
		return v, fmt.Errorf("read %s: %w", what, err)
	}
	err = unmarshalRow(what, row, &v)
	return v, err
}

// changeRow reads a row, lets change alter it, and writes it back, again and again until
// nobody came between. A missing row is the zero V. It returns what is there now.
func changeRow[V any](ctx context.Context, s *Server, table Table, what string, key []byte, change func(v *V) error) (V, error) {
	for {
		v, done, err := tryChange(ctx, s, table, what, key, change)
		if done || err != nil {
			return v, err
		}
	}
}

func tryChange[V any](ctx context.Context, s *Server, table Table, what string, key []byte, change func(v *V) error) (v V, done bool, err error) {
	old, err := s.store.Get(ctx, table, key)
	if errors.Is(err, dbfs.ErrNotExist) {
		old, err = nil, nil
	}
	if err == nil && old != nil {
		err = unmarshalRow(what, old, &v)
	}
	if err != nil {
		return v, false, fmt.Errorf("read %s: %w", what, err)
	}
	if err := change(&v); err != nil {
		return v, false, err
	}
	row, err := marshalRow(v)
	if err != nil || bytes.Equal(row, old) {
		return v, err == nil, err
	}
	if done, err = s.store.CAS(ctx, table, key, old, row); err != nil {
		return v, false, fmt.Errorf("write %s: %w", what, err)
	}
	return v, done, nil
}

// addRow writes a row that must not exist; it reports false if it does.
func addRow(ctx context.Context, s *Server, table Table, what string, key []byte, v any) (bool, error) {
	row, err := marshalRow(v)
	if err != nil {
		return false, err
	}
	done, err := s.store.CAS(ctx, table, key, nil, row)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", what, err)
	}
	return done, nil
}

// eachRow calls fn with every row under a prefix, in order.
func (s *Server) eachRow(ctx context.Context, table Table, prefix []byte, fn func(Row) error) error {
	const page = 256
	var after []byte
	for {
		rows, err := s.store.Scan(ctx, table, prefix, after, page)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := fn(row); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
		after = rows[len(rows)-1].Key
	}
}

// rowKey is a letter, which tells the kinds of rows in one table apart, and numbers.
func rowKey(kind byte, ids ...uint64) []byte {
	b := []byte{kind}
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return b
}
