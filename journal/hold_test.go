package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

// guarded returns two devices of which one or the other holds more than ten at once of twenty
// files in a directory.
func guarded(t *testing.T, who ...int) (alice, bob *device) {
	t.Helper()
	h := newHost(t)
	ns := h.namespace(t)
	alice, bob = newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
	alice.settle()
	alice.make("d", dir)
	for i := range 20 {
		alice.put(fmt.Sprintf("d/f%02d", i), i+1)
	}
	alice.put("x", 99)
	alice.settle()
	bob.settle()
	for _, i := range who {
		d := []*device{alice, bob}[i]
		d.guard = &Budget{Window: time.Minute, Count: 10, Share: 30, Max: 1000, Bytes: 1 << 40}
		d.open()
	}
	return alice, bob
}

// rmDir does what rm -r does.
func (d *device) rmDir(p string) {
	d.t.Helper()
	nodes, err := d.j.Children(d.at(p).ID)
	check(d.t, err)
	for _, n := range nodes {
		check(d.t, d.j.Delete(n.ID))
	}
	check(d.t, d.j.RemoveDir(d.at(p).ID))
}

// theHold returns the only one.
func (d *device) theHold() Hold {
	d.t.Helper()
	all := d.j.Holds()
	if len(all) != 1 {
		d.t.Fatalf("%s has the holds %+v, want one", d.name, all)
	}
	return all[0]
}

// tree is the paths with the sizes of files.
func (d *device) tree() string {
	var all []string
	d.walk(func(p string, n dbfs.Node) { all = append(all, fmt.Sprintf("%s=%d", p, n.Content.Size)) })
	return strings.Join(all, " ")
}

func TestOutgoingHold(t *testing.T) {
	for _, v := range []Decision{Approved, Rejected} {
		t.Run(string(v), func(t *testing.T) {
			alice, bob := guarded(t, 0)
			before := bob.tree()
			alice.rmDir("d")
			alice.put("y", 50)
			alice.settle()
			alice.open() // a restart keeps it
			alice.settle()
			bob.settle()
			if got, want := bob.tree(), before+" y=50"; got != want {
				t.Fatalf("bob has %s, want what is held to be there, and the rest to go on: %s", got, want)
			}
			if got := alice.tree(); got != "x=99 y=50" {
				t.Errorf("alice sees %s, want what she did", got)
			}
			h := alice.theHold()
			if h.Deletes != 21 || h.Overwrites != 0 || h.Bytes != 0 || h.Of != 22 || h.Incoming || h.Decision != Undecided {
				t.Errorf("it says %+v", h)
			}
			items, err := alice.j.Harmed(h.ID)
			if err != nil || len(items) != 21 || items[0].Path != "d/f00" || items[20].Path != "d" {
				t.Errorf("it is about %d: %+v, %v", len(items), items, err)
			}
			check(t, alice.j.Decide(h.ID, v))
			alice.settle()
			bob.settle()
			if v == Approved {
				before = "x=99"
			}
			for _, d := range []*device{alice, bob} {
				if got, want := d.tree(), before+" y=50"; got != want {
					t.Errorf("%s sees %s, want %s", d.name, got, want)
				}
			}
			if left := alice.j.Holds(); len(left) > 0 || len(alice.noticed) > 0 {
				t.Errorf("left: %+v, told %q", left, alice.noticed)
			}
			if err := alice.j.Decide(h.ID, v); !errors.Is(err, dbfs.ErrNotExist) {
				t.Errorf("decided twice: %v", err)
			}
		})
	}
}

// What is destroyed later joins the hold, as long as it comes within a window of the last.
func TestHoldGrows(t *testing.T) {
	alice, bob := guarded(t, 0)
	alice.rmDir("d")
	alice.settle()
	alice.later = 30 * time.Second
	alice.remove("x")
	alice.settle()
	if h := alice.theHold(); h.Deletes != 22 {
		t.Errorf("it has %d deletes, want 22", h.Deletes)
	}
	alice.put("z", 7)
	alice.settle()
	alice.later = 2 * time.Minute
	alice.remove("z")
	alice.settle()
	bob.settle()
	if h := alice.theHold(); h.Deletes != 22 || strings.Contains(bob.tree(), "z") || !strings.Contains(bob.tree(), "x") {
		t.Errorf("minutes later: %+v, and bob sees %s", h, bob.tree())
	}
}

