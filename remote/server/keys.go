package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dbfs/dbfs"
)

// How an ordered key-value store keeps the rows; engines that have tables of their own do
// not need this. All numbers in keys are big-endian, so that keys sort as they count.
//
//	H <ns>                 Head
//	n <ns> <node>          node; a long chunk list is left out
//	e <ns> <parent> <key>  a live child
//	l <ns> <last> <node>   nothing: finds the nodes in the order in which they were changed last
//	g <ns> <jid>           entry; a long chunk list is left out
//	v <ns> <node> <crev>   the chunk list that was left out
//	r <ns> <node> <crev>   revision; a long chunk list is left out
//	s <ns> <device>        DeviceState
//	t <table> <key>        row of a Table
//
// Nodes, entries and revisions are records of the root package. The others are rows (rows.go) with
// these bodies, integers big-endian:
//
//	Head         u32 epoch, u64 jid, u64 floor, u64 trim (older rows end before it: 0),
//	             u8 rule of names (left out of those that have exact ones)
//	child        its id
//	chunk list   32 bytes each
//	DeviceState  u64 seq, [32] digest, u64 first, u64 last,
//	             if it was refused: u16 at, u64 head, u8 length, code, node record (or nothing)
//
// A chunk list of more than inlineChunks is stored once, under the revision that made it,
// and shared by the node, the revision and all entries that carry it. Its absence from a record shows by the size.
const inlineChunks = 32

// NewKeyTx returns the transaction of a namespace over one of a key-value store.
func NewKeyTx(ns dbfs.NamespaceID, txn dbfs.Txn) Tx { return keyTx{ns, txn} }

// TableKey returns the key under which a key-value store keeps a row of a Table.
func TableKey(table Table, key []byte) []byte {
	return append([]byte{'t', byte(table)}, key...)
}

// ScanTable is Store.Scan over a transaction of a key-value store.
func ScanTable(txn dbfs.Txn, table Table, prefix, after []byte, limit int) ([]Row, error) {
	var start []byte
	if after != nil {
		start = TableKey(table, after)
	}
	skip := len(TableKey(table, nil))
	var rows []Row
	if limit <= 0 {
		return rows, nil
	}
	err := txn.Scan(TableKey(table, prefix), start, func(k, v []byte) bool {
		rows = append(rows, Row{Key: append([]byte(nil), k[skip:]...), Value: append([]byte(nil), v...)})
		return len(rows) < limit
	})
	return rows, err
}

type keyTx struct {
	ns  dbfs.NamespaceID
	txn dbfs.Txn
}

func (t keyTx) key(kind byte, size int) []byte {
	b := make([]byte, 0, 1+8+size)
	return binary.BigEndian.AppendUint64(append(b, kind), uint64(t.ns))
}

func (t keyTx) nodeKey(id dbfs.NodeID) []byte { return append(t.key('n', 16), id[:]...) }
func (t keyTx) childKey(parent dbfs.NodeID, name string) []byte {
	return append(append(t.key('e', 16+len(name)), parent[:]...), name...)
}
func (t keyTx) logKey(jid dbfs.JID) []byte {
	return binary.BigEndian.AppendUint64(t.key('g', 8), uint64(jid))
}
func (t keyTx) chunksKey(id dbfs.NodeID, crev dbfs.JID) []byte {
	return binary.BigEndian.AppendUint64(append(t.key('v', 24), id[:]...), uint64(crev))
}
func (t keyTx) lastKey(last dbfs.JID, id dbfs.NodeID) []byte {
	return append(binary.BigEndian.AppendUint64(t.key('l', 24), uint64(last)), id[:]...)
}
func (t keyTx) revisionKey(id dbfs.NodeID, rev dbfs.JID) []byte {
	return binary.BigEndian.AppendUint64(append(t.key('r', 24), id[:]...), uint64(rev))
}
func (t keyTx) deviceKey(dev dbfs.DeviceID) []byte {
	return binary.BigEndian.AppendUint64(t.key('s', 8), uint64(dev))
}

func (t keyTx) Head() (Head, error) {
	row, err := t.txn.Get(t.key('H', 0))
	if err != nil {
		return Head{}, err
	}
	b, err := openRow("head", row)
	b = slices.Clip(b) // the row is not ours
	switch len(b) {
	case 20:
		b = append(b, make([]byte, 8+1)...)
	case 28:
		b = append(b, byte(dbfs.NamesExact))
	}
	if err == nil && (len(b) != 29 || b[28] > byte(dbfs.NamesPortable)) {
		err = fmt.Errorf("%w: head row of %d bytes", dbfs.ErrCorrupt, len(row))
	}
	if err != nil {
		return Head{}, err
	}
	be := binary.BigEndian
	return Head{
		Epoch: be.Uint32(b), JID: dbfs.JID(be.Uint64(b[4:])), Floor: dbfs.JID(be.Uint64(b[12:])), Trim: dbfs.JID(be.Uint64(b[20:])),
		Names: dbfs.NameRule(b[28]),
	}, nil
}

