package fs

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/dbfs/dbfs"
)

// maxPages is how many inodes pages remembers, at least; twice that at most.
const maxPages = 1 << 16

// pages remembers of which version of a file the kernel has bytes in its cache. Whoever opens
// a file with another one first makes the kernel drop them, so that what is read through a
// handle is one version, however late the news of a change reaches the kernel. Of those that
// were not opened for longest it forgets; what the kernel has of them is not known then.
type pages struct {
	mu         sync.Mutex // guards what follows
	young, old map[uint64]version
	forgetful  bool // some were forgotten: an inode that is not here may have pages
}

// A version is a content, as a hash of this process; 0: no content in particular.
type version uint64

var seed = maphash.MakeSeed()

func versionOf(c dbfs.Content) version {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(c.Size)))
	for i, id := range c.Chunks.All() {
		var at [4]byte
		binary.LittleEndian.PutUint32(at[:], uint32(i))
		h.Write(at[:])
		h.Write(id[:])
	}
	return version(h.Sum64() | 1)
}

// are reports whether all that the kernel has of an inode is of one version.
func (p *pages) are(ino uint64, v version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	has, ok := p.young[ino]
	if !ok {
		has, ok = p.old[ino]
	}
	return ok && has == v || !ok && !p.forgetful
}

func (p *pages) set(ino uint64, v version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.young == nil || len(p.young) >= maxPages {
		p.forgetful = p.forgetful || len(p.old) > 0
		p.young, p.old = make(map[uint64]version), p.young
	}
	p.young[ino] = v
}
