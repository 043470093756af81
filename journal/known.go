package journal

import (
	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/recent"
)

// known are nodes of the tree as readers have decoded them lately: the directory of every lookup, and
// a file that is opened, which is looked at twice. A node costs a search of the database and 500 to 1,000 ns
// of decoding. The tree changes only while Journal.mu is held for writing, and all is forgotten then. The zero
// value remembers nothing.
type known struct {
	nodes *recent.Map[dbfs.NodeID, dbfs.Node]
}

const (
	maxKnown    = 1024 // nodes used last, and as many before
	knownChunks = 16   // longer contents are not remembered
)

func newKnown() known { return known{recent.New[dbfs.NodeID, dbfs.Node](maxKnown)} }

func (k known) get(id dbfs.NodeID) (dbfs.Node, bool) { return k.nodes.Get(id) }

// keep remembers a node. Called with Journal.mu held for reading.
func (k known) keep(n dbfs.Node) {
	if n.Content.Chunks.Len() <= knownChunks && len(n.Attr.Xattrs) == 0 {
		k.nodes.Keep(n.ID, n)
	}
}

// forget is called with Journal.mu held for writing, before the tree is changed.
func (k known) forget() { k.nodes.Forget() }
