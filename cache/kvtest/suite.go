// Package kvtest says by tests what a dbfs.KV must do. Every implementation runs it.
package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/dbfs/dbfs"
)

// Run tests a KV; open returns an empty one each time.
func Run(t *testing.T, open func(t *testing.T) dbfs.KV) {
	for _, c := range []struct {
		name string
		fn   func(*testing.T, dbfs.KV)
	}{
		{"GetSetDelete", getSetDelete},
		{"FailedUpdate", failedUpdate},
		{"Scan", scan},
		{"ScanOwnWrites", scanOwnWrites},
		{"ScanWithin", scanWithin},
		{"Snapshot", snapshot},
		{"Copies", copies},
		{"ViewRefusesWrites", viewRefusesWrites},
		{"Concurrent", concurrent},
		{"History", history},
	} {
		t.Run(c.name, func(t *testing.T) { c.fn(t, open(t)) })
	}
}

func put(t *testing.T, kv dbfs.KV, pairs ...string) {
	t.Helper()
	err := kv.Update(func(txn dbfs.Txn) error { return set(txn, pairs...) })
	if err != nil {
		t.Fatal(err)
	}
}

func set(txn dbfs.Txn, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := txn.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// get returns the value of a key, or "-" if it is not there.
func get(t *testing.T, kv dbfs.KV, key string) string {
	t.Helper()
	v := "-"
	err := kv.View(func(txn dbfs.Txn) error {
		b, err := txn.Get([]byte(key))
		if errors.Is(err, dbfs.ErrNotExist) {
			return nil
		}
		v = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// failer is what *testing.T and *rapid.T have in common here.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func keys(t failer, txn dbfs.Txn, prefix, start string, limit int) []string {
	t.Helper()
	var got []string
	var from []byte
	if start != "" {
		from = []byte(start)
	}
	err := txn.Scan([]byte(prefix), from, func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return len(got) != limit
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func getSetDelete(t *testing.T, kv dbfs.KV) {
	if got := get(t, kv, "a"); got != "-" {
		t.Errorf("absent key: %q", got)
	}
	put(t, kv, "a", "1", "b", "", "c", "3")
	put(t, kv, "a", "2")
	err := kv.Update(func(txn dbfs.Txn) error {
		return errors.Join(txn.Delete([]byte("c")), txn.Delete([]byte("never")))
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "2", "b": "", "c": "-"} {
		if got := get(t, kv, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	if err := kv.Sync(); err != nil {
		t.Error(err)
	}
}

func failedUpdate(t *testing.T, kv dbfs.KV) {
	put(t, kv, "a", "1")
	fail := errors.New("no")
	err := kv.Update(func(txn dbfs.Txn) error {
		return errors.Join(set(txn, "a", "2", "b", "2"), txn.Delete([]byte("a")), fail)
	})
	if !errors.Is(err, fail) {
		t.Errorf("got %v, want the error of fn", err)
	}
	if a, b := get(t, kv, "a"), get(t, kv, "b"); a != "1" || b != "-" {
		t.Errorf("a %q, b %q after a failed update", a, b)
	}
}

func scan(t *testing.T, kv dbfs.KV) {
	put(t, kv, "a", "0", "b", "1", "b1", "2", "b2", "3", "b\xff", "4", "b\xff\xff", "5", "c", "6")
	for _, c := range []struct {
		prefix, start string
		limit         int
		want          []string
	}{
		{"", "", 0, []string{"a=0", "b=1", "b1=2", "b2=3", "b\xff=4", "b\xff\xff=5", "c=6"}},
		{"b", "", 0, []string{"b=1", "b1=2", "b2=3", "b\xff=4", "b\xff\xff=5"}},
		{"b", "b", 0, []string{"b1=2", "b2=3", "b\xff=4", "b\xff\xff=5"}},
		{"b", "b1", 2, []string{"b2=3", "b\xff=4"}},
		{"b", "b11", 1, []string{"b2=3"}},
		{"b", "a", 1, []string{"b=1"}},
		{"b", "c", 0, nil},
		{"b\xff", "", 0, []string{"b\xff=4", "b\xff\xff=5"}},
		{"b", "", 1, []string{"b=1"}},
		{"x", "", 0, nil},
	} {
		check := func(txn dbfs.Txn) error {
			if got := keys(t, txn, c.prefix, c.start, c.limit); !slices.Equal(got, c.want) {
				t.Errorf("scan %q after %q: got %q, want %q", c.prefix, c.start, got, c.want)
			}
			return nil
		}
		if err := errors.Join(kv.View(check), kv.Update(check)); err != nil {
			t.Fatal(err)
		}
	}
}

func scanOwnWrites(t *testing.T, kv dbfs.KV) {
	put(t, kv, "k1", "old", "k2", "old", "k4", "old")
	err := kv.Update(func(txn dbfs.Txn) error {
		err := errors.Join(set(txn, "k1", "new", "k3", "new"), txn.Delete([]byte("k2")))
		want := []string{"k1=new", "k3=new", "k4=old"}
		if got := keys(t, txn, "k", "", 0); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if b, err := txn.Get([]byte("k3")); string(b) != "new" || err != nil {
			t.Errorf("own write: %q, %v", b, err)
		}
		if _, err := txn.Get([]byte("k2")); !errors.Is(err, dbfs.ErrNotExist) {
			t.Errorf("own delete: %v", err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// scanWithin scans and writes inside a scan, over more keys than anybody would fetch at once.
func scanWithin(t *testing.T, kv dbfs.KV) {
	const n = 300
	err := kv.Update(func(txn dbfs.Txn) error {
		for i := range n {
			if err := set(txn, fmt.Sprintf("k%03d", i), "old", fmt.Sprintf("x%03d", i), "old"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = kv.Update(func(txn dbfs.Txn) error {
		var inner error
		err := txn.Scan([]byte("k"), nil, func(k, _ []byte) bool {
			if got := keys(t, txn, "x"+string(k[1:]), "", 0); len(got) != 1 {
				t.Errorf("inner scan at %s: %q", k, got)
			}
			inner = errors.Join(txn.Set(k, []byte("new")), txn.Delete(append([]byte("x"), k[1:]...)))
			seen++
			return inner == nil
		})
		return errors.Join(err, inner)
	})
	if err != nil || seen != n {
		t.Fatalf("saw %d keys, want %d: %v", seen, n, err)
	}
	kv.View(func(txn dbfs.Txn) error {
		if got := keys(t, txn, "x", "", 0); got != nil {
			t.Errorf("%d keys left", len(got))
		}
		return nil
	})
}

func snapshot(t *testing.T, kv dbfs.KV) {
	put(t, kv, "a", "1")
	err := kv.View(func(txn dbfs.Txn) error {
		put(t, kv, "a", "2", "b", "2")
		if got := keys(t, txn, "", "", 0); !slices.Equal(got, []string{"a=1"}) {
			t.Errorf("a view saw a later update: %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, kv, "b"); got != "2" {
		t.Errorf("after the view: %q", got)
	}
}

func copies(t *testing.T, kv dbfs.KV) {
	key, value := []byte("key"), []byte("value")
	err := kv.Update(func(txn dbfs.Txn) error {
		err := txn.Set(key, value)
		copy(key, "xxx")
		copy(value, "xxxxx")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kv.View(func(txn dbfs.Txn) error {
		b, err := txn.Get([]byte("key"))
		if string(b) != "value" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		copy(b, "yyyyy")
		return nil
	})
	if got := get(t, kv, "key"); got != "value" {
		t.Errorf("got %q after its reader changed it", got)
	}
}

func viewRefusesWrites(t *testing.T, kv dbfs.KV) {
	kv.View(func(txn dbfs.Txn) error {
		if err := txn.Set([]byte("a"), nil); err == nil {
			t.Error("Set in a view")
		}
		if err := txn.Delete([]byte("a")); err == nil {
			t.Error("Delete in a view")
		}
		return nil
	})
	err := kv.Update(func(txn dbfs.Txn) error {
		if err := txn.Set(nil, nil); !errors.Is(err, dbfs.ErrInvalid) {
			t.Errorf("empty key: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func concurrent(t *testing.T, kv dbfs.KV) {
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				k := fmt.Sprintf("w%d", w)
				err := kv.Update(func(txn dbfs.Txn) error { return set(txn, k, fmt.Sprint(i), k+"x", fmt.Sprint(i)) })
				if err == nil && i%10 == 0 {
					err = kv.Sync()
				}
				if err != nil {
					t.Error(err)
					return
				}
				kv.View(func(txn dbfs.Txn) error {
					for _, k := range keys(t, txn, k, "", 0) {
						if !bytes.HasSuffix([]byte(k), fmt.Appendf(nil, "=%d", i)) {
							t.Errorf("after update %d: %s", i, k)
						}
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
	kv.View(func(txn dbfs.Txn) error {
		if got := len(keys(t, txn, "w", "", 0)); got != 2*workers {
			t.Errorf("%d keys, want %d", got, 2*workers)
		}
		return nil
	})
}

// history does random updates and scans and compares with a map.
func history(t *testing.T, kv dbfs.KV) {
	model := map[string]string{}
	key := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 1, 4, -1).Draw(t, "key")
	})
	rapid.Check(t, func(t *rapid.T) {
		ops := rapid.SliceOfN(key, 0, 20).Draw(t, "keys")
		fails := rapid.Bool().Draw(t, "fails")
		next := map[string]string{}
		for k, v := range model {
			next[k] = v
		}
		fail := errors.New("no")
		err := kv.Update(func(txn dbfs.Txn) error {
			for i, k := range ops {
				if i%3 == 2 {
					delete(next, k)
					txn.Delete([]byte(k))
				} else {
					next[k] = fmt.Sprint(i)
					txn.Set([]byte(k), []byte(next[k]))
				}
			}
			if got, want := keys(t, txn, "", "", 0), pairs(next, "", ""); !slices.Equal(got, want) {
				t.Fatalf("inside: got %q, want %q", got, want)
			}
			if fails {
				return fail
			}
			return nil
		})
		if fails != errors.Is(err, fail) {
			t.Fatal(err)
		}
		if !fails {
			model = next
		}
		prefix, start := rapid.SampledFrom([]string{"", "a", "ab", "c"}).Draw(t, "prefix"), key.Draw(t, "start")
		kv.View(func(txn dbfs.Txn) error {
			if got, want := keys(t, txn, prefix, start, 0), pairs(model, prefix, start); !slices.Equal(got, want) {
				t.Fatalf("scan %q after %q: got %q, want %q", prefix, start, got, want)
			}
			return nil
		})
	})
}

func pairs(m map[string]string, prefix, start string) []string {
	var out []string
	for k, v := range m {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix && k > start {
			out = append(out, k+"="+v)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		ka, _, _ := bytes.Cut([]byte(a), []byte("="))
		kb, _, _ := bytes.Cut([]byte(b), []byte("="))
		return bytes.Compare(ka, kb)
	})
	return out
}
