package fs

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
)

// Where names are portable, README leads to the file that is called readme. The kernel knows
// nothing of that: to it they are two entries of a directory. What follows:
//
// A name that is not there is never kept by the kernel: another spelling of it may come.
//
// A name found by another spelling than its own is not kept either, and must not lead to the
// node's inode: of a rename between two entries of one inode the kernel says that it is done
// and does not ask, so that nothing could ever get another spelling of its name. Such an
// entry leads to an alias, an inode number that stands for the node for the time being.
//
// An alias of a file can be used like the file. It has a number of its own in stat, or mv(1) would
// take the two for one file and refuse. It is read and written past the kernel's page cache, and
// of what changes through it the kernel is told at once, for the node's inode.
//
// An alias of a directory is only an entry: one end of a rename, the one to be removed, or in the
// way of what is to be made. For everything else, stat too, a program is to have the directory
// itself: the kernel is told ESTALE and begins the call anew, looking every name up again,
// and this time what that thread finds are the directories. So nobody stands in an alias, nothing
// is cached below it, and whoever compares inode numbers on the way down sees what they expect.
// Only who opens a directory as a mere path (O_PATH) holds an alias: to begin anew helps nothing
// there, as shows when the same thread comes with the same alias again. From then on that one
// is served like the directory, and nothing is kept of what is found in it.
//
// Pipes, sockets and devices have none: who opens one in any spelling meets the others, and only
// by a third name it gets another spelling.
//
// What this cannot do: lock or watch a file in one spelling against who uses it in another; fstat
// such a descriptor before anything else was done with it. And mv(1), unlike rename(2), takes
// two spellings of a directory for one.
//
// An edit by another spelling leaves the kernel with the entry of the right one, which is not
// right any more. So as long as a node has an alias the kernel does not keep that entry either;
// where the edit is the first that is heard of the spelling, it is told of it soon after, as of
// other devices' edits.

// aliasBit marks the numbers of aliases. Those of nodes count from one.
const aliasBit = 1 << 62

// An alias is a node as the kernel knows it by another spelling of its name.
type alias struct {
	key     aliasKey
	space   *space
	id      dbfs.NodeID // what it stands for
	dir     bool
	held    bool   // a directory that somebody has as a mere path
	lookups uint64 // of the kernel
}

// aliasKey is a name, by the node that has it (of a hard link, the link), and a spelling.
type aliasKey struct {
	ns   dbfs.NamespaceID
	id   dbfs.NodeID
	name string
}

// aliases are those that the kernel has.
type aliases struct {
	mu    sync.Mutex // guards what follows
	byIno map[uint64]*alias
	inoOf map[aliasKey]uint64
	count map[aliasKey]int // of those of a node, by its key without a name
	next  uint64
	anew  map[uint32]retry // threads that begin a call anew
	some  atomic.Bool      // there are such threads
}

// A retry is a call that is begun anew.
type retry struct {
	ino   uint64     // the alias for which
	until time.Time  // it is over, whatever happens
	found []aliasKey // directories that were looked up by their own spelling since
}

// retryTime is far more than the kernel takes to begin a call anew.
const retryTime = time.Second

func newAliases() *aliases {
	return &aliases{byIno: make(map[uint64]*alias), inoOf: make(map[aliasKey]uint64), count: make(map[aliasKey]int), anew: make(map[uint32]retry)}
}

// lookup returns the alias of n by another spelling of a name that leads to it; 0: the thread is to
// have n itself. first: it had none before.
func (as *aliases) lookup(sp *space, stored, n *dbfs.Node, name string, thread uint32, now time.Time) (ino uint64, first bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if r := as.anew[thread]; n.Kind.IsDir() && now.Before(r.until) && !slices.Contains(r.found, aliasKey{sp.ns, n.ID, n.Name}) {
		return 0, false
	}
	key := aliasKey{sp.ns, stored.ID, name}
	if ino = as.inoOf[key]; ino == 0 {
		node := aliasKey{sp.ns, n.ID, ""}
		as.count[node]++
		first = as.count[node] == 1
		as.next++
		ino = aliasBit | as.next
		as.byIno[ino] = &alias{key: key, space: sp, id: n.ID, dir: n.Kind.IsDir()}
		as.inoOf[key] = ino
	}
	as.byIno[ino].lookups++
	return ino, first
}

