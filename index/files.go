package index

import (
	"cmp"
	"slices"
	"sort"
)

// files is a set of files with their scores: keys upwards, each content<<32 | name (the
// numbers of their documents), so that files of one content stand together.
type files struct {
	keys   []uint64
	scores []float32
}

func fileKey(content, name uint32) uint64 { return uint64(content)<<32 | uint64(name) }

func (f *files) add(key uint64, score float32) {
	f.keys = append(f.keys, key)
	f.scores = append(f.scores, score)
}

// sort brings files that were added out of order into order, and joins doubles.
func (f *files) sort() {
	if slices.IsSorted(f.keys) {
		return
	}
	sort.Sort(byKey{f})
	n := 0
	for i, key := range f.keys {
		if n > 0 && f.keys[n-1] == key {
			f.scores[n-1] += f.scores[i]
			continue
		}
		f.keys[n], f.scores[n] = key, f.scores[i]
		n++
	}
	f.keys, f.scores = f.keys[:n], f.scores[:n]
}

type byKey struct{ *files }

func (f byKey) Len() int           { return len(f.keys) }
func (f byKey) Less(i, j int) bool { return f.keys[i] < f.keys[j] }
func (f byKey) Swap(i, j int) {
	f.keys[i], f.keys[j] = f.keys[j], f.keys[i]
	f.scores[i], f.scores[j] = f.scores[j], f.scores[i]
}

// union returns the files that are in a or b.
func union(a, b files) files {
	if len(a.keys) == 0 {
		return b
	}
	if len(b.keys) == 0 {
		return a
	}
	out := files{make([]uint64, 0, len(a.keys)+len(b.keys)), make([]float32, 0, len(a.keys)+len(b.keys))}
	i, j := 0, 0
	for i < len(a.keys) && j < len(b.keys) {
		switch cmp.Compare(a.keys[i], b.keys[j]) {
		case -1:
			out.add(a.keys[i], a.scores[i])
			i++
		case 1:
			out.add(b.keys[j], b.scores[j])
			j++
		default:
			out.add(a.keys[i], a.scores[i]+b.scores[j])
			i++
			j++
		}
	}
	out.keys, out.scores = append(out.keys, a.keys[i:]...), append(out.scores, a.scores[i:]...)
	out.keys, out.scores = append(out.keys, b.keys[j:]...), append(out.scores, b.scores[j:]...)
	return out
}

// intersect returns the files that are in both.
func intersect(a, b files) files {
	if len(a.keys) > len(b.keys) {
		a, b = b, a
	}
	var out files
	j := 0
	for i, key := range a.keys {
		if j += gallop(b.keys[j:], key); j == len(b.keys) {
			break
		}
		if b.keys[j] == key {
			out.add(key, a.scores[i]+b.scores[j])
		}
	}
	return out
}

// subtract returns the files of a that are not in b.
func subtract(a, b files) files {
	var out files
	j := 0
	for i, key := range a.keys {
		j += gallop(b.keys[j:], key)
		if j == len(b.keys) || b.keys[j] != key {
			out.add(key, a.scores[i])
		}
	}
	return out
}

// gallop returns how many of keys are below key; quick when they are few.
func gallop(keys []uint64, key uint64) int {
	step := 1
	for step < len(keys) && keys[step] < key {
		step *= 2
	}
	lo := step / 2
	n, _ := slices.BinarySearch(keys[min(lo, len(keys)):min(step+1, len(keys))], key)
	return min(lo, len(keys)) + n
}
