package journal

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

// model is the plainest file system there is: paths and what they are.
type model map[string]string

func (m model) String() string {
	var b strings.Builder
	for _, p := range slices.Sorted(mapKeys(m)) {
		fmt.Fprintf(&b, "%s %s\n", p, m[p])
	}
	return b.String()
}

func mapKeys(m model) func(func(string) bool) {
	return func(yield func(string) bool) {
		for p := range m {
			if !yield(p) {
				return
			}
		}
	}
}

func (m model) hasChild(p string) bool {
	for q := range m {
		if strings.HasPrefix(q, p+"/") {
			return true
		}
	}
	return false
}

// move does what rename(2) does and returns the error that it would.
func (m model) move(from, to string) error {
	old, taken := m[to]
	switch {
	case m[from] == "dir" && (to == from || strings.HasPrefix(to, from+"/")):
		if to == from {
			return nil
		}
		return dbfs.ErrLoop
	case from == to:
		return nil
	case !taken:
	case m[from] == "dir" && old != "dir":
		return dbfs.ErrNotDir
	case m[from] != "dir" && old == "dir":
		return dbfs.ErrIsDir
	case old == "dir" && m.hasChild(to):
		return dbfs.ErrNotEmpty
	}
	moved := make(model)
	for p, what := range m {
		if p == from || strings.HasPrefix(p, from+"/") {
			moved[to+p[len(from):]] = what
			delete(m, p)
		}
	}
	for p, what := range moved {
		m[p] = what
	}
	return nil
}

// exchange gives each of two paths, neither below the other, what the other had.
func (m model) exchange(a, b string) {
	if a == b {
		return
	}
	m.move(a, "for a moment")
	m.move(b, a)
	m.move("for a moment", b)
}

// editing is one user on one device against the model. The server takes batches now and
// then; what is seen must not depend on that.
type editing struct {
	d       *device
	m       model
	written int
	flying  *Batch // as it was first given out
	ops     string // its ops then
}

func (e *editing) paths(dirs, files bool) []string {
	var all []string
	if dirs && files {
		all = append(all, "")
	}
	for _, p := range slices.Sorted(mapKeys(e.m)) {
		if e.m[p] == "dir" && dirs || e.m[p] != "dir" && files {
			all = append(all, p)
		}
	}
	return all
}

func (e *editing) pick(t *rapid.T, dirs, files bool) string {
	all := slices.DeleteFunc(e.paths(dirs, files), func(p string) bool { return p == "" })
	if len(all) == 0 {
		t.Skip("nothing there")
	}
	return rapid.SampledFrom(all).Draw(t, "path")
}

