package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote/syncer"
)

var _ control.Queue = (*Daemon)(nil)

// queuePage is how many edits are looked at while the journal is locked.
const queuePage = 500

// Queue is control.Queue's, as are Bump and Retry.
func (d *Daemon) Queue(ctx context.Context, req control.QueueRequest, emit func(*control.QueueItem) error) (*control.QueueSummary, error) {
	d.guard()
	sum, shown := &control.QueueSummary{}, 0
	st := d.syncer.Status()
	spaces := make(map[dbfs.NamespaceID]syncer.SpaceStatus)
	for _, sp := range st.Spaces {
		spaces[sp.NS] = sp
	}
	for _, sp := range d.all() {
		b := sp.journal.Backlog()
		sum.Edits += b.Edits
		sum.Bytes += b.Bytes
		err := d.queued(ctx, sp, req.Path, func(q *journal.Queued, path, from string) error {
			if req.Limit > 0 && shown == req.Limit {
				sum.More = true
				return errEnough
			}
			shown++
			item := d.queueItem(sp, q, &st, spaces[sp.journal.NS()])
			item.Path, item.From = path, from
			return emit(item)
		})
		if err != nil && err != errEnough {
			return nil, err
		}
	}
	return sum, nil
}

var errEnough = errors.New("enough")

// queued goes through the edits of a namespace that are about something below a drive path, page by page.
func (d *Daemon) queued(ctx context.Context, sp *space, below string, fn func(q *journal.Queued, path, from string) error) error {
	below = d.canonical(below)
	top := d.top(sp)
	for from := uint64(0); ; {
		list, next, err := sp.journal.Queue(from, queuePage)
		if err != nil {
			return err
		}
		for i := range list {
			q := &list[i]
			path, was := top+q.Path, ""
			if q.From != "" {
				was = top + q.From
			}
			if !isBelow(path, below) && (was == "" || !isBelow(was, below)) {
				continue
			}
			if err := fn(q, path, was); err != nil {
				return err
			}
		}
		if from = next; from == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// queuedNodes returns what the edits of a namespace are about that are about something below the paths.
func (d *Daemon) queuedNodes(ctx context.Context, sp *space, paths ...string) (map[dbfs.NodeID]bool, error) {
	nodes := make(map[dbfs.NodeID]bool)
	for _, p := range paths {
		err := d.queued(ctx, sp, p, func(q *journal.Queued, _, _ string) error {
			nodes[q.Op.Node] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// queueWords say what an edit does.
var queueWords = map[dbfs.OpType]string{
	dbfs.OpCreate: "new", dbfs.OpWrite: "changed", dbfs.OpMove: "moved", dbfs.OpDelete: "deleted", dbfs.OpDeleteTree: "deleted",
	dbfs.OpExchange: "exchanged", dbfs.OpRevive: "restored", dbfs.OpCopy: "copied", dbfs.OpSetAttr: "attributes",
}

func (d *Daemon) queueItem(sp *space, q *journal.Queued, all *syncer.Status, st syncer.SpaceStatus) *control.QueueItem {
	item := &control.QueueItem{Namespace: d.named(sp), What: queueWords[q.Op.Type], Bumped: q.Ahead, State: control.QueueWaiting}
	if item.What == "" {
		item.What = q.Op.Type.String()
	}
	if q.Op.Time != 0 {
		item.Time = time.Unix(0, q.Op.Time)
	}
	sending := false
	if q.Op.Content != nil {
		item.Size = q.Op.Content.Size
		item.Up, item.ToSend, sending = d.syncer.Uploading(sp.journal.NS(), q.Op.Node, *q.Op.Content, q.Was)
	}
	switch {
	case q.Held != 0:
		item.State, item.Command = control.QueueHeld, fmt.Sprintf("dbfs held show %d", q.Held)
	case q.Aside != nil:
		item.State, item.Reason, item.Command = control.QueueFailing, "the server does not take it: "+q.Aside.Error(), "dbfs queue retry"
	case all.Paused:
		item.State, item.Command = control.QueuePaused, "dbfs resume"
	case all.Err != nil:
		item.State, item.Reason = control.QueueOffline, all.Err.Error()
	case q.Waits:
		item.State = control.QueueOpen
	case q.Sent || sending:
		item.State = control.QueueSending
	case st.Err != nil:
		item.State, item.Reason, item.Retry = control.QueueFailing, st.Err.Error(), st.Retry
	case st.Role < dbfs.RoleWrite:
		item.State, item.Reason = control.QueueFailing, "this account may only read here"
	}
	return item
}

func (d *Daemon) Bump(ctx context.Context, paths []string) (*control.BumpResult, error) {
	res := &control.BumpResult{}
	for _, p := range paths {
		n := 0
		for _, sp := range d.all() {
			nodes, err := d.queuedNodes(ctx, sp, p)
			if err != nil {
				return nil, err
			}
			if len(nodes) > 0 {
				n += d.syncer.Bump(sp.journal.NS(), slices.Collect(maps.Keys(nodes)))
			}
		}
		if n == 0 {
			if _, _, err := d.find(p); err != nil {
				return nil, err
			}
		}
		res.Edits += n
	}
	return res, nil
}

// retryPatience is how long a Retry waits for what comes of it.
const retryPatience = 10 * time.Second

func (d *Daemon) Retry(ctx context.Context, paths []string) (*control.RetryResult, error) {
	var spaces []*space
	var list []dbfs.NamespaceID
	for _, sp := range d.all() {
		var nodes map[dbfs.NodeID]bool // nil: all
		waits := sp.journal.Backlog().Edits > 0
		if waits && len(paths) > 0 {
			var err error
			if nodes, err = d.queuedNodes(ctx, sp, paths...); err != nil {
				return nil, err
			}
			waits = len(nodes) > 0
		}
		if waits {
			sp.journal.RetryAsides(nodes)
			spaces, list = append(spaces, sp), append(list, sp.journal.NS())
		}
	}
	left := func() (n int) {
		for _, sp := range spaces {
			n += sp.journal.Backlog().Edits
		}
		return n
	}
	res := &control.RetryResult{Before: left()}
	if res.Paused = d.syncer.Status().Paused; res.Paused || res.Before == 0 {
		res.Left = res.Before
		return res, nil
	}
	tried := d.syncer.Retry(list)
	for end := time.Now().Add(retryPatience); !tried() && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
	}
	st := d.syncer.Status()
	for _, sp := range st.Spaces {
		for _, ns := range list {
			if sp.NS == ns && sp.Err != nil && res.Error == "" {
				res.Error = sp.Err.Error()
			}
		}
	}
	res.Left = left()
	return res, ctx.Err()
}
