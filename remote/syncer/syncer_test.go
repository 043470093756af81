package syncer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/chunktest"
	"github.com/dbfs/dbfs/remote/syncer"
)

// outside makes, once, what is shared by all chunks of a process and has channels inside, so
// that it does not belong to one test's bubble.
var outside = sync.OnceValue(func() error {
	raw := []byte("something to compress, to compress, to compress, to compress")
	ref := dbfs.ChunkRef{ID: dbfs.HashChunk(raw), Len: len(raw)}
	_, err := remote.DecodeFrame(ref, remote.AppendFrame(nil, ref, raw))
	return err
})

// bubble runs a test in a world of its own where hours pass at once.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	if err := outside(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

func TestPushAndPull(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.put("a", "two")
		bob.put("b", "three")
		alice.sees("a=two b=three")
		if st := alice.s.Status(); !st.Online || st.Err != nil || len(st.Spaces) != 1 || st.Spaces[0].Sent != 3 {
			t.Errorf("alice's status: %+v", st)
		}
	})
}

// A poll tells at once: no time passes between the commit of one and the pull of another.
func TestFreshness(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		start := time.Now()
		alice.put("a", "two")
		bob.sees("a=two")
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("a change took %v", took)
		}
	})
}

func TestEqualBytesGoUpOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "same")
		alice.sent()
		alice.put("b", "same")
		bob.sees("a=same b=same")
		bob.put("c", "same")
		alice.sees("a=same b=same c=same")
		if puts := alice.wire.made("put") + bob.wire.made("put"); puts != 1 {
			t.Errorf("one chunk under three names was put %d times", puts)
		}
		if got := bob.s.Status().Spaces[0].SkippedUp; got != 4 {
			t.Errorf("%d bytes were skipped, want 4", got)
		}
	})
}

// A listing is of several pages, which others change meanwhile, and can be cut off.
func TestListing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice := w.client("alice")
		for i := range 3*syncer.PageEntries + 10 {
			alice.put(fmt.Sprintf("f%04d", i), "x")
		}
		alice.sent()
		bob := w.idle("bob", w.session("bob"))
		bob.wire.lose["tree"] = 2
		bob.run()
		bob.await("listed a page", func() bool { return bob.wire.made("tree") > 1 }, nil)
		alice.put("f0000", "y")
		bob.await("has everything", func() bool { return bob.holds(w.root) == alice.holds(w.root) }, nil)
		if trees := bob.wire.made("tree"); trees > 2+4+4 {
			t.Errorf("%d pages were listed", trees)
		}
	})
}

// A log that was restored has another epoch: the tree is listed anew, and pending edits stay.
func TestReset(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.wire.cut()
		bob.put("b", "unsent")
		w.raiseEpoch()
		alice.put("c", "after")
		bob.wire.mend()
		bob.sees("a=one b=unsent c=after")
		alice.sees("a=one b=unsent c=after")
		if got := alice.journal(w.root).Cursor().Epoch; got != 2 {
			t.Errorf("alice's cursor is of epoch %d", got)
		}
	})
}

// TestFarBehind: who was away while the log was trimmed is told of nodes, page by page, and what
// was edited meanwhile is reconciled at the end; nothing is listed anew.
func TestFarBehind(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		alice.put("gone", "soon")
		bob.sees("a=one gone=soon")
		bob.wire.cut()
		listed := bob.wire.made("tree")
		const files = 1100 // more than two pages
		for i := range files {
			alice.put(fmt.Sprintf("f%04d", i), "x")
		}
		gone, err := alice.journal(w.root).Lookup("gone")
		if err == nil {
			err = alice.journal(w.root).Delete(gone.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		alice.put("a", "alice's")
		alice.sent()
		w.turn(40 * 24 * time.Hour)
		if res, err := w.srv.Collect(t.Context(), false, func(remote.Collection) {}); err != nil || res.Entries < files {
			t.Fatalf("%+v, %v", res, err)
		}
		bob.put("a", "bob's")
		bob.put("b", "new")
		bob.wire.mend()
		bob.s.Kick()
		bob.sent()
		for _, c := range []*client{bob, alice} {
			c.await("has all", func() bool {
				held := c.holds(w.root)
				return strings.Count(held, " f") == files && strings.Contains(held, "a=alice's") && strings.Contains(held, "=bob's") &&
					strings.Contains(held, "b=new") && !strings.Contains(held, "gone")
			}, func() string { return c.holds(w.root) })
		}
		if bob.wire.made("tree") != listed {
			t.Error("the tree was listed anew")
		}
	})
}

