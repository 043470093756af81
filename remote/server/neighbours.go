package server

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// neighbours are the namespaces from which an account may bring chunks into a namespace by
// naming them: those that have the same owner, and that the account can read. From others
// it may not, or a hash would open what it belongs to; and a chunk that somebody else
// uploaded must have been verified, or a bad one would spread under a good name.
type neighbours struct {
	se *Session
	ns dbfs.NamespaceID

	mu    sync.Mutex // guards what follows
	known map[dbfs.NamespaceID]bool
}

// adopt makes a row for a chunk that a neighbour has, and returns it; dbfs.ErrNotExist.
func (n *neighbours) adopt(ctx context.Context, id dbfs.ChunkID) (chunkRow, error) {
	if n.se.s.opts.Dedup == DedupNamespace {
		return chunkRow{}, fmt.Errorf("%w: chunk %s", dbfs.ErrNotExist, id)
	}
	type candidate struct {
		ns  dbfs.NamespaceID
		row chunkRow
	}
	var found []candidate
	err := n.se.s.eachRowOf(ctx, id, func(ns dbfs.NamespaceID, row chunkRow) bool {
		if ns != n.ns && row.State == chunkLive && !row.Bad && (row.Verified || row.By == n.se.account || fault.Bug(fault.UnverifiedShared)) {
			found = append(found, candidate{ns, row})
		}
		return true
	})
	if err != nil {
		return chunkRow{}, err
	}
	for _, c := range found {
		ok, err := n.has(ctx, c.ns)
		if err != nil {
			return chunkRow{}, err
		}
		if !ok {
			continue
		}
		row, err := n.take(ctx, id, c.ns, c.row)
		if !errors.Is(err, dbfs.ErrNotExist) {
			return row, err
		}
	}
	return chunkRow{}, fmt.Errorf("%w: chunk %s", dbfs.ErrNotExist, id)
}

// take copies a neighbour's row. It touches that row first: the object it names is then safe
// until long after the new row is there.
func (n *neighbours) take(ctx context.Context, id dbfs.ChunkID, from dbfs.NamespaceID, row chunkRow) (chunkRow, error) {
	live, err := n.se.s.touch(ctx, from, id, row)
	if err != nil {
		return chunkRow{}, err
	}
	if !live {
		return chunkRow{}, dbfs.ErrNotExist
	}
	row.Touched = n.se.s.now().Unix()
	if _, err := addRow(ctx, n.se.s, TableChunk, "chunk", chunkKey(id, n.ns), row); err != nil {
		return chunkRow{}, err
	}
	return n.se.s.chunk(ctx, n.ns, id) // perhaps one that came from elsewhere meanwhile
}

// has reports whether a namespace is a neighbour.
func (n *neighbours) has(ctx context.Context, ns dbfs.NamespaceID) (bool, error) {
	n.mu.Lock()
	ok, known := n.known[ns]
	n.mu.Unlock()
	if known {
		return ok, nil
	}
	ok, err := n.ask(ctx, ns)
	if err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[dbfs.NamespaceID]bool)
	}
	n.known[ns] = ok
	return ok, nil
}

func (n *neighbours) ask(ctx context.Context, ns dbfs.NamespaceID) (bool, error) {
	mine, err := n.se.s.owner(ctx, n.ns)
	if err != nil {
		return false, err
	}
	theirs, err := n.se.s.owner(ctx, ns)
	if err != nil || mine != theirs {
		return false, err
	}
	err = n.se.allowed(ctx, ns, dbfs.RoleRead)
	if errors.Is(err, dbfs.ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}
