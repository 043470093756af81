// Package dbfs names the things that every part of dbfs talks about: namespaces,
// nodes, chunks, edits and log entries, and the interfaces between the parts. It
// holds no behaviour beyond the rules of these nouns and imports only the standard
// library; every other package imports it.
//
// A namespace is a tree that syncs as one unit. Its history is one totally ordered
// log, kept by the server, numbered by JIDs. The tree is what the server said up to
// a cursor; the journal is what the user did that the server has not accepted yet;
// the view is the second laid over the first. A file's bytes are a list of 4 MiB
// chunks named by their SHA-256, and they always travel before the record that
// names them.
package dbfs

import (
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// A JID is a place in a namespace's log: 1, 2, 3 … without gaps within one epoch.
// As a revision it is the JID of the entry that last changed a part of a node.
// Zero means that the server has not seen it.
type JID uint64

// SelfRev, as the base of an edit, means "what an earlier edit of this device, not
// yet answered by the server, will make it": within a batch, an earlier op of it.
const SelfRev JID = 1<<64 - 1

// A Cursor says how far a reader has got in a namespace's log: everything up to JID
// has been applied. It always stands at the end of a batch. The zero Cursor is the
// beginning of a namespace of which nothing is known.
type Cursor struct {
	Epoch uint32 `json:"epoch"` // raised when the log is restored to an older state
	JID   JID    `json:"jid"`
}

// A Role is what an account may do in a namespace. Each role includes the ones before it.
type Role uint8

const (
	RoleNone Role = iota
	RoleRead
	RoleWrite
	RoleAdmin
)

// A Namespace is a tree that syncs as one unit, as one account sees it.
type Namespace struct {
	ID     NamespaceID `json:"id"`
	Name   string      `json:"name"`
	Root   bool        `json:"root,omitempty"` // the account's own, shown at the top of its mounts
	Role   Role        `json:"role"`
	Names  NameRule    `json:"names"`  // fixed when it is made; a server that does not say has exact ones
	Cursor Cursor      `json:"cursor"` // the log's end when this was read
}

// A NameRule says which names are one in a directory. Package names has the rules.
type NameRule uint8

const (
	NamesExact    NameRule = iota // those of the same bytes
	NamesPortable                 // those that differ in case or composition only; what Windows refuses is refused
)

// A Kind is what a node is.
type Kind uint8

const (
	KindFile Kind = iota + 1
	KindDir
	KindSymlink
	KindMount // a directory that shows the root of another namespace
	KindLink  // one more name of a file, which has all that is not a name (a hard link)

	// What stands for something of the machine that opens it. They are names without content.
	KindFifo
	KindSocket
	KindCharDev
	KindBlockDev
)

// MaxLinks is how many names a file may have beside its own.
const MaxLinks = 1000

// IsDir reports whether a node of this kind is shown as a directory.
func (k Kind) IsDir() bool { return k == KindDir || k == KindMount }

// IsSpecial reports whether a node of this kind is a pipe, a socket or a device.
func (k Kind) IsSpecial() bool { return k >= KindFifo && k <= KindBlockDev }

// IsDevice reports whether a node of this kind has a device number.
func (k Kind) IsDevice() bool { return k == KindCharDev || k == KindBlockDev }

// Revs are the three revisions of a node. They move independently, so that a rename,
// an edit and a chmod of one file never conflict with each other.
type Revs struct {
	Content JID `json:"crev,omitempty"` // size, chunks
	Place   JID `json:"prev,omitempty"` // parent, name, deleted
	Attr    JID `json:"arev,omitempty"` // mode, owner, extended attributes, time
}

// Attr are the attributes of a node that are neither its place nor its content.
type Attr struct {
	Mode   uint32            `json:"mode"`  // permission, setuid, setgid and sticky bits as in stat(2); no type bits
	MTime  int64             `json:"mtime"` // nanoseconds since 1970, UTC
	UID    uint32            `json:"uid,omitempty"`
	GID    uint32            `json:"gid,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // shared by copies of the node: replaced whole, never changed
}

// A Node is a file, a directory or a symlink. Entries carry whole nodes, so applying
// one is storing it. Copies share Content.Chunks and Xattrs, which are never changed in place.
type Node struct {
	ID      NodeID      `json:"id"`
	Parent  NodeID      `json:"parent"`
	Name    string      `json:"name"`
	Kind    Kind        `json:"kind"`
	Revs    Revs        `json:"revs"`
	Last    JID         `json:"last"` // the largest of Revs
	Attr    Attr        `json:"attr"`
	Content Content     `json:"content,omitzero"` // of a file
	Target  string      `json:"target,omitempty"` // of a symlink
	Mount   NamespaceID `json:"mount,omitempty"`  // of a mount
	Device  uint32      `json:"device,omitempty"` // of a device: its number, as Linux writes it in 32 bits
	Link    NodeID      `json:"link,omitzero"`    // of a link: the node that it is a name of, never a directory or link
	Links   []NodeID    `json:"links,omitempty"`  // of what has further names: the links; some may be deleted
	Deleted bool        `json:"deleted,omitempty"`
	CTime   int64       `json:"ctime"` // nanoseconds: when the server took the last entry, or the edit was made here

	// Ino is the number that the local kernel knows the node by, for ever. The
	// client's tree gives it; it never travels.
	Ino uint64 `json:"-"`
}

// IsRoot reports whether n is the root directory of its namespace.
func (n *Node) IsRoot() bool { return n.ID == RootNode }

// FileMode returns mode and type as Go's fs package writes them, for people to read.
func (n *Node) FileMode() fs.FileMode {
	m := fs.FileMode(n.Attr.Mode & 0o777)
	switch n.Kind {
	case KindDir, KindMount:
		m |= fs.ModeDir
	case KindSymlink:
		m |= fs.ModeSymlink
	case KindFifo:
		m |= fs.ModeNamedPipe
	case KindSocket:
		m |= fs.ModeSocket
	case KindCharDev:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case KindBlockDev:
		m |= fs.ModeDevice
	}
	return m
}

// ModTime returns the modification time for people to read.
func (n *Node) ModTime() time.Time { return time.Unix(0, n.Attr.MTime) }

// An Entry is one line of a namespace's log. It carries the node as it became.
type Entry struct {
	JID   JID       `json:"jid"`
	Time  int64     `json:"time"` // nanoseconds, the server's clock; a label, never an order
	Op    OpID      `json:"op"`   // the edit it came from
	Actor AccountID `json:"actor,omitempty"`
	Type  OpType    `json:"type"`
	End   bool      `json:"end,omitempty"` // the last entry of its batch
	Node  Node      `json:"node"`

	// delete tree: the nodes that were below, and went with it by this entry.
	Below []NodeID `json:"below,omitempty"`
}

// A Revision is a content that a file had, or has.
type Revision struct {
	Node    NodeID    `json:"node"`
	Rev     JID       `json:"rev"` // the entry that made it; no two contents of a file share one
	Content Content   `json:"content,omitzero"`
	MTime   int64     `json:"mtime"`             // nanoseconds, as the file showed it last
	Time    int64     `json:"time,omitempty"`    // nanoseconds, the server's clock: when it was made; 0: not known any more
	Device  DeviceID  `json:"device,omitempty"`  // whose edit made it; 0: not known any more, or the server's own
	Actor   AccountID `json:"actor,omitempty"`   // likewise
	Until   int64     `json:"until,omitempty"`   // nanoseconds: when the file got another one or was deleted; 0: it has it now
	Expires int64     `json:"expires,omitempty"` // nanoseconds: until when it is kept at most; 0: while the file has it

	// Who builds on it, which keeps it whatever its age. The server's own; it never travels.
	Holds []Hold `json:"-"`
}

// A Hold is a device that builds on a version, until a time (seconds since 1970, the server's clock).
type Hold struct {
	Device DeviceID
	Until  int64
}

// MaxHolds is how many devices may hold a version.
const MaxHolds = 1000

// Held reports whether somebody builds on the version at a time.
func (r *Revision) Held(at time.Time) bool {
	return slices.ContainsFunc(r.Holds, func(h Hold) bool { return h.Until > at.Unix() })
}

// Buried returns what an entry that deleted a tree made of a node below.
func (e *Entry) Buried(n Node) Node {
	n.Deleted, n.Revs.Place, n.Last, n.CTime = true, e.JID, e.JID, e.Time
	return n
}

// text tables: the words that kinds and roles travel as.
var (
	kindWords = []string{KindFile: "file", KindDir: "dir", KindSymlink: "symlink", KindMount: "mount", KindLink: "link",
		KindFifo: "fifo", KindSocket: "socket", KindCharDev: "chardev", KindBlockDev: "blockdev"}
	roleWords = []string{RoleNone: "none", RoleRead: "read", RoleWrite: "write", RoleAdmin: "admin"}
	nameWords = []string{NamesExact: "exact", NamesPortable: "portable"}
)

func (k Kind) String() string               { return word(kindWords, int(k)) }
func (k Kind) MarshalText() ([]byte, error) { return markWord(kindWords, int(k)) }
func (k *Kind) UnmarshalText(b []byte) error {
	i, err := findWord("kind", kindWords, b)
	*k = Kind(i)
	return err
}

func (r Role) String() string               { return word(roleWords, int(r)) }
func (r Role) MarshalText() ([]byte, error) { return markWord(roleWords, int(r)) }
func (r *Role) UnmarshalText(b []byte) error {
	i, err := findWord("role", roleWords, b)
	*r = Role(i)
	return err
}

func (r NameRule) String() string               { return word(nameWords, int(r)) }
func (r NameRule) MarshalText() ([]byte, error) { return markWord(nameWords, int(r)) }
func (r *NameRule) UnmarshalText(b []byte) error {
	i, err := findWord("rule of names", nameWords, b)
	*r = NameRule(i)
	return err
}

func word(words []string, i int) string {
	if i < len(words) && words[i] != "" {
		return words[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

func markWord(words []string, i int) ([]byte, error) {
	if i < len(words) && words[i] != "" {
		return []byte(words[i]), nil
	}
	return nil, fmt.Errorf("%w: no word for value %d", ErrInvalid, i)
}

func findWord(what string, words []string, b []byte) (int, error) {
	for i, w := range words {
		if w != "" && w == string(b) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: unknown %s %q", ErrInvalid, what, b)
}

// String writes SelfRev as "self".
func (j JID) String() string {
	if j == SelfRev {
		return "self"
	}
	return fmt.Sprint(uint64(j))
}
