package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
)

// log is the journal's part of the metadata database (integers big-endian):
//
//	s/<ns>         version 1, u64 next op number, u64 last batch, u64 root's inode
//	j/<ns><key>    op record; keys u64, ascending in the order of the edits
//	f/<ns>         version 1, u64 batch number, then the keys of its edits: the batch in flight
//	c/<ns><time>   JSON of a lasting Notice; time u64 nanoseconds, made unique
//
// Keys leave gaps of keyGap, so that one edit can become several without moving the rest.
type log struct{ ns dbfs.NamespaceID }

const keyGap = 1 << 16

// An edit is a pending op and its key, which is its place in the order. Once it is in a
// batch in flight it does not change.
type edit struct {
	key  uint64
	op   dbfs.Op
	left place // the name it frees; not stored: seen when it is laid over the view
}

type logState struct{ nextN, seq, rootIno uint64 }

func (l *log) key(kind byte) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind, '/'}, uint64(l.ns))
}

func (l *log) editKey(key uint64) []byte { return binary.BigEndian.AppendUint64(l.key('j'), key) }

func (l *log) state(txn dbfs.Txn) (logState, error) {
	b, err := txn.Get(l.key('s'))
	if errors.Is(err, dbfs.ErrNotExist) {
		return logState{nextN: 1}, nil
	}
	if err != nil {
		return logState{}, err
	}
	if len(b) != 25 || b[0] != 1 {
		return logState{}, fmt.Errorf("%w: journal state", dbfs.ErrCorrupt)
	}
	u := binary.BigEndian.Uint64
	return logState{u(b[1:]), u(b[9:]), u(b[17:])}, nil
}

func (l *log) setState(txn dbfs.Txn, st logState) error {
	b := binary.BigEndian.AppendUint64([]byte{1}, st.nextN)
	b = binary.BigEndian.AppendUint64(b, st.seq)
	return txn.Set(l.key('s'), binary.BigEndian.AppendUint64(b, st.rootIno))
}

func (l *log) edits(txn dbfs.Txn) ([]*edit, error) {
	var all []*edit
	var bad error
	prefix := l.key('j')
	err := txn.Scan(prefix, nil, func(k, v []byte) bool {
		op, err := dbfs.DecodeOp(v)
		if err != nil || len(k) != len(prefix)+8 {
			bad = fmt.Errorf("journal record %x: %w", k[len(prefix):], errors.Join(err, dbfs.ErrCorrupt))
			return false
		}
		all = append(all, &edit{key: binary.BigEndian.Uint64(k[len(prefix):]), op: op})
		return true
	})
	return all, errors.Join(bad, err)
}

func (l *log) put(txn dbfs.Txn, e *edit) error {
	return txn.Set(l.editKey(e.key), dbfs.AppendOp(nil, &e.op))
}

func (l *log) remove(txn dbfs.Txn, e *edit) error { return txn.Delete(l.editKey(e.key)) }

func (l *log) inflight(txn dbfs.Txn, p *pending) (*Batch, error) {
	b, err := txn.Get(l.key('f'))
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) < 9 || b[0] != 1 || len(b)%8 != 1 {
		return nil, fmt.Errorf("%w: batch in flight", dbfs.ErrCorrupt)
	}
	batch := &Batch{Seq: binary.BigEndian.Uint64(b[1:])}
	for b = b[9:]; len(b) > 0; b = b[8:] {
		e, ok := p.find(binary.BigEndian.Uint64(b))
		if !ok {
			return nil, fmt.Errorf("%w: batch in flight names an edit that is not there", dbfs.ErrCorrupt)
		}
		batch.edits = append(batch.edits, e)
		batch.Ops = append(batch.Ops, e.op)
	}
	return batch, nil
}

func (l *log) setInflight(txn dbfs.Txn, batch *Batch) error {
	if batch == nil {
		return txn.Delete(l.key('f'))
	}
	b := binary.BigEndian.AppendUint64([]byte{1}, batch.Seq)
	for _, e := range batch.edits {
		b = binary.BigEndian.AppendUint64(b, e.key)
	}
	return txn.Set(l.key('f'), b)
}

func (l *log) notices(txn dbfs.Txn) ([]Notice, error) {
	var all []Notice
	var bad error
	err := txn.Scan(l.key('c'), nil, func(_, v []byte) bool {
		var n Notice
		if err := json.Unmarshal(v, &n); err != nil {
			bad = fmt.Errorf("%w: conflict notice: %v", dbfs.ErrCorrupt, err)
			return false
		}
		all = append(all, n)
		return true
	})
	return all, errors.Join(bad, err)
}

func (l *log) noticeKey(n Notice) []byte {
	k := binary.BigEndian.AppendUint64(l.key('c'), uint64(n.Time.UnixNano()))
	return append(k, n.Node[:]...)
}

func (l *log) putNotice(txn dbfs.Txn, n Notice) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return txn.Set(l.noticeKey(n), b)
}

func (l *log) removeNotice(txn dbfs.Txn, n Notice) error { return txn.Delete(l.noticeKey(n)) }

// pending is the edits in order, and who they are about.
type pending struct {
	list   []*edit
	byNode map[dbfs.NodeID][]*edit // as node or victim
	inside map[dbfs.NodeID]int     // edits that place something in that directory
}

func newPending() *pending {
	return &pending{byNode: make(map[dbfs.NodeID][]*edit), inside: make(map[dbfs.NodeID]int)}
}

// about returns the nodes an edit changes.
func about(op *dbfs.Op) []dbfs.NodeID {
	if op.Replace != nil {
		return []dbfs.NodeID{op.Node, op.Replace.Node}
	}
	return []dbfs.NodeID{op.Node}
}

// places reports whether the edit puts a node into a directory.
func places(op *dbfs.Op) bool {
	return op.Type == dbfs.OpCreate || op.Type == dbfs.OpMove || op.Type == dbfs.OpRevive
}

func (p *pending) add(e *edit) {
	p.list = append(p.list, e)
	for _, id := range about(&e.op) {
		p.byNode[id] = append(p.byNode[id], e)
	}
	if places(&e.op) {
		p.inside[e.op.Parent]++
	}
}

// remove takes edits out; the order of the rest stays.
func (p *pending) remove(gone map[*edit]bool) {
	out := func(e *edit) bool { return gone[e] }
	p.list = slices.DeleteFunc(p.list, out)
	for e := range gone {
		for _, id := range about(&e.op) {
			if p.byNode[id] = slices.DeleteFunc(p.byNode[id], out); len(p.byNode[id]) == 0 {
				delete(p.byNode, id)
			}
		}
		if places(&e.op) {
			if p.inside[e.op.Parent]--; p.inside[e.op.Parent] == 0 {
				delete(p.inside, e.op.Parent)
			}
		}
	}
}

func (p *pending) find(key uint64) (*edit, bool) {
	i, ok := slices.BinarySearchFunc(p.list, key, func(e *edit, k uint64) int {
		switch {
		case e.key < k:
			return -1
		case e.key > k:
			return 1
		}
		return 0
	})
	if !ok {
		return nil, false
	}
	return p.list[i], true
}

// nextKey returns the key of an edit that comes after all others.
func (p *pending) nextKey() uint64 {
	if len(p.list) == 0 {
		return keyGap
	}
	return p.list[len(p.list)-1].key&^(keyGap-1) + keyGap
}