func TestRefusal(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "old")
		bob.sees("a=old")
		bob.wire.cut()
		bob.put("a", "bob's")
		alice.put("a", "alice's")
		alice.sent()
		bob.wire.mend()
		want := fmt.Sprintf("a=alice's a (conflicted copy, bob %s)=bob's", time.Now().UTC().Format(time.DateOnly))
		bob.sees(want)
		alice.sees(want)
	})
}

// An answer that is lost is asked for again, and nothing happens twice.
func TestLostAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		for _, call := range []string{"commit", "log", "check", "namespaces", "wait", "put"} {
			alice.wire.set(func(w *wire) { w.lose[call] = 3 })
		}
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Times: 2, Err: dbfs.ErrOffline, After: true})
		alice.put("a", "one")
		alice.put("b", "two")
		alice.sent()
		alice.put("a", "three")
		alice.sees("a=three b=two")
		bob.sees("a=three b=two")
		if n := len(alice.journal(w.root).Notices()); n > 0 {
			t.Errorf("lost answers made %d conflicts", n)
		}
		page, err := w.session("x").Log(t.Context(), w.root, dbfs.Cursor{Epoch: 1}, 100)
		if err != nil || len(page.Entries) != 3 {
			t.Errorf("three edits became %d entries, %v", len(page.Entries), err)
		}
	})
}

func TestOfflineAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		before := bob.wire.total()
		bob.wire.cut()
		bob.put("b", "two")
		time.Sleep(time.Hour)
		tries := bob.wire.total() - before
		// Three goroutines, each at most every 15 s in the mean.
		if st := bob.s.Status(); st.Online || st.Err == nil || tries < 100 || tries > 1500 {
			t.Errorf("in an hour without a server there were %d calls; status %+v", tries, st)
		}
		bob.wire.mend()
		start := time.Now()
		alice.sees("a=one b=two")
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %v to come back", took)
		}
		bob.await("is online", func() bool { return bob.s.Status().Online }, nil)
	})
}

// Kick does not wait for what failed to be tried again.
func TestKick(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		bob.sees("")
		bob.wire.cut()
		bob.put("b", "two")
		time.Sleep(time.Hour)
		bob.wire.mend()
		bob.s.Kick()
		start := time.Now()
		alice.sees("b=two")
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("after a kick it took %v", took)
		}
	})
}

func TestBackoffIsSpread(t *testing.T) {
	for failures, limit := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		sum, most := time.Duration(0), time.Duration(0)
		for range 2000 {
			d := syncer.Backoff(failures, 10*time.Second)
			if d <= 0 || d > limit {
				t.Fatalf("after %d failures: %v, want up to %v", failures, d, limit)
			}
			sum += d
			most = max(most, d)
		}
		if mean := sum / 2000; mean < limit*4/10 || mean > limit*6/10 || most < limit*9/10 {
			t.Errorf("after %d failures the waits have mean %v and maximum %v, want an even spread up to %v", failures, mean, most, limit)
		}
	}
	if d := syncer.Backoff(1<<30, 10*time.Second); d <= 0 || d > 10*time.Second {
		t.Errorf("after very many failures: %v", d)
	}
}

// Receipts that have expired between the upload and the commit are asked for again.
func TestExpiredReceipts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.sees("")
		alice.wire.set(func(w *wire) { w.fail["commit"] = dbfs.ErrOffline })
		alice.put("a", "one")
		alice.await("uploaded", func() bool { return alice.wire.made("put") == 1 }, nil)
		w.turn(48 * time.Hour) // the server's day is over before the client knows
		alice.wire.set(func(w *wire) { delete(w.fail, "commit") })
		bob.sees("a=one")

		alice.wire.set(func(w *wire) { w.fail["commit"] = dbfs.ErrOffline })
		alice.put("b", "two")
		time.Sleep(syncer.ReceiptLife + time.Hour) // now the client knows first
		checks := alice.wire.made("check")
		alice.wire.set(func(w *wire) { delete(w.fail, "commit") })
		bob.sees("a=one b=two")
		if alice.wire.made("put") != 2 || checks < 3 {
			t.Errorf("%d puts and %d checks", alice.wire.made("put"), checks)
		}
	})
}