func (t keyTx) SetHead(h Head) error {
	be := binary.BigEndian
	b := be.AppendUint64(be.AppendUint64(be.AppendUint32(nil, h.Epoch), uint64(h.JID)), uint64(h.Floor))
	b = be.AppendUint64(b, uint64(h.Trim))
	if h.Names != dbfs.NamesExact {
		b = append(b, byte(h.Names))
	}
	return t.txn.Set(t.key('H', 0), sealRow(b))
}

func (t keyTx) Node(id dbfs.NodeID) (dbfs.Node, error) {
	row, err := t.txn.Get(t.nodeKey(id))
	if err != nil {
		return dbfs.Node{}, err
	}
	return t.decodeNode(row)
}

func (t keyTx) decodeNode(row []byte) (dbfs.Node, error) {
	n, err := dbfs.DecodeNode(row)
	if err == nil {
		err = t.fetchChunks(&n)
	}
	return n, err
}

func (t keyTx) PutNode(n *dbfs.Node) error {
	short, err := t.storeChunks(*n)
	if err != nil {
		return err
	}
	if err := t.unlist(n.ID); err != nil {
		return err
	}
	if n.Last > 0 {
		if err := t.txn.Set(t.lastKey(n.Last, n.ID), nil); err != nil {
			return err
		}
	}
	return t.txn.Set(t.nodeKey(n.ID), dbfs.AppendNode(nil, &short))
}

// unlist takes a node, if there is one, out of the order of last changes.
func (t keyTx) unlist(id dbfs.NodeID) error {
	row, err := t.txn.Get(t.nodeKey(id))
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := dbfs.DecodeNode(row)
	if err != nil || old.Last == 0 {
		return err
	}
	return t.txn.Delete(t.lastKey(old.Last, id))
}

func (t keyTx) DelNode(id dbfs.NodeID) error {
	if err := t.unlist(id); err != nil {
		return err
	}
	return t.txn.Delete(t.nodeKey(id))
}

func (t keyTx) Changed(after dbfs.JID, id dbfs.NodeID, limit int) ([]dbfs.Node, error) {
	prefix := t.key('l', 0)
	type change struct {
		id   dbfs.NodeID
		last dbfs.JID
	}
	changes, err := scan(t.txn, prefix, t.lastKey(after, id), limit, func(k, _ []byte) (change, error) {
		if k = k[len(prefix):]; len(k) != 24 {
			return change{}, fmt.Errorf("%w: last change under a key of %d bytes", dbfs.ErrCorrupt, len(k))
		}
		return change{dbfs.NodeID(k[8:]), dbfs.JID(binary.BigEndian.Uint64(k))}, nil
	})
	var nodes []dbfs.Node
	for _, c := range changes {
		if err != nil {
			break
		}
		var n dbfs.Node
		n, err = t.Node(c.id)
		if errors.Is(err, dbfs.ErrNotExist) || err == nil && n.Last != c.last {
			err = fmt.Errorf("%w: node %s was not changed last at %d", dbfs.ErrCorrupt, c.id, c.last)
		}
		nodes = append(nodes, n)
	}
	return nodes, err
}

// storeChunks returns the node as its record holds it, and stores the list that is left out.
func (t keyTx) storeChunks(n dbfs.Node) (dbfs.Node, error) {
	err := t.storeList(&n.Content, n.ID, n.Revs.Content)
	return n, err
}

// storeList takes a long chunk list out of a content and stores it.
func (t keyTx) storeList(c *dbfs.Content, id dbfs.NodeID, crev dbfs.JID) error {
	if c.Chunks.Len() <= inlineChunks {
		return nil
	}
	key := t.chunksKey(id, crev)
	list := c.Chunks
	c.Chunks = dbfs.Blocklist{}
	if _, err := t.txn.Get(key); err == nil || !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	return t.txn.Set(key, sealRow(list.Append(make([]byte, 0, list.Bytes()))))
}

// fetchChunks undoes storeChunks.
func (t keyTx) fetchChunks(n *dbfs.Node) error {
	return t.fetchList(&n.Content, n.ID, n.Revs.Content)
}

