package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/remote"
)

// A Collection forgets what is older than the Retention wants, and then deletes the chunks that
// nothing names any more. There are no reference counts:
//
//	retain  in every namespace: contents, but for those that a device holds (hold.go), log entries,
//	        deleted nodes, chunk lists
//	mark    from a time on: walk every namespace and note the chunks that nodes, the contents
//	        kept of them, and the entries of the log name
//	sweep   walk the rows of chunks:
//	          live, not seen, touched before that time less condemnAge    becomes condemned
//	          condemned, not seen, for longer than grace                  becomes deleting
//	          deleting                                the object goes unless another row names it, then the row
//	          condemned, but seen                     a bug: it becomes live again, loudly
//
// Why that is safe while everything else goes on: a reference that appears after the walk began
// was backed by a receipt not older than receiptLife, or by a touch; so its row was touched
// later than the walk's begin less condemnAge, and is not condemned. One that was there and
// stays is seen: the walk looks at nodes before the contents that they lost and at those before
// the log, the way references move by themselves. Every change is a CAS on a row that was
// judged, so a touch in between wins. Objects get names that are never used again, so a late
// deletion hits nothing new.
//
// Mark and sweep go over the rows in parts, by chunk id, when a set of all marks would be too large.
//
// It may be given up at any point, and begun anew; what it did stays right. It keeps its own
// time by the server's clock. Not for concurrent use, and there should be only one at a time.
type Collection struct {
	s      *Server
	result remote.Collection
	report func(remote.Collection)
	begun  time.Time // of the part's walk
	marks  *marks
	walk   *tour
	rows   []byte                        // the last chunk row that was judged
	todo   []func(context.Context) error // found and not yet done
	most   int                           // marks at once
}

const (
	// clockBound bounds how far the clocks of two servers are apart, and how long a commit
	// takes from the check of its receipts on.
	clockBound = time.Hour

	// condemnAge is how long before a walk's begin a chunk must have been touched last to be
	// condemned if the walk has not seen it.
	condemnAge = receiptLife + touchEvery + clockBound

	// grace is how long a condemned chunk can still be read: by whoever is behind and shows, or
	// is just fetching, what was there before.
	grace = 7 * day
)

// The phases of a Collection.
const (
	phaseRetain = "forgetting"
	phaseMark   = "marking"
	phaseSweep  = "sweeping"
)

// NewCollection begins a collection. A dry run changes nothing, and says what a real one would
// do now; what becomes unnamed by forgetting is not counted then.
func (s *Server) NewCollection(dryRun bool) *Collection {
	c := &Collection{s: s, report: func(remote.Collection) {}, most: fullMarks}
	c.result = remote.Collection{DryRun: dryRun, Phase: phaseRetain, Started: s.now().UTC()}
	c.walk = &tour{c: c, steps: []tourStep{c.retainRevisions, c.retainLog, c.retainNodes, c.retainLists}}
	return c
}

// Result says what has been done so far.
func (c *Collection) Result() remote.Collection { return c.result }

// Step does a little: it reads a page of rows, or makes one change. It reports whether the
// collection is finished. After an error it must not go on.
func (c *Collection) Step(ctx context.Context) (done bool, err error) {
	if len(c.todo) > 0 {
		next := c.todo[0]
		c.todo = c.todo[1:]
		return false, next(ctx)
	}
	switch c.result.Phase {
	case phaseRetain, phaseMark:
		more, err := c.walk.step(ctx)
		if err != nil || more {
			return false, err
		}
		if c.result.Phase == phaseMark {
			c.beginSweep()
			return false, nil
		}
		if c.s.objects == nil {
			return true, nil
		}
		c.beginMark(0)
		return false, nil
	}
	return c.sweep(ctx)
}

// do plans a change; a dry run forgets it.
func (c *Collection) do(change func(context.Context) error) {
	if !c.result.DryRun {
		c.todo = append(c.todo, change)
	}
}

// A tour takes every namespace through some steps, each a page at a time.
type tour struct {
	c     *Collection
	steps []tourStep
	ns    dbfs.NamespaceID
	found bool
	at    int // of steps
	place tourPlace
}

