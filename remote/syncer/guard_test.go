package syncer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs/journal"
)

// restart opens a client's journal anew, as a start of the program does.
func (c *client) restart() {
	c.t.Helper()
	c.stop()
	c.build()
	c.run()
}

// filled gives both clients thirty files, and lets one of them hold more than ten harms at once.
func filled(t *testing.T, w *world, who string) (alice, bob *client) {
	alice, bob = w.client("alice"), w.client("bob")
	alice.sees("")
	for i := range 30 {
		alice.put(fmt.Sprintf("f%02d", i), "one")
	}
	alice.sent()
	bob.await("has them", func() bool { return strings.Count(bob.holds(w.root), "=one") == 30 }, nil)
	c := map[string]*client{"alice": alice, "bob": bob}[who]
	c.guard = &journal.Budget{Window: 10 * time.Minute, Count: 10, Share: 20, Max: 100, Bytes: 1 << 40}
	c.restart()
	time.Sleep(time.Minute)
	return alice, bob
}

// remove deletes files at the top.
func (c *client) remove(from, to int) {
	c.t.Helper()
	for i := from; i < to; i++ {
		n, err := c.journal(c.w.root).Lookup(fmt.Sprintf("f%02d", i))
		if err == nil {
			err = c.journal(c.w.root).Delete(n.ID)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *client) held() []journal.Hold { return c.journal(c.w.root).Holds() }

func (c *client) decide(v journal.Decision) {
	c.t.Helper()
	c.await("holds something", func() bool { return len(c.held()) == 1 }, nil)
	if err := c.journal(c.w.root).Decide(c.held()[0].ID, v); err != nil {
		c.t.Fatal(err)
	}
	c.s.Kick()
}

// count returns how many files of thirty a client sees.
func (c *client) count() int { return strings.Count(c.holds(c.w.root), "=one") }

func TestHeldEditsAreNotSent(t *testing.T) {
	for v, want := range map[journal.Decision]int{journal.Approved: 0, journal.Rejected: 30} {
		bubble(t, func(t *testing.T, w *world) {
			alice, bob := filled(t, w, "alice")
			alice.s.Pause()
			alice.remove(0, 30)
			alice.put("g", "two")
			alice.s.Resume()
			bob.await("has the rest", func() bool { return strings.Contains(bob.holds(w.root), "g=two") }, nil)
			alice.restart()
			alice.s.Pause()
			time.Sleep(time.Hour)
			alice.s.Resume()
			alice.put("h", "three")
			bob.await("has the rest", func() bool { return strings.Contains(bob.holds(w.root), "h=three") }, nil)
			if n := bob.count(); n != 30 {
				t.Errorf("bob has %d of 30", n)
			}
			if h := alice.held(); len(h) != 1 || h[0].Deletes != 30 || alice.count() != 0 {
				t.Errorf("alice holds %+v and sees %d", h, alice.count())
			}
			alice.decide(v)
			alice.sent()
			bob.await("agrees", func() bool { return bob.count() == want && alice.count() == want }, func() string { return bob.holds(w.root) })
			if h := alice.held(); len(h) > 0 {
				t.Errorf("left: %+v", h)
			}
		})
	}
}

func TestHeldLogIsNotApplied(t *testing.T) {
	for v, want := range map[journal.Decision]int{journal.Approved: 0, journal.Rejected: 20} {
		bubble(t, func(t *testing.T, w *world) {
			alice, bob := filled(t, w, "bob")
			bob.wire.cut()
			alice.remove(0, 10)
			alice.sent()
			alice.remove(10, 30)
			alice.put("g", "two")
			alice.sent()
			bob.wire.mend()
			bob.await("holds something", func() bool { return len(bob.held()) == 1 }, nil)
			if n := bob.count(); n < 20 {
				t.Errorf("bob sees %d of 30, want what was held", n)
			}
			bob.put("mine", "kept")
			bob.restart()
			alice.put("h", "three")
			alice.sent()
			time.Sleep(10 * time.Second)
			calls := bob.wire.total()
			time.Sleep(time.Hour)
			if n := bob.wire.total() - calls; n > 200 {
				t.Errorf("an hour of holding made %d calls", n)
			}
			if got := bob.holds(w.root); strings.Contains(got, "g=") || strings.Contains(got, "h=") || strings.Contains(alice.holds(w.root), "mine") {
				t.Errorf("bob sees %s, alice %s", got, alice.holds(w.root))
			}
			if h := bob.held(); len(h) != 1 || !h[0].Incoming || h[0].Deletes < 20 || bob.s.Status().Spaces[0].Err != nil {
				t.Errorf("bob holds %+v; %+v", h, bob.s.Status())
			}
			bob.decide(v)
			bob.sent()
			alice.await("agrees", func() bool {
				return alice.count() >= want && alice.holds(w.root) == bob.holds(w.root) && strings.Contains(alice.holds(w.root), "g=two h=three mine=kept")
			}, func() string { return alice.holds(w.root) })
			if v == journal.Approved && alice.count() != 0 {
				t.Errorf("alice sees %d", alice.count())
			}
		})
	}
}

// A log that is cut off while it is held does not bring in by a listing what is held.
func TestHeldLogIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := filled(t, w, "bob")
		bob.wire.cut()
		alice.remove(0, 30)
		alice.sent()
		bob.wire.mend()
		bob.await("holds something", func() bool { return len(bob.held()) == 1 }, nil)
		n := bob.count()
		w.raiseEpoch()
		alice.put("g", "two")
		alice.sent()
		time.Sleep(time.Hour)
		if bob.count() != n || len(bob.held()) != 1 {
			t.Errorf("bob sees %d, before %d; holds %+v", bob.count(), n, bob.held())
		}
		log := bob.held()[0].ID
		bob.decide(journal.Approved)
		bob.await("asks about the other log's tree", func() bool { return len(bob.held()) == 2 || len(bob.held()) == 1 && bob.held()[0].ID != log }, nil)
		time.Sleep(time.Hour)
		if bob.count() != n {
			t.Errorf("bob sees %d of the tree that is held, before %d", bob.count(), n)
		}
		for _, h := range bob.held() {
			if h.Decision == journal.Undecided {
				if err := bob.journal(w.root).Decide(h.ID, journal.Approved); err != nil {
					t.Fatal(err)
				}
			}
		}
		bob.s.Kick()
		bob.sees("g=two")
		if h := bob.held(); len(h) > 0 {
			t.Errorf("left: %+v", h)
		}
	})
}
