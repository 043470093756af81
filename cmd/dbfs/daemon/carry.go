package daemon

import (
	"context"
	"errors"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// journalOf returns the journal of a namespace, shown or left; nil if there is none.
func (d *Daemon) journalOf(ns dbfs.NamespaceID) *journal.Journal {
	if sp := d.known(ns); sp != nil {
		return sp.journal
	}
	return nil
}

// staysBehind reports whether something that cannot be sent is, as it is, where it was moved from.
func (d *Daemon) staysBehind(s *journal.Salvaged) bool {
	for _, op := range s.Ops {
		if op.From == (dbfs.Origin{}) {
			continue
		}
		if sp := d.space(op.From.NS); sp != nil && sp.journal.StaysBehind(op.From.Node, &s.Node) {
			return true
		}
	}
	return false
}

// elsewhere is the chunk store as the cache has it. A file that was moved here from another namespace
// has its chunks there, until the server has heard of that.
type elsewhere struct {
	dbfs.ChunkStore
	d *Daemon
}

func (e elsewhere) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	raw, err := e.ChunkStore.Get(ctx, ns, ref)
	if !errors.Is(err, dbfs.ErrNotExist) {
		return raw, err
	}
	j := e.d.journalOf(ns)
	if j == nil {
		return nil, err
	}
	for _, from := range j.Origins(ref.ID) {
		raw, elsewhere := e.ChunkStore.Get(ctx, from, ref)
		if elsewhere == nil {
			return raw, nil
		}
		if !errors.Is(elsewhere, dbfs.ErrNotExist) && !errors.Is(elsewhere, dbfs.ErrForbidden) {
			err = elsewhere
		}
	}
	return nil, err
}

// movedChunk fetches a chunk that the server wants of something that was moved here. Without such a thing
// it returns the error.
func (d *Daemon) movedChunk(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, err error) ([]byte, error) {
	j := d.journalOf(ns)
	if j == nil || len(j.Origins(ref.ID)) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.fetchTimeout())
	defer cancel()
	raw, err := elsewhere{d.link.chunks, d}.Get(ctx, ns, ref)
	if err != nil {
		return nil, err
	}
	return raw, ref.Verify(raw)
}
