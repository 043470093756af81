package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// heap is an object store in memory.
type heap map[string][]byte

func (h heap) SignPut(context.Context, string, int64, [32]byte, time.Duration) (string, http.Header, error) {
	return "", nil, dbfs.ErrUnsupported
}

func (h heap) SignGet(context.Context, string, time.Duration) (string, http.Header, error) {
	return "", nil, dbfs.ErrUnsupported
}

func (h heap) Stat(_ context.Context, name string) (int64, []byte, error) {
	if _, ok := h[name]; !ok {
		return 0, nil, dbfs.ErrNotExist
	}
	return int64(len(h[name])), nil, nil
}

func (h heap) Get(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if _, ok := h[name]; !ok {
		return nil, dbfs.ErrNotExist
	}
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(h[name]), off, n)), nil
}

func (h heap) Put(_ context.Context, name string, b []byte) error {
	if _, ok := h[name]; ok {
		return dbfs.ErrExist
	}
	h[name] = bytes.Clone(b)
	return nil
}

func (h heap) Delete(_ context.Context, name string) error {
	delete(h, name)
	return nil
}

// A yard is a server that is used and collected at random. Garbage is collected by another
// server over the same store, whose clock is another one, too.
type yard struct {
	ctx     context.Context
	rng     *rand.Rand
	now     time.Time
	skew    [2]time.Duration // of the two servers' clocks
	store   *memstore.Store
	heap    heap
	front   *server.Server
	back    *server.Server
	session *server.Session
	spaces  [2]dbfs.NamespaceID
	seq     uint64
	chunks  []someChunk
	held    []heldReceipt
	coming  []server.Uploading
	nodes   uint64 // made so far
	gc      *server.Collection
	named   map[chunkIn]time.Time // when something last named it
	builds  map[build]time.Time   // versions that a device builds on, until when

	collections, deleted, refused int
}

type someChunk struct {
	ref dbfs.ChunkRef
	raw []byte
}

type chunkIn struct {
	ns dbfs.NamespaceID
	id dbfs.ChunkID
}

type build struct {
	ns    dbfs.NamespaceID
	node  dbfs.NodeID
	rev   dbfs.JID
	chunk dbfs.ChunkID
}

type heldReceipt struct {
	ns      dbfs.NamespaceID
	chunk   int
	receipt dbfs.Receipt
	at      time.Time
}

// shortMemory makes a yard's past go within days.
var shortMemory = server.Retention{Contents: 36 * time.Hour, Versions: 2, Log: 24 * time.Hour, Deleted: 4 * 24 * time.Hour}

func newYard(ctx context.Context, seed uint64) (*yard, error) {
	y := &yard{
		ctx: ctx, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0), store: memstore.New(), heap: make(heap),
		named: make(map[chunkIn]time.Time), builds: make(map[build]time.Time),
	}
	for i := range uint64(5) {
		ref, raw := chunktest.Noise(20+int(i), i)
		y.chunks = append(y.chunks, someChunk{ref, raw})
	}
	for i, s := range []**server.Server{&y.front, &y.back} {
		var err error
		*s, err = server.New(y.store, y.heap, server.Options{
			Now: func() time.Time { return y.now.Add(y.skew[i]) }, Keep: shortMemory, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
	}
	token, _, err := y.front.Bootstrap(ctx)
	if err != nil {
		return nil, err
	}
	l, err := y.front.Login(ctx, remote.LoginRequest{Token: token, Name: "yard"})
	if err != nil {
		return nil, err
	}
	if y.session, err = y.front.Session(ctx, l.Token); err != nil {
		return nil, err
	}
	me, err := y.session.Me(ctx)
	if err != nil {
		return nil, err
	}
	other, err := y.session.CreateNamespace(ctx, "other", dbfs.NamesExact)
	y.spaces = [2]dbfs.NamespaceID{me.Root, other.ID}
	return y, err
}

// live runs one thing after the other and checks everything after each; what is wrong is an
// error that says so.
func (y *yard) live(steps int) error {
	for i := range steps {
		what, err := y.act()
		if err == nil {
			err = y.check()
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, what, err)
		}
	}
	return nil
}

