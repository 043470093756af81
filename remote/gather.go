package remote

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/dbfs/dbfs"
)

// A gather turns single questions that come at the same time into few calls, because each
// call costs a round trip. It never waits for company: a question goes out at once when
// fewer than lanes calls of its namespace are under way; those that come meanwhile go
// together with the next. Goroutines and memory exist only while somebody waits.
type gather[Q, A any] struct {
	most  int // questions in a call
	lanes int // calls at once in a namespace
	call  func(ctx context.Context, ns dbfs.NamespaceID, questions []Q) ([]A, error)

	mu    sync.Mutex // guards what follows
	lines map[dbfs.NamespaceID]*line[Q, A]
}

// line is the questions of one namespace. It is there while calls are under way.
type line[Q, A any] struct {
	waiting []*question[Q, A]
	calls   int // under way
}

type question[Q, A any] struct {
	ctx    context.Context
	q      Q
	answer chan<- answer[A] // never blocks
}

type answer[A any] struct {
	a   A
	err error
}

// ask returns the answer to q. When ctx ends it returns at once; the call goes on as long
// as somebody else waits for it.
func (g *gather[Q, A]) ask(ctx context.Context, ns dbfs.NamespaceID, q Q) (A, error) {
	ch := make(chan answer[A], 1)
	g.enqueue(ns, &question[Q, A]{ctx, q, ch})
	select {
	case got := <-ch:
		return got.a, got.err
	case <-ctx.Done():
		var none A
		return none, context.Cause(ctx)
	}
}

func (g *gather[Q, A]) enqueue(ns dbfs.NamespaceID, q *question[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lines == nil {
		g.lines = make(map[dbfs.NamespaceID]*line[Q, A])
	}
	l := g.lines[ns]
	if l == nil {
		l = new(line[Q, A])
		g.lines[ns] = l
	}
	l.waiting = append(l.waiting, q)
	if l.calls < g.lanes {
		l.calls++
		go g.serve(ns, l)
	}
}

// serve makes calls until nobody waits.
func (g *gather[Q, A]) serve(ns dbfs.NamespaceID, l *line[Q, A]) {
	for batch := g.next(ns, l); batch != nil; batch = g.next(ns, l) {
		g.answer(ns, batch)
	}
}

// next takes the questions for one call; nil ends the lane.
func (g *gather[Q, A]) next(ns dbfs.NamespaceID, l *line[Q, A]) []*question[Q, A] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch []*question[Q, A]
	for len(l.waiting) > 0 && len(batch) < g.most {
		if l.waiting[0].ctx.Err() == nil {
			batch = append(batch, l.waiting[0])
		}
		l.waiting = l.waiting[1:]
	}
	if batch == nil {
		if l.calls--; l.calls == 0 {
			delete(g.lines, ns)
		}
	}
	return batch
}

// answer makes one call, which ends early when all who asked have gone away.
func (g *gather[Q, A]) answer(ns dbfs.NamespaceID, batch []*question[Q, A]) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(batch)))
	qs := make([]Q, len(batch))
	for i, q := range batch {
		qs[i] = q.q
		stop := context.AfterFunc(q.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
		defer stop()
	}
	answers, err := g.call(ctx, ns, qs)
	for i, q := range batch {
		var got answer[A]
		if got.err = err; err == nil {
			got.a = answers[i]
		}
		q.answer <- got
	}
}
