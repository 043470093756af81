package syncer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/dir"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
	"github.com/dbfs/dbfs/remote/syncer"
)

// A world is a real server in this process, near, over a store in memory and objects in a
// directory. Tests run it in a bubble of synctest, where hours pass at once, and which
// fails when a goroutine is left over.
type world struct {
	t      *testing.T
	store  *memstore.Store
	srv    *server.Server
	root   dbfs.NamespaceID
	token  string  // logs devices in
	reader session // looks at what is there
	log    *slog.Logger

	mu   sync.Mutex
	late time.Duration // how far the server's clock is ahead
}

func newWorld(t *testing.T) *world {
	t.Helper()
	objects, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { objects.Close() })
	w := &world{t: t, store: memstore.New(), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if w.srv, err = server.New(w.store, objects, server.Options{Now: w.now, Log: w.log}); err != nil {
		t.Fatal(err)
	}
	if w.token, _, err = w.srv.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reader = w.session("reader")
	w.root = w.reader.me(t).Root
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.late)
}

// turn puts the server's clock forward.
func (w *world) turn(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late += d
}

type session struct{ *server.Session }

func (w *world) session(name string) session {
	w.t.Helper()
	login, err := w.srv.Login(w.t.Context(), remote.LoginRequest{Token: w.token, Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	se, err := w.srv.Session(w.t.Context(), login.Token)
	if err != nil {
		w.t.Fatal(err)
	}
	return session{se}
}

func (se session) me(t *testing.T) remote.Me {
	t.Helper()
	me, err := se.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return me
}

// raiseEpoch does what the restoring of a backup does, without losing anything.
func (w *world) raiseEpoch() {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), w.root, func(tx server.Tx) error {
		head, err := tx.Head()
		if err != nil {
			return err
		}
		head.Epoch++
		return tx.SetHead(head)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// A wire carries a client's calls to the server. It can be cut, lose answers, and be deaf to
// what the server would tell; and it counts.
type wire struct {
	session
	mu      sync.Mutex // guards what follows
	down    bool
	deaf    bool           // polls hear nothing
	lose    map[string]int // answers yet to be lost, by call
	fail    map[string]error
	calls   map[string]int
	waiting map[chan struct{}]struct{} // polls under way; closed when the wire is cut
}

func newWire(se session) *wire {
	return &wire{
		session: se, lose: make(map[string]int), fail: make(map[string]error),
		calls: make(map[string]int), waiting: make(map[chan struct{}]struct{}),
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for ch := range w.waiting {
		close(ch)
	}
	clear(w.waiting)
}

func (w *wire) set(change func(w *wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *wire) mend() { w.set(func(w *wire) { w.down = false }) }

func (w *wire) made(call string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[call]
}

// total returns how many calls were made.
func (w *wire) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, times := range w.calls {
		n += times
	}
	return n
}

var errCut = fmt.Errorf("%w: the wire is cut", dbfs.ErrOffline)

// carry makes a call, if the wire is whole, and perhaps loses its answer.
func carry[T any](w *wire, name string, call func() (T, error)) (T, error) {
	var none T
	w.mu.Lock()
	w.calls[name]++
	down, err, lose := w.down, w.fail[name], w.lose[name] > 0
	if lose && !down && err == nil {
		w.lose[name]--
	}
	w.mu.Unlock()
	switch {
	case down:
		return none, errCut
	case err != nil:
		return none, err
	}
	answer, err := call()
	if lose {
		return none, fmt.Errorf("%w: the answer was lost", dbfs.ErrOffline)
	}
	return answer, err
}

func (w *wire) Namespaces(ctx context.Context) ([]dbfs.Namespace, error) {
	return carry(w, "namespaces", func() ([]dbfs.Namespace, error) { return w.session.Namespaces(ctx) })
}

func (w *wire) Commit(ctx context.Context, ns dbfs.NamespaceID, b dbfs.Batch) ([]dbfs.Entry, error) {
	return carry(w, "commit", func() ([]dbfs.Entry, error) { return w.session.Commit(ctx, ns, b) })
}

func (w *wire) Log(ctx context.Context, ns dbfs.NamespaceID, after dbfs.Cursor, limit int) (dbfs.LogPage, error) {
	return carry(w, "log", func() (dbfs.LogPage, error) { return w.session.Log(ctx, ns, after, limit) })
}

func (w *wire) Tree(ctx context.Context, ns dbfs.NamespaceID, after dbfs.NodeID, limit int) (dbfs.TreePage, error) {
	return carry(w, "tree", func() (dbfs.TreePage, error) { return w.session.Tree(ctx, ns, after, limit) })
}

func (w *wire) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	return carry(w, "check", func() ([]dbfs.Receipt, error) { return w.session.Check(ctx, ns, refs) })
}

func (w *wire) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	return carry(w, "put", func() (dbfs.Receipt, error) { return w.session.Put(ctx, ns, ref, raw) })
}

func (w *wire) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	return carry(w, "get", func() ([]byte, error) { return w.session.Get(ctx, ns, ref) })
}

func (w *wire) Wait(ctx context.Context, at map[dbfs.NamespaceID]dbfs.Cursor, timeout time.Duration) (dbfs.Hint, error) {
	return carry(w, "wait", func() (dbfs.Hint, error) {
		cut := make(chan struct{})
		w.mu.Lock()
		w.waiting[cut] = struct{}{}
		deaf := w.deaf
		w.mu.Unlock()
		defer w.set(func(w *wire) { delete(w.waiting, cut) })
		if deaf {
			select {
			case <-time.After(timeout):
				return dbfs.Hint{}, nil
			case <-cut:
				return dbfs.Hint{}, errCut
			case <-ctx.Done():
				return dbfs.Hint{}, ctx.Err()
			}
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		heard := make(chan struct{})
		defer func() { <-heard }()
		go func() {
			defer close(heard)
			select {
			case <-cut:
				cancel(errCut)
			case <-ctx.Done():
			}
		}()
		hint, err := w.session.Wait(ctx, at, timeout)
		if context.Cause(ctx) == errCut {
			err = errCut
		}
		cancel(nil)
		return hint, err
	})
}

// A client is a device: a wire, chunks that can be made to fail, journals over a database in
// memory, and a Syncer that runs.
type client struct {
	t      *testing.T
	w      *world
	name   string
	wire   *wire
	chunks *chunktest.Faulty
	kv     dbfs.KV
	inodes *cache.Inodes
	s      *syncer.Syncer
	guard  *journal.Budget // of journals that are opened from now on
	busy   atomic.Bool     // somebody makes many changes
	stop   func()          // waits until the Syncer has stopped

	mu       sync.Mutex // guards what follows
	journals map[dbfs.NamespaceID]*journal.Journal
	disk     map[dbfs.ChunkID][]byte // the bytes of what was written here
	bad      map[dbfs.ChunkID]error  // chunks that the disk does not give
	heard    []dbfs.Namespace        // what there is, as it was last told
}

// client starts a device of the account.
func (w *world) client(name string) *client {
	w.t.Helper()
	c := w.idle(name, w.session(name))
	c.run()
	return c
}

// idle makes a device whose Syncer does not run yet.
func (w *world) idle(name string, se session) *client {
	w.t.Helper()
	c := &client{
		t: w.t, w: w, name: name, wire: newWire(se), kv: cache.NewMemKV(),
		journals: make(map[dbfs.NamespaceID]*journal.Journal), disk: make(map[dbfs.ChunkID][]byte), bad: make(map[dbfs.ChunkID]error),
	}
	c.chunks = chunktest.NewFaulty(c.wire)
	var err error
	if c.inodes, err = cache.OpenInodes(c.kv); err != nil {
		w.t.Fatal(err)
	}
	c.build()
	return c
}

// build makes the Syncer, for the root namespace, as a start of the program does.
func (c *client) build() {
	c.t.Helper()
	c.s = syncer.New(syncer.Config{
		Meta: c.wire, Notifier: c.wire, Chunks: c.chunks, Device: c.wire.Device(), Read: c.read, Busy: c.busy.Load, Log: c.w.log,
		Namespaces: func(list []dbfs.Namespace) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.heard = list
		},
	})
	c.s.Add(c.open(c.w.root), dbfs.RoleWrite)
}

// run lets the Syncer run until the test ends, or stop.
func (c *client) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.s.Run(ctx)
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	c.t.Cleanup(c.stop)
}

