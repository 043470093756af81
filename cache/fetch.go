package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dbfs/dbfs"
)

// fetcher brings chunks that are not where they are wanted: from elsewhere on this machine
// or from the chunk store. Everybody who wants the same chunk waits for the same flight,
// and one reader's giving up does not end it for the others.
type fetcher struct {
	c     *Cache
	slots chan struct{} // one for every flight in the air, each of which has a chunk in memory

	mu      sync.Mutex // guards flights
	flights map[dbfs.ChunkID]*flight
}

type flight struct {
	done chan struct{}
	data []byte // the verified chunk; this and err are set before done is closed
	err  error
}

func (f *fetcher) init(c *Cache) {
	f.c = c
	f.slots = make(chan struct{}, max(c.opts.ReadAhead, 0)+2)
	f.flights = map[dbfs.ChunkID]*flight{}
}

// obtain returns a chunk and keeps it: at the place given if that is still its place,
// else, or if i is negative, by itself. ErrOffline, with its cause, when it cannot be had. The bytes are
// shared: they must not be changed.
func (f *fetcher) obtain(ctx context.Context, ref dbfs.ChunkRef, at spot) ([]byte, error) {
	asker := askerOf(ctx)
	if err := asker.May(); err != nil {
		return f.refused(ref, err)
	}
	fl := f.join(ref, at, asker, false)
	select {
	case <-fl.done:
		return fl.data, fl.err
	case <-ctx.Done():
		return nil, waitError(ctx)
	}
}

// ahead starts a flight that nobody waits for, unless too many are in the air or who will want it is to have nothing fetched.
func (f *fetcher) ahead(ctx context.Context, ref dbfs.ChunkRef, at spot) {
	if asker := askerOf(ctx); asker.May() == nil {
		f.join(ref, at, asker, true)
	}
}

// waitError says why a wait ended: a deadline means that the network is too slow to call
// it online.
func waitError(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", dbfs.ErrOffline, err)
	}
	return err
}

// join returns the flight of a chunk and starts it if there is none; with spare only if
// there is a free slot, and nil otherwise.
func (f *fetcher) join(ref dbfs.ChunkRef, at spot, asker Asker, spare bool) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.flights[ref.ID]; fl != nil {
		return fl
	}
	slot := false
	if spare {
		select {
		case f.slots <- struct{}{}:
			slot = true
		default:
			return nil
		}
	}
	fl := &flight{done: make(chan struct{})}
	f.flights[ref.ID] = fl
	f.c.running.Go(func() { f.fly(fl, ref, at, asker, slot) })
	return fl
}

func (f *fetcher) fly(fl *flight, ref dbfs.ChunkRef, at spot, asker Asker, slot bool) {
	if !slot {
		select {
		case f.slots <- struct{}{}:
		case <-f.c.ctx.Done():
		}
	}
	data, err := f.find(ref, at, asker)
	if err != nil {
		err = fmt.Errorf("chunk %s: %w", ref.ID, err)
	}
	f.mu.Lock()
	delete(f.flights, ref.ID)
	f.mu.Unlock()
	fl.data, fl.err = data, err
	close(fl.done)
	select {
	case <-f.slots:
	default: // ended by Close before it had one
	}
}

func (f *fetcher) find(ref dbfs.ChunkRef, at spot, asker Asker) ([]byte, error) {
	if err := f.c.ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", dbfs.ErrOffline, err)
	}
	data, sole, err := f.c.local(ref)
	if err != nil {
		return nil, err
	}
	if sole {
		return data, nil
	}
	if data == nil {
		if data, err = f.fetch(ref, at.file.NS); err != nil {
			return nil, err
		}
		asker.Fetched(len(data))
	}
	err = f.keep(ref, at, data)
	if err != nil && !errors.Is(err, dbfs.ErrNoSpace) { // the reader can be served all the same
		f.c.opts.Log.Warn("cannot keep a chunk", "chunk", ref.ID, "error", err)
	}
	return data, nil
}

func (f *fetcher) fetch(ref dbfs.ChunkRef, ns dbfs.NamespaceID) ([]byte, error) {
	if f.c.opts.Chunks == nil {
		return nil, fmt.Errorf("%w: no chunk store", dbfs.ErrOffline)
	}
	ctx, cancel := context.WithTimeout(f.c.ctx, f.c.opts.FetchTimeout)
	defer cancel()
	data, err := f.c.opts.Chunks.Get(ctx, ns, ref)
	if err != nil {
		return nil, fetchError(err)
	}
	if err := ref.Verify(data); err != nil {
		return nil, err
	}
	f.c.fetched.Add(int64(len(data)))
	return data, nil
}

// fetchError says how a failed fetch looks to a reader. That a chunk is missing does not
// mean that the file does not exist.
func fetchError(err error) error {
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
		return fmt.Errorf("%w: the server does not have it: %v", dbfs.ErrCorrupt, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", dbfs.ErrOffline, err)
	}
	return err
}

// keep puts a chunk into its place in a body, or by itself.
func (f *fetcher) keep(ref dbfs.ChunkRef, at spot, data []byte) error {
	if err := f.c.evictor.makeRoom(int64(ref.Len)); err != nil {
		return err
	}
	if at.i < 0 {
		return f.c.keepLoose(ref, source{data: data})
	}
	b, err := f.c.acquire(at.file)
	if err != nil {
		return err
	}
	defer f.c.release(b)
	b.mu.Lock()
	kept, err := b.insert(at.i, ref.ID, data)
	b.mu.Unlock()
	if kept || err != nil {
		return err
	}
	return f.c.keepLoose(ref, source{data: data})
}
