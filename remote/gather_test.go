package remote

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dbfs/dbfs"
)

// calls records how many questions each call had.
type calls struct {
	mu    sync.Mutex
	sizes []int
}

func (c *calls) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes = append(c.sizes, n)
}

// doubling answers each question with its double, after a while.
func doubling(c *calls, took time.Duration) *gather[int, int] {
	return &gather[int, int]{most: 40, lanes: 2, call: func(ctx context.Context, ns dbfs.NamespaceID, qs []int) ([]int, error) {
		c.add(len(qs))
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		as := make([]int, len(qs))
		for i, q := range qs {
			as[i] = 2 * q
		}
		return as, nil
	}}
}

func TestGatherTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		g := doubling(&c, time.Second)
		start := time.Now()
		for i := range 64 {
			go func() {
				if got, err := g.ask(t.Context(), 1, i); got != 2*i || err != nil {
					t.Errorf("answer to %d: %d, %v", i, got, err)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if len(c.sizes) > 4 || slices.Max(c.sizes) > g.most {
			t.Errorf("calls of %v questions; want at most two rounds of two calls, of %d each", c.sizes, g.most)
		}
		if got, err := g.ask(t.Context(), 1, 7); got != 14 || err != nil {
			t.Errorf("a later question: %d, %v", got, err)
		}
		if got, want := time.Since(start), 3*time.Second+time.Millisecond; got != want {
			t.Errorf("took %v, want %v: nobody waits for company", got, want)
		}
		synctest.Wait()
		if len(g.lines) != 0 {
			t.Errorf("%d lines are left when nobody waits", len(g.lines))
		}
	})
}

func TestGatherKeepsNamespacesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[dbfs.NamespaceID][]int{}
		g := &gather[int, int]{most: 10, lanes: 1, call: func(_ context.Context, ns dbfs.NamespaceID, qs []int) ([]int, error) {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			seen[ns] = append(seen[ns], qs...)
			return qs, nil
		}}
		for i := range 20 {
			go g.ask(t.Context(), dbfs.NamespaceID(i%2), i)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for ns, qs := range seen {
			for _, q := range qs {
				if dbfs.NamespaceID(q%2) != ns {
					t.Errorf("question %d was asked in namespace %d", q, ns)
				}
			}
		}
		if len(seen[0]) != 10 || len(seen[1]) != 10 {
			t.Errorf("asked: %v", seen)
		}
	})
}

func TestGatherErrorIsForAll(t *testing.T) {
	boom := errors.New("boom")
	g := &gather[int, int]{most: 10, lanes: 1, call: func(context.Context, dbfs.NamespaceID, []int) ([]int, error) { return nil, boom }}
	for i := range 3 {
		if _, err := g.ask(t.Context(), 1, i); err != boom {
			t.Errorf("question %d: %v, want boom", i, err)
		}
	}
}

func TestGatherWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		g := doubling(&c, time.Minute)
		g.lanes = 1
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results := make(chan error, 3)
		ask := func(ctx context.Context, q int) {
			go func() { _, err := g.ask(ctx, 1, q); results <- err }()
			synctest.Wait()
		}
		ask(impatient, 1)   // alone in the first call, which ends when it leaves
		ask(impatient, 2)   // leaves while it waits for the second
		ask(t.Context(), 3) // is alone in that
		for _, want := range []error{context.DeadlineExceeded, context.DeadlineExceeded, nil} {
			if err := <-results; !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if want := []int{1, 1}; !slices.Equal(c.sizes, want) {
			t.Errorf("calls of %v questions, want %v", c.sizes, want)
		}
	})
}

// TestGatherOneLeaves: the others of the same call still get their answers.
func TestGatherOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		g := doubling(&c, time.Minute)
		g.lanes = 1
		impatient, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		results := make([]error, 3)
		for i, ctx := range []context.Context{t.Context(), impatient, t.Context()} {
			go func() { _, results[i] = g.ask(ctx, 1, i) }()
			synctest.Wait()
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if results[0] != nil || !errors.Is(results[1], context.DeadlineExceeded) || results[2] != nil {
			t.Errorf("answers: %v", results)
		}
	})
}
