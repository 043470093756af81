package fs

import "sync"

// maxTimes is how many directories times remembers, at least; twice that at most.
const maxTimes = 1 << 15

// times remembers when the entries of directories last changed, as far as this mount has
// seen. It is not stored: a directory's stored time is the one that somebody set. Of those
// that have not changed for longest it forgets; they show their stored time again, but the
// kernel asks only for what it has forgotten itself.
type times struct {
	mu         sync.Mutex // guards what follows
	young, old map[uint64]int64
}

// of returns nanoseconds; false: not known.
func (t *times) of(ino uint64) (ns int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ns, ok = t.young[ino]; !ok {
		ns, ok = t.old[ino]
	}
	return ns, ok
}

func (t *times) set(ino uint64, ns int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.young == nil || len(t.young) >= maxTimes {
		t.young, t.old = make(map[uint64]int64), t.young
	}
	t.young[ino] = ns
}

func (t *times) forget(ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.young, ino)
	delete(t.old, ino)
}