func (y *yard) act() (what string, err error) {
	ns, chunk := y.spaces[y.rng.IntN(2)], y.rng.IntN(len(y.chunks))
	switch n := y.rng.IntN(100); {
	case n < 8:
		return "upload", y.upload(ns, chunk)
	case n < 13:
		return "register", y.register()
	case n < 20:
		return "check", y.ask(ns, chunk)
	case n < 26:
		return "copy", y.copy(ns)
	case n < 38:
		return "write", y.write(ns)
	case n < 46:
		return "delete", y.delete(ns)
	case n < 53:
		return "revive", y.revive(ns)
	case n < 54:
		return "hold", y.build(ns)
	case n < 56:
		y.skew = [2]time.Duration{y.halfBound(), y.halfBound()}
		return "clocks", nil
	case n < 70:
		y.pass()
		return "time", nil
	case n < 71:
		y.gc = nil // a crash
		return "crash", nil
	case n < 73:
		_, err := y.back.SweepUploads(y.ctx)
		return "sweep uploads", err
	default:
		return "collect", y.collect(1 + y.rng.IntN(1<<y.rng.IntN(7)))
	}
}

func (y *yard) halfBound() time.Duration {
	return time.Duration(y.rng.Int64N(int64(server.ClockBound)*9/10)) - server.ClockBound*9/20
}

// pass lets time go by, sometimes to just before a receipt ends.
func (y *yard) pass() {
	minutes := time.Duration(y.rng.IntN(60)) * time.Minute
	switch n := y.rng.IntN(10); {
	case n < 4:
		y.now = y.now.Add(minutes)
	case n < 6 && len(y.held) > 0:
		end := y.held[y.rng.IntN(len(y.held))].at.Add(server.ReceiptLife - minutes)
		if end.After(y.now) {
			y.now = end
		}
	case n < 9:
		y.now = y.now.Add(time.Duration(y.rng.IntN(24)) * time.Hour)
	default:
		y.now = y.now.Add(time.Duration(y.rng.IntN(9*24)) * time.Hour)
	}
}

func (y *yard) upload(ns dbfs.NamespaceID, chunk int) error {
	up, err := server.BeginUpload(y.ctx, y.session, ns, y.chunks[chunk].ref, y.chunks[chunk].raw)
	if err != nil {
		return err
	}
	if y.rng.IntN(4) == 0 {
		y.coming = append(y.coming, up)
		return nil
	}
	r, err := server.EndUpload(y.ctx, y.session, up)
	y.hold(ns, chunk, r)
	return err
}

// register ends an upload that was begun some time ago; it may be too late for that, and then
// a client uploads again.
func (y *yard) register() error {
	if len(y.coming) == 0 {
		return nil
	}
	i := y.rng.IntN(len(y.coming))
	up := y.coming[i]
	y.coming = slices.Delete(y.coming, i, i+1)
	_, err := server.EndUpload(y.ctx, y.session, up)
	if errors.Is(err, dbfs.ErrInvalid) || errors.Is(err, dbfs.ErrNotExist) {
		return nil
	}
	return err
}

func (y *yard) ask(ns dbfs.NamespaceID, chunk int) error {
	receipts, err := y.session.Check(y.ctx, ns, []dbfs.ChunkRef{y.chunks[chunk].ref})
	if err == nil {
		y.hold(ns, chunk, receipts[0])
	}
	return err
}

func (y *yard) hold(ns dbfs.NamespaceID, chunk int, r dbfs.Receipt) {
	if r == "" {
		return
	}
	y.held = append(y.held, heldReceipt{ns, chunk, r, y.now})
	if len(y.held) > 12 {
		y.held = y.held[1:]
	}
}

