package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/journal"
)

// maxRefusals is how often in a row batches may be refused, each reconciled with all that the
// log brought, before this device's tree is taken to be wrong: the server may have been
// restored from a copy, and its log been continued another way.
const maxRefusals = 5

// push commits batches until nothing is left that may be sent.
func (sp *space) push(ctx context.Context) error {
	sp.mu.Lock()
	role := sp.role
	sp.mu.Unlock()
	if role < dbfs.RoleWrite {
		return nil
	}
	for refusals := 0; ; {
		if err := sp.s.gate(ctx); err != nil {
			return err
		}
		batch, err := sp.journal.Batch(sp.sendable())
		if err != nil || batch == nil {
			return err
		}
		sp.setState(Pushing)
		refused, err := sp.commit(ctx, batch)
		if err != nil {
			return err
		}
		if !refused {
			refusals = 0
		} else if refusals++; refusals > maxRefusals {
			sp.listAnew()
			return fmt.Errorf("the server goes on refusing edits of namespace %s that fit what its log says; its tree will be listed anew: %w", sp.journal.NS(), dbfs.ErrBusy)
		}
	}
}

// sendable accepts the edits of one batch: sp.limit of them, whose content is at the server.
func (sp *space) sendable() func(*dbfs.Op) bool {
	n := 0
	return func(op *dbfs.Op) bool {
		if n == sp.limit || !sp.uploaded(op) {
			return false
		}
		n++
		return true
	}
}

// uploaded reports whether an edit's content is at the server, as far as that is known. What a copy
// names is, in its source, unless the server has asked for it.
func (sp *space) uploaded(op *dbfs.Op) bool {
	if op.Content == nil || sp.receipts.have(op.Content.Refs()) {
		return true
	}
	return op.Src != nil && !sp.receipts.wants(op.Content)
}

// commit sends one batch and takes its answer to the journal.
func (sp *space) commit(ctx context.Context, batch *journal.Batch) (refused bool, err error) {
	j := sp.journal
	at, receipts := j.Cursor(), sp.receipts.of(batch.Ops)
	entries, err := sp.s.cfg.Meta.Commit(ctx, j.NS(), dbfs.Batch{
		Epoch: at.Epoch, Device: sp.s.cfg.Device, Seq: batch.Seq, Ops: batch.Ops, Receipts: receipts,
	})
	fault.Here(fault.AnswerUnnoted)
	var no *dbfs.RefusedError
	var need *dbfs.NeedChunksError
	switch {
	case err == nil:
		j.Taken()
		fault.Here(fault.AckedUnseen)
		return false, sp.taken(ctx, entries)
	case errors.As(err, &no):
		sp.s.cfg.Log.Debug("batch refused", "namespace", j.NS(), "at", no.At, "code", no.Code, "op", batch.Ops[min(no.At, len(batch.Ops)-1)].Type)
		if err := j.Refused(no); err != nil {
			return true, err
		}
		return true, sp.reconcile(ctx)
	case errors.Is(err, dbfs.ErrStaleSeq):
		sp.s.cfg.Log.Warn("this device's state is not the one that the server last heard from: it was made anew, or is an old copy", "namespace", j.NS())
		if err := j.Renumber(); err != nil {
			return true, err
		}
		return true, sp.reconcile(ctx)
	case errors.As(err, &need):
		return true, sp.need(batch, need, receipts)
	case errors.Is(err, dbfs.ErrInvalid), errors.Is(err, dbfs.ErrTooLarge), errors.Is(err, dbfs.ErrNameTooLong):
		return false, sp.withdraw(batch, err)
	case errors.Is(err, dbfs.ErrReset):
		sp.listAnew()
	}
	return false, fmt.Errorf("commit: %w", err)
}

// need has chunks uploaded that a batch names and that the server does not have. Those of a copy may
// take long, or be out of reach: other edits do not wait for them.
func (sp *space) need(batch *journal.Batch, need *dbfs.NeedChunksError, sent []dbfs.Receipt) error {
	sp.receipts.drop(need.Chunks, sent)
	copies := slices.ContainsFunc(batch.Ops, func(op dbfs.Op) bool { return op.Src != nil })
	if copies {
		sp.receipts.want(need.Chunks)
		if err := sp.journal.Undecided(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w; uploading them: %w", need, dbfs.ErrOffline)
}

// withdraw takes back a batch that would be answered in the same way for ever. Smaller ones
// follow, until the one edit is found that the server does not take; it is set aside, and the
// others go on without it.
func (sp *space) withdraw(batch *journal.Batch, why error) error {
	if len(batch.Ops) > 1 {
		sp.limit = len(batch.Ops) / 2
		return sp.journal.TakeBack()
	}
	sp.limit = dbfs.MaxBatchOps
	sp.s.cfg.Log.Warn("the server does not take an edit; it is kept and set aside", "namespace", sp.journal.NS(), "op", batch.Ops[0].Type, "node", batch.Ops[0].Node, "err", why)
	return sp.journal.SetAside(why)
}

// taken advances by the entries that a batch became. If others' came in between, the log has
// them all.
func (sp *space) taken(ctx context.Context, entries []dbfs.Entry) error {
	at := sp.journal.Cursor()
	if len(entries) == 0 || entries[0].JID != at.JID+1 {
		return sp.pull(ctx)
	}
	return sp.journal.Advance(entries, dbfs.Cursor{Epoch: at.Epoch, JID: entries[len(entries)-1].JID})
}

// reconcile makes the edits of a refused batch fit what the namespace has become.
func (sp *space) reconcile(ctx context.Context) error {
	before := sp.journal.Cursor()
	if err := sp.pull(ctx); err != nil {
		return err
	}
	if sp.journal.Cursor() == before {
		return sp.journal.Reconcile()
	}
	return nil
}
