package cache

import "sync"

// A group lets callers that want the same costly thing at the same time share it. Each
// of them is served by a run that began after it had called. The zero group is ready.
type group struct {
	running sync.Mutex // held while a run goes on

	mu   sync.Mutex // guards next
	next *round     // gathers callers until its run begins; nil: none waits
}

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

// do returns what a run of fn returned that began after do was called. All callers of one
// group pass the same fn.
func (g *group) do(fn func() error) error {
	r, first := g.join()
	if !first {
		<-r.done
		return r.err
	}
	g.running.Lock()
	defer g.running.Unlock()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	r.err = fn()
	close(r.done)
	return r.err
}

func (g *group) join() (r *round, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if first = g.next == nil; first {
		g.next = &round{done: make(chan struct{})}
	}
	return g.next, first
}
