package cache

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache/kvtest"
)

func openKV(t testing.TB, dir string) *KV {
	t.Helper()
	kv, err := OpenKV(dir, KVOptions{Memtable: 1 << 20, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestKV(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) dbfs.KV {
		kv := openKV(t, t.TempDir())
		t.Cleanup(func() { kv.Close() })
		return kv
	})
}

func TestMemKV(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) dbfs.KV { return NewMemKV() })
}

func TestKVLocked(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	defer kv.Close()
	_, err := OpenKV(dir, KVOptions{})
	if !errors.Is(err, dbfs.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second opener got %v", err)
	}
}

func TestKVReopens(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		kv := openKV(t, dir)
		err := kv.Update(func(txn dbfs.Txn) error {
			for j := range i {
				if _, err := txn.Get(fmt.Append(nil, "k", j)); err != nil {
					return err
				}
			}
			return txn.Set(fmt.Append(nil, "k", i), []byte("v"))
		})
		if err := errors.Join(err, kv.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKVTooLarge(t *testing.T) {
	kv := openKV(t, t.TempDir())
	defer kv.Close()
	err := kv.Update(func(txn dbfs.Txn) error {
		for i := range 64 {
			if err := txn.Set(fmt.Append(nil, "k", i), make([]byte, 64<<10)); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, dbfs.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestKVKeepsTheReserve(t *testing.T) {
	dir := t.TempDir()
	free, err := freeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := OpenKV(dir, KVOptions{Memtable: 1 << 20, Reserve: 2 * free})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	err = kv.Update(func(txn dbfs.Txn) error { return txn.Set([]byte("k"), nil) })
	if !errors.Is(err, dbfs.ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
}

// What was updated is there when the process was killed without a word.
func TestKVSurvivesTheProcess(t *testing.T) {
	const n = 500 // over more than one memtable
	dir := testDir(t)
	child(t, dir, func() {
		kv := openKV(t, dir)
		for i := range n {
			err := kv.Update(func(txn dbfs.Txn) error { return txn.Set(fmt.Append(nil, "k", i), make([]byte, 8<<10)) })
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	kv := openKV(t, dir)
	defer kv.Close()
	kv.View(func(txn dbfs.Txn) error {
		for i := range n {
			if b, err := txn.Get(fmt.Append(nil, "k", i)); err != nil || len(b) != 8<<10 {
				t.Errorf("key %d: %d bytes, %v", i, len(b), err)
			}
		}
		return nil
	})
}

// A Sync with nothing new does nothing; whatever was updated and not synced is synced by the
// next one, also if the one before failed, and also if that was another process's.
func TestKVSyncsWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	kv := openKV(t, dir)
	defer func() { kv.Close() }()
	update := func() {
		t.Helper()
		if err := kv.Update(func(txn dbfs.Txn) error { return txn.Set([]byte("k"), nil) }); err != nil {
			t.Fatal(err)
		}
	}
	syncs := func(want bool) {
		t.Helper()
		kv.flush = func(*logFile) error { return errors.New("it does something") }
		err := kv.Sync()
		if kv.flush = (*logFile).sync; (err != nil) != want {
			t.Errorf("synced: %v, want %v: %v", err != nil, want, err)
		}
	}
	works := func() {
		t.Helper()
		if err := kv.Sync(); err != nil {
			t.Error(err)
		}
	}
	syncs(true)
	works()
	syncs(false)
	update()
	syncs(true)
	syncs(true)
	works()
	syncs(false)
	failed := errors.New("no")
	if err := kv.Update(func(dbfs.Txn) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	works()
	update()
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	kv = openKV(t, dir)
	syncs(true)
}

func TestGroupShares(t *testing.T) {
	var g group
	var runs atomic.Int32
	gate, entered := make(chan struct{}), make(chan struct{})
	fail := errors.New("no")
	fn := func() error {
		if runs.Add(1) == 1 {
			close(entered)
		}
		<-gate
		return fail
	}
	var wg sync.WaitGroup
	call := func() {
		if err := g.do(fn); !errors.Is(err, fail) {
			t.Errorf("got %v", err)
		}
	}
	wg.Go(call)
	<-entered
	for range 20 { // all come during the first run: one of them leads the second
		wg.Go(call)
	}
	for joined := false; !joined; {
		g.mu.Lock()
		joined = g.next != nil
		g.mu.Unlock()
	}
	close(gate)
	wg.Wait()
	if got := runs.Load(); got < 2 || got > 21 {
		t.Errorf("%d runs", got)
	}
}

func BenchmarkKVUpdate(b *testing.B) {
	kv := openKV(b, b.TempDir())
	defer kv.Close()
	value := make([]byte, 200)
	for i := 0; b.Loop(); i++ {
		err := kv.Update(func(txn dbfs.Txn) error { return txn.Set(fmt.Append(nil, "k", i), value) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKVSync(b *testing.B) {
	kv := openKV(b, b.TempDir())
	defer kv.Close()
	for i := 0; b.Loop(); i++ {
		err := kv.Update(func(txn dbfs.Txn) error { return txn.Set(fmt.Append(nil, "k", i), nil) })
		if err := errors.Join(err, kv.Sync()); err != nil {
			b.Fatal(err)
		}
	}
}
