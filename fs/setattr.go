package fs

import (
	"fmt"
	"maps"
	"math"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// SetAttr changes size, mode, owner and times.
func (fs *FS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	sp, n, err := fs.findWritable(in.NodeId)
	if err != nil {
		return fs.status(err)
	}
	if size, ok := in.GetSize(); ok {
		if err := fs.truncate(cancel, &in.InHeader, int64(size)); err != nil {
			return fs.status(err)
		}
		if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
			n.Attr.Mode &^= killed(n.Attr.Mode)
			if err := fs.setAttr(sp, n, dbfs.AttrMode, n.Attr); err != nil {
				return fs.status(err)
			}
		}
	}
	mask, attr, err := fs.wanted(in, n)
	if err == nil && mask != 0 {
		err = fs.setAttr(sp, n, mask, attr)
	}
	if err != nil {
		return fs.status(err)
	}
	if _, n, err = fs.find(in.NodeId); err != nil {
		return fs.status(err)
	}
	out.AttrValid = forever
	fs.attr(&n, &out.Attr)
	return fuse.OK
}

// wanted collects the attributes that a request changes.
func (fs *FS) wanted(in *fuse.SetAttrIn, n dbfs.Node) (dbfs.AttrMask, dbfs.Attr, error) {
	var mask dbfs.AttrMask
	attr := n.Attr
	if mode, ok := in.GetMode(); ok {
		mask |= dbfs.AttrMode
		attr.Mode = mode & 0o7777
		mask |= chmodACL(&attr)
	}
	uid, setUID := in.GetUID()
	gid, setGID := in.GetGID()
	if setUID || setGID {
		if !fs.cfg.Preserve {
			if setUID && uid != fs.cfg.UID || setGID && gid != fs.cfg.GID {
				return 0, attr, fmt.Errorf("this mount shows one owner for everything: %w", syscall.EPERM)
			}
		} else {
			mask |= dbfs.AttrOwner
			if setUID {
				attr.UID = uid
			}
			if setGID {
				attr.GID = gid
			}
			if n.Kind == dbfs.KindFile && in.Valid&fuse.FATTR_MODE == 0 {
				mask |= dbfs.AttrMode
				attr.Mode &^= killed(attr.Mode)
			}
			if _, ok := attr.Xattrs[capability]; ok {
				mask |= dbfs.AttrXattrs
				attr.Xattrs = maps.Clone(attr.Xattrs)
				delete(attr.Xattrs, capability)
			}
		}
	}
	if mtime, ok := in.GetMTime(); ok {
		mask |= dbfs.AttrMTime
		attr.MTime = nanoseconds(mtime)
		if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
			attr.MTime = fs.cfg.Clock().UnixNano()
		}
	}
	return mask, attr, nil
}

// nanoseconds returns a time as it is stored, which reaches from 1678 to 2262.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// killed returns the bits that a write or a change of owner takes from a mode: setuid, and
// setgid where it means execution.
func killed(mode uint32) uint32 {
	if mode&0o010 != 0 {
		return syscall.S_ISUID | syscall.S_ISGID
	}
	return syscall.S_ISUID
}

func (fs *FS) setAttr(sp *space, n dbfs.Node, mask dbfs.AttrMask, attr dbfs.Attr) error {
	if n.Deleted { // unlinked but open: nobody but its handles can see it
		fs.setGhostAttr(n.Ino, mask, attr)
		if f := fs.openFile(n.Ino); f != nil {
			f.setOwnAttr(mask, attr)
		}
		return nil
	}
	if mask&dbfs.AttrMTime != 0 {
		if f := fs.openFile(n.Ino); f != nil {
			f.setMTime(attr.MTime)
		}
		fs.dirTimes.forget(n.Ino)
	}
	_, err := sp.journal.SetAttr(n.ID, mask, attr)
	return err
}

// capability is the attribute that gives a program rights; like setuid it does not outlive a
// change of the program, which the kernel leaves to us.
const capability = "security.capability"

func (fs *FS) dropCapability(sp *space, n dbfs.Node) error {
	if _, ok := n.Attr.Xattrs[capability]; !ok {
		return nil
	}
	rest := maps.Clone(n.Attr.Xattrs)
	delete(rest, capability)
	return fs.setAttr(sp, n, dbfs.AttrXattrs, dbfs.Attr{Xattrs: rest})
}

// mayWrite returns ErrReadOnly in a namespace that the user may only read.
func (sp *space) mayWrite() error {
	if dbfs.Role(sp.role.Load()) < dbfs.RoleWrite {
		return fmt.Errorf("namespace %s: you may read here, not write: %w", sp.ns, dbfs.ErrReadOnly)
	}
	return nil
}

// Statx is answered through GetAttr; the kernel falls back to it.
func (fs *FS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return fuse.ENOSYS
}