// commit sends one edit; that it is refused, or chunks are wanted, is an answer.
func (y *yard) commit(ns dbfs.NamespaceID, op dbfs.Op, receipts ...dbfs.Receipt) error {
	y.seq++
	head, err := y.head(ns)
	if err != nil {
		return err
	}
	op.ID = dbfs.OpID{Device: y.session.Device(), N: y.seq}
	_, err = y.session.Commit(y.ctx, ns, dbfs.Batch{Epoch: head.Epoch, Device: y.session.Device(), Seq: y.seq, Ops: []dbfs.Op{op}, Receipts: receipts})
	var no *dbfs.RefusedError
	var need *dbfs.NeedChunksError
	if errors.As(err, &no) || errors.As(err, &need) {
		y.refused++
		return nil
	}
	return err
}

// pick returns a file of the namespace, deleted or not.
func (y *yard) pick(ns dbfs.NamespaceID, deleted bool) (found dbfs.Node, ok bool) {
	var some []dbfs.Node
	y.store.View(y.ctx, ns, func(tx server.ReadTx) error {
		all, err := tx.Nodes(dbfs.RootNode, 1000)
		for _, n := range all {
			if n.Deleted == deleted {
				some = append(some, n)
			}
		}
		return err
	})
	if len(some) == 0 {
		return found, false
	}
	return some[y.rng.IntN(len(some))], true
}

