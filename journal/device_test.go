package journal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// Whoever logs in anew as another device sends under the new name what was made before, also
// what was on its way, whether the server has it or not.
func TestEditsOfAnEarlierLogin(t *testing.T) {
	for _, lost := range []accident{requestLost, answerLost} {
		h := newHost(t)
		ns := h.namespace(t)
		alice, other := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		alice.put("a", 1)
		alice.settle()
		alice.put("a", 2)
		alice.make("d", dir)
		alice.put("d/b", 3)
		_, err := alice.push(always, lost)
		check(t, err)
		alice.put("d/b", 4)
		alice.meta = h.sessions[2]
		alice.open()
		alice.open() // a start that finds it done
		alice.settle()
		other.settle()
		if got, want := other.show(false), alice.show(false); got != want {
			t.Errorf("%v: another device sees\n%swant\n%s", lost, got, want)
		}
		if n := other.at("d/b"); n.Content.Size != 4 {
			t.Errorf("%v: d/b has %d bytes, want 4", lost, n.Content.Size)
		}
		if len(alice.noticed) > 0 {
			t.Errorf("%v: reconciling changed something: %q", lost, alice.noticed)
		}
	}
}

// A device that lost its database goes on under numbers that it has never used.
func TestDeviceThatLostItsDatabase(t *testing.T) {
	h := newHost(t)
	alice := newDevice(t, h, 0, h.namespace(t), 1)
	alice.settle()
	for i := range 20 {
		alice.put("a", i)
		alice.settle()
	}
	used := alice.j.NextOp()
	alice.kv = &failingKV{KV: cache.NewMemKV(), left: -1}
	alice.later = time.Minute
	alice.open()
	alice.settle()
	alice.put("a", 100)
	if first := alice.j.Pending()[0].ID.N; first < used {
		t.Errorf("an edit is number %d; numbers up to %d were given before", first, used)
	}
	alice.settle()
	if n := alice.at("a"); n.Content.Size != 100 {
		t.Errorf("a has %d bytes, want 100", n.Content.Size)
	}
}

// What an edit of an earlier login was to make may be at the server. What the user does to the
// file after that is an edit of its own, and is not taken for done.
func TestEditedAfterLoginAnew(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(alice *device)
		want string
	}{
		"written":    {func(alice *device) { alice.put("a", 2) }, "a 2\nb 1\n"},
		"moved":      {func(alice *device) { alice.move("a", "c") }, "b 1\nc 1\n"},
		"removed":    {func(alice *device) { alice.remove("a") }, "b 1\n"},
		"mode":       {func(alice *device) { alice.chmod("a", 0o600) }, "a 1 private\nb 1\n"},
		"moved over": {func(alice *device) { alice.move("b", "a") }, "a 1\n"},
	} {
		for _, lost := range []accident{requestLost, answerLost} {
			h := newHost(t)
			ns := h.namespace(t)
			alice := newDevice(t, h, 0, ns, 1)
			alice.settle()
			alice.put("a", 1)
			alice.put("b", 1)
			_, err := alice.push(always, lost)
			check(t, err)
			alice.meta = h.sessions[2]
			alice.open()
			alice.open() // that the server may have it is known for longer than one start
			c.edit(alice)
			alice.settle()
			if got := alice.sizes(); got != c.want {
				t.Errorf("%s, %v: sees\n%swant\n%s", name, lost, got, c.want)
			}
		}
	}
}

// sizes writes down every file with its size, and whether only its owner may read it.
func (d *device) sizes() string {
	d.t.Helper()
	var b strings.Builder
	d.walk(func(p string, n dbfs.Node) {
		fmt.Fprintf(&b, "%s %d", p, n.Content.Size)
		if n.Attr.Mode == 0o600 {
			b.WriteString(" private")
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// copyOf returns a database with the same rows.
func copyOf(t testing.TB, kv dbfs.KV) dbfs.KV {
	other := cache.NewMemKV()
	check(t, kv.View(func(from dbfs.Txn) error {
		return other.Update(func(to dbfs.Txn) error {
			var bad error
			err := from.Scan(nil, nil, func(k, v []byte) bool {
				bad = to.Set(bytes.Clone(k), bytes.Clone(v))
				return bad == nil
			})
			return errors.Join(err, bad)
		})
	}))
	return other
}

// A database that is an older copy of itself knows nothing of the edits that were made since.
// What is edited now is not taken for one of them, though it is the same device's.
func TestOldCopyOfTheDatabase(t *testing.T) {
	for _, online := range []bool{true, false} {
		h := newHost(t)
		ns := h.namespace(t)
		alice, other := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		alice.put("a", 1)
		alice.put("b", 1)
		alice.settle()
		old := copyOf(t, alice.kv)
		alice.open() // goes on with the numbers that the copy's next start would, too
		for size := 2; size < 6; size++ {
			alice.put("a", size)
			alice.put("b", size)
			alice.settle()
		}
		alice.kv, alice.later = &failingKV{KV: old, left: -1}, time.Minute
		alice.open()
		if online {
			alice.settle()
		}
		alice.put("a", 100)
		alice.put("b", 101)
		alice.settle()
		other.settle()
		alice.settle()
		got := other.sizes()
		for _, size := range []string{" 100\n", " 101\n"} {
			if !strings.Contains(got, size) {
				t.Errorf("online %t: what was written over the old copy is lost; there is\n%s", online, got)
			}
		}
		if got != alice.sizes() {
			t.Errorf("online %t: one sees\n%sthe other\n%s", online, got, alice.sizes())
		}
	}
}