// open opens a namespace's journal.
func (c *client) open(ns dbfs.NamespaceID) *journal.Journal {
	c.t.Helper()
	j, err := journal.Open(journal.Config{
		NS: ns, KV: c.kv, Tree: cache.NewTree(ns, dbfs.NamesExact), Device: c.wire.Device(), Name: c.name,
		Inodes: c.inodes.Reserve, Clock: time.Now, Log: c.w.log, Guard: c.guard,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journals[ns] = j
	return j
}

func (c *client) journal(ns dbfs.NamespaceID) *journal.Journal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journals[ns]
}

func (c *client) read(_ context.Context, _ dbfs.NamespaceID, _ dbfs.NodeID, _ int, ref dbfs.ChunkRef) ([]byte, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.bad[ref.ID]; err != nil {
		return nil, nil, err
	}
	b, ok := c.disk[ref.ID]
	if !ok {
		return nil, nil, dbfs.ErrNotExist
	}
	return b, func() {}, nil
}

// write gives a file at the top of a namespace bytes; it is made if it is not there.
func (c *client) write(ns dbfs.NamespaceID, name string, b []byte) {
	c.t.Helper()
	j := c.journal(ns)
	n, err := j.Lookup(name)
	if errors.Is(err, dbfs.ErrNotExist) || errors.Is(err, dbfs.ErrOffline) {
		n, err = j.Create(dbfs.RootNode, name, journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o644}, Held: true})
		defer j.Release(n.ID)
	}
	if err == nil {
		_, err = j.Write(n.ID, n.Content, c.keep(b), time.Now().UnixNano())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// keep cuts bytes into chunks and keeps them on the client's disk.
func (c *client) keep(b []byte) dbfs.Content {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []dbfs.ChunkID
	for chunk := range slices.Chunk(b, dbfs.ChunkSize) {
		id := dbfs.HashChunk(chunk)
		c.disk[id] = chunk
		ids = append(ids, id)
	}
	return dbfs.Content{Size: int64(len(b)), Chunks: dbfs.Blocks(ids...)}
}

// put writes a short text into the root namespace.
func (c *client) put(name, text string) { c.t.Helper(); c.write(c.w.root, name, []byte(text)) }

// holds returns the names at the top of a namespace, with the texts of the files, or why not.
func (c *client) holds(ns dbfs.NamespaceID) string {
	nodes, err := c.journal(ns).Children(dbfs.RootNode)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, n := range nodes {
		var text bytes.Buffer
		for _, ref := range n.Content.Refs() {
			b, err := c.w.reader.Get(context.Background(), ns, ref)
			if err != nil {
				return err.Error()
			}
			text.Write(b[:min(len(b), 20)])
		}
		all = append(all, n.Name+"="+text.String())
	}
	return strings.Join(all, " ")
}

// sees waits until the root namespace holds something.
func (c *client) sees(want string) {
	c.t.Helper()
	got := ""
	c.await("sees "+want, func() bool {
		if c.journal(c.w.root).Backlog().Edits > 0 {
			return false
		}
		got = c.holds(c.w.root)
		return got == want
	}, func() string { return got })
}

// sent waits until no edit is left.
func (c *client) sent() {
	c.t.Helper()
	c.await("has sent everything", func() bool { return c.journal(c.w.root).Backlog().Edits == 0 }, nil)
}

// await waits until something is so, for an hour.
func (c *client) await(what string, so func() bool, instead func() string) {
	c.t.Helper()
	step := time.Millisecond
	for end := time.Now().Add(time.Hour); !so(); time.Sleep(step) {
		if step = min(2*step, time.Second); time.Now().After(end) {
			why := ""
			if instead != nil {
				why = instead()
			}
			c.t.Fatalf("%s never %s: %s\n%+v", c.name, what, why, c.s.Status())
		}
	}
}
