package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

func TestLogRecordsRoundTrip(t *testing.T) {
	st := logState{ops: 7, seq: 8, rootIno: 9, gen: 10, owed: true, due: 11}
	if got, err := decodeState(encodeState(st)); err != nil || got != st {
		t.Errorf("state: got %+v, %v; want %+v", got, err, st)
	}
	kv := cache.NewMemKV()
	l := &log{ns: 5}
	notice := Notice{Time: worldTime, What: NoticeCopy, Node: dbfs.NodeID{1}, Other: dbfs.NodeID{2}, Name: "a", Became: "b"}
	batch := &Batch{Seq: 3}
	p := newPending()
	for _, key := range []uint64{4, 5, 9} {
		e := &edit{key: key, op: dbfs.Op{Type: dbfs.OpDelete, Node: dbfs.NodeID{byte(key)}}}
		p.add(e)
		batch.add(e)
	}
	check(t, kv.Update(func(txn dbfs.Txn) error {
		return errors.Join(l.putNotice(txn, &notice), l.setInflight(txn, batch))
	}))
	check(t, kv.View(func(txn dbfs.Txn) error {
		if got, err := l.notices(txn); err != nil || !reflect.DeepEqual(got, []Notice{notice}) {
			t.Errorf("notices: got %+v, %v; want %+v", got, err, notice)
		}
		got, err := l.inflight(txn, p)
		if err != nil || got.Seq != 3 || !reflect.DeepEqual(got.Ops, batch.Ops) {
			t.Errorf("batch in flight: got %+v, %v; want %+v", got, err, batch)
		}
		return nil
	}))
}

// filled returns a database that holds every sort of record a journal has.
func filled(t *testing.T) *device {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	alice.put("f", 1)
	alice.settle()
	bob.settle()
	alice.put("f", 2)
	alice.settle()
	bob.put("f", 3)
	check(t, bob.pull(1))
	bob.make("d", dir)
	bob.put("d/g", 4)
	if b, err := bob.j.Batch(always); err != nil || len(b.Ops) != 3 {
		t.Fatalf("batch of %+v, %v; want 3 edits", b, err)
	}
	if len(bob.j.Notices()) != 1 {
		t.Fatalf("notices: %+v, want one", bob.j.Notices())
	}
	return bob
}

// records returns what a database holds under the journal's keys.
func records(t *testing.T, kv dbfs.KV) map[string][]byte {
	all := make(map[string][]byte)
	check(t, kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(nil, nil, func(k, v []byte) bool {
			all[string(k)] = bytes.Clone(v)
			return true
		})
	}))
	return all
}

// A damaged journal is not opened, and nothing is taken away from it.
func TestDamagedJournal(t *testing.T) {
	d := filled(t)
	whole := records(t, d.kv)
	seen := make(map[byte]int)
	for key, value := range whole {
		kind := key[0]
		if !strings.ContainsRune("sjfcu", rune(kind)) {
			continue
		}
		seen[kind]++
		damaged := map[string][]byte{
			"empty": {}, "cut": value[:len(value)-1], "cut in half": value[:len(value)/2], "longer": append(bytes.Clone(value), 0),
		}
		if kind != 'u' { // which has no checksum
			for i := range value {
				flipped := bytes.Clone(value)
				flipped[i] ^= 0x10
				damaged["flipped "+string(rune('0'+i%10))+string(rune('0'+i/10%10))+string(rune('0'+i/100))] = flipped
			}
		}
		for how, bad := range damaged {
			d.set(key, bad)
			before := records(t, d.kv)
			if err := d.tryOpen(); !errors.Is(err, dbfs.ErrCorrupt) {
				t.Errorf("record %c %s: %v, want ErrCorrupt", kind, how, err)
			}
			if !reflect.DeepEqual(records(t, d.kv), before) {
				t.Errorf("record %c %s: opening it changed the database", kind, how)
			}
		}
		d.set(key, value)
	}
	for _, kind := range []byte("sjfcu") {
		if seen[kind] == 0 {
			t.Errorf("no record %c was damaged", kind)
		}
	}
	check(t, d.tryOpen())
}

