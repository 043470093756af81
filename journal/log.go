package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/dbfs/dbfs"
)

// log is the journal's part of the metadata database (integers big-endian):
//
//	s/<ns>              u64 op numbers below are used, u64 last batch, u64 root's inode, u32 gen, u8 owed, u64 due
//	j/<ns><gen><key>    u8 flags, u64 since, u64 hold if flagged, op record; keys u64, ascending in
//	                    the order of the edits; flags: 1 tried, 2 in a hold
//	f/<ns>              u64 batch number, then the keys of its edits: the batch in flight
//	b/<ns><gen><key>    u64 number of the edit, then its stands (goback.go), each u64 time, u64 size, chunk ids
//	c/<ns><time><node>  JSON of a lasting Notice; time u64 nanoseconds
//	h/<ns><id>          JSON of a Hold; id u64
//	m/<ns><ns><node>    nothing: what that node of another namespace was has arrived (carry.go)
//
// All values stand between a u8 version (1) and the u32 CRC-32C of all before it.
//
// Keys leave gaps of keyGap, so that one edit can become several without moving the rest.
// A reconciling that changes more than one transaction holds writes all edits anew under the
// next gen; naming that gen in s is what makes them count.
type log struct {
	ns  dbfs.NamespaceID
	gen uint32
}

