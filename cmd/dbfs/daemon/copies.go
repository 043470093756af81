package daemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

var _ control.Copies = (*Daemon)(nil)

// Pin says that what is below a path is to be on this device, or not.
func (d *Daemon) Pin(_ context.Context, req control.PinRequest) error {
	for _, glob := range req.Globs {
		if _, err := path.Match(glob, ""); err != nil || strings.Contains(glob, "/") {
			return control.WithHint(fmt.Errorf("%w: the pattern %q", dbfs.ErrInvalid, glob), "a pattern is of a name, as \"*.pdf\"; the directory is given by itself")
		}
	}
	sp, n, err := d.find(req.Path)
	if err != nil {
		return err
	}
	switch {
	case n.Kind == dbfs.KindSymlink:
		return control.WithHint(fmt.Errorf("%w: %s is a symlink, which is always here", dbfs.ErrInvalid, req.Path), "pin what it leads to")
	case n.Kind == dbfs.KindFile && len(req.Globs) > 0:
		return fmt.Errorf("%w: patterns choose among the files of a directory, and %s is a file", dbfs.ErrInvalid, req.Path)
	case len(req.Globs) == 0: // now this is said of everything below, and what was said before does not count
		if err := d.unpinBelow(sp, n); err != nil {
			return err
		}
	}
	f := cache.File{NS: sp.journal.NS(), Node: n.ID}
	if !req.Off {
		return d.pins.set(f, &pinRule{Version: 1, Globs: req.Globs})
	}
	if err := d.pins.set(f, nil); err != nil {
		return err
	}
	r, found, err := d.pins.deciding(sp, n)
	if err != nil {
		return err
	}
	if found && !r.Off { // something above says otherwise
		return d.pins.set(f, &pinRule{Version: 1, Off: true})
	}
	return nil
}

