package server

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/names"
)

// The rules of a commit. Nothing here knows a clock, a network or an engine.
//
//	edit     asked of the namespace                                                    entries
//	create   id unknown; parent a live directory; name free; chunks there              1
//	copy     as create; chunks of its source count as there, see copy.go               1
//	write    live file; content as it was seen; chunks there                           1
//	move     live; place as seen; new parent a live directory, not below it; name free 1
//	 replace … or the name held by exactly that file, as it was seen                   2
//	setattr  live; attributes as seen                                                  1
//	delete   live; place as seen; file: content as seen; directory: no live child      1
//	tree     a directory as place was seen; nothing below changed since it was seen    1
//	revive   there, not live; parent a live directory, not below it; name free;        1
//	         its content, new or old, there
//	link     a create or revive of a name: what it is a name of live                   + 1
//	exchange both live; places as seen; neither below the other                        2
//
// What has other names that are live is neither deleted nor replaced: it moves to the place of
// one of them first.
//
// "As seen" compares revisions. SelfRev fits what an earlier edit of the same batch made.

// A proposal is a batch with what the server knows about it.
type proposal struct {
	batch  *dbfs.Batch
	actor  dbfs.AccountID
	mounts bool                   // may make, delete and revive mounts: the server itself
	stored map[dbfs.ChunkRef]bool // the chunks that its receipts vouch for
	asked  map[dbfs.ChunkRef]bool // those that the server was asked to vouch for itself, and whether it does
	lender *lender                // of what is copied from elsewhere; nil: nothing can be
	now    time.Time
}

// An outcome is what the client is told: entries or a refusal.
type outcome struct {
	entries []dbfs.Entry
	refused *dbfs.RefusedError
}

// maxBatchWeight bounds the bytes of the nodes in a batch's entries (chunk lists, extended
// attributes), and with them transactions, log pages and answers. Every single edit fits.
const maxBatchWeight = 1 << 20

// decide judges a batch and writes what follows from it: all of it, or only that it was
// refused. An error (*NeedChunksError, ErrReset, ErrStaleSeq, ErrInvalid, ErrTooLarge, …) means
// that tx must be thrown away and nothing be remembered.
func decide(tx Tx, p *proposal) (outcome, error) {
	head, err := tx.Head()
	if err != nil {
		return outcome{}, err
	}
	if p.batch.Epoch != head.Epoch {
		return outcome{}, fmt.Errorf("%w: epoch %d, the log is of %d", dbfs.ErrReset, p.batch.Epoch, head.Epoch)
	}
	digest := digestOps(p.batch.Ops)
	last, err := tx.Device(p.batch.Device)
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
	case err != nil:
		return outcome{}, err
	case p.batch.Seq == last.Seq && digest == last.Digest:
		return repeat(tx, &last)
	case p.batch.Seq <= last.Seq:
		return outcome{}, fmt.Errorf("%w: batch %d of device %s after %d", dbfs.ErrStaleSeq, p.batch.Seq, p.batch.Device, last.Seq)
	}
	state := DeviceState{Seq: p.batch.Seq, Digest: digest}
	out, err := judge(tx, p, head, &state)
	if err != nil {
		return outcome{}, err
	}
	if out.refused != nil && fault.Bug(fault.RefusalsForgotten) {
		return out, nil
	}
	return out, tx.PutDevice(p.batch.Device, state)
}

// digestOps names a batch's edits. What never travels is left out.
func digestOps(ops []dbfs.Op) [32]byte {
	h := sha256.New()
	var b []byte
	for i := range ops {
		op := ops[i].Travelling()
		b = dbfs.AppendOp(b[:0], &op)
		h.Write(b)
	}
	return [32]byte(h.Sum(nil))
}

// repeat gives the answer that the batch got the first time.
func repeat(tx ReadTx, last *DeviceState) (outcome, error) {
	if last.Refused != nil {
		return outcome{refused: last.Refused}, nil
	}
	n := int(last.Last - last.First + 1)
	entries, err := tx.Log(last.First-1, n)
	if err == nil && (len(entries) != n || entries[0].JID != last.First) {
		err = fmt.Errorf("%w: the entries of batch %d are no longer kept", dbfs.ErrReset, last.Seq)
	}
	return outcome{entries: entries}, err
}