// write makes a file or gives one another content, of chunks for which there are receipts,
// however old.
func (y *yard) write(ns dbfs.NamespaceID) error {
	var mine []heldReceipt
	for _, h := range y.held {
		if h.ns == ns {
			mine = append(mine, h)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	h := mine[y.rng.IntN(len(mine))]
	ref := y.chunks[h.chunk].ref
	content := &dbfs.Content{Size: int64(ref.Len), Chunks: dbfs.Blocks(ref.ID)}
	n, ok := y.pick(ns, false)
	if !ok || y.rng.IntN(3) == 0 {
		id := y.newNode()
		return y.commit(ns, dbfs.Op{Type: dbfs.OpCreate, Node: id, Name: id.String(), Kind: dbfs.KindFile, Content: content, Attr: dbfs.Attr{Mode: 0o644}}, h.receipt)
	}
	if y.rng.IntN(2) == 0 {
		return y.commit(ns, dbfs.Op{Type: dbfs.OpDelete, Node: n.ID, Base: n.Revs})
	}
	return y.commit(ns, dbfs.Op{Type: dbfs.OpWrite, Node: n.ID, Base: n.Revs, Content: content}, h.receipt)
}

func (y *yard) newNode() dbfs.NodeID {
	y.nodes++
	return dbfs.NodeID{0: 1, 14: byte(y.nodes >> 8), 15: byte(y.nodes)}
}

// copy makes a file of one of the other namespace, deleted or not, without receipts.
func (y *yard) copy(ns dbfs.NamespaceID) error {
	from := y.spaces[0]
	if from == ns {
		from = y.spaces[1]
	}
	n, ok := y.pick(from, y.rng.IntN(4) == 0)
	if !ok {
		return nil
	}
	id := y.newNode()
	return y.commit(ns, dbfs.Op{
		Type: dbfs.OpCopy, Node: id, Name: id.String(), Kind: dbfs.KindFile, Attr: n.Attr,
		Content: &n.Content, Src: &dbfs.Source{NS: from, Node: n.ID, Rev: n.Revs.Content},
	})
}

func (y *yard) delete(ns dbfs.NamespaceID) error {
	n, ok := y.pick(ns, false)
	if !ok {
		return nil
	}
	return y.commit(ns, dbfs.Op{Type: dbfs.OpDelete, Node: n.ID, Base: n.Revs})
}

// revive brings a file back as it was, or says what it was, with receipts or without.
func (y *yard) revive(ns dbfs.NamespaceID) error {
	n, ok := y.pick(ns, true)
	if !ok {
		return nil
	}
	op := dbfs.Op{Type: dbfs.OpRevive, Node: n.ID, Name: n.Name}
	if y.rng.IntN(3) > 0 {
		return y.commit(ns, op)
	}
	op.Content = &n.Content
	var receipts []dbfs.Receipt
	for _, h := range y.held {
		if h.ns == ns && y.rng.IntN(2) == 0 {
			receipts = append(receipts, h.receipt)
		}
	}
	return y.commit(ns, op, receipts...)
}

// build holds what a file has or, now and then, lets go of one that was held.
func (y *yard) build(ns dbfs.NamespaceID) error {
	for b := range y.builds {
		if y.rng.IntN(3) == 0 {
			delete(y.builds, b)
			return y.session.LetGo(y.ctx, b.ns, b.node, b.rev)
		}
	}
	n, ok := y.pick(ns, false)
	if !ok || y.rng.IntN(4) > 0 {
		return nil
	}
	err := y.session.Hold(y.ctx, ns, n.ID, n.Revs.Content)
	if err == nil {
		y.builds[build{ns, n.ID, n.Revs.Content, n.Content.Chunks.At(0)}] = y.now.Add(dbfs.HoldTime - 2*server.ClockBound)
	}
	return err
}

func (y *yard) head(ns dbfs.NamespaceID) (h server.Head, err error) {
	err = y.store.View(y.ctx, ns, func(tx server.ReadTx) error {
		h, err = tx.Head()
		return err
	})
	return h, err
}

// collect goes some steps on with the collection that is running, or begins one.
func (y *yard) collect(steps int) error {
	for range steps {
		if y.gc == nil {
			y.gc = y.back.NewCollection(false)
			y.gc.MarkAtMost(1 + y.rng.IntN(8))
		}
		done, err := y.gc.Step(y.ctx)
		if err != nil {
			return err
		}
		if n := y.gc.Result().Rescued; n > 0 {
			return fmt.Errorf("%d chunks were condemned that are needed", n)
		}
		if done {
			y.collections++
			y.deleted += int(y.gc.Result().Deleted)
			y.gc = nil
		}
	}
	return nil
}

// check wants every chunk that something names to be readable, and those that something named
// until not long ago.
func (y *yard) check() error {
	for _, ns := range y.spaces {
		err := y.store.View(y.ctx, ns, func(tx server.ReadTx) error { return y.names(ns, tx) })
		if err != nil {
			return err
		}
	}
	for b, until := range y.builds {
		if y.now.After(until) {
			delete(y.builds, b)
			continue
		}
		if _, err := y.session.Revision(y.ctx, b.ns, b.node, b.rev); err != nil {
			return fmt.Errorf("version %d, on which a device builds: %w", b.rev, err)
		}
		y.named[chunkIn{b.ns, b.chunk}] = y.now
	}
	for at, last := range y.named {
		old := y.now.Sub(last)
		if old >= server.Grace-2*server.ClockBound {
			delete(y.named, at)
			continue
		}
		i := slices.IndexFunc(y.chunks, func(c someChunk) bool { return c.ref.ID == at.id })
		if _, err := y.session.Get(y.ctx, at.ns, y.chunks[i].ref); err != nil {
			return fmt.Errorf("chunk %d of namespace %s, needed until %s ago, cannot be read: %w", i, at.ns, old, err)
		}
	}
	return nil
}

func (y *yard) names(ns dbfs.NamespaceID, tx server.ReadTx) error {
	name := func(c dbfs.Content) {
		for _, id := range c.Chunks.All() {
			y.named[chunkIn{ns, id}] = y.now
		}
	}
	nodes, err1 := tx.Nodes(dbfs.RootNode, 1000)
	for _, n := range nodes {
		if !n.Deleted {
			name(n.Content)
		}
	}
	revs, err2 := tx.AllRevisions(dbfs.RootNode, 0, 1000)
	for _, r := range revs {
		name(r.Content)
	}
	log, err3 := tx.Log(0, 10000)
	for _, e := range log {
		name(e.Node.Content)
	}
	return errors.Join(err1, err2, err3)
}

// wind deletes everything and lets so much time go by that nothing may be left.
func (y *yard) wind() error {
	for _, ns := range y.spaces {
		for n, ok := y.pick(ns, false); ok; n, ok = y.pick(ns, false) {
			if err := y.commit(ns, dbfs.Op{Type: dbfs.OpDelete, Node: n.ID, Base: n.Revs}); err != nil {
				return err
			}
		}
	}
	y.gc, y.skew = nil, [2]time.Duration{}
	y.now = y.now.Add(dbfs.HoldTime)
	for range 5 {
		y.now = y.now.Add(10 * 24 * time.Hour)
		if _, err := y.back.Collect(y.ctx, false, func(remote.Collection) {}); err != nil {
			return err
		}
		if _, err := y.back.SweepUploads(y.ctx); err != nil {
			return err
		}
	}
	rows, err := y.store.Scan(y.ctx, server.TableChunk, nil, nil, 100)
	if err != nil || len(rows) > 0 || len(y.heap) > 0 {
		return fmt.Errorf("%d chunks and %d objects are left when nothing names them: %v", len(rows), len(y.heap), err)
	}
	for _, ns := range y.spaces {
		if _, ok := y.pick(ns, true); ok {
			return fmt.Errorf("namespace %s remembers deleted files for ever", ns)
		}
		if h, err := y.head(ns); err != nil || h.Trim != h.JID {
			return fmt.Errorf("log of namespace %s is trimmed to %d of %d, %v", ns, h.Trim, h.JID, err)
		}
	}
	return nil
}

// runYard runs one random history to its end.
func runYard(ctx context.Context, seed uint64, steps int) (*yard, error) {
	y, err := newYard(ctx, seed)
	if err != nil {
		return y, err
	}
	if err := y.live(steps); err != nil {
		return y, err
	}
	if err := y.wind(); err != nil {
		return y, fmt.Errorf("in the end: %w", err)
	}
	return y, nil
}

const yardSteps = 400

// Garbage collection, stepping between commits, uploads, receipts, clocks that are apart, and
// crashes, deletes nothing that somebody may need, and in the end everything else.
func TestCollectAtRandom(t *testing.T) {
	var collections, deleted, refused int
	start := time.Now()
	const runs = 60
	for seed := range uint64(runs) {
		y, err := runYard(t.Context(), seed, yardSteps)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		collections, deleted, refused = collections+y.collections, deleted+y.deleted, refused+y.refused
	}
	t.Logf("%d histories of %d steps in %s: %d collections, %d rows deleted, %d edits refused", runs, yardSteps, time.Since(start).Round(time.Millisecond), collections, deleted, refused)
	if collections < runs || deleted < runs {
		t.Error("hardly anything was collected: the histories do not try it")
	}
}

// edit commits one edit of the person's and returns what it is answered.
func (p *person) edit(t *testing.T, ns dbfs.NamespaceID, seq uint64, op dbfs.Op, receipts ...dbfs.Receipt) error {
	t.Helper()
	op.ID = dbfs.OpID{Device: p.me.Device, N: seq}
	_, err := p.session.Commit(t.Context(), ns, dbfs.Batch{Epoch: 1, Device: p.me.Device, Seq: seq, Ops: []dbfs.Op{op}, Receipts: receipts})
	return err
}

// TestReviveVouchesForItself: a file that comes back as it was needs no receipts, but its chunks
// are as safe as if it had them; when they are on their way out it cannot come back.
func TestReviveVouchesForItself(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(100, 1)
	receipt, err := w.admin.session.Put(t.Context(), ns, ref, b)
	if err != nil {
		t.Fatal(err)
	}
	id, content := dbfs.NodeID{1}, &dbfs.Content{Size: 100, Chunks: dbfs.Blocks(ref.ID)}
	create := dbfs.Op{Type: dbfs.OpCreate, Node: id, Name: "f", Kind: dbfs.KindFile, Content: content, Attr: dbfs.Attr{Mode: 0o644}}
	if err := w.admin.edit(t, ns, 1, create, receipt); err != nil {
		t.Fatal(err)
	}
	remove := func(seq uint64, content, place dbfs.JID) {
		t.Helper()
		if err := w.admin.edit(t, ns, seq, dbfs.Op{Type: dbfs.OpDelete, Node: id, Base: dbfs.Revs{Content: content, Place: place}}); err != nil {
			t.Fatal(err)
		}
	}
	revive := dbfs.Op{Type: dbfs.OpRevive, Node: id, Name: "f"}
	remove(2, 1, 1)
	w.clock.move(50 * 24 * time.Hour)
	if err := w.admin.edit(t, ns, 3, revive); err != nil {
		t.Fatalf("revive: %v", err)
	}
	if got := row(t, w, ns, ref).Touched; got != w.clock.now().Unix() {
		t.Errorf("touched at %d, now is %d", got, w.clock.now().Unix())
	}
	remove(4, 1, 3)
	var need *dbfs.NeedChunksError
	again := revive
	again.Content = content
	if err := w.admin.edit(t, ns, 5, again); !errors.As(err, &need) {
		t.Errorf("revive with the content it had, without receipts: %v, want NeedChunks", err)
	}
	for i, state := range []string{"condemned", "deleting"} {
		setRow(t, w, ns, ref, func(r *server.ChunkRow) { r.State = state })
		var no *dbfs.RefusedError
		if err := w.admin.edit(t, ns, uint64(6+i), revive); !errors.As(err, &no) || no.Code != dbfs.RefusedGone {
			t.Errorf("%s: %v, want it refused: gone", state, err)
		}
	}
}

// TestDryRun: it counts, and changes nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	ref, b := chunktest.Noise(100, 1)
	if _, err := w.admin.session.Put(t.Context(), ns, ref, b); err != nil {
		t.Fatal(err)
	}
	collect := func(dry bool, condemned, waiting, deleted int64) {
		t.Helper()
		got, err := w.srv.Collect(t.Context(), dry, func(remote.Collection) {})
		if err != nil || got.Condemned != condemned || got.Waiting != waiting || got.Deleted != deleted || (got.DeletedBytes > 0) != (deleted > 0) {
			t.Errorf("dry %t: %+v, %v; want %d condemned, %d waiting, %d deleted", dry, got, err, condemned, waiting, deleted)
		}
	}
	collect(false, 0, 0, 0)
	w.clock.move(26*time.Hour + time.Second)
	collect(true, 1, 0, 0)
	collect(false, 1, 0, 0)
	collect(true, 0, 1, 0)
	w.clock.move(7*24*time.Hour - time.Second)
	collect(false, 0, 1, 0)
	w.clock.move(time.Second)
	collect(true, 0, 0, 1)
	if _, err := w.admin.session.Get(t.Context(), ns, ref); err != nil {
		t.Errorf("after a dry run: %v", err)
	}
	collect(false, 0, 0, 1)
	if _, err := w.admin.session.Get(t.Context(), ns, ref); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("after it was deleted: %v", err)
	}
}

