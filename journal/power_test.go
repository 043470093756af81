package journal

import (
	"bytes"
	"testing"

	"github.com/dbfs/dbfs"
)

// powerKV forgets, on demand, everything since the last Sync.
type powerKV struct {
	dbfs.KV
	synced map[string][]byte
}

func (p *powerKV) rows(t testing.TB) map[string][]byte {
	all := make(map[string][]byte)
	check(t, p.View(func(txn dbfs.Txn) error {
		return txn.Scan(nil, nil, func(k, v []byte) bool {
			all[string(k)] = bytes.Clone(v)
			return true
		})
	}))
	return all
}

func (p *powerKV) lose(t testing.TB) {
	now := p.rows(t)
	check(t, p.Update(func(txn dbfs.Txn) error {
		for k := range now {
			check(t, txn.Delete([]byte(k)))
		}
		for k, v := range p.synced {
			check(t, txn.Set([]byte(k), v))
		}
		return nil
	}))
}

// syncing notes what is durable when a Sync passes.
type syncing struct {
	*powerKV
	t testing.TB
}

func (s syncing) Sync() error {
	s.synced = s.rows(s.t)
	return s.powerKV.Sync()
}

// The server took a file as it was written to last, and power failed before that was on the
// disk. What is written to the file then must not pass for what the server has.
func TestPowerIsLostAfterCommit(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	d := newDevice(t, h, 0, ns, 1)
	kv := &powerKV{KV: d.kv.KV}
	d.kv.KV = syncing{kv, t}
	d.open()
	d.settle()
	n, err := d.j.Create(dbfs.RootNode, "a", file)
	check(t, err)
	check(t, d.j.Sync())
	_, err = d.j.Write(n.ID, n.Content, bytesOf(3), 3)
	check(t, err)
	if _, err := d.push(always, answerLost); err != nil {
		t.Fatal(err)
	}

	kv.lose(t)
	d.open()
	n, err = d.j.Lookup("a")
	check(t, err)
	_, err = d.j.Write(n.ID, n.Content, bytesOf(4), 4)
	check(t, err)
	d.settle()
	if n, err = d.j.Lookup("a"); err != nil || n.Content.Size != 4 {
		t.Fatalf("a has %d bytes (%v), 4 were written last", n.Content.Size, err)
	}
}
