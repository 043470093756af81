package fs

import (
	"sync"

	"github.com/dbfs/dbfs"
)

// inos remembers where inode numbers led lately, so that not every request has to ask the database. It is a hint: a
// number can have come to mean another node since, and then the node that it meant has another number.
type inos struct {
	mu    sync.Mutex // guards what follows
	now   map[uint64]inoPlace
	older map[uint64]inoPlace // those before; used ones come back
}

type inoPlace struct {
	ns dbfs.NamespaceID
	id dbfs.NodeID
}

const maxInos = 4096 // in each of the two maps

func (i *inos) get(ino uint64) (inoPlace, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at, ok := i.now[ino]; ok {
		return at, true
	}
	at, ok := i.older[ino]
	if ok {
		i.add(ino, at)
	}
	return at, ok
}

func (i *inos) keep(ino uint64, at inoPlace) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.add(ino, at)
}

// add is called with mu held.
func (i *inos) add(ino uint64, at inoPlace) {
	if i.now == nil || len(i.now) >= maxInos {
		i.now, i.older = make(map[uint64]inoPlace), i.now
	}
	i.now[ino] = at
}
