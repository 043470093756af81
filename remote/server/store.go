package server

import (
	"context"

	"github.com/dbfs/dbfs"
)

// Store is all that an engine under the server must do. The server's rules are written
// once, over this; an engine only maps rows. storetest holds the suite that each passes.
type Store interface {
	// Update runs fn with exclusive rights on a namespace: no other Update of the same
	// one overlaps it, and what it wrote appears whole or, if it fails, not at all. Engines
	// run fn again after a conflict, so it must have no other effects. When Update has
	// returned nil the writes survive a loss of power.
	Update(ctx context.Context, ns dbfs.NamespaceID, fn func(Tx) error) error

	// View runs fn on a consistent snapshot of a namespace.
	View(ctx context.Context, ns dbfs.NamespaceID, fn func(ReadTx) error) error

	// Get returns a row of a table that spans namespaces; dbfs.ErrNotExist.
	Get(ctx context.Context, table Table, key []byte) ([]byte, error)

	// Scan returns up to limit rows whose keys begin with prefix and come after the
	// given key (nil: from the first), in order.
	Scan(ctx context.Context, table Table, prefix, after []byte, limit int) ([]Row, error)

	// CAS replaces the value of one row if it is still old; nil stands for "no row", so that
	// a nil new deletes it. Empty values are not stored. It reports whether it did.
	// Durable like Update.
	CAS(ctx context.Context, table Table, key, old, new []byte) (bool, error)

	Close() error
}

// ReadTx reads one namespace. Missing rows are dbfs.ErrNotExist.
type ReadTx interface {
	Head() (Head, error)
	Node(id dbfs.NodeID) (dbfs.Node, error) // also deleted ones
	Child(parent dbfs.NodeID, key string) (dbfs.NodeID, error)
	Children(parent dbfs.NodeID, after string, limit int) ([]Child, error) // in order of key
	Log(after dbfs.JID, limit int) ([]dbfs.Entry, error)                   // in order
	Nodes(after dbfs.NodeID, limit int) ([]dbfs.Node, error)               // in order of id, also deleted ones; never the root
	Device(dev dbfs.DeviceID) (DeviceState, error)

	// Changed returns nodes, also deleted ones and the root, in order of their last change, and
	// of id where one entry changed several: those that come after a change and an id in it.
	Changed(after dbfs.JID, id dbfs.NodeID, limit int) ([]dbfs.Node, error)

	// Revision returns a content that a file had; Revisions those of one file, AllRevisions
	// those of that file and of the files after it, each in order of node and revision.
	Revision(node dbfs.NodeID, rev dbfs.JID) (dbfs.Revision, error)
	Revisions(node dbfs.NodeID, after dbfs.JID, limit int) ([]dbfs.Revision, error)
	AllRevisions(node dbfs.NodeID, after dbfs.JID, limit int) ([]dbfs.Revision, error)

	// Lists names, in that order, the contents after the given one whose chunk lists are kept
	// apart from nodes, entries and revisions; none in an engine that does not do so.
	Lists(node dbfs.NodeID, after dbfs.JID, limit int) ([]List, error)
}

// A Child is a live entry of a directory.
type Child struct {
	Key string // of its name, as names.Key makes it
	ID  dbfs.NodeID
}

// Tx reads and writes one namespace. Reads see the transaction's own writes.
type Tx interface {
	ReadTx
	SetHead(Head) error
	PutNode(*dbfs.Node) error
	PutChild(parent dbfs.NodeID, key string, id dbfs.NodeID) error
	DelChild(parent dbfs.NodeID, key string) error
	AppendLog([]dbfs.Entry) error
	PutDevice(dev dbfs.DeviceID, d DeviceState) error
	DelNode(id dbfs.NodeID) error
	DelEntry(jid dbfs.JID) error
	PutRevision(*dbfs.Revision) error
	DelRevision(node dbfs.NodeID, rev dbfs.JID) error
	DelList(List) error // no node, entry or revision may have that content any more
}

// A List names a content whose chunk list is kept apart.
type List struct {
	Node dbfs.NodeID
	Rev  dbfs.JID
}

// Head is the state of a namespace's log.
type Head struct {
	Epoch uint32
	JID   dbfs.JID // the last entry
	Floor dbfs.JID // the lowest cursor still served: what was deleted before it may be forgotten
	Trim  dbfs.JID // the last entry that is not kept any more; 0: all are

	// Names is fixed when the namespace is made. The keys of children are made by it.
	Names dbfs.NameRule
}

// DeviceState is what the server remembers of a device's last batch, so that a repeated
// one gets the same answer, refusals included.
type DeviceState struct {
	Seq     uint64
	Digest  [32]byte // of the batch's ops
	First   dbfs.JID // the entries it became …
	Last    dbfs.JID // … both zero when it was refused
	Refused *dbfs.RefusedError
}

// A Table holds rows that belong to no namespace. Each row stands alone: there are no
// transactions over several.
type Table uint8

const (
	TableServer    Table = iota + 1 // the server's own keys and settings
	TableAccount                    // account id -> account; its name -> account id
	TableDevice                     // token hash -> whom it speaks for; account, device -> token hash
	TableNamespace                  // namespace id -> name, owner
	TableMember                     // account, namespace -> role; namespace, account -> so listed
	TableChunk                      // chunk id, namespace -> where it is
	TableGrant                      // time, random -> objects that may be there though no chunk is in them
	TablePack                       // name of a pack -> the chunks that are in it
)

// Row is a row of a Table.
type Row struct{ Key, Value []byte }
