package chunktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
)

func TestMem(t *testing.T) {
	Chunks(t, func(t *testing.T) Place { return Place{new(Mem), 1, 2} })
}

func TestFaultyWithoutOrders(t *testing.T) {
	Chunks(t, func(t *testing.T) Place { return Place{NewFaulty(new(Mem)), 1, 2} })
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	ref, b := Noise(100, 1)
	put := func(f *Faulty) error { _, err := f.Put(context.Background(), 1, ref, b); return err }
	has := func(m *Mem) bool { return m.Len() == 1 }
	tests := []struct {
		name   string
		fault  Fault
		errs   []error // of three puts
		stored []bool  // after each
	}{
		{"first call, before its effect", Fault{On: Put, Err: boom}, []error{boom, nil, nil}, []bool{false, true, true}},
		{"first call, after its effect", Fault{On: Put, Err: boom, After: true}, []error{boom, nil, nil}, []bool{true, true, true}},
		{"second call", Fault{On: Put, Nth: 2, Err: boom}, []error{nil, boom, nil}, []bool{true, true, true}},
		{"two calls", Fault{On: Put, Times: 2, Err: boom}, []error{boom, boom, nil}, []bool{false, false, true}},
		{"for ever", Fault{On: Put, Times: -1, Err: boom}, []error{boom, boom, boom}, []bool{false, false, false}},
		{"another call", Fault{On: Get, Err: boom}, []error{nil, nil, nil}, []bool{true, true, true}},
	}
	for _, test := range tests {
		m := new(Mem)
		f := NewFaulty(m)
		f.Order(test.fault)
		for i := range test.errs {
			if err := put(f); err != test.errs[i] || has(m) != test.stored[i] {
				t.Errorf("%s, put %d: %v, stored: %v; want %v, %v", test.name, i+1, err, has(m), test.errs[i], test.stored[i])
			}
		}
		if f.Calls(Put) != 3 {
			t.Errorf("%s: %d calls counted", test.name, f.Calls(Put))
		}
	}
}

func TestFaultyBytes(t *testing.T) {
	f := NewFaulty(new(Mem))
	ref, b := Noise(100, 1)
	if _, err := f.Put(t.Context(), 1, ref, b); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []Fault{{On: Get, Flip: true}, {On: Get, Short: true}} {
		f.Order(fault)
		got, err := f.Get(t.Context(), 1, ref)
		if err != nil || ref.Verify(got) == nil {
			t.Errorf("%+v: %v, and the bytes are good: %v", fault, err, ref.Verify(got) == nil)
		}
		mustGet(t, Place{Store: f, NS: 1}, ref, b)
	}
}

func TestFaultyDelay(t *testing.T) {
	f := NewFaulty(new(Mem))
	f.Order(Fault{On: Get, Delay: time.Hour, Times: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ref, _ := Noise(100, 1)
	if _, err := f.Get(ctx, 1, ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
	f.Mend()
	if _, err := f.Get(t.Context(), 1, ref); !errors.Is(err, dbfs.ErrNotExist) {
		t.Errorf("mended: %v, want ErrNotExist", err)
	}
}
