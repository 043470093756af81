package metatest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func testCommit(t *testing.T, open func(testing.TB) World) {
	tests(t, open, map[string]func(*testing.T, World){
		"PartsChangeApart":        partsChangeApart,
		"RepeatedGetsItsAnswer":   repeatedGetsItsAnswer,
		"RefusalIsRemembered":     refusalIsRemembered,
		"NumbersOutOfOrder":       numbersOutOfOrder,
		"ChunksComeFirst":         chunksComeFirst,
		"ReceiptsOfOthers":        receiptsOfOthers,
		"NeedIsNotRemembered":     needIsNotRemembered,
		"OtherEpoch":              otherEpoch,
		"OtherDevice":             otherDevice,
		"HeavyBatch":              heavyBatch,
		"TreesAreBounded":         treesAreBounded,
		"FullBatch":               fullBatch,
		"InodesStayAtHome":        inodesStayAtHome,
		"ManyDevicesAtOnce":       manyDevicesAtOnce,
		"SameBatchFromManyTries":  sameBatchFromManyTries,
		"RefusedBatchCountsASeq":  refusedBatchCountsASeq,
		"LargeContentComesIntact": largeContentComesIntact,
	})
}

// partsChangeApart: each edit moves the revision of what it changed and leaves the rest.
func partsChangeApart(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(create("f", "", "f", content(1, 1)))
	p.must(mkdir("d", "", "d"))
	steps := []struct {
		op   dbfs.Op
		revs dbfs.Revs
		attr dbfs.Attr
	}{
		{write("f", 1, content(2, 2)), dbfs.Revs{Content: 3, Place: 1, Attr: 1}, dbfs.Attr{Mode: 0o644, MTime: 2}},
		{move("f", 1, "d", "g"), dbfs.Revs{Content: 3, Place: 4, Attr: 1}, dbfs.Attr{Mode: 0o644, MTime: 2}},
		{chmod("f", 1, 0o600), dbfs.Revs{Content: 3, Place: 4, Attr: 5}, dbfs.Attr{Mode: 0o600, MTime: 2}},
		{dbfs.Op{Type: dbfs.OpSetAttr, Node: id("f"), Base: dbfs.Revs{Attr: 5}, Mask: dbfs.AttrMTime | dbfs.AttrOwner | dbfs.AttrXattrs,
			Attr: dbfs.Attr{Mode: 7, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
			dbfs.Revs{Content: 3, Place: 4, Attr: 6}, dbfs.Attr{Mode: 0o600, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
		{remove("f", dbfs.Revs{Content: 3, Place: 4}), dbfs.Revs{Content: 3, Place: 7, Attr: 6},
			dbfs.Attr{Mode: 0o600, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
		{revive("f", "", "f", nil), dbfs.Revs{Content: 3, Place: 8, Attr: 6},
			dbfs.Attr{Mode: 0o600, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
		{remove("f", dbfs.Revs{Content: 3, Place: 8}), dbfs.Revs{Content: 3, Place: 9, Attr: 6},
			dbfs.Attr{Mode: 0o600, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
		{revive("f", "", "f", content(7, 1)), dbfs.Revs{Content: 10, Place: 10, Attr: 6},
			dbfs.Attr{Mode: 0o600, MTime: -5, UID: 3, GID: 4, Xattrs: map[string][]byte{"user.a": {0, 255}}}},
	}
	for i, step := range steps {
		e := p.must(step.op)[0]
		if e.Node.Revs != step.revs || e.Node.Last != e.JID || !reflect.DeepEqual(e.Node.Attr, step.attr) {
			t.Errorf("step %d: %+v, %+v\nwant %+v, %+v", i, e.Node.Revs, e.Node.Attr, step.revs, step.attr)
		}
		if e.Type != step.op.Type || e.Op.N != uint64(i+3) {
			t.Errorf("step %d: a %s of %s", i, e.Type, e.Op)
		}
	}
}

func repeatedGetsItsAnswer(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(create("v", "", "v", content(1, 40)), create("f", "", "f", nil))
	b := p.batch(replace("f", 1+1, "", "v", "v", dbfs.Revs{Content: 1, Place: 1}), mkdir("d", "", "f"))
	first, err := p.send(b)
	check(t, err)
	for range 3 {
		again, err := p.send(b)
		if err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("again: %+v, %v\nfirst: %+v", again, err, first)
		}
	}
	if p.head().JID != 5 {
		t.Errorf("head %d, want 5", p.head().JID)
	}
}

// refusalIsRemembered: a late duplicate of a refused batch must not succeed.
func refusalIsRemembered(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	other := newPen(t, w, w.Device(t, "admin"), p.ns)
	p.must(mkdir("d", "", "d"))
	b := p.batch(mkdir("e", "", "e"), mkdir("n", "", "d"))
	_, first := p.send(b)
	wantRefusal(t, first, 1, dbfs.RefusedNameTaken)
	other.must(remove("d", dbfs.Revs{Place: 1})) // now it would fit
	_, again := p.send(b)
	if r := wantRefusal(t, again, 1, dbfs.RefusedNameTaken); !reflect.DeepEqual(r, unwrapped(first)) {
		t.Errorf("again: %+v\nfirst: %+v", r, unwrapped(first))
	}
	if got := wholeTree(t, p, p.ns, 0); len(got) != 0 {
		t.Errorf("tree has %v", got)
	}
}

func unwrapped(err error) *dbfs.RefusedError {
	var r *dbfs.RefusedError
	errors.As(err, &r)
	return r
}

func numbersOutOfOrder(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	first := p.batch(mkdir("a", "", "a"))
	second := p.batch(mkdir("b", "", "b"))
	_, err := p.send(first)
	check(t, err)
	_, err = p.send(second)
	check(t, err)
	_, err = p.send(first)
	wantError(t, err, dbfs.ErrStaleSeq)
	reused := p.batch(mkdir("c", "", "c"))
	reused.Seq = second.Seq
	_, err = p.send(reused)
	wantError(t, err, dbfs.ErrStaleSeq)
	reused.Seq = 0
	_, err = p.send(reused)
	wantError(t, err, dbfs.ErrInvalid)
	reused.Seq = 1000 // gaps are allowed: numbers were given to batches that were never sent
	_, err = p.send(reused)
	check(t, err)
}

func refusedBatchCountsASeq(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	b := p.batch(write("none", 1, content(1, 1)))
	_, err := p.send(b)
	wantRefusal(t, err, 0, dbfs.RefusedGone)
	b.Ops = []dbfs.Op{mkdir("d", "", "d")}
	b.Ops[0].ID = dbfs.OpID{Device: p.ID, N: 99}
	_, err = p.send(b)
	wantError(t, err, dbfs.ErrStaleSeq)
}

func wantNeed(t *testing.T, err error, ids ...dbfs.ChunkID) {
	t.Helper()
	var need *dbfs.NeedChunksError
	if !errors.As(err, &need) || !slices.Equal(need.Chunks, ids) {
		t.Fatalf("got %v %+v, want need of %v", err, need, ids)
	}
}

func chunksComeFirst(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	c := content(1, 3)
	c.Chunks = c.Chunks.Edit(c.Chunks.Len(), map[int]dbfs.ChunkID{1: dbfs.ZeroChunk})
	b := p.batch(create("f", "", "f", c))
	receipts := b.Receipts
	b.Receipts = nil
	_, err := p.send(b)
	wantNeed(t, err, c.Chunks.At(0), c.Chunks.At(2))
	b.Receipts = receipts[:1]
	_, err = p.send(b)
	wantNeed(t, err, c.Chunks.At(2))
	b.Receipts = receipts
	_, err = p.send(b)
	check(t, err)

	kept := *c // what the file holds needs no receipt, in whatever order
	kept.Chunks = dbfs.Blocks(c.Chunks.At(1), c.Chunks.At(0), c.Chunks.At(2))
	b = p.batch(write("f", 1, &kept))
	b.Receipts = nil
	_, err = p.send(b)
	check(t, err)

	b = p.batch(create("g", "", "g", c)) // but another file's does
	b.Receipts = nil
	_, err = p.send(b)
	wantNeed(t, err, c.Chunks.At(0), c.Chunks.At(2))

	short := &dbfs.Content{Size: 2, Chunks: dbfs.Blocks(c.Chunks.At(0))} // the same id under another length
	p.seq--
	b = p.batch(write("f", 2, short))
	b.Receipts = nil
	_, err = p.send(b)
	wantNeed(t, err, c.Chunks.At(0))

	p.seq--
	twice := &dbfs.Content{Size: 2 * dbfs.ChunkSize, Chunks: dbfs.Blocks([]dbfs.ChunkID{{7}, {7}}...)}
	b = p.batch(write("f", 2, twice))
	b.Receipts = nil
	_, err = p.send(b)
	wantNeed(t, err, dbfs.ChunkID{7})

	p.seq--
	p.must(write("f", 2, &dbfs.Content{Size: 5 << 20, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, 2)...)})) // zeros
}

// receiptsOfOthers: forged, expired and those of another namespace count for nothing.
func receiptsOfOthers(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	other := rootPen(t, w, "other")
	c := content(1, 1)
	b := p.batch(create("f", "", "f", c))
	good := b.Receipts[0]
	forged := []byte(good)
	forged[len(forged)/2] ^= 1
	for _, r := range []dbfs.Receipt{w.Receipt(other.ns, c.Ref(0)), "nonsense", "", dbfs.Receipt(forged), w.Receipt(p.ns, dbfs.ChunkRef{ID: c.Chunks.At(0), Len: 2})} {
		b.Receipts = []dbfs.Receipt{r}
		_, err := p.send(b)
		wantNeed(t, err, c.Chunks.At(0))
	}
	w.Advance(25 * time.Hour)
	b.Receipts = []dbfs.Receipt{good}
	_, err := p.send(b)
	wantNeed(t, err, c.Chunks.At(0))
	b.Receipts = []dbfs.Receipt{w.Receipt(p.ns, c.Ref(0))}
	_, err = p.send(b)
	check(t, err)
}

// needIsNotRemembered: the same bytes under the same number get through once the chunks
// are there; a refusal comes before the need of chunks.
func needIsNotRemembered(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	b := p.batch(mkdir("d", "", "d"), create("f", "d", "f", content(1, 1)))
	receipts := b.Receipts
	b.Receipts = nil
	_, err := p.send(b)
	wantNeed(t, err, b.Ops[1].Content.Chunks.IDs()...)
	if p.head().JID != 0 {
		t.Fatalf("head %d: something was done", p.head().JID)
	}
	b.Receipts = receipts
	_, err = p.send(b)
	check(t, err)
	b = p.batch(write("f", 2, content(2, 1)), mkdir("x", "", "d"))
	b.Receipts = nil
	_, err = p.send(b)
	wantRefusal(t, err, 1, dbfs.RefusedNameTaken)
}

func otherEpoch(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	b := p.batch(mkdir("d", "", "d"))
	for _, epoch := range []uint32{0, p.epoch + 1} {
		b.Epoch = epoch
		_, err := p.send(b)
		wantError(t, err, dbfs.ErrReset)
	}
}

// otherDevice: nobody speaks for another device, or its journal would believe him.
func otherDevice(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	other := w.Device(t, "admin")
	b := p.batch(mkdir("d", "", "d"))
	_, err := other.Commit(t.Context(), p.ns, b)
	wantError(t, err, dbfs.ErrInvalid)
	b.Ops[0].ID.Device = other.ID
	_, err = p.send(b)
	wantError(t, err, dbfs.ErrInvalid)
}

// heavyBatch: a batch whose nodes are too much for one transaction is refused whole, its
// halves are not, and one edit always fits.
func heavyBatch(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	const files = 9
	var moves []dbfs.Op
	for i := range files {
		name := fmt.Sprint("f", i)
		p.must(create(name, "", name, zeros(longest)))
		moves = append(moves, move(name, dbfs.JID(i+1), "", "moved"+name))
	}
	_, err := p.send(p.batch(moves...))
	wantError(t, err, dbfs.ErrTooLarge)
	p.seq--
	p.must(moves[:files/2]...)
	p.must(moves[files/2:]...)
	if log := wholeLog(t, p, p.ns, p.epoch, 0); len(log) != 2*files || log[17].Node.Content.Chunks.Len() != longest {
		t.Errorf("%d entries, want %d", len(log), 2*files)
	}
}

// treesAreBounded: a directory goes in one edit as long as there is not too much in it; nothing of
// what is refused is done.
func treesAreBounded(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	p.must(mkdir("d", "", "d"), mkdir("full", "d", "full"))
	fill := func(from, to int) {
		t.Helper()
		for i := from; i < to; {
			var ops []dbfs.Op
			for ; i < to && len(ops) < dbfs.MaxBatchOps; i++ {
				ops = append(ops, create(fmt.Sprint(i), "full", fmt.Sprint(i), nil))
			}
			p.must(ops...)
		}
	}
	fill(0, dbfs.MaxTreeNodes)
	_, err := p.send(p.batch(removeTree("d", 1, p.head().JID)))
	wantRefusal(t, err, 0, dbfs.RefusedTooBig)
	e := p.must(removeTree("full", 2, p.head().JID))[0]
	if len(e.Below) != dbfs.MaxTreeNodes || e.Type != dbfs.OpDeleteTree || !e.Node.Deleted {
		t.Errorf("a %s with %d nodes below, want %d", e.Type, len(e.Below), dbfs.MaxTreeNodes)
	}
	if tree := wholeTree(t, p, p.ns, 100); len(tree) != 1 {
		t.Errorf("%d nodes are left, want 1", len(tree))
	}

	// Few nodes, but with more bytes than one transaction should hold.
	p.must(mkdir("fat", "", "fat"))
	for i := range 40 {
		op := create(fmt.Sprint("fat", i), "fat", fmt.Sprint(i), nil)
		p.must(attributed(op, "user.x", 60<<10))
	}
	b := p.batch(removeTree("fat", p.head().JID-40, p.head().JID))
	_, err = p.send(b)
	wantRefusal(t, err, 0, dbfs.RefusedTooBig)
	if tree := wholeTree(t, p, p.ns, 100); len(tree) != 42 {
		t.Errorf("%d nodes after a refusal, want 42", len(tree))
	}
}

func fullBatch(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	var ops []dbfs.Op
	for i := range dbfs.MaxBatchOps {
		ops = append(ops, create(fmt.Sprint(i), "", fmt.Sprint(i), nil))
	}
	if entries := p.must(ops...); len(entries) != dbfs.MaxBatchOps {
		t.Errorf("%d entries, want %d", len(entries), dbfs.MaxBatchOps)
	}
	if tree := wholeTree(t, p, p.ns, 100); len(tree) != dbfs.MaxBatchOps {
		t.Errorf("%d nodes, want %d", len(tree), dbfs.MaxBatchOps)
	}
}

func inodesStayAtHome(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	op := mkdir("d", "", "d")
	op.Ino = 42
	b := p.batch(op)
	entries, err := p.send(b)
	check(t, err)
	if entries[0].Node.Ino != 0 {
		t.Errorf("the entry carries inode %d", entries[0].Node.Ino)
	}
	b.Ops[0].Ino = 43 // the same batch as far as the server knows
	if _, err := p.send(b); err != nil {
		t.Errorf("again with another inode: %v", err)
	}
}

func manyDevicesAtOnce(t *testing.T, w World) {
	const devices, each = 6, 15
	root := w.Device(t, "admin").Root
	var wg sync.WaitGroup
	for d := range devices {
		p := newPen(t, w, w.Device(t, "admin"), root)
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d-%d", d, i)
				entries, err := p.send(p.batch(create(name, "", name, nil), chmod(name, self, 0o600)))
				if err != nil || len(entries) != 2 || entries[1].JID != entries[0].JID+1 {
					t.Errorf("%s: %+v, %v", name, entries, err)
				}
			}
		})
	}
	wg.Wait()
	p := newPen(t, w, w.Device(t, "admin"), root)
	log := wholeLog(t, p, root, p.epoch, 7)
	if len(log) != 2*devices*each {
		t.Fatalf("%d entries, want %d", len(log), 2*devices*each)
	}
	for i := 0; i < len(log); i += 2 {
		if log[i].End || !log[i+1].End || log[i].Node.ID != log[i+1].Node.ID {
			t.Fatalf("entries %d and %d are not one batch", log[i].JID, log[i+1].JID)
		}
	}
}

func sameBatchFromManyTries(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	b := p.batch(mkdir("a", "", "a"), mkdir("b", "a", "b"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if entries, err := p.send(b); err != nil || len(entries) != 2 || entries[0].JID != 1 {
				t.Errorf("%+v, %v", entries, err)
			}
		})
	}
	wg.Wait()
	if p.head().JID != 2 {
		t.Errorf("head %d, want 2", p.head().JID)
	}
}

func largeContentComesIntact(t *testing.T, w World) {
	p := rootPen(t, w, "admin")
	dense := content(1, dbfs.MaxChunks)
	dense.Chunks = dense.Chunks.Edit(dense.Chunks.Len(), map[int]dbfs.ChunkID{7: dbfs.ZeroChunk})
	places := make(map[int]dbfs.ChunkID)
	for i, id := range content(2, dbfs.MaxChunks).Chunks.All() {
		places[dbfs.MaxFileChunks-1-i*250] = id
	}
	sparse := &dbfs.Content{Size: dbfs.MaxFileSize, Chunks: dbfs.Blocklist{}.Edit(dbfs.MaxFileChunks, places)}
	hole := &dbfs.Content{Size: dbfs.MaxFileSize, Chunks: dbfs.Blocklist{}.Edit(dbfs.MaxFileChunks, nil)}
	for name, c := range map[string]*dbfs.Content{"dense": dense, "sparse": sparse, "hole": hole} {
		e := p.must(create(name, "", name, c))[0]
		if !e.Node.Content.Equal(*c) {
			t.Errorf("%s: the entry's content is another", name)
		}
		if n := wholeTree(t, p, p.ns, 0)[id(name)]; !n.Content.Equal(*c) {
			t.Errorf("%s: the tree's content is another", name)
		}
	}
}
