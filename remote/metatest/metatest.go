// Package metatest is the suite that every way to a server's metadata passes: the server
// itself (server.Session) and the far end of a connection (remote.Client).
package metatest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// Service is all of a server but the chunks.
type Service interface {
	dbfs.Meta
	dbfs.History
	dbfs.Holding
	dbfs.Notifier
	remote.Sharing
}

// A Device is a service as a logged-in device sees it.
type Device struct {
	Service
	ID   dbfs.DeviceID
	Root dbfs.NamespaceID // of its account
	Name string           // of its account
}

// A World is a server of its own for one test.
type World interface {
	// Device logs a new device in, of an account that is made when it is new; "admin" is
	// there from the start.
	Device(t testing.TB, account string) Device

	// Receipt vouches for a chunk as if it had been uploaded.
	Receipt(ns dbfs.NamespaceID, ref dbfs.ChunkRef) dbfs.Receipt

	// Advance moves the server's clock.
	Advance(time.Duration)
}

// Run runs the suite; open starts a server that nobody has used.
func Run(t *testing.T, open func(t testing.TB) World) {
	t.Run("Rules", func(t *testing.T) { testRules(t, open) })
	t.Run("Commit", func(t *testing.T) { testCommit(t, open) })
	t.Run("Copy", func(t *testing.T) { testCopy(t, open) })
	t.Run("Reading", func(t *testing.T) { testReading(t, open) })
	t.Run("History", func(t *testing.T) { testHistory(t, open) })
	t.Run("Waiting", func(t *testing.T) { testWaiting(t, open) })
	t.Run("Sharing", func(t *testing.T) { testSharing(t, open) })
	t.Run("Histories", func(t *testing.T) { testHistories(t, open) })
}

// tests runs named tests, each in a world of its own.
func tests(t *testing.T, open func(testing.TB) World, list map[string]func(*testing.T, World)) {
	for name, test := range list {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// A pen writes the batches of one device in one namespace.
type pen struct {
	Device
	t     testing.TB
	world World
	ns    dbfs.NamespaceID
	epoch uint32
	seq   uint64
	n     uint64 // edits made
}

var made atomic.Int64

// fresh returns a name that no other namespace has.
func fresh(name string) string { return fmt.Sprint(name, " ", made.Add(1)) }

func newPen(t testing.TB, w World, d Device, ns dbfs.NamespaceID) *pen {
	t.Helper()
	p := &pen{Device: d, t: t, world: w, ns: ns}
	p.epoch = p.head().Epoch
	return p
}

// rootPen is a pen of a new device of an account in its root namespace.
func rootPen(t testing.TB, w World, account string) *pen {
	t.Helper()
	d := w.Device(t, account)
	return newPen(t, w, d, d.Root)
}

// head returns the log's end as the list of namespaces tells it.
func (p *pen) head() dbfs.Cursor {
	p.t.Helper()
	list, err := p.Namespaces(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, ns := range list {
		if ns.ID == p.ns {
			return ns.Cursor
		}
	}
	p.t.Fatalf("namespace %s is not among %+v", p.ns, list)
	return dbfs.Cursor{}
}

// batch numbers edits and packs them, with a receipt for every chunk.
func (p *pen) batch(ops ...dbfs.Op) dbfs.Batch {
	p.seq++
	b := dbfs.Batch{Epoch: p.epoch, Device: p.ID, Seq: p.seq, Ops: ops}
	for i := range b.Ops {
		p.n++
		b.Ops[i].ID = dbfs.OpID{Device: p.ID, N: p.n}
		if c := b.Ops[i].Content; c != nil && c.Check() == nil {
			for _, ref := range c.Refs() {
				b.Receipts = append(b.Receipts, p.world.Receipt(p.ns, ref))
			}
		}
	}
	return b
}

func (p *pen) send(b dbfs.Batch) ([]dbfs.Entry, error) { return p.Commit(p.t.Context(), p.ns, b) }

// must commits edits that have to be taken.
func (p *pen) must(ops ...dbfs.Op) []dbfs.Entry {
	p.t.Helper()
	entries, err := p.send(p.batch(ops...))
	if err != nil {
		p.t.Fatalf("commit: %v", describe(err))
	}
	return entries
}

// describe adds what a refusal does not print.
func describe(err error) error {
	var r *dbfs.RefusedError
	if errors.As(err, &r) && r.Node != nil {
		return fmt.Errorf("%w (node %s, %q)", err, r.Node.ID, r.Node.Name)
	}
	return err
}

// id returns a fixed node id for a letter or a word.
func id(name string) (n dbfs.NodeID) {
	if name != "" {
		n[0] = 1
		copy(n[1:], name)
	}
	return n
}

// content is a file of n chunks that are all different and made of seed; the last one is
// one byte long.
func content(seed byte, n int) *dbfs.Content {
	ids := make([]dbfs.ChunkID, n)
	for i := range ids {
		ids[i] = dbfs.ChunkID{seed, byte(i), byte(i >> 8), 1}
	}
	return &dbfs.Content{Size: int64(n-1)*dbfs.ChunkSize + 1, Chunks: dbfs.Blocks(ids...)}
}

// longest is how many chunks are written down one after another, if they are zeros, too.
const longest = 4096

// zeros is a file of n full chunks of nothing: for its length it needs no receipts.
func zeros(n int) *dbfs.Content {
	return &dbfs.Content{Size: int64(n) * dbfs.ChunkSize, Chunks: dbfs.Blocks(make([]dbfs.ChunkID, n)...)}
}

// The edits.

func mkdir(node, parent, name string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpCreate, Node: id(node), Parent: id(parent), Name: name, Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755, MTime: 1}}
}

func create(node, parent, name string, c *dbfs.Content) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpCreate, Node: id(node), Parent: id(parent), Name: name, Kind: dbfs.KindFile, Content: c, Attr: dbfs.Attr{Mode: 0o644, MTime: 1}}
}

