// Package fs answers the kernel: it shows the user's namespaces as one tree through FUSE.
//
// It speaks go-fuse's raw protocol, one method a request, and keeps nothing for a file that
// is not open: an inode number leads through the metadata database to a namespace and a
// node, so a million cached inodes cost the daemon no memory. Names, attributes, listings,
// link targets and bytes are cached by the kernel without a time limit, because every
// local change passes through here, and every remote one is told to the kernel by the
// goroutine in invalidate.go, which holds no lock.
//
// Every edit goes to the journal of its namespace and returns when it is recorded there;
// bytes go through package cache. The network is never waited for, except by a read of
// bytes that are not on this machine.
//
// Lock order: FS.opening, file.sealing, file.reading, file.mu, FS.mu. None is held while the kernel
// is notified, nor FS.opening and FS.mu while bytes are read or written.
package fs

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
	"github.com/dbfs/dbfs/recent"
)

// Config is what a mount is made of.
type Config struct {
	Cache  *cache.Cache
	KV     dbfs.KV
	Inodes *cache.Inodes
	Root   dbfs.NamespaceID // shown at the top
	Clock  func() time.Time
	Log    *slog.Logger

	// Closed hears of files that were read and are not open any more. It must only queue.
	Closed func(dbfs.NamespaceID, dbfs.NodeID)

	// Begun hears of files larger than cache.SmallSize to which somebody begins to write. It must
	// only queue. nil: nobody wants to know.
	Begun func(dbfs.NamespaceID, dbfs.NodeID)

	// Shared hears of files whose chunks a copy has, too, when the copy is recorded. It must only
	// queue. nil: nobody wants to know.
	Shared func(dbfs.NamespaceID, dbfs.NodeID)

	// Synced hears of every fsync. nil: nobody wants to know.
	Synced func()

	// Asker returns on whose behalf bytes of a file are read or, if it writes, brought so that others can be written beside them; tid is the
	// thread that asks, 0 if it cannot be seen from here. nil: nobody wants to know.
	Asker func(tid int, f cache.File, writes bool) cache.Asker

	// About returns what the virtual attributes of a file say, by their names without the
	// prefix user.dbfs.; nil: there are none.
	About func(dbfs.NamespaceID, dbfs.Node) (map[string]string, error)

	AllowOther bool
	// Preserve shows and keeps the owners that nodes have; otherwise everything belongs to
	// UID and GID, and changing owners is refused.
	Preserve bool
	UID, GID uint32
	ACL      bool // obey POSIX ACLs; the kernel asks for them
	ReadOnly bool
	// NoPassthrough keeps the kernel from reading large files without the daemon, as it may where
	// root mounts.
	NoPassthrough bool

	Debug  bool   // log every request
	Source string // what mount(8) and df show as the device
	Disk   string // a directory on the disk that holds what is not sent yet; statfs shows it
}

// FS is a mounted tree.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not implemented here
	cfg                Config
	server             *fuse.Server
	changes            *changes
	aliases            *aliases
	pages              pages
	lender             lender
	sealer             sealer
	inos               *recent.Map[uint64, inoPlace] // where inode numbers led lately; see nodeOf
	done               chan struct{}                 // closed when the mount is gone
	since              int64                         // nanoseconds: when New was called
	telling            sync.WaitGroup

	opening sync.RWMutex // see save.go

	mu       sync.Mutex // guards what follows
	spaces   map[dbfs.NamespaceID]*space
	files    map[uint64]*file   // open files by inode number
	closings moment             // how many have left files
	handles  map[uint64]*handle // open files and directories by handle number
	next     uint64             // handle number
	ghosts   map[uint64]ghost   // removed, but the kernel has the inode, by its number
	dirTimes times              // directories whose entries changed lately: when
}

// space is a namespace that is shown, or was: its open files go on with it.
type space struct {
	ns      dbfs.NamespaceID
	journal *journal.Journal
	role    atomic.Uint32 // a dbfs.Role; it changes while files are open
	shown   bool          // guarded by FS.mu
}

