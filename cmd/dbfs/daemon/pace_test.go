package daemon

import (
	"testing"
	"time"

	"github.com/dbfs/dbfs/journal"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	local, remote := make([]journal.Change, 1), []journal.Change{{Remote: true}}
	for range 5 * crowd {
		p.changed(remote, now)
	}
	if p.busy(now) {
		t.Error("other devices' changes make nobody here busy")
	}
	for range 10 {
		now = now.Add(paceWindow)
		if p.changed(local, now); p.busy(now) {
			t.Error("a change now and then is a crowd")
		}
	}
	for range crowd / 2 {
		p.changed(local, now)
	}
	now = now.Add(paceWindow)
	for range crowd / 2 {
		p.changed(local, now)
	}
	if !p.busy(now) {
		t.Errorf("%d changes in two windows are no crowd", crowd)
	}
	if now = now.Add(paceWindow); p.busy(now) {
		t.Error("half a crowd in the window before is one")
	}
	for range crowd {
		p.changed(local, now)
	}
	if now = now.Add(2 * paceWindow); p.busy(now) {
		t.Error("the crowd has passed, and is still seen")
	}
}