// has reports whether a node has an alias.
func (as *aliases) has(sp *space, n *dbfs.Node) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.count[aliasKey{sp.ns, n.ID, ""}] > 0
}

// get returns what a number is an alias of; nil: the kernel has dropped it.
func (as *aliases) get(ino uint64) *alias {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.byIno[ino]
}

func (as *aliases) forget(ino, lookups uint64) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a := as.byIno[ino]; a != nil {
		if a.lookups -= min(lookups, a.lookups); a.lookups == 0 {
			delete(as.byIno, ino)
			node := aliasKey{a.key.ns, a.id, ""}
			if as.count[node]--; as.count[node] == 0 {
				delete(as.count, node)
			}
			if as.inoOf[a.key] == ino {
				delete(as.inoOf, a.key)
			}
		}
	}
}

// found notes that a thread has found a directory by its own spelling. If it looks for another one
// now it does so for the sake of that, as in a rename from the one to the other.
func (as *aliases) found(sp *space, n *dbfs.Node, thread uint32) {
	if !as.some.Load() || !n.Kind.IsDir() {
		return
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if r, ok := as.anew[thread]; ok {
		r.found = append(r.found, aliasKey{sp.ns, n.ID, n.Name})
		as.anew[thread] = r
	}
}

// reach reports what a thread has that comes with the alias of a directory: nil if it is to begin its
// call anew.
func (as *aliases) reach(ino uint64, thread uint32, now time.Time) *alias {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byIno[ino]
	if a != nil && !a.held {
		if r := as.anew[thread]; r.ino == ino && now.Before(r.until) {
			a.held = true
			delete(as.inoOf, a.key) // who looks the spelling up gets another one
		}
	}
	if a != nil && a.held {
		return a
	}
	maps.DeleteFunc(as.anew, func(_ uint32, r retry) bool { return now.After(r.until) })
	as.anew[thread] = retry{ino: ino, until: now.Add(retryTime)}
	as.some.Store(true)
	return nil
}

// end notes that a call has come to what it is about.
func (as *aliases) end(thread uint32) {
	if !as.some.Load() {
		return
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	delete(as.anew, thread)
	as.some.Store(len(as.anew) > 0)
}

// portable reports whether a name may be found by another spelling.
func (sp *space) portable() bool { return sp.journal.Rule() == dbfs.NamesPortable }

// spell makes of a reply that names a node one that names its alias, if it was found by another
// spelling.
func (fs *FS) spell(sp *space, stored, n *dbfs.Node, name string, caller *fuse.InHeader, out *fuse.EntryOut) {
	if stored.Name == name {
		fs.aliases.found(sp, n, caller.Pid)
		if fs.aliases.has(sp, n) {
			out.EntryValid = 0
		}
		return
	}
	out.EntryValid = 0
	if n.Kind != dbfs.KindFile && n.Kind != dbfs.KindSymlink && !n.Kind.IsDir() {
		return
	}
	ino, first := fs.aliases.lookup(sp, stored, n, name, caller.Pid, fs.cfg.Clock())
	if first {
		fs.changes.forget(sp.ns, spelling{caller.NodeId, stored.Name})
	}
	if ino != 0 {
		out.NodeId, out.AttrValid = ino, 0
		if !n.Kind.IsDir() {
			out.Attr.Ino = ino
		}
	}
}

func isAlias(ino uint64) bool { return ino&aliasBit != 0 }

// A spelled answers the kernel for an FS, and keeps aliases from it.
type spelled struct{ *FS }

// again makes the kernel begin a call anew.
const again = fuse.Status(syscall.ESTALE)

// in goes before what is done in a directory. It is node, and the end of a call's way.
func (s spelled) in(caller *fuse.InHeader, dir *uint64) fuse.Status {
	code := s.node(caller, dir)
	if code == fuse.OK {
		s.aliases.end(caller.Pid)
	}
	return code
}

// done goes after it: what was changed in a directory through an alias, the kernel does not know of
// the directory.
func (s spelled) done(code fuse.Status, as, dir uint64, name string) fuse.Status {
	if code == fuse.OK && isAlias(as) {
		s.changes.forget(0, spelling{dir, name})
	}
	return code
}

// keep lets the kernel keep an entry of a directory, but not of an alias of one.
func keep(code fuse.Status, as uint64, out *fuse.EntryOut) fuse.Status {
	if isAlias(as) {
		out.EntryValid = 0
	}
	return code
}

// node goes before what is done with a node: if that is an alias, ino is made the number of
// what it stands for. It returns again for that of a directory, unless it is held.
func (s spelled) node(caller *fuse.InHeader, ino *uint64) fuse.Status {
	if !isAlias(*ino) {
		return fuse.OK
	}
	a := s.aliases.get(*ino)
	if a == nil || a.dir {
		if a = s.aliases.reach(*ino, caller.Pid, s.cfg.Clock()); a == nil {
			return again
		}
	}
	n, err := a.space.journal.Node(a.id)
	*ino = n.Ino
	return s.status(stale(err))
}

// changed tells the kernel of bytes or attributes that changed through an alias.
func (s spelled) changed(ino uint64, off, size int64) { s.server.InodeNotify(ino, off, size) }

func (s spelled) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	direct := *header
	if code := s.node(header, &direct.NodeId); code != fuse.OK {
		return code
	}
	return keep(s.FS.Lookup(cancel, &direct, name, out), header.NodeId, out)
}

func (s spelled) Forget(ino, lookups uint64) {
	if isAlias(ino) {
		s.aliases.forget(ino, lookups)
		return
	}
	s.FS.Forget(ino, lookups)
}

// What is done with a node.

func (s spelled) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	direct := *in
	if code := s.node(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := s.FS.GetAttr(cancel, &direct, out)
	s.look(in.NodeId, out)
	return code
}

func (s spelled) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	direct := *in
	if code := s.node(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	s.aliases.end(in.Pid)
	code := s.FS.SetAttr(cancel, &direct, out)
	if isAlias(in.NodeId) {
		s.changed(direct.NodeId, 0, 0)
	}
	s.look(in.NodeId, out)
	return code
}

// look makes attributes those of an alias, if it is one.
func (s spelled) look(ino uint64, out *fuse.AttrOut) {
	if !isAlias(ino) {
		return
	}
	out.AttrValid = 0
	if out.Attr.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		out.Attr.Ino = ino
	}
}

