package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// deletedLook is how many changes are looked at for one page of deleted nodes: most changes are of others.
const deletedLook = 8192

// Deleted is dbfs.History's.
func (se *Session) Deleted(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Departure, limit int) (p dbfs.DeletedPage, err error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.DeletedPage{}, err
	}
	err = se.s.store.View(ctx, ns, func(tx ReadTx) error {
		p, err = se.s.readDeleted(tx, after, pageLimit(limit))
		return err
	})
	if err != nil {
		return dbfs.DeletedPage{}, fmt.Errorf("what was deleted in namespace %s: %w", ns, err)
	}
	return p, nil
}

// readDeleted picks deleted nodes from those that were changed last: a node that is deleted does not change any more.
func (s *Server) readDeleted(tx ReadTx, after dbfs.Departure, limit int) (dbfs.DeletedPage, error) {
	p := dbfs.DeletedPage{Nodes: []dbfs.DeletedNode{}, Next: after, More: true}
	for looked, weight := 0, 0; looked < deletedLook; looked += pageStep {
		step, err := tx.Changed(p.Next.JID, p.Next.Node, pageStep)
		if err != nil {
			return p, err
		}
		for i := range step {
			n := &step[i]
			if len(p.Nodes) >= limit || weight >= pageWeight {
				return p, nil
			}
			p.Next = dbfs.Departure{JID: n.Last, Node: n.ID}
			if !n.Deleted {
				continue
			}
			gone, err := s.deleted(tx, n)
			if err != nil {
				return p, err
			}
			p.Nodes = append(p.Nodes, gone)
			weight += nodeWeight(n)
		}
		if len(step) < pageStep {
			p.More = false
			return p, nil
		}
	}
	return p, nil
}

// deleted says until when a node's content is kept.
func (s *Server) deleted(tx ReadTx, n *dbfs.Node) (dbfs.DeletedNode, error) {
	gone := dbfs.DeletedNode{Node: *n}
	if n.Kind != dbfs.KindFile {
		return gone, nil
	}
	r, err := tx.Revision(n.ID, n.Revs.Content)
	if errors.Is(err, dbfs.ErrNotExist) {
		return gone, nil
	}
	if err != nil {
		return gone, err
	}
	s.date(&r)
	gone.Expires = r.Expires
	return gone, nil
}
