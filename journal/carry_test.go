package journal

import (
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// Two namespaces over one disk, and no server: what it would say is advanced by hand.
type twoSpaces struct {
	t      *testing.T
	kv     *cache.MemKV
	inodes *cache.Inodes
	a, b   *Journal
}

const nsA, nsB dbfs.NamespaceID = 1, 2

func newTwoSpaces(t *testing.T) *twoSpaces {
	t.Helper()
	w := &twoSpaces{t: t, kv: cache.NewMemKV()}
	var err error
	w.inodes, err = cache.OpenInodes(w.kv)
	check(t, err)
	w.open()
	for _, j := range []*Journal{w.a, w.b} {
		list, err := j.List()
		check(t, err)
		check(t, list.Finish(dbfs.Cursor{Epoch: 1}))
	}
	return w
}

// open starts anew over what the disk holds.
func (w *twoSpaces) open() {
	w.t.Helper()
	for ns, j := range map[dbfs.NamespaceID]**Journal{nsA: &w.a, nsB: &w.b} {
		var err error
		*j, err = Open(Config{
			NS: ns, KV: w.kv, Tree: cache.NewTree(ns, dbfs.NamesExact), Device: 1, Name: "here", Inodes: w.inodes.Reserve,
			Clock: func() time.Time { return worldTime },
		})
		check(w.t, err)
	}
}

// file makes a file that the server has, of one chunk.
func (w *twoSpaces) file(j *Journal, name string, chunk byte) dbfs.Node {
	w.t.Helper()
	n, err := j.Create(dbfs.RootNode, name, NewNode{Kind: dbfs.KindFile, Content: oneChunk(chunk)})
	check(w.t, err)
	w.take(j)
	n, err = j.Node(n.ID)
	check(w.t, err)
	return n
}

func oneChunk(b byte) *dbfs.Content {
	return &dbfs.Content{Size: 1, Chunks: dbfs.Blocks([]dbfs.ChunkID{{b}}...)}
}

// take lets the server take what a journal sends, and returns the types of the edits.
func (w *twoSpaces) take(j *Journal) []dbfs.OpType {
	w.t.Helper()
	b, err := j.Batch(func(*dbfs.Op) bool { return true })
	check(w.t, err)
	if b == nil {
		return nil
	}
	var types []dbfs.OpType
	var entries []dbfs.Entry
	jid := j.Cursor().JID
	check(w.t, j.read(func(s *snapshot) error {
		for i := range b.Ops {
			op := &b.Ops[i]
			types = append(types, op.Type)
			jid++
			n, _ := s.treeNode(op.Node)
			for k := range entries {
				if entries[k].Node.ID == op.Node {
					n = entries[k].Node
				}
			}
			applyTo(&n, op)
			for _, rev := range []*dbfs.JID{&n.Revs.Content, &n.Revs.Place, &n.Revs.Attr} {
				if *rev == dbfs.SelfRev {
					*rev = jid
				}
			}
			n.Last, n.Ino = jid, 0
			entries = append(entries, dbfs.Entry{JID: jid, Op: op.ID, Type: op.Type, End: i == len(b.Ops)-1, Node: n})
		}
		return nil
	}))
	j.Taken()
	check(w.t, j.Advance(entries, dbfs.Cursor{Epoch: 1, JID: jid}))
	return types
}

func (w *twoSpaces) move(n dbfs.Node, from, to *Journal, name string) dbfs.Node {
	w.t.Helper()
	now, err := from.MoveOut(n.ID, to, dbfs.RootNode, name, false)
	check(w.t, err)
	return now
}

func (w *twoSpaces) carryOn() {
	w.t.Helper()
	check(w.t, w.a.CarryOn(nsB, w.b))
	check(w.t, w.b.CarryOn(nsA, w.a))
}

func (w *twoSpaces) sends(j *Journal, want ...dbfs.OpType) {
	w.t.Helper()
	if got := w.take(j); !slices.Equal(got, want) {
		w.t.Errorf("namespace %s sends %v, want %v", j.NS(), got, want)
	}
}

// atRest wants nothing to be left, not even notes.
func (w *twoSpaces) atRest() {
	w.t.Helper()
	w.carryOn()
	for _, j := range []*Journal{w.a, w.b} {
		if len(j.Pending()) > 0 || len(j.arrived) > 0 || len(j.pending.coming) > 0 || j.pending.waits > 0 {
			w.t.Errorf("namespace %s has still %+v, %v, %v", j.NS(), j.Pending(), j.arrived, j.pending.coming)
		}
	}
}

// The deletion is sent when the copy has been taken and not before, whatever is restarted meanwhile.
func TestDeletionWaitsForTheCopy(t *testing.T) {
	w := newTwoSpaces(t)
	f := w.file(w.a, "f", 1)
	now := w.move(f, w.a, w.b, "g")
	if now.Ino != f.Ino {
		t.Errorf("the file has inode %d there, want %d", now.Ino, f.Ino)
	}
	for range 2 {
		w.carryOn()
		w.sends(w.a)
		w.open()
	}
	w.sends(w.b, dbfs.OpCopy)
	w.open()
	w.sends(w.a) // which has not heard of it
	w.carryOn()
	w.open()
	w.sends(w.a, dbfs.OpDelete)
	w.atRest()
}

// What was edited and not sent goes with it, and is not sent where it was.
func TestUnsentGoesWithTheFile(t *testing.T) {
	w := newTwoSpaces(t)
	f := w.file(w.a, "f", 1)
	_, err := w.a.Write(f.ID, f.Content, *oneChunk(2), 7)
	check(t, err)
	n, err := w.a.Create(dbfs.RootNode, "new", NewNode{Kind: dbfs.KindFile, Content: oneChunk(3)})
	check(t, err)
	w.move(f, w.a, w.b, "f")
	w.move(n, w.a, w.b, "new")
	for _, c := range []byte{2, 3} {
		if !w.b.Needs(dbfs.ChunkID{c}) {
			t.Errorf("the destination does not need chunk %d", c)
		}
	}
	w.sends(w.a)
	w.sends(w.b, dbfs.OpCreate, dbfs.OpCreate)
	w.carryOn()
	w.sends(w.a, dbfs.OpDelete) // of the one that the server knows
	w.atRest()
}

// A file that is made here and moved, and one that is moved on and back, do not wait for themselves.
func TestMovedRoundAndRound(t *testing.T) {
	w := newTwoSpaces(t)
	x, y := w.file(w.a, "x", 1), w.file(w.b, "x", 2)
	tmp := w.move(x, w.a, w.b, "tmp")
	w.move(y, w.b, w.a, "x")
	_, err := w.b.Move(tmp.ID, dbfs.RootNode, "x", true)
	check(t, err)
	f := w.file(w.a, "f", 3) // sends what can be sent, too
	for i := range 3 {
		f = w.move(f, w.a, w.b, "f")
		f = w.move(f, w.b, w.a, "f")
		if i == 1 {
			w.open()
		}
	}
	for range 20 {
		w.take(w.a)
		w.take(w.b)
		w.carryOn()
	}
	w.atRest()
	for name, j := range map[string]*Journal{"x": w.a, "f": w.a} {
		if n, err := j.Lookup(name); err != nil {
			t.Errorf("%s is %+v, %v", name, n, err)
		}
	}
	if n, err := w.b.Lookup("x"); err != nil || !n.Content.Equal(*oneChunk(1)) {
		t.Errorf("x of the other is %+v, %v", n, err)
	}
}

// Of what is removed before it was sent nobody waits for the arrival.
func TestRemovedBeforeItArrived(t *testing.T) {
	w := newTwoSpaces(t)
	f, g := w.file(w.a, "f", 1), w.file(w.a, "g", 2)
	now := w.move(f, w.a, w.b, "f")
	w.move(g, w.a, w.b, "f") // over it
	if n, err := w.b.Node(now.ID); err == nil {
		t.Errorf("still there: %+v", n)
	}
	w.carryOn()
	w.sends(w.a, dbfs.OpDelete)
	g, err := w.b.Lookup("f")
	check(t, err)
	check(t, w.b.Delete(g.ID))
	w.carryOn()
	w.sends(w.a, dbfs.OpDelete)
	w.sends(w.b)
	w.atRest()
}

// A program that saves what was moved over an old file makes a version of that, for which the
// deletion waits then.
func TestSavedAfterItWasMoved(t *testing.T) {
	w := newTwoSpaces(t)
	old := w.file(w.b, "old", 1)
	f := w.file(w.a, "f", 2)
	tmp := w.move(f, w.a, w.b, "tmp")
	now, err := w.b.Move(tmp.ID, dbfs.RootNode, "old", false)
	check(t, err)
	if now != old.ID {
		t.Errorf("it is another file")
	}
	w.carryOn()
	w.sends(w.a)
	if op := w.b.Pending()[0]; op.Type != dbfs.OpWrite || op.Src == nil || op.Src.NS != nsA {
		t.Errorf("the version is %+v, want one with the source", op)
	}
	w.sends(w.b, dbfs.OpWrite)
	w.carryOn()
	w.sends(w.a, dbfs.OpDelete)
	w.atRest()
}

// What a loss of power takes of the moved file's bytes does not take the file.
func TestPowerLostAfterAMove(t *testing.T) {
	w := newTwoSpaces(t)
	f := w.file(w.a, "f", 1)
	_, err := w.a.Write(f.ID, f.Content, *oneChunk(2), 7)
	check(t, err)
	w.move(f, w.a, w.b, "f")
	w.open()
	lost := map[dbfs.ChunkID]bool{{2}: true}
	check(t, w.a.GoBack(lost))
	check(t, w.b.GoBack(lost))
	w.carryOn()
	if n, err := w.a.Lookup("f"); err != nil || !n.Content.Equal(*oneChunk(1)) {
		t.Errorf("where it was there is %+v, %v; want what was there before the edit", n, err)
	}
}

// Without the namespace that it went to, the file is where it was.
func TestDestinationGone(t *testing.T) {
	w := newTwoSpaces(t)
	f := w.file(w.a, "f", 1)
	w.move(f, w.a, w.b, "f")
	if n, err := w.b.Lookup("f"); err != nil || !w.a.StaysBehind(f.ID, &n) {
		t.Errorf("it does not stay behind: %+v, %v", n, err)
	}
	check(t, w.a.CarryOn(nsB, nil))
	if n, err := w.a.Lookup("f"); err != nil || n.ID != f.ID || n.Ino == f.Ino {
		t.Errorf("it is %+v, %v; want the file under another inode", n, err)
	}
}

// What arrived of a file that did not leave, as after a crash, says nothing of the next time it is moved.
func TestMovedAgainAfterACrash(t *testing.T) {
	w := newTwoSpaces(t)
	f := w.file(w.a, "f", 1)
	_, a, err := w.a.leaving(f.ID)
	check(t, err)
	_, err = w.b.Receive(dbfs.RootNode, "f", a, false)
	check(t, err)
	w.open()
	w.sends(w.b, dbfs.OpCopy)
	_, err = w.a.Write(f.ID, f.Content, *oneChunk(2), 7)
	check(t, err)
	w.take(w.a)
	f, err = w.a.Node(f.ID)
	check(t, err)
	w.move(f, w.a, w.b, "again")
	check(t, w.b.GiveUp(w.b.Pending()[0]))
	w.carryOn()
	w.sends(w.a)
	if n, err := w.a.Lookup("f"); err != nil || !n.Content.Equal(*oneChunk(2)) {
		t.Errorf("where it was there is %+v, %v", n, err)
	}
	w.atRest()
}
