package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
)

// A receipt is what a commit believes instead of reading the chunk table:
//
//	u8   version (1)
//	u64  namespace
//	[32] chunk id
//	u32  length of the chunk in bytes
//	i64  expiry, seconds since 1970
//	u32  key id
//	[16] HMAC-SHA256 of all before, cut to 128 bits
//
// Integers are big-endian; the whole travels as base64url without padding.
const (
	receiptVersion = 1
	receiptBody    = 1 + 8 + sha256.Size + 4 + 8
	macSize        = 16

	// receiptLife is how long a receipt is good. Garbage collection counts on it: a chunk
	// is not condemned before every receipt for it has run out.
	receiptLife = 24 * time.Hour
)

// A receiptKey signs what the server hands out to be shown again later: receipts and
// upload tickets. It is made once for a server and kept in TableServer, so that what was
// handed out survives a restart. Safe for concurrent use.
type receiptKey struct {
	id     uint32
	secret [32]byte
}

// seal returns a receipt for a chunk in a namespace, good for receiptLife.
func (k *receiptKey) seal(ns dbfs.NamespaceID, ref dbfs.ChunkRef, now time.Time) dbfs.Receipt {
	b := make([]byte, 0, receiptBody+4+macSize)
	b = append(b, receiptVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(ns))
	b = append(b, ref.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(ref.Len))
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(receiptLife).Unix()))
	return dbfs.Receipt(k.sign("receipt", b))
}

// open returns the chunk that a receipt vouches for. It fails with ErrVersion or, for one
// that has expired, was given for another namespace or not by this server, ErrInvalid.
func (k *receiptKey) open(ns dbfs.NamespaceID, r dbfs.Receipt, now time.Time) (dbfs.ChunkRef, error) {
	b, err := k.verify("receipt", string(r), receiptVersion, receiptBody)
	if err != nil {
		return dbfs.ChunkRef{}, err
	}
	b = b[1:]
	if got := dbfs.NamespaceID(binary.BigEndian.Uint64(b)); got != ns {
		return dbfs.ChunkRef{}, fmt.Errorf("%w: receipt of another namespace", dbfs.ErrInvalid)
	}
	ref := dbfs.ChunkRef{ID: dbfs.ChunkID(b[8:40]), Len: int(binary.BigEndian.Uint32(b[40:]))}
	if expiry := int64(binary.BigEndian.Uint64(b[44:])); now.Unix() >= expiry {
		return dbfs.ChunkRef{}, fmt.Errorf("%w: receipt expired", dbfs.ErrInvalid)
	}
	return ref, nil
}

// sign appends key id and MAC to b and returns the text of it. The purpose keeps what was
// signed for one thing from being shown for another.
func (k *receiptKey) sign(purpose string, b []byte) string {
	b = binary.BigEndian.AppendUint32(b, k.id)
	b = append(b, k.mac(purpose, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// verify undoes sign: it returns the body, which has exactly size bytes, of which the
// first is the version.
func (k *receiptKey) verify(purpose, text string, version byte, size int) ([]byte, error) {
	if len(text) > base64.RawURLEncoding.EncodedLen(size+4+macSize) {
		return nil, fmt.Errorf("%w: %s of %d letters", dbfs.ErrInvalid, purpose, len(text))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 1 {
		return nil, fmt.Errorf("%w: %s is not base64", dbfs.ErrInvalid, purpose)
	}
	if b[0] != version {
		return nil, fmt.Errorf("%w: %s of version %d", dbfs.ErrVersion, purpose, b[0])
	}
	if len(b) != size+4+macSize {
		return nil, fmt.Errorf("%w: %s of %d bytes", dbfs.ErrInvalid, purpose, len(b))
	}
	signed, mac := b[:size+4], b[size+4:]
	if binary.BigEndian.Uint32(signed[size:]) != k.id || subtle.ConstantTimeCompare(mac, k.mac(purpose, signed)) != 1 {
		return nil, fmt.Errorf("%w: %s was not given by this server", dbfs.ErrInvalid, purpose)
	}
	return b[:size], nil
}

func (k *receiptKey) mac(purpose string, b []byte) []byte {
	h := hmac.New(sha256.New, k.secret[:])
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)[:macSize]
}

// The row of the key in TableServer: u8 version (1), u32 key id big-endian, 32 bytes of secret.
const receiptKeyVersion = 1

var receiptKeyRow = []byte("receipt-key")

// loadReceiptKey reads the server's key; the first start makes it. Servers that start
// together over one store agree on one.
func loadReceiptKey(ctx context.Context, store Store) (*receiptKey, error) {
	row, err := store.Get(ctx, TableServer, receiptKeyRow)
	if errors.Is(err, dbfs.ErrNotExist) {
		fresh := make([]byte, 1+4+32)
		rand.Read(fresh)
		fresh[0] = receiptKeyVersion
		if _, err := store.CAS(ctx, TableServer, receiptKeyRow, nil, fresh); err != nil {
			return nil, fmt.Errorf("keep the receipt key: %w", err)
		}
		row, err = store.Get(ctx, TableServer, receiptKeyRow)
	}
	if err != nil {
		return nil, fmt.Errorf("read the receipt key: %w", err)
	}
	return decodeReceiptKey(row)
}

func decodeReceiptKey(row []byte) (*receiptKey, error) {
	if len(row) > 0 && row[0] != receiptKeyVersion {
		return nil, fmt.Errorf("%w: receipt key of version %d", dbfs.ErrVersion, row[0])
	}
	if len(row) != 1+4+32 {
		return nil, fmt.Errorf("%w: receipt key of %d bytes", dbfs.ErrCorrupt, len(row))
	}
	return &receiptKey{id: binary.BigEndian.Uint32(row[1:]), secret: [32]byte(row[5:])}, nil
}
