package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// Tree is one namespace as the server said it is, up to a cursor: every node it named,
// deleted ones included, and the names of those that live. All methods work inside the
// caller's transaction, so that nodes, cursor and journal change together; the caller
// also sees to it that Load and Swap do not overlap other calls.
//
// In the metadata database (ns 8 bytes, gen 4, ids 16, all big-endian):
//
//	u/<ns>                     version 1, u32 gen, u32 epoch, u64 cursor
//	r/<ns><gen><node>          node record, with its inode number
//	d/<ns><gen><parent><name>  node id
//	k/<ns><gen><parent><key>   node id, where names are portable; the key of the name, NUL, the name
//	i/<ino u64>                ns, node
//	I                          u64, first inode number not yet given away
//
// The d rows are what counts: exact names never fall together unless the server says so. A k
// row only leads to one. Another version of Unicode makes other keys of the same names, so that
// a row may be missing or left over; then another spelling is not found here, and nothing is lost.
//
// A tree that has to be listed (the first time, or after its log was lost) is built under
// the next gen while the old one goes on being read; the swap is one write of u/.
type Tree struct {
	ns   dbfs.NamespaceID
	rule dbfs.NameRule
	gen  uint32 // as Load found it
}

// NewTree returns the tree of a namespace. Load it before use.
func NewTree(ns dbfs.NamespaceID, rule dbfs.NameRule) *Tree { return &Tree{ns: ns, rule: rule} }

// Load reads which generation is shown and returns the cursor it stands at: the zero one
// as long as the tree has never been listed to its end.
func (t *Tree) Load(txn dbfs.Txn) (dbfs.Cursor, error) {
	b, err := txn.Get(t.key('u'))
	if errors.Is(err, dbfs.ErrNotExist) {
		t.gen = 0
		return dbfs.Cursor{}, nil
	}
	if err != nil {
		return dbfs.Cursor{}, fmt.Errorf("tree %s: %w", t.ns, err)
	}
	if len(b) != 17 || b[0] != 1 {
		return dbfs.Cursor{}, fmt.Errorf("%w: state of tree %s", dbfs.ErrCorrupt, t.ns)
	}
	t.gen = binary.BigEndian.Uint32(b[1:])
	return dbfs.Cursor{Epoch: binary.BigEndian.Uint32(b[5:]), JID: dbfs.JID(binary.BigEndian.Uint64(b[9:]))}, nil
}

// SetCursor says how far the tree has got.
func (t *Tree) SetCursor(txn dbfs.Txn, c dbfs.Cursor) error { return t.setState(txn, t.gen, c) }

// Swap makes the generation that PutNext filled the one that is shown. When the
// transaction is through, Load must follow.
func (t *Tree) Swap(txn dbfs.Txn, c dbfs.Cursor) error { return t.setState(txn, t.gen+1, c) }

func (t *Tree) setState(txn dbfs.Txn, gen uint32, c dbfs.Cursor) error {
	b := binary.BigEndian.AppendUint32([]byte{1}, gen)
	b = binary.BigEndian.AppendUint32(b, c.Epoch)
	return txn.Set(t.key('u'), binary.BigEndian.AppendUint64(b, uint64(c.JID)))
}

// Node returns a node, deleted or not; ErrNotExist if the server never named it.
func (t *Tree) Node(txn dbfs.Txn, id dbfs.NodeID) (dbfs.Node, error) {
	return t.node(txn, t.gen, id)
}

func (t *Tree) node(txn dbfs.Txn, gen uint32, id dbfs.NodeID) (dbfs.Node, error) {
	b, err := txn.Get(t.nodeKey(gen, id))
	if err != nil {
		return dbfs.Node{}, fmt.Errorf("node %s: %w", id, err)
	}
	n, err := dbfs.DecodeNode(b)
	if err != nil {
		return n, fmt.Errorf("node %s: %w", id, err)
	}
	return n, nil
}

// Child returns the node of exactly that name in a directory, or ErrNotExist.
func (t *Tree) Child(txn dbfs.Txn, parent dbfs.NodeID, name string) (dbfs.NodeID, error) {
	return t.child(txn, t.gen, parent, name)
}

func (t *Tree) child(txn dbfs.Txn, gen uint32, parent dbfs.NodeID, name string) (dbfs.NodeID, error) {
	b, err := txn.Get(t.nameKey(gen, parent, name))
	if err != nil {
		return dbfs.NodeID{}, err
	}
	return decodeNodeID(b)
}

