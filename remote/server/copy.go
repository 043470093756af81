package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A copy names a content of another namespace that its maker may read, and need not send the
// bytes again. What the server lends for it is touched, as for a receipt, and from then on within
// the reach of the copy's namespace. It lends only between namespaces of one owner: across owners,
// who pay for what they store and delete what they will, the bytes have to come as anybody's. Whatever
// is not lent is asked for, so a copy is never refused for its source.

// A loan is a chunk that a copy takes from its source.
type loan struct {
	src dbfs.Source
	ref dbfs.ChunkRef
}

// A lender gives loans to one namespace, while a batch for it is decided.
type lender struct {
	se   *Session
	near *neighbours
	lent map[loan]bool // those asked for, and whether they are lent
}

func newLender(se *Session, ns dbfs.NamespaceID) *lender {
	return &lender{se: se, near: &neighbours{se: se, ns: ns}, lent: make(map[loan]bool)}
}

// borrows reports whether a chunk comes from a source. As long as that is not known it is asked for.
func (j *judgement) borrows(src *dbfs.Source, ref dbfs.ChunkRef) bool {
	if src == nil || j.p.lender == nil {
		return false
	}
	l := loan{*src, ref}
	lent, known := j.p.lender.lent[l]
	if !known {
		j.borrow = append(j.borrow, l)
	}
	return lent || !known
}

// lend touches what is asked for and notes what is there.
func (l *lender) lend(ctx context.Context, loans []loan) error {
	sources := make(map[dbfs.Source]map[dbfs.ChunkRef]bool)
	for _, a := range loans {
		if _, known := sources[a.src]; known {
			continue
		}
		has, err := l.read(ctx, a.src)
		if err != nil {
			return fmt.Errorf("copy of node %s of namespace %s: %w", a.src.Node, a.src.NS, err)
		}
		sources[a.src] = has
	}
	lent := make([]bool, len(loans))
	err := l.se.s.each(ctx, len(loans), func(ctx context.Context, i int) (err error) {
		if a := loans[i]; sources[a.src][a.ref] {
			lent[i], err = l.bring(ctx, a)
		}
		return err
	})
	for i, a := range loans {
		l.lent[a] = lent[i]
	}
	return err
}

// read returns the chunks of a source, none if it is not there or not to be read by this account.
func (l *lender) read(ctx context.Context, src dbfs.Source) (map[dbfs.ChunkRef]bool, error) {
	if src.NS != l.near.ns {
		if ok, err := l.near.has(ctx, src.NS); err != nil || !ok {
			return nil, noneIfGone(err)
		}
	}
	var r dbfs.Revision
	err := l.se.s.store.View(ctx, src.NS, func(tx ReadTx) (err error) {
		r, err = readRevision(tx, src.Node, src.Rev)
		return err
	})
	if err != nil {
		return nil, noneIfGone(err)
	}
	has := make(map[dbfs.ChunkRef]bool, len(r.Content.Chunks.IDs()))
	for _, ref := range r.Content.Refs() {
		has[ref] = true
	}
	return has, nil
}

func noneIfGone(err error) error {
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil
	}
	return err
}

// bring brings a chunk within the namespace's reach, and touches it.
func (l *lender) bring(ctx context.Context, a loan) (bool, error) {
	s := l.se.s
	if s.objects == nil {
		return true, nil // then no chunk has a row
	}
	row, err := s.chunk(ctx, l.near.ns, a.ref.ID)
	if errors.Is(err, dbfs.ErrNotExist) {
		row, err = l.fromSource(ctx, a)
	}
	if err != nil || row.Raw != a.ref.Len || row.Bad {
		return false, noneIfGone(err)
	}
	if fault.Bug(fault.CopyUntouched) {
		return true, nil
	}
	return s.touch(ctx, l.near.ns, a.ref.ID, row)
}

// fromSource makes a row of the source's one. What somebody else uploaded is read first, so that a
// damaged chunk does not spread.
func (l *lender) fromSource(ctx context.Context, a loan) (chunkRow, error) {
	row, err := l.se.s.chunk(ctx, a.src.NS, a.ref.ID)
	if err != nil {
		return row, err
	}
	good, err := l.se.trusts(ctx, a.src.NS, a.ref, row)
	if err != nil {
		return row, err
	}
	if !good || row.State != chunkLive {
		return row, dbfs.ErrNotExist
	}
	return l.near.take(ctx, a.ref.ID, a.src.NS, row)
}
