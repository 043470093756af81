package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

var _ control.Trash = (*Daemon)(nil)

// Trash is control.Trash's, as is Untrash.
func (d *Daemon) Trash(ctx context.Context, req control.TrashRequest, emit func(*control.TrashItem) error) (*control.TrashSummary, error) {
	sum := &control.TrashSummary{}
	var items []control.TrashItem
	below := d.canonical(req.Path)
	for _, sp := range d.all() {
		sum.Pending += sp.journal.Backlog().Edits
		b, err := d.bin(ctx, sp)
		if err != nil {
			return nil, err
		}
		for _, n := range b.nodes {
			dir := b.nodes[n.Node.Parent]
			if dir != nil && below == "" || !req.Since.IsZero() && n.Node.CTime < req.Since.UnixNano() {
				continue
			}
			at, ok := d.wasAt(sp, b, n)
			if !ok || !isBelow(at, below) || dir != nil && at != below && path.Dir(at) != below {
				continue // elsewhere, or part of a directory that went, too
			}
			items = append(items, d.trashItem(b, n, at))
		}
	}
	slices.SortFunc(items, func(x, y control.TrashItem) int {
		return cmp.Or(y.Deleted.Compare(x.Deleted), cmp.Compare(x.Path, y.Path))
	})
	sum.Items = len(items)
	for i := range items {
		if req.Limit > 0 && i == req.Limit {
			sum.More = true
			break
		}
		if err := emit(&items[i]); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// bin asks the server what was deleted in a namespace.
func (d *Daemon) bin(ctx context.Context, sp *space) (*bin, error) {
	var all []dbfs.DeletedNode
	for after := (dbfs.Departure{}); ; {
		page, err := d.link.history.Deleted(ctx, sp.journal.NS(), after, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Nodes...)
		if after = page.Next; !page.More {
			return newBin(all), nil
		}
	}
}

// wasAt returns the drive path that a node had, as far as that is known.
func (d *Daemon) wasAt(sp *space, b *bin, n *dbfs.DeletedNode) (string, bool) {
	dirs, from := b.way(n)
	at, ok := d.drivePath(sp, from)
	for _, dir := range dirs {
		at = path.Join(at, dir.Node.Name)
	}
	return path.Join(at, n.Node.Name), ok
}

func (d *Daemon) trashItem(b *bin, n *dbfs.DeletedNode, at string) control.TrashItem {
	item := control.TrashItem{Path: at, ID: n.Node.ID, Kind: n.Node.Kind, Deleted: time.Unix(0, n.Node.CTime), Kept: isKept(n)}
	if n.Expires != 0 {
		item.Expires = time.Unix(0, n.Expires)
	}
	all, _ := b.went(n)
	for _, c := range all {
		if c.Node.Kind == dbfs.KindFile {
			item.Files++
			item.Size += c.Node.Content.Size
		}
	}
	_, _, err := d.find(at)
	item.Taken = err == nil
	return item
}

func (d *Daemon) Untrash(ctx context.Context, req control.UntrashRequest) (*control.UntrashResult, error) {
	sp, b, n, err := d.findDeleted(ctx, &req)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, control.WithHint(fmt.Errorf("%w: nothing was deleted at %s, or it is not known any more", dbfs.ErrNotExist, req.Path), "dbfs trash ls")
	}
	return d.bringBack(ctx, sp, b, n, &req)
}

// findDeleted returns what was deleted at a path; nil: nothing.
func (d *Daemon) findDeleted(ctx context.Context, req *control.UntrashRequest) (*space, *bin, *dbfs.DeletedNode, error) {
	for _, sp := range d.all() {
		b, err := d.bin(ctx, sp)
		if err != nil {
			return nil, nil, nil, err
		}
		if n := d.chosen(sp, b, req); n != nil {
			return sp, b, n, nil
		}
	}
	return nil, nil, nil, nil
}

// chosen returns what is asked for: of several the last.
func (d *Daemon) chosen(sp *space, b *bin, req *control.UntrashRequest) *dbfs.DeletedNode {
	var last *dbfs.DeletedNode
	where := d.canonical(req.Path)
	for _, n := range b.nodes {
		if req.ID != (dbfs.NodeID{}) && n.Node.ID != req.ID || last != nil && lastFirst(last, n) < 0 {
			continue
		}
		if at, ok := d.wasAt(sp, b, n); ok && at == where || req.ID != (dbfs.NodeID{}) {
			last = n
		}
	}
	return last
}

// knowsOfDeletes returns ErrBusy if the server has not heard yet of what was deleted below a path: it would bring back what was there before.
func (d *Daemon) knowsOfDeletes(ctx context.Context, sp *space, path string) error {
	unknown := 0
	err := d.queued(ctx, sp, path, func(q *journal.Queued, _, _ string) error {
		if q.Op.Type == dbfs.OpDelete || q.Op.Type == dbfs.OpDeleteTree {
			unknown++
		}
		return nil
	})
	if err == nil && unknown > 0 {
		err = control.WithHint(fmt.Errorf("%w: the server has not heard yet that %s was deleted", dbfs.ErrBusy, path), "dbfs wait")
	}
	return err
}

// bringBack makes a node and what went with it anew. New nodes have no history; the old ones keep theirs. But nothing that
// the journal or another device does meanwhile can be in the way, and it can be done offline from there on.
func (d *Daemon) bringBack(ctx context.Context, sp *space, b *bin, n *dbfs.DeletedNode, req *control.UntrashRequest) (*control.UntrashResult, error) {
	if err := errors.Join(d.mayWrite(sp), d.knowsOfDeletes(ctx, sp, req.Path)); err != nil {
		return nil, err
	}
	all, left := b.went(n)
	if !isKept(n) {
		return nil, fmt.Errorf("%w: what %s held is not kept any more", dbfs.ErrNotExist, req.Path)
	}
	res := &control.UntrashResult{Path: req.Path, Left: left}
	dir, name, err := d.placeFor(sp, b, n, req)
	if err != nil {
		return nil, err
	}
	if req.To != "" {
		res.Path = req.To
	}
	if there, err := sp.journal.Child(dir, name); err == nil && (there.Kind != dbfs.KindDir || n.Node.Kind != dbfs.KindDir) {
		return nil, control.WithHint(fmt.Errorf("%w: %s", dbfs.ErrExist, res.Path), "another place, with --to")
	}
	made := map[dbfs.NodeID]dbfs.NodeID{n.Node.Parent: dir}
	// Links come after what they are names of.
	slices.SortStableFunc(all, func(x, y *dbfs.DeletedNode) int { return cmp.Compare(isLink(x), isLink(y)) })
	for _, c := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		parent, ok := made[c.Node.Parent]
		switch {
		case !ok: // something else is where its directory was
			res.Taken++
			continue
		case !isKept(c):
			res.Lost++
			continue
		}
		as, was := c.Node.Name, c.Node
		if c == n {
			as = name
		}
		if to, ok := made[was.Link]; ok && was.Kind == dbfs.KindLink {
			was.Link = to
		}
		if there, err := sp.journal.Child(parent, as); err == nil {
			if there.Kind == dbfs.KindDir && was.Kind == dbfs.KindDir {
				made[was.ID] = there.ID
			} else {
				res.Taken++
			}
			continue
		}
		fresh, err := makeAnew(sp, parent, as, &was)
		if was.Kind == dbfs.KindLink && errors.Is(err, dbfs.ErrNotExist) { // of a file that is gone
			res.Lost++
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w; %d files of it are back", as, err, res.Files)
		}
		made[c.Node.ID] = fresh.ID
		d.appeared(sp, fresh)
		if c.Node.Kind == dbfs.KindDir {
			res.Dirs++
		} else {
			res.Files++
			res.Bytes += c.Node.Content.Size
		}
	}
	return res, nil
}