const (
	logVersion = 1
	keyGap     = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logState is what s/ holds.
type logState struct {
	ops     uint64 // OpID.N below this may have been used
	seq     uint64 // of the last batch
	rootIno uint64
	gen     uint32
	owed    bool     // reconciling …
	due     dbfs.JID // … as soon as the cursor has got there
}

// owe notes that the edits have to be reconciled when the cursor has got to jid.
func (st *logState) owe(jid dbfs.JID) { st.owed, st.due = true, max(st.due, jid) }

func sealRecord(body []byte) []byte {
	b := append([]byte{logVersion}, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func openRecord(what string, b []byte) ([]byte, error) {
	if len(b) < 5 {
		return nil, fmt.Errorf("%w: %s of %d bytes", dbfs.ErrCorrupt, what, len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: %s does not match its checksum", dbfs.ErrCorrupt, what)
	}
	if body[0] != logVersion {
		return nil, fmt.Errorf("%w: %s of version %d", dbfs.ErrVersion, what, body[0])
	}
	return body[1:], nil
}

func (l *log) key(kind byte) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind, '/'}, uint64(l.ns))
}

func (l *log) genKey(gen uint32) []byte {
	return binary.BigEndian.AppendUint32(l.key('j'), gen)
}

func (l *log) editKey(gen uint32, key uint64) []byte {
	return binary.BigEndian.AppendUint64(l.genKey(gen), key)
}

// state reads what s/ says; the zero state if nothing was ever written.
func (l *log) state(txn dbfs.Txn) (logState, error) {
	b, err := txn.Get(l.key('s'))
	if errors.Is(err, dbfs.ErrNotExist) {
		return logState{ops: 1}, nil
	}
	if err != nil {
		return logState{}, err
	}
	return decodeState(b)
}

func decodeState(b []byte) (logState, error) {
	b, err := openRecord("journal state", b)
	if err != nil {
		return logState{}, err
	}
	if len(b) != 37 || b[28] > 1 {
		return logState{}, fmt.Errorf("%w: journal state of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	u := binary.BigEndian.Uint64
	return logState{u(b), u(b[8:]), u(b[16:]), binary.BigEndian.Uint32(b[24:]), b[28] == 1, dbfs.JID(u(b[29:]))}, nil
}

func encodeState(st logState) []byte {
	b := binary.BigEndian.AppendUint64(nil, st.ops)
	b = binary.BigEndian.AppendUint64(b, st.seq)
	b = binary.BigEndian.AppendUint64(b, st.rootIno)
	b = binary.BigEndian.AppendUint32(b, st.gen)
	if b = append(b, 0); st.owed {
		b[28] = 1
	}
	return sealRecord(binary.BigEndian.AppendUint64(b, uint64(st.due)))
}

func (l *log) setState(txn dbfs.Txn, st logState) error {
	return txn.Set(l.key('s'), encodeState(st))
}

// edits reads the pending edits in order.
func (l *log) edits(txn dbfs.Txn) ([]*edit, error) {
	var all []*edit
	var bad error
	prefix := l.genKey(l.gen)
	err := txn.Scan(prefix, nil, func(k, v []byte) bool {
		e, err := decodeEdit(k[len(prefix):], v)
		if err != nil {
			bad = fmt.Errorf("journal record %x: %w", k[len(prefix):], err)
			return false
		}
		all = append(all, e)
		return true
	})
	return all, errors.Join(bad, err)
}

func decodeEdit(k, v []byte) (*edit, error) {
	if len(k) != 8 {
		return nil, fmt.Errorf("%w: a key of %d bytes", dbfs.ErrCorrupt, len(k))
	}
	b, err := openRecord("edit", v)
	if err != nil {
		return nil, err
	}
	if len(b) < 9 || b[0] > flagTried|flagHeld || b[0]&flagHeld != 0 && len(b) < 17 {
		return nil, fmt.Errorf("%w: an edit of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	e := &edit{key: binary.BigEndian.Uint64(k), tried: b[0]&flagTried != 0, since: binary.BigEndian.Uint64(b[1:])}
	record := b[9:]
	if b[0]&flagHeld != 0 {
		e.hold, record = binary.BigEndian.Uint64(record), record[8:]
	}
	if e.op, err = dbfs.DecodeOp(record); err == nil {
		err = checkOp(&e.op)
	}
	return e, err
}

const (
	flagTried = 1
	flagHeld  = 2
)

func encodeEdit(e *edit) []byte {
	b := []byte{0}
	if e.tried {
		b[0] |= flagTried
	}
	b = binary.BigEndian.AppendUint64(b, e.since)
	if e.hold != 0 {
		b[0] |= flagHeld
		b = binary.BigEndian.AppendUint64(b, e.hold)
	}
	return sealRecord(dbfs.AppendOp(b, &e.op))
}

// checkOp returns ErrCorrupt unless op has what its type needs.
func checkOp(op *dbfs.Op) error {
	ok := false
	switch op.Type {
	case dbfs.OpCopy:
		ok = op.Kind == dbfs.KindFile && op.Content != nil && op.Src != nil
	case dbfs.OpCreate:
		ok = op.Kind == dbfs.KindDir || op.Kind == dbfs.KindSymlink || op.Kind == dbfs.KindFile && op.Content != nil ||
			op.Kind.IsSpecial() || op.Kind == dbfs.KindLink && op.Link != (dbfs.NodeID{})
	case dbfs.OpWrite:
		ok = op.Content != nil
	case dbfs.OpMove, dbfs.OpSetAttr, dbfs.OpDelete, dbfs.OpRevive:
		ok = true
	case dbfs.OpExchange:
		ok = op.Replace != nil
	case dbfs.OpDeleteTree:
		ok = op.Replace == nil
	}
	if ok {
		for _, at := range places(op) {
			ok = ok && dbfs.CheckName(at.name) == nil
		}
	}
	if ok && op.Content != nil {
		ok = op.Content.Check() == nil
	}
	if !ok {
		return fmt.Errorf("%w: a %s that is none", dbfs.ErrCorrupt, op.Type)
	}
	return nil
}

func (l *log) put(txn dbfs.Txn, e *edit) error { return l.putIn(txn, l.gen, e) }

func (l *log) putIn(txn dbfs.Txn, gen uint32, e *edit) error {
	if len(e.stands) > 0 {
		if err := txn.Set(l.standKey(gen, e.key), encodeStands(e.op.ID.N, e.stands)); err != nil {
			return err
		}
	}
	return txn.Set(l.editKey(gen, e.key), encodeEdit(e))
}

func (l *log) remove(txn dbfs.Txn, e *edit) error {
	if len(e.stands) > 0 {
		if err := txn.Delete(l.standKey(l.gen, e.key)); err != nil {
			return err
		}
	}
	return txn.Delete(l.editKey(l.gen, e.key))
}

// others returns up to limit keys of edits whose generation does not count.
func (l *log) others(txn dbfs.Txn, limit int) ([][]byte, error) {
	var keys [][]byte
	counts := l.genKey(l.gen)
	for start, more := []byte(nil), true; more; {
		more = false
		err := txn.Scan(l.key('j'), start, func(k, _ []byte) bool {
			if bytes.HasPrefix(k, counts) {
				start, more = l.genKey(l.gen+1), true // jump over what counts
				return false
			}
			keys = append(keys, bytes.Clone(k))
			return len(keys) < limit
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// inflight reads the batch in flight, whose edits are in p; nil if there is none.
func (l *log) inflight(txn dbfs.Txn, p *pending) (*Batch, error) {
	b, err := txn.Get(l.key('f'))
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	seq, keys, err := decodeInflight(b)
	if err != nil {
		return nil, err
	}
	batch := &Batch{Seq: seq}
	for _, key := range keys {
		e, ok := p.find(key)
		if !ok {
			return nil, fmt.Errorf("%w: batch in flight names an edit that is not there", dbfs.ErrCorrupt)
		}
		batch.add(e)
	}
	return batch, nil
}

func decodeInflight(b []byte) (seq uint64, keys []uint64, err error) {
	b, err = openRecord("batch in flight", b)
	if err != nil {
		return 0, nil, err
	}
	if len(b) < 16 || len(b)%8 != 0 || len(b) > 8+8*dbfs.MaxBatchOps {
		return 0, nil, fmt.Errorf("%w: batch in flight of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	seq = binary.BigEndian.Uint64(b)
	for b = b[8:]; len(b) > 0; b = b[8:] {
		keys = append(keys, binary.BigEndian.Uint64(b))
	}
	return seq, keys, nil
}

func (l *log) setInflight(txn dbfs.Txn, batch *Batch) error {
	if batch == nil {
		return txn.Delete(l.key('f'))
	}
	b := binary.BigEndian.AppendUint64(nil, batch.Seq)
	for _, e := range batch.edits {
		b = binary.BigEndian.AppendUint64(b, e.key)
	}
	return txn.Set(l.key('f'), sealRecord(b))
}

func (l *log) notices(txn dbfs.Txn) ([]Notice, error) {
	var all []Notice
	var bad error
	err := txn.Scan(l.key('c'), nil, func(_, v []byte) bool {
		n, err := decodeNotice(v)
		if err != nil {
			bad = err
			return false
		}
		all = append(all, n)
		return true
	})
	return all, errors.Join(bad, err)
}

func decodeNotice(b []byte) (Notice, error) {
	var n Notice
	b, err := openRecord("conflict notice", b)
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("%w: conflict notice: %v", dbfs.ErrCorrupt, err)
	}
	return n, nil
}

func (l *log) noticeKey(n *Notice) []byte {
	k := binary.BigEndian.AppendUint64(l.key('c'), uint64(n.Time.UnixNano()))
	return append(k, n.Node[:]...)
}

func (l *log) putNotice(txn dbfs.Txn, n *Notice) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return txn.Set(l.noticeKey(n), sealRecord(b))
}

func (l *log) removeNotice(txn dbfs.Txn, n *Notice) error { return txn.Delete(l.noticeKey(n)) }

func (l *log) holds(txn dbfs.Txn) ([]*Hold, error) {
	var all []*Hold
	var bad error
	err := txn.Scan(l.key('h'), nil, func(_, v []byte) bool {
		h, err := decodeHold(v)
		if err != nil {
			bad = err
			return false
		}
		all = append(all, h)
		return true
	})
	return all, errors.Join(bad, err)
}

func decodeHold(b []byte) (*Hold, error) {
	b, err := openRecord("hold", b)
	if err != nil {
		return nil, err
	}
	h := &Hold{}
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("%w: hold: %v", dbfs.ErrCorrupt, err)
	}
	if h.ID == 0 || !h.Decision.known() {
		return nil, fmt.Errorf("%w: hold %d, %q", dbfs.ErrCorrupt, h.ID, h.Decision)
	}
	return h, nil
}

func (l *log) holdKey(id uint64) []byte { return binary.BigEndian.AppendUint64(l.key('h'), id) }

func (l *log) putHold(txn dbfs.Txn, h *Hold) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return txn.Set(l.holdKey(h.ID), sealRecord(b))
}

func (l *log) removeHold(txn dbfs.Txn, h *Hold) error { return txn.Delete(l.holdKey(h.ID)) }
