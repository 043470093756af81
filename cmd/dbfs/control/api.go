// Package control is the daemon's control socket: what can be asked of a running
// daemon, the server end that the daemon opens, and the client end that the tool uses.
//
// A socket is HTTP with JSON bodies over a Unix socket of mode 0600. Whoever connects
// is known by its uid, which the kernel vouches for; only the socket's owner and root
// are answered. A reply is one JSON object, or, where it grows while it is made (a
// stream), JSON lines of which the last says how it ended; stream.go draws them. An
// error is a kind from a closed list, a message, and where there is one the next thing
// to do.
//
// A drive path names a place in the drive independent of where it is mounted: "/a/b"
// counts from the top of the user's tree, "team:/a/b" from the top of the namespace
// "team". All paths in this package are drive paths unless they say otherwise.
package control

import (
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
)

// APIVersion is the version of everything in this package; it is the first part of
// every request's path. Fields may be added within a version, never changed.
const APIVersion = 1

// A SyncWord says how far a file, or the whole drive, is from what the server has.
type SyncWord string

const (
	UpToDate    SyncWord = "up-to-date"
	Pending     SyncWord = "pending" // changed here, its turn has not come
	Uploading   SyncWord = "uploading"
	Downloading SyncWord = "downloading"
	Conflicted  SyncWord = "conflicted" // a copy that a conflict made
	Held        SyncWord = "held"       // changed here, and not sent before somebody has decided
	Ignored     SyncWord = "ignored"
	Failed      SyncWord = "error"
)

// A Residency says how much of a file's bytes are on this device.
type Residency string

const (
	OnlineOnly Residency = "online-only"
	Partial    Residency = "partial"
	Local      Residency = "local"
	Pinned     Residency = "pinned"
)

// A Link says whether the daemon talks to its server.
type Link string

const (
	Online     Link = "online"
	Offline    Link = "offline"
	Paused     Link = "paused"
	Connecting Link = "connecting" // not tried yet
)

// Version says what is running.
type Version struct {
	Version string `json:"version"` // of the program
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	API     int    `json:"api"`
	PID     int    `json:"pid,omitempty"` // of the daemon; zero for the tool itself
}

// Status is the state of a daemon in one screen.
type Status struct {
	Version Version   `json:"version"`
	Profile string    `json:"profile"`
	Account string    `json:"account,omitempty"`
	Server  string    `json:"server"`              // base URL, or "embedded"
	Mount   string    `json:"mount,omitempty"`     // absolute local path
	Since   time.Time `json:"since"`               // when the daemon started
	State   string    `json:"state_dir,omitempty"` // where unsent data lives

	Reads    string `json:"reads,omitempty"`     // how the kernel reads large files: "passthrough", without the daemon, or "cached"
	ReadsWhy string `json:"reads_why,omitempty"` // why it is not passthrough

	Sync       Sync              `json:"sync"`
	Namespaces []NamespaceStatus `json:"namespaces"`
	Cache      CacheStatus       `json:"cache"`
	Search     SearchStatus      `json:"search"`
	Attention  []Attention       `json:"attention"` // what needs a person; oldest first
}

// Synced reports whether everything that was changed here is at the server.
func (s *Status) Synced() bool { return s.Sync.Ops == 0 }

// Sync is what is on its way.
type Sync struct {
	Word SyncWord `json:"state"`
	Link Link     `json:"link"`

	Ops   int   `json:"ops"`   // edits the server has not accepted yet
	Files int   `json:"files"` // files among them
	Bytes int64 `json:"bytes"` // of content still to send
	Rate  int64 `json:"rate"`  // bytes a second, of late
	Down  int64 `json:"down"`  // bytes a second being fetched

	Limit *Throttle `json:"throttle,omitempty"` // nil: there is no limit

	Oldest      time.Time `json:"oldest,omitzero"`       // when the oldest unsent edit was made
	PausedUntil time.Time `json:"paused_until,omitzero"` // zero while paused: until resumed
	LastError   string    `json:"last_error,omitempty"`  // of the last try, empty once one succeeded
	Retry       time.Time `json:"retry,omitzero"`        // when the next try is
}