// Whoever rejects that files are written over chooses what becomes of what was written.
func TestRejectedOverwrites(t *testing.T) {
	for _, v := range []Decision{Rejected, Discarded} {
		t.Run(string(v), func(t *testing.T) {
			alice, bob := guarded(t, 0)
			before := bob.tree()
			for i := range 12 {
				if i%2 == 0 {
					alice.put(fmt.Sprintf("d/f%02d", i), 100+i)
				} else { // as editors save
					alice.put("d/tmp", 100+i)
					alice.move("d/tmp", fmt.Sprintf("d/f%02d", i))
				}
			}
			alice.settle()
			h := alice.theHold()
			if h.Deletes != 0 || h.Overwrites != 12 {
				t.Errorf("it says %+v", h)
			}
			check(t, alice.j.Decide(h.ID, v))
			alice.settle()
			bob.settle()
			if got, want := bob.tree(), alice.tree(); got != want {
				t.Errorf("bob sees %s, alice %s", got, want)
			}
			got := bob.tree()
			if v == Discarded {
				if got != before {
					t.Errorf("bob sees %s, want %s", got, before)
				}
				return
			}
			for i := range 20 {
				if want := fmt.Sprintf("d/f%02d=%d", i, i+1); !strings.Contains(got, want) {
					t.Errorf("%s is not there in %s", want, got)
				}
				if want := fmt.Sprintf("2026-05-01)=%d ", 100+i); i < 12 && !strings.Contains(got, want) {
					t.Errorf("what was written over f%02d is lost: %s", i, got)
				}
			}
		})
	}
}

// Everyday work is not held.
func TestNothingToHold(t *testing.T) {
	for name, work := range map[string]func(d *device){
		"files that were never sent": func(d *device) {
			for i := range 30 {
				d.put(fmt.Sprint("n", i), 200+i)
			}
			for i := range 30 {
				d.remove(fmt.Sprint("n", i))
			}
		},
		"files made anew with what they had": func(d *device) {
			for i := range 20 {
				d.remove(fmt.Sprintf("d/f%02d", i))
				d.put(fmt.Sprintf("d/f%02d", i), i+1)
			}
		},
		"a database's journal": func(d *device) {
			for i := range 30 {
				d.put("x-journal", 300+i)
				d.settle()
				d.remove("x-journal")
				d.settle()
			}
		},
		"moves and attributes": func(d *device) {
			for i := range 20 {
				d.move(fmt.Sprintf("d/f%02d", i), fmt.Sprintf("d/g%02d", i))
				d.chmod(fmt.Sprintf("d/g%02d", i), 0o600)
			}
		},
		"a few": func(d *device) {
			for i := range 10 {
				d.remove(fmt.Sprintf("d/f%02d", i))
			}
		},
	} {
		alice, bob := guarded(t, 0, 1)
		work(alice)
		alice.settle()
		bob.settle()
		if h := append(alice.j.Holds(), bob.j.Holds()...); len(h) > 0 || bob.tree() != alice.tree() {
			t.Errorf("%s: held %+v; bob sees %s, alice %s", name, h, bob.tree(), alice.tree())
		}
	}
}

