package dbfs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// The binary form of nodes, ops, entries and revisions, in the server's and the client's databases:
//
//	u8 version (1)
//	fields, ascending: u8 tag, uvarint length, bytes
//	u32 crc32c of all before, little-endian
//
// Integers are uvarints (signed ones zigzag), ids and hashes their raw bytes, nodes inside
// entries a field list without version and checksum. Zero fields are left out; a reader
// skips tags it does not know, so that fields can be added.
//
// Every decoder copies what it keeps and fails with ErrCorrupt (damage) or ErrVersion.

const recordVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// node tags. Ino is the one local field: the server's encoder never meets it set.
const (
	tagNodeID = iota + 1
	tagNodeParent
	tagNodeName
	tagNodeKind
	tagNodeCRev
	tagNodePRev
	tagNodeARev
	tagNodeLast
	tagNodeMode
	tagNodeMTime
	tagNodeUID
	tagNodeGID
	tagNodeXattrs
	tagNodeSize
	tagNodeChunks
	tagNodeTarget
	tagNodeMount
	tagNodeDeleted
	tagNodeCTime
	tagNodeIno
	tagNodeLink
	tagNodeLinks
	tagNodeDevice
)

// AppendNode appends the record of n to b.
func AppendNode(b []byte, n *Node) []byte {
	return seal(b, func(w *fields) { w.node(n) })
}

// DecodeNode reads what AppendNode wrote.
func DecodeNode(b []byte) (Node, error) {
	var n Node
	err := unseal("node", b, n.field)
	return n, err
}

func (w *fields) node(n *Node) {
	w.id(tagNodeID, n.ID)
	w.id(tagNodeParent, n.Parent)
	w.text(tagNodeName, n.Name)
	w.uint(tagNodeKind, uint64(n.Kind))
	w.uint(tagNodeCRev, uint64(n.Revs.Content))
	w.uint(tagNodePRev, uint64(n.Revs.Place))
	w.uint(tagNodeARev, uint64(n.Revs.Attr))
	w.uint(tagNodeLast, uint64(n.Last))
	w.uint(tagNodeMode, uint64(n.Attr.Mode))
	w.int(tagNodeMTime, n.Attr.MTime)
	w.uint(tagNodeUID, uint64(n.Attr.UID))
	w.uint(tagNodeGID, uint64(n.Attr.GID))
	w.xattrs(tagNodeXattrs, n.Attr.Xattrs)
	w.int(tagNodeSize, n.Content.Size)
	w.chunks(tagNodeChunks, n.Content.Chunks)
	w.text(tagNodeTarget, n.Target)
	w.uint(tagNodeMount, uint64(n.Mount))
	w.flag(tagNodeDeleted, n.Deleted)
	w.int(tagNodeCTime, n.CTime)
	w.uint(tagNodeIno, n.Ino)
	w.id(tagNodeLink, n.Link)
	w.ids(tagNodeLinks, n.Links)
	w.uint(tagNodeDevice, uint64(n.Device))
}

func (n *Node) field(tag byte, v value) {
	switch tag {
	case tagNodeID:
		v.id(&n.ID)
	case tagNodeParent:
		v.id(&n.Parent)
	case tagNodeName:
		n.Name = string(v.b)
	case tagNodeKind:
		n.Kind = Kind(v.uint())
	case tagNodeCRev:
		n.Revs.Content = JID(v.uint())
	case tagNodePRev:
		n.Revs.Place = JID(v.uint())
	case tagNodeARev:
		n.Revs.Attr = JID(v.uint())
	case tagNodeLast:
		n.Last = JID(v.uint())
	case tagNodeMode:
		n.Attr.Mode = uint32(v.uint())
	case tagNodeMTime:
		n.Attr.MTime = v.int()
	case tagNodeUID:
		n.Attr.UID = uint32(v.uint())
	case tagNodeGID:
		n.Attr.GID = uint32(v.uint())
	case tagNodeXattrs:
		n.Attr.Xattrs = v.xattrs()
	case tagNodeSize:
		n.Content.Size = v.int()
	case tagNodeChunks:
		n.Content.Chunks = v.chunks(n.Content.Size)
	case tagNodeTarget:
		n.Target = string(v.b)
	case tagNodeMount:
		n.Mount = NamespaceID(v.uint())
	case tagNodeDeleted:
		n.Deleted = true
	case tagNodeCTime:
		n.CTime = v.int()
	case tagNodeIno:
		n.Ino = v.uint()
	case tagNodeLink:
		v.id(&n.Link)
	case tagNodeLinks:
		n.Links = v.ids()
	case tagNodeDevice:
		n.Device = uint32(v.uint())
	}
}

