package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A hold keeps a version, and so its chunks, for a device that builds on it: one that has begun to write
// to a file of which it has not all bytes. Should it be away for longer than versions are kept, and the
// file be written by others meanwhile, what it did not write is still to be had for its copy. Holds
// are part of the version's row, so they are there, or not, in the transaction that would drop it.

// held reports whether a version is kept because somebody builds on it.
func held(r *dbfs.Revision, now time.Time) bool {
	return r.Held(now) && !fault.Bug(fault.HoldsIgnored)
}

// Hold is dbfs.Holding's.
func (se *Session) Hold(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) error {
	now := se.s.now()
	return se.changeHolds(ctx, ns, node, rev, func(tx Tx) error {
		r, err := readRevision(tx, node, rev)
		if err != nil {
			return err
		}
		r.Holds = others(r.Holds, se.device, now)
		if len(r.Holds) == dbfs.MaxHolds {
			return fmt.Errorf("%w: %d devices hold it", dbfs.ErrTooLarge, dbfs.MaxHolds)
		}
		r.Holds = append(r.Holds, dbfs.Hold{Device: se.device, Until: now.Add(dbfs.HoldTime).Unix()})
		return tx.PutRevision(&r)
	})
}

// LetGo is dbfs.Holding's.
func (se *Session) LetGo(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID) error {
	now := se.s.now()
	return se.changeHolds(ctx, ns, node, rev, func(tx Tx) error {
		r, err := tx.Revision(node, rev)
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Holds = others(r.Holds, se.device, now)
		return tx.PutRevision(&r)
	})
}

func (se *Session) changeHolds(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, rev dbfs.JID, change func(Tx) error) error {
	err := se.allowed(ctx, ns, dbfs.RoleWrite)
	if err == nil {
		err = se.s.store.Update(ctx, ns, change)
	}
	if err != nil {
		return fmt.Errorf("hold version %d of node %s: %w", rev, node, err)
	}
	return nil
}

// others returns the holds of other devices that have not run out.
func others(holds []dbfs.Hold, device dbfs.DeviceID, now time.Time) []dbfs.Hold {
	return slices.DeleteFunc(slices.Clone(holds), func(h dbfs.Hold) bool { return h.Device == device || h.Until <= now.Unix() })
}