func TestIncomingHold(t *testing.T) {
	for _, v := range []Decision{Approved, Rejected} {
		t.Run(string(v), func(t *testing.T) {
			alice, bob := guarded(t, 1)
			for i := range 5 {
				alice.put(fmt.Sprintf("d/f%02d", i), 100+i)
			}
			alice.settle()
			bob.settle() // five may pass
			if got := bob.tree(); !strings.Contains(got, "d/f00=100 d/f01=101 ") {
				t.Fatalf("bob sees %s", got)
			}
			for i := range 7 {
				alice.put(fmt.Sprintf("d/f%02d", i+5), 200+i)
			}
			alice.rmDir("d")
			alice.put("y", 50)
			alice.settle()

			at := bob.j.Cursor()
			bob.settle()
			bob.put("mine", 60)
			bob.put("d/f19", 61)
			bob.settle()
			bob.open()
			bob.settle()
			alice.settle()
			if got := alice.tree(); got != "x=99 y=50" {
				t.Errorf("alice sees %s: while the log is held nothing is sent", got)
			}
			if bob.j.Cursor().JID > at.JID+5 || bob.j.Reading() == bob.j.Cursor() || !bob.j.HoldsBack() {
				t.Errorf("the cursor went from %v to %v, reading %v", at, bob.j.Cursor(), bob.j.Reading())
			}
			h := bob.theHold()
			if !h.Incoming || h.Deletes+h.Overwrites < 15 || len(h.Some) != h.Deletes+h.Overwrites || h.Some[len(h.Some)-1].Path != "d" {
				t.Errorf("it says %+v", h)
			}
			if got := bob.tree(); !strings.Contains(got, "d/f18=19") || !strings.Contains(got, "mine=60") {
				t.Errorf("bob sees %s", got)
			}
			check(t, bob.j.Decide(h.ID, v))
			bob.settle()
			alice.settle()
			bob.settle()
			if got, want := bob.tree(), alice.tree(); got != want {
				t.Errorf("bob sees %s, alice %s", got, want)
			}
			if left := bob.j.Holds(); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			if v == Approved {
				if got := bob.tree(); got != "d=0 d/f19=61 mine=60 x=99 y=50" { // an edit beats a delete
					t.Errorf("bob sees %s", got)
				}
				return
			}
			for i := range 19 { // but for what had passed before it was too much
				if i >= 10 && !strings.Contains(bob.tree(), fmt.Sprintf("d/f%02d=%d ", i, i+1)) {
					t.Errorf("d/f%02d has not come back: %s", i, bob.tree())
				}
			}
			if got := bob.tree(); !strings.Contains(got, "d/f19=61 mine=60 x=99 y=50") {
				t.Errorf("bob sees %s", got)
			}
		})
	}
}

// What brings back what others destroyed is not held in its turn, also after a restart.
func TestUndoIsNotHeld(t *testing.T) {
	alice, bob := guarded(t, 1)
	for i := range 20 {
		alice.put(fmt.Sprintf("d/f%02d", i), 100+i)
	}
	alice.settle()
	bob.settle()
	check(t, bob.j.Decide(bob.theHold().ID, Rejected))
	check(t, bob.pull(100))
	bob.open()
	bob.settle()
	alice.settle()
	if h := bob.j.Holds(); len(h) > 0 || !strings.Contains(alice.tree(), "d/f19=20 ") {
		t.Errorf("held %+v; alice sees %s", h, alice.tree())
	}
}

// A hold that is only half written when the power goes is whole after the start.
func TestHoldCutShort(t *testing.T) {
	defer func(n int) { maxTxn = n }(maxTxn)
	maxTxn = 1500
	for left := range 8 {
		alice, bob := guarded(t, 0)
		before := bob.tree()
		alice.rmDir("d")
		alice.kv.left = left
		_, err := alice.push(always, none)
		if alice.kv.left = -1; err != nil && !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		alice.open()
		alice.settle()
		bob.settle()
		if h := alice.theHold(); h.Deletes != 21 || bob.tree() != before {
			t.Errorf("after %d updates it is %+v, and bob sees %s", left, h, bob.tree())
		}
	}
}

// A tree whose deletion waits to be sent as one edit is held as what it destroys, and comes back.
func TestTreeIsHeld(t *testing.T) {
	for _, v := range []Decision{Approved, Rejected} {
		t.Run(string(v), func(t *testing.T) {
			alice, bob := guarded(t)
			alice.make("e", dir)
			for i := range 8 {
				alice.put(fmt.Sprint("e/", i), i+1)
			}
			alice.settle()
			bob.settle()
			before := bob.tree()
			alice.guard = &Budget{Window: time.Minute, Count: 12, Share: 30, Max: 1000, Bytes: 1 << 40}
			alice.open()
			alice.rmDir("e") // passes
			if b, err := alice.j.Batch(func(*dbfs.Op) bool { return false }); err != nil || b != nil {
				t.Fatalf("batch %+v, %v, want none", b, err)
			}
			if got := types(alice.j.Pending()); got != "delete_tree" {
				t.Fatalf("pending: %s, want one tree", got)
			}
			alice.open()
			for i := range 5 {
				alice.remove(fmt.Sprintf("d/f%02d", i)) // and with these it is too much
			}
			alice.settle()
			bob.settle()
			if got := bob.tree(); got != before {
				t.Errorf("bob has %s, want all of it to be held: %s", got, before)
			}
			h := alice.theHold()
			if h.Deletes != 14 {
				t.Errorf("%d deletes are held, want 14", h.Deletes)
			}
			items, err := alice.j.Harmed(h.ID)
			if err != nil || len(items) != 14 || items[0].Path == items[1].Path || items[0].Node == items[1].Node {
				t.Errorf("it is about %d: %+v, %v", len(items), items, err)
			}
			check(t, alice.j.Decide(h.ID, v))
			alice.settle()
			bob.settle()
			if v == Approved {
				before = strings.ReplaceAll(before, " e=0", "")
				for i := range 8 {
					before = strings.ReplaceAll(before, fmt.Sprintf(" e/%d=%d", i, i+1), "")
				}
				for i := range 5 {
					before = strings.ReplaceAll(before, fmt.Sprintf(" d/f%02d=%d", i, i+1), "")
				}
			}
			for _, d := range []*device{alice, bob} {
				if got := d.tree(); got != before {
					t.Errorf("%s sees %s, want %s", d.name, got, before)
				}
			}
		})
	}
}