// op tags.
const (
	tagOpDevice = iota + 1
	tagOpN
	tagOpType
	tagOpNode
	tagOpCRev
	tagOpPRev
	tagOpARev
	tagOpParent
	tagOpName
	tagOpVictim
	tagOpVictimCRev
	tagOpVictimPRev
	tagOpKind
	tagOpHasContent
	tagOpSize
	tagOpChunks
	tagOpTarget
	tagOpMount
	tagOpMode
	tagOpMTime
	tagOpUID
	tagOpGID
	tagOpXattrs
	tagOpMask
	tagOpTime
	tagOpIno
	tagOpVictimParent
	tagOpVictimName
	tagOpSeen
	tagOpBelow
	tagOpLink
	tagOpSpecial
	tagOpSource
	tagOpFrom
	tagOpAwait
)

// AppendOp appends the record of op to b.
func AppendOp(b []byte, op *Op) []byte {
	return seal(b, func(w *fields) {
		w.uint(tagOpDevice, uint64(op.ID.Device))
		w.uint(tagOpN, op.ID.N)
		w.uint(tagOpType, uint64(op.Type))
		w.id(tagOpNode, op.Node)
		w.uint(tagOpCRev, uint64(op.Base.Content))
		w.uint(tagOpPRev, uint64(op.Base.Place))
		w.uint(tagOpARev, uint64(op.Base.Attr))
		w.id(tagOpParent, op.Parent)
		w.text(tagOpName, op.Name)
		if v := op.Replace; v != nil {
			w.put(tagOpVictim, v.Node[:])
			w.uint(tagOpVictimCRev, uint64(v.Base.Content))
			w.uint(tagOpVictimPRev, uint64(v.Base.Place))
		}
		w.uint(tagOpKind, uint64(op.Kind))
		if c := op.Content; c != nil {
			w.flag(tagOpHasContent, true)
			w.int(tagOpSize, c.Size)
			w.chunks(tagOpChunks, c.Chunks)
		}
		w.text(tagOpTarget, op.Target)
		w.uint(tagOpMount, uint64(op.Mount))
		w.uint(tagOpMode, uint64(op.Attr.Mode))
		w.int(tagOpMTime, op.Attr.MTime)
		w.uint(tagOpUID, uint64(op.Attr.UID))
		w.uint(tagOpGID, uint64(op.Attr.GID))
		w.xattrs(tagOpXattrs, op.Attr.Xattrs)
		w.uint(tagOpMask, uint64(op.Mask))
		w.int(tagOpTime, op.Time)
		w.uint(tagOpIno, op.Ino)
		if v := op.Replace; v != nil {
			w.id(tagOpVictimParent, v.Parent)
			w.text(tagOpVictimName, v.Name)
		}
		w.uint(tagOpSeen, uint64(op.Seen))
		w.ids(tagOpBelow, op.Below)
		w.id(tagOpLink, op.Link)
		w.uint(tagOpSpecial, uint64(op.Device))
		if s := op.Src; s != nil {
			w.origin(tagOpSource, Origin{s.NS, s.Node}, s.Rev)
		}
		if op.From != (Origin{}) {
			w.origin(tagOpFrom, op.From, 0)
		}
		w.uint(tagOpAwait, uint64(op.Await))
	})
}

// DecodeOp reads what AppendOp wrote.
func DecodeOp(b []byte) (Op, error) {
	var op Op
	err := unseal("op", b, op.field)
	return op, err
}