// NamespaceStatus is one namespace as this device has it.
type NamespaceStatus struct {
	ID        dbfs.NamespaceID `json:"id"`
	Name      string           `json:"name"`
	Role      dbfs.Role        `json:"role"`
	Cursor    dbfs.Cursor      `json:"cursor"`             // everything up to there is applied here
	Confirmed time.Time        `json:"confirmed,omitzero"` // when the server last said so
	Nodes     int64            `json:"nodes,omitempty"`
	Ops       int              `json:"ops"`               // edits waiting
	Loading   bool             `json:"loading,omitempty"` // its tree is being listed for the first time
}

// CacheStatus is the use of the local disk, in bytes.
type CacheStatus struct {
	Used         int64 `json:"used"`   // clean, evictable
	Budget       int64 `json:"budget"` // of Used
	Pinned       int64 `json:"pinned"`
	Unsent       int64 `json:"unsent"` // not yet at the server, never evicted
	UnsentBudget int64 `json:"unsent_budget"`
	Fetched      int64 `json:"fetched"` // since the start
	Evicted      int64 `json:"evicted"` // since the start
	Hits         int64 `json:"hits"`
	Misses       int64 `json:"misses"`
	Refused      int64 `json:"refused"` // files, to programs that would fetch everything, since the start
}

// SearchStatus is the state of the full-text index.
type SearchStatus struct {
	Word      string        `json:"state"` // "current", "indexing", "off" or "error"
	Documents int64         `json:"documents"`
	Waiting   int64         `json:"waiting"`   // changed files not indexed yet
	Bytes     int64         `json:"bytes"`     // of the index on disk
	Behind    time.Duration `json:"behind_ns"` // age of the oldest change not indexed
}

