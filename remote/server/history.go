package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
)

// What is kept of the contents that files had. A content gets its row of history in the
// transaction in which the file loses it, so that at any moment it is in the node or in a row.
// Who made it is then looked up in the log, and not known if its entry is gone by then.

// Retention says for how long the past is kept. Zero fields stand for the usual: 30 days of
// contents, but 100 for each file at most; 30 days of log, 90 days of deleted nodes. Less than
// zero is not at all.
type Retention struct {
	Contents time.Duration // what a file had …
	Versions int           // … and how many of them for each file
	Log      time.Duration // entries
	Deleted  time.Duration // nodes that are deleted, or below one that is
}

const day = 24 * time.Hour

func (r Retention) orUsual() Retention {
	if r.Contents == 0 {
		r.Contents = 30 * day
	}
	if r.Versions == 0 {
		r.Versions = 100
	}
	if r.Log == 0 {
		r.Log = 30 * day
	}
	if r.Deleted == 0 {
		r.Deleted = 90 * day
	}
	return Retention{max(r.Contents, 0), max(r.Versions, 0), max(r.Log, 0), max(r.Deleted, 0)}
}

// lose notes that a node loses its content, if it has one.
func (st *stage) lose(n *dbfs.Node) {
	if n.Kind == dbfs.KindFile {
		st.past = append(st.past, pastOf(n, st.now))
	}
}

// regain notes that a node comes back with the content that it had.
func (st *stage) regain(n *dbfs.Node) {
	if n.Kind == dbfs.KindFile {
		st.past = append(st.past, pastOf(n, 0))
	}
}

// pastOf is what a node says of its content itself.
func pastOf(n *dbfs.Node, until int64) dbfs.Revision {
	return dbfs.Revision{Node: n.ID, Rev: n.Revs.Content, Content: n.Content, MTime: n.Attr.MTime, Until: until}
}

// writePast writes the rows of what was lost and regained, in that order.
func (st *stage) writePast(tx Tx) error {
	for i := range st.past {
		r := &st.past[i]
		old, err := tx.Revision(r.Node, r.Rev)
		switch {
		case err == nil:
			r.Time, r.Device, r.Actor, r.Holds = old.Time, old.Device, old.Actor, old.Holds
		case !errors.Is(err, dbfs.ErrNotExist):
			return err
		case r.Until == 0:
			continue // it was never lost
		default:
			if err := st.sign(tx, r); err != nil {
				return err
			}
		}
		if err := tx.PutRevision(r); err != nil {
			return err
		}
	}
	return nil
}

// sign says who made a content: an edit of this batch, or one that the log has.
func (st *stage) sign(tx ReadTx, r *dbfs.Revision) error {
	if r.Rev > st.start {
		signAs(r, &st.entries[r.Rev-st.start-1])
		return nil
	}
	return signByLog(tx, r)
}

func signAs(r *dbfs.Revision, e *dbfs.Entry) {
	r.Time, r.Device, r.Actor = e.Time, e.Op.Device, e.Actor
}

func signByLog(tx ReadTx, r *dbfs.Revision) error {
	e, err := entryThatMade(tx, r.Node, r.Rev)
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil
	}
	if err == nil {
		signAs(r, &e)
	}
	return err
}

// entryThatMade returns the entry that gave a file a content; dbfs.ErrNotExist.
func entryThatMade(tx ReadTx, node dbfs.NodeID, rev dbfs.JID) (dbfs.Entry, error) {
	if rev == 0 {
		return dbfs.Entry{}, dbfs.ErrNotExist
	}
	entries, err := tx.Log(rev-1, 1)
	if err != nil {
		return dbfs.Entry{}, err
	}
	if len(entries) == 0 || entries[0].JID != rev || entries[0].Node.ID != node || entries[0].Node.Revs.Content != rev {
		return dbfs.Entry{}, dbfs.ErrNotExist
	}
	return entries[0], nil
}

// Revisions is dbfs.History's.
func (se *Session) Revisions(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, after dbfs.JID, limit int) (p dbfs.RevisionPage, err error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.RevisionPage{}, err
	}
	err = se.s.store.View(ctx, ns, func(tx ReadTx) error {
		p, err = readRevisions(tx, node, after, pageLimit(limit))
		return err
	})
	if err != nil {
		return dbfs.RevisionPage{}, fmt.Errorf("versions of node %s: %w", node, err)
	}
	for i := range p.Revisions {
		se.s.date(&p.Revisions[i])
	}
	return p, nil
}

// Revision is dbfs.History's. A content that is too old for the history, or was trimmed from it,
// is found in the log as long as that has it.
func (se *Session) Revision(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) (r dbfs.Revision, err error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.Revision{}, err
	}
	err = se.s.store.View(ctx, ns, func(tx ReadTx) error {
		r, err = readRevision(tx, node, rev)
		return err
	})
	if err != nil {
		return dbfs.Revision{}, fmt.Errorf("version %d of node %s: %w", rev, node, err)
	}
	se.s.date(&r)
	return r, nil
}

// date says until when a content is kept.
func (s *Server) date(r *dbfs.Revision) {
	if r.Until != 0 {
		r.Expires = r.Until + int64(s.opts.Keep.Contents)
	}
}

func readRevision(tx ReadTx, node dbfs.NodeID, rev dbfs.JID) (dbfs.Revision, error) {
	r, err := tx.Revision(node, rev)
	if !errors.Is(err, dbfs.ErrNotExist) {
		return r, err
	}
	n, err := stored(tx, node)
	if err != nil {
		return r, err
	}
	if n != nil && n.Kind == dbfs.KindFile && !n.Deleted && n.Revs.Content == rev {
		r = pastOf(n, 0)
		return r, signByLog(tx, &r)
	}
	e, err := entryThatMade(tx, node, rev)
	if err == nil && e.Node.Kind != dbfs.KindFile {
		err = dbfs.ErrNotExist
	}
	if err != nil {
		return r, err
	}
	r = pastOf(&e.Node, e.Time) // at least until then
	signAs(&r, &e)
	return r, nil
}

func readRevisions(tx ReadTx, node dbfs.NodeID, after dbfs.JID, limit int) (dbfs.RevisionPage, error) {
	p := dbfs.RevisionPage{Revisions: []dbfs.Revision{}}
	n, err := stored(tx, node)
	if err != nil {
		return p, err
	}
	if n == nil || n.Kind != dbfs.KindFile {
		return p, fmt.Errorf("file: %w", dbfs.ErrNotExist)
	}
	weight := 0
	for {
		step, err := tx.Revisions(node, after, pageStep)
		if err != nil {
			return p, err
		}
		for _, r := range step {
			if len(p.Revisions) >= limit || weight >= pageWeight {
				p.More = true
				return p, nil
			}
			p.Revisions, after = append(p.Revisions, r), r.Rev
			weight += r.Content.Chunks.Bytes()
		}
		if len(step) < pageStep {
			return p, addPresent(tx, &p, n, after)
		}
	}
}

// addPresent adds the content that a file has unless the page has it already.
func addPresent(tx ReadTx, p *dbfs.RevisionPage, n *dbfs.Node, after dbfs.JID) error {
	if n.Deleted || n.Revs.Content <= after {
		return nil
	}
	r := pastOf(n, 0)
	p.Revisions = append(p.Revisions, r)
	return signByLog(tx, &p.Revisions[len(p.Revisions)-1])
}