// Open opens an alias past the kernel's pages, which are those of the node's inode.
func (s spelled) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	direct := *in
	if code := s.node(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	s.aliases.end(in.Pid)
	if !isAlias(in.NodeId) {
		return s.FS.Open(cancel, in, out)
	}
	_, fh, err := s.openIno(direct.NodeId, in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY)
	if err != nil {
		return s.status(err)
	}
	out.Fh, out.OpenFlags = fh, fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (s spelled) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, code := s.FS.Write(cancel, in, data)
	if ino := in.NodeId; isAlias(ino) && s.node(&in.InHeader, &ino) == fuse.OK {
		s.changed(ino, int64(in.Offset), int64(n))
	}
	return n, code
}

func (s spelled) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	code := s.FS.Fallocate(cancel, in)
	if ino := in.NodeId; isAlias(ino) && s.node(&in.InHeader, &ino) == fuse.OK {
		s.changed(ino, 0, 0)
	}
	return code
}

// CopyFileRange leaves the copying of aliases to the kernel.
func (s spelled) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	if isAlias(in.NodeId) || isAlias(in.NodeIdOut) {
		return 0, fuse.Status(syscall.EOPNOTSUPP)
	}
	return s.FS.CopyFileRange(cancel, in)
}

func (s spelled) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	direct := *header
	if code := s.node(header, &direct.NodeId); code != fuse.OK {
		return nil, code
	}
	return s.FS.Readlink(cancel, &direct)
}