// TestSharedObjectOutlivesOneRow: what two namespaces share goes when the second is done with it.
func TestSharedObjectOutlivesOneRow(t *testing.T) {
	w := newWorld(t, nil)
	ns, other := w.admin.me.Root, w.admin.namespace(t, "other")
	ref, b := chunktest.Noise(100, 1)
	put(t, w.admin, ns, ref, b)
	object := row(t, w, ns, ref).Object
	w.clock.move(3 * 24 * time.Hour)
	if !has(t, w.admin, other, ref) {
		t.Fatal("not found in the neighbour")
	}
	setRow(t, w, ns, ref, func(r *server.ChunkRow) { r.Touched = 0 })
	later := func(d time.Duration) {
		t.Helper()
		w.clock.move(d)
		if _, err := w.srv.Collect(t.Context(), false, func(remote.Collection) {}); err != nil {
			t.Fatal(err)
		}
	}
	later(0)
	later(7 * 24 * time.Hour)
	if _, err := w.admin.session.Get(t.Context(), ns, ref); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("in the first namespace: %v", err)
	}
	if _, err := w.admin.session.Get(t.Context(), other, ref); err != nil {
		t.Errorf("in the second one: %v", err)
	}
	later(7 * 24 * time.Hour)
	if _, _, err := w.objects.Stat(t.Context(), object); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("object: %v, when nothing needs it", err)
	}
}

