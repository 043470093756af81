package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

// settled is the extended attribute of a copy that somebody wants to keep under its name. It
// travels, so that no other device asks about the copy any more.
const settled = "user.dbfs.settled"

func isSettled(n *dbfs.Node) bool { return len(n.Attr.Xattrs[settled]) > 0 }

// clash is a conflict as the journal knows it.
type clash struct {
	control.Conflict
	sp       *space
	copy     dbfs.Node
	original dbfs.Node       // the zero Node: nothing has the name
	notice   *journal.Notice // nil: another device made the copy
}

// clash finds a conflict by the path of its copy or, if that is unambiguous, of its original.
func (d *Daemon) clash(ctx context.Context, path string) (*clash, error) {
	all, err := d.Conflicts(ctx)
	if err != nil {
		return nil, err
	}
	var found []control.Conflict
	for _, c := range all {
		if c.Path == path {
			found = []control.Conflict{c}
			break
		}
		if c.Original == path {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		if _, _, err := d.find(path); err != nil {
			return nil, err
		}
		return nil, control.WithHint(control.Errorf(dbfs.ErrNotExist, "%s is no conflict", path), "dbfs conflicts")
	case len(found) > 1:
		return nil, control.WithHint(control.Errorf(dbfs.ErrInvalid, "there are %d copies of %s", len(found), path), "say which: dbfs conflicts")
	}
	c := &clash{Conflict: found[0]}
	if c.sp, c.copy, err = d.find(c.Path); err != nil {
		return nil, err
	}
	for _, n := range c.sp.journal.Notices() {
		if n.Node == c.copy.ID {
			c.notice = &n
		}
	}
	if c.Original != "" {
		if _, c.original, err = d.find(c.Original); err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return nil, err
		}
	}
	return c, nil
}

// Conflict tells about one conflict.
func (d *Daemon) Conflict(ctx context.Context, path string) (*control.ConflictDetail, error) {
	c, err := d.clash(ctx, path)
	if err != nil {
		return nil, err
	}
	detail := &control.ConflictDetail{Conflict: c.Conflict, What: string(c.what())}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // what only the server knows is left out without it
	defer cancel()
	names := d.deviceNames(ctx)
	detail.Ours = d.version(ctx, c.sp, &c.copy, names)
	if detail.Ours.Device == "" || detail.Ours.Unsent {
		detail.Ours.Device = c.Device
	}
	detail.Ours.Path = c.Path
	if c.original.ID != dbfs.RootNode {
		theirs := d.version(ctx, c.sp, &c.original, names)
		theirs.Path, detail.Theirs = c.Original, &theirs
	}
	base, err := d.base(ctx, c)
	if err != nil {
		detail.NoBase = err.Error()
		return detail, nil
	}
	v := pastVersion(&base, names)
	detail.Base = &v
	return detail, nil
}

func (c *clash) what() journal.NoticeKind {
	switch {
	case c.notice != nil:
		return c.notice.What
	case strings.Contains(c.copy.Name, "(name conflict, "):
		return journal.NoticeRename
	}
	return journal.NoticeCopy
}

// version tells about a node as it is, with what the server knows of who made it.
func (d *Daemon) version(ctx context.Context, sp *space, n *dbfs.Node, names map[dbfs.DeviceID]string) control.ConflictVersion {
	v := control.ConflictVersion{Kind: n.Kind, Size: n.Content.Size, ModTime: n.ModTime(), Unsent: n.Revs.Content == dbfs.SelfRev}
	if n.Kind == dbfs.KindFile {
		v.Hash = n.Content.ContentID()
	}
	if v.Unsent {
		v.Device = d.set.Device
		return v
	}
	v.Rev = n.Revs.Content
	if r, err := d.link.history.Revision(ctx, sp.journal.NS(), n.ID, n.Revs.Content); err == nil {
		of := pastVersion(&r, names)
		v.Time, v.Device = of.Time, of.Device
	}
	return v
}

func pastVersion(r *dbfs.Revision, names map[dbfs.DeviceID]string) control.ConflictVersion {
	v := control.ConflictVersion{Kind: dbfs.KindFile, Size: r.Content.Size, ModTime: time.Unix(0, r.MTime), Rev: r.Rev, Hash: r.Content.ContentID()}
	if r.Time != 0 {
		v.Time = time.Unix(0, r.Time)
	}
	if r.Device != 0 {
		v.Device = names[r.Device]
	}
	return v
}