func (op *Op) field(tag byte, v value) {
	switch tag {
	case tagOpDevice:
		op.ID.Device = DeviceID(v.uint())
	case tagOpN:
		op.ID.N = v.uint()
	case tagOpType:
		op.Type = OpType(v.uint())
	case tagOpNode:
		v.id(&op.Node)
	case tagOpCRev:
		op.Base.Content = JID(v.uint())
	case tagOpPRev:
		op.Base.Place = JID(v.uint())
	case tagOpARev:
		op.Base.Attr = JID(v.uint())
	case tagOpParent:
		v.id(&op.Parent)
	case tagOpName:
		op.Name = string(v.b)
	case tagOpVictim:
		op.Replace = new(Victim)
		v.id(&op.Replace.Node)
	case tagOpVictimCRev, tagOpVictimPRev, tagOpVictimParent, tagOpVictimName:
		if op.Replace == nil {
			v.fail()
			return
		}
		op.Replace.field(tag, v)
	case tagOpKind:
		op.Kind = Kind(v.uint())
	case tagOpHasContent:
		op.Content = new(Content)
	case tagOpSize, tagOpChunks:
		if op.Content == nil {
			v.fail()
		} else if tag == tagOpSize {
			op.Content.Size = v.int()
		} else {
			op.Content.Chunks = v.chunks(op.Content.Size)
		}
	case tagOpTarget:
		op.Target = string(v.b)
	case tagOpMount:
		op.Mount = NamespaceID(v.uint())
	case tagOpMode:
		op.Attr.Mode = uint32(v.uint())
	case tagOpMTime:
		op.Attr.MTime = v.int()
	case tagOpUID:
		op.Attr.UID = uint32(v.uint())
	case tagOpGID:
		op.Attr.GID = uint32(v.uint())
	case tagOpXattrs:
		op.Attr.Xattrs = v.xattrs()
	case tagOpMask:
		op.Mask = AttrMask(v.uint())
	case tagOpTime:
		op.Time = v.int()
	case tagOpIno:
		op.Ino = v.uint()
	case tagOpSeen:
		op.Seen = JID(v.uint())
	case tagOpBelow:
		op.Below = v.ids()
	case tagOpLink:
		v.id(&op.Link)
	case tagOpSpecial:
		op.Device = uint32(v.uint())
	case tagOpSource:
		from, rev := v.origin()
		op.Src = &Source{NS: from.NS, Node: from.Node, Rev: rev}
	case tagOpFrom:
		op.From, _ = v.origin()
	case tagOpAwait:
		op.Await = NamespaceID(v.uint())
	}
}

func (vi *Victim) field(tag byte, v value) {
	switch tag {
	case tagOpVictimCRev:
		vi.Base.Content = JID(v.uint())
	case tagOpVictimPRev:
		vi.Base.Place = JID(v.uint())
	case tagOpVictimParent:
		v.id(&vi.Parent)
	case tagOpVictimName:
		vi.Name = string(v.b)
	}
}

// entry tags.
const (
	tagEntryJID = iota + 1
	tagEntryTime
	tagEntryDevice
	tagEntryN
	tagEntryActor
	tagEntryType
	tagEntryEnd
	tagEntryNode
	tagEntryBelow
)

// AppendEntry appends the record of e to b.
func AppendEntry(b []byte, e *Entry) []byte {
	return seal(b, func(w *fields) {
		w.uint(tagEntryJID, uint64(e.JID))
		w.int(tagEntryTime, e.Time)
		w.uint(tagEntryDevice, uint64(e.Op.Device))
		w.uint(tagEntryN, e.Op.N)
		w.uint(tagEntryActor, uint64(e.Actor))
		w.uint(tagEntryType, uint64(e.Type))
		w.flag(tagEntryEnd, e.End)
		var inner fields
		inner.node(&e.Node)
		w.put(tagEntryNode, inner.b)
		w.ids(tagEntryBelow, e.Below)
	})
}

// DecodeEntry reads what AppendEntry wrote.
func DecodeEntry(b []byte) (Entry, error) {
	var e Entry
	err := unseal("entry", b, e.field)
	return e, err
}

func (e *Entry) field(tag byte, v value) {
	switch tag {
	case tagEntryJID:
		e.JID = JID(v.uint())
	case tagEntryTime:
		e.Time = v.int()
	case tagEntryDevice:
		e.Op.Device = DeviceID(v.uint())
	case tagEntryN:
		e.Op.N = v.uint()
	case tagEntryActor:
		e.Actor = AccountID(v.uint())
	case tagEntryType:
		e.Type = OpType(v.uint())
	case tagEntryEnd:
		e.End = true
	case tagEntryNode:
		if !eachField(v.b, e.Node.field) {
			v.fail()
		}
	case tagEntryBelow:
		e.Below = v.ids()
	}
}