// fetchList undoes storeList.
func (t keyTx) fetchList(c *dbfs.Content, id dbfs.NodeID, crev dbfs.JID) error {
	want := dbfs.NumChunks(c.Size)
	if c.Chunks.Len() == want {
		return nil
	}
	row, err := t.txn.Get(t.chunksKey(id, crev))
	if errors.Is(err, dbfs.ErrNotExist) {
		return fmt.Errorf("%w: the chunk list of node %s at %d is gone", dbfs.ErrCorrupt, id, crev)
	}
	if err != nil {
		return err
	}
	b, err := openRow("chunk list", row)
	if err != nil {
		return err
	}
	var rest []byte
	if c.Chunks, rest, err = dbfs.CutBlocklist(b, want); err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: chunk list of %d chunks, and %d bytes", dbfs.ErrCorrupt, want, len(rest))
	}
	return err
}

func (t keyTx) Child(parent dbfs.NodeID, key string) (dbfs.NodeID, error) {
	row, err := t.txn.Get(t.childKey(parent, key))
	if err != nil {
		return dbfs.NodeID{}, err
	}
	return decodeChild(row)
}

func decodeChild(row []byte) (id dbfs.NodeID, err error) {
	b, err := openRow("child", row)
	if err == nil && len(b) != len(id) {
		err = fmt.Errorf("%w: child row of %d bytes", dbfs.ErrCorrupt, len(row))
	}
	copy(id[:], b)
	return id, err
}

func (t keyTx) PutChild(parent dbfs.NodeID, key string, id dbfs.NodeID) error {
	return t.txn.Set(t.childKey(parent, key), sealRow(id[:]))
}

func (t keyTx) DelChild(parent dbfs.NodeID, key string) error {
	return t.txn.Delete(t.childKey(parent, key))
}

func (t keyTx) Children(parent dbfs.NodeID, after string, limit int) ([]Child, error) {
	prefix := t.childKey(parent, "")
	return scan(t.txn, prefix, t.childKey(parent, after), limit, func(k, v []byte) (Child, error) {
		id, err := decodeChild(v)
		return Child{Key: string(k[len(prefix):]), ID: id}, err
	})
}

func (t keyTx) Log(after dbfs.JID, limit int) ([]dbfs.Entry, error) {
	entries, err := scan(t.txn, t.key('g', 0), t.logKey(after), limit, func(_, v []byte) (dbfs.Entry, error) {
		return dbfs.DecodeEntry(v)
	})
	for i := range entries {
		if err == nil {
			err = t.fetchChunks(&entries[i].Node)
		}
	}
	return entries, err
}

func (t keyTx) AppendLog(entries []dbfs.Entry) error {
	for i := range entries {
		e := entries[i]
		var err error
		if e.Node, err = t.storeChunks(e.Node); err != nil {
			return err
		}
		if err := t.txn.Set(t.logKey(e.JID), dbfs.AppendEntry(nil, &e)); err != nil {
			return err
		}
	}
	return nil
}

func (t keyTx) DelEntry(jid dbfs.JID) error { return t.txn.Delete(t.logKey(jid)) }

// Nodes starts after the root's key even when asked for the beginning, so it never lists it.
func (t keyTx) Nodes(after dbfs.NodeID, limit int) ([]dbfs.Node, error) {
	nodes, err := scan(t.txn, t.key('n', 0), t.nodeKey(after), limit, func(_, v []byte) (dbfs.Node, error) {
		return dbfs.DecodeNode(v)
	})
	for i := range nodes {
		if err == nil {
			err = t.fetchChunks(&nodes[i])
		}
	}
	return nodes, err
}

func (t keyTx) Device(dev dbfs.DeviceID) (DeviceState, error) {
	row, err := t.txn.Get(t.deviceKey(dev))
	if err != nil {
		return DeviceState{}, err
	}
	return decodeDevice(row)
}

func (t keyTx) PutDevice(dev dbfs.DeviceID, d DeviceState) error {
	return t.txn.Set(t.deviceKey(dev), encodeDevice(d))
}

func (t keyTx) Revision(node dbfs.NodeID, rev dbfs.JID) (dbfs.Revision, error) {
	row, err := t.txn.Get(t.revisionKey(node, rev))
	if err != nil {
		return dbfs.Revision{}, err
	}
	r, err := dbfs.DecodeRevision(row)
	if err == nil {
		err = t.fetchList(&r.Content, r.Node, r.Rev)
	}
	return r, err
}

