package daemon

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/index"
	"github.com/dbfs/dbfs/journal"
)

// Conflicts lists the conflicted copies, oldest first: those that this device made, by its
// own notices, and those of other devices, by their names. One that somebody has removed,
// renamed or marked as settled is resolved.
func (d *Daemon) Conflicts(ctx context.Context) ([]control.Conflict, error) {
	var all []control.Conflict
	for _, sp := range d.all() {
		ours, err := d.ownConflicts(sp)
		if err != nil {
			return nil, err
		}
		others, err := d.namedConflicts(ctx, sp, ours)
		if err != nil {
			return nil, err
		}
		all = append(slices.AppendSeq(all, maps.Values(ours)), others...)
	}
	slices.SortFunc(all, func(a, b control.Conflict) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	return all, nil
}

func (d *Daemon) ownConflicts(sp *space) (map[dbfs.NodeID]control.Conflict, error) {
	found := make(map[dbfs.NodeID]control.Conflict)
	for _, notice := range sp.journal.Notices() {
		n, err := sp.journal.Node(notice.Node)
		if errors.Is(err, dbfs.ErrNotExist) || err == nil && (n.Name != notice.Became || isSettled(&n)) {
			if err := sp.journal.Resolved(notice.Node); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		c := control.Conflict{Time: notice.Time, Size: n.Content.Size, Device: d.set.Device}
		c.Path, _ = d.drivePath(sp, n.ID)
		if original, ok := d.drivePath(sp, notice.Other); ok {
			c.Original = original
		}
		found[n.ID] = c
	}
	return found, nil
}

// maxNamed is how many copies of other devices are listed for one namespace.
const maxNamed = 1000

// namedConflicts finds the copies that other devices made. Of them only the name tells: what
// they are copies of, whose, and of which day.
func (d *Daemon) namedConflicts(ctx context.Context, sp *space, ours map[dbfs.NodeID]control.Conflict) ([]control.Conflict, error) {
	res, err := sp.feed.index.Search(ctx, `name:"conflicted copy" OR name:"name conflict"`, index.SearchOptions{Limit: maxNamed})
	if err != nil {
		return nil, err
	}
	var found []control.Conflict
	for _, h := range res.Hits {
		original, device, day, ok := journal.ConflictOf(h.Name)
		n, err := sp.journal.Node(h.Node)
		if _, own := ours[h.Node]; own || !ok || err != nil || n.Name != h.Name || isSettled(&n) {
			continue
		}
		c := control.Conflict{Size: n.Content.Size, Device: device, Time: day, ByName: true}
		if c.Path, ok = d.drivePath(sp, n.ID); !ok {
			continue
		}
		if _, err := sp.journal.Child(n.Parent, original); err == nil {
			c.Original = strings.TrimSuffix(c.Path, path.Base(c.Path)) + original
		}
		if made := time.Unix(0, n.CTime); made.Truncate(24 * time.Hour).Equal(day) {
			c.Time = made // the day is what the name says; this is when the copy arrived
		}
		found = append(found, c)
	}
	return found, nil
}
