package syncer

import (
	"cmp"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
)

// Status is how syncing stands.
type Status struct {
	Online bool  // the server answered last time
	Err    error // why it did not
	Paused bool
	Spaces []SpaceStatus // by namespace id
}

// SpaceStatus is how one namespace stands.
type SpaceStatus struct {
	NS        dbfs.NamespaceID
	Role      dbfs.Role
	State     State
	Cursor    dbfs.Cursor // everything up to there has been applied
	Confirmed time.Time   // when the server last said that there is no more; zero: not since the start
	Err       error       // why it waits, or why an upload failed
	Since     time.Time   // of a failure to talk to the server
	Retry     time.Time   // when what failed is tried again
	Sent      int64       // bytes uploaded since the start
	SkippedUp int64       // bytes that the server had already
	Listed    int64       // while it is listed: how many nodes there have been
}

// Status returns how syncing stands.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	st := Status{Online: s.online, Err: s.polled, Paused: s.paused}
	s.mu.Unlock()
	for _, sp := range s.all() {
		st.Spaces = append(st.Spaces, sp.status())
	}
	slices.SortFunc(st.Spaces, func(a, b SpaceStatus) int { return cmp.Compare(a.NS, b.NS) })
	return st
}

func (sp *space) status() SpaceStatus {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	st := SpaceStatus{
		NS: sp.journal.NS(), Role: sp.role, State: sp.state, Cursor: sp.journal.Cursor(), Confirmed: sp.confirmed,
		Err: sp.err, Since: sp.since, Sent: sp.sent, SkippedUp: sp.dedup, Listed: sp.listed,
	}
	if sp.uploading && st.State == Idle {
		st.State = Uploading
	}
	st.Retry = sp.turnAt
	if st.Err == nil {
		st.Err, st.Retry = sp.receipts.failure(), sp.roundAt
	}
	if st.Err == nil {
		st.Retry = time.Time{}
	}
	return st
}
