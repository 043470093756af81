package server_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote/server"
	"github.com/dbfs/dbfs/remote/server/memstore"
)

// slipIn is a store that lets something happen right after a poll has read a head.
type slipIn struct {
	*memstore.Store
	armed atomic.Bool
	do    func()
}

func (s *slipIn) View(ctx context.Context, ns dbfs.NamespaceID, fn func(server.ReadTx) error) error {
	err := s.Store.View(ctx, ns, fn)
	if s.armed.CompareAndSwap(true, false) {
		s.do()
	}
	return err
}

// A commit between a poll's look at the head and its sleep wakes it: who reads heads before
// subscribing would sleep through it.
func TestCommitWhileAPollLooks(t *testing.T) {
	store := &slipIn{Store: memstore.New()}
	w := newMetaWorld(t, store)
	d := w.Device(t, "admin")
	store.do = func() {
		_, err := d.Commit(t.Context(), d.Root, dbfs.Batch{Epoch: 1, Device: d.ID, Seq: 1, Ops: []dbfs.Op{{
			ID: dbfs.OpID{Device: d.ID, N: 1}, Type: dbfs.OpCreate, Node: dbfs.NodeID{1}, Name: "d", Kind: dbfs.KindDir,
		}}})
		if err != nil {
			t.Error(err)
		}
	}
	store.armed.Store(true)
	begin := time.Now()
	hint, err := d.Wait(t.Context(), map[dbfs.NamespaceID]dbfs.Cursor{d.Root: {Epoch: 1}}, time.Minute)
	if err != nil || !slices.Equal(hint.Changed, []dbfs.NamespaceID{d.Root}) || time.Since(begin) > 10*time.Second {
		t.Errorf("%+v, %v after %v", hint, err, time.Since(begin))
	}
}

// Polls that begin together end apart, none before 70 % of its time and none after all of
// it, and the herd hint grows with their number.
func TestPollsEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := server.New(memstore.New(), nil, server.Options{AcceptBudget: 10, Rand: rand.New(rand.NewPCG(1, 2)).Float64})
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := s.Bootstrap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := loginSession(t, s, token)
		list, err := d.Namespaces(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := map[dbfs.NamespaceID]dbfs.Cursor{list[0].ID: list[0].Cursor}
		const polls = 50
		begin := time.Now()
		ends := make(chan time.Duration, polls)
		for range polls {
			go func() {
				hint, err := d.Wait(t.Context(), at, 100*time.Second)
				if err != nil || hint.Herd > polls*time.Second/10 {
					t.Errorf("%+v, %v", hint, err)
				}
				ends <- time.Since(begin)
			}()
			synctest.Wait() // one draws at a time
		}
		seen := make(map[time.Duration]bool)
		for range polls {
			took := <-ends
			if took < 70*time.Second || took > 100*time.Second {
				t.Errorf("a poll for 100 s ended after %v", took)
			}
			seen[took] = true
		}
		if len(seen) < polls/2 {
			t.Errorf("%d polls ended at %d moments", polls, len(seen))
		}
		hint, err := d.Wait(t.Context(), at, 500*time.Second)
		if took := time.Since(begin); err != nil || took > 350*time.Second || hint.Herd != time.Second/10 {
			t.Errorf("a poll for ever: %+v, %v after %v", hint, err, took)
		}
	})
}