func TestReadOnlyRole(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		bob.sees("")
		bob.s.Add(bob.journal(w.root), dbfs.RoleRead)
		bob.put("b", "kept")
		alice.put("a", "one")
		bob.await("pulled", func() bool { return strings.HasPrefix(bob.holds(w.root), "a=one") }, nil)
		time.Sleep(time.Hour)
		if n := bob.wire.made("commit"); n > 0 {
			t.Errorf("who may only read tried to commit %d times", n)
		}
		if n := bob.journal(w.root).Backlog().Edits; n != 1 {
			t.Errorf("%d edits are kept, want 1", n)
		}
		bob.s.Add(bob.journal(w.root), dbfs.RoleWrite)
		alice.sees("a=one b=kept")
	})
}

// A role that changes is a hint with no news behind it. It makes the client ask what there
// is, and not ask on and on.
func TestRoleChangesAreHeard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		owner := w.session("owner")
		user, err := owner.AddUser(t.Context(), "bob", false)
		if err != nil {
			t.Fatal(err)
		}
		login, err := w.srv.Login(t.Context(), remote.LoginRequest{Token: user.Token, Name: "bob"})
		if err != nil {
			t.Fatal(err)
		}
		se, err := w.srv.Session(t.Context(), login.Token)
		if err != nil {
			t.Fatal(err)
		}
		ns, err := owner.CreateNamespace(t.Context(), "team", dbfs.NamesExact)
		if err == nil {
			err = owner.SetMember(t.Context(), ns.ID, "bob", dbfs.RoleRead)
		}
		if err != nil {
			t.Fatal(err)
		}
		bob := w.idle("bob", session{se})
		bob.s.Remove(w.root)
		bob.s.Add(bob.open(ns.ID), dbfs.RoleRead)
		bob.run()
		role := func() dbfs.Role {
			bob.mu.Lock()
			defer bob.mu.Unlock()
			for _, n := range bob.heard {
				if n.ID == ns.ID {
					return n.Role
				}
			}
			return dbfs.RoleNone
		}
		bob.await("reads", func() bool { return role() == dbfs.RoleRead }, nil)
		time.Sleep(10 * time.Second)
		for _, want := range []dbfs.Role{dbfs.RoleWrite, dbfs.RoleNone} {
			before := bob.wire.total()
			if err := owner.SetMember(t.Context(), ns.ID, "bob", want); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			bob.await("has the role "+want.String(), func() bool { return role() == want }, nil)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the role %s was heard of after %v", want, took)
			}
			time.Sleep(10 * time.Minute)
			if calls := bob.wire.total() - before; calls > 400 {
				t.Errorf("the role %s cost %d calls in ten minutes", want, calls)
			}
		}
	})
}

// One chunk that cannot be read holds up its own file, says so, and nothing else.
func TestOneDamagedChunk(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.sees("")
		alice.mu.Lock()
		id := dbfs.HashChunk([]byte("bad"))
		alice.bad[id] = dbfs.ErrCorrupt
		alice.mu.Unlock()
		alice.put("a", "bad")
		for i := range 20 {
			alice.put(fmt.Sprint("b", i), "good")
		}
		bob.await("has the others", func() bool { return strings.Count(bob.holds(w.root), "=good") == 20 }, nil)
		st := alice.s.Status()
		if len(st.Spaces) != 1 || !errors.Is(st.Spaces[0].Err, dbfs.ErrCorrupt) || !st.Online {
			t.Errorf("the status does not tell: %+v", st)
		}
		if n := alice.journal(w.root).Backlog().Edits; n != 1 {
			t.Errorf("%d edits are left, want 1", n)
		}
		reads := alice.chunks.Calls(chunktest.Check)
		time.Sleep(time.Hour)
		if n := alice.chunks.Calls(chunktest.Check) - reads; n > 1000 {
			t.Errorf("a damaged chunk was tried %d times in an hour", n)
		}
		alice.mu.Lock()
		delete(alice.bad, id)
		alice.mu.Unlock()
		bob.await("has it too", func() bool { return strings.HasPrefix(bob.holds(w.root), "a=bad") }, nil)
		alice.sent()
		if st := alice.s.Status(); st.Spaces[0].Err != nil {
			t.Errorf("after it was mended: %v", st.Spaces[0].Err)
		}
	})
}