// revision tags. When it expires is no part of it.
const (
	tagRevisionNode = iota + 1
	tagRevisionRev
	tagRevisionSize
	tagRevisionChunks
	tagRevisionMTime
	tagRevisionTime
	tagRevisionDevice
	tagRevisionActor
	tagRevisionUntil
	tagRevisionHolds
)

// AppendRevision appends the record of r to b.
func AppendRevision(b []byte, r *Revision) []byte {
	return seal(b, func(w *fields) {
		w.id(tagRevisionNode, r.Node)
		w.uint(tagRevisionRev, uint64(r.Rev))
		w.int(tagRevisionSize, r.Content.Size)
		w.chunks(tagRevisionChunks, r.Content.Chunks)
		w.int(tagRevisionMTime, r.MTime)
		w.int(tagRevisionTime, r.Time)
		w.uint(tagRevisionDevice, uint64(r.Device))
		w.uint(tagRevisionActor, uint64(r.Actor))
		w.int(tagRevisionUntil, r.Until)
		w.holds(tagRevisionHolds, r.Holds)
	})
}

// DecodeRevision reads what AppendRevision wrote.
func DecodeRevision(b []byte) (Revision, error) {
	var r Revision
	err := unseal("revision", b, r.field)
	return r, err
}

func (r *Revision) field(tag byte, v value) {
	switch tag {
	case tagRevisionNode:
		v.id(&r.Node)
	case tagRevisionRev:
		r.Rev = JID(v.uint())
	case tagRevisionSize:
		r.Content.Size = v.int()
	case tagRevisionChunks:
		r.Content.Chunks = v.chunks(r.Content.Size)
	case tagRevisionMTime:
		r.MTime = v.int()
	case tagRevisionTime:
		r.Time = v.int()
	case tagRevisionDevice:
		r.Device = DeviceID(v.uint())
	case tagRevisionActor:
		r.Actor = AccountID(v.uint())
	case tagRevisionUntil:
		r.Until = v.int()
	case tagRevisionHolds:
		r.Holds = v.holds()
	}
}

// fields builds a field list. Its methods leave out zero values.
type fields struct{ b []byte }

