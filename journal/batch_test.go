package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// A batch may leave edits behind that are not ready, and with them what builds on them.
func TestBatchLeavesBehind(t *testing.T) {
	for _, c := range []struct {
		name     string
		do       func(d *device)
		notReady []string
		want     string
	}{
		{"a file, not the others", func(d *device) { d.put("n", 5); d.put("m", 6) }, []string{"n"}, "create m"},
		{"what is in a directory", func(d *device) { d.make("n", dir); d.put("n/x", 5); d.put("m", 6) }, []string{"n"}, "create m"},
		{"later edits of the node", func(d *device) { d.put("f", 5); d.move("f", "g"); d.put("m", 6) }, []string{"f"}, "create m"},
		{"who takes the name", func(d *device) { d.put("f", 5); d.move("f", "g"); d.put("f", 6); d.put("m", 7) }, []string{"g"}, "create m"},
		{"who replaces it", func(d *device) { d.put("n", 5); d.move("n", "f"); d.put("m", 7) }, []string{"f"}, "create m"},
		{"the removal of what it leaves", func(d *device) { d.move("e/x", "y"); d.remove("e"); d.put("m", 7) }, []string{"y"}, "create m"},
		{"moves of directories after one", func(d *device) { d.move("d", "e/d"); d.move("e", "h"); d.put("m", 7) }, []string{"h/d"}, "create m"},
		{"not deletions of others", func(d *device) { d.put("n", 5); d.remove("f"); d.remove("e/x"); d.remove("e") }, []string{"n"}, "delete f, delete x, delete e"},
		{"not a file's move by a directory's", func(d *device) { d.move("d", "h"); d.move("f", "g") }, []string{"d"}, "move f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			d := newDevice(t, h, 0, h.namespace(t), 1)
			d.settle()
			d.make("d", dir)
			d.make("e", dir)
			d.put("e/x", 1)
			d.put("f", 2)
			d.settle()
			late := make([]dbfs.NodeID, 0)
			before := make(map[string]dbfs.NodeID)
			d.walk(func(p string, n dbfs.Node) { before[p] = n.ID })
			c.do(d)
			for _, p := range c.notReady {
				if n, err := d.j.Lookup(p); err == nil {
					late = append(late, n.ID)
				} else {
					late = append(late, before[p])
				}
			}
			b := d.j.choose(func(op *dbfs.Op) bool { return !slices.Contains(late, op.Node) }, nil)
			if got := d.words(b.Ops, before); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// words says what edits do to which nodes, by their names before or else by those now.
func (d *device) words(all []dbfs.Op, before map[string]dbfs.NodeID) string {
	var words []string
	for _, op := range all {
		name := op.Name
		for p, id := range before {
			if id == op.Node {
				name = p[strings.LastIndexByte(p, '/')+1:]
			}
		}
		words = append(words, op.Type.String()+" "+name)
	}
	return strings.Join(words, ", ")
}

// As long as a directory has not been revived, nothing that comes after is sent: it may be
// about what is below.
func TestBatchAfterRevivalLeftBehind(t *testing.T) {
	revive := &edit{op: dbfs.Op{Type: dbfs.OpRevive, Node: dbfs.NodeID{1}, Name: "d"}, dir: true}
	write := &edit{op: dbfs.Op{Type: dbfs.OpWrite, Node: dbfs.NodeID{2}}}
	left := leftBehind{nodes: make(map[dbfs.NodeID]bool), places: make(map[place]bool), emptied: make(map[dbfs.NodeID]bool)}
	if left.under(write) {
		t.Error("a write waits for nothing")
	}
	if left.add(revive); !left.under(write) {
		t.Error("a write does not wait for the revival")
	}
}

func TestBatchIsBounded(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	for i := range dbfs.MaxBatchOps + 1 {
		d.make(fmt.Sprint("f", i), file)
	}
	if got := len(d.j.choose(always, nil).Ops); got != dbfs.MaxBatchOps {
		t.Errorf("%d edits in a batch, want %d", got, dbfs.MaxBatchOps)
	}
	d.settle()
	// The largest files there are, and attributes of which many do not fit.
	large := dbfs.Content{Size: dbfs.MaxChunks * dbfs.ChunkSize}
	ids := make([]dbfs.ChunkID, dbfs.MaxChunks)
	for i := range ids {
		ids[i] = dbfs.ChunkID{1, byte(i), byte(i >> 8)}
	}
	large.Chunks = dbfs.Blocks(ids...)
	for i := range 5 {
		n := d.at(fmt.Sprint("f", i))
		_, err := d.j.Write(n.ID, n.Content, large, 1)
		check(t, err)
	}
	if got := len(d.j.choose(always, nil).Ops); got != 1 {
		t.Errorf("%d of the largest files in a batch, want 1", got)
	}
	for i := range 5 { // the server has none of their chunks
		n := d.at(fmt.Sprint("f", i))
		_, err := d.j.Write(n.ID, n.Content, dbfs.Content{}, 1)
		check(t, err)
	}
	d.settle()
	for i := range 20 {
		n := d.at(fmt.Sprint("f", i))
		_, err := d.j.SetAttr(n.ID, dbfs.AttrXattrs, dbfs.Attr{Xattrs: map[string][]byte{"user.x": make([]byte, 60<<10)}})
		check(t, err)
	}
	for _, op := range d.j.choose(always, nil).Ops[1:] {
		if op.Node == d.at("f0").ID {
			t.Error("an edit is in a batch twice")
		}
	}
	if got := len(d.j.choose(always, nil).Ops); got < 2 || got > 9 {
		t.Errorf("%d edits of 60 KiB in a batch, want some", got)
	}
	d.settle() // the server takes them all
	if d.refused > 0 {
		t.Errorf("refused %d times", d.refused)
	}
}

// What somebody writes to is not sent, but its name and its removal are.
func TestHold(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.put("f", 1)
	d.settle()
	f := d.at("f")
	d.j.Hold(f.ID)
	d.j.Hold(f.ID)
	d.move("f", "g")
	_, err := d.j.Write(f.ID, f.Content, bytesOf(2), 2)
	check(t, err)
	d.make("new", file)
	d.j.Hold(d.at("new").ID)
	if got := d.words(d.j.choose(always, nil).Ops, nil); got != "move g" {
		t.Errorf("sent while held: %q, want the move", got)
	}
	d.j.Release(f.ID)
	if got := d.words(d.j.choose(always, nil).Ops, nil); got != "move g" {
		t.Errorf("sent while still held: %q, want the move", got)
	}
	moved := d.j.Moved()
	d.j.Release(f.ID)
	select {
	case <-moved:
	default:
		t.Error("nobody is told of the release")
	}
	if got := d.words(d.j.choose(always, nil).Ops, nil); got != "move g, write " {
		t.Errorf("sent after the release: %q", got)
	}
}

// Who still writes to a file that the user deleted writes to a file without a name, also when
// the server has long taken the deletion.
func TestWriteAfterDelete(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	other := newDevice(t, h, 1, d.ns, 1)
	d.settle()
	d.put("f", 1)
	d.put("g", 2)
	d.settle()
	f, g := d.at("f"), d.at("g")
	d.j.Hold(f.ID)
	d.j.Hold(g.ID)
	d.remove("f")
	d.settle()
	if _, err := d.j.Write(f.ID, f.Content, bytesOf(5), 5); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("write to what was deleted here: %v, want ErrNotExist", err)
	}
	other.settle()
	other.remove("g")
	other.settle()
	d.settle()
	n, err := d.j.Write(g.ID, g.Content, bytesOf(6), 6)
	if err != nil || n.ID != g.ID || d.at("g").Content.Size != 6 {
		t.Errorf("write to what was deleted elsewhere: %+v, %v; want it back", n, err)
	}
}

// What somebody writes to is sent once it is offered, and what is recorded after that waits again.
func TestOffer(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.put("f", 1)
	d.settle()
	f := d.at("f")
	d.j.Hold(f.ID)
	n, err := d.j.Write(f.ID, f.Content, bytesOf(2), 2)
	check(t, err)
	moved := d.j.Moved()
	d.j.Offer(f.ID)
	select {
	case <-moved:
	default:
		t.Error("nobody is told of the offer")
	}
	if got := d.words(d.j.choose(always, nil).Ops, nil); got != "write " {
		t.Errorf("sent after the offer: %q", got)
	}
	_, err = d.j.Write(f.ID, n.Content, bytesOf(3), 3)
	check(t, err)
	if got := d.words(d.j.choose(always, nil).Ops, nil); got != "" {
		t.Errorf("sent of what was recorded after the offer: %q", got)
	}
	d.j.Offer(f.ID)
	d.settle()
	if got := d.at("f").Content.Size; got != 3 {
		t.Errorf("the file has %d bytes", got)
	}
	d.j.Release(f.ID)
}

// What waits for its chunks is not gone through to the end for every batch.
func TestBatchBehindManyUploads(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	for i := range mostLate + 10 {
		d.put(fmt.Sprint("f", i), i+1)
	}
	d.make("dir", NewNode{Kind: dbfs.KindDir})
	asked := 0
	never := func(op *dbfs.Op) bool { asked++; return op.Content == nil }
	if got := len(d.j.choose(never, nil).Ops); got != 0 || asked != mostLate {
		t.Errorf("%d edits after %d were asked about", got, asked)
	}
	var all []dbfs.Op
	for from := uint64(0); ; {
		ops, next := d.j.PendingRun(from, 7)
		all = append(all, ops...)
		if from = next; from == 0 {
			break
		}
	}
	if want := d.j.Pending(); len(all) != len(want) || all[len(all)-1].ID != want[len(want)-1].ID || all[7].ID != want[7].ID {
		t.Errorf("%d edits in runs, %d at once", len(all), len(want))
	}
	if got := len(d.j.choose(always, nil).Ops); got == 0 {
		t.Error("nothing is sent when all are ready")
	}
}
