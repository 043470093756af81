package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dbfs/dbfs"
)

// rows is an ordered store in memory that can take back what was last done to it. It is
// for one goroutine.
type rows struct {
	keys    []string // sorted
	values  map[string][]byte
	undo    []change // oldest first; what a rollback takes back
	keep    bool     // undo beyond the end of a transaction
	writing bool     // an Update is under way
}

// A change is what a key was before it was written.
type change struct {
	key string
	old []byte // nil: it was not there
}

func newRows() *rows { return &rows{values: make(map[string][]byte)} }

// clone returns a copy that goes its own way.
func (r *rows) clone() *rows {
	c := &rows{keys: slices.Clone(r.keys), values: make(map[string][]byte, len(r.values))}
	for k, v := range r.values {
		c.values[k] = v
	}
	return c
}

func (r *rows) put(key string, value []byte) {
	old, there := r.values[key]
	if value == nil && !there {
		return
	}
	r.undo = append(r.undo, change{key, old})
	r.set(key, value, there)
}

func (r *rows) set(key string, value []byte, there bool) {
	switch {
	case value == nil:
		delete(r.values, key)
		i, _ := slices.BinarySearch(r.keys, key)
		r.keys = slices.Delete(r.keys, i, i+1)
	case !there:
		i, _ := slices.BinarySearch(r.keys, key)
		r.keys = slices.Insert(r.keys, i, key)
		fallthrough
	default:
		r.values[key] = value
	}
}

// rollback takes back all changes but the first n.
func (r *rows) rollback(n int) {
	for len(r.undo) > n {
		c := r.undo[len(r.undo)-1]
		r.undo = r.undo[:len(r.undo)-1]
		_, there := r.values[c.key]
		r.set(c.key, c.old, there)
	}
}

// update runs fn, and takes back what it did if it fails.
func (r *rows) update(fn func(dbfs.Txn) error) error {
	if r.writing {
		panic("sim: a transaction within a transaction")
	}
	r.writing = true
	defer func() { r.writing = false }()
	begin := len(r.undo)
	done := false
	defer func() {
		if !done {
			r.rollback(begin)
		}
	}()
	if err := fn(txn{r, true}); err != nil {
		return err
	}
	done = true
	if !r.keep {
		r.undo = r.undo[:0]
	}
	return nil
}

// txn is a transaction of rows. What it hands out is not copied: nobody changes it.
type txn struct {
	r     *rows
	write bool
}

func (t txn) Get(key []byte) ([]byte, error) {
	if v, ok := t.r.values[string(key)]; ok {
		return v, nil
	}
	return nil, dbfs.ErrNotExist
}

var errReadOnly = errors.New("sim: a write in a View")

func (t txn) Set(key, value []byte) error {
	if !t.write {
		return errReadOnly
	}
	t.r.put(string(key), append([]byte{}, value...))
	return nil
}

func (t txn) Delete(key []byte) error {
	if !t.write {
		return errReadOnly
	}
	t.r.put(string(key), nil)
	return nil
}

func (t txn) Scan(prefix, start []byte, fn func(key, value []byte) bool) error {
	from, after := string(prefix), false
	if start != nil && bytes.Compare(start, prefix) >= 0 {
		from, after = string(start), true
	}
	i, found := slices.BinarySearch(t.r.keys, from)
	if found && after {
		i++
	}
	p := string(prefix)
	for ; i < len(t.r.keys) && strings.HasPrefix(t.r.keys[i], p); i++ {
		if n := len(t.r.keys); !fn([]byte(t.r.keys[i]), t.r.values[t.r.keys[i]]) {
			return nil
		} else if n != len(t.r.keys) {
			panic("sim: rows change while they are scanned")
		}
	}
	return nil
}

// A disk is a client's metadata database. A loss of power takes back some of what has not
// been synced, transaction by transaction from the last one on; one that was being written is
// torn, and so is not there. It can be made to fail, and to end its client at a transaction.
type disk struct {
	rows *rows
	ends []int // where each transaction since the last Sync ends in rows.undo

	failAfter  int // Updates that pass before all others fail; negative: none fails
	crashAfter int // Updates that pass before the client dies in one; negative: it does not
	tear       bool
}

func newDisk() *disk {
	return &disk{rows: &rows{values: make(map[string][]byte), keep: true}, failAfter: -1, crashAfter: -1}
}

var errDisk = errors.New("the disk is gone")

// died is the panic that ends a client.
type died struct{ client int }

// diesInUpdate is the panic that a disk ends its client with.
type diesInUpdate struct{}

func (d *disk) View(fn func(dbfs.Txn) error) error { return fn(txn{d.rows, false}) }

func (d *disk) Update(fn func(dbfs.Txn) error) error {
	if d.crashAfter == 0 && d.tear {
		d.crashAfter = -1
		panic(diesInUpdate{})
	}
	fails := d.failAfter == 0
	err := d.rows.update(func(t dbfs.Txn) error {
		err := fn(t)
		if fails {
			err = errors.Join(err, errDisk)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.ends = append(d.ends, len(d.rows.undo))
	if d.failAfter > 0 {
		d.failAfter--
	}
	switch {
	case d.crashAfter > 0:
		d.crashAfter--
	case d.crashAfter == 0:
		d.crashAfter = -1
		panic(diesInUpdate{})
	}
	return nil
}

func (d *disk) Sync() error {
	if d.failAfter == 0 {
		return fmt.Errorf("sync: %w", errDisk)
	}
	d.rows.undo, d.ends = d.rows.undo[:0], d.ends[:0]
	return nil
}

// unsynced returns how many transactions a loss of power may take back.
func (d *disk) unsynced() int { return len(d.ends) }

// lose takes back the last n transactions.
func (d *disk) lose(n int) {
	d.ends = d.ends[:len(d.ends)-n]
	end := 0
	if len(d.ends) > 0 {
		end = d.ends[len(d.ends)-1]
	}
	d.rows.rollback(end)
}
