package syncer

import (
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// A server that goes on saying that its log does not continue what was just listed is not
// asked again and again without a pause.
func TestResetAfterListing(t *testing.T) {
	srv := &server{log: func() error { return dbfs.ErrReset }}
	s, _ := run(t, srv, newDisk(t).journal(t))
	await(t, "a failure", func() bool { return s.Status().Spaces[0].State == Waiting })
	before, _, _ := srv.told()
	time.Sleep(200 * time.Millisecond)
	after, _, _ := srv.told()
	if n := after - before; n > 200 {
		t.Errorf("%d times in 200 ms, with waits of 10 ms on average", n)
	}
	srv.mu.Lock()
	srv.log = nil
	srv.mu.Unlock()
	await(t, "the log to be read", func() bool { return !s.Status().Spaces[0].Confirmed.IsZero() })
}
