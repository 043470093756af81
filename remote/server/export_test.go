package server

import (
	"context"

	"github.com/dbfs/dbfs"
)

// A ChunkRow is what a test may see and change of a chunkRow.
type ChunkRow struct {
	State    string
	Touched  int64
	Verified bool
	Object   string
}

// GetChunkRow returns the row of a chunk in a namespace.
func GetChunkRow(ctx context.Context, s *Server, ns dbfs.NamespaceID, id dbfs.ChunkID) (ChunkRow, error) {
	row, err := s.chunk(ctx, ns, id)
	return ChunkRow{string(row.State), row.Touched, row.Verified, row.Object}, err
}

// SetChunkRow changes the row of a chunk in a namespace.
func SetChunkRow(ctx context.Context, s *Server, ns dbfs.NamespaceID, id dbfs.ChunkID, r ChunkRow) error {
	_, err := changeRow(ctx, s, TableChunk, "chunk", chunkKey(id, ns), func(row *chunkRow) error {
		row.State, row.Touched, row.Verified, row.Object = chunkState(r.State), r.Touched, r.Verified, r.Object
		return nil
	})
	return err
}