func (w *fields) put(tag byte, v []byte) {
	w.b = append(w.b, tag)
	w.b = binary.AppendUvarint(w.b, uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *fields) uint(tag byte, v uint64) {
	if v != 0 {
		var tmp [binary.MaxVarintLen64]byte
		w.put(tag, binary.AppendUvarint(tmp[:0], v))
	}
}

func (w *fields) int(tag byte, v int64) { w.uint(tag, uint64(v)<<1^uint64(v>>63)) }

func (w *fields) flag(tag byte, v bool) {
	if v {
		w.put(tag, nil)
	}
}

func (w *fields) text(tag byte, v string) {
	if v != "" {
		w.put(tag, []byte(v))
	}
}

func (w *fields) id(tag byte, v NodeID) {
	if v != (NodeID{}) {
		w.put(tag, v[:])
	}
}

func (w *fields) ids(tag byte, ids []NodeID) {
	if len(ids) == 0 {
		return
	}
	var v []byte
	for i := range ids {
		v = append(v, ids[i][:]...)
	}
	w.put(tag, v)
}

// holds writes devices and times, 8 bytes each, big-endian.
func (w *fields) holds(tag byte, holds []Hold) {
	if len(holds) == 0 {
		return
	}
	var v []byte
	for _, h := range holds {
		v = binary.BigEndian.AppendUint64(v, uint64(h.Device))
		v = binary.BigEndian.AppendUint64(v, uint64(h.Until))
	}
	w.put(tag, v)
}

// origin writes a namespace, a node of it and a revision of that: big-endian.
func (w *fields) origin(tag byte, at Origin, rev JID) {
	v := binary.BigEndian.AppendUint64(nil, uint64(at.NS))
	v = append(v, at.Node[:]...)
	w.put(tag, binary.BigEndian.AppendUint64(v, uint64(rev)))
}

// chunks comes after the content's size, which its reader has to know.
func (w *fields) chunks(tag byte, l Blocklist) {
	if l.IsZero() {
		return
	}
	if l.Len() > longList {
		w.put(tag, l.Append(nil))
		return
	}
	w.b = append(w.b, tag)
	w.b = binary.AppendUvarint(w.b, uint64(l.Len()*len(ChunkID{})))
	w.b = l.Append(w.b)
}

func (w *fields) xattrs(tag byte, m map[string][]byte) {
	if len(m) == 0 {
		return
	}
	var v []byte
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v = appendBytes(appendBytes(v, []byte(k)), m[k])
	}
	w.put(tag, v)
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func cutBytes(b []byte) (v, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}

// A value is one field's bytes while they are decoded. A bad one marks the whole record bad.
type value struct {
	b   []byte
	bad *bool
}

func (v value) fail() { *v.bad = true }

func (v value) uint() uint64 {
	n, k := binary.Uvarint(v.b)
	if k <= 0 || k != len(v.b) {
		v.fail()
	}
	return n
}

func (v value) int() int64 {
	u := v.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (v value) id(dst *NodeID) {
	if len(v.b) != len(dst) {
		v.fail()
		return
	}
	copy(dst[:], v.b)
}

func (v value) ids() []NodeID {
	const n = len(NodeID{})
	if len(v.b)%n != 0 || len(v.b) > MaxTreeNodes*n {
		v.fail()
		return nil
	}
	ids := make([]NodeID, len(v.b)/n)
	for i := range ids {
		copy(ids[i][:], v.b[i*n:])
	}
	return ids
}

func (v value) holds() []Hold {
	const n = 16
	if len(v.b)%n != 0 || len(v.b) > MaxHolds*n {
		v.fail()
		return nil
	}
	var holds []Hold
	for b := v.b; len(b) > 0; b = b[n:] {
		holds = append(holds, Hold{DeviceID(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))})
	}
	return holds
}

func (v value) origin() (at Origin, rev JID) {
	const n = 8 + len(NodeID{}) + 8
	if len(v.b) != n {
		v.fail()
		return at, 0
	}
	at = Origin{NamespaceID(binary.BigEndian.Uint64(v.b)), NodeID(v.b[8:])}
	return at, JID(binary.BigEndian.Uint64(v.b[n-8:]))
}

// chunks reads the list of a content of that size; or of another that is short, if the size is one of those.
func (v value) chunks(size int64) Blocklist {
	n := NumChunks(size)
	if n <= longList {
		n = min(len(v.b)/len(ChunkID{}), longList)
	}
	l, rest, err := CutBlocklist(v.b, n)
	if err != nil || len(rest) > 0 {
		v.fail()
	}
	return l
}

func (v value) xattrs() map[string][]byte {
	if len(v.b) == 0 {
		return nil
	}
	m := make(map[string][]byte)
	for b := v.b; len(b) > 0; {
		k, rest, ok := cutBytes(b)
		if !ok {
			v.fail()
			return nil
		}
		val, rest, ok := cutBytes(rest)
		if !ok {
			v.fail()
			return nil
		}
		m[string(k)] = slices.Clone(val)
		b = rest
	}
	return m
}

func seal(b []byte, write func(*fields)) []byte {
	start := len(b)
	w := fields{append(b, recordVersion)}
	write(&w)
	return binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b[start:], castagnoli))
}

func unseal(what string, b []byte, field func(byte, value)) error {
	if len(b) < 5 {
		return fmt.Errorf("%w: %s record of %d bytes", ErrCorrupt, what, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return fmt.Errorf("%w: %s record does not match its checksum", ErrCorrupt, what)
	}
	if body[0] != recordVersion {
		return fmt.Errorf("%w: %s record of version %d", ErrVersion, what, body[0])
	}
	if !eachField(body[1:], field) {
		return fmt.Errorf("%w: %s record does not parse", ErrCorrupt, what)
	}
	return nil
}

// eachField hands every field to fn and reports whether all of it made sense.
func eachField(b []byte, fn func(byte, value)) bool {
	bad := false
	last := byte(0)
	for len(b) > 0 {
		tag := b[0]
		v, rest, ok := cutBytes(b[1:])
		if !ok || tag <= last {
			return false
		}
		fn(tag, value{v, &bad})
		if bad {
			return false
		}
		last, b = tag, rest
	}
	return true
}
