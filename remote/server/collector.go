package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// A collector runs collections one at a time: when one is due, and when an administrator asks.
type collector struct {
	wanted chan bool // of size one; whether it is to be a dry run

	mu      sync.Mutex // guards what follows
	serving bool       // somebody takes from wanted
	last    remote.Collection
}

// The row in TableServer of the last collection that came to its end.
var collectedKey = []byte("collected")

// RunCollections collects garbage whenever the last collection is so long ago, and when it is
// asked to, until ctx ends. Zero: only when it is asked to.
func (s *Server) RunCollections(ctx context.Context, every time.Duration) {
	s.collector.serve(true)
	defer s.collector.serve(false)
	for {
		due, stop := s.collectionDue(ctx, every)
		select {
		case <-ctx.Done():
			stop()
			return
		case dry := <-s.collector.wanted:
			s.runCollection(ctx, dry)
		case <-due:
			if s.collector.begin(remote.Collection{Running: true, Started: s.now().UTC()}) == nil {
				s.runCollection(ctx, false)
			}
		}
		stop()
	}
}

// collectionPause is how long a collection is put off after a start and after a failure.
const collectionPause = 10 * time.Minute

// collectionDue returns a channel that delivers when the next collection is due.
func (s *Server) collectionDue(ctx context.Context, every time.Duration) (<-chan time.Time, func()) {
	if every == 0 {
		return nil, func() {}
	}
	wait := collectionPause
	last, err := getRow[remote.Collection](ctx, s, TableServer, "last collection", collectedKey)
	if err == nil {
		wait = max(wait, last.Finished.Add(every).Sub(s.now()))
	} else if !errors.Is(err, dbfs.ErrNotExist) {
		s.opts.Log.Warn("when garbage was collected is not known", "err", err)
	}
	timer := time.NewTimer(min(wait, every))
	return timer.C, func() { timer.Stop() }
}

// runCollection runs one that was begun.
func (s *Server) runCollection(ctx context.Context, dry bool) {
	res, err := s.Collect(ctx, dry, s.collector.report)
	res.Finished = s.now().UTC()
	if err == nil && !dry {
		_, err = changeRow(ctx, s, TableServer, "last collection", collectedKey, func(row *remote.Collection) error {
			*row = res
			return nil
		})
	}
	log := s.opts.Log.Info
	if err != nil {
		_, reply := remote.EncodeError(err)
		res.Error, log = reply.Message, s.opts.Log.Warn
	}
	if ctx.Err() == nil {
		log("collected garbage", "dry_run", dry, "versions", res.Versions, "entries", res.Entries, "nodes", res.Nodes,
			"condemned", res.Condemned, "deleted", res.Deleted, "bytes", res.DeletedBytes, "took", res.Finished.Sub(res.Started), "err", err)
	}
	s.collector.end(res)
}

func (c *collector) serve(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = on
}

// begin notes that a collection runs. dbfs.ErrBusy: one does already.
func (c *collector) begin(first remote.Collection) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.serving:
		return fmt.Errorf("%w: this server collects no garbage", dbfs.ErrUnsupported)
	case c.last.Running:
		return fmt.Errorf("%w: garbage is being collected, since %s", dbfs.ErrBusy, c.last.Started.Format(time.RFC3339))
	}
	c.last = first
	return nil
}

func (c *collector) report(res remote.Collection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res.Running, res.Started = true, c.last.Started
	c.last = res
}

func (c *collector) end(res remote.Collection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res.Running, res.Phase, res.Started = false, "", c.last.Started
	c.last = res
}

// StartCollection is remote.Collecting's, as is Collection.
func (se *Session) StartCollection(ctx context.Context, dryRun bool) (remote.Collection, error) {
	if err := se.requireAdmin(ctx); err != nil {
		return remote.Collection{}, err
	}
	c := se.s.collector
	first := remote.Collection{DryRun: dryRun, Running: true, Started: se.s.now().UTC()}
	if err := c.begin(first); err != nil {
		return remote.Collection{}, err
	}
	c.wanted <- dryRun // there is room: only who begins one puts something there
	return first, nil
}

func (se *Session) Collection(ctx context.Context) (remote.Collection, error) {
	if err := se.requireAdmin(ctx); err != nil {
		return remote.Collection{}, err
	}
	c := se.s.collector
	c.mu.Lock()
	res := c.last
	c.mu.Unlock()
	if res != (remote.Collection{}) {
		return res, nil
	}
	res, err := getRow[remote.Collection](ctx, se.s, TableServer, "last collection", collectedKey)
	if errors.Is(err, dbfs.ErrNotExist) {
		err = nil
	}
	return res, err
}