func isLink(n *dbfs.DeletedNode) int {
	if n.Node.Kind == dbfs.KindLink {
		return 1
	}
	return 0
}

// makeAnew makes a node that is like one that was deleted.
func makeAnew(sp *space, parent dbfs.NodeID, name string, was *dbfs.Node) (dbfs.Node, error) {
	if was.Kind == dbfs.KindLink {
		n, err := sp.journal.Link(was.Link, parent, name)
		if err == nil {
			n, err = sp.journal.Child(parent, name)
		}
		return n, err
	}
	like := journal.NewNode{Kind: was.Kind, Attr: was.Attr, Target: was.Target, Device: was.Device}
	if was.Kind == dbfs.KindFile {
		like.Content = &was.Content
	}
	return sp.journal.Create(parent, name, like)
}

// placeFor returns the directory and the name that a node is to have. Directories that it was in, and that are
// gone, too, are made anew.
func (d *Daemon) placeFor(sp *space, b *bin, n *dbfs.DeletedNode, req *control.UntrashRequest) (dbfs.NodeID, string, error) {
	if req.To != "" {
		return d.placeIn(sp, req.To)
	}
	dirs, at := b.way(n)
	if _, err := sp.journal.Node(at); err != nil {
		return at, "", control.WithHint(fmt.Errorf("%w: where %s was is not known any more", dbfs.ErrNotExist, req.Path), "another place, with --to")
	}
	for _, dir := range dirs {
		now, err := sp.journal.Child(at, dir.Node.Name)
		if errors.Is(err, dbfs.ErrNotExist) {
			if now, err = makeAnew(sp, at, dir.Node.Name, &dir.Node); err == nil {
				d.appeared(sp, now)
			}
		}
		if err != nil {
			return at, "", err
		}
		at = now.ID
	}
	return at, n.Node.Name, nil
}
