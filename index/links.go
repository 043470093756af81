package index

import "slices"

// A linkSet holds the names that do not stand right behind the content they are linked
// to: those of renamed files and of further copies. Each is content<<32 | name. Names
// that have died since may still be in it.
type linkSet struct {
	sorted []uint64 // replaced, never changed: snapshots share it
	recent []uint64 // at most maxRecent, in order of arrival
}

const maxRecent = 256

func (l *linkSet) add(r row) {
	if r.link == 0 || r.link == r.doc-1 {
		return
	}
	l.recent = append(l.recent, uint64(r.link)<<32|uint64(r.doc))
	if len(l.recent) == maxRecent+len(l.sorted)/64 {
		l.fold()
	}
}

// fold merges recent into sorted.
func (l *linkSet) fold() {
	slices.Sort(l.recent)
	all := make([]uint64, 0, len(l.sorted)+len(l.recent))
	old := l.sorted
	for _, k := range l.recent {
		n, _ := slices.BinarySearch(old, k)
		all = append(append(all, old[:n]...), k)
		old = old[n:]
	}
	l.sorted, l.recent = append(all, old...), nil
}

// snapshot returns all links in order, not to be changed.
func (l *linkSet) snapshot() []uint64 {
	if len(l.recent) > 0 {
		l.fold()
	}
	return l.sorted
}
