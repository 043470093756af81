package dbfs

import (
	"encoding/json"
	"fmt"
)

// An OpType says what an edit does.
type OpType uint8

const (
	OpCreate     OpType = iota + 1 // a new node at (Parent, Name)
	OpWrite                        // new Content (and MTime) for a file
	OpMove                         // to (Parent, Name), perhaps in place of another file
	OpSetAttr                      // new values for the attributes in Mask
	OpDelete                       // a file, or an empty directory
	OpRevive                       // a deleted or unreachable node comes back at (Parent, Name)
	OpExchange                     // Node and the one in Replace change places
	OpDeleteTree                   // a directory with all that is below it
	OpCopy                         // create, of a file whose bytes the server has in Src
)

// Makes reports whether an edit of this type makes a node.
func (t OpType) Makes() bool { return t == OpCreate || t == OpCopy }

// MaxTreeNodes is how many nodes may be below a directory that is deleted in one edit.
const MaxTreeNodes = 2000

// AttrMask says which attributes a set-attributes edit touches. Extended attributes
// are one: the edit carries all of them.
type AttrMask uint8

const (
	AttrMode AttrMask = 1 << iota
	AttrMTime
	AttrOwner
	AttrXattrs
)

// Set takes the attributes in mask from another node's.
func (a *Attr) Set(mask AttrMask, from Attr) {
	if mask&AttrMode != 0 {
		a.Mode = from.Mode
	}
	if mask&AttrMTime != 0 {
		a.MTime = from.MTime
	}
	if mask&AttrOwner != 0 {
		a.UID, a.GID = from.UID, from.GID
	}
	if mask&AttrXattrs != 0 {
		a.Xattrs = from.Xattrs
	}
}

// An Op is one edit made on one device, with the revisions it was based on. The server
// refuses it when the node has moved on since; it is then reconciled and sent anew.
// Which fields matter depends on Type, as the comments of OpType say.
type Op struct {
	ID      OpID        `json:"id"`
	Type    OpType      `json:"type"`
	Node    NodeID      `json:"node"`
	Base    Revs        `json:"base,omitzero"` // each may be SelfRev
	Parent  NodeID      `json:"parent,omitzero"`
	Name    string      `json:"name,omitempty"`
	Replace *Victim     `json:"replace,omitempty"` // move: the file that stands there and goes; exchange: the other node
	Kind    Kind        `json:"kind,omitempty"`    // create
	Content *Content    `json:"content,omitempty"` // create (file), write, revive (nil: as it was)
	Target  string      `json:"target,omitempty"`  // create (symlink)
	Mount   NamespaceID `json:"mount,omitempty"`   // create (mount); the server alone makes these
	Device  uint32      `json:"device,omitempty"`  // create (device)
	Link    NodeID      `json:"link,omitzero"`     // create, revive (link): what it is a name of; delete, move: what loses a name by it
	Attr    Attr        `json:"attr,omitzero"`     // create: all; set attributes: those in Mask; write: MTime
	Mask    AttrMask    `json:"mask,omitempty"`
	Time    int64       `json:"time,omitempty"` // nanoseconds, this device's clock: shown as ctime until the server answers

	// delete tree: the log as far as the user had seen it. What is below must not have changed since.
	Seen JID `json:"seen,omitempty"`

	// copy, and write where it may be: who makes the edit can read this, and chunks of Content
	// may be taken from there, so that they need not be sent.
	Src *Source `json:"src,omitempty"`

	// These never travel.
	Ino   uint64      `json:"-"` // create: the number the local kernel already knows the node by
	Below []NodeID    `json:"-"` // delete tree: what the user saw below, children before their directory
	From  Origin      `json:"-"` // create, copy, write, revive: where the content came from; that node's deletion waits for this edit
	Await NamespaceID `json:"-"` // delete: of a node that moves to that namespace, not sent before it is there; 0: does not wait
}

// A Source is a content that a file of some namespace has, or had.
type Source struct {
	NS   NamespaceID `json:"ns"`
	Node NodeID      `json:"id"`
	Rev  JID         `json:"crev"`
}

// An Origin is the node of another namespace that a file was before it was moved here. Zero: none.
type Origin struct {
	NS   NamespaceID
	Node NodeID
}

// SetContent gives an edit another content. Where that of Src was is not where that is.
func (op *Op) SetContent(c *Content) {
	if op.Content == nil || c == nil || !op.Content.Equal(*c) {
		op.Src = nil
		if op.Type == OpCopy {
			op.Type = OpCreate
		}
	}
	op.Content = c
}

// Travelling returns the edit without what never travels.
func (op Op) Travelling() Op {
	op.Ino, op.Below, op.From, op.Await = 0, nil, Origin{}, 0
	return op
}

// A Victim is the node that a move or an exchange puts out of its place, with the revisions
// that its user saw.
type Victim struct {
	Node NodeID `json:"node"`
	Base Revs   `json:"base,omitzero"`

	// exchange: where it goes. The op's own Parent and Name are where it stood. The server
	// knows both places; the device's view is made from these.
	Parent NodeID `json:"parent,omitzero"`
	Name   string `json:"name,omitempty"`
}

// A Batch is a run of edits that the server takes whole or not at all. (Device, Seq)
// makes it idempotent: the same batch may be sent any number of times.
type Batch struct {
	Epoch    uint32    `json:"epoch"`
	Device   DeviceID  `json:"device"`
	Seq      uint64    `json:"seq"`
	Ops      []Op      `json:"ops"`
	Receipts []Receipt `json:"receipts,omitempty"`
}

// MaxBatchOps is how many edits a batch may hold.
const MaxBatchOps = 512

// A Receipt proves to a commit that a chunk is at the server. It is opaque to clients
// and good for a day.
type Receipt string

// opWords are the words that op types travel as.
var opWords = []string{OpCreate: "create", OpWrite: "write", OpMove: "move", OpSetAttr: "setattr", OpDelete: "delete", OpRevive: "revive", OpExchange: "exchange", OpDeleteTree: "delete_tree", OpCopy: "copy"}

func (t OpType) String() string               { return word(opWords, int(t)) }
func (t OpType) MarshalText() ([]byte, error) { return markWord(opWords, int(t)) }
func (t *OpType) UnmarshalText(b []byte) error {
	i, err := findWord("op", opWords, b)
	*t = OpType(i)
	return err
}

// MarshalJSON writes SelfRev as "self" and every other revision as a number.
func (j JID) MarshalJSON() ([]byte, error) {
	if j == SelfRev {
		return []byte(`"self"`), nil
	}
	return json.Marshal(uint64(j))
}

func (j *JID) UnmarshalJSON(b []byte) error {
	if string(b) == `"self"` {
		*j = SelfRev
		return nil
	}
	var v uint64
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("%w: revision %q", ErrInvalid, b)
	}
	*j = JID(v)
	return nil
}
