package journal

import (
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
)

// The guard holds back what would destroy much at once, by mistake or by malice, until a
// person has looked at it: deletes and overwrites of this device before they are sent, and
// those of other devices before they are applied here. This file decides, without clock,
// disk or network; hold.go and admit.go do what it says.

// A Budget says how much may be destroyed within a window of time before the rest is held.
type Budget struct {
	Window time.Duration
	Count  int   // so many deletes and overwrites always pass
	Share  int   // more than Count are held if they are more than so many per cent of what there was
	Max    int   // more than so many are held whatever their share
	Bytes  int64 // so are those of files that held more than so many bytes
}

// DefaultBudget lets the daily work of people and programs pass, a large checkout too, and
// holds the removal of most of a namespace and the rewriting of thousands of files.
func DefaultBudget() Budget {
	return Budget{Window: 10 * time.Minute, Count: 500, Share: 50, Max: 3000, Bytes: 100 << 30}
}

// Check returns ErrInvalid for a budget that makes no sense.
func (b *Budget) Check() error {
	if b.Window <= 0 || b.Count < 0 || b.Share < 0 || b.Share > 100 || b.Max < b.Count || b.Bytes <= 0 {
		return fmt.Errorf("%w: a guard that counts %d to %d, %d %% and %d bytes within %v", dbfs.ErrInvalid, b.Count, b.Max, b.Share, b.Bytes, b.Window)
	}
	return nil
}

// exceeded reports whether n deletes and overwrites of so many bytes are too much for a
// namespace that had size nodes; 0: nobody has counted.
func (b *Budget) exceeded(n int, bytes int64, size int) bool {
	return n > b.Max || bytes > b.Bytes || n > b.Count && size > 0 && n*100 > size*b.Share
}

// A harm is what one edit or log entry destroys: the file or directory at a place.
type harm struct {
	at    place
	what  Harm
	bytes int64
	time  int64 // nanoseconds: when it was done, by the clock of whoever did it
}

// A Harm is a kind of it.
type Harm string

const (
	HarmDelete    Harm = "delete"
	HarmOverwrite Harm = "overwrite"
)

// guard remembers what was let pass in one direction within the last window.
type guard struct {
	Budget
	queue []harm // oldest first, as they came
	known map[place]bool
	bytes int64

	size   int   // nodes of the namespace, with those destroyed; 0: nobody has counted
	sizeAt int64 // when that was
}

func newGuard(b Budget) *guard { return &guard{Budget: b, known: make(map[place]bool)} }

// step counts one more harm, and reports whether that is too much. What is destroyed at one
// place again and again, as a database does with its journal, counts once.
func (g *guard) step(h harm) bool {
	g.forget(h.time - int64(g.Window))
	if !g.known[h.at] {
		g.known[h.at] = true
		g.queue = append(g.queue, h)
		g.bytes += h.bytes
	}
	return g.exceeded(len(g.queue), g.bytes, g.size)
}

// forget drops what was done before a time.
func (g *guard) forget(before int64) {
	for len(g.queue) > 0 && g.queue[0].time < before {
		delete(g.known, g.queue[0].at)
		g.bytes -= g.queue[0].bytes
		g.queue = g.queue[1:]
	}
}

// clear begins anew: a person has decided, or is asked to.
func (g *guard) clear() {
	g.queue, g.bytes, g.size = nil, 0, 0
	clear(g.known)
}

// sizeLife is how long a count of the namespace's nodes is good for.
const sizeLife = int64(time.Minute)

// wantsSize reports whether n more harms may be judged by the namespace's size, and that has
// to be counted.
func (g *guard) wantsSize(n int, now int64) bool {
	return len(g.queue)+n > g.Count && (g.size == 0 || now-g.sizeAt > sizeLife || now < g.sizeAt)
}

// mayHarm reports whether an edit is of a kind that destroys something.
func mayHarm(op *dbfs.Op) bool {
	return op.Type == dbfs.OpDelete || op.Type == dbfs.OpDeleteTree || op.Type == dbfs.OpWrite || op.Replace != nil
}

// mayHarmEntry reports whether a log entry is of a kind that destroys something.
func mayHarmEntry(e *dbfs.Entry) bool { return e.Node.Deleted || e.Type == dbfs.OpWrite }

// harmsOf returns all that an edit of this device destroys: the deletion of a tree that of each
// node in it.
func harmsOf(op *dbfs.Op, s state) []harm {
	if op.Type != dbfs.OpDeleteTree {
		if m, ok := harmOf(op, s); ok {
			return []harm{m}
		}
		return nil
	}
	var all []harm
	for _, id := range about(op) {
		if n, ok := s.node(id); ok && !n.Deleted {
			all = append(all, deletes(&n, op.Time))
		}
	}
	return all
}

// harmOf returns what an edit of this device destroys of the tree s, which is the server's,
// when it is sent. Of a file that the server has never had it destroys nothing.
func harmOf(op *dbfs.Op, s state) (harm, bool) {
	switch op.Type {
	case dbfs.OpDelete:
		if n, ok := s.node(op.Node); ok && !n.Deleted {
			return deletes(&n, op.Time), true
		}
	case dbfs.OpWrite:
		if n, ok := s.node(op.Node); ok && !n.Deleted && overwrites(n.Content, *op.Content) {
			return harm{place{n.Parent, n.Name}, HarmOverwrite, n.Content.Data(), op.Time}, true
		}
	case dbfs.OpMove:
		if op.Replace == nil {
			break
		}
		v, ok := s.node(op.Replace.Node)
		if n, known := s.node(op.Node); ok && !v.Deleted && !(known && n.Content.Equal(v.Content)) {
			return harm{place{v.Parent, v.Name}, HarmOverwrite, v.Content.Data(), op.Time}, true
		}
	}
	return harm{}, false
}

// harmOfEntry returns what a log entry destroys of a node as it was.
func harmOfEntry(e *dbfs.Entry, was *dbfs.Node) (harm, bool) {
	switch {
	case was.Deleted:
	case e.Node.Deleted:
		return deletes(was, e.Time), true
	case was.Kind == dbfs.KindFile && overwrites(was.Content, e.Node.Content):
		return harm{place{was.Parent, was.Name}, HarmOverwrite, was.Content.Data(), e.Time}, true
	}
	return harm{}, false
}

func deletes(n *dbfs.Node, at int64) harm {
	return harm{at: place{n.Parent, n.Name}, what: HarmDelete, bytes: n.Content.Data(), time: at}
}

// overwrites reports whether a content that becomes another one is lost. One that only grows
// by whole chunks is not.
func overwrites(was, now dbfs.Content) bool {
	if was.Size == 0 || was.Equal(now) {
		return false
	}
	if now.Size < was.Size || was.Size%dbfs.ChunkSize != 0 {
		return true
	}
	for i, id := range was.Chunks.All() {
		if now.Chunks.At(i) != id {
			return true
		}
	}
	return false
}
