package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"testing"

	"github.com/dbfs/dbfs"
)

// nothing is a key-value store without keys.
type nothing struct{}

func (nothing) Get([]byte) ([]byte, error)                             { return nil, dbfs.ErrNotExist }
func (nothing) Set(_, _ []byte) error                                  { return nil }
func (nothing) Delete([]byte) error                                    { return nil }
func (nothing) Scan(_, _ []byte, _ func(key, value []byte) bool) error { return nil }

// sampleRows is a namespace with a row of every kind.
func sampleRows(t *testing.T) *WriteSet {
	t.Helper()
	n := dbfs.Node{
		ID: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindFile, Last: 1, Revs: dbfs.Revs{Content: 1, Place: 1, Attr: 1},
		Content: dbfs.Content{Size: 40 * dbfs.ChunkSize, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, 40)...)},
	}
	set := NewWriteSet(nothing{})
	tx := NewKeyTx(7, set)
	err := errors.Join(
		tx.SetHead(Head{Epoch: 1, JID: 1}), tx.PutNode(&n), tx.PutChild(dbfs.RootNode, "f", n.ID),
		tx.AppendLog([]dbfs.Entry{{JID: 1, Type: dbfs.OpCreate, End: true, Node: n}}),
		tx.PutRevision(&dbfs.Revision{Node: n.ID, Rev: 1, Content: n.Content}),
		tx.PutDevice(1, DeviceState{Seq: 1, Refused: &dbfs.RefusedError{Code: dbfs.RefusedGone, Node: &n}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// readAll reads every row of sampleRows.
func readAll(tx ReadTx) []error {
	errs := make([]error, 9)
	_, errs[0] = tx.Head()
	_, errs[1] = tx.Node(dbfs.NodeID{1})
	_, errs[2] = tx.Child(dbfs.RootNode, "f")
	_, errs[3] = tx.Children(dbfs.RootNode, "", 10)
	_, errs[4] = tx.Log(0, 10)
	_, errs[5] = tx.Nodes(dbfs.RootNode, 10)
	_, errs[6] = tx.Device(1)
	_, errs[7] = tx.Revision(dbfs.NodeID{1}, 1)
	_, errs[8] = tx.Revisions(dbfs.NodeID{1}, 0, 10)
	return errs
}

// Head rows of older servers are read as they were meant, and left alone.
func TestOlderHeads(t *testing.T) {
	body := []byte("\x00\x00\x00\x03" + "\x00\x00\x00\x00\x00\x00\x00\x09" + "\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x01")
	for size, want := range map[int]Head{
		20: {Epoch: 3, JID: 9, Floor: 2}, 28: {Epoch: 3, JID: 9, Floor: 2, Trim: 1}, 29: {Epoch: 3, JID: 9, Floor: 2, Trim: 1, Names: dbfs.NamesPortable},
	} {
		set := NewWriteSet(nothing{})
		key := keyTx{ns: 7}.key('H', 0)
		row := sealRow(body[:size])
		set.Set(key, row)
		for range 2 {
			got, err := NewKeyTx(7, set).Head()
			if err != nil || got != want {
				t.Errorf("%d bytes: %+v, %v", size, got, err)
			}
		}
		if !bytes.Equal(row, sealRow(body[:size])) {
			t.Errorf("%d bytes: reading has changed the row", size)
		}
		if err := NewKeyTx(7, set).SetHead(want); err != nil {
			t.Fatal(err)
		}
		if now, _ := set.Get(key); size >= 28 && !bytes.Equal(now, row) {
			t.Errorf("%d bytes are written again as %x", size, now)
		}
	}
	for _, bad := range [][]byte{body[:19], body[:21], append(body[:28:28], 2), append(body[:29:29], 0)} {
		set := NewWriteSet(nothing{})
		set.Set(keyTx{ns: 7}.key('H', 0), sealRow(bad))
		if _, err := NewKeyTx(7, set).Head(); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%x: %v, want ErrCorrupt", bad, err)
		}
	}
}

// Every bit of every row counts: flipped, or cut off, the row is damaged, and nobody takes
// it for another or for none.
func TestDamagedRows(t *testing.T) {
	good := sampleRows(t)
	if err := errors.Join(readAll(NewKeyTx(7, good))...); err != nil {
		t.Fatal(err)
	}
	good.Each(func(key string, value []byte) error {
		for i := range value {
			flipped := append([]byte(nil), value...)
			flipped[i] ^= 1 << (i % 8)
			for what, bad := range map[string][]byte{"flipped": flipped, "cut": value[:i]} {
				set := NewWriteSet(good)
				set.Set([]byte(key), bad)
				err := errors.Join(readAll(NewKeyTx(7, set))...)
				if !errors.Is(err, dbfs.ErrCorrupt) || errors.Is(err, dbfs.ErrNotExist) {
					t.Errorf("row %q, byte %d %s: %v, want ErrCorrupt", key[:1], i, what, err)
				}
			}
		}
		return nil
	})
}

func TestUnknownRowVersion(t *testing.T) {
	newer := []byte{rowVersion + 1, 'x'}
	newer = binary.LittleEndian.AppendUint32(newer, crc32.Checksum(newer, castagnoli))
	if _, err := openRow("test", newer); !errors.Is(err, dbfs.ErrVersion) {
		t.Errorf("%v, want ErrVersion", err)
	}
}

// A chunk list that is gone is damage, never an empty file.
func TestMissingChunkList(t *testing.T) {
	set := NewWriteSet(sampleRows(t))
	set.Delete(NewKeyTx(7, nothing{}).(keyTx).chunksKey(dbfs.NodeID{1}, 1))
	if _, err := NewKeyTx(7, set).Node(dbfs.NodeID{1}); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

func FuzzDeviceState(f *testing.F) {
	n := dbfs.Node{ID: dbfs.NodeID{1}, Name: "f", Kind: dbfs.KindDir}
	for _, d := range []DeviceState{{Seq: 1, First: 2, Last: 3}, {Refused: &dbfs.RefusedError{Code: "gone"}}, {Refused: &dbfs.RefusedError{At: 3, Code: "crev", Node: &n, Head: 9}}} {
		b := encodeDevice(d)
		f.Add(b[1 : len(b)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decodeDevice(sealRow(body))
		if err != nil {
			return
		}
		if again, err := decodeDevice(encodeDevice(d)); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v came back as %+v, %v", d, again, err)
		}
	})
}
