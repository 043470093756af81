package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

var (
	_ dbfs.Meta         = (*Session)(nil)
	_ dbfs.History      = (*Session)(nil)
	_ dbfs.Holding      = (*Session)(nil)
	_ dbfs.Notifier     = (*Session)(nil)
	_ remote.Sharing    = (*Session)(nil)
	_ remote.Collecting = (*Session)(nil)
	_ remote.Starting   = (*Session)(nil)
)

// Commit is dbfs.Meta's.
func (se *Session) Commit(ctx context.Context, ns dbfs.NamespaceID, batch dbfs.Batch) ([]dbfs.Entry, error) {
	if err := se.allowed(ctx, ns, dbfs.RoleWrite); err != nil {
		return nil, err
	}
	if err := remote.CheckBatch(&batch); err != nil {
		return nil, err
	}
	if batch.Device != se.device {
		return nil, fmt.Errorf("%w: a batch of device %s sent by device %s", dbfs.ErrInvalid, batch.Device, se.device)
	}
	return se.s.commit(ctx, ns, &proposal{
		batch: &batch, actor: se.account, stored: se.s.openReceipts(ns, batch.Receipts), now: se.s.now(),
		lender: newLender(se, ns),
	})
}

// openReceipts returns the chunks that receipts vouch for. One that is no good counts for
// nothing: the answer will ask for its chunk.
func (s *Server) openReceipts(ns dbfs.NamespaceID, receipts []dbfs.Receipt) map[dbfs.ChunkRef]bool {
	stored := make(map[dbfs.ChunkRef]bool, len(receipts))
	for _, r := range receipts {
		if ref, err := s.receipts.open(ns, r, s.now()); err == nil {
			stored[ref] = true
		}
	}
	return stored
}

// commit decides a proposal in one transaction and wakes those who wait for the namespace.
func (s *Server) commit(ctx context.Context, ns dbfs.NamespaceID, p *proposal) ([]dbfs.Entry, error) {
	if fault.Bug(fault.HintBeforeCommit) {
		s.hub.publish(ns)
	}
	out, err := s.decide(ctx, ns, p)
	if err != nil {
		return nil, fmt.Errorf("commit to namespace %s: %w", ns, err)
	}
	fault.Here(fault.CommitUnheard)
	if out.refused != nil {
		return nil, out.refused
	}
	if !fault.Bug(fault.HintBeforeCommit) {
		s.hub.publish(ns)
	}
	return out.entries, nil
}

// decide runs the rules in a transaction. Chunks that the server has to vouch for itself are
// touched outside it, and then it is begun anew.
func (s *Server) decide(ctx context.Context, ns dbfs.NamespaceID, p *proposal) (out outcome, err error) {
	if s.objects != nil {
		p.asked = make(map[dbfs.ChunkRef]bool)
	}
	for {
		err = s.store.Update(ctx, ns, func(tx Tx) (err error) {
			out, err = decide(tx, p)
			return err
		})
		var ask *askError
		if !errors.As(err, &ask) {
			return out, err
		}
		if err := s.vouch(ctx, ns, ask.refs, p.asked); err != nil {
			return out, err
		}
		if err := p.lender.lend(ctx, ask.loans); err != nil {
			return out, err
		}
	}
}

// vouch touches chunks and notes which are there.
func (s *Server) vouch(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef, known map[dbfs.ChunkRef]bool) error {
	for _, ref := range refs {
		row, err := s.chunk(ctx, ns, ref.ID)
		live := false
		if err == nil && row.Raw == ref.Len {
			live, err = s.touch(ctx, ns, ref.ID, row)
		}
		if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		known[ref] = live
	}
	return nil
}

