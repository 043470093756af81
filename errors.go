package dbfs

import (
	"errors"
	"fmt"
)

// The errors that parts tell each other, a closed list. They are wrapped with what was
// being done, asked for with errors.Is, and turned into an errno in one switch in fs
// and into a code on the wire in one table in remote.
var (
	ErrNotExist    = errors.New("no such file or directory") // and something says so: never used for "do not know"
	ErrExist       = errors.New("already exists")
	ErrNotEmpty    = errors.New("directory not empty")
	ErrNotDir      = errors.New("not a directory")
	ErrIsDir       = errors.New("is a directory")
	ErrInvalid     = errors.New("invalid")
	ErrNameTooLong = errors.New("name too long")
	ErrTooLarge    = errors.New("too large")
	ErrLoop        = errors.New("a directory cannot move into itself")
	ErrReadOnly    = errors.New("read-only")           // a member without the right to write
	ErrForbidden   = errors.New("not permitted")       // no right at all
	ErrAuth        = errors.New("not authorised")      // no token, or one that is wrong, expired or revoked
	ErrOffline     = errors.New("server unreachable")  // or too busy: trying again may work
	ErrCorrupt     = errors.New("damaged data")        // bytes that are not what their name says
	ErrNoSpace     = errors.New("no space")            // the disk, or the budget for unsent data
	ErrVersion     = errors.New("unknown version")     // written by a newer dbfs
	ErrLocked      = errors.New("already in use")      // another daemon has this profile
	ErrBusy        = errors.New("busy")                // a mount point, or something in use
	ErrNoAttr      = errors.New("no such attribute")   // extended attribute
	ErrManyLinks   = errors.New("too many links")      // names of one file
	ErrUnsupported = errors.New("not supported")       // nothing here can do that
	ErrReset       = errors.New("log no longer there") // cursor too old, or of another epoch: list the tree anew
	ErrHeld        = errors.New("held")                // a mass change that waits for a person
	ErrStaleSeq    = errors.New("batch out of order")  // a batch older than the last, or another under its number
)

// A Refusal says why an edit did not fit what the namespace had become.
type Refusal string

const (
	RefusedContent    Refusal = "crev"        // the content has changed since
	RefusedPlace      Refusal = "prev"        // it has been moved since
	RefusedAttr       Refusal = "arev"        // attributes have changed since
	RefusedGone       Refusal = "gone"        // it is deleted, or something above it is
	RefusedParentGone Refusal = "parent_gone" // where it should go is deleted
	RefusedNameTaken  Refusal = "name_taken"
	RefusedCycle      Refusal = "cycle"
	RefusedNotEmpty   Refusal = "not_empty"
	RefusedIDExists   Refusal = "id_exists"
	RefusedTooBig     Refusal = "too_big" // more in a tree than can be deleted at once
)

// A RefusedError is a commit's answer that its batch did not fit: none of it was done.
// The client pulls, reconciles and sends a new batch.
type RefusedError struct {
	At   int     // which op of the batch
	Code Refusal // why
	Node *Node   // the node or the occupant of the name as it is now; nil where there is none
	Head JID     // the log's end
}

func (e *RefusedError) Error() string { return fmt.Sprintf("edit %d refused: %s", e.At, e.Code) }

// A NeedChunksError is a commit's answer that chunks are missing or their receipts no
// longer good: upload them and send the same batch again. Nothing was remembered.
type NeedChunksError struct{ Chunks []ChunkID }

func (e *NeedChunksError) Error() string {
	return fmt.Sprintf("%d chunks are not at the server", len(e.Chunks))
}