// judge runs the edits of a batch one after the other.
func judge(tx Tx, p *proposal, head Head, state *DeviceState) (outcome, error) {
	j := &judgement{stage: newStage(tx, head, p.now.UnixNano()), p: p}
	for i := range p.batch.Ops {
		err := j.apply(&p.batch.Ops[i])
		var refused *dbfs.RefusedError
		if errors.As(err, &refused) {
			refused.At, refused.Head = i, head.JID
			state.Refused = refused
			return outcome{refused: refused}, nil
		}
		if err != nil {
			return outcome{}, fmt.Errorf("edit %d: %w", i, err)
		}
	}
	if len(j.ask) > 0 || len(j.borrow) > 0 {
		return outcome{}, &askError{j.ask, j.borrow}
	}
	if len(j.need) > 0 {
		return outcome{}, &dbfs.NeedChunksError{Chunks: j.need}
	}
	if err := j.seal(); err != nil {
		return outcome{}, err
	}
	state.First, state.Last = j.entries[0].JID, j.entries[len(j.entries)-1].JID
	head.JID = state.Last
	return outcome{entries: j.entries}, errors.Join(j.write(tx), tx.SetHead(head))
}

// A judgement is a batch half judged.
type judgement struct {
	*stage
	p    *proposal
	need []dbfs.ChunkID
	ask  []dbfs.ChunkRef

	borrow []loan
}

// An askError says that a batch brings back contents, or copies some, without receipts for them: the
// batch is decided again when the chunks have been touched, as if receipts were given for them now.
type askError struct {
	refs  []dbfs.ChunkRef
	loans []loan
}

func (e *askError) Error() string {
	return fmt.Sprintf("%d chunks have to be vouched for", len(e.refs)+len(e.loans))
}

// seal signs the entries and weighs them.
func (j *judgement) seal() error {
	weight := 0
	for i := range j.entries {
		j.entries[i].Actor = j.p.actor
		weight += nodeWeight(&j.entries[i].Node) + len(j.entries[i].Below)*len(dbfs.NodeID{})
	}
	j.entries[len(j.entries)-1].End = true
	if weight > maxBatchWeight && len(j.p.batch.Ops) > 1 {
		return fmt.Errorf("%w: a batch whose nodes take %d bytes; the limit is %d: send fewer edits at once",
			dbfs.ErrTooLarge, weight, maxBatchWeight)
	}
	return nil
}

// nodeWeight is about how many bytes of a node are not of fixed size.
func nodeWeight(n *dbfs.Node) int {
	w := len(n.Name) + len(n.Target) + n.Content.Chunks.Bytes() + len(n.Links)*len(dbfs.NodeID{})
	for k, v := range n.Attr.Xattrs {
		w += len(k) + len(v)
	}
	return w
}

func (j *judgement) apply(op *dbfs.Op) error {
	switch op.Type {
	case dbfs.OpCreate, dbfs.OpCopy:
		return j.create(op)
	case dbfs.OpWrite:
		return j.rewrite(op)
	case dbfs.OpMove:
		return j.move(op)
	case dbfs.OpSetAttr:
		return j.setAttr(op)
	case dbfs.OpDelete:
		return j.remove(op)
	case dbfs.OpDeleteTree:
		return j.removeTree(op)
	case dbfs.OpRevive:
		return j.revive(op)
	case dbfs.OpExchange:
		return j.exchange(op)
	}
	return fmt.Errorf("%w: an edit of type %d", dbfs.ErrInvalid, op.Type)
}

func (j *judgement) create(op *dbfs.Op) error {
	if n, err := j.node(op.Node); err != nil {
		return err
	} else if n != nil {
		return j.refuse(dbfs.RefusedIDExists, op.Node)
	}
	at, err := j.mayStand(op)
	if err != nil {
		return err
	}
	if err := j.mustBeFree(op.Node, at); err != nil {
		return err
	}
	n := dbfs.Node{
		ID: op.Node, Parent: op.Parent, Name: op.Name, Kind: op.Kind, Attr: op.Attr, Target: op.Target, Mount: op.Mount, Device: op.Device,
		Revs: dbfs.Revs{Content: j.next(), Place: j.next(), Attr: j.next()},
	}
	if op.Content != nil {
		j.wantChunks(op, dbfs.Content{})
		n.Content = *op.Content
	}
	if op.Kind == dbfs.KindLink {
		n.Link = op.Link
	}
	j.occupy(at, n.ID)
	j.record(op, op.Type, n)
	return j.name(op, n)
}

