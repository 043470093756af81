package journal

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dbfs/dbfs"
)

// The two suffixes that reconciling gives. A copy holds bytes that lost against another
// device's edit of the same file; a name conflict is a file of its own whose name was taken.
const (
	conflictedCopy = "conflicted copy"
	nameConflict   = "name conflict"
)

// suffix matches what conflictName adds, so that a conflict of a conflict replaces it
// instead of nesting.
var suffix = regexp.MustCompile(` \((?:conflicted copy|name conflict), ([^()]*) (\d{4}-\d{2}-\d{2})(?: \d+)?\)(\.[^. ()]*)?$`)

// ConflictOf takes apart a name that reconciling gave, here or on another device: what the
// file was called, on which device, and the day. false: it is a name like any other.
func ConflictOf(name string) (original, device string, day time.Time, ok bool) {
	m := suffix.FindStringSubmatchIndex(name)
	if m == nil {
		return "", "", time.Time{}, false
	}
	part := func(i int) string { return name[max(m[2*i], 0):max(m[2*i+1], 0)] }
	day, err := time.Parse(time.DateOnly, part(2))
	return name[:m[0]] + part(3), part(1), day, err == nil
}

// baseAttr is the extended attribute of a conflicted copy that says which content of which file
// it was made from, for devices other than the one that made it: the id and the revision.
const baseAttr = "user.dbfs.base"

// BaseOf returns what a conflicted copy was made from: a content that a file had. false: it does
// not say.
func BaseOf(copy *dbfs.Node) (file dbfs.NodeID, rev dbfs.JID, ok bool) {
	id, number, ok := strings.Cut(string(copy.Attr.Xattrs[baseAttr]), " ")
	if !ok || file.UnmarshalText([]byte(id)) != nil {
		return file, 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	return file, dbfs.JID(n), err == nil && n > 0
}

// withBase returns extended attributes with what a copy was made from, if there is room for it.
func withBase(attrs map[string][]byte, file dbfs.NodeID, rev dbfs.JID) map[string][]byte {
	with := dbfs.Attr{Xattrs: maps.Clone(attrs)}
	if with.Xattrs == nil {
		with.Xattrs = make(map[string][]byte)
	}
	with.Xattrs[baseAttr] = fmt.Appendf(nil, "%s %d", file, uint64(rev))
	if rev == 0 || with.Check() != nil {
		return attrs
	}
	return with.Xattrs
}

// conflictName returns the name that a file called name gets when it has to step aside:
// "stem (conflicted copy, DEVICE 2026-05-01).ext", with a number from the second try on.
// A dotfile has the suffix at its end. The result is never longer than dbfs.MaxName.
func conflictName(name, what, device string, when time.Time, try int) string {
	for suffix.MatchString(name) {
		name = suffix.ReplaceAllString(name, "$3")
	}
	stem, ext := splitExt(name)
	tail := fmt.Sprintf(" (%s, %s %s", what, cleanDevice(device), when.UTC().Format(time.DateOnly))
	if try > 1 {
		tail += fmt.Sprintf(" %d", try)
	}
	tail += ")" + ext
	return cut(stem, dbfs.MaxName-len(tail)) + tail
}

// splitExt cuts the extension off, unless it is all there is, or too long or odd to be one.
func splitExt(name string) (stem, ext string) {
	ext = path.Ext(name)
	if len(ext) == len(name) || len(ext) > 20 || strings.ContainsAny(ext, " ()") {
		return name, ""
	}
	return strings.TrimSuffix(name, ext), ext
}

// anotherDevice stands for a name of which nothing can be shown.
const anotherDevice = "another device"

// cleanDevice leaves of a device's name what may stand inside the parentheses of a file name.
func cleanDevice(device string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|()`, r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, device)
	if clean = strings.TrimSpace(cut(clean, 40)); clean == "" {
		return anotherDevice
	}
	return clean
}

// cut shortens s to at most n bytes, at a rune's border.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// A Notice tells the user what reconciling did to one of the user's edits.
type Notice struct {
	Time   time.Time   `json:"time"`
	What   NoticeKind  `json:"what"`
	Node   dbfs.NodeID `json:"node"`             // what the edit became
	Other  dbfs.NodeID `json:"other,omitzero"`   // what it collided with
	Name   string      `json:"name"`             // as the user called it
	Became string      `json:"became,omitempty"` // its name now, if another
	Base   dbfs.JID    `json:"base,omitempty"`   // of a copy: the content of Other that it was made from; 0: not known
}

// A NoticeKind says what happened. Copies and renames stay listed until somebody resolves
// them; the others only go to the log.
type NoticeKind string

const (
	NoticeCopy    NoticeKind = "conflicted-copy" // both edited: these bytes are in a copy beside the other's
	NoticeRename  NoticeKind = "name-conflict"   // the name was taken: this file has another one
	NoticeRevive  NoticeKind = "revived"         // deleted there, edited here: it is back
	NoticeDropped NoticeKind = "dropped"         // the other's move or edit stands, this move or delete does not
)

// Lasting reports whether somebody should look at the result.
func (k NoticeKind) Lasting() bool { return k == NoticeCopy || k == NoticeRename }
