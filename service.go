package dbfs

import (
	"context"
	"time"
)

// Meta is the metadata service as one device sees it. remote.Client is the far end of
// a connection, server.Session the thing itself; one suite tests both. All methods may
// be called from several goroutines. Errors: ErrAuth, ErrForbidden, ErrReadOnly,
// ErrOffline (try again), ErrInvalid (do not).
type Meta interface {
	// Namespaces lists what the account may read, its own root first.
	Namespaces(ctx context.Context) ([]Namespace, error)

	// Commit appends the batch to the log, whole or not at all, and returns the entries
	// it became, in order. It is idempotent by (Device, Seq). Besides the errors above:
	// *RefusedError, *NeedChunksError, ErrReset, ErrStaleSeq.
	Commit(ctx context.Context, ns NamespaceID, batch Batch) ([]Entry, error)

	// Log returns entries after a cursor in order, whole batches, at most about limit of
	// them; ErrReset when the cursor cannot be continued. To a reader that is far behind it
	// tells instead what the nodes that have changed since are now.
	Log(ctx context.Context, ns NamespaceID, after Cursor, limit int) (LogPage, error)

	// Tree lists the nodes that are not deleted, in order of NodeID, starting after the
	// given one (RootNode: at the beginning; the root comes first if it was ever changed). It reads the
	// present, so a listing that took a while is made whole by applying the log from
	// the first page's Cursor on.
	Tree(ctx context.Context, ns NamespaceID, after NodeID, limit int) (TreePage, error)
}

// History is what the server remembers of the contents that files had. The two ends are
// those of Meta, and so are the errors.
type History interface {
	// Revisions lists the contents that a file had, and the one that it has, in the order in
	// which it got them, after the given one (0: from the oldest that is kept), at most about
	// limit. Deleted files keep theirs for as long. ErrNotExist: there is no such file.
	Revisions(ctx context.Context, ns NamespaceID, node NodeID, after JID, limit int) (RevisionPage, error)

	// Revision returns one of them, by the entry that made it. Its chunks can be read like
	// any other's. ErrNotExist: it is not kept any more, or never was.
	Revision(ctx context.Context, ns NamespaceID, node NodeID, rev JID) (Revision, error)

	// Deleted lists nodes that are deleted, in the order in which they went, and of id where several went at once: those after a
	// place in that order, at most about limit. Those of long ago are not known any more. Who is below a directory that
	// went is listed if it was deleted, too.
	Deleted(ctx context.Context, ns NamespaceID, after Departure, limit int) (DeletedPage, error)
}

// Holding keeps versions that a device builds on, which it may have to read yet when others have
// long written newer ones. The two ends are those of Meta, and so are the errors.
type Holding interface {
	// Hold keeps a version for this device, for HoldTime from now on unless it is asked for anew.
	// ErrNotExist: the server does not have it any more.
	Hold(ctx context.Context, ns NamespaceID, node NodeID, rev JID) error

	// LetGo takes a Hold back. There need not be one.
	LetGo(ctx context.Context, ns NamespaceID, node NodeID, rev JID) error
}

// HoldTime is how long a version is kept for a device that is silent.
const HoldTime = 90 * 24 * time.Hour

// A RevisionPage is a run of a file's contents.
type RevisionPage struct {
	Revisions []Revision `json:"revisions"`
	More      bool       `json:"more,omitempty"` // go on after the last of them
}

// A Departure is a place in the order in which nodes are deleted: an entry, and a node of it. Zero: before all.
type Departure struct {
	JID  JID    `json:"jid"`
	Node NodeID `json:"node,omitzero"`
}

// A DeletedPage is a run of nodes that are deleted. It may have none and go on.
type DeletedPage struct {
	Nodes []DeletedNode `json:"nodes"`
	Next  Departure     `json:"next"` // pass as after
	More  bool          `json:"more,omitempty"`
}

// A DeletedNode is a node as it was, with the name that it had.
type DeletedNode struct {
	Node    Node  `json:"node"`              // its CTime is when it was deleted
	Expires int64 `json:"expires,omitempty"` // of a file: until when its content is kept at most, in nanoseconds; 0: it is not any more
}

// A LogPage is a run of entries. Next is the cursor after them.
//
// Of a page with State there are no entries, but the nodes that were changed last after the
// cursor and up to Next, deleted ones too, in order of Last, and of id where that is the same. They are of the moment of that
// page: a node may already be in a directory that a later page brings, so the tree is whole
// again only at Head. Next need not be at the end of a batch then.
type LogPage struct {
	Entries []Entry `json:"entries"`
	State   bool    `json:"state,omitempty"`
	Nodes   []Node  `json:"nodes,omitempty"`
	Next    Cursor  `json:"next"`
	Head    JID     `json:"head"`
	More    bool    `json:"more,omitempty"`
}

// A TreePage is a run of nodes. Cursor is the log's end when the page was read.
type TreePage struct {
	Nodes  []Node `json:"nodes"`
	Next   NodeID `json:"next,omitzero"` // pass as after
	Cursor Cursor `json:"cursor"`
	More   bool   `json:"more,omitempty"`
}

// Notifier tells a device that namespaces have moved.
type Notifier interface {
	// Wait returns when the log of one of the namespaces goes beyond the cursor given for
	// it, or after about timeout with nothing changed. It carries no data: what it
	// says is a hint, and a hint may be lost, doubled or late.
	Wait(ctx context.Context, at map[NamespaceID]Cursor, timeout time.Duration) (Hint, error)
}

// A Hint is what a poll was answered.
type Hint struct {
	Changed []NamespaceID `json:"changed"`
	Retry   time.Duration `json:"retry,omitempty"` // wait so long before polling again
	Herd    time.Duration `json:"herd,omitempty"`  // after losing the connection, spread the first try over this
}

// ChunkStore is where chunks are kept beyond this machine, as a device sees it. Wrapping
// one gives retry, limits, caches and faults. All methods may be called from several
// goroutines. Buffers handed in are not kept; buffers handed out are the caller's.
type ChunkStore interface {
	// Check asks for receipts: receipts[i] is empty where refs[i] has to be Put.
	Check(ctx context.Context, ns NamespaceID, refs []ChunkRef) ([]Receipt, error)

	// Put stores a chunk. It checks raw against ref first and never stores anything else.
	Put(ctx context.Context, ns NamespaceID, ref ChunkRef, raw []byte) (Receipt, error)

	// Get returns the bytes of a chunk, verified. ErrCorrupt: what is stored is not it.
	// ErrNotExist: the server has no such chunk within this namespace's reach.
	Get(ctx context.Context, ns NamespaceID, ref ChunkRef) ([]byte, error)
}

// MinDelta is the length in bytes of a chunk from which on PutLike may send less than Put.
const MinDelta = 64 << 10

// A DeltaStore is a ChunkStore that need not be sent the whole of a chunk.
type DeltaStore interface {
	ChunkStore

	// PutLike is Put for a chunk that may resemble others which the store has in this namespace.
	PutLike(ctx context.Context, ns NamespaceID, ref ChunkRef, raw []byte, like Like) (Receipt, error)
}

// Like says what a chunk may resemble: those of the file's last version at its place, before it and
// after it. A ref without length is of none.
type Like struct {
	Same, Before, After ChunkRef
	Few                 bool                      // it is one of few chunks of the file that have changed
	Local               func(ref ChunkRef) []byte // the bytes of one, verified; nil: they are not on this machine
}
