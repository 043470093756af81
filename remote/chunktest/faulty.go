package chunktest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
)

// A Call is a method of a chunk store.
type Call string

const (
	Check Call = "check"
	Put   Call = "put"
	Get   Call = "get"
)

// A Fault is an order to fail. It strikes the Nth call of its kind from the order on, and
// the Times-1 after it. What happens, in this order: the delay, the error (before the real
// call, which then is not made, or After it, so that its effect is there but not its
// answer), the damage to the bytes that Get returns.
type Fault struct {
	On    Call
	Nth   int // from 1; zero means 1
	Times int // zero means 1; negative: for ever
	Delay time.Duration
	Err   error // nil: the call is made and answered
	After bool
	Flip  bool // one bit of the middle byte is wrong
	Short bool // the second half is missing
}

// Faulty passes calls on to another store and fails on order. Without orders it is as good
// as that store.
type Faulty struct {
	store dbfs.ChunkStore

	mu     sync.Mutex // guards what follows
	orders []Fault    // Nth counts down to 1, then Times to 0
	calls  map[Call]int
}

// NewFaulty returns a store in front of another.
func NewFaulty(store dbfs.ChunkStore) *Faulty {
	return &Faulty{store: store, calls: make(map[Call]int)}
}

// Order adds an order to those not yet carried out.
func (f *Faulty) Order(fault Fault) {
	fault.Nth = max(fault.Nth, 1)
	if fault.Times == 0 {
		fault.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, fault)
}

// Mend drops all orders.
func (f *Faulty) Mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = nil
}

// Calls returns how often a method was called, failed calls included.
func (f *Faulty) Calls(call Call) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

// Check asks the other store, or fails.
func (f *Faulty) Check(ctx context.Context, ns dbfs.NamespaceID, refs []dbfs.ChunkRef) ([]dbfs.Receipt, error) {
	return pass(ctx, f.take(Check), func() ([]dbfs.Receipt, error) { return f.store.Check(ctx, ns, refs) })
}

// Put stores in the other store, or fails.
func (f *Faulty) Put(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef, raw []byte) (dbfs.Receipt, error) {
	return pass(ctx, f.take(Put), func() (dbfs.Receipt, error) { return f.store.Put(ctx, ns, ref, raw) })
}

// Get reads from the other store, or fails.
func (f *Faulty) Get(ctx context.Context, ns dbfs.NamespaceID, ref dbfs.ChunkRef) ([]byte, error) {
	fault := f.take(Get)
	b, err := pass(ctx, fault, func() ([]byte, error) { return f.store.Get(ctx, ns, ref) })
	if fault.Flip && len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	if fault.Short {
		b = b[:len(b)/2]
	}
	return b, err
}

// take counts a call and returns the fault that strikes it; the zero Fault is none.
func (f *Faulty) take(call Call) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[call]++
	var hit Fault
	for i := range f.orders {
		o := &f.orders[i]
		switch {
		case o.On != call:
		case o.Nth > 1:
			o.Nth--
		case hit.On == "":
			hit = *o
			o.Times--
		}
	}
	f.orders = slices.DeleteFunc(f.orders, func(o Fault) bool { return o.Times == 0 })
	return hit
}

func pass[T any](ctx context.Context, fault Fault, call func() (T, error)) (T, error) {
	var none T
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	if fault.Err == nil {
		return call()
	}
	if fault.After {
		call()
	}
	return none, fault.Err
}