// Children calls fn with the names in a directory in order of their bytes, after the given
// one, until it returns false. fn may keep what it is given.
func (t *Tree) Children(txn dbfs.Txn, parent dbfs.NodeID, after string, fn func(name string, id dbfs.NodeID) bool) error {
	prefix := t.nameKey(t.gen, parent, "")
	var start []byte
	if after != "" {
		start = t.nameKey(t.gen, parent, after)
	}
	var bad error
	err := txn.Scan(prefix, start, func(k, v []byte) bool {
		id, err := decodeNodeID(v)
		if err != nil {
			bad = err
			return false
		}
		return fn(string(k[len(prefix):]), id)
	})
	return errors.Join(bad, err)
}

// Alike calls fn with the names in a directory that are one with a name, itself too, in order
// of their bytes, until it returns false. Of exact names there is at most the name itself.
func (t *Tree) Alike(txn dbfs.Txn, parent dbfs.NodeID, name string, fn func(name string, id dbfs.NodeID) bool) error {
	if t.rule == dbfs.NamesExact {
		id, err := t.Child(txn, parent, name)
		if err == nil {
			fn(name, id)
		}
		return ignoreMissing(err)
	}
	prefix := t.likeKey(t.gen, parent, names.Key(t.rule, name), "")
	var alike []string
	err := txn.Scan(prefix, nil, func(k, _ []byte) bool {
		alike = append(alike, string(k[len(prefix):]))
		return true
	})
	for _, name := range alike {
		if err != nil {
			break
		}
		var id dbfs.NodeID
		if id, err = t.Child(txn, parent, name); err == nil && !fn(name, id) {
			break
		}
		err = ignoreMissing(err)
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, dbfs.ErrNotExist) {
		return nil
	}
	return err
}

// Nodes calls fn with every node of the tree, deleted ones too, in order of id, after the
// given one (the root: from the beginning), until it returns false.
func (t *Tree) Nodes(txn dbfs.Txn, after dbfs.NodeID, fn func(dbfs.Node) bool) error {
	var bad error
	err := txn.Scan(t.genKey('r', t.gen), t.nodeKey(t.gen, after), func(_, v []byte) bool {
		n, err := dbfs.DecodeNode(v)
		if err != nil {
			bad = fmt.Errorf("tree %s: %w", t.ns, err)
			return false
		}
		return fn(n)
	})
	return errors.Join(bad, err)
}

// Put stores a node, and its name with it, if it is newer than what is there. A node
// without an inode number keeps the one it had or takes a new one. Nodes are whole
// states, so putting one twice, or an older one late, does no harm.
func (t *Tree) Put(txn dbfs.Txn, n dbfs.Node, newIno func() uint64) error {
	return t.put(txn, t.gen, n, newIno)
}

// PutNext is Put into the generation that is being listed. A node that the shown one has
// too keeps its inode number.
func (t *Tree) PutNext(txn dbfs.Txn, n dbfs.Node, newIno func() uint64) error {
	if n.Ino == 0 {
		shown, err := t.node(txn, t.gen, n.ID)
		if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
			return err
		}
		n.Ino = shown.Ino
	}
	return t.put(txn, t.gen+1, n, newIno)
}

// NextNode returns a node of the generation that is being listed; ErrNotExist if it has not
// been put there.
func (t *Tree) NextNode(txn dbfs.Txn, id dbfs.NodeID) (dbfs.Node, error) {
	return t.node(txn, t.gen+1, id)
}

func (t *Tree) put(txn dbfs.Txn, gen uint32, n dbfs.Node, newIno func() uint64) error {
	old, err := t.node(txn, gen, n.ID)
	known := err == nil
	if err != nil && !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	switch {
	case known && n.Last < old.Last:
		return nil
	case known && n.Last == old.Last:
		return t.putName(txn, gen, old)
	}
	if n.Ino == 0 {
		n.Ino = old.Ino
	}
	if n.Ino == 0 {
		n.Ino = newIno()
	}
	if n.Ino != old.Ino {
		if err := t.Bind(txn, n.Ino, n.ID); err != nil {
			return err
		}
	}
	if known && !old.Deleted && !old.IsRoot() && (n.Deleted || old.Parent != n.Parent || old.Name != n.Name) {
		if err := t.dropName(txn, gen, old); err != nil {
			return err
		}
	}
	if err := t.putName(txn, gen, n); err != nil {
		return err
	}
	return txn.Set(t.nodeKey(gen, n.ID), dbfs.AppendNode(nil, &n))
}

