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
	if !storable(name) {
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

// ListXAttr lists their names, each ended by a NUL.
func (fs *FS) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	_, n, err := fs.find(header.NodeId)
	if err != nil {
		return 0, fs.status(err)
	}
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(n.Attr.Xattrs)) {
		list = append(append(list, name...), 0)
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
	if !storable(name) {
		return fuse.Status(syscall.EOPNOTSUPP)
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

const (
	xattrCreate  = 1 // as in linux/xattr.h
	xattrReplace = 2
)

// RemoveXAttr removes one.
func (fs *FS) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.editXattrs(header.NodeId, func(m map[string][]byte) error {
		if _, there := m[name]; !there {
			return dbfs.ErrNoAttr
		}
		delete(m, name)
		return nil
	})
}

func (fs *FS) editXattrs(ino uint64, edit func(map[string][]byte) error) fuse.Status {
	sp, n, err := fs.find(ino)
	if err == nil {
		err = sp.mayWrite()
	}
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

// storable reports whether attributes of that name are kept. POSIX ACLs are not: they would
// be shown but not obeyed.
func storable(name string) bool {
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
