package chunktest

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/dbfs/dbfs"
)

// Mem is a chunk store in memory. Its receipts are good for nothing but being counted: a
// real server refuses them. The zero Mem is empty and ready.
type Mem struct {
	mu     sync.Mutex // guards what follows
	chunks map[place][]byte
}

type place struct {
	ns  dbfs.NamespaceID
	ref dbfs.ChunkRef
}

// Check returns receipts for what was put into the namespace.
func (m *Mem) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	receipts := make([]dbfs.Receipt, len(refs))
	for i, ref := range refs {
		if err := possible(ref); err != nil {
			return nil, err
		}
		if _, ok := m.chunks[place{ns, ref}]; ok {
			receipts[i] = receipt(ns, ref)
		}
	}
	return receipts, nil
}

// Put keeps a copy of raw.
func (m *Mem) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := possible(ref); err != nil {
		return "", err
	}
	if err := ref.Verify(raw); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.chunks == nil {
		m.chunks = make(map[place][]byte)
	}
	m.chunks[place{ns, ref}] = bytes.Clone(raw)
	return receipt(ns, ref), nil
}

// Get returns a copy of what was put.
func (m *Mem) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := possible(ref); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.chunks[place{ns, ref}]
	if !ok {
		return nil, fmt.Errorf("%w: chunk %s", dbfs.ErrNotExist, ref.ID)
	}
	return bytes.Clone(b), nil
}

// Len returns how many chunks are kept.
func (m *Mem) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.chunks)
}

// Lose forgets a chunk, as a store does that has had an accident.
func (m *Mem) Lose(ns dbfs.NamespaceID, ref dbfs.ChunkRef) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.chunks, place{ns, ref})
}

func possible(ref dbfs.ChunkRef) error {
	if ref.ID == dbfs.ZeroChunk || ref.Len < 1 || ref.Len > dbfs.ChunkSize {
		return fmt.Errorf("%w: no chunk to store: %s of %d bytes", dbfs.ErrInvalid, ref.ID, ref.Len)
	}
	return nil
}

func receipt(ns dbfs.NamespaceID, ref dbfs.ChunkRef) dbfs.Receipt {
	return dbfs.Receipt(fmt.Sprintf("mem-%s-%s", ns, ref.ID))
}
