package cache

import (
	"encoding/binary"
	"math"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/skl"
	"github.com/dgraph-io/badger/v4/y"
)

// A layer is what was updated lately, in memory and, for the case of a crash, in a logFile. A KV has
// one that is written to, perhaps one or two full ones which are on their way into Badger,
// and Badger below them. Each version of a key is there, marked with the seq of the Update it is from, so
// that a reader goes on seeing what there was when it began. It is Badger's own skip list:
// one writer, readers that take no lock, and one piece of memory that the garbage collector does not look into.
type layer struct {
	list    *skl.Skiplist
	log     *logFile
	readers int // that began while it was the newest; guarded by KV.mu
}

const (
	metaDeleted = 1        // of the list's values
	maxKey      = 60 << 10 // bytes; the list counts them in 16 bits, with the seq
)

// entryRoom is what a change takes in the list at most.
func entryRoom(key, value []byte) int64 {
	return int64(skl.MaxNodeSize + 8 + len(key) + 8 + len(value) + 16)
}

// versioned appends a key as the list has it: its versions one after the other, the newest first.
func versioned(b, key []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, key...), math.MaxUint64-seq)
}

// put is called by one goroutine at a time. A nil value: the key is deleted.
func (l *layer) put(key, value []byte, seq uint64) {
	v := y.ValueStruct{Value: value}
	if value == nil {
		v.Meta = metaDeleted
	}
	var buf [128]byte
	l.list.Put(versioned(buf[:0], key, seq), v)
}

// get returns the last version up to a seq; not found: the layer says nothing about the key. The value belongs to the layer.
func (l *layer) get(key []byte, seq uint64) (value []byte, deleted, found bool) {
	var buf [128]byte
	v := l.list.Get(versioned(buf[:0], key, seq))
	return v.Value, v.Meta == metaDeleted, v.Version != 0
}

// orderedKeys are keys in order, from a layer, from Badger, or from a transaction's own writes. Key and value belong to it.
type orderedKeys interface {
	valid() bool
	key() []byte
	value() (b []byte, deleted bool, err error)
	next()
	close()
}

// layerKeys shows a layer as it was at a seq.
type layerKeys struct {
	it  *skl.Iterator
	seq uint64
}

func (l *layer) keys(from []byte, seq uint64) *layerKeys {
	s := &layerKeys{l.list.NewIterator(), seq}
	s.it.Seek(versioned(nil, from, math.MaxUint64))
	s.settle()
	return s
}

// settle goes on to a version that there was.
func (s *layerKeys) settle() {
	for s.it.Valid() && y.ParseTs(s.it.Key()) > s.seq {
		s.it.Next()
	}
}

func (s *layerKeys) valid() bool { return s.it.Valid() }
func (s *layerKeys) key() []byte { return y.ParseKey(s.it.Key()) }
func (s *layerKeys) close()      { s.it.Close() }

func (s *layerKeys) value() ([]byte, bool, error) {
	v := s.it.Value()
	return v.Value, v.Meta == metaDeleted, nil
}

func (s *layerKeys) next() {
	was := s.key()
	for s.it.Next(); s.it.Valid() && string(s.key()) == string(was); {
		s.it.Next()
	}
	s.settle()
}

// badgerKeys shows what lies below all layers.
type badgerKeys struct {
	it  *badger.Iterator
	buf []byte
}

func newBadgerKeys(t *badger.Txn, prefix, from []byte) *badgerKeys {
	// Values are in the tables: fetching them ahead gains nothing.
	s := &badgerKeys{it: t.NewIterator(badger.IteratorOptions{Prefix: prefix})}
	s.it.Seek(from)
	return s
}

func (s *badgerKeys) valid() bool { return s.it.Valid() }
func (s *badgerKeys) key() []byte { return s.it.Item().Key() }
func (s *badgerKeys) next()       { s.it.Next() }
func (s *badgerKeys) close()      { s.it.Close() }

func (s *badgerKeys) value() (_ []byte, deleted bool, err error) {
	s.buf, err = s.it.Item().ValueCopy(s.buf)
	return s.buf, false, kvError(err)
}

// merge calls fn with the keys of all sources that have a prefix, in order, until it returns false. Of a key that several have
// the first source's value counts. It closes them.
func merge(prefix []byte, sources []orderedKeys, fn func(key, value []byte) bool) error {
	defer func() {
		for _, s := range sources {
			s.close()
		}
	}()
	for {
		first := -1
		for i, s := range sources {
			if s.valid() && hasPrefix(s.key(), prefix) && (first < 0 || string(s.key()) < string(sources[first].key())) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		key := sources[first].key()
		for _, s := range sources[first+1:] {
			if s.valid() && string(s.key()) == string(key) {
				s.next()
			}
		}
		value, deleted, err := sources[first].value()
		if err != nil {
			return err
		}
		if !deleted && !fn(key, value) {
			return nil
		}
		sources[first].next()
	}
}

func hasPrefix(key, prefix []byte) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == string(prefix)
}