// A newer dbfs has been here: that is said, and nothing is touched.
func TestJournalOfNewerVersion(t *testing.T) {
	d := filled(t)
	for key, value := range records(t, d.kv) {
		if !strings.ContainsRune("sjfc", rune(key[0])) {
			continue
		}
		newer := bytes.Clone(value[:len(value)-4])
		newer[0]++
		sum := crc32.Checksum(newer, castagnoli)
		d.set(key, append(newer, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
		if err := d.tryOpen(); !errors.Is(err, dbfs.ErrVersion) || errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("record %c of a newer version: %v, want ErrVersion", key[0], err)
		}
		d.set(key, value)
	}
}

func TestInflightNamesMissingEdit(t *testing.T) {
	d := filled(t)
	for key := range records(t, d.kv) {
		if key[0] == 'j' {
			check(t, d.kv.Update(func(txn dbfs.Txn) error { return txn.Delete([]byte(key)) }))
			break
		}
	}
	if err := d.tryOpen(); !errors.Is(err, dbfs.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

func (d *device) set(key string, value []byte) {
	d.t.Helper()
	check(d.t, d.kv.Update(func(txn dbfs.Txn) error { return txn.Set([]byte(key), value) }))
}

func (d *device) tryOpen() error {
	_, err := Open(Config{
		NS: d.ns, KV: d.kv, Tree: cache.NewTree(d.ns, dbfs.NamesExact), Device: d.meta.Device(), Name: d.name,
		Inodes:  func(n int) (func() uint64, error) { return func() uint64 { return 1 << 40 }, nil },
		RootIno: 1, Clock: time.Now,
	})
	return err
}

// A full disk refuses edits, and shows everything as it was, again and again.
func TestDiskFull(t *testing.T) {
	d := filled(t)
	check(t, d.j.Refused(nil))
	before := d.show(true)
	d.kv.left = 0
	n := d.at("f")
	for range 2 {
		for name, err := range map[string]error{
			"write":    second(d.j.Write(n.ID, n.Content, bytesOf(9), 9)),
			"create":   second(d.j.Create(dbfs.RootNode, "new", file)),
			"move":     second(d.j.Move(n.ID, d.at("d").ID, "f", false)),
			"exchange": d.j.Exchange(n.ID, d.at("d").ID),
			"delete":   d.j.Delete(n.ID),
			"setattr":  second(d.j.SetAttr(n.ID, dbfs.AttrMode, dbfs.Attr{Mode: 1})),
			"batch":    second(d.j.Batch(always)),
			"advance":  d.j.Advance(nil, dbfs.Cursor{Epoch: 1, JID: 100}),
			"inode":    second(d.j.NewInode(n.ID)),
			"resolved": d.j.Resolved(d.j.Notices()[0].Node),
		} {
			if !errors.Is(err, errDisk) {
				t.Errorf("%s: %v, want the disk's error", name, err)
			}
		}
		if after := d.show(true); after != before {
			t.Fatalf("seen now:\n%swant\n%s", after, before)
		}
		if got := len(d.j.Notices()); got != 1 {
			t.Fatalf("%d notices, want 1", got)
		}
	}
	d.kv.left = -1
	d.settle()
}

func second[T any](_ T, err error) error { return err }

// unreadableKV cannot be read.
type unreadableKV struct{ *failingKV }

func (unreadableKV) View(func(dbfs.Txn) error) error { return errDisk }

// When the database cannot even be read back, nothing is shown as absent and nothing accepted.
func TestDiskGone(t *testing.T) {
	d := filled(t)
	n := d.at("f")
	d.kv.left = 0
	d.j.cfg.KV = unreadableKV{d.kv}
	if err := d.j.Delete(n.ID); !errors.Is(err, errDisk) {
		t.Errorf("delete: %v", err)
	}
	d.kv.left = -1
	d.j.cfg.KV = d.kv
	_, look := d.j.Lookup("f")
	_, list := d.j.Children(dbfs.RootNode)
	_, batch := d.j.Batch(always)
	for name, err := range map[string]error{
		"lookup": look, "list": list, "batch": batch, "create": second(d.j.Create(dbfs.RootNode, "new", file)),
		"advance": d.j.Advance(nil, dbfs.Cursor{Epoch: 1, JID: 100}), "refused": d.j.Refused(nil),
	} {
		if !errors.Is(err, errDisk) || errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("%s: %v, want the disk's error", name, err)
		}
	}
	d.open()
	d.at("f")
}

// opRecord is where in the body of an edit's record the op record begins.
const opRecord = 9

func FuzzLogRecords(f *testing.F) {
	op := dbfs.Op{ID: dbfs.OpID{Device: 1, N: 2}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "x", Kind: dbfs.KindFile, Content: contentOf(3)}
	f.Add(byte(0), encodeState(logState{ops: 1})[1:30])
	f.Add(byte(1), bytes.Repeat([]byte{1}, 24))
	f.Add(byte(2), []byte(`{"time":"2026-05-01T12:00:00Z","what":"conflicted-copy","node":"00000000000000000000000000000001"}`))
	f.Add(byte(5), encodeStands(7, []stand{{mtime: 1, content: *contentOf(3)}, {content: *contentOf(0)}})[1:53])
	f.Add(byte(3), dbfs.AppendOp([]byte{1, 8: 7}, &op))
	f.Add(byte(3), dbfs.AppendOp([]byte{2, 16: 7}, &op))
	f.Add(byte(4), []byte(`{"id":7,"decision":"held","since":"2026-05-01T12:00:00Z","last":1,"deletes":3,"overwrites":0,"bytes":9}`))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		sealed := sealRecord(b) // the checksum is made right, so that the fuzzer gets past it
		switch kind % 6 {
		case 0:
			if st, err := decodeState(sealed); err == nil && !bytes.Equal(encodeState(st), sealed) {
				t.Fatalf("%x is read as %+v", b, st)
			}
		case 1:
			if _, keys, err := decodeInflight(sealed); err == nil && (len(keys) == 0 || len(keys) > dbfs.MaxBatchOps) {
				t.Fatalf("a batch of %d edits", len(keys))
			}
		case 2:
			decodeNotice(sealed)
		case 4:
			if h, err := decodeHold(sealed); err == nil && (h.ID == 0 || !h.Decision.known()) {
				t.Fatalf("%s is read as %+v", b, h)
			}
		case 5:
			if n, stands, err := decodeStands(sealed); err == nil && !bytes.Equal(encodeStands(n, stands), sealed) {
				t.Fatalf("%x is read as %+v", b, stands)
			}
		case 3:
			if len(b) > opRecord+4 { // the op record inside has a checksum, too
				op := bytes.Clone(b[opRecord : len(b)-4])
				b = binary.LittleEndian.AppendUint32(append(bytes.Clone(b[:opRecord]), op...), crc32.Checksum(op, castagnoli))
			}
			e, err := decodeEdit(make([]byte, 8), sealRecord(b))
			if err != nil {
				return
			}
			// What is accepted can be laid over any view.
			check(t, cache.NewMemKV().View(func(txn dbfs.Txn) error {
				s := &snapshot{txn: txn, tree: cache.NewTree(1, dbfs.NamesExact), view: newView()}
				s.lay(e)
				return nil
			}))
		}
	})
}