// A tourStep looks at a page of a namespace and moves the place; more is false after the last.
type tourStep func(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (more bool, err error)

// A tourPlace is how far a step has got.
type tourPlace struct {
	node dbfs.NodeID
	jid  dbfs.JID
	list List   // the one before, not yet judged
	rows []past // of node, read so far
}

// step reports whether there is more.
func (w *tour) step(ctx context.Context) (bool, error) {
	if !w.found || w.at == len(w.steps) {
		return w.next(ctx)
	}
	more, err := w.steps[w.at](ctx, w.ns, &w.place)
	if err != nil {
		return false, fmt.Errorf("namespace %s: %w", w.ns, err)
	}
	if !more {
		w.at++
		w.place = tourPlace{}
	}
	return true, nil
}

// next goes to the next namespace.
func (w *tour) next(ctx context.Context) (bool, error) {
	prefix, after := rowKey('i'), []byte(nil)
	if w.found {
		after = namespaceKey(w.ns)
	}
	rows, err := w.c.s.store.Scan(ctx, TableNamespace, prefix, after, 1)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	w.ns, w.found, w.at, w.place = dbfs.NamespaceID(lastID(rows[0].Key)), true, 0, tourPlace{}
	w.c.result.Namespaces++
	return true, nil
}

// view reads a page.
func (c *Collection) view(ctx context.Context, ns dbfs.NamespaceID, fn func(ReadTx) error) error {
	return c.s.store.View(ctx, ns, fn)
}

// change makes a small change in a namespace and counts what it did.
func (c *Collection) change(ctx context.Context, ns dbfs.NamespaceID, fn func(Tx) (int, error), count *int64) error {
	n := 0
	err := c.s.store.Update(ctx, ns, func(tx Tx) (err error) {
		n, err = fn(tx)
		return err
	})
	if err == nil {
		*count += int64(n)
	}
	return err
}

func (c *Collection) ago(d time.Duration) time.Time { return c.s.now().Add(-d) }

func (c *Collection) retainRevisions(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	var page []dbfs.Revision
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		page, err = tx.AllRevisions(at.node, at.jid, pageStep)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, r := range page {
		if r.Node != at.node {
			c.forgetRevisions(ns, at)
			at.node, at.rows = r.Node, nil
		}
		at.jid = r.Rev
		at.rows = append(at.rows, past{r.Rev, r.Until, held(&r, c.s.now())})
	}
	if len(page) == pageStep {
		return true, nil
	}
	c.forgetRevisions(ns, at)
	return false, nil
}

// forgetRevisions plans what to forget of a file, all of whose rows have been read.
func (c *Collection) forgetRevisions(ns dbfs.NamespaceID, at *tourPlace) {
	node, gone := at.node, expired(at.rows, c.ago(c.s.opts.Keep.Contents), c.s.opts.Keep.Versions)
	if c.result.DryRun {
		c.result.Versions += int64(len(gone))
	}
	for len(gone) > 0 {
		some := gone[:min(len(gone), trimStep)]
		gone = gone[len(some):]
		c.do(func(ctx context.Context) error {
			err := c.change(ctx, ns, func(tx Tx) (int, error) { return dropRevisions(tx, node, some, c.s.now()) }, &c.result.Versions)
			fault.Here(fault.VersionsForgotten)
			return err
		})
	}
}

func (c *Collection) retainLog(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	cutoff := c.ago(c.s.opts.Keep.Log)
	if c.result.DryRun {
		return c.countOldEntries(ctx, ns, cutoff, at)
	}
	before := c.result.Entries
	err := c.change(ctx, ns, func(tx Tx) (int, error) { return trimLog(tx, cutoff) }, &c.result.Entries)
	if c.result.Entries > before {
		fault.Here(fault.LogTrimmed)
	}
	return c.result.Entries > before, err
}

func (c *Collection) countOldEntries(ctx context.Context, ns dbfs.NamespaceID, cutoff time.Time, at *tourPlace) (more bool, err error) {
	err = c.view(ctx, ns, func(tx ReadTx) error {
		head, err := tx.Head()
		if err != nil {
			return err
		}
		head.Trim = max(head.Trim, at.jid)
		at.jid, err = oldBatches(tx, head, cutoff)
		c.result.Entries += int64(at.jid - head.Trim)
		more = at.jid > head.Trim
		return err
	})
	return more, err
}

func (c *Collection) retainNodes(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	cutoff := c.ago(c.s.opts.Keep.Deleted)
	var page []dbfs.Node
	var gone []dbfs.NodeID
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		if page, err = tx.Nodes(at.node, pageStep); err != nil {
			return err
		}
		for i := range page {
			yes, err := dead(tx, &page[i], cutoff)
			if err != nil {
				return err
			}
			if yes {
				gone = append(gone, page[i].ID)
			}
		}
		return nil
	})
	if err != nil || len(page) == 0 {
		return false, err
	}
	at.node = page[len(page)-1].ID
	if c.result.DryRun {
		c.result.Nodes += int64(len(gone))
	}
	for _, id := range gone {
		c.do(func(ctx context.Context) error {
			return c.change(ctx, ns, func(tx Tx) (int, error) { return one(reap(tx, id, cutoff)) }, &c.result.Nodes)
		})
	}
	return true, nil
}

