package metatest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// testHistories lets two devices make random edits of a small tree, now and then sending a
// batch again, and compares every answer with the model's. A reader follows the log and
// holds, at every batch's end, a tree that is one.
func testHistories(t *testing.T, open func(testing.TB) World) {
	w := open(t)
	admin := w.Device(t, "admin")
	hands := [2]Device{w.Device(t, "admin"), w.Device(t, "admin")}
	rapid.Check(t, func(rt *rapid.T) {
		rule := rapid.SampledFrom([]dbfs.NameRule{dbfs.NamesExact, dbfs.NamesPortable}).Draw(rt, "names")
		ns, err := admin.CreateNamespace(t.Context(), fresh("history"), rule)
		check(t, err)
		h := &history{
			rt: rt, model: &model{rule: rule, nodes: make(map[dbfs.NodeID]dbfs.Node)},
			reader: &reader{Meta: admin, ns: ns.ID, rule: rule, at: ns.Cursor, nodes: make(map[dbfs.NodeID]dbfs.Node)},
		}
		for i, d := range hands {
			h.pens[i] = newPen(t, w, d, ns.ID)
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			h.step()
		}
		h.finish()
	})
}

type history struct {
	rt     *rapid.T
	model  *model
	reader *reader
	pens   [2]*pen
	last   [2]*sent // nil: nothing yet
}

// sent is a batch and what it was answered.
type sent struct {
	batch   dbfs.Batch
	entries []dbfs.Entry
	err     error
}

func (h *history) step() {
	who := rapid.IntRange(0, 1).Draw(h.rt, "who")
	switch what := rapid.IntRange(0, 9).Draw(h.rt, "what"); {
	case what == 0 && h.last[who] != nil:
		h.again(who)
	case what == 1:
		h.reader.read(h.rt, rapid.IntRange(0, 5).Draw(h.rt, "limit"))
	default:
		h.edit(who)
	}
}

// edit sends a batch and compares what it comes to with the model.
func (h *history) edit(who int) {
	p := h.pens[who]
	ops := rapid.SliceOfN(rapid.Custom(h.op), 1, 4).Draw(h.rt, "ops")
	b := p.batch(ops...)
	head := h.model.head
	want := h.model.apply(b.Ops)
	entries, err := p.send(b)
	var r *dbfs.RefusedError
	switch {
	case want.invalid:
		p.seq-- // nothing was remembered
		if !errors.Is(err, dbfs.ErrInvalid) {
			h.rt.Fatalf("%+v: %v, want ErrInvalid", b.Ops, err)
		}
		return
	case want.code != "":
		if !errors.As(err, &r) || r.Code != want.code || r.At != want.at || r.Head != head {
			h.rt.Fatalf("%+v: %v (%+v), want edit %d refused: %s at head %d", b.Ops, err, r, want.at, want.code, head)
		}
	case err != nil:
		h.rt.Fatalf("%+v: %v, want it taken", b.Ops, describe(err))
	case entries[0].JID != head+1 || entries[len(entries)-1].JID != h.model.head:
		h.rt.Fatalf("%+v: entries %d to %d, want %d to %d", b.Ops, entries[0].JID, entries[len(entries)-1].JID, head+1, h.model.head)
	}
	h.last[who] = &sent{b, entries, err}
}

// again sends a device's last batch once more: the same answer, and nothing done.
func (h *history) again(who int) {
	s := h.last[who]
	entries, err := h.pens[who].send(s.batch)
	if !reflect.DeepEqual(entries, s.entries) || !reflect.DeepEqual(unwrapped(err), unwrapped(s.err)) {
		h.rt.Fatalf("sent again: %+v, %v, first %+v, %v", entries, err, s.entries, s.err)
	}
	if head := h.pens[who].head().JID; head != h.model.head {
		h.rt.Fatalf("sent again: head %d, want %d", head, h.model.head)
	}
}