// Of a chunk that could not be read the status says nothing any more when nobody wants it.
func TestDamagedAndRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice := w.client("alice")
		alice.sees("")
		alice.mu.Lock()
		alice.bad[dbfs.HashChunk([]byte("bad"))] = dbfs.ErrCorrupt
		alice.mu.Unlock()
		alice.put("a", "bad")
		time.Sleep(time.Minute)
		if st := alice.s.Status(); !errors.Is(st.Spaces[0].Err, dbfs.ErrCorrupt) {
			t.Errorf("the status does not tell: %+v", st)
		}
		j := alice.journal(w.root)
		n, err := j.Lookup("a")
		if err == nil {
			err = j.Delete(n.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if st := alice.s.Status(); st.Spaces[0].Err != nil {
			t.Errorf("after it was removed: %v", st.Spaces[0].Err)
		}
	})
}

// A put that the network fails does not cut short those that are under way with it.
func TestOnePutFails(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const files = 8
		alice, bob := w.client("alice"), w.client("bob")
		alice.sees("")
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Delay: time.Millisecond, Err: dbfs.ErrOffline})
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Nth: 2, Times: files - 1, Delay: time.Second})
		alice.s.Pause()
		for i := range files {
			alice.put(fmt.Sprint("f", i), fmt.Sprint("text ", i))
		}
		alice.s.Resume()
		alice.sent()
		bob.await("has all", func() bool { return strings.Count(bob.holds(w.root), "=text") == files }, nil)
		if n := alice.chunks.Calls(chunktest.Put); n != files+1 {
			t.Errorf("%d files, one of which failed once, took %d puts, want %d", files, n, files+1)
		}
	})
}

// Small files do not wait for a large one that was there before them.
func TestLargeAndSmall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.sees("")
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Times: 24, Delay: time.Minute})
		alice.s.Pause()
		large := bytes.Repeat([]byte("12345678"), 18*dbfs.ChunkSize/8)
		for i := range 18 {
			binary.BigEndian.PutUint32(large[i*dbfs.ChunkSize:], uint32(i+1))
		}
		alice.write(w.root, "large", large)
		alice.put("small", "quick")
		alice.s.Resume()
		bob.await("has the small one", func() bool { return strings.Contains(bob.holds(w.root), "small=quick") }, nil)
		if _, err := bob.journal(w.root).Lookup("large"); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("the large file is there before its bytes can be: %v", err)
		}
		bob.await("has both", func() bool { _, err := bob.journal(w.root).Lookup("large"); return err == nil }, nil)
	})
}

func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.s.Pause()
		bob.s.Pause() // twice is once
		bob.put("b", "two")
		alice.put("a", "three")
		alice.sent()
		time.Sleep(time.Hour)
		if !bob.s.Status().Paused || alice.holds(w.root) != "a=three" || bob.wire.made("commit") > 0 {
			t.Errorf("paused, bob sent: alice has %s, %d commits", alice.holds(w.root), bob.wire.made("commit"))
		}
		bob.s.Resume()
		bob.s.Resume()
		bob.sees("a=three b=two")
		alice.sees("a=three b=two")
	})
}

// Without hints, a client still hears of everything in the end.
func TestLostHints(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.wire.set(func(w *wire) { w.deaf = true })
		bob.wire.cut()
		bob.wire.mend()
		time.Sleep(5 * time.Minute)
		start := time.Now()
		alice.put("a", "two")
		bob.sees("a=two")
		if took := time.Since(start); took > 11*time.Minute {
			t.Errorf("a hint that was lost was made up for after %v", took)
		}
	})
}

func TestNamespacesComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		ns, err := w.session("x").CreateNamespace(t.Context(), "team", dbfs.NamesExact)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{alice, bob} {
			c.s.Add(c.open(ns.ID), dbfs.RoleAdmin)
		}
		bob.await("has listed it", func() bool { return bob.journal(ns.ID).Cursor() != (dbfs.Cursor{}) }, nil)
		start := time.Now()
		alice.write(ns.ID, "t", []byte("team's"))
		bob.await("hears of it", func() bool { return bob.holds(ns.ID) == "t=team's" }, nil)
		if took := time.Since(start); took > time.Second {
			t.Errorf("a namespace that was added is heard of after %v", took)
		}

		// One is taken away in the middle of an upload; the other goes on.
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Delay: time.Hour})
		alice.write(ns.ID, "u", []byte("under way"))
		time.Sleep(time.Second)
		alice.s.Remove(ns.ID)
		if got := len(alice.s.Status().Spaces); got != 1 {
			t.Errorf("%d namespaces are left, want 1", got)
		}
		alice.put("a", "two")
		bob.sees("a=two")
		alice.s.Add(alice.journal(ns.ID), dbfs.RoleAdmin)
		bob.await("has what was under way", func() bool { return bob.holds(ns.ID) == "t=team's u=under way" }, nil)
	})
}

// A namespace that fails does not keep the others from hearing of news.
func TestOneNamespaceFails(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.s.Add(bob.open(dbfs.NamespaceID(dbfs.RandomID())), dbfs.RoleWrite) // which is not there
		time.Sleep(time.Hour)
		start := time.Now()
		alice.put("a", "two")
		bob.sees("a=two")
		if took := time.Since(start); took > 2*time.Second || !bob.s.Status().Online {
			t.Errorf("the news came after %v; status %+v", took, bob.s.Status())
		}
	})
}

// A client with nothing to do does nothing but wait.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		time.Sleep(10 * time.Second)
		before := map[string]int{}
		for _, call := range []string{"namespaces", "commit", "log", "tree", "check", "put", "get", "wait"} {
			before[call] = bob.wire.made(call)
		}
		time.Sleep(time.Hour)
		for call, most := range map[string]int{"wait": 100, "log": 7, "namespaces": 0, "commit": 0, "tree": 0, "check": 0, "put": 0, "get": 0} {
			if n := bob.wire.made(call) - before[call]; n > most {
				t.Errorf("an hour of rest made %d calls of %s, want %d at most", n, call, most)
			}
		}
	})
}

// A device that lost its database goes on under its name.
func TestMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice := w.client("alice")
		for i := range 10 {
			alice.put("a", fmt.Sprint(i))
			alice.sent()
		}
		alice.stop()
		anew := w.idle("alice", alice.wire.session)
		anew.run()
		anew.sees("a=9")
		anew.put("a", "anew")
		anew.sees("a=anew")
		if n := len(anew.journal(w.root).Notices()); n > 0 {
			t.Errorf("%d conflicts", n)
		}
	})
}

// A server whose log was restored and continued another way is noticed by what it refuses.
func TestLogOfAnotherHistory(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		alice.put("a", "one")
		bob.sees("a=one")
		bob.wire.cut()
		time.Sleep(time.Minute)
		j := bob.journal(w.root)
		n, err := j.Lookup("a")
		if err == nil { // what bob knows is from a history that never was
			n.Revs.Content, n.Last = 1000, 1000
			err = j.Advance([]dbfs.Entry{{JID: j.Cursor().JID + 1, Type: dbfs.OpWrite, End: true, Node: n}}, dbfs.Cursor{Epoch: 1, JID: j.Cursor().JID + 1})
		}
		if err != nil {
			t.Fatal(err)
		}
		bob.put("a", "bob's")
		alice.put("b", "two")
		alice.sent()
		bob.wire.mend()
		bob.await("is through", func() bool { return j.Backlog().Edits == 0 && strings.Contains(bob.holds(w.root), "bob's") }, nil)
		alice.await("has the same", func() bool { return alice.holds(w.root) == bob.holds(w.root) }, nil)
	})
}
