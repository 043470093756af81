package fs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// GetXAttr reads one extended attribute.
func (fs *FS) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if what, virtual := strings.CutPrefix(name, virtualPrefix); virtual {
		v, err := fs.about(header.NodeId, what)
		if err != nil {
			return 0, fs.status(err)
		}
		return answer([]byte(v), dest)
	}
	if !fs.storable(name) {
		return 0, fuse.Status(syscall.EOPNOTSUPP)
	}
	_, n, err := fs.find(header.NodeId)
	if err != nil {
		return 0, fs.status(err)
	}
	v, ok := n.Attr.Xattrs[name]
	if !ok {
		return 0, fuse.ENODATA
	}
	return answer(v, dest)
}

// virtualPrefix begins the names of attributes that tell of a file what dbfs knows of it. They are not
// listed, so that nobody copies them, and cannot be set.
const virtualPrefix = "user.dbfs."

// about returns a virtual attribute. Of what has no name there is none.
func (fs *FS) about(ino uint64, what string) (string, error) {
	sp, n, err := fs.find(ino)
	if err != nil {
		return "", err
	}
	if n.Deleted || fs.cfg.About == nil {
		return "", dbfs.ErrNoAttr
	}
	if n, err = sp.journal.Node(n.ID); err != nil { // as it is recorded, not as somebody is writing it
		return "", err
	}
	all, err := fs.cfg.About(sp.ns, n)
	if err != nil {
		return "", err
	}
	v, ok := all[what]
	if !ok {
		return "", fmt.Errorf("%s%s: %w", virtualPrefix, what, dbfs.ErrNoAttr)
	}
	return v, nil
}

// ListXAttr lists their names, each ended by a NUL.
func (fs *FS) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	_, n, err := fs.find(header.NodeId)
	if err != nil {
		return 0, fs.status(err)
	}
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(n.Attr.Xattrs)) {
		if fs.storable(name) {
			list = append(append(list, name...), 0)
		}
	}
	return answer(list, dest)
}

func answer(v, dest []byte) (uint32, fuse.Status) {
	if len(dest) < len(v) {
		return uint32(len(v)), fuse.ERANGE
	}
	return uint32(copy(dest, v)), fuse.OK
}

// SetXAttr sets one.
func (fs *FS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if strings.HasPrefix(name, virtualPrefix) {
		return fuse.EPERM
	}
	if !fs.storable(name) {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if isACL(name) {
		return fs.status(fs.setACL(in, name, data))
	}
	return fs.editXattrs(in.NodeId, func(m map[string][]byte) error {
		_, there := m[name]
		switch {
		case in.Flags&xattrCreate != 0 && there:
			return dbfs.ErrExist
		case in.Flags&xattrReplace != 0 && !there:
			return dbfs.ErrNoAttr
		}
		m[name] = slices.Clone(data)
		err := (&dbfs.Attr{Xattrs: m}).Check()
		if errors.Is(err, dbfs.ErrTooLarge) { // EFBIG is about files
			err = fmt.Errorf("%w: %v", dbfs.ErrNoSpace, err)
		}
		return err
	})
}

// setACL sets an ACL and the mode with it. Who is not of the file's group takes setgid from it.
func (fs *FS) setACL(in *fuse.SetXAttrIn, name string, data []byte) error {
	sp, n, err := fs.findWritable(in.NodeId)
	if err != nil {
		return err
	}
	attr := n.Attr
	mask, err := setACL(&n, &attr, name, data)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	if mask&dbfs.AttrMode != 0 && in.Uid != 0 && in.Gid != attr.GID {
		attr.Mode &^= syscall.S_ISGID
	}
	return fs.setAttr(sp, n, mask, attr)
}

const (
	xattrCreate  = 1 // as in linux/xattr.h
	xattrReplace = 2
)

// RemoveXAttr removes one.
func (fs *FS) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	if strings.HasPrefix(name, virtualPrefix) {
		return fuse.EPERM
	}
	return fs.editXattrs(header.NodeId, func(m map[string][]byte) error {
		if _, there := m[name]; !there && !isACL(name) {
			return dbfs.ErrNoAttr
		}
		delete(m, name)
		return nil
	})
}

func (fs *FS) editXattrs(ino uint64, edit func(map[string][]byte) error) fuse.Status {
	sp, n, err := fs.findWritable(ino)
	if err != nil {
		return fs.status(err)
	}
	m := make(map[string][]byte, len(n.Attr.Xattrs)+1)
	maps.Copy(m, n.Attr.Xattrs)
	if err := edit(m); err != nil {
		return fs.status(err)
	}
	return fs.status(fs.setAttr(sp, n, dbfs.AttrXattrs, dbfs.Attr{Xattrs: m}))
}

// storable reports whether attributes of that name are kept. POSIX ACLs are not where they would
// be shown but not obeyed.
func (fs *FS) storable(name string) bool {
	if strings.HasPrefix(name, virtualPrefix) {
		return false
	}
	if name == aclAccess || name == aclDefault {
		return fs.cfg.ACL
	}
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