func (j *judgement) rewrite(op *dbfs.Op) error {
	n, err := j.liveOrRefuse(op.Node)
	if err != nil {
		return err
	}
	if n.Kind != dbfs.KindFile {
		return fmt.Errorf("%w: write to a %s", dbfs.ErrInvalid, n.Kind)
	}
	if !j.seen(op.Base.Content, n.Revs.Content) && !fault.Bug(fault.BlindWrite) {
		return j.refuse(dbfs.RefusedContent, op.Node)
	}
	j.wantChunks(op, n.Content)
	j.lose(n)
	now := *n
	now.Content, now.Attr.MTime, now.Revs.Content = *op.Content, op.Attr.MTime, j.next()
	j.record(op, op.Type, now)
	return nil
}

func (j *judgement) move(op *dbfs.Op) error {
	n, err := j.mayLeave(op.Node, op.Base.Place)
	if err != nil {
		return err
	}
	to, err := j.mayStand(op)
	if err != nil {
		return err
	}
	if op.Replace != nil {
		err = j.replace(op, to)
	} else {
		err = j.mustBeFree(op.Node, to)
	}
	if err != nil {
		return err
	}
	j.settle(op, *n, to)
	return nil
}

// settle moves a live node to a place that is free for it.
func (j *judgement) settle(op *dbfs.Op, n dbfs.Node, to place) {
	j.occupy(j.placeOf(&n), dbfs.RootNode)
	j.occupy(to, n.ID)
	n.Parent, n.Name, n.Revs.Place = op.Parent, op.Name, j.next()
	j.record(op, op.Type, n)
}

// replace deletes the file that a move puts out of its place.
func (j *judgement) replace(op *dbfs.Op, at place) error {
	holder, err := j.child(at)
	if err != nil {
		return err
	}
	if holder == dbfs.RootNode {
		return j.refuse(dbfs.RefusedGone, op.Replace.Node)
	}
	if holder != op.Replace.Node {
		return j.refuse(dbfs.RefusedNameTaken, holder)
	}
	victim, err := j.node(holder)
	if err != nil {
		return err
	}
	if victim == nil {
		return fmt.Errorf("%w: %q leads to no node", dbfs.ErrCorrupt, op.Name)
	}
	if victim.Kind.IsDir() {
		return fmt.Errorf("%w: a move over a %s", dbfs.ErrInvalid, victim.Kind)
	}
	if !j.seen(op.Replace.Base.Content, victim.Revs.Content) {
		return j.refuse(dbfs.RefusedContent, holder)
	}
	if !j.seen(op.Replace.Base.Place, victim.Revs.Place) {
		return j.refuse(dbfs.RefusedPlace, holder)
	}
	if err := j.mustBeLast(victim); err != nil {
		return err
	}
	j.bury(op, *victim)
	return nil
}

func (j *judgement) setAttr(op *dbfs.Op) error {
	n, err := j.liveOrRefuse(op.Node)
	if err != nil {
		return err
	}
	if !j.seen(op.Base.Attr, n.Revs.Attr) {
		return j.refuse(dbfs.RefusedAttr, op.Node)
	}
	now := *n
	now.Attr.Set(op.Mask, op.Attr)
	now.Revs.Attr = j.next()
	j.record(op, op.Type, now)
	return nil
}

func (j *judgement) remove(op *dbfs.Op) error {
	n, err := j.liveOrRefuse(op.Node)
	if err != nil {
		return err
	}
	if n.Kind == dbfs.KindMount && !j.p.mounts {
		return fmt.Errorf("%w: a mount goes by unmounting it", dbfs.ErrInvalid)
	}
	if !n.Kind.IsDir() && !j.seen(op.Base.Content, n.Revs.Content) && !fault.Bug(fault.BlindDelete) {
		return j.refuse(dbfs.RefusedContent, op.Node)
	}
	if !j.seen(op.Base.Place, n.Revs.Place) {
		return j.refuse(dbfs.RefusedPlace, op.Node)
	}
	if n.Kind == dbfs.KindDir {
		if empty, err := j.empty(n.ID); err != nil {
			return err
		} else if !empty {
			return j.refuse(dbfs.RefusedNotEmpty, op.Node)
		}
	}
	if err := j.mustBeLast(n); err != nil {
		return err
	}
	j.bury(op, *n)
	return nil
}

// maxTreeWeight bounds the bytes of the rows that deleting a tree writes, so that one
// transaction holds them.
const maxTreeWeight = 3 << 19

