package syncer

import (
	"time"

	"github.com/dbfs/dbfs"
)

// Bump lets the edits of some nodes, and those that they build on, go before all others of their
// namespace, and returns how many there are. What is on its way is not stopped.
func (s *Syncer) Bump(ns dbfs.NamespaceID, nodes []dbfs.NodeID) int {
	sp, err := s.space(ns)
	if err != nil {
		return 0
	}
	n := sp.journal.Bump(nodes)
	sp.bumps.Add(1)
	return n
}

// Uploading returns how many bytes of a content have to be sent, those that was does not have at the same
// place, how many of them the server has, and whether some are on their way.
func (s *Syncer) Uploading(ns dbfs.NamespaceID, node dbfs.NodeID, content, was dbfs.Content) (up, total int64, sending bool) {
	sp, err := s.space(ns)
	if err != nil {
		return 0, 0, false
	}
	for i, id := range content.Chunks.All() {
		if was.Chunks.At(i) == id {
			continue
		}
		n := int64(content.Ref(i).Len)
		total += n
		if sp.receipts.has(id) {
			up += n
		}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return up, total, sp.flying[node] > 0
}

// Retry tries at once what waits after a failure in some namespaces, and looks whether the server is there. It
// returns a function that reports whether all of it has been tried.
func (s *Syncer) Retry(list []dbfs.NamespaceID) (tried func() bool) {
	type mark struct {
		sp            *space
		turns, rounds int64
	}
	var marks []mark
	for _, ns := range list {
		if sp, err := s.space(ns); err == nil {
			marks = append(marks, mark{sp, sp.turns.Load(), sp.rounds.Load()})
		}
	}
	for _, m := range marks {
		m.sp.look()
	}
	poke(s.repoll)
	return func() bool {
		for _, m := range marks {
			if m.sp.turns.Load() == m.turns || m.sp.rounds.Load() == m.rounds {
				return false
			}
		}
		return true
	}
}

// SentBytes returns how many bytes of chunks were put since the start: of one that was sent as a delta, those of the delta.
func (s *Syncer) SentBytes() int64 {
	sent := int64(0)
	for _, sp := range s.all() {
		sp.mu.Lock()
		sent += sp.sent
		sp.mu.Unlock()
	}
	if c, ok := s.cfg.Chunks.(interface {
		Deltas() (chunks, saved int64)
	}); ok {
		_, saved := c.Deltas()
		sent -= saved
	}
	return max(sent, 0)
}

// tryAt notes when what has failed is tried again.
func (sp *space) tryAt(at *time.Time, wait time.Duration) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	*at = sp.s.cfg.Clock().Add(wait)
}

func (sp *space) fly(node dbfs.NodeID, n int) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.flying[node] += n; sp.flying[node] == 0 {
		delete(sp.flying, node)
	}
}
