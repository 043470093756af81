package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// A Restoration says what was done after a server's rows were brought back from a copy.
type Restoration struct {
	Namespaces int    `json:"namespaces"` // whose logs go on under another epoch
	Epoch      uint32 `json:"epoch"`      // which it is
	Devices    int    `json:"devices"`    // that may go on as they are
	Chunks     int    `json:"chunks"`     // looked for at the object store
	Missing    int    `json:"missing"`    // of them not there any more, and wanted anew from who has them
}

// Restored makes rows that were brought back from an older copy fit to be served. What has
// happened since the copy is not in them, but clients have seen it:
//
//   - Every log goes on under an epoch that was never used, so that clients notice that it is
//     another one, list the tree anew, and reconcile with it what they have not sent.
//   - Receipts and tickets from before are worthless: they may vouch for chunks that these rows
//     know nothing of.
//   - Chunks whose objects were deleted since are not taken to be there.
//   - Devices that went on since are not taken for copies of themselves.
//
// It may be cut short and done again. Nothing else may use the server meanwhile.
func (s *Server) Restored(ctx context.Context) (r Restoration, err error) {
	if err := s.renewReceiptKey(ctx); err != nil {
		return r, err
	}
	if r.Devices, err = s.trustDevices(ctx); err != nil {
		return r, err
	}
	if s.objects != nil {
		if r.Chunks, r.Missing, err = s.dropMissing(ctx); err != nil {
			return r, err
		}
	}
	return r, s.raiseEpochs(ctx, &r)
}

// raiseEpochs gives every log an epoch by the clock: two restorations from one copy must not
// come to the same.
func (s *Server) raiseEpochs(ctx context.Context, r *Restoration) error {
	r.Epoch = uint32(s.now().Unix())
	return s.eachRow(ctx, TableNamespace, rowKey('i'), func(row Row) error {
		ns := dbfs.NamespaceID(lastID(row.Key))
		err := s.store.Update(ctx, ns, func(tx Tx) error {
			head, err := tx.Head()
			if err != nil {
				return err
			}
			head.Epoch = max(head.Epoch+1, r.Epoch)
			return tx.SetHead(head)
		})
		if err != nil {
			return fmt.Errorf("raise the epoch of namespace %s: %w", ns, err)
		}
		r.Namespaces++
		return nil
	})
}

func (s *Server) renewReceiptKey(ctx context.Context) error {
	fresh := make([]byte, 1+4+32)
	rand.Read(fresh)
	fresh[0] = receiptKeyVersion
	for done := false; !done; {
		old, err := s.store.Get(ctx, TableServer, receiptKeyRow)
		if err == nil {
			done, err = s.store.CAS(ctx, TableServer, receiptKeyRow, old, fresh)
		}
		if err != nil {
			return fmt.Errorf("renew the receipt key: %w", err)
		}
	}
	s.receipts = &receiptKey{id: binary.BigEndian.Uint32(fresh[1:]), secret: [32]byte(fresh[5:])}
	return nil
}

// dropMissing looks for the object of every chunk, and forgets where chunks are that are not
// there: whoever has one puts it again.
func (s *Server) dropMissing(ctx context.Context) (looked, missing int, err error) {
	var after []byte
	for {
		rows, err := s.store.Scan(ctx, TableChunk, nil, after, 256)
		if err != nil || len(rows) == 0 {
			return looked, missing, err
		}
		var gone atomic.Int64
		err = s.each(ctx, len(rows), func(ctx context.Context, i int) error {
			var row chunkRow
			if err := unmarshalRow("chunk", rows[i].Value, &row); err != nil {
				return err
			}
			_, _, err := s.objects.Stat(ctx, row.Object)
			if errors.Is(err, dbfs.ErrNotExist) {
				gone.Add(1)
				_, err = s.store.CAS(ctx, TableChunk, rows[i].Key, rows[i].Value, nil)
			}
			return err
		})
		if err != nil {
			return looked, missing, fmt.Errorf("look for the objects of chunks: %w", err)
		}
		looked, missing = looked+len(rows), missing+int(gone.Load())
		if looked%(256*64) == 0 {
			s.opts.Log.Info("looking for the objects of chunks", "chunks", looked, "missing", missing)
		}
		after = rows[len(rows)-1].Key
	}
}

// trustDevices forgets which starts of devices are the last.
func (s *Server) trustDevices(ctx context.Context) (n int, err error) {
	err = s.eachRow(ctx, TableDevice, rowKey('d'), func(row Row) error {
		n++
		_, err := changeRow(ctx, s, TableDevice, "device", row.Key, func(d *deviceRow) error {
			d.Start = ""
			return nil
		})
		return err
	})
	return n, err
}
