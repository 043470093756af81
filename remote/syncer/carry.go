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
