package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// Wait returns when every change made below a path before the call is at the server.
func (d *Daemon) Wait(ctx context.Context, req control.WaitRequest, progress func(control.Progress) error) (*control.WaitResult, error) {
	if _, _, err := d.find(req.Path); err != nil {
		return nil, err
	}
	d.fs.SealSynced()
	d.syncer.Kick()
	w := newWaiter(d, req.Path)
	for {
		if err := errors.Join(w.stranded(), w.held()); err != nil {
			return nil, err
		}
		begun := time.Now()
		left, item := w.left()
		took := time.Since(begun)
		if left.Files == 0 && item == "" {
			break
		}
		left.Rate = d.rate.now()
		left.Item = item
		if err := progress(left); err != nil {
			return nil, err
		}
		select {
		case <-time.After(max(100*time.Millisecond, 20*took)): // counting a large backlog takes long itself
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	res := &control.WaitResult{}
	for _, sp := range d.syncer.Status().Spaces {
		if ours := d.space(sp.NS); ours != nil {
			res.Namespaces = append(res.Namespaces, d.namespaceStatus(ours, sp))
		}
	}
	return res, nil
}

// waiter follows the edits that were pending when a wait began.
type waiter struct {
	d     *Daemon
	below string
	until map[dbfs.NamespaceID]uint64 // edits made later do not count
	total int64
	gone  map[dbfs.NodeID]string // drive paths of what is deleted, and held
}

func newWaiter(d *Daemon, path string) *waiter {
	w := &waiter{d: d, below: d.canonical(path), until: make(map[dbfs.NamespaceID]uint64)}
	for _, sp := range d.all() {
		w.until[sp.journal.NS()] = sp.journal.NextOp()
	}
	return w
}

// left counts what is still to be sent; item names one of them, and says so where somebody
// has it open.
func (w *waiter) left() (p control.Progress, item string) {
	bytes := int64(0)
	for _, sp := range w.d.all() {
		until, counted := w.until[sp.journal.NS()]
		if !counted {
			continue
		}
		for _, op := range sp.journal.PendingBefore(until) {
			if !w.concerns(sp, &op) {
				continue
			}
			p.Files++
			if op.Content != nil {
				bytes += op.Content.Data()
			}
			if item == "" {
				item = w.name(sp, &op)
			}
		}
	}
	w.total = max(w.total, bytes)
	p.Total, p.Done, p.Phase = w.total, w.total-bytes, w.d.phase()
	return p, item
}

// phase says in a few words what is being done, or why nothing is.
func (d *Daemon) phase() string {
	switch st := d.syncer.Status(); {
	case st.Paused:
		return "paused (dbfs resume)"
	case errors.Is(st.Err, dbfs.ErrAuth):
		return "not logged in any more (dbfs login)"
	case st.Err != nil:
		return "offline"
	}
	return "sending"
}

// stranded returns an error if something that is waited for is in a namespace that the account
// has no more: it stays on this disk, and nobody can say when it can be sent.
func (w *waiter) stranded() error {
	for _, sp := range w.d.gone() {
		if n := sp.journal.Backlog().Edits; n > 0 && w.below == "" {
			return fmt.Errorf("%d edits in namespace %q, which this account has no more, are kept on this device: %w", n, w.d.named(sp), dbfs.ErrForbidden)
		}
	}
	return nil
}

func (w *waiter) name(sp *space, op *dbfs.Op) string {
	path, _ := w.d.drivePath(sp, op.Node)
	if sp.journal.StateOf(op.Node).Waits {
		path += " (open in a program)"
	}
	if path == "" {
		path = op.Type.String()
	}
	return path
}

// concerns reports whether an edit is about something below the path. What is gone from the
// view, or has left, counts too: nobody can say any more where it was, unless it is held.
func (w *waiter) concerns(sp *space, op *dbfs.Op) bool {
	if w.below == "" {
		return true
	}
	path, ok := w.d.drivePath(sp, op.Node)
	if !ok {
		path, ok = w.gone[op.Node]
	}
	return !ok || op.Type == dbfs.OpMove || op.Type == dbfs.OpExchange || isBelow(path, w.below)
}

// Umount takes the mount away, after it has stored, and if asked sent, what is unsent.
func (d *Daemon) Umount(ctx context.Context, req control.UmountRequest, progress func(control.Progress) error) error {
	if req.Wait {
		if _, err := d.Wait(ctx, control.WaitRequest{Path: "/"}, progress); err != nil {
			return err
		}
	}
	if err := progress(control.Progress{Phase: "unmounting"}); err != nil {
		return err
	}
	if err := d.unmount(req.Force); err != nil {
		return control.WithHint(err, "close them, or use --force")
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("unmounted, but not everything is stored: %w", err)
	}
	d.end()
	return nil
}

// end lets Run return.
func (d *Daemon) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.ended:
	default:
		close(d.ended)
	}
}
