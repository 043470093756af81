package dbfs

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"
	"time"
)

func sampleNode() Node {
	return Node{
		ID: NewNodeID(time.UnixMilli(1)), Parent: NewNodeID(time.UnixMilli(2)), Name: "naïve.txt", Kind: KindFile,
		Revs: Revs{3, 4, 5}, Last: 5,
		Attr:    Attr{Mode: 0o4755, MTime: -7, UID: 1000, GID: 100, Xattrs: map[string][]byte{"user.a": {1}, "user.b": {}}},
		Content: Content{Size: ChunkSize + 1, Chunks: Blocks([]ChunkID{{1}, {2}}...)},
		CTime:   42, Ino: 77, Deleted: true,
		Link: NodeID{8}, Links: []NodeID{{9}, {10}}, Device: 0x103,
	}
}

func sampleOp() Op {
	n := sampleNode()
	return Op{
		ID: OpID{7, 8}, Type: OpMove, Node: n.ID, Base: Revs{1, SelfRev, 3}, Parent: n.Parent, Name: "x",
		Replace: &Victim{Node: n.Parent, Base: Revs{Content: 9, Place: 10}, Parent: n.ID, Name: "y"},
		Content: &n.Content, Attr: n.Attr, Mask: AttrMTime, Time: 5, Ino: 6,
		Seen: 12, Below: []NodeID{{5}, {6}}, Link: NodeID{7}, Device: 0x801,
		Src: &Source{NS: 13, Node: NodeID{7}, Rev: 14}, From: Origin{NS: 15, Node: NodeID{8}}, Await: 16,
	}
}

func sampleRevision() Revision {
	n := sampleNode()
	return Revision{Node: n.ID, Rev: 3, Content: n.Content, MTime: -1, Time: 2, Device: 4, Actor: 5, Until: 6, Holds: []Hold{{7, 8}, {9, 10}}}
}

func TestRecordsRoundTrip(t *testing.T) {
	node, op := sampleNode(), sampleOp()
	entry := Entry{JID: 9, Time: 8, Op: op.ID, Actor: 3, Type: OpWrite, End: true, Node: node, Below: []NodeID{{7}}}
	if got, err := DecodeNode(AppendNode(nil, &node)); err != nil || !reflect.DeepEqual(got, node) {
		t.Errorf("node: got %+v, %v\nwant %+v", got, err, node)
	}
	if got, err := DecodeOp(AppendOp(nil, &op)); err != nil || !reflect.DeepEqual(got, op) {
		t.Errorf("op: got %+v, %v\nwant %+v", got, err, op)
	}
	if got, err := DecodeEntry(AppendEntry(nil, &entry)); err != nil || !reflect.DeepEqual(got, entry) {
		t.Errorf("entry: got %+v, %v\nwant %+v", got, err, entry)
	}
	rev := sampleRevision()
	if got, err := DecodeRevision(AppendRevision(nil, &rev)); err != nil || !reflect.DeepEqual(got, rev) {
		t.Errorf("revision: got %+v, %v\nwant %+v", got, err, rev)
	}
}

// oldOp is a record of the first version, of an op much like sampleOp.
const oldOp = "01010107020108030103041001020000000000000000000000000000050101060affffffffffffffffff01070103081003000000000000" +
	"0000000000000000000901780a10040000000000000000000000000000000b01090c010a0e000f04828080041040010000000000000000" +
	"00000000000000000000000000000000000000000000000200000000000000000000000000000000000000000000000000000000000000" +
	"1302ed1314010d1502e807160164171106757365722e61010106757365722e620018010219010a1a010640e733c3"

func TestOldRecordOpens(t *testing.T) {
	b, err := hex.DecodeString(oldOp)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleOp()
	want.Node, want.Parent, want.Replace = NodeID{1, 2}, NodeID{3}, &Victim{Node: NodeID{4}, Base: want.Replace.Base}
	want.Seen, want.Below, want.Link, want.Device = 0, nil, NodeID{}, 0
	want.Src, want.From, want.Await = nil, Origin{}, 0
	if got, err := DecodeOp(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestDamagedRecordIsRefused(t *testing.T) {
	node := sampleNode()
	good := AppendNode(nil, &node)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x40
		if _, err := DecodeNode(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v, want ErrCorrupt", i, err)
		}
	}
	for i := range good {
		if _, err := DecodeNode(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", i, err)
		}
	}
	newer := seal(nil, func(*fields) {})
	newer = append([]byte{recordVersion + 1}, newer[1:1]...)
	newer = reseal(newer)
	if _, err := DecodeNode(newer); !errors.Is(err, ErrVersion) {
		t.Fatalf("newer version: %v, want ErrVersion", err)
	}
}

func FuzzRecord(f *testing.F) {
	node, op := sampleNode(), sampleOp()
	entry := Entry{JID: 9, Op: op.ID, Node: node}
	f.Add(AppendNode(nil, &node))
	f.Add(AppendOp(nil, &op))
	f.Add(AppendEntry(nil, &entry))
	rev := sampleRevision()
	f.Add(AppendRevision(nil, &rev))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum is made right, so that the fuzzer gets past it.
		if len(b) > 4 {
			b = reseal(b[:len(b)-4])
		}
		if n, err := DecodeNode(b); err == nil {
			if again, err := DecodeNode(AppendNode(nil, &n)); err != nil || !reflect.DeepEqual(n, again) {
				t.Fatalf("node changed on the way: %+v, %+v, %v", n, again, err)
			}
		}
		if r, err := DecodeRevision(b); err == nil {
			if again, err := DecodeRevision(AppendRevision(nil, &r)); err != nil || !reflect.DeepEqual(r, again) {
				t.Fatalf("revision changed on the way: %+v, %+v, %v", r, again, err)
			}
		}
		DecodeOp(b)
		DecodeEntry(b)
	})
}

func reseal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body[:len(body):len(body)], crc32.Checksum(body, castagnoli))
}