// putName makes the name of a live node lead to it. It is done again when a node comes a
// second time: a log that is read again over a newer listing may have let another node pass
// through the name in between.
func (t *Tree) putName(txn dbfs.Txn, gen uint32, n dbfs.Node) error {
	if n.Deleted || n.IsRoot() {
		return nil
	}
	if t.rule != dbfs.NamesExact {
		if err := txn.Set(t.likeKey(gen, n.Parent, names.Key(t.rule, n.Name), n.Name), n.ID[:]); err != nil {
			return err
		}
	}
	return txn.Set(t.nameKey(gen, n.Parent, n.Name), n.ID[:])
}

// dropName removes the name of old unless another node has taken it meanwhile, as it may
// have within a batch that swaps names.
func (t *Tree) dropName(txn dbfs.Txn, gen uint32, old dbfs.Node) error {
	id, err := t.child(txn, gen, old.Parent, old.Name)
	if errors.Is(err, dbfs.ErrNotExist) || err == nil && id != old.ID {
		return nil
	}
	if err != nil {
		return err
	}
	if t.rule != dbfs.NamesExact {
		if err := txn.Delete(t.likeKey(gen, old.Parent, names.Key(t.rule, old.Name), old.Name)); err != nil {
			return err
		}
	}
	return txn.Delete(t.nameKey(gen, old.Parent, old.Name))
}

// SetIno gives a node another inode number. The old number goes on leading to it.
func (t *Tree) SetIno(txn dbfs.Txn, id dbfs.NodeID, ino uint64) error {
	n, err := t.Node(txn, id)
	if err != nil {
		return err
	}
	n.Ino = ino
	if err := t.Bind(txn, ino, id); err != nil {
		return err
	}
	return txn.Set(t.nodeKey(t.gen, id), dbfs.AppendNode(nil, &n))
}

// Bind makes an inode number lead to a node, which the tree need not have yet.
func (t *Tree) Bind(txn dbfs.Txn, ino uint64, id dbfs.NodeID) error {
	v := binary.BigEndian.AppendUint64(nil, uint64(t.ns))
	return txn.Set(inoKey(ino), append(v, id[:]...))
}

// ClearOthers removes up to limit keys of generations that are not shown and reports
// whether none is left. It comes before a listing, and after a swap.
func (t *Tree) ClearOthers(txn dbfs.Txn, limit int) (bool, error) {
	var keys [][]byte
	shown := binary.BigEndian.AppendUint32(nil, t.gen)
	for _, kind := range []byte{'r', 'd', 'k'} {
		prefix, start := t.key(kind), []byte(nil)
		for more := true; more && len(keys) < limit; {
			more = false
			err := txn.Scan(prefix, start, func(k, _ []byte) bool {
				if bytes.HasPrefix(k[len(prefix):], shown) { // jump over what is shown
					start, more = t.genKey(kind, t.gen+1), true
					return false
				}
				keys = append(keys, bytes.Clone(k))
				return len(keys) < limit
			})
			if err != nil {
				return false, err
			}
		}
	}
	for _, k := range keys {
		if err := txn.Delete(k); err != nil {
			return false, err
		}
	}
	return len(keys) == 0, nil
}

func (t *Tree) key(kind byte) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind, '/'}, uint64(t.ns))
}

func (t *Tree) genKey(kind byte, gen uint32) []byte {
	return binary.BigEndian.AppendUint32(t.key(kind), gen)
}

func (t *Tree) nodeKey(gen uint32, id dbfs.NodeID) []byte {
	return append(t.genKey('r', gen), id[:]...)
}

func (t *Tree) nameKey(gen uint32, parent dbfs.NodeID, name string) []byte {
	return append(append(t.genKey('d', gen), parent[:]...), name...)
}

func (t *Tree) likeKey(gen uint32, parent dbfs.NodeID, key, name string) []byte {
	return append(append(append(append(t.genKey('k', gen), parent[:]...), key...), 0), name...)
}

func decodeNodeID(b []byte) (dbfs.NodeID, error) {
	if len(b) != len(dbfs.NodeID{}) {
		return dbfs.NodeID{}, fmt.Errorf("%w: directory entry of %d bytes", dbfs.ErrCorrupt, len(b))
	}
	return dbfs.NodeID(b), nil
}
