package journal

import (
	"sync"

	"github.com/dbfs/dbfs"
)

// known are nodes of the tree as readers have decoded them lately: the directory of every lookup, and
// a file that is opened, which is looked at twice. A node costs a search of the database and 500 to 1,000 ns
// of decoding. The tree changes only while mu is held for writing, and all is forgotten then.
type known struct {
	mu    sync.Mutex // guards what follows; after Journal.mu
	nodes map[dbfs.NodeID]dbfs.Node
	older map[dbfs.NodeID]dbfs.Node // those before; used ones come back
}

const (
	maxKnown    = 1024 // nodes in each of the two maps
	knownChunks = 16   // longer contents are not remembered
)

func (k *known) get(id dbfs.NodeID) (dbfs.Node, bool) {
	if k == nil {
		return dbfs.Node{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n, ok := k.nodes[id]; ok {
		return n, true
	}
	n, ok := k.older[id]
	if ok {
		k.add(n)
	}
	return n, ok
}

// keep remembers a node. Called with Journal.mu held for reading.
func (k *known) keep(n dbfs.Node) {
	if k == nil || len(n.Content.Chunks) > knownChunks || len(n.Attr.Xattrs) > 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(n)
}

// add is called with mu held.
func (k *known) add(n dbfs.Node) {
	if k.nodes == nil || len(k.nodes) >= maxKnown {
		k.nodes, k.older = make(map[dbfs.NodeID]dbfs.Node), k.nodes
	}
	k.nodes[n.ID] = n
}

// forget is called with Journal.mu held for writing, before the tree is changed.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nodes, k.older = nil, nil
}
