package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// FileStatus tells about one path.
func (d *Daemon) FileStatus(_ context.Context, path string) (*control.FileStatus, error) {
	sp, n, err := d.find(path)
	if err != nil {
		return nil, err
	}
	return d.fileStatus(sp, n, path)
}

func (d *Daemon) fileStatus(sp *space, n dbfs.Node, path string) (*control.FileStatus, error) {
	st := &control.FileStatus{
		Path: path, Name: n.Name, Kind: n.Kind, Size: n.Content.Size, Mode: n.Attr.Mode, ModTime: n.ModTime(), Target: n.Target,
		Namespace: sp.journal.NS(), Node: n.ID, Rev: n.Last, Sync: control.UpToDate, Residency: control.Local,
	}
	if n.Kind == dbfs.KindMount {
		st.Kind = dbfs.KindDir
	}
	d.syncWord(sp, n, st)
	if n.Kind != dbfs.KindFile {
		return st, nil
	}
	local, err := d.cache.Residency(cache.File{NS: sp.journal.NS(), Node: n.ID}, n.Content)
	if err != nil {
		return nil, err
	}
	pinned, _ := d.pins.wants(sp, n) // not known yet is not pinned
	switch st.LocalBytes = local; {
	case local >= n.Content.Size && pinned:
		st.Residency = control.Pinned
	case local >= n.Content.Size:
	case local == 0:
		st.Residency = control.OnlineOnly
	default:
		st.Residency = control.Partial
	}
	st.State, st.Pinned, st.Hash = stateOf(st), pinned, n.Content.ContentID()
	return st, nil
}

func stateOf(st *control.FileStatus) control.FileState {
	switch st.Sync {
	case control.Pending, control.Uploading, control.Held:
		return control.StateUnsent
	}
	switch st.Residency {
	case control.OnlineOnly:
		return control.StateOnline
	case control.Partial:
		return control.StatePartial
	}
	return control.StateLocal
}

// about tells the file system what the virtual attributes of a file say.
func (d *Daemon) about(ns dbfs.NamespaceID, n dbfs.Node) (map[string]string, error) {
	sp := d.space(ns)
	if sp == nil || n.Kind != dbfs.KindFile {
		return nil, nil
	}
	st, err := d.fileStatus(sp, n, "")
	if err != nil {
		return nil, err
	}
	pinned := "no"
	if st.Pinned {
		pinned = "yes"
	}
	return map[string]string{"state": string(st.State), "pinned": pinned, "hash": st.Hash.String(), "sync": string(st.Sync)}, nil
}

func (d *Daemon) syncWord(sp *space, n dbfs.Node, st *control.FileStatus) {
	state := sp.journal.StateOf(n.ID)
	hold, held := sp.journal.HeldOf(n.ID)
	switch {
	case held:
		st.Sync, st.Reason = control.Held, fmt.Sprintf("it waits for a decision: dbfs held show %d", hold)
	case state.Waits:
		st.Sync, st.Reason = control.Pending, "a program has it open for writing"
	case state.Sent:
		st.Sync = control.Uploading
	case state.Pending > 0:
		st.Sync = control.Pending
		if err := d.syncer.Status().Err; err != nil {
			st.Reason = err.Error()
		}
	}
	for _, notice := range sp.journal.Notices() {
		if notice.Node == n.ID && st.Sync == control.UpToDate {
			st.Sync, st.Reason = control.Conflicted, fmt.Sprintf("%s of %s", notice.What, notice.Name)
		}
	}
}

// List tells about what is in a directory, and about a file by itself.
func (d *Daemon) List(ctx context.Context, req control.ListRequest, emit func(*control.FileStatus) error) error {
	sp, n, err := d.find(req.Path)
	if err != nil {
		return err
	}
	if !n.Kind.IsDir() {
		st, err := d.fileStatus(sp, n, req.Path)
		if err != nil {
			return err
		}
		return emit(st)
	}
	return d.list(ctx, sp, n, strings.TrimSuffix(req.Path, "/"), req.Recursive, emit)
}

func (d *Daemon) list(ctx context.Context, sp *space, dir dbfs.Node, path string, recursive bool, emit func(*control.FileStatus) error) error {
	nodes, err := sp.journal.Children(dir.ID)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at, name := path+"/"+n.Name, n.Name
		if n, err = sp.journal.Behind(n); errors.Is(err, dbfs.ErrNotExist) {
			continue // gone just now
		} else if err != nil {
			return err
		}
		st, err := d.fileStatus(sp, n, at)
		if err != nil {
			return err
		}
		st.Name = name
		if err := emit(st); err != nil {
			return err
		}
		if !recursive || !n.Kind.IsDir() {
			continue
		}
		below, top := sp, n
		if n.Kind == dbfs.KindMount {
			if below, top, err = d.find(at); errors.Is(err, dbfs.ErrOffline) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := d.list(ctx, below, top, at, true, emit); err != nil {
			return err
		}
	}
	return nil
}

// temporary reports whether an error ends by itself when the server can be reached.
func temporary(err error) bool {
	return errors.Is(err, dbfs.ErrOffline) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
