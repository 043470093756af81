package journal

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// A Batch is edits on their way to the server. Until it is answered it is sent again,
// unchanged and under the same number, also after a restart.
type Batch struct {
	Seq   uint64
	Ops   []dbfs.Op
	edits []*edit
	taken bool // the server has it; the log will show it
	safe  bool // it survives a loss of power; of the goroutine that speaks for the server
}

// A place is a name in a directory.
type place struct {
	parent dbfs.NodeID
	name   string
}

// Batch returns the batch in flight or, if there is none, makes one of the edits that may
// be sent: in order, those that ready accepts, whose content nobody is writing, that are not
// held or set aside, and that do not build on one left behind. nil: there is nothing to send now.
// ready must not call the journal.
//
// The batch is on the disk when it is returned. A loss of power could otherwise bring back its edits
// as they were before: they would be changed again, under numbers by which the log shows
// what the server took.
func (j *Journal) Batch(ready func(op *dbfs.Op) bool) (*Batch, error) {
	if err := errors.Join(j.catchUp(), j.Guard()); err != nil {
		return nil, err
	}
	b, err := j.batch(ready)
	if err != nil || b == nil || b.safe || fault.Bug(fault.BatchNotSynced) {
		return b, err
	}
	if err := j.Sync(); err != nil {
		return nil, err
	}
	b.safe = true
	return b, nil
}

func (j *Journal) batch(ready func(op *dbfs.Op) bool) (*Batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken != nil:
		return nil, j.broken
	case j.inflight != nil && j.inflight.taken, j.holdsBack():
		return nil, nil
	case j.inflight != nil:
		if fault.Bug(fault.NewSeqOnRetry) {
			j.st.seq++
			j.inflight.Seq = j.st.seq
		}
		return j.inflight, nil
	case j.st.owed:
		return nil, nil
	}
	if err := j.gatherTrees(); err != nil {
		j.reload()
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	b := j.chooseAhead(ready)
	if len(b.edits) == 0 {
		b = j.choose(ready, nil)
	}
	if len(b.edits) == 0 {
		return nil, nil
	}
	st := j.st
	st.seq++
	b.Seq = st.seq
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := j.log.setState(txn, st); err != nil {
			return err
		}
		return j.log.setInflight(txn, b)
	})
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	fault.Here(fault.BatchTaken)
	j.st, j.inflight = st, b
	b.mark(true)
	return b, nil
}

func (b *Batch) add(e *edit) {
	b.edits = append(b.edits, e)
	b.Ops = append(b.Ops, e.op)
}

// mark notes in the edits whether they are in flight.
func (b *Batch) mark(sent bool) {
	for _, e := range b.edits {
		e.sent = sent
	}
}

// What keeps a batch below the server's limits, each by a rough count and with room to
// spare: 1 MiB for the request, and 1 MiB for the nodes in the entries that it becomes. A
// single edit may be larger.
const (
	maxRequest = 700 << 10
	maxNodes   = 700 << 10
)

// mostLate is how many edits that are not ready, as their chunks have not been uploaded, a batch looks beyond.
// They are uploaded in order, so what is ready is among the first; a backlog of 100,000 is not gone
// through for every batch.
const mostLate = 2000

// chooseAhead makes a batch of edits that were bumped, as if no others were ready.
func (j *Journal) chooseAhead(ready func(op *dbfs.Op) bool) *Batch {
	if len(j.ahead) == 0 {
		return &Batch{}
	}
	j.forgetAhead()
	edits := j.aheadEdits()
	if len(edits) == 0 {
		return &Batch{}
	}
	only := make(map[*edit]bool, len(edits))
	for _, e := range edits {
		only[e] = true
	}
	return j.choose(ready, only)
}

// choose takes edits for a batch: of those in only, if it is not nil.
func (j *Journal) choose(ready func(op *dbfs.Op) bool, only map[*edit]bool) *Batch {
	b := &Batch{}
	left := leftBehind{rule: j.cfg.Names, nodes: make(map[dbfs.NodeID]bool), places: make(map[place]bool), emptied: make(map[dbfs.NodeID]bool)}
	request, nodes, late, some := 0, 0, 0, len(only)
	for e := range j.pending.all() {
		if len(b.edits) == dbfs.MaxBatchOps || late == mostLate || only != nil && some == 0 {
			break
		}
		if only != nil {
			if !only[e] {
				left.add(e)
				continue
			}
			some--
		}
		if e.op.Content != nil && j.waits(e.op.Node) || left.under(e) || j.leaves(e) || j.isHeld(e) || j.isAside(&e.op) {
			left.add(e)
			continue
		}
		if !ready(&e.op) {
			left.add(e)
			late++
			continue
		}
		request += requestBytes(&e.op)
		nodes += j.nodeBytes(&e.op)
		if len(b.edits) > 0 && (request > maxRequest || nodes > maxNodes || j.apart[e.op.ID]) {
			break
		}
		b.add(e)
	}
	return b
}

