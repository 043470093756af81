package journal

import "github.com/dbfs/dbfs"

// A memo remembers what the tree has said within one edit, which asks for the same node and the same
// name up to five times, of a new file each time in vain. Only the inode number of a node of the tree can change
// meanwhile; then all is forgotten.
type memo struct {
	nodes []memoNode
	names []memoName
}

type memoNode struct {
	id   dbfs.NodeID
	node dbfs.Node
	ok   bool
}

type memoName struct {
	at place
	id dbfs.NodeID
	ok bool
}

// memoLen bounds a memo, which is looked through from its beginning.
const memoLen = 8

// node returns what is known of a node; nil: nothing. A nil memo knows nothing, and learns nothing.
func (m *memo) node(id dbfs.NodeID) *memoNode {
	if m == nil {
		return nil
	}
	for i := range m.nodes {
		if m.nodes[i].id == id {
			return &m.nodes[i]
		}
	}
	return nil
}

func (m *memo) keepNode(id dbfs.NodeID, n dbfs.Node, ok bool) {
	if m != nil && len(m.nodes) < memoLen {
		m.nodes = append(m.nodes, memoNode{id, n, ok})
	}
}

func (m *memo) forget() { *m = memo{} }

func (m *memo) name(at place) *memoName {
	if m == nil {
		return nil
	}
	for i := range m.names {
		if m.names[i].at == at {
			return &m.names[i]
		}
	}
	return nil
}

func (m *memo) keepName(at place, id dbfs.NodeID, ok bool) {
	if m != nil && len(m.names) < memoLen {
		m.names = append(m.names, memoName{at, id, ok})
	}
}
