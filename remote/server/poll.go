package server

import (
	"context"

	"github.com/dbfs/dbfs"
)

// A Poll is a Wait whose caller does the waiting: for a simulation, in which nothing happens
// by itself. It must be closed.
type Poll struct{ w *waiter }

// Park begins to wait for namespaces to go beyond cursors. What happened before, the first Look tells.
func (se *Session) Park(at map[dbfs.NamespaceID]dbfs.Cursor) *Poll {
	on := make([]dbfs.NamespaceID, 0, len(at))
	for ns := range at {
		on = append(on, ns)
	}
	return &Poll{se.park(on, at)}
}

// Woken reports whether there is reason to Look.
func (p *Poll) Woken() bool { return len(p.w.next) > 0 || len(p.w.sub.wake) > 0 }

// Look does what Wait does when it is woken. Where nothing has changed, the wait goes on.
func (p *Poll) Look(ctx context.Context) (dbfs.Hint, error) {
	select {
	case <-p.w.sub.wake:
		p.w.next = append(p.w.next, p.w.sub.take()...)
	default:
	}
	look := p.w.next
	p.w.next = nil
	return p.w.look(ctx, look)
}

// Close ends the wait.
func (p *Poll) Close() { p.w.sub.close() }