func (t keyTx) Revisions(node dbfs.NodeID, after dbfs.JID, limit int) ([]dbfs.Revision, error) {
	return t.revisions(append(t.key('r', 16), node[:]...), t.revisionKey(node, after), limit)
}

func (t keyTx) AllRevisions(node dbfs.NodeID, after dbfs.JID, limit int) ([]dbfs.Revision, error) {
	return t.revisions(t.key('r', 0), t.revisionKey(node, after), limit)
}

func (t keyTx) revisions(prefix, start []byte, limit int) ([]dbfs.Revision, error) {
	list, err := scan(t.txn, prefix, start, limit, func(_, v []byte) (dbfs.Revision, error) {
		return dbfs.DecodeRevision(v)
	})
	for i := range list {
		if err == nil {
			err = t.fetchList(&list[i].Content, list[i].Node, list[i].Rev)
		}
	}
	return list, err
}

func (t keyTx) PutRevision(r *dbfs.Revision) error {
	short := *r
	if err := t.storeList(&short.Content, r.Node, r.Rev); err != nil {
		return err
	}
	return t.txn.Set(t.revisionKey(r.Node, r.Rev), dbfs.AppendRevision(nil, &short))
}

func (t keyTx) DelRevision(node dbfs.NodeID, rev dbfs.JID) error {
	return t.txn.Delete(t.revisionKey(node, rev))
}

func (t keyTx) Lists(node dbfs.NodeID, after dbfs.JID, limit int) ([]List, error) {
	prefix := t.key('v', 0)
	return scan(t.txn, prefix, t.chunksKey(node, after), limit, func(k, _ []byte) (List, error) {
		if k = k[len(prefix):]; len(k) != 24 {
			return List{}, fmt.Errorf("%w: chunk list under a key of %d bytes", dbfs.ErrCorrupt, len(k))
		}
		return List{dbfs.NodeID(k), dbfs.JID(binary.BigEndian.Uint64(k[16:]))}, nil
	})
}

func (t keyTx) DelList(l List) error { return t.txn.Delete(t.chunksKey(l.Node, l.Rev)) }

func encodeDevice(d DeviceState) []byte {
	be := binary.BigEndian
	b := append(be.AppendUint64(nil, d.Seq), d.Digest[:]...)
	b = be.AppendUint64(be.AppendUint64(b, uint64(d.First)), uint64(d.Last))
	if r := d.Refused; r != nil {
		b = be.AppendUint64(be.AppendUint16(b, uint16(r.At)), uint64(r.Head))
		b = append(append(b, byte(len(r.Code))), r.Code...)
		if r.Node != nil {
			b = dbfs.AppendNode(b, r.Node)
		}
	}
	return sealRow(b)
}

func decodeDevice(row []byte) (DeviceState, error) {
	const fixed, refusal = 8 + 32 + 8 + 8, 2 + 8 + 1
	b, err := openRow("device state", row)
	if err != nil {
		return DeviceState{}, err
	}
	if len(b) < fixed {
		return DeviceState{}, fmt.Errorf("%w: device state of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	be := binary.BigEndian
	d := DeviceState{
		Seq: be.Uint64(b), Digest: [32]byte(b[8:]),
		First: dbfs.JID(be.Uint64(b[40:])), Last: dbfs.JID(be.Uint64(b[48:])),
	}
	if b = b[fixed:]; len(b) == 0 {
		return d, nil
	}
	if len(b) < refusal || len(b) < refusal+int(b[refusal-1]) {
		return DeviceState{}, fmt.Errorf("%w: device state with half a refusal", dbfs.ErrCorrupt)
	}
	r := &dbfs.RefusedError{At: int(be.Uint16(b)), Head: dbfs.JID(be.Uint64(b[2:]))}
	end := refusal + int(b[refusal-1])
	r.Code = dbfs.Refusal(b[refusal:end])
	d.Refused = r
	if b = b[end:]; len(b) == 0 {
		return d, nil
	}
	n, err := dbfs.DecodeNode(b)
	r.Node = &n
	return d, err
}

// scan decodes up to limit rows under a prefix that come after start.
func scan[V any](txn dbfs.Txn, prefix, start []byte, limit int, decode func(k, v []byte) (V, error)) ([]V, error) {
	var list []V
	var bad error
	if limit <= 0 {
		return nil, nil
	}
	err := txn.Scan(prefix, start, func(k, v []byte) bool {
		item, err := decode(k, v)
		if err != nil {
			bad = err
			return false
		}
		list = append(list, item)
		return len(list) < limit
	})
	return list, errors.Join(err, bad)
}
