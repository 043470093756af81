package fs

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/journal"
)

// POSIX ACLs, where the mount obeys them (Config.ACL). They are kept as the extended attributes that
// Linux shows them as. The kernel checks accesses by them; that they agree with the mode, and that
// what is made in a directory inherits from it, is our work.
//
//	u32 version (2)
//	entries: u16 tag, u16 permissions, u32 user or group
//
// all little-endian.

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	aclPrefix  = "system.posix_acl_"
)

// tags of entries.
const (
	aclOwner uint16 = 1 << iota
	aclUser
	aclGroupObj
	aclGroup
	aclMask
	aclOther
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

type posixACL []aclEntry

const (
	aclVersion = 2
	aclHead    = 4
	aclLen     = 8 // of an entry
)

// decodeACL returns false for what is no ACL.
func decodeACL(b []byte) (posixACL, bool) {
	if len(b) < aclHead || (len(b)-aclHead)%aclLen != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, false
	}
	var a posixACL
	once := uint16(0)
	for b = b[aclHead:]; len(b) > 0; b = b[aclLen:] {
		e := aclEntry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])}
		switch {
		case e.perm > 7, once&e.tag != 0:
			return nil, false
		case e.tag == aclOwner, e.tag == aclGroupObj, e.tag == aclMask, e.tag == aclOther:
			once |= e.tag
		case e.tag != aclUser && e.tag != aclGroup:
			return nil, false
		}
		a = append(a, e)
	}
	const needed = aclOwner | aclGroupObj | aclOther
	return a, once&needed == needed
}

func (a posixACL) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range a {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// classes calls fn with the entries that a mode shows, and how far left their bits are: those of the
// owner, of the mask or else the group, and of the others.
func (a posixACL) classes(fn func(e *aclEntry, shift int)) {
	middle := aclGroupObj
	if slices.ContainsFunc(a, func(e aclEntry) bool { return e.tag == aclMask }) {
		middle = aclMask
	}
	for i := range a {
		switch a[i].tag {
		case aclOwner:
			fn(&a[i], 6)
		case middle:
			fn(&a[i], 3)
		case aclOther:
			fn(&a[i], 0)
		}
	}
}

// mode returns the permission bits that an ACL shows as.
func (a posixACL) mode() (bits uint32) {
	a.classes(func(e *aclEntry, shift int) { bits |= uint32(e.perm) << shift })
	return bits
}

// chmod returns the ACL of a file whose mode is changed.
func (a posixACL) chmod(mode uint32) posixACL {
	b := slices.Clone(a)
	b.classes(func(e *aclEntry, shift int) { e.perm = uint16(mode >> shift & 7) })
	return b
}

// within returns what a file gets from its directory's default ACL that is made with a mode.
func (a posixACL) within(mode uint32) posixACL {
	b := slices.Clone(a)
	b.classes(func(e *aclEntry, shift int) { e.perm &= uint16(mode >> shift & 7) })
	return b
}

// isMode reports whether an ACL says no more than a mode does.
func (a posixACL) isMode() bool { return len(a) == 3 }

// setACL sets the ACL of a file in its attributes, and with it the mode. What says no more than a mode
// is not kept.
func setACL(n *dbfs.Node, attr *dbfs.Attr, name string, b []byte) (dbfs.AttrMask, error) {
	a, ok := decodeACL(b)
	switch {
	case !ok:
		return 0, dbfs.ErrInvalid
	case name == aclDefault && n.Kind != dbfs.KindDir:
		return 0, syscall.EACCES
	}
	mask := dbfs.AttrXattrs
	attr.Xattrs = maps.Clone(attr.Xattrs)
	if attr.Xattrs == nil {
		attr.Xattrs = make(map[string][]byte)
	}
	attr.Xattrs[name] = slices.Clone(b)
	if name == aclAccess {
		mask |= dbfs.AttrMode
		attr.Mode = attr.Mode&^0o777 | a.mode()
		if a.isMode() {
			delete(attr.Xattrs, name)
		}
	}
	return mask, attr.Check()
}

// chmodACL keeps a file's ACL in step with its mode.
func chmodACL(attr *dbfs.Attr) dbfs.AttrMask {
	a, ok := decodeACL(attr.Xattrs[aclAccess])
	if !ok {
		return 0
	}
	attr.Xattrs = maps.Clone(attr.Xattrs)
	attr.Xattrs[aclAccess] = a.chmod(attr.Mode).encode()
	return dbfs.AttrXattrs
}

// inheritACL gives what is made in a directory its share of that one's default ACL, or else takes
// from its mode what the maker's umask says: where ACLs are obeyed the kernel leaves that to us.
func inheritACL(dir dbfs.Node, what *journal.NewNode, umask uint32) {
	b := dir.Attr.Xattrs[aclDefault]
	a, ok := decodeACL(b)
	switch {
	case what.Kind == dbfs.KindSymlink:
		return
	case !ok:
		what.Attr.Mode &^= umask & 0o777
		return
	}
	mine := a.within(what.Attr.Mode)
	what.Attr.Mode = what.Attr.Mode&^0o777 | mine.mode()
	what.Attr.Xattrs = make(map[string][]byte)
	if !mine.isMode() {
		what.Attr.Xattrs[aclAccess] = mine.encode()
	}
	if what.Kind == dbfs.KindDir {
		what.Attr.Xattrs[aclDefault] = b
	}
}

func isACL(name string) bool { return strings.HasPrefix(name, aclPrefix) }
