package journal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/server"
)

// The world of these tests: the real server over a store in memory, and devices of one
// account, each a journal over a database in memory. Time stands still unless told, and all
// chance comes from one seed.

// worldTime is when everything in these tests begins.
var worldTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// rows is a server.Store over a MemKV, of which a namespace can be brought back to an
// earlier state, as from a backup.
type rows struct{ kv *cache.MemKV }

func (r rows) Update(_ context.Context, ns dbfs.NamespaceID, fn func(server.Tx) error) error {
	return r.kv.Update(func(txn dbfs.Txn) error { return fn(server.NewKeyTx(ns, txn)) })
}

func (r rows) View(_ context.Context, ns dbfs.NamespaceID, fn func(server.ReadTx) error) error {
	return r.kv.View(func(txn dbfs.Txn) error { return fn(server.NewKeyTx(ns, txn)) })
}

func (r rows) Get(_ context.Context, table server.Table, key []byte) (b []byte, err error) {
	err = r.kv.View(func(txn dbfs.Txn) error {
		b, err = txn.Get(server.TableKey(table, key))
		return err
	})
	return b, err
}

func (r rows) Scan(_ context.Context, table server.Table, prefix, after []byte, limit int) (found []server.Row, err error) {
	err = r.kv.View(func(txn dbfs.Txn) error {
		found, err = server.ScanTable(txn, table, prefix, after, limit)
		return err
	})
	return found, err
}

func (r rows) CAS(_ context.Context, table server.Table, key, old, now []byte) (done bool, err error) {
	full := server.TableKey(table, key)
	err = r.kv.Update(func(txn dbfs.Txn) error {
		b, err := txn.Get(full)
		if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		if done = (err == nil) == (old != nil) && bytes.Equal(b, old); !done {
			return nil
		}
		if now == nil {
			return txn.Delete(full)
		}
		return txn.Set(full, now)
	})
	return done, err
}

func (r rows) Close() error { return nil }

// backup is all rows of a namespace.
type backup map[string][]byte

func (r rows) backup(t testing.TB, ns dbfs.NamespaceID) backup {
	b := make(backup)
	check(t, r.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(nil, nil, func(k, v []byte) bool {
			if k[0] != 't' && binary.BigEndian.Uint64(k[1:]) == uint64(ns) {
				b[string(k)] = bytes.Clone(v)
			}
			return true
		})
	}))
	return b
}

// restore brings a namespace back to a backup, under another epoch.
func (r rows) restore(t testing.TB, ns dbfs.NamespaceID, b backup, epoch uint32) {
	now := r.backup(t, ns)
	check(t, r.kv.Update(func(txn dbfs.Txn) error {
		for k := range now {
			if err := txn.Delete([]byte(k)); err != nil {
				return err
			}
		}
		for k, v := range b {
			if err := txn.Set([]byte(k), v); err != nil {
				return err
			}
		}
		tx := server.NewKeyTx(ns, txn)
		head, err := tx.Head()
		if err != nil {
			return err
		}
		head.Epoch = epoch
		return tx.SetHead(head)
	}))
}

// forget raises the floor of a namespace's log to its end.
func (r rows) forget(t testing.TB, ns dbfs.NamespaceID) {
	check(t, r.Update(t.Context(), ns, func(tx server.Tx) error {
		head, err := tx.Head()
		if err != nil {
			return err
		}
		head.Floor = head.JID
		return tx.SetHead(head)
	}))
}

// trim drops all entries of a namespace's log, so that who is behind is told of nodes.
func (r rows) trim(t testing.TB, ns dbfs.NamespaceID) {
	check(t, r.Update(t.Context(), ns, func(tx server.Tx) error {
		head, err := tx.Head()
		if err != nil {
			return err
		}
		for jid := head.Trim + 1; jid <= head.JID; jid++ {
			if err := tx.DelEntry(jid); err != nil {
				return err
			}
		}
		head.Trim = head.JID
		return tx.SetHead(head)
	}))
}

// A host is a server with an account of some devices.
type host struct {
	made     int // namespaces
	store    rows
	sessions []*server.Session
}

var people = []string{"alice", "bob", "carol", "dave", "eve"}