// TestCursorBeforeTheLog: who stopped where the log no longer goes on is told what the nodes are
// now, and who has not heard of what is forgotten lists anew.
func TestCursorBeforeTheLog(t *testing.T) {
	w := newWorld(t, nil)
	ns := w.admin.me.Root
	dir := func(n byte) dbfs.NodeID { return dbfs.NodeID{1, n} }
	edits := []dbfs.Op{
		{Type: dbfs.OpCreate, Node: dir(1), Name: "1", Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}},
		{Type: dbfs.OpCreate, Node: dir(2), Name: "2", Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755}},
		{Type: dbfs.OpDelete, Node: dir(1), Base: dbfs.Revs{Content: 1, Place: 1, Attr: 1}},
		{Type: dbfs.OpSetAttr, Node: dir(2), Base: dbfs.Revs{Attr: 2}, Mask: dbfs.AttrMode, Attr: dbfs.Attr{Mode: 0o700}},
	}
	for i, op := range edits {
		if err := w.admin.edit(t, ns, uint64(i+1), op); err != nil {
			t.Fatal(err)
		}
		w.clock.move(15 * 24 * time.Hour)
	}
	collect := func(entries, nodes int64) {
		t.Helper()
		if res, err := w.srv.Collect(t.Context(), false, func(remote.Collection) {}); err != nil || res.Entries != entries || res.Nodes != nodes {
			t.Fatalf("%+v, %v; want %d entries and %d nodes forgotten", res, err, entries, nodes)
		}
	}
	want := func(after dbfs.JID, state bool, jids ...dbfs.JID) {
		t.Helper()
		page, err := w.admin.client.Log(t.Context(), ns, dbfs.Cursor{Epoch: 1, JID: after}, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []dbfs.JID
		for _, n := range page.Nodes {
			got = append(got, n.Last)
		}
		for _, e := range page.Entries {
			got = append(got, e.JID)
		}
		if page.State != state || !slices.Equal(got, jids) || page.Next.JID != 4 {
			t.Errorf("after %d: state %t, %v, next %d; want state %t, %v", after, page.State, got, page.Next.JID, state, jids)
		}
	}
	want(0, false, 1, 2, 3, 4)
	collect(3, 0)
	want(0, true, 3, 4)
	want(3, false, 4)
	w.clock.move(61 * 24 * time.Hour)
	collect(1, 1)
	want(3, true, 4)
	want(4, false)
	if _, err := w.admin.client.Log(t.Context(), ns, dbfs.Cursor{Epoch: 1, JID: 2}, 10); !errors.Is(err, dbfs.ErrReset) {
		t.Errorf("before what is forgotten: %v, want ErrReset", err)
	}
	var older remote.ErrorReply
	if status := w.get(t, w.admin, fmt.Sprintf("/v1/ns/%s/log?epoch=1&after=3&limit=5", ns), &older); status != http.StatusGone || older.Code != "reset" {
		t.Errorf("a client that knows no such pages gets %d, %+v", status, older)
	}
}

// get asks the server as an older client would.
func (w *world) get(t *testing.T, p *person, path string, out any) int {
	t.Helper()
	login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: p.loginToken(t, w), Name: "older"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+login.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}
