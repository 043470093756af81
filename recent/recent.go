// Package recent remembers what was looked at lately.
package recent

import "sync"

// A Map remembers some keys and their values: those used last, and about as many before them. It
// is for what can be had again, only slower. A nil Map remembers nothing. For concurrent use.
type Map[K comparable, V any] struct {
	most int

	mu    sync.Mutex // guards what follows
	now   map[K]V
	older map[K]V // those before; used ones come back
}

// New returns a Map of at most twice that many keys.
func New[K comparable, V any](most int) *Map[K, V] { return &Map[K, V]{most: most} }

// Get returns what is remembered of a key.
func (m *Map[K, V]) Get(key K) (v V, ok bool) {
	if m == nil {
		return v, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok = m.now[key]; ok {
		return v, true
	}
	if v, ok = m.older[key]; ok {
		m.keep(key, v)
	}
	return v, ok
}

// Keep remembers a value.
func (m *Map[K, V]) Keep(key K, v V) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(key, v)
}

// keep is called with mu held.
func (m *Map[K, V]) keep(key K, v V) {
	if m.now == nil || len(m.now) >= m.most {
		m.now, m.older = make(map[K]V), m.now
	}
	m.now[key] = v
}

// Forget forgets everything.
func (m *Map[K, V]) Forget() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.older = nil, nil
}
