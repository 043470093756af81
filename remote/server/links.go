package server

import (
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A hard link is a node that is a name and nothing else; the file that it is a name of knows
// its links. What the rules see to: a live link leads to something live.

// name tells the file of a link that has just been made or has come back.
func (j *judgement) name(op *dbfs.Op, link dbfs.Node) error {
	if link.Kind != dbfs.KindLink {
		return nil
	}
	f, err := j.liveOrRefuse(link.Link)
	if err != nil {
		return err
	}
	if f.Kind.IsDir() || f.Kind == dbfs.KindLink {
		return fmt.Errorf("%w: a link to a %s", dbfs.ErrInvalid, f.Kind)
	}
	now := *f
	if !slices.Contains(f.Links, link.ID) {
		now.Links = append(slices.Clone(f.Links), link.ID)
	}
	if len(now.Links) > dbfs.MaxLinks {
		if now.Links, err = j.notDeleted(now.Links); err != nil {
			return err
		}
	}
	if len(now.Links) > dbfs.MaxLinks {
		return fmt.Errorf("%w: node %s would have %d; the limit is %d", dbfs.ErrManyLinks, f.ID, len(now.Links), dbfs.MaxLinks)
	}
	now.Revs.Attr = j.next()
	j.record(op, dbfs.OpSetAttr, now)
	return nil
}

// notDeleted returns those links that are not deleted. One that is can only come back by an
// edit that tells its file again.
func (j *judgement) notDeleted(links []dbfs.NodeID) ([]dbfs.NodeID, error) {
	var rest []dbfs.NodeID
	for _, id := range links {
		n, err := j.node(id)
		if err != nil {
			return nil, err
		}
		if n != nil && !n.Deleted {
			rest = append(rest, id)
		}
	}
	return rest, nil
}

// mustBeLast refuses to delete what has other names.
func (j *judgement) mustBeLast(n *dbfs.Node) error {
	for _, id := range n.Links {
		link, err := j.live(id)
		if err != nil {
			return err
		}
		if link != nil && !fault.Bug(fault.LinksOrphaned) {
			return j.refuse(dbfs.RefusedNotEmpty, n.ID)
		}
	}
	return nil
}
