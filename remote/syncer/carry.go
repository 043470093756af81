package syncer

import (
	"errors"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// carryOn lets deletions go on that wait for something to get to a namespace, after a turn of that
// one or of the one they are in.
func (s *Syncer) carryOn(ns dbfs.NamespaceID) error {
	var errs []error
	for _, sp := range s.all() {
		if !sp.journal.Leaving() {
			continue
		}
		for _, to := range sp.journal.WaitsFor() {
			if to != ns && sp.journal.NS() != ns {
				continue
			}
			if j, known := s.journalOf(to); known {
				errs = append(errs, sp.journal.CarryOn(to, j))
			}
		}
	}
	return errors.Join(errs...)
}

// journalOf returns a namespace's journal, nil if it has none here any more; false: not known.
func (s *Syncer) journalOf(ns dbfs.NamespaceID) (*journal.Journal, bool) {
	if s.cfg.Journal != nil {
		return s.cfg.Journal(ns), true
	}
	sp, err := s.space(ns)
	if err != nil {
		return nil, false
	}
	return sp.journal, true
}

// giveUp notes that the bytes of a copy are nowhere: neither here, nor at the server, which wants them.
// The goroutine that syncs drops the copy.
func (sp *space) giveUp(op dbfs.Op) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.lost = append(sp.lost, op)
	poke(sp.news)
}

// dropLost gives up the copies whose bytes are nowhere.
func (sp *space) dropLost() error {
	sp.mu.Lock()
	lost := sp.lost
	sp.lost = nil
	sp.mu.Unlock()
	var errs []error
	for _, op := range lost {
		errs = append(errs, sp.journal.GiveUp(op))
	}
	return errors.Join(errs...)
}