// A server that was restored from an old copy does not take away what is here without a question.
func TestRestoredServerIsHeld(t *testing.T) {
	for _, v := range []Decision{Approved, Rejected} {
		t.Run(string(v), func(t *testing.T) {
			h := newHost(t)
			ns := h.namespace(t)
			alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
			alice.settle()
			alice.put("old", 50)
			alice.settle()
			b := h.store.backup(t, ns)
			alice.make("d", dir)
			for i := range 20 {
				alice.put(fmt.Sprintf("d/f%02d", i), i+1)
			}
			alice.put("old", 51)
			alice.settle()
			bob.settle()
			bob.guard = &Budget{Window: time.Minute, Count: 10, Share: 30, Max: 1000, Bytes: 1 << 40}
			bob.open()
			before := bob.tree()
			bob.put("mine", 60)
			h.store.restore(t, ns, b, 2)
			bob.settle()
			bob.open()
			bob.settle()
			hold := bob.theHold()
			if !hold.Incoming || !hold.Listing || hold.Deletes != 21 || hold.Overwrites != 1 || hold.Of != 22 {
				t.Errorf("it says %+v", hold)
			}
			if items, err := bob.j.Harmed(hold.ID); err != nil || len(items) != 22 {
				t.Errorf("it is about %d, %v", len(items), err)
			}
			if got, want := bob.tree(), strings.Replace(before, "old", "mine=60 old", 1); got != want {
				t.Errorf("bob sees %s, want %s", got, want)
			}
			check(t, bob.j.Decide(hold.ID, v))
			bob.settle()
			alice.settle() // who has no guard takes what the server says
			bob.settle()
			if got, want := bob.tree(), alice.tree(); got != want {
				t.Errorf("bob sees %s, alice %s", got, want)
			}
			if left := bob.j.Holds(); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			got := bob.tree()
			if v == Approved {
				if got != "mine=60 old=50" {
					t.Errorf("bob sees %s", got)
				}
				return
			}
			for _, want := range []string{"d/f00=1 ", "d/f19=20 ", "mine=60", "old=50", "conflicted copy, bob 2026-05-01)=51"} {
				if !strings.Contains(got, want) {
					t.Errorf("bob sees %s, want %s in it", got, want)
				}
			}
		})
	}
}

// A listing that is held, and whose undoing is cut short, loses and doubles nothing.
func TestUndoOfAListingCutShort(t *testing.T) {
	for left := range 6 {
		h := newHost(t)
		ns := h.namespace(t)
		alice, bob := newDevice(t, h, 0, ns, 1), newDevice(t, h, 1, ns, 1)
		alice.settle()
		b := h.store.backup(t, ns)
		for i := range 15 {
			alice.put(fmt.Sprintf("f%02d", i), i+1)
		}
		alice.settle()
		bob.settle()
		bob.guard = &Budget{Window: time.Minute, Count: 10, Share: 30, Max: 1000, Bytes: 1 << 40}
		bob.open()
		before := bob.tree()
		h.store.restore(t, ns, b, 2)
		bob.settle()
		check(t, bob.j.Decide(bob.theHold().ID, Rejected))
		bob.reset = true
		bob.kv.left = left
		for range 4 {
			if err := bob.pull(100); err != nil && !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
		}
		bob.open()
		bob.settle()
		alice.settle()
		if bob.tree() != before || alice.tree() != before {
			t.Errorf("after %d updates bob sees %s, alice %s, want %s", left, bob.tree(), alice.tree(), before)
		}
	}
}