func (d *Daemon) deviceNames(ctx context.Context) map[dbfs.DeviceID]string {
	names := map[dbfs.DeviceID]string{d.me.Device: d.set.Device}
	list, _ := d.link.devices(ctx)
	for _, dev := range list {
		names[dev.ID] = dev.Name
	}
	return names
}

// base returns what both versions of a conflict were made from.
func (d *Daemon) base(ctx context.Context, c *clash) (dbfs.Revision, error) {
	switch {
	case c.what() == journal.NoticeRename:
		return dbfs.Revision{}, fmt.Errorf("%w: two different files wanted one name, so there is none", dbfs.ErrNotExist)
	}
	file, rev, ok := journal.BaseOf(&c.copy)
	if c.notice != nil && c.notice.Base != 0 {
		file, rev, ok = c.notice.Other, c.notice.Base, true
	}
	switch {
	case !ok && c.notice == nil:
		return dbfs.Revision{}, fmt.Errorf("%w: only the device that made the copy knows it", dbfs.ErrNotExist)
	case !ok:
		return dbfs.Revision{}, fmt.Errorf("%w: it was not recorded", dbfs.ErrNotExist)
	}
	r, err := d.link.history.Revision(ctx, c.sp.journal.NS(), file, rev)
	if errors.Is(err, dbfs.ErrNotExist) {
		return r, fmt.Errorf("%w: the server does not keep it any more", dbfs.ErrNotExist)
	}
	return r, err
}

// ConflictBase returns the content of a conflict's base.
func (d *Daemon) ConflictBase(ctx context.Context, path string) ([]byte, error) {
	c, err := d.clash(ctx, path)
	if err != nil {
		return nil, err
	}
	r, err := d.base(ctx, c)
	if err != nil {
		return nil, err
	}
	if r.Content.Size > control.MaxBase {
		return nil, fmt.Errorf("%w: the common base has %d bytes", dbfs.ErrTooLarge, r.Content.Size)
	}
	all := make([]byte, r.Content.Size)
	for i := range r.Content.Chunks.All() {
		raw, err := d.link.chunks.Get(ctx, c.sp.journal.NS(), r.Content.Ref(i))
		if err != nil {
			return nil, fmt.Errorf("read the common base: %w", err)
		}
		copy(all[int64(i)*dbfs.ChunkSize:], raw)
	}
	return all, nil
}

// ResolveConflict resolves a conflict. What it replaces or removes is in the server's history,
// unless the request says that it may be lost.
func (d *Daemon) ResolveConflict(ctx context.Context, req control.ResolveRequest) error {
	c, err := d.clash(ctx, req.Path)
	if err != nil {
		return err
	}
	if err := errors.Join(d.mayWrite(c.sp), c.unchanged(&req)); err != nil {
		return err
	}
	switch req.How {
	case control.TakeOurs:
		err = d.takeOurs(ctx, c, req.Lose)
	case control.TakeTheirs:
		err = c.takeTheirs(req.Lose)
	case control.KeepBoth:
		err = c.keepBoth(req.Rename)
	default:
		return fmt.Errorf("%w: resolve by %q", dbfs.ErrInvalid, req.How)
	}
	d.tell(c.sp, c.copy, c.original)
	if err != nil {
		return err
	}
	d.log.Info("conflict resolved", "how", req.How, "path", c.Path)
	return c.sp.journal.Resolved(c.copy.ID)
}

// tell lets the file system and the kernel hear of edits that did not come through the mount,
// from how the nodes were before.
func (d *Daemon) tell(sp *space, before ...dbfs.Node) {
	var changes []journal.Change
	for _, n := range before {
		if n.IsRoot() {
			continue
		}
		c := journal.Change{Node: n.ID, Before: &n, Remote: true}
		if now, err := sp.journal.Node(n.ID); err == nil {
			c.After = &now
		}
		changes = append(changes, c)
	}
	d.fs.Changed(sp.journal.NS(), changes)
}