// unpinBelow takes back what was said of nodes below one: now something is said of all of them.
func (d *Daemon) unpinBelow(sp *space, top dbfs.Node) error {
	for _, f := range d.pins.all() {
		at := d.space(f.NS)
		if at == nil {
			continue
		}
		n, err := at.journal.Node(f.Node)
		if errors.Is(err, dbfs.ErrNotExist) { // it is gone, but may come back, and is not below anything
			continue
		}
		if err != nil {
			return err
		}
		for at, n, err := d.above(at, n); err == nil; at, n, err = d.above(at, n) {
			if at == sp && n.ID == top.ID {
				if err := d.pins.set(f, nil); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// Pins lists what was said, in order of path.
func (d *Daemon) Pins(context.Context) ([]control.Pin, error) {
	var all []control.Pin
	for _, f := range d.pins.all() {
		sp := d.space(f.NS)
		r, said := d.pins.rule(f)
		if sp == nil || !said {
			continue
		}
		if at, ok := d.drivePath(sp, f.Node); ok {
			if at != "/" && !strings.HasSuffix(at, ":/") {
				at = strings.TrimSuffix(at, "/")
			}
			all = append(all, control.Pin{Path: at, Globs: r.Globs, Off: r.Off})
		}
	}
	slices.SortFunc(all, func(a, b control.Pin) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// Warm brings what is below a path, once.
func (d *Daemon) Warm(ctx context.Context, req control.WarmRequest, progress func(control.Progress) error) (*control.WarmResult, error) {
	var res control.WarmResult
	sp, n, err := d.find(req.Path)
	if err != nil {
		return nil, err
	}
	type missing struct {
		sp *space
		n  dbfs.Node
	}
	var todo []missing
	var failed error
	count := func(sp *space, n dbfs.Node) {
		if failed != nil {
			return
		}
		if req.Pinned {
			var wanted bool
			if wanted, failed = d.pins.wants(sp, n); !wanted {
				return
			}
		}
		local, err := d.cache.Residency(cache.File{NS: sp.journal.NS(), Node: n.ID}, n.Content)
		failed = err
		res.Files++
		res.Bytes += n.Content.Size
		res.LocalBytes += local
		if local >= n.Content.Size {
			res.LocalFiles++
		} else {
			todo = append(todo, missing{sp, n})
		}
	}
	if err := errors.Join(d.walk(ctx, sp, n, count), failed); err != nil || req.Check {
		return &res, err
	}
	came := make(chan arrival)
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	group, work := errgroup.WithContext(work)
	group.SetLimit(4 + 1)
	group.Go(func() error {
		for _, m := range todo {
			if work.Err() != nil {
				break
			}
			group.Go(func() error {
				n, err := d.warm(work, "dbfs warmup", m.sp, m.n)
				came <- arrival{n, err == nil}
				return err
			})
		}
		return work.Err()
	})
	ended := make(chan error, 1)
	go func() {
		ended <- group.Wait()
		close(came)
	}()
	left := int64(len(todo))
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var told error
	for open := true; open; {
		var a arrival
		select {
		case a, open = <-came:
			res.Fetched += a.bytes
			if a.whole {
				left--
			}
		case <-tick.C:
			if told == nil {
				told = progress(control.Progress{Phase: "fetching", Done: res.LocalBytes + res.Fetched, Total: res.Bytes, Files: left, Item: req.Path})
			}
			if told != nil {
				cancel()
			}
		}
	}
	if err := errors.Join(told, <-ended); err != nil {
		return nil, fmt.Errorf("%s: %d of %d files came: %w", req.Path, int64(len(todo))-left, len(todo), err)
	}
	fetched := res.Fetched // and now what is still here of it
	todo, res = nil, control.WarmResult{}
	if err := errors.Join(d.walk(ctx, sp, n, count), failed); err != nil {
		return nil, err
	}
	res.Fetched = fetched
	if res.LocalFiles < res.Files {
		return nil, control.WithHint(fmt.Errorf("%s: %d of %d files are here, the cache holds no more: %w", req.Path, res.LocalFiles, res.Files, dbfs.ErrNoSpace),
			"mount with a larger --cache-size, or warm less")
	}
	return &res, nil
}

// arrival is a file that was warmed, or not.
type arrival struct {
	bytes int64 // that came
	whole bool  // all of it is here now
}

// Free removes what is below a path from this device.
func (d *Daemon) Free(ctx context.Context, req control.FreeRequest, progress func(control.Progress) error) (*control.FreeResult, error) {
	var res control.FreeResult
	sp, n, err := d.find(req.Path)
	if err != nil {
		return nil, err
	}
	if err := d.quieten(ctx); err != nil {
		return nil, err
	}
	var failed error
	last := time.Now()
	err = d.walk(ctx, sp, n, func(sp *space, n dbfs.Node) {
		if failed != nil {
			return
		}
		failed = d.free(sp, n, &res)
		if failed == nil && time.Since(last) > 200*time.Millisecond {
			last = time.Now()
			failed = progress(control.Progress{Phase: "freeing", Done: res.Bytes, Item: n.Name})
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	if n.Kind != dbfs.KindFile {
		return &res, nil
	}
	switch {
	case res.Pinned > 0:
		return nil, control.WithHint(fmt.Errorf("%s is pinned: %w", req.Path, dbfs.ErrBusy), "dbfs unpin "+req.Path)
	case res.Unsent > 0:
		return nil, control.WithHint(fmt.Errorf("%s is not at the server yet: %w", req.Path, dbfs.ErrBusy), "dbfs wait "+req.Path)
	case res.Open > 0:
		return nil, fmt.Errorf("%s is open in a program: %w", req.Path, dbfs.ErrBusy)
	}
	return &res, nil
}

// quieten lets the index put down what it reads, and makes clean what has been sent: so that
// neither is in the way of what somebody wants to have evicted.
func (d *Daemon) quieten(ctx context.Context) error {
	for _, sp := range d.all() {
		sp.feed.catchUp(ctx)
	}
	return d.sync()
}

// free evicts one file, and counts it.
func (d *Daemon) free(sp *space, n dbfs.Node, res *control.FreeResult) error {
	res.Files++
	state := sp.journal.StateOf(n.ID)
	pinned, err := d.pins.wants(sp, n)
	switch {
	case err != nil:
		return err
	case pinned:
		res.Pinned++
		return nil
	case state.Pending > 0:
		res.Unsent++
		return nil
	case state.Open:
		res.Open++
		return nil
	}
	freed, err := d.cache.Free(cache.File{NS: sp.journal.NS(), Node: n.ID}, n.Content)
	res.Bytes += freed
	if errors.Is(err, dbfs.ErrBusy) {
		res.Open++
		err = nil
	}
	return err
}

// ClearCache evicts everything that may be evicted.
func (d *Daemon) ClearCache(ctx context.Context) (*control.ClearResult, error) {
	if err := d.quieten(ctx); err != nil {
		return nil, err
	}
	n, err := d.cache.Clear()
	return &control.ClearResult{Bytes: n}, err
}

// CheckCache reads all clean data and compares it with its names.
func (d *Daemon) CheckCache(ctx context.Context, progress func(control.Progress) error) (*control.CheckResult, error) {
	found, err := d.cache.Check(ctx, func(c cache.Checked) error {
		return progress(control.Progress{Phase: "checking", Done: c.Bytes, Total: d.cache.Stats().Clean})
	})
	if err != nil {
		return nil, err
	}
	return &control.CheckResult{Bytes: found.Bytes, Damaged: found.Damaged}, nil
}
