package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dbfs/dbfs"
)

// salvaged writes down what Salvage returns.
func (d *device) salvaged() (text string, all []dbfs.Op) {
	d.t.Helper()
	found, rest, err := d.j.Salvage()
	check(d.t, err)
	var words []string
	for _, s := range found {
		words = append(words, fmt.Sprintf("%s=%d", s.Path, s.Node.Content.Size))
		all = append(all, s.Ops...)
	}
	for _, op := range rest {
		words = append(words, op.Type.String())
	}
	return strings.Join(words, " "), append(all, rest...)
}

func TestSalvage(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	for i, p := range []string{"kept", "written", "moved", "gone"} {
		d.put(p, i+1)
	}
	d.settle()
	before := d.tree()
	d.make("d", dir)
	d.put("d/new", 10)
	d.put("written", 11)
	d.move("written", "d/renamed")
	d.move("moved", "elsewhere")
	d.remove("gone")
	d.make("link", NewNode{Kind: dbfs.KindSymlink, Target: "kept", Attr: dbfs.Attr{Mode: 0o777}})
	_, err := d.push(func(op *dbfs.Op) bool { return op.Name == "d" }, requestLost) // a batch in flight
	check(t, err)
	text, ops := d.salvaged()
	if want := "d=0 d/new=10 d/renamed=11 link=0 move delete"; text != want {
		t.Errorf("to be saved: %s, want %s", text, want)
	}
	d.put("d/new", 12) // since then
	check(t, d.j.Abandon(ops))
	if text, _ := d.salvaged(); text != "new=12" {
		t.Errorf("left to be saved: %s, want what was written since", text)
	}
	_, ops = d.salvaged()
	check(t, d.j.Abandon(ops))
	if got := d.tree(); got != before {
		t.Errorf("it shows %s, want what the server has: %s", got, before)
	}
	d.open()
	if n := len(d.j.Pending()); n > 0 || d.tree() != before {
		t.Errorf("after a restart there are %d edits, and it shows %s", n, d.tree())
	}
}

// An outcome of reconciling that makes no sense changes nothing, and what the edits hold can be saved.
func TestUnfitEdits(t *testing.T) {
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	alice.put("f", 1)
	alice.settle()
	bob.settle()
	alice.put("f", 2)
	alice.settle()
	bob.put("f", 3)
	bob.put("g", 4)
	defer func() { checkSound = soundOp }()
	checkSound = func(op *dbfs.Op, s state) error {
		if op.Content != nil && op.Content.Size == 3 {
			return errors.New("so says the test")
		}
		return soundOp(op, s)
	}
	before := bob.tree()
	for range 3 {
		err := bob.pull(100)
		if _, sent := bob.push(always, none); err == nil {
			err = sent
		}
		if !errors.Is(err, ErrUnfit) {
			t.Fatalf("it says %v", err)
		}
	}
	text, ops := bob.salvaged()
	if text != "f=3 g=4" || bob.tree() != before {
		t.Errorf("to be saved: %s; it shows %s, before %s", text, bob.tree(), before)
	}
	check(t, bob.j.Abandon(ops))
	bob.settle()
	if got := bob.tree(); got != "f=2" {
		t.Errorf("afterwards it shows %s", got)
	}
}

func TestSound(t *testing.T) {
	h := newHost(t)
	d := newDevice(t, h, 0, h.namespace(t), 1)
	d.settle()
	d.make("d", dir)
	d.put("d/f", 1)
	d.put("g", 2)
	d.settle()
	gone := d.make("gone", dir)
	d.settle()
	d.remove("gone")
	f, g := d.at("d/f"), d.at("g")
	content := bytesOf(9)
	for _, c := range []struct {
		what string
		op   dbfs.Op
		node *dbfs.Node // as it is in the view then
		ok   bool
	}{
		{"a write", dbfs.Op{Type: dbfs.OpWrite, Node: f.ID, Content: &content}, nil, true},
		{"a write of nothing", dbfs.Op{Type: dbfs.OpWrite, Node: f.ID}, nil, false},
		{"a write of nobody", dbfs.Op{Type: dbfs.OpWrite, Node: dbfs.NodeID{7}, Content: &content}, nil, false},
		{"a move", dbfs.Op{Type: dbfs.OpMove, Node: f.ID, Parent: f.Parent, Name: f.Name}, nil, true},
		{"a move into a file", dbfs.Op{Type: dbfs.OpMove, Node: f.ID, Parent: g.ID, Name: "f"}, &dbfs.Node{ID: f.ID, Parent: g.ID, Name: "f", Kind: dbfs.KindFile}, false},
		{"a move into what is deleted", dbfs.Op{Type: dbfs.OpMove, Node: f.ID, Parent: gone.ID, Name: "f"}, &dbfs.Node{ID: f.ID, Parent: gone.ID, Name: "f", Kind: dbfs.KindFile}, false},
		{"a move to a name of another", dbfs.Op{Type: dbfs.OpMove, Node: f.ID, Name: "g"}, &dbfs.Node{ID: f.ID, Name: "g", Kind: dbfs.KindFile}, false},
	} {
		err := d.j.read(func(s *snapshot) error {
			trial := *s
			trial.view = s.view.clone()
			if c.node != nil {
				trial.view.nodes[c.node.ID] = *c.node
			}
			return soundOp(&c.op, &trial)
		})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
