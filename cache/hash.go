package cache

import (
	"context"
	"sync"

	"github.com/dbfs/dbfs"
)

// hasher names chunks of drafts as soon as they have been written to their end, while the
// writer goes on: then little is left for Seal.
type hasher struct {
	c     *Cache
	queue chan hashing
}

type hashing struct {
	l   *largeDraft
	i   int
	gen uint64
}

func (h *hasher) init(c *Cache) {
	h.c = c
	h.queue = make(chan hashing, 16)
}

// offer asks for the name of a chunk as of a generation. If the queue is full, Seal will do it.
func (h *hasher) offer(l *largeDraft, i int, gen uint64) {
	l.hashing.Add(1)
	select {
	case h.queue <- hashing{l, i, gen}:
	default:
		l.hashing.Done()
	}
}

func (h *hasher) run() {
	for {
		select {
		case <-h.c.ctx.Done():
			h.refuse()
			return
		case job := <-h.queue:
			job.l.hashChunk(job.i, job.gen)
			job.l.hashing.Done()
		}
	}
}

// refuse lets go of the drafts that wait.
func (h *hasher) refuse() {
	for {
		select {
		case job := <-h.queue:
			job.l.hashing.Done()
		default:
			return
		}
	}
}

// hashChunk names a chunk if it is still as it was at a generation. A draft's file stays
// the same while it is being hashed, so no lock is held: what changes meanwhile has
// another generation.
func (l *largeDraft) hashChunk(i int, gen uint64) error {
	l.b.mu.RLock()
	f := l.chunks[i]
	same := f != nil && f.gen == gen && f.writers == 0 && !(f.hashed && f.idGen == gen)
	n := dbfs.ChunkLen(l.size, i)
	file := l.b.f
	l.b.mu.RUnlock()
	if !same || n == 0 {
		return nil
	}
	id, err := hashRange(file, int64(i)*dbfs.ChunkSize, n)
	if err != nil {
		return err
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if l.chunks[i] == f && f.gen == gen {
		f.hashed, f.id, f.idGen = true, id, gen
	}
	return nil
}

// hash names all touched chunks, on two cores, as far as they keep still.
func (l *largeDraft) hash(ctx context.Context) error {
	jobs := make(chan hashing)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for j := range jobs {
				l.hashChunk(j.i, j.gen) // what fails is tried again by seal
			}
		})
	}
	defer wg.Wait()
	defer close(jobs)
	for _, j := range l.unnamed() {
		select {
		case jobs <- j:
		case <-ctx.Done():
			return waitError(ctx)
		}
	}
	return nil
}

func (l *largeDraft) unnamed() []hashing {
	l.b.mu.RLock()
	defer l.b.mu.RUnlock()
	var jobs []hashing
	for i, f := range l.chunks {
		if l.b.touched.has(i) && f.writers == 0 && !(f.hashed && f.idGen == f.gen) {
			jobs = append(jobs, hashing{l, i, f.gen})
		}
	}
	return jobs
}