func newHost(t testing.TB) *host {
	h := &host{store: rows{cache.NewMemKV()}}
	srv, err := server.New(h.store, nil, server.Options{
		Now: func() time.Time { return worldTime }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	check(t, err)
	token, _, err := srv.Bootstrap(t.Context())
	check(t, err)
	for _, name := range people {
		l, err := srv.Login(t.Context(), remote.LoginRequest{Token: token, Name: name})
		check(t, err)
		s, err := srv.Session(t.Context(), l.Token)
		check(t, err)
		h.sessions = append(h.sessions, s)
	}
	return h
}

// namespace makes an empty one.
func (h *host) namespace(t testing.TB) dbfs.NamespaceID {
	h.made++
	ns, err := h.sessions[0].CreateNamespace(t.Context(), fmt.Sprint("shared ", h.made), dbfs.NamesExact)
	check(t, err)
	return ns.ID
}

// A device is one client of a namespace: a journal and the part of a syncer that talks to
// the server.
type device struct {
	t       testing.TB
	name    string
	meta    *server.Session
	kv      *failingKV
	ns      dbfs.NamespaceID
	later   time.Duration // than worldTime, by its clock
	rng     *rand.Rand
	j       *Journal
	listing *listing
	reset   bool          // the log has to be listed anew
	ids     []dbfs.NodeID // to be given away before random ones
	guard   *Budget       // from the next open on
	names   dbfs.NameRule // likewise

	noticed []string // what reconciling told, lasting or not
	changes []Change
	refused int
	jumps   int

	lastHold uint64
}

// listing is a Listing under way.
type listing struct {
	*Listing
	begin dbfs.Cursor
	after dbfs.NodeID
}

func newDevice(t testing.TB, h *host, i int, ns dbfs.NamespaceID, seed uint64) *device {
	d := &device{
		t: t, name: people[i], meta: h.sessions[i], kv: &failingKV{KV: cache.NewMemKV(), left: -1}, ns: ns,
		rng: rand.New(rand.NewPCG(seed, uint64(i))),
	}
	d.open()
	return d
}

// holdID writes down the number that it returns, as a daemon does, which it must not be asked to while
// the database is being read.
func (d *device) holdID() uint64 {
	if d.kv.viewing.Load() > 0 {
		d.t.Error("an Update within a View")
	}
	check(d.t, d.kv.KV.Update(func(dbfs.Txn) error { d.lastHold++; return nil }))
	return d.lastHold
}

// open opens the journal over what the database holds, as after a start.
func (d *device) open() {
	d.t.Helper()
	d.kv.left = -1
	inodes, err := cache.OpenInodes(d.kv)
	check(d.t, err)
	d.j, err = Open(Config{
		NS: d.ns, KV: d.kv, Tree: cache.NewTree(d.ns, d.names), Names: d.names, Device: d.meta.Device(), Name: d.name,
		Inodes: inodes.Reserve, Clock: func() time.Time { return worldTime.Add(d.later) }, NewID: d.newID, Guard: d.guard, HoldID: d.holdID,
		Observe: func(c []Change) { d.changes = append(d.changes, c...) },
		Log:     slog.New(&noticeHandler{d}),
	})
	check(d.t, err)
	d.listing = nil
}

func (d *device) newID() dbfs.NodeID {
	if len(d.ids) > 0 {
		id := d.ids[0]
		d.ids = d.ids[1:]
		return id
	}
	var id dbfs.NodeID
	binary.BigEndian.PutUint64(id[:], d.rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], d.rng.Uint64()|1)
	return id
}

// noticeHandler collects what reconciling logs.
type noticeHandler struct{ d *device }

func (h *noticeHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *noticeHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *noticeHandler) WithGroup(string) slog.Handler            { return h }
func (h *noticeHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	if r.Message == "reconciled" {
		h.d.noticed = append(h.d.noticed, text)
	}
	return nil
}

// failingKV fails every Update after some more have passed.
type failingKV struct {
	dbfs.KV
	left    int // Updates that pass; negative: all
	viewing atomic.Int32
}

func (f *failingKV) View(fn func(dbfs.Txn) error) error {
	f.viewing.Add(1)
	defer f.viewing.Add(-1)
	return f.KV.View(fn)
}

var errDisk = errors.New("the disk is gone")

func (f *failingKV) Update(fn func(dbfs.Txn) error) error {
	if f.left == 0 {
		return f.KV.Update(func(txn dbfs.Txn) error { return errors.Join(fn(txn), errDisk) })
	}
	if f.left > 0 {
		f.left--
	}
	return f.KV.Update(fn)
}

// An accident is what happens to a message.
type accident int

const (
	none accident = iota
	requestLost
	answerLost
)

// push sends one batch, as the syncer does, and reports whether there was one.
func (d *device) push(ready func(*dbfs.Op) bool, what accident) (sent bool, err error) {
	if d.reset || d.listing != nil || d.j.Cursor() == (dbfs.Cursor{}) {
		return false, nil
	}
	b, err := d.j.Batch(ready)
	if err != nil || b == nil || what == requestLost {
		return b != nil, err
	}
	at := d.j.Cursor()
	entries, err := d.meta.Commit(d.t.Context(), d.ns, dbfs.Batch{Epoch: at.Epoch, Device: d.meta.Device(), Seq: b.Seq, Ops: b.Ops})
	if what == answerLost {
		return true, nil
	}
	var refused *dbfs.RefusedError
	switch {
	case err == nil:
		d.j.Taken()
		if entries[0].JID != at.JID+1 {
			return true, d.pull(100)
		}
		return true, d.j.Advance(entries, dbfs.Cursor{Epoch: at.Epoch, JID: entries[len(entries)-1].JID})
	case errors.As(err, &refused):
		d.refused++
		if err := d.j.Refused(refused); err != nil {
			return true, err
		}
		return true, d.afterRefusal(at)
	case errors.Is(err, dbfs.ErrReset):
		d.reset = true
		return true, nil
	}
	return true, fmt.Errorf("commit: %w", err)
}

func (d *device) afterRefusal(at dbfs.Cursor) error {
	if err := d.pull(100); err != nil {
		return err
	}
	if !d.reset && d.j.Cursor() == at {
		return d.j.Reconcile()
	}
	return nil
}

// pull reads up to pages pages of the log.
func (d *device) pull(pages int) error {
	if d.reset || d.listing != nil || d.j.Cursor() == (dbfs.Cursor{}) {
		return d.list()
	}
	for range pages {
		page, err := d.meta.Log(d.t.Context(), d.ns, d.j.Reading(), 1+d.rng.IntN(8))
		if errors.Is(err, dbfs.ErrReset) {
			d.reset = true
			return nil
		}
		if err != nil {
			return err
		}
		if page.State {
			d.jumps++
			err = d.j.Jump(page.Nodes, page.Next, page.Head)
		} else {
			err = d.j.Advance(page.Entries, page.Next)
		}
		if err != nil {
			return err
		}
		if !page.More {
			return nil
		}
	}
	return nil
}

// list reads one more page of a listing.
func (d *device) list() error {
	if d.j.HoldsBack() {
		return nil
	}
	l := d.listing
	if l == nil {
		begun, err := d.j.List()
		if err != nil {
			return err
		}
		l = &listing{Listing: begun}
	}
	d.listing = nil // begun anew after a failure
	page, err := d.meta.Tree(d.t.Context(), d.ns, l.after, 1+d.rng.IntN(4))
	if err != nil {
		return err
	}
	if l.begin == (dbfs.Cursor{}) {
		l.begin = page.Cursor
	} else if l.begin.Epoch != page.Cursor.Epoch {
		return nil
	}
	if err := l.Add(page.Nodes); err != nil {
		return err
	}
	if l.after = page.Next; page.More {
		d.listing = l
		return nil
	}
	if err := l.Finish(l.begin); errors.Is(err, dbfs.ErrHeld) {
		return nil
	} else if err != nil {
		return err
	}
	d.reset = false
	return nil
}

// settle syncs until nothing is left to do; it fails the test if that does not end.
func (d *device) settle() {
	d.t.Helper()
	for range 200 {
		before := d.j.Cursor()
		check(d.t, d.pull(100))
		sent, err := d.push(always, none)
		check(d.t, err)
		if !sent && (!d.reset || d.j.HoldsBack()) && d.listing == nil && before == d.j.Cursor() && before != (dbfs.Cursor{}) {
			return
		}
	}
	d.t.Fatalf("%s does not come to rest; pending: %v", d.name, d.j.Pending())
}

func always(*dbfs.Op) bool { return true }

// show writes down the whole view, a line for each path, with inode numbers on demand.
func (d *device) show(inodes bool) string {
	d.t.Helper()
	var b strings.Builder
	d.walk(func(p string, n dbfs.Node) {
		fmt.Fprintf(&b, "%s %s", p, describe(&n))
		if inodes {
			fmt.Fprintf(&b, " ino=%d", n.Ino)
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// describe says of a node what every device must agree on.
func describe(n *dbfs.Node) string {
	if n.Kind == dbfs.KindLink {
		return fmt.Sprintf("%s link to %s", n.ID, n.Link)
	}
	return fmt.Sprintf("%s %s size=%d target=%q mode=%o mtime=%d", n.ID, n.Kind, n.Content.Size, n.Target, n.Attr.Mode, n.Attr.MTime)
}

// walk visits every node that can be reached, but the root.
func (d *device) walk(fn func(p string, n dbfs.Node)) {
	d.t.Helper()
	var visit func(dir dbfs.NodeID, p string)
	visit = func(dir dbfs.NodeID, p string) {
		nodes, err := d.j.Children(dir)
		check(d.t, err)
		for _, n := range nodes {
			fn(path.Join(p, n.Name), n)
			if n.Kind.IsDir() {
				visit(n.ID, path.Join(p, n.Name))
			}
		}
	}
	visit(dbfs.RootNode, "")
}

// nodes returns every node there is, also where another one hides its name.
func (d *device) nodes() map[dbfs.NodeID]dbfs.Node {
	d.t.Helper()
	all := make(map[dbfs.NodeID]dbfs.Node)
	check(d.t, d.j.Nodes(func(n dbfs.Node) bool {
		all[n.ID] = n
		return true
	}))
	return all
}

// told checks that observers heard of everything that looks different than before: who
// follows the changes knows what there is.
func (d *device) told(before map[dbfs.NodeID]dbfs.Node, changes []Change) {
	d.t.Helper()
	known := maps.Clone(before)
	for _, c := range changes {
		was, ok := known[c.Node]
		switch {
		case c.Follow != (dbfs.NodeID{}):
			continue
		case (c.Before != nil) != ok, ok && !lookSame(c.Before, &was):
			d.t.Errorf("%s tells of %+v, and observers know %s %s", d.name, c, was.Name, describe(&was))
		}
		if c.After == nil {
			delete(known, c.Node)
		} else {
			known[c.Node] = *c.After
		}
	}
	for id, n := range d.nodes() {
		if was, ok := known[id]; !ok || !lookSame(&was, &n) {
			d.t.Errorf("%s has %s %s, and observers know %s", d.name, n.Name, describe(&n), describe(&was))
		}
		delete(known, id)
	}
	for _, n := range known {
		d.t.Errorf("%s does not have %s any more, and observers have not heard of that", d.name, n.Name)
	}
}

// serverShows writes down the server's tree as show does, and how many live nodes it has.
func serverShows(t testing.TB, h *host, ns dbfs.NamespaceID) (string, int) {
	t.Helper()
	children := make(map[dbfs.NodeID][]dbfs.Node)
	live := 0
	for after, more := dbfs.RootNode, true; more; {
		page, err := h.sessions[0].Tree(t.Context(), ns, after, 1000)
		check(t, err)
		for _, n := range page.Nodes {
			if n.IsRoot() {
				continue
			}
			children[n.Parent] = append(children[n.Parent], n)
			live++
		}
		after, more = page.Next, page.More
	}
	var b strings.Builder
	var visit func(dir dbfs.NodeID, p string)
	visit = func(dir dbfs.NodeID, p string) {
		slices.SortFunc(children[dir], func(a, b dbfs.Node) int { return cmp.Compare(a.Name, b.Name) })
		for _, n := range children[dir] {
			fmt.Fprintf(&b, "%s %s\n", path.Join(p, n.Name), describe(&n))
			visit(n.ID, path.Join(p, n.Name))
		}
	}
	visit(dbfs.RootNode, "")
	return b.String(), live
}

// bytesOf returns a content that differs from those of other numbers. It is all zeros, so
// that no server has to be given its chunks.
func bytesOf(n int) dbfs.Content {
	if n == 0 {
		return dbfs.Content{}
	}
	return dbfs.Content{Size: int64(n), Chunks: dbfs.Blocks(dbfs.ZeroChunk)}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
