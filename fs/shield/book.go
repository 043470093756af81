package shield

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dbfs/dbfs/cache"
)

// A Cause says that a program had bytes of a file fetched, or would have.
type Cause struct {
	File    cache.File
	Program Program // the last that did under this name
	Bytes   int64
	Refused int // how often it got nothing
	First   time.Time
	Last    time.Time
}

// A Total is what one program, by its name, has caused since the mount.
type Total struct {
	Program Program // the last of that name
	Files   int64   // about: a file of which nothing is remembered any more counts again
	Bytes   int64
	Refused int64 // files
	Last    time.Time
}

const (
	maxCauses = 8192 // the oldest make place for new ones
	maxTotals = 256
)

// A book remembers who caused what. For concurrent use.
type book struct {
	mu     sync.Mutex // guards what follows
	causes []Cause    // a ring: next is the oldest when it is full
	next   int
	where  map[causeKey]int
	totals map[string]*Total
}

type causeKey struct {
	file cache.File
	name string
}

func newBook() *book {
	return &book{where: make(map[causeKey]int), totals: make(map[string]*Total)}
}

// note adds bytes that came for a program, or that it was refused.
func (b *book) note(f cache.File, p *Program, bytes int, refused bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.totals[p.Name]
	if t == nil {
		b.makeRoom()
		t = &Total{}
		b.totals[p.Name] = t
	}
	c, isNew := b.cause(causeKey{f, p.Name}, now)
	c.Program, c.Last = *p, now
	t.Program, t.Last = *p, now
	if isNew {
		t.Files++
	}
	if refused {
		if c.Refused == 0 {
			t.Refused++
		}
		c.Refused++
	}
	c.Bytes += int64(bytes)
	t.Bytes += int64(bytes)
}

// cause returns the entry of a file and a program, which may be new.
func (b *book) cause(key causeKey, now time.Time) (c *Cause, isNew bool) {
	if i, ok := b.where[key]; ok {
		return &b.causes[i], false
	}
	i := b.next
	if len(b.causes) < maxCauses {
		b.causes = append(b.causes, Cause{})
	} else {
		old := &b.causes[i]
		delete(b.where, causeKey{old.File, old.Program.Name})
	}
	b.next = (i + 1) % maxCauses
	b.where[key] = i
	b.causes[i] = Cause{File: key.file, First: now}
	return &b.causes[i], true
}

// makeRoom drops the total of which was heard least lately, if there are many.
func (b *book) makeRoom() {
	if len(b.totals) < maxTotals {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Keys(b.totals)), func(x, y string) int { return b.totals[x].Last.Compare(b.totals[y].Last) })
	delete(b.totals, oldest)
}

// list returns a copy of all causes, the latest first.
func (b *book) list() []Cause {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Clone(b.causes)
	slices.SortFunc(all, func(x, y Cause) int { return y.Last.Compare(x.Last) })
	return all
}

func (b *book) refused() (files int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.totals {
		files += t.Refused
	}
	return files
}

// sums returns a copy of all totals, the largest first.
func (b *book) sums() []Total {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Total
	for _, t := range b.totals {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(x, y Total) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(y.Refused, x.Refused), cmp.Compare(x.Program.Name, y.Program.Name))
	})
	return all
}
