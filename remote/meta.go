package remote

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/dbfs/dbfs"
)

var (
	_ dbfs.Meta     = (*Client)(nil)
	_ dbfs.History  = (*Client)(nil)
	_ dbfs.Holding  = (*Client)(nil)
	_ dbfs.Notifier = (*Client)(nil)
	_ Sharing       = (*Client)(nil)
	_ Collecting    = (*Client)(nil)
	_ Starting      = (*Client)(nil)
)

// Login makes a device of the account that the token logs in, and a token for it. The
// client itself may be without one. With an id, the device takes up that one again, which must
// be the account's; its former token is worthless from then on.
func (c *Client) Login(ctx context.Context, accountToken, deviceName string, again dbfs.DeviceID) (Login, error) {
	var l Login
	err := c.call(ctx, http.MethodPost, "/v1/login", LoginRequest{Token: accountToken, Name: deviceName, Device: again}, &l)
	if err == nil && (l.Device == 0 || l.Token == "") {
		err = fmt.Errorf("%w: the server logged in no device", dbfs.ErrCorrupt)
	}
	return l, err
}

// Start is Starting's.
func (c *Client) Start(ctx context.Context, last, now string) (Login, error) {
	l, err := ask[Login](ctx, c, http.MethodPost, "/v1/start", StartRequest{Last: last, Now: now})
	if err == nil && (l.Device == 0) != (l.Token == "") {
		err = fmt.Errorf("%w: the server made half a device", dbfs.ErrCorrupt)
	}
	return l, err
}

// Namespaces is dbfs.Meta's.
func (c *Client) Namespaces(ctx context.Context) ([]dbfs.Namespace, error) {
	var list []dbfs.Namespace
	if err := c.call(ctx, http.MethodGet, "/v1/namespaces", nil, &list); err != nil {
		return nil, err
	}
	for _, ns := range list {
		if err := checkNamespace(&ns); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Commit is dbfs.Meta's.
func (c *Client) Commit(ctx context.Context, ns dbfs.NamespaceID, batch dbfs.Batch) ([]dbfs.Entry, error) {
	if err := CheckBatch(&batch); err != nil {
		return nil, err
	}
	var r CommitReply
	if err := c.call(ctx, http.MethodPost, nsPath(ns, "commit"), &batch, &r); err != nil {
		return nil, err
	}
	return r.result(&batch)
}

// Log is dbfs.Meta's.
func (c *Client) Log(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Cursor, limit int) (dbfs.LogPage, error) {
	var p dbfs.LogPage
	path := nsPath(ns, fmt.Sprintf("log?epoch=%d&after=%d&limit=%d&state=1", after.Epoch, uint64(after.JID), limit))
	if err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return dbfs.LogPage{}, err
	}
	if err := checkLogPage(after, &p); err != nil {
		return dbfs.LogPage{}, err
	}
	return p, nil
}

// Tree is dbfs.Meta's.
func (c *Client) Tree(ctx context.Context, ns dbfs.NamespaceID, after dbfs.NodeID, limit int) (dbfs.TreePage, error) {
	var p dbfs.TreePage
	path := nsPath(ns, fmt.Sprintf("tree?after=%s&limit=%d", after, limit))
	if err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return dbfs.TreePage{}, err
	}
	if err := checkTreePage(after, &p); err != nil {
		return dbfs.TreePage{}, err
	}
	return p, nil
}

// Revisions is dbfs.History's, as is Revision.
func (c *Client) Revisions(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, after dbfs.JID, limit int) (dbfs.RevisionPage, error) {
	var p dbfs.RevisionPage
	path := nsPath(ns, fmt.Sprintf("nodes/%s/revisions?after=%d&limit=%d", node, uint64(after), limit))
	if err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return dbfs.RevisionPage{}, err
	}
	if err := checkRevisions(node, after, &p); err != nil {
		return dbfs.RevisionPage{}, err
	}
	return p, nil
}

func (c *Client) Revision(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) (dbfs.Revision, error) {
	var r dbfs.Revision
	path := nsPath(ns, fmt.Sprintf("nodes/%s/revisions/%d", node, uint64(rev)))
	if err := c.call(ctx, http.MethodGet, path, nil, &r); err != nil {
		return dbfs.Revision{}, err
	}
	if err := checkRevision(node, &r); err != nil {
		return dbfs.Revision{}, err
	}
	if r.Rev != rev {
		return dbfs.Revision{}, fmt.Errorf("%w: the server sent version %d, asked for was %d", dbfs.ErrCorrupt, r.Rev, rev)
	}
	return r, nil
}

// Deleted is dbfs.History's.
func (c *Client) Deleted(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Departure, limit int) (dbfs.DeletedPage, error) {
	var p dbfs.DeletedPage
	path := nsPath(ns, fmt.Sprintf("deleted?after=%d&node=%s&limit=%d", uint64(after.JID), after.Node, limit))
	if err := c.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return dbfs.DeletedPage{}, err
	}
	if err := checkDeleted(after, &p); err != nil {
		return dbfs.DeletedPage{}, err
	}
	return p, nil
}

// Hold is dbfs.Holding's, as is LetGo.
func (c *Client) Hold(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) error {
	return c.call(ctx, http.MethodPut, holdPath(ns, node, rev), nil, nil)
}

func (c *Client) LetGo(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) error {
	return c.call(ctx, http.MethodDelete, holdPath(ns, node, rev), nil, nil)
}

func holdPath(ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) string {
	return nsPath(ns, fmt.Sprintf("nodes/%s/revisions/%d/hold", node, uint64(rev)))
}

// pollGrace is how much later than asked for a poll may be answered.
const pollGrace = 30 * time.Second

// Wait is dbfs.Notifier's, by long poll.
func (c *Client) Wait(ctx context.Context, at map[dbfs.NamespaceID]dbfs.Cursor, timeout time.Duration) (dbfs.Hint, error) {
	timeout = min(timeout, MaxPollTime*time.Second)
	req := PollRequest{T: timeout.Seconds(), Cursors: make([]PollCursor, 0, len(at))}
	for ns, cur := range at {
		req.Cursors = append(req.Cursors, PollCursor{ns, cur.Epoch, cur.JID})
	}
	var r PollReply
	if err := c.callWithin(ctx, timeout+pollGrace, http.MethodPost, "/v1/poll", req, &r); err != nil {
		return dbfs.Hint{}, err
	}
	return r.hint(at)
}

// hint drops namespaces that nobody asked for and bounds the waits.
func (r *PollReply) hint(at map[dbfs.NamespaceID]dbfs.Cursor) (dbfs.Hint, error) {
	h := dbfs.Hint{
		Retry: time.Duration(min(max(r.RetryMS, 0), maxRetryAfter.Milliseconds())) * time.Millisecond,
		Herd:  time.Duration(min(max(r.HerdMS, 0), maxRetryAfter.Milliseconds())) * time.Millisecond,
	}
	for _, ns := range r.Changed {
		if _, asked := at[ns]; !asked {
			return dbfs.Hint{}, fmt.Errorf("%w: news of namespace %s, which was not asked for", dbfs.ErrCorrupt, ns)
		}
		h.Changed = append(h.Changed, ns)
	}
	return h, nil
}

func nsPath(ns dbfs.NamespaceID, rest string) string { return "/v1/ns/" + ns.String() + "/" + rest }
