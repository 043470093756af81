package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A chunkRow says where a chunk is. Its key in TableChunk is
//
//	[32] chunk id
//	u64  namespace, big-endian
//
// so a row is what brings a chunk within a namespace's reach, and all rows of a chunk
// stand side by side. Several may name one object: an account's own namespaces share what
// is stored, and a pack holds many chunks (packrow.go). Whoever deletes an object must therefore look
// at all rows of its chunks first, and whoever makes a second row for it touches the first before.
type chunkRow struct {
	State    chunkState     `json:"state"`
	Touched  int64          `json:"touched"`            // seconds since 1970: no receipt is younger than this + touchEvery
	Verified bool           `json:"verified,omitempty"` // the server has read and hashed it
	Bad      bool           `json:"bad,omitempty"`      // the server has read it, and it is something else
	By       dbfs.AccountID `json:"by"`                 // who uploaded it
	Object   string         `json:"object"`             // name in the object store
	Off      int64          `json:"off,omitempty"`      // of the frame in the object, bytes
	Size     int64          `json:"size"`               // of the frame, bytes
	Raw      int            `json:"raw"`                // of the chunk, bytes

	// Whole is the size of the object, in bytes, if it is a pack of which whoever may read one
	// chunk in this namespace may have everything; 0: it is to be given out frame by frame.
	Whole int64 `json:"whole,omitempty"`

	// Base names the chunks of the frame's dictionary, without which it cannot be decoded: they
	// are needed as long as the row stays so. Empty for a frame that stands alone.
	Base []dbfs.ChunkID `json:"base,omitempty"`

	Condemned int64 `json:"condemned,omitempty"` // seconds since 1970: when it became so
}

// A chunkState is how near a chunk is to being deleted. Only a live one gets receipts; one
// that is condemned can still be read; one that is being deleted is as good as gone.
type chunkState string

const (
	chunkLive      chunkState = "live"
	chunkCondemned chunkState = "condemned"
	chunkDeleting  chunkState = "deleting"
)

// touchEvery is how far a row's time of touch may lag behind the last receipt.
const touchEvery = time.Hour

func chunkKey(id dbfs.ChunkID, ns dbfs.NamespaceID) []byte {
	return binary.BigEndian.AppendUint64(id[:len(id):len(id)], uint64(ns))
}

// namespaceOf undoes chunkKey.
func namespaceOf(key []byte) (dbfs.NamespaceID, error) {
	if len(key) != len(dbfs.ChunkID{})+8 {
		return 0, fmt.Errorf("%w: chunk key of %d bytes", dbfs.ErrCorrupt, len(key))
	}
	return dbfs.NamespaceID(binary.BigEndian.Uint64(key[len(dbfs.ChunkID{}):])), nil
}

// objectName names the object for a chunk's frame, for ever: c/<hh>/<chunk id>-<16 random
// digits>, hh being the first byte of the id.
func objectName(id dbfs.ChunkID, random uint64) string {
	if fault.Bug(fault.ObjectNamesReused) {
		random = 0
	}
	return fmt.Sprintf("c/%02x/%s-%016x", id[0], id, random)
}

// chunkOf returns the chunk that an object holds, by its name.
func chunkOf(object string) (dbfs.ChunkID, error) {
	rest, isChunk := strings.CutPrefix(object, "c/")
	_, last, _ := strings.Cut(rest, "/")
	digits, _, _ := strings.Cut(last, "-")
	var id dbfs.ChunkID
	if err := id.UnmarshalText([]byte(digits)); err != nil || !isChunk {
		return id, fmt.Errorf("%w: object %q holds no chunk", dbfs.ErrCorrupt, object)
	}
	return id, nil
}

// errStays ends a change that finds nothing to change.
var errStays = errors.New("the row stays")

// chunk returns the row of a chunk in a namespace; dbfs.ErrNotExist.
func (s *Server) chunk(ctx context.Context, ns dbfs.NamespaceID, id dbfs.ChunkID) (chunkRow, error) {
	return getRow[chunkRow](ctx, s, TableChunk, "chunk", chunkKey(id, ns))
}

// touch makes a row say that a receipt is being given now. It reports false for a chunk
// that is not there any more, or not live.
func (s *Server) touch(ctx context.Context, ns dbfs.NamespaceID, id dbfs.ChunkID, row chunkRow) (bool, error) {
	now := s.now()
	if row.State == chunkLive && now.Sub(time.Unix(row.Touched, 0)) < touchEvery {
		return true, nil
	}
	_, err := changeRow(ctx, s, TableChunk, "chunk", chunkKey(id, ns), func(row *chunkRow) error {
		if row.State != chunkLive {
			return errStays
		}
		row.Touched = max(row.Touched, now.Unix())
		return nil
	})
	if errors.Is(err, errStays) {
		return false, nil
	}
	return err == nil, err
}

// eachRowOf calls fn with every row of a chunk, of whatever namespace, until it returns false.
func (s *Server) eachRowOf(ctx context.Context, id dbfs.ChunkID, fn func(ns dbfs.NamespaceID, row chunkRow) bool) error {
	errEnough := errors.New("enough")
	err := s.eachRow(ctx, TableChunk, bytes.Clone(id[:]), func(r Row) error {
		ns, err := namespaceOf(r.Key)
		if err != nil {
			return err
		}
		var row chunkRow
		if err := unmarshalRow("chunk", r.Value, &row); err != nil {
			return err
		}
		if !fn(ns, row) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