// finish compares log, listing and model.
func (h *history) finish() {
	for h.reader.read(h.rt, 0) {
	}
	listed := wholeTree(h.pens[0].t, h.reader, h.reader.ns, 3)
	live := 0
	for id, want := range h.model.nodes {
		followed := h.reader.nodes[id]
		if summary(followed) != summary(want) || !followed.Content.Equal(want.Content) {
			h.rt.Fatalf("the log makes it %s, want %s", summary(followed), summary(want))
		}
		if want.Deleted {
			continue
		}
		live++
		if !reflect.DeepEqual(listed[id], followed) {
			h.rt.Fatalf("listed as %+v, the log makes it %+v", listed[id], followed)
		}
	}
	h.compareHistory()
	if len(listed) != live || len(h.reader.nodes) != len(h.model.nodes) {
		h.rt.Fatalf("%d nodes listed, %d in the log; want %d and %d", len(listed), len(h.reader.nodes), live, len(h.model.nodes))
	}
}

// compareHistory wants the versions of every file to be what the log says that it had.
func (h *history) compareHistory() {
	p := h.pens[0]
	had := make(map[dbfs.NodeID][]dbfs.Entry)
	for _, e := range wholeLog(p.t, h.reader, p.ns, p.epoch, 0) {
		if e.Node.Kind == dbfs.KindFile && e.Node.Revs.Content == e.JID {
			had[e.Node.ID] = append(had[e.Node.ID], e)
		}
	}
	for id, entries := range had {
		now := h.model.nodes[id]
		kept := wholeHistory(p.t, p, p.ns, id, 0)
		if len(kept) != len(entries) {
			h.rt.Fatalf("%s: %d versions, want %d", summary(now), len(kept), len(entries))
		}
		for i, e := range entries {
			r := kept[i]
			present := !now.Deleted && r.Rev == now.Revs.Content
			if r.Rev != e.JID || r.Time != e.Time || r.Device != e.Op.Device || !r.Content.Equal(e.Node.Content) || (r.Until == 0) != present {
				h.rt.Fatalf("%s: version %+v, the log says %+v", summary(now), r, e)
			}
		}
	}
}

// summary is what model and server must agree on.
func summary(n dbfs.Node) string {
	return fmt.Sprintf("%s %q under %s, %s, %+v, last %d, deleted %t", n.ID, n.Name, n.Parent, n.Kind, n.Revs, n.Last, n.Deleted)
}

var someNodes = []string{"1", "2", "3", "4", "5", "6"}

// op draws an edit that makes sense more often than not.
func (h *history) op(rt *rapid.T) dbfs.Op {
	node := rapid.SampledFrom(someNodes).Draw(rt, "node")
	parent := rapid.SampledFrom(append([]string{"", ""}, someNodes...)).Draw(rt, "parent")
	name := rapid.SampledFrom(someNames).Draw(rt, "name")
	now := h.model.nodes[id(node)]
	base := dbfs.Revs{
		Content: h.base(rt, now.Revs.Content), Place: h.base(rt, now.Revs.Place), Attr: h.base(rt, now.Revs.Attr),
	}
	file := content(byte(rapid.IntRange(1, 3).Draw(rt, "content")), rapid.IntRange(1, 2).Draw(rt, "chunks"))
	kinds := []dbfs.OpType{dbfs.OpCreate, dbfs.OpCreate, dbfs.OpCopy, dbfs.OpMove, dbfs.OpMove, dbfs.OpExchange, dbfs.OpWrite, dbfs.OpSetAttr, dbfs.OpDelete, dbfs.OpDeleteTree, dbfs.OpRevive}
	switch rapid.SampledFrom(kinds).Draw(rt, "type") {
	case dbfs.OpCreate:
		if rapid.Bool().Draw(rt, "dir") {
			return mkdir(node, parent, name)
		}
		if to := rapid.SampledFrom(someNodes).Draw(rt, "to"); to != node && rapid.Bool().Draw(rt, "link") {
			return link(node, parent, name, to)
		}
		return create(node, parent, name, file)
	case dbfs.OpCopy:
		from := rapid.SampledFrom(someNodes).Draw(rt, "from")
		rev := max(1, h.base(rt, h.model.nodes[id(from)].Revs.Content))
		if rev == dbfs.SelfRev {
			rev = 1
		}
		return copied(create(node, parent, name, file), h.pens[0].ns, from, rev)
	case dbfs.OpMove:
		op := move(node, base.Place, parent, name)
		if parent == node {
			op.Parent = dbfs.RootNode
		}
		if victim := rapid.SampledFrom(someNodes).Draw(rt, "victim"); victim != node && rapid.Bool().Draw(rt, "replace") {
			v := h.model.nodes[id(victim)]
			op.Parent, op.Name = v.Parent, name
			if v.Name != "" && rapid.IntRange(0, 3).Draw(rt, "aim") > 0 {
				op.Name = v.Name
			}
			if op.Parent == op.Node {
				op.Parent = dbfs.RootNode
			}
			op.Replace = &dbfs.Victim{Node: id(victim), Base: dbfs.Revs{Content: h.base(rt, v.Revs.Content), Place: h.base(rt, v.Revs.Place)}}
		}
		return op
	case dbfs.OpExchange:
		other := rapid.SampledFrom(someNodes).Draw(rt, "other")
		if other == node {
			return chmod(node, base.Attr, 0o600)
		}
		return exchange(node, base.Place, other, h.base(rt, h.model.nodes[id(other)].Revs.Place))
	case dbfs.OpWrite:
		return write(node, base.Content, file)
	case dbfs.OpSetAttr:
		return chmod(node, base.Attr, 0o600)
	case dbfs.OpDelete:
		return remove(node, base)
	case dbfs.OpDeleteTree:
		return removeTree(node, base.Place, h.model.head-dbfs.JID(rapid.Uint64Range(0, min(3, uint64(h.model.head))).Draw(rt, "unseen")))
	}
	return revive(node, parent, name, nil)
}