// Attention is something that a person should look at.
type Attention struct {
	Kind    string    `json:"kind"` // "conflict", "held", "error", "disk" …
	Message string    `json:"message"`
	Command string    `json:"command,omitempty"` // what to type next
	Path    string    `json:"path,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// FileStatus is one file, directory or symlink as this device has it.
type FileStatus struct {
	Path      string           `json:"path"`
	Name      string           `json:"name"`
	Kind      dbfs.Kind        `json:"kind"`
	Size      int64            `json:"size"`
	Mode      uint32           `json:"mode"` // permission bits
	ModTime   time.Time        `json:"mtime"`
	Target    string           `json:"target,omitempty"` // of a symlink
	Namespace dbfs.NamespaceID `json:"namespace"`
	Node      dbfs.NodeID      `json:"node"`
	Rev       dbfs.JID         `json:"rev"` // the last entry that changed it; 0: the server has not seen it

	Sync       SyncWord  `json:"sync"`
	Residency  Residency `json:"residency"`
	LocalBytes int64     `json:"local_bytes"`
	Reason     string    `json:"reason,omitempty"` // why it is not up to date, in a sentence

	// Of a file; programs read the same in the extended attributes user.dbfs.state, .pinned and .hash.
	State  FileState    `json:"state,omitempty"`
	Pinned bool         `json:"pinned,omitempty"` // it is to be on this device
	Hash   dbfs.ChunkID `json:"hash,omitzero"`    // of its content, as the journal has it
}

// A FileState says in one word where a file's bytes are.
type FileState string

const (
	StateUnsent  FileState = "unsent" // here, and changed since the server has taken it
	StateLocal   FileState = "local"
	StatePartial FileState = "partial"
	StateOnline  FileState = "online-only"
)

// ListRequest asks for what is in a directory, in order of name.
type ListRequest struct {
	Path      string `json:"path"`
	Recursive bool   `json:"recursive,omitempty"` // parents before their children
}

// WaitRequest asks to be told when what is below Path is at the server.
type WaitRequest struct {
	Path string `json:"path"` // "/": everything
}

// Progress is how far something has got. A zero total is not known.
type Progress struct {
	Done  int64  `json:"done"` // bytes
	Total int64  `json:"total"`
	Files int64  `json:"files"` // still to do
	Rate  int64  `json:"rate"`  // bytes a second
	Item  string `json:"item,omitempty"`
	Phase string `json:"phase,omitempty"` // what is being done, in a word or two
}

// WaitResult says up to where the server has everything.
type WaitResult struct {
	Namespaces []NamespaceStatus `json:"namespaces"`
}

// SearchRequest asks for the best files for a query.
type SearchRequest struct {
	Query string `json:"query"`
	Path  string `json:"path,omitempty"`  // only below
	Limit int    `json:"limit,omitempty"` // zero: 20
}

// SearchResult is the answer, best first.
type SearchResult struct {
	Hits    []Hit         `json:"hits"`
	Total   int           `json:"total"` // how many files match
	Elapsed time.Duration `json:"elapsed_ns"`
	Behind  time.Duration `json:"behind_ns"` // how old the index is
	Waiting int64         `json:"waiting"`   // changed files not indexed yet
}

// A Hit is a file that answers a query.
type Hit struct {
	Path      string    `json:"path"`
	Local     string    `json:"local,omitempty"` // where it is in the mount; the tool adds it
	Score     float64   `json:"score"`
	Size      int64     `json:"size"`
	ModTime   time.Time `json:"mtime"`
	Residency Residency `json:"residency"`
	Snippet   string    `json:"snippet,omitempty"`
	Spans     [][2]int  `json:"spans,omitempty"` // what to highlight in Snippet: byte ranges
}

// GrepMode says what a grep is to report.
type GrepMode string

const (
	GrepLines GrepMode = ""      // every matching line
	GrepFiles GrepMode = "files" // the files that have one
	GrepCount GrepMode = "count" // how many lines of each file match
)

// GrepRequest asks for the lines that match one of the patterns.
type GrepRequest struct {
	Patterns   []string `json:"patterns"` // Go regular expressions
	Path       string   `json:"path,omitempty"`
	Globs      []string `json:"globs,omitempty"` // as in ripgrep: "!" in front excludes, the last one that matches decides
	IgnoreCase bool     `json:"ignore_case,omitempty"`
	Word       bool     `json:"word,omitempty"`
	Fixed      bool     `json:"fixed,omitempty"` // the patterns are plain text
	Before     int      `json:"before,omitempty"`
	After      int      `json:"after,omitempty"`
	Mode       GrepMode `json:"mode,omitempty"`
}

// A GrepEvent is one line of a file, or for the other modes one file. The lines of a
// file come together and in order.
type GrepEvent struct {
	Path    string   `json:"path"`
	Line    int64    `json:"line,omitempty"`    // counted from 1
	Offset  int64    `json:"offset,omitempty"`  // of the line in the file, in bytes
	Text    []byte   `json:"text,omitempty"`    // the line, with its newline if it has one
	Spans   [][2]int `json:"spans,omitempty"`   // the matches: byte ranges of Text
	Context bool     `json:"context,omitempty"` // a line near a match
	Count   int64    `json:"count,omitempty"`   // GrepCount: matching lines
}

// GrepSummary says how complete the answer is. All but the last are counts of files.
type GrepSummary struct {
	Considered  int64         `json:"considered"`   // below the path and let through by the globs
	Candidates  int64         `json:"candidates"`   // that the index could not rule out
	Searched    int64         `json:"searched"`     // whose bytes were read
	Matched     int64         `json:"matched"`      //
	Lines       int64         `json:"lines"`        // that match
	NotSearched int64         `json:"not_searched"` // whose text is not on this device
	Bytes       int64         `json:"bytes"`        // read
	Elapsed     time.Duration `json:"elapsed_ns"`
}

// A Conflict is a copy that was made because two devices changed the same thing. First
// to reach the server kept the name.
type Conflict struct {
	Path     string    `json:"path"`               // of the copy
	Original string    `json:"original,omitempty"` // what it is a copy of, if that is still there
	ByName   bool      `json:"by_name,omitempty"`  // found by its name: another device made it, or this one before its state was lost
	Device   string    `json:"device,omitempty"`   // whose version the copy is
	Time     time.Time `json:"time"`
	Size     int64     `json:"size"`
}

// ConflictDetail is a conflict with the versions that it is between. "Ours" is the copy, that
// is the version of the device that came later; "theirs" is what has the name.
type ConflictDetail struct {
	Conflict
	What   string           `json:"what"` // "conflicted-copy", "name-conflict"
	Ours   ConflictVersion  `json:"ours"`
	Theirs *ConflictVersion `json:"theirs,omitempty"`  // missing: nothing has the name any more
	Base   *ConflictVersion `json:"base,omitempty"`    // what both were made from, where that is known and kept
	NoBase string           `json:"no_base,omitempty"` // else why it is not
}

// A ConflictVersion is one of the three versions of a conflict.
type ConflictVersion struct {
	Path    string       `json:"path,omitempty"` // of Ours and Theirs
	Kind    dbfs.Kind    `json:"kind"`
	Size    int64        `json:"size"`
	ModTime time.Time    `json:"mtime"`
	Hash    dbfs.ChunkID `json:"hash"`             // of a file: names its content
	Rev     dbfs.JID     `json:"rev,omitempty"`    // the entry that made it; 0: the server has not seen it
	Time    time.Time    `json:"time,omitzero"`    // when the server took it, if that is known
	Device  string       `json:"device,omitempty"` // whose it is, if that is known
	Unsent  bool         `json:"unsent,omitempty"` // only this device has it
}

// How a conflict is resolved.
type Resolution string

const (
	TakeOurs   Resolution = "ours"   // the copy's content gets the name
	TakeTheirs Resolution = "theirs" // the copy goes
	KeepBoth   Resolution = "both"   // as two files, and nobody asks any more
)

// ResolveRequest resolves a conflict.
type ResolveRequest struct {
	Path   string       `json:"path"` // of the copy
	How    Resolution   `json:"how"`
	Rename string       `json:"rename,omitempty"` // KeepBoth: what the copy is called from now on
	Lose   bool         `json:"lose,omitempty"`   // even if what goes is in no history
	Ours   dbfs.ChunkID `json:"ours,omitzero"`    // not zero: only if these are still the contents
	Theirs dbfs.ChunkID `json:"theirs,omitzero"`
}

// MaxBase is the largest base, in bytes, that is handed out.
const MaxBase = 8 << 20

// A Hold is a mass change that waits for a person.
type Hold struct {
	ID         uint64    `json:"id"`
	Namespace  string    `json:"namespace"`
	Incoming   bool      `json:"incoming"` // other devices did it; else this one
	State      string    `json:"state"`    // "held"; or "approved", "rejected" or "discarded", and being done
	Since      time.Time `json:"since"`
	Deletes    int       `json:"deletes"`
	Overwrites int       `json:"overwrites"`
	Bytes      int64     `json:"bytes"`        // that the files held
	Of         int       `json:"of,omitempty"` // files and directories that there were, if they were counted
}

// HoldUndecided is the State of a Hold that waits.
const HoldUndecided = "held"

// Summary says in words what a hold is about.
func (h *Hold) Summary() string {
	deletes, overwrites := number(h.Deletes, "delete"), number(h.Overwrites, "overwrite")
	switch {
	case h.Overwrites == 0:
		return deletes
	case h.Deletes == 0:
		return overwrites
	}
	return deletes + " and " + overwrites
}

func number(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// NoHold is the error of asking for a hold that is not there.
func NoHold(id uint64) error {
	return WithHint(Errorf(dbfs.ErrNotExist, "nothing is held under the number %d", id), "dbfs held ls")
}

// A HeldItem is one file or directory of a Hold.
type HeldItem struct {
	Path string    `json:"path"` // as it was
	What string    `json:"what"` // "delete" or "overwrite"
	Size int64     `json:"size"`
	Time time.Time `json:"time"`
}

// MaxHeldItems is how many items of an incoming Hold are named.
const MaxHeldItems = 200

// A HoldDecision approves a hold, or rejects it.
type HoldDecision struct {
	ID      uint64 `json:"id"`
	Approve bool   `json:"approve"`
	Discard bool   `json:"discard,omitempty"` // rejected, and what was written in place of old files is not kept
}

// ThrottleRequest limits transfers, in the words of rclone's --bwlimit: a limit, UP:DOWN, off, or a timetable.
// Empty: it stays as it is.
type ThrottleRequest struct {
	Limit string `json:"limit,omitempty"`
}

// Throttle is what transfers are limited to, and to how many bytes a second at the moment; 0: no limit.
type Throttle struct {
	Limit string `json:"limit"`
	Up    int64  `json:"up"`
	Down  int64  `json:"down"`
}

// PauseRequest stops transfers. File access goes on.
type PauseRequest struct {
	For time.Duration `json:"for_ns"` // zero: until resumed
}

// UmountRequest ends a daemon. What is unsent is kept and sent by the next one.
type UmountRequest struct {
	Wait  bool `json:"wait,omitempty"`  // first send everything
	Force bool `json:"force,omitempty"` // take the mount away from programs that still use it
}
