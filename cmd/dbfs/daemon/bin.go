package daemon

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
)

// A bin is what was deleted in a namespace.
type bin struct {
	nodes map[dbfs.NodeID]*dbfs.DeletedNode
	in    map[dbfs.NodeID][]*dbfs.DeletedNode // by the directory
}

func newBin(all []dbfs.DeletedNode) *bin {
	b := &bin{nodes: make(map[dbfs.NodeID]*dbfs.DeletedNode, len(all)), in: make(map[dbfs.NodeID][]*dbfs.DeletedNode)}
	for i := range all {
		n := &all[i]
		if n.Node.Kind == dbfs.KindMount {
			continue // a namespace comes and goes by its members
		}
		b.nodes[n.Node.ID] = n
		b.in[n.Node.Parent] = append(b.in[n.Node.Parent], n)
	}
	return b
}

// way returns the deleted directories that a node lies in, the outermost first, and the directory that those lie in, which is not in the bin.
func (b *bin) way(n *dbfs.DeletedNode) (dirs []*dbfs.DeletedNode, from dbfs.NodeID) {
	from = n.Node.Parent
	for dir := b.nodes[from]; dir != nil && len(dirs) < maxWay; dir = b.nodes[from] {
		dirs = append(dirs, dir)
		from = dir.Node.Parent
	}
	slices.Reverse(dirs)
	return dirs, from
}

// maxWay is deeper than a tree can be: nodes that lie in each other for ever are not believed.
const maxWay = 10_000

// together is how long may be between the deletions of two things that went by one command. What lies in a directory goes
// before it does; the server knows when it heard of it.
const together = 10 * time.Minute

// went returns a node and all that went with it, directories before what they hold, and how many nodes had been deleted there
// before. Of several with one name the last counts.
func (b *bin) went(n *dbfs.DeletedNode) (all []*dbfs.DeletedNode, left int) {
	depth := map[dbfs.NodeID]int{n.Node.ID: 0}
	below := []*dbfs.DeletedNode{}
	for todo := []*dbfs.DeletedNode{n}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, c := range b.in[dir.Node.ID] {
			if _, seen := depth[c.Node.ID]; !seen {
				depth[c.Node.ID] = depth[dir.Node.ID] + 1
				below, todo = append(below, c), append(todo, c)
			}
		}
	}
	slices.SortFunc(below, lastFirst)
	all = append(all, n)
	type place struct {
		dir  dbfs.NodeID
		name string
	}
	taken := make(map[place]bool)
	at := n.Node.CTime
	for _, c := range below {
		where := place{c.Node.Parent, c.Node.Name}
		if at-c.Node.CTime > int64(together) {
			break
		}
		if at = min(at, c.Node.CTime); !taken[where] {
			taken[where] = true
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(x, y *dbfs.DeletedNode) int { return cmp.Compare(depth[x.Node.ID], depth[y.Node.ID]) })
	return all, len(below) + 1 - len(all)
}

// lastFirst orders by when nodes went.
func lastFirst(x, y *dbfs.DeletedNode) int {
	return cmp.Or(cmp.Compare(y.Node.Last, x.Node.Last), bytes.Compare(y.Node.ID[:], x.Node.ID[:]))
}

// isKept reports whether a node can be brought back with what it held.
func isKept(n *dbfs.DeletedNode) bool {
	return n.Node.Kind != dbfs.KindFile || n.Node.Content.Size == 0 || n.Expires != 0
}