// base draws a revision to base an edit on: mostly the one that is there.
func (h *history) base(rt *rapid.T, now dbfs.JID) dbfs.JID {
	switch rapid.IntRange(0, 9).Draw(rt, "base") {
	case 0:
		return dbfs.JID(rapid.Uint64Range(0, uint64(h.model.head)+1).Draw(rt, "rev"))
	case 1, 2:
		return dbfs.SelfRev
	}
	return now
}

// A reader follows a log as a client does.
type reader struct {
	dbfs.Meta
	ns    dbfs.NamespaceID
	rule  dbfs.NameRule
	at    dbfs.Cursor
	nodes map[dbfs.NodeID]dbfs.Node
}

// read applies a page and reports whether there is more.
func (r *reader) read(rt *rapid.T, limit int) bool {
	page, err := r.Log(rt.Context(), r.ns, r.at, limit)
	if err != nil {
		rt.Fatalf("log after %d: %v", r.at.JID, err)
	}
	for _, e := range page.Entries {
		r.apply(rt, e)
		if e.End {
			r.check(rt)
		}
	}
	r.at = page.Next
	return page.More
}

// apply stores a node; what it says of itself never goes back.
func (r *reader) apply(rt *rapid.T, e dbfs.Entry) {
	old, n := r.nodes[e.Node.ID], e.Node
	if n.Last != e.JID || n.Last <= old.Last || n.Revs.Content < old.Revs.Content || n.Revs.Place < old.Revs.Place || n.Revs.Attr < old.Revs.Attr {
		rt.Fatalf("entry %d goes back: %+v after %+v", e.JID, n.Revs, old.Revs)
	}
	r.nodes[n.ID] = n
	for _, id := range e.Below {
		if old, known := r.nodes[id]; !known || old.Deleted || old.Last >= e.JID {
			rt.Fatalf("entry %d deletes what is not there: %+v", e.JID, old)
		}
		r.nodes[id] = e.Buried(r.nodes[id])
	}
}

// check wants a tree: every live node in a live directory, the root above all of them, and
// no name twice.
func (r *reader) check(rt *rapid.T) {
	type slot struct {
		parent dbfs.NodeID
		name   string
	}
	taken := make(map[slot]bool)
	for _, n := range r.nodes {
		if n.Deleted {
			continue
		}
		if s := (slot{n.Parent, names.Key(r.rule, n.Name)}); taken[s] {
			rt.Fatalf("two live nodes at %q under %s", n.Name, n.Parent)
		} else {
			taken[s] = true
		}
		if f := r.nodes[n.Link]; n.Kind == dbfs.KindLink && (f.Deleted || f.Last == 0 || !slices.Contains(f.Links, n.ID)) {
			rt.Fatalf("%s is a name of %+v", summary(n), f)
		}
		steps := 0
		for at := n.Parent; at != dbfs.RootNode; at = r.nodes[at].Parent {
			above, known := r.nodes[at]
			if steps++; !known || above.Deleted || above.Kind != dbfs.KindDir || steps > len(r.nodes) {
				rt.Fatalf("node %s does not hang on the root: stuck at %+v", n.ID, above)
			}
		}
	}
}
