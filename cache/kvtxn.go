package cache

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/dbfs/dbfs"
)

// kvView is a transaction that reads: the layers as they were at a seq, over Badger. What it sees
// of Badger does not change, since a layer is not written there before those have left who
// began while it was the newest.
type kvView struct {
	k      *KV
	seq    uint64
	layers []*layer

	mu    sync.Mutex  // guards what follows
	below *badger.Txn // nil: nobody has asked for what is only there
}

func (k *KV) begin() *kvView {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.layers[len(k.layers)-1].readers++
	return &kvView{k: k, seq: k.seq, layers: k.layers}
}

func (v *kvView) end() {
	if v.below != nil {
		v.below.Discard()
	}
	v.k.mu.Lock()
	defer v.k.mu.Unlock()
	newest := v.layers[len(v.layers)-1]
	if newest.readers--; newest.readers == 0 && newest != v.k.layers[len(v.k.layers)-1] {
		v.k.moved.Broadcast()
	}
}

func (v *kvView) badger() (*badger.Txn, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.k.db.IsClosed() {
		return nil, badger.ErrDBClosed
	}
	if v.below == nil {
		v.below = v.k.db.NewTransaction(false)
	}
	return v.below, nil
}

func (v *kvView) Get(key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(v.layers) {
		value, deleted, found := l.get(key, v.seq)
		switch {
		case deleted:
			return nil, dbfs.ErrNotExist
		case found:
			return append(make([]byte, 0, len(value)), value...), nil
		}
	}
	below, err := v.badger()
	if err != nil {
		return nil, err
	}
	item, err := below.Get(key)
	if err != nil {
		return nil, kvError(err)
	}
	b, err := item.ValueCopy(nil)
	return b, kvError(err)
}

// checkKey refuses what Badger would not take.
func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > maxKey || strings.HasPrefix(string(key[:min(len(key), 8)]), "!badger!") {
		return fmt.Errorf("%w: a key of %d bytes", dbfs.ErrInvalid, len(key))
	}
	return nil
}

func (v *kvView) Set(_, _ []byte) error { return errView }
func (v *kvView) Delete(_ []byte) error { return errView }

var errView = fmt.Errorf("%w: a write in a View", dbfs.ErrInvalid)

func (v *kvView) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	return v.scan(nil, prefix, start, fn)
}

// scan looks at own before the rest.
func (v *kvView) scan(own []orderedKeys, prefix, start []byte, fn func(key, value []byte) bool) error {
	from := after(prefix, start)
	below, err := v.badger()
	if err != nil {
		return err
	}
	sources := own
	for _, l := range slices.Backward(v.layers) {
		sources = append(sources, l.keys(from, v.seq))
	}
	sources = append(sources, newBadgerKeys(below, prefix, from))
	return merge(prefix, sources, fn)
}

// after returns the first key that may come after start and has a prefix.
func after(prefix, start []byte) []byte {
	if bytes.Compare(start, prefix) < 0 {
		return prefix
	}
	return append(bytes.Clone(start), 0)
}

// kvUpdate is a transaction that also writes. What it writes is put together as a record at once.
type kvUpdate struct {
	*kvView
	rec     []byte
	changes []ownChange    // in the order in which they were made
	index   map[string]int // the last change of each key; nil while there are few
	room    int64          // what they take in a layer, at most
}

// ownChange is a change in the record.
type ownChange struct {
	key, value int // where they begin; the key ends where the value begins
	end        int
	deleted    bool
}

// fewChanges are looked through one by one.
const fewChanges = 12

func newUpdate(v *kvView) *kvUpdate {
	return &kvUpdate{kvView: v, rec: make([]byte, recordHeadLen, 1<<10)}
}

// run calls fn, which may read. Who then waits for room must not be one of those whom that waits for.
func (u *kvUpdate) run(fn func(dbfs.Txn) error) error {
	defer u.end()
	return fn(u)
}

func (u *kvUpdate) key(c ownChange) []byte { return u.rec[c.key:c.value:c.value] }

// value returns nil for a key that is deleted.
func (u *kvUpdate) value(c ownChange) []byte {
	if c.deleted {
		return nil
	}
	return u.rec[c.value:c.end:c.end]
}

func (u *kvUpdate) Set(key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return u.change(key, value)
}

func (u *kvUpdate) Delete(key []byte) error { return u.change(key, nil) }

func (u *kvUpdate) change(key, value []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if u.room += entryRoom(key, value); u.room > u.k.room/2 {
		return fmt.Errorf("%w: transaction", dbfs.ErrTooLarge)
	}
	u.rec = appendChange(u.rec, key, value)
	end := len(u.rec)
	at := end - len(value)
	u.changes = append(u.changes, ownChange{key: at - len(key), value: at, end: end, deleted: value == nil})
	if u.index != nil {
		u.index[string(key)] = len(u.changes) - 1
	} else if len(u.changes) > fewChanges {
		u.index = make(map[string]int)
		for i, c := range u.changes {
			u.index[string(u.key(c))] = i
		}
	}
	return nil
}

// last returns the last change of a key.
func (u *kvUpdate) last(key []byte) (ownChange, bool) {
	if u.index != nil {
		i, ok := u.index[string(key)]
		if !ok {
			return ownChange{}, false
		}
		return u.changes[i], true
	}
	for _, c := range slices.Backward(u.changes) {
		if bytes.Equal(u.key(c), key) {
			return c, true
		}
	}
	return ownChange{}, false
}

func (u *kvUpdate) Get(key []byte) ([]byte, error) {
	c, ok := u.last(key)
	switch {
	case !ok:
		return u.kvView.Get(key)
	case c.deleted:
		return nil, dbfs.ErrNotExist
	}
	return append(make([]byte, 0, c.end-c.value), u.value(c)...), nil
}

// Scan sees what was written before it began; fn may scan and write as well.
func (u *kvUpdate) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	return u.scan([]orderedKeys{u.keys(prefix, after(prefix, start))}, prefix, start, fn)
}

// keys returns the own writes that have a prefix, from a key on.
func (u *kvUpdate) keys(prefix, from []byte) *ownKeys {
	s := &ownKeys{u: u}
	for i, c := range u.changes {
		if k := u.key(c); hasPrefix(k, prefix) && bytes.Compare(k, from) >= 0 {
			s.order = append(s.order, i)
		}
	}
	slices.SortFunc(s.order, func(a, b int) int {
		return cmp.Or(bytes.Compare(u.key(u.changes[a]), u.key(u.changes[b])), b-a)
	})
	s.order = slices.CompactFunc(s.order, func(a, b int) bool { // the last change is the first of its key
		return bytes.Equal(u.key(u.changes[a]), u.key(u.changes[b]))
	})
	return s
}

type ownKeys struct {
	u     *kvUpdate
	order []int // in changes
}

func (s *ownKeys) valid() bool { return len(s.order) > 0 }
func (s *ownKeys) key() []byte { return s.u.key(s.u.changes[s.order[0]]) }
func (s *ownKeys) next()       { s.order = s.order[1:] }
func (s *ownKeys) close()      {}

func (s *ownKeys) value() ([]byte, bool, error) {
	c := s.u.changes[s.order[0]]
	return s.u.value(c), c.deleted, nil
}