// place draws a path whose directory is there.
func (e *editing) place(t *rapid.T) string {
	dirs := append(slices.DeleteFunc(e.paths(true, false), func(p string) bool { return p == "" }), "")
	return path.Join(rapid.SampledFrom(dirs).Draw(t, "dir"), rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"))
}

func (e *editing) expect(t *rapid.T, got, want error) {
	t.Helper()
	if (got == nil) != (want == nil) || want != nil && !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func (e *editing) create(t *rapid.T) {
	p := e.place(t)
	what := rapid.SampledFrom([]string{"dir", "0", "-> x"}).Draw(t, "what")
	parent, name := e.d.split(p)
	made := map[string]NewNode{"dir": dir, "0": file, "-> x": {Kind: dbfs.KindSymlink, Target: "x"}}[what]
	_, err := e.d.j.Create(parent, name, made)
	if _, taken := e.m[p]; taken {
		e.expect(t, err, dbfs.ErrExist)
		return
	}
	e.expect(t, err, nil)
	e.m[p] = what
}

func (e *editing) write(t *rapid.T) {
	p := e.pick(t, false, true)
	n := e.d.at(p)
	if n.Kind != dbfs.KindFile {
		t.Skip("a symlink")
	}
	e.written++
	_, err := e.d.j.Write(n.ID, n.Content, bytesOf(e.written), int64(e.written))
	e.expect(t, err, nil)
	e.m[p] = fmt.Sprint(e.written)
}

func (e *editing) move(t *rapid.T) {
	from, to := e.pick(t, true, true), e.place(t)
	parent, name := e.d.split(to)
	want := e.m.move(from, to)
	_, err := e.d.j.Move(e.d.at(from).ID, parent, name, false)
	e.expect(t, err, want)
}

func (e *editing) moveIfFree(t *rapid.T) {
	from, to := e.pick(t, true, true), e.place(t)
	parent, name := e.d.split(to)
	_, err := e.d.j.Move(e.d.at(from).ID, parent, name, true)
	if strings.HasPrefix(to, from+"/") {
		e.expect(t, err, dbfs.ErrLoop)
	} else if _, taken := e.m[to]; taken && from != to {
		e.expect(t, err, dbfs.ErrExist)
	} else {
		e.expect(t, err, nil)
		e.m.move(from, to)
	}
}

func (e *editing) exchange(t *rapid.T) {
	from, to := e.pick(t, true, true), e.pick(t, true, true)
	err := e.d.j.Exchange(e.d.at(from).ID, e.d.at(to).ID)
	if from != to && (strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/")) {
		e.expect(t, err, dbfs.ErrLoop)
		return
	}
	e.expect(t, err, nil)
	e.m.exchange(from, to)
}

func (e *editing) delete(t *rapid.T) {
	p := e.pick(t, true, true)
	err := e.d.j.Delete(e.d.at(p).ID)
	if e.m[p] == "dir" {
		e.expect(t, err, dbfs.ErrIsDir)
		return
	}
	e.expect(t, err, nil)
	delete(e.m, p)
}

func (e *editing) rmdir(t *rapid.T) {
	p := e.pick(t, true, true)
	n := e.d.at(p)
	has, err := e.d.j.HasChild(n.ID)
	if err != nil || has != e.m.hasChild(p) {
		t.Fatalf("%s has something in it: %v, %v; want %v", p, has, err, e.m.hasChild(p))
	}
	err = e.d.j.RemoveDir(n.ID)
	switch {
	case e.m[p] != "dir":
		e.expect(t, err, dbfs.ErrNotDir)
	case e.m.hasChild(p):
		e.expect(t, err, dbfs.ErrNotEmpty)
	default:
		e.expect(t, err, nil)
		delete(e.m, p)
	}
}

func (e *editing) chmod(t *rapid.T) {
	n := e.d.at(e.pick(t, true, true))
	mode := rapid.Uint32Range(0, 0o777).Draw(t, "mode")
	got, err := e.d.j.SetAttr(n.ID, dbfs.AttrMode, dbfs.Attr{Mode: mode})
	e.expect(t, err, nil)
	if got.Attr.Mode != mode || e.d.at(e.path(t, n.ID)).Attr.Mode != mode {
		t.Fatalf("mode is %o, want %o", got.Attr.Mode, mode)
	}
}

func (e *editing) path(t *rapid.T, id dbfs.NodeID) string {
	p, ok := e.d.j.Path(id)
	if !ok {
		t.Fatalf("%s has no path", id)
	}
	return p
}

func (e *editing) reopen(*rapid.T) {
	e.d.open()
	if e.flying != nil {
		e.flying = e.d.j.inflight
	}
}

// bump lets some nodes' edits go first.
func (e *editing) bump(t *rapid.T) {
	var nodes []dbfs.NodeID
	for _, op := range e.d.j.Pending() {
		if rapid.IntRange(1, 4).Draw(t, "bumped") == 1 {
			nodes = append(nodes, op.Node)
		}
	}
	e.d.j.Bump(nodes)
}

// batch makes one, of which the server knows nothing yet.
func (e *editing) batch(t *rapid.T) {
	chance := rapid.IntRange(1, 4).Draw(t, "chance")
	b, err := e.d.j.Batch(func(*dbfs.Op) bool { return rapid.IntRange(1, 4).Draw(t, "ready") <= chance })
	e.expect(t, err, nil)
	if b != nil && e.flying == nil {
		e.flying, e.ops = b, fmt.Sprintf("%+v", plain(b.Ops))
	}
}

// plain returns ops without pointers, to be compared.
func plain(all []dbfs.Op) []string {
	var texts []string
	for i := range all {
		op := all[i]
		op.Ino = 0
		texts = append(texts, string(dbfs.AppendOp(nil, &op)))
	}
	return texts
}

// commit sends the batch in flight. No one else is there: a refusal means that the batch
// built on an edit left behind.
func (e *editing) commit(t *rapid.T) {
	if e.flying == nil {
		t.Skip("nothing in flight")
	}
	_, err := e.d.push(always, none)
	e.expect(t, err, nil)
	if e.d.refused > 0 {
		t.Fatalf("refused: %v", e.d.j.Pending())
	}
	e.flying = nil
}

func (e *editing) check(t *rapid.T) {
	got := make(model)
	e.d.walk(func(p string, n dbfs.Node) {
		switch n.Kind {
		case dbfs.KindDir:
			got[p] = "dir"
		case dbfs.KindSymlink:
			got[p] = "-> " + n.Target
		default:
			got[p] = fmt.Sprint(n.Content.Size)
		}
		if back := e.path(t, n.ID); back != p {
			t.Fatalf("the path of %s is %s", p, back)
		}
	})
	if got.String() != e.m.String() {
		t.Fatalf("got\n%swant\n%spending %s", got, e.m, ops(e.d.j.Pending()))
	}
	if e.flying != nil && fmt.Sprintf("%+v", plain(e.d.j.inflight.Ops)) != e.ops {
		t.Fatalf("a batch in flight changed to %s", ops(e.d.j.inflight.Ops))
	}
	if len(e.d.noticed) > 0 {
		t.Fatalf("nobody else is there, but: %q", e.d.noticed)
	}
	e.sound(t)
}

// sound checks the counts inside against what they count, and every node once.
func (e *editing) sound(t *rapid.T) {
	j := e.d.j
	inside := make(map[dbfs.NodeID]int)
	needed := make(map[dbfs.ChunkID]int)
	edits := 0
	for x := range j.pending.all() {
		edits++
		for _, at := range places(&x.op) {
			inside[at.parent]++
		}
		if x.op.Content != nil {
			for _, r := range x.op.Content.Refs() {
				needed[r.ID]++
			}
		}
		if y, ok := j.pending.find(x.key); !ok || y != x {
			t.Fatalf("edit %d is not found", x.key)
		}
	}
	if fmt.Sprint(inside) != fmt.Sprint(j.pending.inside) || fmt.Sprint(needed) != fmt.Sprint(j.needed) || edits != j.pending.len() {
		t.Fatalf("counts are %v, %v, %d; want %v, %v, %d", j.pending.inside, j.needed, j.pending.len(), inside, needed, edits)
	}
	seen := make(map[dbfs.NodeID]bool)
	e.expect(t, j.Nodes(func(n dbfs.Node) bool {
		if seen[n.ID] {
			t.Fatalf("node %s is told of twice", n.ID)
		}
		seen[n.ID] = true
		return true
	}), nil)
	delete(seen, dbfs.RootNode)
	if len(seen) != len(e.m) {
		t.Fatalf("%d nodes are told of, want %d", len(seen), len(e.m))
	}
}

func TestViewIsWhatTheUserDid(t *testing.T) {
	h := newHost(t)
	rapid.Check(t, func(rt *rapid.T) {
		d := newDevice(t, h, 0, h.namespace(t), 1)
		d.settle()
		e := &editing{d: d, m: make(model)}
		rt.Repeat(map[string]func(*rapid.T){
			"create":     e.create,
			"write":      e.write,
			"move":       e.move,
			"moveIfFree": e.moveIfFree,
			"exchange":   e.exchange,
			"delete":     e.delete,
			"rmdir":      e.rmdir,
			"chmod":      e.chmod,
			"reopen":     e.reopen,
			"bump":       e.bump,
			"batch":      e.batch,
			"commit":     e.commit,
			"":           e.check,
		})
		d.settle()
		e.flying = nil
		e.check(rt)
		if left := d.j.Pending(); len(left) > 0 || d.refused > 0 {
			rt.Fatalf("left:%s; refused %d times", ops(left), d.refused)
		}
	})
}

// What has not been sent is amended, not followed up.
func TestCoalescing(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(d *device)
		want string
	}{
		{"writes", func(d *device) { d.put("f", 5); d.put("f", 6) }, "write"},
		{"create and write", func(d *device) { d.put("n", 5) }, "create"},
		{"create, write and delete", func(d *device) { d.put("n", 5); d.remove("n") }, ""},
		{"mkdir and rmdir", func(d *device) { d.make("n", dir); d.remove("n") }, ""},
		{"create and move", func(d *device) { d.put("n", 5); d.move("n", "d/m") }, "create"},
		{"create and move into a newer directory", func(d *device) { d.put("n", 5); d.make("e", dir); d.move("n", "e/n") }, "create create"},
		{"create, move over what is there", func(d *device) { d.put("n", 5); d.move("n", "f") }, "write"},
		{"create, move over another new one", func(d *device) { d.put("n", 5); d.put("m", 6); d.move("n", "m") }, "create"},
		{"mkdir and move, with something inside", func(d *device) { d.make("n", dir); d.put("n/x", 1); d.move("n", "m") }, "create create move"},
		{"moves", func(d *device) { d.move("f", "g"); d.move("g", "d/h") }, "move"},
		{"moves with something between", func(d *device) { d.move("f", "g"); d.put("f", 6); d.move("g", "h") }, "move create move"},
		{"there and back", func(d *device) { d.move("f", "g"); d.move("g", "f") }, ""},
		{"there and back, with something between", func(d *device) { d.move("f", "g"); d.put("f", 6); d.move("f", "x"); d.move("g", "f") }, "move create move"},
		{"write and delete", func(d *device) { d.put("f", 5); d.remove("f") }, "delete"},
		{"write, move and delete", func(d *device) { d.put("f", 5); d.move("f", "g"); d.remove("g") }, "write move delete"},
		{"write and be replaced", func(d *device) { d.put("f", 5); d.put("n", 6); d.move("n", "f") }, "write"},
		{"chmods", func(d *device) { d.chmod("f", 0o600); d.chmod("f", 0o640) }, "setattr"},
		{"create and chmod", func(d *device) { d.put("n", 5); d.chmod("n", 0o600) }, "create"},
		{"write, chmod, write", func(d *device) { d.put("f", 5); d.chmod("f", 0o600); d.put("f", 6) }, "write setattr"},
		{"what is in flight stays", func(d *device) {
			d.put("n", 5)
			_, err := d.j.Batch(always)
			check(d.t, err)
			d.put("n", 6)
			d.put("n", 7)
			d.move("n", "m")
			d.remove("m")
		}, "create write move delete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			d := newDevice(t, h, 0, h.namespace(t), 1)
			d.settle()
			d.make("d", dir)
			d.put("f", 1)
			d.settle()
			c.do(d)
			var types []string
			for _, op := range d.j.Pending() {
				types = append(types, op.Type.String())
			}
			if got := strings.Join(types, " "); got != c.want {
				t.Errorf("the journal has %q, want %q", got, c.want)
			}
			before := d.show(true)
			d.open()
			if after := d.show(true); after != before {
				t.Errorf("seen after a restart:\n%swant\n%s", after, before)
			}
			d.settle()
			if after, _ := serverShows(t, h, d.ns); after != d.show(false) || d.show(true) != before || d.refused > 0 {
				t.Errorf("after %d refusals the server has\n%swant\n%s", d.refused, after, before)
			}
		})
	}
}

