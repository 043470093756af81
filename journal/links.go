package journal

import (
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// Hard links. A file is one node, with one content and one set of attributes, and each name that
// it has beside its own is a node of kind link, which leads to it. So nothing that is done to
// the file has to be done to several nodes, and no name of it can come to show something else.
// The file knows its links, by a list that only grows here: what is on it may be deleted.
//
// When the file's own name goes, by a delete or because something is moved over it, the file moves
// to the place of one of its links, in the same edit that deletes the link.

// Link gives a file, or anything that is no directory, one more name, and returns it.
func (j *Journal) Link(id, parent dbfs.NodeID, name string) (dbfs.Node, error) {
	if err := names.Check(j.cfg.Names, name); err != nil {
		return dbfs.Node{}, err
	}
	var linked dbfs.Node
	err := j.editing(func(ed *editor) error {
		n, ok := ed.node(id)
		switch {
		case !ok || n.Deleted:
			return fmt.Errorf("link %q: %w", name, dbfs.ErrNotExist)
		case n.Kind.IsDir():
			return fmt.Errorf("link %q: %w", name, dbfs.ErrIsDir)
		case n.Kind == dbfs.KindLink:
			return fmt.Errorf("%w: link %q to a link", dbfs.ErrInvalid, name)
		case len(liveLinks(ed, n)) >= dbfs.MaxLinks:
			return fmt.Errorf("link %q to what has %d names: %w", name, dbfs.MaxLinks+1, dbfs.ErrManyLinks)
		}
		if err := ed.mayHold(parent); err != nil {
			return err
		}
		if _, taken := ed.child(parent, name); taken {
			return fmt.Errorf("link %q: %w", name, dbfs.ErrExist)
		}
		err := ed.record(dbfs.Op{Type: dbfs.OpCreate, Node: j.cfg.NewID(), Parent: parent, Name: name, Kind: dbfs.KindLink, Link: id})
		if err != nil {
			return err
		}
		linked = ed.shown(id)
		return nil
	})
	return linked, err
}

// applyName makes of a file what an edit makes of it that gives it a name or takes one.
func applyName(n *dbfs.Node, op *dbfs.Op) {
	if op.Type != dbfs.OpCreate && op.Type != dbfs.OpRevive {
		return
	}
	if !slices.Contains(n.Links, op.Node) {
		n.Links = append(slices.Clone(n.Links), op.Node)
	}
	n.Revs.Attr = dbfs.SelfRev
}

// liveLinks returns the links that lead to a node and can be reached.
func liveLinks(s state, n dbfs.Node) []dbfs.Node {
	var live []dbfs.Node
	for _, id := range n.Links {
		if link, ok := s.node(id); ok && link.Kind == dbfs.KindLink && link.Link == n.ID && reachable(s, id) {
			live = append(live, link)
		}
	}
	return live
}

// linkOf returns the link whose place a node takes when it loses its own; false: it has none.
func linkOf(s state, n dbfs.Node) (dbfs.Node, bool) {
	live := liveLinks(s, n)
	if len(live) == 0 {
		return dbfs.Node{}, false
	}
	return live[0], true
}

// sameFile reports whether two nodes are names of one file.
func sameFile(a, b dbfs.Node) bool { return fileOf(a) == fileOf(b) }

// fileOf returns the node that has what is behind a name.
func fileOf(n dbfs.Node) dbfs.NodeID {
	if n.Kind == dbfs.KindLink {
		return n.Link
	}
	return n.ID
}

// shown returns a node as users see it: with those links that can be reached.
func (s *snapshot) shown(id dbfs.NodeID) dbfs.Node {
	n, _ := s.node(id)
	return s.show(n)
}

func (s *snapshot) show(n dbfs.Node) dbfs.Node {
	if len(n.Links) == 0 {
		return n
	}
	live := liveLinks(s, n)
	n.Links = make([]dbfs.NodeID, len(live))
	for i := range live {
		n.Links[i] = live[i].ID
	}
	return n
}

// hasNames reports whether a node that pending edits touch is a link or has, or had, some: its
// deletion must keep its place among those of the other names.
func (j *Journal) hasNames(id dbfs.NodeID) bool {
	return severalNames(j.view.nodes[id])
}

func severalNames(n dbfs.Node) bool { return n.Kind == dbfs.KindLink || len(n.Links) > 0 }

// goesOn moves a node that has lost its place to that of one of its links.
func (r *resolver) goesOn(n, link dbfs.Node, id dbfs.OpID) {
	r.emit(dbfs.Op{
		ID: id, Type: dbfs.OpMove, Node: n.ID, Parent: link.Parent, Name: link.Name,
		Replace: &dbfs.Victim{Node: link.ID, Base: link.Revs}, Time: r.time,
	})
}

// bringBackNamed sees to it that what a link is a name of can be reached: if others have deleted it,
// it comes back where it was. false: it is lost, and nothing is left to have a name.
func (r *resolver) bringBackNamed(link, file dbfs.NodeID, name string) bool {
	f, ok := r.s.node(file)
	switch {
	case !ok || lost(f):
		r.note(NoticeDropped, link, f, name, f.Name)
		return false
	case !reachable(r.s, f.ID):
		r.bringBack(f, f.Parent, f.Name, nil, 0)
	}
	return true
}

// allDelete reports whether an outcome does nothing but delete.
func (r *resolver) allDelete() bool {
	for i := range r.out.edits {
		if r.out.edits[i].op.Type != dbfs.OpDelete {
			return false
		}
	}
	return true
}

// takesLink reports whether an edit lets a file go on at the place of one of its links: all that
// it deletes is a name.
func (r *rebase) takesLink(op *dbfs.Op) bool {
	if op.Type != dbfs.OpMove || op.Replace == nil {
		return false
	}
	link, ok := r.node(op.Replace.Node)
	return ok && link.Link == op.Node
}
