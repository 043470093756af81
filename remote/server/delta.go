package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// PutDelta stores the chunk that a delta is of, whole: before it gives a receipt the server has put
// the chunk together, verified and stored it. So nothing that is stored depends on another chunk, and a
// delta that is a lie, or whose bases are gone, has done nothing. Errors beside those of Put, after
// which the chunk has to be put whole: dbfs.ErrNotExist, a base is not within the namespace's reach;
// dbfs.ErrCorrupt, the delta is not one of the chunk.
func (se *Session) PutDelta(ctx context.Context, ns dbfs.NamespaceID, delta []byte) (dbfs.Receipt, error) {
	d, err := remote.ParseDelta(delta)
	if err != nil {
		return "", err
	}
	if err := se.blocks(ctx, ns, dbfs.RoleWrite); err != nil {
		return "", err
	}
	s := se.s
	if err := s.reading.Acquire(ctx, 1); err != nil {
		return "", context.Cause(ctx)
	}
	defer s.reading.Release(1)
	bases, err := s.bases(ctx, ns, d.Bases())
	if err != nil {
		return "", fmt.Errorf("delta of chunk %s: %w", d.Ref().ID, err)
	}
	raw, err := d.Decode(bases)
	if err != nil {
		return "", fmt.Errorf("delta of chunk %s: %w", d.Ref().ID, err)
	}
	return se.putRead(ctx, ns, d.Ref(), raw)
}

// bases reads the chunks of a delta's dictionary.
func (s *Server) bases(ctx context.Context, ns dbfs.NamespaceID, ids []dbfs.ChunkID) (*remote.Bases, error) {
	bases := new(remote.Bases)
	for i, id := range ids {
		if id == dbfs.ZeroChunk {
			continue
		}
		raw, err := s.base(ctx, ns, id)
		if errors.Is(err, dbfs.ErrCorrupt) {
			return nil, fmt.Errorf("%w: base %s is damaged: %v", dbfs.ErrNotExist, id, err)
		}
		if err != nil {
			return nil, fmt.Errorf("base %s: %w", id, err)
		}
		bases[i] = remote.Base{ID: id, Raw: raw}
	}
	return bases, nil
}

// base reads a chunk of a namespace by its name alone.
func (s *Server) base(ctx context.Context, ns dbfs.NamespaceID, id dbfs.ChunkID) ([]byte, error) {
	row, err := s.chunk(ctx, ns, id)
	if err != nil {
		return nil, err
	}
	ref := dbfs.ChunkRef{ID: id, Len: row.Raw}
	if row, err = s.readable(ctx, ns, ref); err != nil {
		return nil, err
	}
	return s.read(ctx, ref, row)
}

// signature tells of a chunk what a delta with it for a base wants. It is for those who may write: who
// may read has the chunk itself.
func (se *Session) signature(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	if err := remote.CheckChunk(ref); err != nil {
		return nil, err
	}
	if err := se.blocks(ctx, ns, dbfs.RoleWrite); err != nil {
		return nil, err
	}
	row, err := se.s.readable(ctx, ns, ref)
	if err != nil {
		return nil, fmt.Errorf("signature of chunk %s: %w", ref.ID, err)
	}
	raw, err := se.s.readWithin(ctx, ref, row)
	if err != nil {
		return nil, fmt.Errorf("signature of chunk %s: %w", ref.ID, err)
	}
	return remote.Signature(raw), nil
}