// commitOwn makes the server's own edits, as device 0, on behalf of an account. plan reads
// the namespace and returns them; none: nothing is to be done.
func (s *Server) commitOwn(ctx context.Context, ns dbfs.NamespaceID, actor dbfs.AccountID, plan func(ReadTx) ([]dbfs.Op, error)) error {
	now := s.now()
	err := s.store.Update(ctx, ns, func(tx Tx) error {
		batch, err := ownBatch(tx, plan)
		if err != nil || len(batch.Ops) == 0 {
			return err
		}
		out, err := decide(tx, &proposal{batch: batch, actor: actor, mounts: true, now: now})
		if err == nil && out.refused != nil {
			err = refusalToSharer(out.refused)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.hub.publish(ns)
	return nil
}

func ownBatch(tx ReadTx, plan func(ReadTx) ([]dbfs.Op, error)) (*dbfs.Batch, error) {
	head, err := tx.Head()
	if err != nil {
		return nil, err
	}
	last, err := tx.Device(0)
	if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		return nil, err
	}
	ops, err := plan(tx)
	for i := range ops {
		ops[i].ID = dbfs.OpID{N: (last.Seq+1)*dbfs.MaxBatchOps + uint64(i)}
	}
	return &dbfs.Batch{Epoch: head.Epoch, Seq: last.Seq + 1, Ops: ops}, err
}

// refusalToSharer says in words of the file system why the server's own edit did not fit.
func refusalToSharer(r *dbfs.RefusedError) error {
	switch r.Code {
	case dbfs.RefusedNameTaken:
		return fmt.Errorf("%q %w", r.Node.Name, dbfs.ErrExist)
	case dbfs.RefusedParentGone, dbfs.RefusedGone:
		return dbfs.ErrNotExist
	}
	return fmt.Errorf("%w: %w", dbfs.ErrBusy, r)
}

// What a page holds at most, beside the caller's limit: whole batches until the nodes weigh
// pageWeight, read in steps small enough for the largest nodes.
const (
	pageWeight  = 2 << 20
	pageStep    = 64
	defaultPage = 1000
)

func pageLimit(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, remote.MaxPage)
}

// Log is dbfs.Meta's.
func (se *Session) Log(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Cursor, limit int) (p dbfs.LogPage, err error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.LogPage{}, err
	}
	err = se.s.store.View(ctx, ns, func(tx ReadTx) error {
		p, err = readLog(tx, se.device, after, pageLimit(limit))
		return err
	})
	if err != nil {
		return dbfs.LogPage{}, fmt.Errorf("log of namespace %s: %w", ns, err)
	}
	return p, nil
}

func readLog(tx ReadTx, reader dbfs.DeviceID, after dbfs.Cursor, limit int) (dbfs.LogPage, error) {
	head, err := tx.Head()
	if err != nil {
		return dbfs.LogPage{}, err
	}
	if after.Epoch != head.Epoch || after.JID < head.Floor || after.JID > head.JID {
		return dbfs.LogPage{}, fmt.Errorf("%w: cursor %d/%d, log from %d/%d to %d",
			dbfs.ErrReset, after.Epoch, after.JID, head.Epoch, head.Floor, head.JID)
	}
	if nodes, err := wantsNodes(tx, head, reader, after.JID); err != nil {
		return dbfs.LogPage{}, err
	} else if nodes {
		return readState(tx, head, after.JID, limit)
	}
	entries, err := readBatches(tx, after.JID, head.JID, limit)
	if err != nil {
		return dbfs.LogPage{}, err
	}
	next := dbfs.Cursor{Epoch: head.Epoch, JID: after.JID + dbfs.JID(len(entries))}
	return dbfs.LogPage{Entries: entries, Next: next, Head: head.JID, More: next.JID < head.JID}, nil
}

// farBehind is how many entries somebody may have to read; for more, what has become of the
// nodes is less.
const farBehind = 4096

// wantsNodes reports whether a reader is told of nodes: when the log does not go so far back, or
// it has too much to read. But whoever has its own last batch still before it, whose answer may
// have been lost, is shown that in the log as long as the log has it.
func wantsNodes(tx ReadTx, head Head, reader dbfs.DeviceID, after dbfs.JID) (bool, error) {
	if after < head.Trim || head.JID-after <= farBehind {
		return after < head.Trim, nil
	}
	own, err := tx.Device(reader)
	if errors.Is(err, dbfs.ErrNotExist) {
		return true, nil
	}
	return own.Last <= after, err
}