func (d *device) remove(p string) {
	d.t.Helper()
	n := d.at(p)
	if n.Kind.IsDir() {
		check(d.t, d.j.RemoveDir(n.ID))
	} else {
		check(d.t, d.j.Delete(n.ID))
	}
}

func (d *device) chmod(p string, mode uint32) {
	d.t.Helper()
	_, err := d.j.SetAttr(d.at(p).ID, dbfs.AttrMode, dbfs.Attr{Mode: mode})
	check(d.t, err)
}

// An edit that takes the place of an older one still counts as that old, however often that
// happens: who waits for what was made until now must not be told that it is done.
func TestPendingBefore(t *testing.T) {
	for name, replace := range map[string]func(alice, bob *device) (until uint64){
		"made and moved": func(alice, _ *device) uint64 {
			alice.put("a", 1)
			until := alice.j.NextOp()
			alice.move("a", "b")
			alice.move("b", "c")
			return until
		},
		"moved twice": func(alice, _ *device) uint64 {
			alice.move("old", "b")
			until := alice.j.NextOp()
			alice.move("b", "c")
			return until
		},
		"written and revived": func(alice, bob *device) uint64 {
			alice.put("old", 2)
			until := alice.j.NextOp()
			bob.remove("old")
			bob.settle()
			check(t, alice.pull(100))
			return until
		},
		"of another login": func(alice, bob *device) uint64 {
			alice.put("old", 2)
			until := alice.j.NextOp()
			alice.meta = bob.meta
			return until
		},
	} {
		h := newHost(t)
		ns := h.namespace(t)
		alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		alice.put("old", 1)
		alice.settle()
		bob.settle()
		until := replace(alice, bob)
		alice.put("later", 1)
		for range 2 { // as well after a restart
			got := alice.j.PendingBefore(until)
			if later := func(op dbfs.Op) bool { return op.Name == "later" }; len(got) == 0 || slices.ContainsFunc(got, later) {
				t.Errorf("%s: %v are pending from before, want all but later", name, got)
			}
			alice.open()
		}
		alice.settle()
		if got := alice.j.PendingBefore(until); len(got) > 0 {
			t.Errorf("%s: all is sent, and %v are pending", name, got)
		}
	}
}

// The backlog is of what is still pending, not of what has been taken back in between.
func TestBacklog(t *testing.T) {
	h := newHost(t)
	alice := newDevice(t, h, 0, h.namespace(t), 1)
	alice.settle()
	alice.put("a", 1)
	alice.later = time.Hour
	alice.put("b", 2)
	alice.put("c", 4)
	c := alice.at("c")
	_, err := alice.j.Write(c.ID, c.Content, dbfs.Content{Size: 3*dbfs.ChunkSize + 4, Chunks: dbfs.Blocks(dbfs.ZeroChunk, dbfs.ZeroChunk, dbfs.ZeroChunk, dbfs.ChunkID{1})}, 1)
	check(t, err)
	alice.remove("a") // older than what stays
	alice.remove("b")
	want := Backlog{Edits: 1, Files: 1, Bytes: 4, Oldest: worldTime.Add(time.Hour).UnixNano()}
	if got := alice.j.Backlog(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	alice.remove("c")
	if got := alice.j.Backlog(); got != (Backlog{}) {
		t.Errorf("nothing is pending: %+v", got)
	}
}