func link(node, parent, name, to string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpCreate, Node: id(node), Parent: id(parent), Name: name, Kind: dbfs.KindLink, Link: id(to)}
}

// copied makes of a create a copy.
func copied(op dbfs.Op, ns dbfs.NamespaceID, from string, rev dbfs.JID) dbfs.Op {
	op.Type, op.Src = dbfs.OpCopy, &dbfs.Source{NS: ns, Node: id(from), Rev: rev}
	return op
}

func symlink(node, parent, name, target string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpCreate, Node: id(node), Parent: id(parent), Name: name, Kind: dbfs.KindSymlink, Target: target, Attr: dbfs.Attr{Mode: 0o777}}
}

func write(node string, crev dbfs.JID, c *dbfs.Content) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpWrite, Node: id(node), Base: dbfs.Revs{Content: crev}, Content: c, Attr: dbfs.Attr{MTime: 2}}
}

func move(node string, prev dbfs.JID, parent, name string) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpMove, Node: id(node), Base: dbfs.Revs{Place: prev}, Parent: id(parent), Name: name}
}

func replace(node string, prev dbfs.JID, parent, name, victim string, base dbfs.Revs) dbfs.Op {
	op := move(node, prev, parent, name)
	op.Replace = &dbfs.Victim{Node: id(victim), Base: base}
	return op
}

func exchange(a string, aprev dbfs.JID, b string, bprev dbfs.JID) dbfs.Op {
	return dbfs.Op{
		Type: dbfs.OpExchange, Node: id(a), Base: dbfs.Revs{Place: aprev}, Name: "there",
		Replace: &dbfs.Victim{Node: id(b), Base: dbfs.Revs{Place: bprev}, Name: "here"}, // which the server does not look at
	}
}

func chmod(node string, arev dbfs.JID, mode uint32) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpSetAttr, Node: id(node), Base: dbfs.Revs{Attr: arev}, Attr: dbfs.Attr{Mode: mode}, Mask: dbfs.AttrMode}
}

func remove(node string, base dbfs.Revs) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpDelete, Node: id(node), Base: base}
}

func removeTree(node string, prev, seen dbfs.JID) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpDeleteTree, Node: id(node), Base: dbfs.Revs{Place: prev}, Seen: seen}
}

func revive(node, parent, name string, c *dbfs.Content) dbfs.Op {
	return dbfs.Op{Type: dbfs.OpRevive, Node: id(node), Parent: id(parent), Name: name, Content: c}
}

// wantRefusal checks that an error is this refusal.
func wantRefusal(t testing.TB, err error, at int, code dbfs.Refusal) *dbfs.RefusedError {
	t.Helper()
	var r *dbfs.RefusedError
	if !errors.As(err, &r) || r.At != at || r.Code != code {
		t.Fatalf("got %v, want edit %d refused: %s", err, at, code)
	}
	return r
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wholeLog reads a namespace's log from its beginning, in pages of about limit.
func wholeLog(t testing.TB, m dbfs.Meta, ns dbfs.NamespaceID, epoch uint32, limit int) []dbfs.Entry {
	t.Helper()
	var all []dbfs.Entry
	at := dbfs.Cursor{Epoch: epoch}
	for {
		page, err := m.Log(context.Background(), ns, at, limit)
		if err != nil {
			t.Fatalf("log after %d: %v", at.JID, err)
		}
		all, at = append(all, page.Entries...), page.Next
		if !page.More {
			return all
		}
	}
}

// wholeTree lists a namespace in pages of about limit.
func wholeTree(t testing.TB, m dbfs.Meta, ns dbfs.NamespaceID, limit int) map[dbfs.NodeID]dbfs.Node {
	t.Helper()
	all := make(map[dbfs.NodeID]dbfs.Node)
	after := dbfs.RootNode
	for {
		page, err := m.Tree(context.Background(), ns, after, limit)
		if err != nil {
			t.Fatalf("tree after %s: %v", after, err)
		}
		for _, n := range page.Nodes {
			if _, twice := all[n.ID]; twice {
				t.Fatalf("node %s is listed twice", n.ID)
			}
			all[n.ID] = n
		}
		if after = page.Next; !page.More {
			return all
		}
	}
}