func one(did bool, err error) (int, error) {
	if did {
		return 1, err
	}
	return 0, err
}

func (c *Collection) retainLists(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	var page []List
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		page, err = tx.Lists(at.node, at.jid, pageStep)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, l := range page {
		c.forgetList(ns, at.list, l)
		at.list, at.node, at.jid = l, l.Node, l.Rev
	}
	if len(page) > 0 {
		return true, nil
	}
	c.forgetList(ns, at.list, List{})
	return false, nil
}

// forgetList plans to forget a list if nothing carries it; next comes after it.
func (c *Collection) forgetList(ns dbfs.NamespaceID, l, next List) {
	if l == (List{}) {
		return
	}
	if next.Node != l.Node {
		next.Rev = 0
	}
	c.do(func(ctx context.Context) error {
		return c.change(ctx, ns, func(tx Tx) (int, error) { return one(dropList(tx, l, next.Rev)) }, &c.result.Lists)
	})
}

// beginMark begins the part of the rows from a number on.
func (c *Collection) beginMark(from uint64) {
	c.result.Phase, c.begun, c.marks = phaseMark, c.s.now(), newMarks(from, c.most)
	c.result.Namespaces = 0
	c.walk = &tour{c: c, steps: []tourStep{c.markNodes, c.markRevisions, c.markLog}}
}

func (c *Collection) mark(ns dbfs.NamespaceID, content dbfs.Content) {
	c.result.Named += int64(len(content.Chunks.IDs()))
	c.marks.add(ns, content)
}

// markNodes marks what files have. What is below a deleted directory has it still: all of it
// comes back with the directory.
func (c *Collection) markNodes(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	var page []dbfs.Node
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		page, err = tx.Nodes(at.node, pageStep)
		return err
	})
	if err != nil || len(page) == 0 {
		return false, err
	}
	for _, n := range page {
		if at.node = n.ID; !n.Deleted {
			c.mark(ns, n.Content)
		}
	}
	return true, nil
}

func (c *Collection) markRevisions(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	var page []dbfs.Revision
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		page, err = tx.AllRevisions(at.node, at.jid, pageStep)
		return err
	})
	if err != nil || len(page) == 0 {
		return false, err
	}
	for _, r := range page {
		at.node, at.jid = r.Node, r.Rev
		c.mark(ns, r.Content)
	}
	return true, nil
}

func (c *Collection) markLog(ctx context.Context, ns dbfs.NamespaceID, at *tourPlace) (bool, error) {
	var page []dbfs.Entry
	err := c.view(ctx, ns, func(tx ReadTx) (err error) {
		page, err = tx.Log(at.jid, pageStep)
		return err
	})
	if err != nil || len(page) == 0 {
		return false, err
	}
	for _, e := range page {
		at.jid = e.JID
		c.mark(ns, e.Node.Content)
	}
	return true, nil
}

func (c *Collection) beginSweep() {
	c.marks.sort()
	c.result.Phase = phaseSweep
	c.rows = nil
	if from := c.marks.from; from > 0 {
		c.rows = binary.BigEndian.AppendUint64(nil, from) // sorts before every key that begins with it
	}
}

// sweep judges a page of rows.
func (c *Collection) sweep(ctx context.Context) (done bool, err error) {
	rows, err := c.s.store.Scan(ctx, TableChunk, nil, c.rows, pageStep)
	if err != nil {
		return false, err
	}
	for _, r := range rows {
		ns, err := namespaceOf(r.Key)
		if err != nil {
			return false, err
		}
		id := dbfs.ChunkID(r.Key[:len(dbfs.ChunkID{})])
		if firstOf(id) > c.marks.to {
			return c.endPart()
		}
		c.judge(r, ns, id)
		c.rows = r.Key
		c.result.Done = int64(firstOf(id) >> 32)
	}
	if len(rows) < pageStep {
		return c.endPart()
	}
	return false, nil
}

func (c *Collection) endPart() (done bool, err error) {
	if c.marks.to == 1<<64-1 {
		c.result.Done = remote.CollectionTotal
		return len(c.todo) == 0, nil
	}
	c.beginMark(c.marks.to + 1)
	return false, nil
}

// A verdict is what is to become of a chunk's row.
type verdict int

const (
	keep verdict = iota
	condemn
	remove
	finish // a removal
	rescue
)

