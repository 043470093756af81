// Package remote speaks to a server: it is the near end of remote/server. A Client is a
// dbfs.Meta and a dbfs.Notifier over HTTP and JSON; frames are how chunks are stored.
//
// The wire is what this package and the server both import: requests and replies
// (wire.go, sharing.go), the words for errors (wire_errors.go), and the checks that each end
// makes of what the other says (check.go). Every request carries "Authorization: Bearer
// TOKEN"; a token is made by Login and speaks for one device. Unknown fields are skipped
// by both ends, so that fields can be added within /v1.
package remote

import (
	"errors"
	"fmt"

	"github.com/dbfs/dbfs"
)

// Limits that both ends know.
const (
	MaxCommit     = 4 << 20  // bytes of a commit request: the largest file that is all new
	MaxPoll       = 256      // namespaces in one poll
	MaxPollTime   = 240      // seconds
	MaxPage       = 4096     // entries or nodes asked for at once
	maxReplyBytes = 64 << 20 // of any JSON answer: more is no answer of ours
)

// CommitReply answers POST /v1/ns/{ns}/commit, whose body is a dbfs.Batch.
//
//	taken    {"ok":true, "entries":[…], "head":10240}
//	refused  {"ok":false, "at":3, "code":"crev", "node":{…}, "head":10240}
//	chunks   {"ok":false, "code":"need_blocks", "need":["<hash>", …]}
type CommitReply struct {
	OK      bool           `json:"ok"`
	Entries []dbfs.Entry   `json:"entries,omitempty"`
	Head    dbfs.JID       `json:"head,omitempty"`
	At      int            `json:"at,omitempty"`
	Code    string         `json:"code,omitempty"`
	Node    *dbfs.Node     `json:"node,omitempty"`
	Need    []dbfs.ChunkID `json:"need,omitempty"`
}

const needBlocks = "need_blocks"

// ReplyToCommit makes the answer to a commit; it reports false for an error that is not
// an answer but a failure.
func ReplyToCommit(entries []dbfs.Entry, err error) (CommitReply, bool) {
	var refused *dbfs.RefusedError
	var need *dbfs.NeedChunksError
	switch {
	case err == nil:
		return CommitReply{OK: true, Entries: entries, Head: entries[len(entries)-1].JID}, true
	case errors.As(err, &refused):
		return CommitReply{At: refused.At, Code: string(refused.Code), Node: refused.Node, Head: refused.Head}, true
	case errors.As(err, &need):
		return CommitReply{Code: needBlocks, Need: need.Chunks}, true
	}
	return CommitReply{}, false
}

// result undoes ReplyToCommit and checks what the server says.
func (r *CommitReply) result(batch *dbfs.Batch) ([]dbfs.Entry, error) {
	switch {
	case r.OK:
		if err := checkCommitted(batch, r.Entries); err != nil {
			return nil, err
		}
		return r.Entries, nil
	case r.Code == needBlocks:
		if len(r.Need) == 0 {
			return nil, fmt.Errorf("%w: the server needs chunks but names none", dbfs.ErrCorrupt)
		}
		return nil, &dbfs.NeedChunksError{Chunks: r.Need}
	}
	if r.Code == "" || r.At < 0 || r.At >= len(batch.Ops) {
		return nil, fmt.Errorf("%w: refusal %q of edit %d among %d", dbfs.ErrCorrupt, r.Code, r.At, len(batch.Ops))
	}
	if r.Node != nil {
		if err := checkNode(r.Node); err != nil {
			return nil, err
		}
	}
	return nil, &dbfs.RefusedError{At: r.At, Code: dbfs.Refusal(r.Code), Node: r.Node, Head: r.Head}
}

// PollRequest asks POST /v1/poll to answer when one of the logs goes beyond its cursor,
// or after about T seconds.
type PollRequest struct {
	Cursors []PollCursor `json:"c"`
	T       float64      `json:"t"`
}

// A PollCursor is how far the device has got in one namespace.
type PollCursor struct {
	NS    dbfs.NamespaceID `json:"ns"`
	Epoch uint32           `json:"epoch"`
	JID   dbfs.JID         `json:"jid"`
}

// PollReply carries no news, only where there is some.
type PollReply struct {
	Changed []dbfs.NamespaceID `json:"changed"`
	RetryMS int64              `json:"retry_ms"` // wait so long before the next poll
	HerdMS  int64              `json:"herd_ms"`  // after losing the connection, spread the first try over this
}

// LoginRequest asks POST /v1/login, which needs no token, to make a device.
type LoginRequest struct {
	Token  string        `json:"token"`            // the account's
	Name   string        `json:"name"`             // what people call the device
	Device dbfs.DeviceID `json:"device,omitempty"` // a device of the account that lost its token, but not its database
}

// Login is a device and its token. The token is shown once.
type Login struct {
	Device  dbfs.DeviceID  `json:"device"`
	Token   string         `json:"token"`
	Account dbfs.AccountID `json:"account"`
	Name    string         `json:"name"` // of the account
}