// lastNode comes after every id.
var lastNode = dbfs.NodeID(bytes.Repeat([]byte{0xff}, 16))

// readState returns nodes in the order in which they were changed last. Those that one entry
// changed stay together, or the cursor would go past some of them.
func readState(tx ReadTx, head Head, after dbfs.JID, limit int) (dbfs.LogPage, error) {
	p := dbfs.LogPage{
		State: true, Entries: []dbfs.Entry{}, Nodes: []dbfs.Node{}, Next: dbfs.Cursor{Epoch: head.Epoch, JID: head.JID}, Head: head.JID,
	}
	at := lastNode
	for weight := 0; ; {
		step, err := tx.Changed(after, at, pageStep)
		if err != nil || len(step) == 0 {
			return p, err
		}
		for _, n := range step {
			if (len(p.Nodes) >= limit || weight >= pageWeight) && n.Last > after {
				p.Next.JID, p.More = after, true
				return p, nil
			}
			p.Nodes, after, at = append(p.Nodes, n), n.Last, n.ID
			weight += nodeWeight(&n)
		}
	}
}

// readBatches returns whole batches until there are limit entries or they weigh enough.
func readBatches(tx ReadTx, after, head dbfs.JID, limit int) ([]dbfs.Entry, error) {
	entries := []dbfs.Entry{}
	weight := 0
	for after < head {
		step, err := tx.Log(after, pageStep)
		if err != nil {
			return nil, err
		}
		if len(step) == 0 {
			return nil, fmt.Errorf("%w: the log ends at %d, its head is %d", dbfs.ErrCorrupt, after, head)
		}
		for _, e := range step {
			entries = append(entries, e)
			weight += nodeWeight(&e.Node)
			if e.End && (len(entries) >= limit || weight >= pageWeight) {
				return entries, nil
			}
		}
		after = step[len(step)-1].JID
	}
	return entries, nil
}

// Tree is dbfs.Meta's.
func (se *Session) Tree(ctx context.Context, ns dbfs.NamespaceID, after dbfs.NodeID, limit int) (p dbfs.TreePage, err error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.TreePage{}, err
	}
	err = se.s.store.View(ctx, ns, func(tx ReadTx) error {
		p, err = readTree(tx, after, pageLimit(limit))
		return err
	})
	if err != nil {
		return dbfs.TreePage{}, fmt.Errorf("tree of namespace %s: %w", ns, err)
	}
	return p, nil
}

func readTree(tx ReadTx, after dbfs.NodeID, limit int) (dbfs.TreePage, error) {
	head, err := tx.Head()
	if err != nil {
		return dbfs.TreePage{}, err
	}
	p := dbfs.TreePage{Nodes: []dbfs.Node{}, Cursor: head.cursor()}
	if after == dbfs.RootNode {
		if err := listRoot(tx, &p); err != nil {
			return p, err
		}
	}
	return p, listNodes(tx, &p, after, limit)
}

// listRoot puts the root first when its attributes were ever changed.
func listRoot(tx ReadTx, p *dbfs.TreePage) error {
	root, err := tx.Node(dbfs.RootNode)
	if err == nil && root.Last > 0 {
		p.Nodes = append(p.Nodes, root)
	}
	return err
}

func listNodes(tx ReadTx, p *dbfs.TreePage, after dbfs.NodeID, limit int) error {
	listed, weight := 0, 0
	for {
		step, err := tx.Nodes(after, pageStep)
		if err != nil || len(step) == 0 {
			return err
		}
		for _, n := range step {
			after = n.ID
			if n.Deleted {
				continue
			}
			p.Nodes = append(p.Nodes, n)
			listed++
			weight += nodeWeight(&n)
			if listed >= limit || weight >= pageWeight {
				p.Next, p.More = after, true
				return nil
			}
		}
	}
}
