//go:build faults

package fs

import (
	"testing"

	"github.com/dbfs/dbfs/fault"
)

// Whoever destroys bytes without asking for the lease is noticed by those who have a map of them.
func TestBugsOfLendingAreNoticed(t *testing.T) {
	fault.Switch(fault.NoLease)
	defer fault.Switch("")
	d, server := withLent(t, tight)
	want := noise(1, long)
	d.sent(server, "a", want)
	h := d.hold("a", "read")
	d.allClosed()
	d.evictSome(server)
	d.eventually("the map shows that bytes were evicted", func() bool { return h.say("sum") != sumOf(want) })
}
