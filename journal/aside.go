package journal

import (
	"fmt"
	"reflect"
	"time"

	"github.com/dbfs/dbfs"
)

// An Aside is an edit that the server will not take as it is, whatever else happens. It
// stays pending, and with it what builds on it, while the other edits go on; it is sent
// again once it has changed, after asideTime, and after a restart.
type Aside struct {
	Op   dbfs.Op
	Name string // of the node as the user sees it, or saw it
	Why  error
	Time time.Time
}

// asideTime is how long an edit is not sent again: the server may have learned to take it.
const asideTime = time.Hour

// TakeBack ends the batch in flight, of which the server has taken nothing and will not. Its
// edits are pending as before, to be sent in other batches.
func (j *Journal) TakeBack() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.takeBack()
}

// SetAside is TakeBack, after which the edits are not sent for a while.
func (j *Journal) SetAside(why error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.inflight
	if err := j.takeBack(); err != nil || b == nil {
		return err
	}
	for _, op := range b.Ops {
		name := j.view.nodes[op.Node].Name
		if name == "" {
			name = op.Name
		}
		j.aside[op.ID] = Aside{Op: op, Name: name, Why: why, Time: j.cfg.Clock()}
	}
	j.hasMoved()
	return nil
}

// takeBack is called with mu held.
func (j *Journal) takeBack() error {
	if j.broken != nil || j.inflight == nil {
		return j.broken
	}
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.log.setInflight(txn, nil) })
	if err != nil {
		return fmt.Errorf("take back the batch: %w", err)
	}
	j.inflight.mark(false)
	j.inflight = nil
	return nil
}

// isAside reports whether an edit is not to be sent now.
func (j *Journal) isAside(op *dbfs.Op) bool {
	a, ok := j.aside[op.ID]
	return ok && reflect.DeepEqual(a.Op, *op) && j.cfg.Clock().Sub(a.Time) < asideTime
}

// Asides returns the edits that are set aside, oldest first.
func (j *Journal) Asides() []Aside {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var all []Aside
	if len(j.aside) == 0 {
		return nil
	}
	for e := range j.pending.all() {
		if a, ok := j.aside[e.op.ID]; ok && reflect.DeepEqual(a.Op, e.op) {
			all = append(all, a)
		}
	}
	return all
}