// requestBytes is about how long an edit is in a commit's JSON, with the receipts of its chunks.
func requestBytes(op *dbfs.Op) int {
	n := 600 + 2*len(op.Name) + 2*len(op.Target)
	if op.Content != nil {
		n += 120*len(op.Content.Chunks.IDs()) + 9*op.Content.Chunks.Bytes()/4
	}
	for k, v := range op.Attr.Xattrs {
		n += 8 + 2*len(k) + len(v)*4/3
	}
	return n
}

// nodeBytes is about how long the nodes are that the edit's entries will carry.
func (j *Journal) nodeBytes(op *dbfs.Op) int {
	n := 0
	if op.Type == dbfs.OpDeleteTree {
		n, op = 40*len(op.Below), &dbfs.Op{Node: op.Node}
	}
	for _, id := range about(op) {
		node := j.view.nodes[id]
		chunks := node.Content.Chunks.Bytes()
		if op.Content != nil {
			chunks = max(chunks, op.Content.Chunks.Bytes())
		}
		n += 200 + len(node.Name) + len(op.Name) + len(node.Target) + chunks + len(dbfs.NodeID{})*len(node.Links)
		for k, v := range node.Attr.Xattrs {
			n += len(k) + len(v)
		}
	}
	return n
}

// leftBehind knows what later edits must not build on.
type leftBehind struct {
	rule    dbfs.NameRule
	nodes   map[dbfs.NodeID]bool
	places  map[place]bool       // names an edit left behind would take or free, by their keys
	emptied map[dbfs.NodeID]bool // directories it would take something out of
	shifted bool                 // it brings a directory to another place
	revived bool                 // … and so back, with all below it
}

func (l *leftBehind) add(e *edit) {
	for _, id := range about(&e.op) {
		l.nodes[id] = true
	}
	for _, at := range places(&e.op) {
		l.places[keyed(l.rule, at)] = true
	}
	if e.left != (place{}) {
		l.places[keyed(l.rule, e.left)] = true
		l.emptied[e.left.parent] = true
	}
	l.shifted = l.shifted || e.shifts()
	l.revived = l.revived || e.dir && e.op.Type == dbfs.OpRevive
}

func (l *leftBehind) under(e *edit) bool {
	if l.revived || l.shifted && e.shifts() {
		return true
	}
	for _, id := range about(&e.op) {
		if l.nodes[id] {
			return true
		}
	}
	for _, at := range places(&e.op) {
		if l.nodes[at.parent] || l.places[keyed(l.rule, at)] {
			return true
		}
	}
	if e.op.Type == dbfs.OpDelete || e.op.Type == dbfs.OpDeleteTree {
		for _, id := range about(&e.op) {
			if l.emptied[id] {
				return true
			}
		}
	}
	return false
}

// Taken notes that the server accepted the batch in flight: it is not sent again, and goes
// when the log shows it.
func (j *Journal) Taken() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inflight != nil {
		j.inflight.taken = true
	}
}

// Undecided takes the batch in flight back: the server has not decided it, and its edits may go
// in others before it can. Should the server take it after all, the log tells.
func (j *Journal) Undecided() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil || j.inflight == nil {
		return j.broken
	}
	return j.unsend(j.st, j.inflight.edits)
}

// Refused notes that the server refused the batch in flight, and why. Its edits stay pending, and no
// other batch is made of them before Advance, with what has happened, or Reconcile has
// changed them so that they fit.
func (j *Journal) Refused(why *dbfs.RefusedError) error { return j.forget(0, why) }

// Renumber is Refused for a batch whose number is lower than one that the server has had
// from this device: this journal was made anew, or is a copy of an older state. Batches go
// on under far higher numbers; if the server has had those, too, it must be called again.
func (j *Journal) Renumber() error { return j.forget(1<<16, nil) }

// forget takes the batch in flight back and makes its edits wait to be reconciled. Batches
// from now on have numbers that are higher by skip, or twice as high.
func (j *Journal) forget(skip uint64, why *dbfs.RefusedError) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil || j.inflight == nil {
		return j.broken
	}
	if why != nil {
		j.clash(why)
	}
	st := j.st
	if skip > 0 {
		st.seq += max(skip, st.seq)
	}
	st.owe(j.cursor.JID)
	for _, e := range j.inflight.edits {
		if e.op.Type == dbfs.OpDeleteTree {
			j.refusals[e.op.Node]++
		}
	}
	var tried []*edit
	if skip > 0 { // else the server said that it has none of them
		tried = j.inflight.edits
	}
	return j.unsend(st, tried)
}

// unsend takes the batch in flight back. Of some of its edits nobody knows whether the server has
// them. Called with mu held.
func (j *Journal) unsend(st logState, tried []*edit) error {
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := j.log.setState(txn, st); err != nil {
			return err
		}
		for _, e := range tried {
			marked := *e
			marked.tried = true
			if err := j.log.put(txn, &marked); err != nil {
				return err
			}
		}
		return j.log.setInflight(txn, nil)
	})
	if err != nil {
		return fmt.Errorf("take back the batch: %w", err)
	}
	j.inflight.mark(false)
	for _, e := range tried {
		e.tried = true
	}
	j.st, j.inflight = st, nil
	return nil
}
