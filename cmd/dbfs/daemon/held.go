package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

// A Budget says how much may be deleted and overwritten before the rest is held.
type Budget = journal.Budget

// DefaultBudget returns the one for those who say nothing else.
func DefaultBudget() Budget { return journal.DefaultBudget() }

// budget returns what the guard of every namespace lets pass; nil: it is off.
func (d *Daemon) budget() *journal.Budget {
	b := d.set.Guard
	switch {
	case d.set.NoGuard:
		return nil
	case b == (journal.Budget{}):
		b = journal.DefaultBudget()
	}
	return &b
}

var lastHoldKey = []byte("@hold")

// holdID returns the next number of what is held, in whatever namespace.
func (d *Daemon) holdID() uint64 {
	d.holds.Lock()
	defer d.holds.Unlock()
	last := uint64(0)
	b, err := getValue(d.kv, lastHoldKey)
	switch {
	case err == nil && len(b) == 8:
		last = binary.BigEndian.Uint64(b)
	case err == nil || !errors.Is(err, dbfs.ErrNotExist):
		d.log.Error("the number of the last hold cannot be read", "err", err)
	}
	last = max(last, d.lastHold) + 1
	d.lastHold = last
	if err := setValue(d.kv, lastHoldKey, binary.BigEndian.AppendUint64(nil, last)); err != nil {
		d.log.Error("the number of a hold is not stored", "err", err)
	}
	return last
}

// guard lets the guards look at what was edited, also while nothing can be sent.
func (d *Daemon) guard() {
	for _, sp := range d.all() {
		if err := sp.journal.Guard(); err != nil {
			d.log.Error("what was edited is not guarded", "namespace", d.named(sp), "err", err)
		}
	}
}

// Holds lists what the guards hold, oldest first.
func (d *Daemon) Holds(context.Context) ([]control.Hold, error) {
	d.guard()
	var all []control.Hold
	for _, sp := range d.all() {
		for _, h := range sp.journal.Holds() {
			all = append(all, control.Hold{
				ID: h.ID, Namespace: d.named(sp), Incoming: h.Incoming, State: string(h.Decision), Since: h.Since,
				Deletes: h.Deletes, Overwrites: h.Overwrites, Bytes: h.Bytes, Of: h.Of,
			})
		}
	}
	slices.SortFunc(all, func(a, b control.Hold) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// holder returns the namespace that a hold is in.
func (d *Daemon) holder(id uint64) (*space, error) {
	for _, sp := range d.all() {
		for _, h := range sp.journal.Holds() {
			if h.ID == id {
				return sp, nil
			}
		}
	}
	return nil, control.NoHold(id)
}

// HeldItems tells what a hold destroys.
func (d *Daemon) HeldItems(_ context.Context, id uint64, emit func(*control.HeldItem) error) error {
	sp, err := d.holder(id)
	if err != nil {
		return err
	}
	items, err := sp.journal.Harmed(id)
	if err != nil {
		return err
	}
	top := d.top(sp)
	for _, m := range items {
		if err := emit(&control.HeldItem{Path: top + m.Path, What: string(m.What), Size: m.Bytes, Time: m.Time}); err != nil {
			return err
		}
	}
	return nil
}

// DecideHold approves or rejects what is held.
func (d *Daemon) DecideHold(_ context.Context, req control.HoldDecision) error {
	sp, err := d.holder(req.ID)
	if err != nil {
		return err
	}
	v := journal.Rejected
	switch {
	case req.Approve:
		v = journal.Approved
	case req.Discard:
		v = journal.Discarded
	}
	if err := sp.journal.Decide(req.ID, v); err != nil {
		return err
	}
	d.syncer.Kick()
	return nil
}

// heldAttention tells of what is held.
func (d *Daemon) heldAttention(st *control.Status) {
	holds, _ := d.Holds(context.Background())
	for _, h := range holds {
		if h.State != control.HoldUndecided {
			continue
		}
		what := "are held and not sent"
		if h.Incoming {
			what = "by other devices are held and not applied here; until you decide nothing of it is synced"
		}
		st.Attention = append(st.Attention, control.Attention{
			Kind: "held", Message: fmt.Sprintf("%s in %s %s", h.Summary(), h.Namespace, what),
			Command: fmt.Sprintf("dbfs held show %d", h.ID), Since: h.Since,
		})
	}
}

// held returns an error if something that is waited for is held: it is not sent before somebody
// has decided.
func (w *waiter) held() error {
	w.gone = make(map[dbfs.NodeID]string)
	for _, sp := range w.d.all() {
		holds := sp.journal.Holds()
		if len(holds) == 0 {
			continue
		}
		top := w.d.top(sp)
		for _, h := range holds {
			items, _ := sp.journal.Harmed(h.ID) // it may have been decided since
			for _, m := range items {
				w.gone[m.Node] = top + m.Path
			}
		}
		for _, op := range sp.journal.PendingBefore(w.until[sp.journal.NS()]) {
			hold, held := sp.journal.HeldOf(op.Node)
			if !held || !w.concerns(sp, &op) {
				continue
			}
			err := fmt.Errorf("%w: what is waited for is in a mass change that needs your decision", dbfs.ErrHeld)
			return control.WithHint(err, fmt.Sprintf("dbfs held show %d", hold))
		}
	}
	return nil
}
