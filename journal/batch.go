package journal

import (
	"fmt"

	"github.com/dbfs/dbfs"
)

// A Batch is edits on their way to the server. Until it is answered it is sent again,
// unchanged and under the same number, also after a restart.
type Batch struct {
	Seq   uint64
	Ops   []dbfs.Op
	edits []*edit
	taken bool // the server has it; the log will show it
}

// A place is a name in a directory.
type place struct {
	parent dbfs.NodeID
	name   string
}

// maxBatchBytes keeps a batch below what the server accepts, by a rough count.
const maxBatchBytes = 700 << 10

// Batch returns the batch in flight or, if there is none, makes one of the edits that may
// be sent: in order, those that ready accepts, that nobody is writing to, and that do not
// build on one left behind. nil: there is nothing to send.
func (j *Journal) Batch(ready func(op *dbfs.Op) bool) (*Batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inflight != nil {
		if j.inflight.taken {
			return nil, nil
		}
		return j.inflight, nil
	}
	b := j.choose(ready)
	if len(b.edits) == 0 {
		return nil, nil
	}
	b.Seq = j.seq + 1
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error {
		if err := j.log.setState(txn, logState{j.nextN, b.Seq, j.rootIno}); err != nil {
			return err
		}
		return j.log.setInflight(txn, b)
	})
	if err != nil {
		return nil, fmt.Errorf("make a batch: %w", err)
	}
	j.seq, j.inflight = b.Seq, b
	return b, nil
}

func (j *Journal) choose(ready func(op *dbfs.Op) bool) *Batch {
	b := &Batch{}
	left := leftBehind{make(map[dbfs.NodeID]bool), make(map[place]bool), make(map[dbfs.NodeID]bool)}
	bytes := 0
	for _, e := range j.pending.list {
		size := 400 + len(e.op.Name) + len(e.op.Target)
		if e.op.Content != nil {
			size += 70 * len(e.op.Content.Chunks)
		}
		for k, v := range e.op.Attr.Xattrs {
			size += len(k) + len(v)*4/3
		}
		if len(b.edits) == dbfs.MaxBatchOps || len(b.edits) > 0 && bytes+size > maxBatchBytes {
			break
		}
		if j.open[e.op.Node] > 0 || left.under(e) || !ready(&e.op) {
			left.add(e)
			continue
		}
		bytes += size
		b.edits = append(b.edits, e)
		b.Ops = append(b.Ops, e.op)
	}
	return b
}

// leftBehind knows what later edits must not build on.
type leftBehind struct {
	nodes   map[dbfs.NodeID]bool
	places  map[place]bool       // names an edit left behind would take or free
	emptied map[dbfs.NodeID]bool // directories it would take something out of
}

func (l *leftBehind) add(e *edit) {
	for _, id := range about(&e.op) {
		l.nodes[id] = true
	}
	if places(&e.op) {
		l.places[place{e.op.Parent, e.op.Name}] = true
	}
	if e.left != (place{}) {
		l.places[e.left] = true
		l.emptied[e.left.parent] = true
	}
}

func (l *leftBehind) under(e *edit) bool {
	for _, id := range about(&e.op) {
		if l.nodes[id] {
			return true
		}
	}
	if places(&e.op) && (l.nodes[e.op.Parent] || l.places[place{e.op.Parent, e.op.Name}]) {
		return true
	}
	return e.op.Type == dbfs.OpDelete && l.emptied[e.op.Node]
}

// leaves notes which name the edit frees, before it is applied.
func (e *edit) leaves(s *snapshot) {
	if e.op.Type != dbfs.OpMove && e.op.Type != dbfs.OpDelete {
		return
	}
	if n, ok := s.node(e.op.Node); ok && !n.Deleted {
		e.left = place{n.Parent, n.Name}
	}
}

func (j *Journal) isSent(e *edit) bool {
	if j.inflight == nil {
		return false
	}
	_, sent := j.inflight.has(e)
	return sent
}

func (b *Batch) has(e *edit) (int, bool) {
	// The edits of a batch are in the order of their keys.
	lo, hi := 0, len(b.edits)
	for lo < hi {
		mid := (lo + hi) / 2
		if b.edits[mid].key < e.key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(b.edits) && b.edits[lo] == e
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

// Refused notes that the server refused the batch in flight. Its edits stay pending; Advance
// with what has happened, or Reconcile, changes them so that they fit.
func (j *Journal) Refused() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.cfg.KV.Update(func(txn dbfs.Txn) error { return j.log.setInflight(txn, nil) })
	if err != nil {
		return fmt.Errorf("forget the refused batch: %w", err)
	}
	j.inflight = nil
	return nil
}
