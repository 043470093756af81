package syncer

import (
	"context"
	"errors"

	"github.com/dbfs/dbfs"
)

// The methods below do by hand, one at a time, what Run does by itself: for a simulation, in
// which only one thing happens at once and every chance comes from a seed. They start no
// goroutine and never wait, but for what they ask of the server. They are not for a Syncer that runs.

// Step lets a namespace list, pull and push once, as far as there is something to.
func (s *Syncer) Step(ctx context.Context, ns dbfs.NamespaceID) error {
	sp, err := s.space(ns)
	if err != nil {
		return err
	}
	select {
	case <-sp.news:
		sp.behind = true
	default:
	}
	return sp.turn(ctx)
}

// StepUpload puts the chunks of one round, one after the other. It reports whether there was
// one to put.
func (s *Syncer) StepUpload(ctx context.Context, ns dbfs.NamespaceID) (some bool, err error) {
	sp, err := s.space(ns)
	if err != nil {
		return false, err
	}
	pieces := sp.missing()
	if len(pieces) == 0 {
		return false, nil
	}
	lacking, err := sp.ask(ctx, pieces)
	for _, p := range lacking {
		err = errors.Join(err, sp.put(ctx, p))
	}
	if err != nil {
		sp.receipts.fail(err)
	}
	return true, err
}

// Hint says that there is news, as a poll does.
func (s *Syncer) Hint(ns dbfs.NamespaceID) {
	if sp, err := s.space(ns); err == nil {
		sp.tell()
	}
}

func (s *Syncer) space(ns dbfs.NamespaceID) (*space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[ns]
	if sp == nil {
		return nil, dbfs.ErrNotExist
	}
	return sp, nil
}