// New returns a tree that is not mounted yet. Add its root namespace before Mount.
func New(cfg Config) *FS {
	return &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		cfg:           cfg,
		changes:       newChanges(),
		done:          make(chan struct{}),
		since:         cfg.Clock().UnixNano(),
		spaces:        make(map[dbfs.NamespaceID]*space),
		files:         make(map[uint64]*file),
		handles:       make(map[uint64]*handle),
		next:          1,
		ghosts:        make(map[uint64]ghost),
		aliases:       newAliases(),
		inos:          recent.New[uint64, inoPlace](maxInos),
		lender:        lender{why: "not mounted yet"},
	}
}

// Add shows a namespace, or changes what may be done in it. The journal's Observe should
// lead to Changed.
func (fs *FS) Add(j *journal.Journal, role dbfs.Role) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	sp := fs.spaces[j.NS()]
	if sp == nil || sp.journal != j {
		sp = &space{ns: j.NS(), journal: j}
		fs.spaces[j.NS()] = sp
	}
	sp.role.Store(uint32(role))
	sp.shown = true
}

// Remove stops showing a namespace. Its open files go on being readable.
func (fs *FS) Remove(ns dbfs.NamespaceID) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if sp := fs.spaces[ns]; sp != nil {
		sp.shown = false
	}
}

func (fs *FS) space(ns dbfs.NamespaceID) (*space, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if sp := fs.spaces[ns]; sp != nil && sp.shown {
		return sp, nil
	}
	return nil, fmt.Errorf("namespace %s is not here: %w", ns, dbfs.ErrOffline)
}

// Mount mounts at dir and returns when the kernel has answered. Requests are served in the
// background until Unmount.
func (fs *FS) Mount(dir string) error {
	opts := &fuse.MountOptions{
		FsName:                   fs.cfg.Source,
		Name:                     "dbfs",
		AllowOther:               fs.cfg.AllowOther,
		Options:                  []string{"default_permissions"},
		MaxWrite:                 1 << 20,
		MaxBackground:            64,
		DirectMount:              os.Geteuid() == 0,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		Debug:                    fs.cfg.Debug,
		Logger:                   slog.NewLogLogger(fs.cfg.Log.Handler(), slog.LevelDebug),
		// Without KILLPRIV_V2 the kernel asks for security.capability before every write.
		// What is opened past the page cache can be mapped all the same.
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_DIRECT_IO_ALLOW_MMAP,
	}
	if fs.cfg.ACL {
		opts.EnableAcl = true
		opts.ExtraCapabilities |= fuse.CAP_DONT_MASK
	}
	if fs.cfg.ReadOnly {
		opts.Options = append(opts.Options, "ro")
	}
	server, err := fuse.NewServer(spelled{fs}, dir, opts)
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	fs.server = server
	go func() {
		defer close(fs.done)
		server.Serve()
	}()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	if fs.cfg.ACL && server.KernelSettings().Flags64()&fuse.CAP_POSIX_ACL == 0 {
		server.Unmount()
		return fmt.Errorf("mount %s: this kernel does not obey ACLs here: %w", dir, dbfs.ErrUnsupported)
	}
	fs.setReadAhead(dir)
	fs.decideLending()
	fs.changes.serve()
	fs.telling.Go(fs.invalidate)
	return nil
}

// Done is closed when the tree is not mounted any more, whoever unmounted it.
func (fs *FS) Done() <-chan struct{} { return fs.done }

// Unmount unmounts; an error means that files are open and it still is mounted.
func (fs *FS) Unmount() error { return fs.server.Unmount() }

// Close ends the background work of an unmounted tree and records what open files still
// held, in case the kernel never said goodbye.
func (fs *FS) Close() {
	fs.changes.close()
	fs.telling.Wait()
	for _, f := range fs.openFiles() {
		if err := f.abandon(); err != nil {
			fs.cfg.Log.Error("an open file could not be recorded at unmount", "node", f.id, "err", err)
		}
	}
	fs.forgetGhosts()
}

// String names the file system in go-fuse's messages.
func (fs *FS) String() string { return "dbfs" }

// Init is called before the first request.
func (fs *FS) Init(*fuse.Server) {}
