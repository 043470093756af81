package daemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

var _ control.Past = (*Daemon)(nil)

// Versions is control.Past's, as is RestoreVersion.
func (d *Daemon) Versions(ctx context.Context, path string) (*control.Versions, error) {
	sp, n, err := d.findPast(ctx, path)
	if err != nil {
		return nil, err
	}
	all, err := d.revisions(ctx, sp, &n)
	if err != nil {
		return nil, err
	}
	names := d.deviceNames(ctx)
	list := &control.Versions{Path: path, Versions: []control.FileVersion{}}
	for i := range all {
		list.Versions = append(list.Versions, fileVersion(&all[i], &n, names))
	}
	return list, nil
}

// findPast is findFile, also of a file that was deleted.
func (d *Daemon) findPast(ctx context.Context, path string) (*space, dbfs.Node, error) {
	sp, n, notHere := d.findFile(path)
	if !errors.Is(notHere, dbfs.ErrNotExist) {
		return sp, n, notHere
	}
	in, _, gone, err := d.findDeleted(ctx, &control.UntrashRequest{Path: path})
	switch {
	case err != nil:
		return nil, n, err
	case gone == nil || gone.Node.Kind != dbfs.KindFile:
		return nil, n, notHere
	}
	return in, gone.Node, nil
}

func (d *Daemon) findFile(path string) (*space, dbfs.Node, error) {
	sp, n, err := d.find(path)
	switch {
	case err != nil:
		return nil, n, err
	case n.Kind.IsDir():
		return nil, n, fmt.Errorf("%s: %w; only files have versions", path, dbfs.ErrIsDir)
	case n.Kind != dbfs.KindFile:
		return nil, n, fmt.Errorf("%w: %s is a %s; only files have versions", dbfs.ErrInvalid, path, n.Kind)
	}
	return sp, n, nil
}

// revisions reads all that the server has kept of a file.
func (d *Daemon) revisions(ctx context.Context, sp *space, n *dbfs.Node) (all []dbfs.Revision, err error) {
	after := dbfs.JID(0)
	for {
		page, err := d.link.history.Revisions(ctx, sp.journal.NS(), n.ID, after, 0)
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil, control.WithHint(fmt.Errorf("%w: nothing of %q has reached the server yet", dbfs.ErrNotExist, n.Name), "dbfs wait")
		}
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Revisions...); !page.More {
			return all, nil
		}
		after = all[len(all)-1].Rev
	}
}

func fileVersion(r *dbfs.Revision, n *dbfs.Node, names map[dbfs.DeviceID]string) control.FileVersion {
	v := control.FileVersion{Version: r.Rev, Size: r.Content.Size, ModTime: time.Unix(0, r.MTime), Present: n.Revs.Content == r.Rev && !n.Deleted}
	for _, t := range []struct {
		to   *time.Time
		nano int64
	}{{&v.Time, r.Time}, {&v.Until, r.Until}, {&v.Expires, r.Expires}} {
		if t.nano != 0 {
			*t.to = time.Unix(0, t.nano)
		}
	}
	if r.Device != 0 {
		if v.Device = names[r.Device]; v.Device == "" {
			v.Device = r.Device.String()
		}
	}
	return v
}

func (d *Daemon) RestoreVersion(ctx context.Context, req control.RestoreRequest) (*control.RestoreResult, error) {
	sp, n, err := d.findPast(ctx, req.Path)
	if err != nil {
		return nil, err
	}
	if err := d.mayWrite(sp); err != nil {
		return nil, err
	}
	if n.Deleted && req.To == "" {
		req.To = req.Path
	}
	all, err := d.revisions(ctx, sp, &n)
	if err != nil {
		return nil, err
	}
	r, err := chooseRevision(all, &req)
	if err != nil {
		return nil, err
	}
	done := &control.RestoreResult{Path: req.Path, Version: fileVersion(r, &n, d.deviceNames(ctx))}
	if req.To != "" {
		done.Path = req.To
		return done, d.restoreTo(sp, &n, r, req.To)
	}
	if r.Content.Equal(n.Content) {
		return done, nil
	}
	if err := kept(&n, false); err != nil {
		return nil, err
	}
	_, err = sp.journal.Write(n.ID, n.Content, r.Content, r.MTime)
	d.tell(sp, n)
	return done, err
}

// chooseRevision finds the one that is asked for.
func chooseRevision(all []dbfs.Revision, req *control.RestoreRequest) (*dbfs.Revision, error) {
	var found *dbfs.Revision
	for i := range all {
		r := &all[i]
		at := req.At.UnixNano()
		if req.Version != 0 && r.Rev == req.Version || req.Version == 0 && r.Time <= at && (r.Until == 0 || at < r.Until) {
			found = r
		}
	}
	switch {
	case found != nil:
		return found, nil
	case req.Version != 0:
		return nil, fmt.Errorf("%w: there is no version %d of %s, or it is not kept any more", dbfs.ErrNotExist, req.Version, req.Path)
	}
	return nil, fmt.Errorf("%w: what %s was at %s is not kept", dbfs.ErrNotExist, req.Path, req.At.Format(time.RFC3339))
}

// restoreTo makes a new file of a content.
func (d *Daemon) restoreTo(sp *space, n *dbfs.Node, r *dbfs.Revision, to string) error {
	dir, name, err := d.placeIn(sp, to)
	if err != nil {
		return err
	}
	attr := n.Attr
	attr.MTime = r.MTime
	made, err := sp.journal.Create(dir, name, journal.NewNode{Kind: dbfs.KindFile, Attr: attr, Content: &r.Content})
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	d.appeared(sp, made)
	return nil
}

// placeIn returns the directory and the name that a path of a namespace means, for something to be made there.
func (d *Daemon) placeIn(sp *space, to string) (dbfs.NodeID, string, error) {
	in, dir, err := d.find(path.Dir(to))
	switch {
	case err != nil:
	case in != sp:
		err = fmt.Errorf("%w: %s is in another namespace", dbfs.ErrUnsupported, to)
	case dir.Kind != dbfs.KindDir:
		err = fmt.Errorf("%s: %w", path.Dir(to), dbfs.ErrNotDir)
	}
	return dir.ID, path.Base(to), err
}
