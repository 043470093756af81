package journal

import (
	"bytes"
	"maps"
	"slices"

	"github.com/dbfs/dbfs"
)

// A Change is a node that looks different now. Before or After is nil where there was or
// is nothing to see.
type Change struct {
	Node          dbfs.NodeID
	Before, After *dbfs.Node
	Remote        bool        // another device's doing: the kernel does not know yet
	Follow        dbfs.NodeID // not zero: open files of Node go on as this one
}

// looks remembers how nodes looked before a step.
type looks struct {
	was     map[dbfs.NodeID]dbfs.Node
	order   []dbfs.NodeID
	follows []follow // what the step sent elsewhere
}

func newLooks() *looks { return &looks{was: make(map[dbfs.NodeID]dbfs.Node)} }

// remember notes how nodes look, unless it has been noted before.
func (l *looks) remember(s *snapshot, ids ...dbfs.NodeID) {
	for _, id := range ids {
		if _, done := l.was[id]; done {
			continue
		}
		n, ok := s.node(id)
		n.Deleted = n.Deleted || !ok
		l.was[id] = n
		l.order = append(l.order, id)
	}
}

// follow notes that open files of a node go on as another one.
func (l *looks) follow(f follow) { l.follows = append(l.follows, f) }

// changes returns which of the nodes look different now.
func (l *looks) changes(s *snapshot, remote bool) []Change {
	var all []Change
	for _, f := range l.follows {
		all = append(all, Change{Node: f.from, Remote: remote, Follow: f.to})
	}
	for _, id := range l.order {
		before := l.was[id]
		after, ok := s.node(id)
		c := Change{Node: id, Remote: remote}
		if !before.Deleted {
			c.Before = &before
		}
		if ok && !after.Deleted {
			c.After = &after
		}
		if (c.Before != nil || c.After != nil) && !lookSame(c.Before, c.After) {
			all = append(all, c)
		}
	}
	return all
}

func lookSame(a, b *dbfs.Node) bool {
	return a != nil && b != nil && a.Parent == b.Parent && a.Name == b.Name && a.Kind == b.Kind && a.Ino == b.Ino &&
		a.Target == b.Target && a.Mount == b.Mount && a.Link == b.Link && a.Device == b.Device && slices.Equal(a.Links, b.Links) && a.Content.Equal(b.Content) && sameAttr(a.Attr, b.Attr)
}

func sameAttr(a, b dbfs.Attr) bool {
	return a.Mode == b.Mode && a.MTime == b.MTime && a.UID == b.UID && a.GID == b.GID && maps.EqualFunc(a.Xattrs, b.Xattrs, bytes.Equal)
}
