package server

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// A ChunkRow is what a test may see and change of a chunkRow.
type ChunkRow struct {
	State    string
	Touched  int64
	Verified bool
	Bad      bool
	Object   string
}

// GetChunkRow returns the row of a chunk in a namespace.
func GetChunkRow(ctx context.Context, s *Server, ns dbfs.NamespaceID, id dbfs.ChunkID) (ChunkRow, error) {
	row, err := s.chunk(ctx, ns, id)
	return ChunkRow{string(row.State), row.Touched, row.Verified, row.Bad, row.Object}, err
}

// SetChunkRow changes the row of a chunk in a namespace.
func SetChunkRow(ctx context.Context, s *Server, ns dbfs.NamespaceID, id dbfs.ChunkID, r ChunkRow) error {
	_, err := changeRow(ctx, s, TableChunk, "chunk", chunkKey(id, ns), func(row *chunkRow) error {
		row.State, row.Touched, row.Verified, row.Bad, row.Object = chunkState(r.State), r.Touched, r.Verified, r.Bad, r.Object
		return nil
	})
	return err
}

// Unread has a server look for all that it has not read back.
func Unread(s *Server) { s.verifier.walkAgain() }

// CheckAll is Check that also says what can be proved.
func CheckAll(ctx context.Context, se *Session, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, []bool, error) {
	return se.checkAll(ctx, ns, refs)
}

// NewNonce returns a nonce for proofs.
func NewNonce(se *Session, ns dbfs.NamespaceID) string { return se.newNonce(ns) }

// An Uploading is an upload that was granted and not yet registered.
type Uploading struct{ ticket ticket }

// BeginUpload does what a client does up to the end of its upload; that there is an object
// of that name is no error to it.
func BeginUpload(ctx context.Context, se *Session, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (Uploading, error) {
	frame := remote.AppendFrame(nil, ref, raw)
	object := remote.NewObject{Chunk: ref, Size: int64(len(frame)), SHA256: sha256.Sum256(frame)}
	tickets, err := se.grant(ctx, ns, []remote.NewObject{object})
	if err != nil {
		return Uploading{}, err
	}
	if err := se.s.objects.Put(ctx, tickets[0].name(), frame); err != nil && !errors.Is(err, dbfs.ErrExist) {
		return Uploading{}, err
	}
	return Uploading{tickets[0]}, nil
}

// EndUpload registers an upload as the interface does.
func EndUpload(ctx context.Context, se *Session, up Uploading) (dbfs.Receipt, error) {
	t, err := se.s.receipts.openTicket(up.ticket.ns, se.account, se.s.receipts.sealTicket(up.ticket), se.s.now())
	if err != nil {
		return "", err
	}
	return se.register(ctx, t)
}

// MarkAtMost makes a collection go over the rows in parts of so many marks.
func (c *Collection) MarkAtMost(n int) { c.most = n }

// The times that garbage collection goes by.
const (
	ReceiptLife = receiptLife
	ClockBound  = clockBound
	Grace       = grace
)