// removeTree deletes a directory and all that is below it. One entry tells of it: it names
// them all, and what it makes of them is Entry.Buried.
func (j *judgement) removeTree(op *dbfs.Op) error {
	d, err := j.mayLeave(op.Node, op.Base.Place)
	if err != nil {
		return err
	}
	if d.Kind != dbfs.KindDir {
		return fmt.Errorf("%w: a %s deleted as a tree", dbfs.ErrInvalid, d.Kind)
	}
	below, err := j.unchangedBelow(op)
	if err != nil {
		return err
	}
	e := dbfs.Entry{JID: j.next(), Time: j.now}
	weight := 0
	for i := len(below) - 1; i >= 0; i-- {
		n := *below[i]
		if weight += 600 + 2*nodeWeight(&n); weight > maxTreeWeight {
			return j.refuse(dbfs.RefusedTooBig, op.Node)
		}
		j.occupy(j.placeOf(&n), dbfs.RootNode)
		j.lose(&n)
		j.change(e.Buried(n))
		e.Below = append(e.Below, n.ID)
	}
	for _, n := range below {
		if err := j.mustBeLast(n); err != nil {
			return err
		}
	}
	j.occupy(j.placeOf(d), dbfs.RootNode)
	now := *d
	now.Deleted, now.Revs.Place = true, j.next()
	j.record(op, op.Type, now)
	j.entries[len(j.entries)-1].Below = e.Below
	return nil
}

// unchangedBelow returns what is below a directory, directories before what is in them, or
// refuses: something has changed that the edit's user has not seen, or there is too much.
func (j *judgement) unchangedBelow(op *dbfs.Op) ([]*dbfs.Node, error) {
	var all []*dbfs.Node
	for next, dir := 0, op.Node; ; next++ {
		ids, err := j.children(dir, dbfs.MaxTreeNodes-len(all))
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			n, err := j.node(id)
			switch {
			case err != nil:
				return nil, err
			case n == nil:
				return nil, fmt.Errorf("%w: a name in %s leads to no node", dbfs.ErrCorrupt, dir)
			case n.Last > op.Seen || n.Kind == dbfs.KindMount:
				return nil, j.refuse(dbfs.RefusedNotEmpty, id)
			case len(all) == dbfs.MaxTreeNodes:
				return nil, j.refuse(dbfs.RefusedTooBig, op.Node)
			}
			all = append(all, n)
		}
		for next < len(all) && all[next].Kind != dbfs.KindDir {
			next++
		}
		if next == len(all) {
			return all, nil
		}
		dir = all[next].ID
	}
}

// bury deletes a live node. It keeps its parent and name, so that people can be told.
func (j *judgement) bury(op *dbfs.Op, n dbfs.Node) {
	j.occupy(j.placeOf(&n), dbfs.RootNode)
	j.lose(&n)
	n.Deleted, n.Revs.Place = true, j.next()
	j.record(op, dbfs.OpDelete, n)
}

func (j *judgement) revive(op *dbfs.Op) error {
	n, err := j.node(op.Node)
	if err != nil {
		return err
	}
	if n == nil {
		return j.refuse(dbfs.RefusedGone, op.Node)
	}
	if live, err := j.live(op.Node); err != nil {
		return err
	} else if live != nil {
		return j.refuse(dbfs.RefusedPlace, op.Node)
	}
	if n.Kind == dbfs.KindMount && !j.p.mounts || op.Content != nil && n.Kind != dbfs.KindFile {
		return fmt.Errorf("%w: revive of a %s", dbfs.ErrInvalid, n.Kind)
	}
	to, err := j.mayStand(op)
	if err != nil {
		return err
	}
	if err := j.mustBeFree(op.Node, to); err != nil {
		return err
	}
	now := *n
	if op.Content != nil {
		held := n.Content
		if n.Deleted {
			held = dbfs.Content{} // nothing keeps that
		} else {
			j.lose(n)
		}
		j.wantChunks(op, held)
		now.Content, now.Revs.Content = *op.Content, j.next()
	} else {
		if there, err := j.vouch(n); err != nil {
			return err
		} else if !there {
			return j.refuse(dbfs.RefusedGone, op.Node)
		}
		j.regain(n)
	}
	if !n.Deleted { // something above it was
		j.occupy(j.placeOf(n), dbfs.RootNode)
	}
	j.occupy(to, n.ID)
	now.Deleted, now.Parent, now.Name, now.Revs.Place = false, op.Parent, op.Name, j.next()
	j.record(op, op.Type, now)
	return j.name(op, now)
}