// judgeRow decides what becomes of a row. It is all that there is to decide.
func judgeRow(row *chunkRow, seen bool, begun, now time.Time) verdict {
	age, patience := condemnAge, grace
	switch {
	case fault.Bug(fault.CollectAtOnce):
		age = 0
	case fault.Bug(fault.CollectEarly):
		age = receiptLife - touchEvery
	}
	if fault.Bug(fault.NoGrace) {
		patience = 0
	}
	switch row.State {
	case chunkLive:
		if !seen && time.Unix(row.Touched, 0).Before(begun.Add(-age)) {
			return condemn
		}
	case chunkCondemned:
		switch {
		case seen:
			return rescue
		case now.Sub(time.Unix(row.Condemned, 0)) >= patience:
			return remove
		}
	case chunkDeleting:
		return finish
	}
	return keep
}

// judge plans what is to become of a row, and counts.
func (c *Collection) judge(r Row, ns dbfs.NamespaceID, id dbfs.ChunkID) {
	var row chunkRow
	if err := unmarshalRow("chunk", r.Value, &row); err != nil {
		c.s.opts.Log.Error("a chunk's row is left alone", "chunk", id, "namespace", ns, "err", err)
		return
	}
	res := &c.result
	res.Chunks++
	key, old := bytes.Clone(r.Key), r.Value
	switch judgeRow(&row, c.marks.has(ns, id), c.begun, c.s.now()) {
	case condemn:
		condemned := row
		condemned.State, condemned.Condemned = chunkCondemned, c.s.now().Unix()
		c.replace(key, old, condemned, func([]byte) {
			fault.Here(fault.ChunkCondemned)
			c.count(&res.Condemned, &res.CondemnedBytes, row)
		})
	case rescue:
		c.s.opts.Log.Error("a chunk was condemned that is needed; it stays. Please report this", "chunk", id, "namespace", ns)
		live := row
		live.State, live.Condemned = chunkLive, 0
		c.replace(key, old, live, func([]byte) { res.Rescued++ })
	case remove:
		dying := row
		dying.State = chunkDeleting
		c.replace(key, old, dying, func(now []byte) {
			fault.Here(fault.ChunkDying)
			c.bury(key, now, id, dying)
		})
	case finish:
		c.bury(key, old, id, row)
	default:
		if row.State == chunkCondemned {
			c.count(&res.Waiting, &res.WaitingBytes, row)
		}
	}
}

func (c *Collection) count(n, size *int64, row chunkRow) {
	*n++
	*size += row.Size
}

// replace plans to change a row, if it is still what it was when it was judged, and then to go
// on with what it is now. A dry run goes on at once.
func (c *Collection) replace(key, old []byte, row chunkRow, then func(now []byte)) {
	if c.result.DryRun {
		then(nil)
		return
	}
	c.do(func(ctx context.Context) error {
		now, err := marshalRow(row)
		if err != nil {
			return err
		}
		done, err := c.s.store.CAS(ctx, TableChunk, key, old, now)
		if done {
			then(now)
		}
		return err
	})
}

// bury plans the end of a row that is being deleted: first the object, then the row.
func (c *Collection) bury(key, value []byte, id dbfs.ChunkID, row chunkRow) {
	if c.result.DryRun {
		c.count(&c.result.Deleted, &c.result.DeletedBytes, row)
		return
	}
	c.do(func(ctx context.Context) error {
		shared, err := c.shared(ctx, key, id, row.Object)
		if err == nil && shared {
			// Should all that share it go at once, the sweep of uploads finds it.
			err = c.s.remember(ctx, []string{row.Object})
		} else if err == nil {
			err = c.s.objects.Delete(ctx, row.Object)
		}
		if err != nil {
			return err
		}
		fault.Here(fault.ObjectDeleted)
		c.todo = append([]func(context.Context) error{func(ctx context.Context) error {
			done, err := c.s.store.CAS(ctx, TableChunk, key, value, nil)
			if done {
				c.result.Deleted++
			}
			if done && !shared {
				c.result.DeletedBytes += row.Size
			}
			return err
		}}, c.todo...)
		return nil
	})
}

// shared reports whether another row of the chunk names an object.
func (c *Collection) shared(ctx context.Context, key []byte, id dbfs.ChunkID, object string) (bool, error) {
	found := false
	err := c.s.eachRowOf(ctx, id, func(ns dbfs.NamespaceID, row chunkRow) bool {
		found = row.Object == object && !bytes.Equal(chunkKey(id, ns), key)
		return !found
	})
	return found, err
}

// Collect runs a collection to its end, and tells report now and then how far it has got.
func (s *Server) Collect(ctx context.Context, dryRun bool, report func(remote.Collection)) (remote.Collection, error) {
	c := s.NewCollection(dryRun)
	for step := 0; ; step++ {
		done, err := c.Step(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return c.result, fmt.Errorf("collect garbage: %w", err)
		}
		if done {
			return c.result, nil
		}
		if step%64 == 0 {
			report(c.result)
		}
	}
}
