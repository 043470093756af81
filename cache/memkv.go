package cache

import (
	"bytes"
	"cmp"
	"hash/crc32"
	"sync"

	"github.com/dbfs/dbfs"
)

// MemKV is a dbfs.KV in memory, for tests and simulations. It keeps every version that
// somebody reads: its tree is never changed in place.
type MemKV struct {
	mu   sync.Mutex // guards root
	root *leaf
}

// NewMemKV returns an empty store.
func NewMemKV() *MemKV { return &MemKV{} }

func (m *MemKV) snapshot() *leaf {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root
}

// View implements dbfs.KV.
func (m *MemKV) View(fn func(dbfs.Txn) error) error {
	return fn(&memTxn{root: m.snapshot()})
}

// Update implements dbfs.KV.
func (m *MemKV) Update(fn func(dbfs.Txn) error) error {
	t := &memTxn{root: m.snapshot(), writes: []memWrite{}}
	if err := fn(t); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range t.writes {
		m.root = w.apply(m.root)
	}
	return nil
}

// Sync implements dbfs.KV: there is nothing to do.
func (m *MemKV) Sync() error { return nil }

type memTxn struct {
	root   *leaf      // the snapshot with the writes done
	writes []memWrite // nil: a View
}

type memWrite struct {
	key, value []byte
	gone       bool
}

func (w memWrite) apply(root *leaf) *leaf {
	if w.gone {
		return root.without(w.key)
	}
	return root.with(&leaf{key: w.key, value: w.value, rank: crc32.ChecksumIEEE(w.key)})
}

func (t *memTxn) write(w memWrite) error {
	switch {
	case t.writes == nil:
		return errView
	case len(w.key) == 0:
		return dbfs.ErrInvalid
	}
	t.writes = append(t.writes, w)
	t.root = w.apply(t.root)
	return nil
}

func (t *memTxn) Set(key, value []byte) error {
	return t.write(memWrite{key: bytes.Clone(key), value: bytes.Clone(value)})
}

func (t *memTxn) Delete(key []byte) error {
	return t.write(memWrite{key: bytes.Clone(key), gone: true})
}

func (t *memTxn) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, dbfs.ErrInvalid
	}
	for l := t.root; l != nil; {
		switch c := bytes.Compare(key, l.key); {
		case c < 0:
			l = l.left
		case c > 0:
			l = l.right
		default:
			return append([]byte{}, l.value...), nil
		}
	}
	return nil, dbfs.ErrNotExist
}

func (t *memTxn) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	t.root.scan(prefix, start, fn)
	return nil
}

// A leaf is a node of a treap: ordered by key, a heap by rank, never changed once it can
// be seen.
type leaf struct {
	key, value  []byte
	rank        uint32 // a hash of the key, so that the shape depends on nothing else
	left, right *leaf
}

// split cuts the tree into the keys before key and those after it; key itself goes.
func (l *leaf) split(key []byte) (before, after *leaf) {
	if l == nil {
		return nil, nil
	}
	c := *l
	switch d := bytes.Compare(key, l.key); {
	case d < 0:
		before, c.left = l.left.split(key)
		return before, &c
	case d > 0:
		c.right, after = l.right.split(key)
		return &c, after
	}
	return l.left, l.right
}

// join puts two trees together of which all keys of the first come before the second's.
func join(a, b *leaf) *leaf {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case cmp.Or(cmp.Compare(a.rank, b.rank), bytes.Compare(a.key, b.key)) > 0:
		c := *a
		c.right = join(a.right, b)
		return &c
	}
	c := *b
	c.left = join(a, b.left)
	return &c
}

func (l *leaf) with(n *leaf) *leaf {
	before, after := l.split(n.key)
	return join(join(before, n), after)
}

func (l *leaf) without(key []byte) *leaf { return join(l.split(key)) }

// scan reports whether fn wants more.
func (l *leaf) scan(prefix, start []byte, fn func(key, value []byte) bool) bool {
	if l == nil {
		return true
	}
	in := bytes.HasPrefix(l.key, prefix)
	later := in || bytes.Compare(l.key, prefix) > 0 // else nothing to the left is wanted
	after := bytes.Compare(l.key, start) > 0
	if later && after && !l.left.scan(prefix, start, fn) {
		return false
	}
	if in && after && !fn(l.key, l.value) {
		return false
	}
	if later && !in {
		return true // nothing to the right is wanted
	}
	return l.right.scan(prefix, start, fn)
}
