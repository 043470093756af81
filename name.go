package dbfs

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxName is the longest name in bytes.
const MaxName = 255

// CheckName returns ErrInvalid, saying why, unless name can stand in a directory: 1 to
// 255 bytes of valid UTF-8 without '/' and NUL, and neither "." nor "..". The server
// checks every name it is given, and the client checks again what the server says.
func CheckName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: %q is not a name", ErrInvalid, name)
	case len(name) > MaxName:
		return fmt.Errorf("%w: a name of %d bytes; the limit is %d", ErrNameTooLong, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name %q is not UTF-8", ErrInvalid, name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: the name %q holds a slash or a NUL", ErrInvalid, name)
	}
	return nil
}

// Check returns ErrInvalid unless the node could be one: what a decoder cannot know and
// everything that comes from another machine must pass.
func (n *Node) Check() error {
	if n.IsRoot() {
		if n.Kind != KindDir || n.Deleted {
			return fmt.Errorf("%w: the root is a %s", ErrInvalid, n.Kind)
		}
		return nil
	}
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if n.Parent == n.ID {
		return fmt.Errorf("%w: node %s is its own parent", ErrInvalid, n.ID)
	}
	switch n.Kind {
	case KindFile:
		return n.Content.Check()
	case KindDir, KindMount, KindFifo, KindSocket, KindCharDev, KindBlockDev:
		return nil
	case KindSymlink:
		return CheckTarget(n.Target)
	case KindLink:
		if n.Link == RootNode || n.Link == n.ID {
			return fmt.Errorf("%w: link %s is a name of %s", ErrInvalid, n.ID, n.Link)
		}
		return nil
	}
	return fmt.Errorf("%w: node %s is of kind %d", ErrInvalid, n.ID, n.Kind)
}

// MaxTarget is the longest symlink target in bytes (PATH_MAX less its NUL).
const MaxTarget = 4095

// CheckTarget returns ErrInvalid unless target can be what a symlink points to.
func CheckTarget(target string) error {
	switch {
	case target == "" || strings.ContainsRune(target, 0) || !utf8.ValidString(target):
		return fmt.Errorf("%w: symlink target %q", ErrInvalid, target)
	case len(target) > MaxTarget:
		return fmt.Errorf("%w: a symlink target of %d bytes", ErrNameTooLong, len(target))
	}
	return nil
}

// MaxXattrs is how many bytes the names and values of a node's extended attributes may have
// together: one value of the most that Linux allows, 64 KiB, and some names.
const MaxXattrs = 68 << 10

// Check returns an error unless a node can have these attributes: ErrInvalid, or ErrTooLarge
// for extended attributes of more than MaxXattrs. Whoever records an edit asks before the
// server does.
func (a *Attr) Check() error {
	if a.Mode&^0o7777 != 0 {
		return fmt.Errorf("%w: mode %#o", ErrInvalid, a.Mode)
	}
	total := 0
	for name, v := range a.Xattrs {
		if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
			return fmt.Errorf("%w: extended attribute %q", ErrInvalid, name)
		}
		total += len(name) + len(v)
	}
	if total > MaxXattrs {
		return fmt.Errorf("%w: %d bytes of extended attributes; the limit is %d", ErrTooLarge, total, MaxXattrs)
	}
	return nil
}