func (s spelled) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	direct := *header
	if code := s.node(header, &direct.NodeId); code != fuse.OK {
		return 0, code
	}
	return s.FS.GetXAttr(cancel, &direct, name, dest)
}

func (s spelled) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	direct := *header
	if code := s.node(header, &direct.NodeId); code != fuse.OK {
		return 0, code
	}
	return s.FS.ListXAttr(cancel, &direct, dest)
}

func (s spelled) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	direct := *in
	if code := s.node(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	return s.FS.SetXAttr(cancel, &direct, name, data)
}

func (s spelled) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	direct := *header
	if code := s.node(header, &direct.NodeId); code != fuse.OK {
		return code
	}
	return s.FS.RemoveXAttr(cancel, &direct, name)
}

// What is done in a directory.

func (s spelled) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := keep(s.FS.Mknod(cancel, &direct, name, out), in.NodeId, out)
	return s.done(code, in.NodeId, direct.NodeId, name)
}

func (s spelled) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := keep(s.FS.Mkdir(cancel, &direct, name, out), in.NodeId, out)
	return s.done(code, in.NodeId, direct.NodeId, name)
}

func (s spelled) Symlink(cancel <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	direct := *header
	if code := s.in(header, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := keep(s.FS.Symlink(cancel, &direct, target, name, out), header.NodeId, out)
	return s.done(code, header.NodeId, direct.NodeId, name)
}

func (s spelled) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	if code := s.node(&in.InHeader, &direct.Oldnodeid); code != fuse.OK {
		return code
	}
	code := keep(s.FS.Link(cancel, &direct, name, out), in.NodeId, out)
	return s.done(code, in.NodeId, direct.NodeId, name)
}

func (s spelled) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := keep(s.FS.Create(cancel, &direct, name, out), in.NodeId, &out.EntryOut)
	return s.done(code, in.NodeId, direct.NodeId, name)
}

func (s spelled) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	return s.FS.Tmpfile(cancel, &direct, out)
}

func (s spelled) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	direct := *header
	if code := s.in(header, &direct.NodeId); code != fuse.OK {
		return code
	}
	return s.done(s.FS.Unlink(cancel, &direct, name), header.NodeId, direct.NodeId, name)
}

func (s spelled) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	direct := *header
	if code := s.in(header, &direct.NodeId); code != fuse.OK {
		return code
	}
	return s.done(s.FS.Rmdir(cancel, &direct, name), header.NodeId, direct.NodeId, name)
}

func (s spelled) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	if code := s.in(&in.InHeader, &direct.Newdir); code != fuse.OK {
		return code
	}
	code := s.done(s.FS.Rename(cancel, &direct, oldName, newName), in.NodeId, direct.NodeId, oldName)
	return s.done(code, in.Newdir, direct.Newdir, newName)
}

func (s spelled) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	direct := *in
	if code := s.in(&in.InHeader, &direct.NodeId); code != fuse.OK {
		return code
	}
	code := s.FS.OpenDir(cancel, &direct, out)
	if isAlias(in.NodeId) {
		out.OpenFlags = 0
	}
	return code
}

// A spelling is one name in a directory, of which the kernel may have an entry.
type spelling struct {
	dir  uint64
	name string
}

// misspelled lets the kernel soon forget entries that an edit has made untrue by another spelling,
// or made, under a name that is not the node's.
func (fs *FS) misspelled(sp *space, dir uint64, names ...string) {
	for _, name := range names {
		fs.changes.forget(sp.ns, spelling{dir, name})
	}
}