// appeared lets the kernel hear of something new.
func (d *Daemon) appeared(sp *space, n dbfs.Node) {
	d.fs.Changed(sp.journal.NS(), []journal.Change{{Node: n.ID, After: &n, Remote: true}})
}

// unchanged returns an error unless the versions are those that somebody has looked at.
func (c *clash) unchanged(req *control.ResolveRequest) error {
	same := func(seen dbfs.ChunkID, n *dbfs.Node) bool {
		return seen == (dbfs.ChunkID{}) || n.Kind == dbfs.KindFile && seen == n.Content.ContentID()
	}
	if same(req.Ours, &c.copy) && same(req.Theirs, &c.original) {
		return nil
	}
	return control.WithHint(fmt.Errorf("%w: %s has been changed meanwhile", dbfs.ErrBusy, c.Path), "look again: dbfs conflicts show")
}

// kept returns an error if a content is about to go that the server has never had.
func kept(n *dbfs.Node, lose bool) error {
	if lose || n.Kind != dbfs.KindFile || n.Revs.Content != dbfs.SelfRev {
		return nil
	}
	return control.WithHint(fmt.Errorf("%w: the version of %q that would go has not reached the server, so that nothing keeps it", dbfs.ErrBusy, n.Name), "dbfs wait, or --yes to lose it")
}

func (d *Daemon) takeOurs(ctx context.Context, c *clash, lose bool) error {
	j := c.sp.journal
	if c.original.ID == dbfs.RootNode { // nothing has the name: the copy gets it
		name, _, _, ok := journal.ConflictOf(c.copy.Name)
		if c.notice != nil {
			name, ok = c.notice.Name, true
		}
		if !ok {
			return fmt.Errorf("%w: what %s was called is not known", dbfs.ErrInvalid, c.Path)
		}
		_, err := j.Move(c.copy.ID, c.copy.Parent, name, true)
		return err
	}
	if c.copy.Kind != dbfs.KindFile || c.original.Kind != dbfs.KindFile {
		return control.WithHint(fmt.Errorf("%w: only files can take each other's place", dbfs.ErrUnsupported), "rename them, or --both")
	}
	if err := kept(&c.original, lose); err != nil {
		return err
	}
	if _, err := j.Write(c.original.ID, c.original.Content, c.copy.Content, c.copy.Attr.MTime); err != nil {
		return err
	}
	d.bring(ctx, c)
	return j.Delete(c.copy.ID)
}

// bring reads what is here of the copy's bytes into the original's body, so that they stay
// here when the copy goes. What fails of that is fetched when somebody reads it.
func (d *Daemon) bring(ctx context.Context, c *clash) {
	ns := c.sp.journal.NS()
	here, err := d.cache.Residency(cache.File{NS: ns, Node: c.copy.ID}, c.copy.Content)
	if err != nil || here < c.copy.Content.Size {
		return
	}
	file := cache.File{NS: ns, Node: c.original.ID}
	body, err := d.cache.Open(file, c.copy.Content)
	if err != nil {
		return
	}
	defer body.Close()
	ctx = d.behalfOf(ctx, "dbfs conflicts", file)
	buf := make([]byte, dbfs.ChunkSize)
	for i := range c.copy.Content.Chunks.All() {
		if _, err := body.ReadAt(ctx, buf, int64(i)*dbfs.ChunkSize); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func (c *clash) takeTheirs(lose bool) error {
	j := c.sp.journal
	if c.copy.Kind.IsDir() {
		return j.RemoveDir(c.copy.ID)
	}
	same := c.original.Kind == dbfs.KindFile && c.original.Content.Equal(c.copy.Content)
	if err := kept(&c.copy, lose || same); err != nil {
		return err
	}
	return j.Delete(c.copy.ID)
}

func (c *clash) keepBoth(rename string) error {
	j := c.sp.journal
	if rename != "" {
		_, err := j.Move(c.copy.ID, c.copy.Parent, rename, true)
		return err
	}
	attr := dbfs.Attr{Xattrs: maps.Clone(c.copy.Attr.Xattrs)}
	if attr.Xattrs == nil {
		attr.Xattrs = make(map[string][]byte)
	}
	attr.Xattrs[settled] = []byte("1")
	_, err := j.SetAttr(c.copy.ID, dbfs.AttrXattrs, attr)
	return err
}