// exchange gives each of two live nodes the place of the other.
func (j *judgement) exchange(op *dbfs.Op) error {
	a, err := j.mayLeave(op.Node, op.Base.Place)
	if err != nil {
		return err
	}
	b, err := j.mayLeave(op.Replace.Node, op.Replace.Base.Place)
	if err != nil {
		return err
	}
	if inside, err := j.below(b.Parent, a.ID); err != nil {
		return err
	} else if inside {
		return j.refuse(dbfs.RefusedCycle, a.ID)
	}
	if inside, err := j.below(a.Parent, b.ID); err != nil {
		return err
	} else if inside {
		return j.refuse(dbfs.RefusedCycle, b.ID)
	}
	j.occupy(j.placeOf(b), a.ID)
	j.occupy(j.placeOf(a), b.ID)
	first, second := *a, *b
	first.Parent, first.Name, first.Revs.Place = b.Parent, b.Name, j.next()
	j.record(op, op.Type, first)
	second.Parent, second.Name, second.Revs.Place = a.Parent, a.Name, j.next()
	j.record(op, op.Type, second)
	return nil
}

// mayLeave returns a live node that stands where it was seen.
func (j *judgement) mayLeave(id dbfs.NodeID, base dbfs.JID) (*dbfs.Node, error) {
	n, err := j.liveOrRefuse(id)
	if err == nil && !j.seen(base, n.Revs.Place) {
		err = j.refuse(dbfs.RefusedPlace, id)
	}
	return n, err
}

// seen reports whether the revision that an edit was based on is the one that is there.
func (j *judgement) seen(base, now dbfs.JID) bool {
	if base == dbfs.SelfRev {
		return now > j.start
	}
	return base == now
}

func (j *judgement) liveOrRefuse(id dbfs.NodeID) (*dbfs.Node, error) {
	n, err := j.live(id)
	if err == nil && n == nil {
		err = j.refuse(dbfs.RefusedGone, id)
	}
	return n, err
}

// mayStand returns where an edit puts its node. It refuses a directory that is not live or lies
// below the node itself; a name that the namespace does not have is ErrInvalid.
func (j *judgement) mayStand(op *dbfs.Op) (at place, err error) {
	if err := names.Check(j.rule, op.Name); err != nil {
		return at, err
	}
	parent, err := j.live(op.Parent)
	if err != nil {
		return at, err
	}
	if parent == nil || parent.Kind != dbfs.KindDir {
		return at, j.refuse(dbfs.RefusedParentGone, op.Parent)
	}
	if inside, err := j.below(op.Parent, op.Node); err != nil {
		return at, err
	} else if inside && !fault.Bug(fault.NoCycleCheck) {
		return at, j.refuse(dbfs.RefusedCycle, op.Node)
	}
	return j.at(op.Parent, op.Name), nil
}

func (j *judgement) mustBeFree(id dbfs.NodeID, at place) error {
	holder, err := j.child(at)
	if err == nil && holder != dbfs.RootNode && holder != id {
		err = j.refuse(dbfs.RefusedNameTaken, holder)
	}
	return err
}

// wantChunks notes the chunks of an edit's content that are neither in the receipts nor in what
// the node holds now, nor to be had from the edit's source.
func (j *judgement) wantChunks(op *dbfs.Op, held dbfs.Content) {
	known := make(map[dbfs.ChunkRef]bool, len(held.Chunks.IDs()))
	for _, ref := range held.Refs() {
		known[ref] = true
	}
	for _, ref := range op.Content.Refs() {
		if known[ref] || j.p.stored[ref] {
			continue
		}
		known[ref] = true // named once
		if !j.borrows(op.Src, ref) {
			j.need = append(j.need, ref.ID)
		}
	}
}

// vouch reports whether the content that a deleted node had is there. As long as that is not
// known the chunks are asked for. What is below a deleted directory is kept, and not asked for.
func (j *judgement) vouch(n *dbfs.Node) (bool, error) {
	if !n.Deleted || j.p.asked == nil {
		return true, nil
	}
	made := n.Revs.Content > j.start // by this batch, with receipts
	for _, ref := range n.Content.Refs() {
		there, known := j.p.asked[ref]
		switch {
		case made || fault.Bug(fault.NoTouchBeforeRevive):
		case !known:
			j.ask = append(j.ask, ref)
		case !there:
			return false, nil
		}
	}
	return true, nil
}

// refuse makes the answer, with the node as the namespace has it without this batch.
func (j *judgement) refuse(code dbfs.Refusal, id dbfs.NodeID) error {
	n, err := stored(j.tx, id)
	if err != nil {
		return err
	}
	return &dbfs.RefusedError{Code: code, Node: n}
}
