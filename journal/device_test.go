package journal

import (
	"testing"
	"time"

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
