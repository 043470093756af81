package dbfs

// KV is the ordered store with transactions that holds a client's metadata: tree,
// journal and book. Badger is one (package cache); a map is another, for tests.
type KV interface {
	// View runs fn on a consistent snapshot.
	View(fn func(Txn) error) error
	// Update runs fn and makes its writes visible all at once, or, if fn or the commit
	// fails, not at all. It survives the death of the process, and the loss of power
	// once Sync has returned. Updates of the same keys must not overlap. It may wait for
	// Views that began long before, so fn of a View must not lead to one.
	Update(fn func(Txn) error) error
	// Sync returns when every finished Update is on the disk.
	Sync() error
}

// Txn is a transaction of a KV. Keys and values are copied in and belong to the caller
// when handed out, except to Scan's function, which must not keep them.
type Txn interface {
	Get(key []byte) ([]byte, error) // ErrNotExist
	Set(key, value []byte) error
	Delete(key []byte) error
	// Scan calls fn with the keys that begin with prefix, in order, from the first key
	// after start on (nil: from the beginning), until fn returns false. It sees the
	// transaction's own writes.
	Scan(prefix, start []byte, fn func(key, value []byte) bool) error
}
