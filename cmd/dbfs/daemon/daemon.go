// Package daemon is the one place where the concrete parts of a client meet: it builds
// cache, journals, syncer, file system and index from settings, runs them, and answers
// for them on the control socket.
//
// Below the state directory:
//
//	meta/      Badger: trees, journals, inode numbers, the book of unsent bytes, who we are
//	bodies/ …  unsent bytes (package cache)
//	index/NS/  one search index a namespace
//	server/    the embedded server's data, where that is used
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/fs"
	"github.com/dbfs/dbfs/fs/shield"
	"github.com/dbfs/dbfs/remote"
	"github.com/dbfs/dbfs/remote/syncer"
	"github.com/dbfs/dbfs/remote/throttle"
)

// Embedded is the server of those who have none: it runs within the daemon.
const Embedded = "embedded"

// Settings is all that a daemon is built from. Paths are absolute.
type Settings struct {
	Profile string
	Mount   string // an empty directory
	State   string // a private directory; what must not be lost
	Cache   string // a private directory; what may be deleted while no daemon runs
	Socket  string // of the control socket

	Server string // base URL, or Embedded; the rest of this block is of the login there
	Token  string
	Login  dbfs.DeviceID // who this device is at Server; 0 for Embedded

	// Renewed keeps the login of a new device, which the next start is given, when this state
	// turns out to be a copy of another one.
	Renewed func(remote.Login) error

	Device string // what this device is called, in conflicted copies too

	CacheSize  int64 // bytes of clean data
	UnsentSize int64 // bytes of unsent data
	MinFree    int64 // bytes of the disk to leave free

	FetchTimeout time.Duration // for one chunk; 0: 30 s

	Limit *throttle.Schedule // of transfers, from now on; nil: as it was set last

	AllowOther bool
	ReadOnly   bool
	ACL        bool // obey POSIX ACLs
	Preserve   bool // keep and show the owners that files have
	IndexAll   bool // download small files so that they can be searched

	NoPassthrough bool // the kernel does not read large files without the daemon

	Shield shield.Rules // which programs get nothing fetched

	// Listing hears how many names a new device has got, while it gets them before the mount. nil: nobody wants to know.
	Listing func(names int64)

	Guard   Budget // what is held as too much at once; zero: the default
	NoGuard bool   // nothing is

	Source  string // what the table of mounts shall say
	Version control.Version
	Log     *slog.Logger

	limiter *throttle.Limiter
}

// Daemon is a client built from its settings.
type Daemon struct {
	set      Settings
	log      *slog.Logger
	start    time.Time
	kv       *cache.KV
	inodes   *cache.Inodes
	cache    *cache.Cache
	link     *link
	me       identity
	fs       *fs.FS
	shield   *shield.Shield
	syncer   *syncer.Syncer
	rate     rate
	pace     pace
	pins     *pins
	building *building
	ended    chan struct{} // closed by an Umount that has been answered
	lost     chan struct{} // cap 1: there may be edits that cannot be sent any more

	holds    sync.Mutex // guards lastHold, after a journal's own lock
	lastHold uint64

	mu          sync.Mutex // guards what follows
	spaces      map[dbfs.NamespaceID]*space
	left        map[dbfs.NamespaceID]*space // that the account has no more
	mounted     bool
	pausedUntil time.Time
	paused      *time.Timer // ends a pause; nil: none, or one without an end
	feeders     context.Context
}

// metaMemtable sizes the metadata database. With 16 MiB its tables and what writes them out took
// more than the daemon's whole memory limit while 10,000 files were made: the garbage collector ran
// 4,800 times and took half of the CPU. With 8 MiB it runs 160 times.
const metaMemtable = 8 << 20

// New builds a daemon from what is on the disk. Only the very first start of a profile
// that is logged in somewhere needs the network.
func New(set Settings) (*Daemon, error) {
	d := &Daemon{
		set: set, log: set.Log, start: time.Now(),
		spaces: make(map[dbfs.NamespaceID]*space), left: make(map[dbfs.NamespaceID]*space), ended: make(chan struct{}), lost: make(chan struct{}, 1),
	}
	if err := d.build(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *Daemon) build() (err error) {
	if d.kv, err = cache.OpenKV(filepath.Join(d.set.State, "meta"), cache.KVOptions{Memtable: metaMemtable, Log: d.log}); err != nil {
		return err
	}
	if d.set.limiter, err = newLimiter(d.kv, d.set.Limit); err != nil {
		return err
	}
	if d.link, err = openLink(d.set, d.kv); err != nil {
		return err
	}
	if d.me, err = d.whoAmI(); err != nil {
		return err
	}
	if d.inodes, err = cache.OpenInodes(d.kv); err != nil {
		return err
	}
	d.cache, err = cache.Open(cache.Options{
		State: d.set.State, Cache: d.set.Cache, KV: d.kv,
		Size: d.set.CacheSize, Unsent: d.set.UnsentSize, MinFree: d.set.MinFree,
		Chunks: elsewhere{d.link.chunks, d}, FetchTimeout: d.fetchTimeout(), Log: d.log,
	})
	if err != nil {
		return err
	}
	if d.pins, err = openPins(d); err != nil {
		return err
	}
	d.building = newBuilding(d)
	d.shield = shield.New(d.set.Shield, time.Now, d.log)
	d.fs = fs.New(fs.Config{
		Cache: d.cache, KV: d.kv, Inodes: d.inodes, Root: d.me.Root, Clock: time.Now, Log: d.log,
		AllowOther: d.set.AllowOther, ReadOnly: d.set.ReadOnly, Preserve: d.set.Preserve, ACL: d.set.ACL,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Source: d.set.Source, Disk: d.set.State,
		Closed: d.wasRead, About: d.about, Begun: d.building.begun, Shared: d.building.shared,
		NoPassthrough: d.set.NoPassthrough, Asker: d.shield.Thread, Synced: d.pace.synced,
	})
	d.syncer = syncer.New(syncer.Config{
		Meta: d.link.meta, Notifier: d.link.notifier, Chunks: d.link.chunks, Device: d.me.Device,
		Read: d.readChunk, Journal: d.journalOf, Namespaces: d.setNamespaces, Busy: d.busy, Log: d.log,
	})
	for _, ns := range d.me.Namespaces {
		if err := d.open(ns); err != nil {
			return err
		}
	}
	if err := d.openLeft(); err != nil {
		return err
	}
	return d.recover()
}

func (d *Daemon) fetchTimeout() time.Duration { return cmp.Or(d.set.FetchTimeout, 30*time.Second) }

// readChunk hands the uploader a chunk from this disk, or of what was moved to another namespace
// without being here, from there.
func (d *Daemon) readChunk(ctx context.Context, ns dbfs.NamespaceID, node dbfs.NodeID, i int, ref dbfs.ChunkRef) ([]byte, func(), error) {
	raw, err := d.cache.Chunk(ctx, cache.File{NS: ns, Node: node}, i, ref)
	if errors.Is(err, dbfs.ErrOffline) {
		raw, err = d.movedChunk(ctx, ns, ref, err)
	}
	return raw, func() {}, err
}

// Run mounts the drive and opens the control socket, calls ready once the mount answers, and
// serves until ctx ends or somebody unmounts it. It returns nil after an orderly unmount.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	err := d.run(ctx, ready)
	return errors.Join(err, d.close())
}

func (d *Daemon) run(ctx context.Context, ready func()) error {
	work, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	d.startFeeding(work)
	d.pins.start(work)
	running.Go(func() { d.syncer.Run(work) })
	running.Go(func() { d.tick(work) })
	running.Go(func() { wheneverWoken(work, d.lost, d.recoverAll) })
	running.Go(func() { wheneverWoken(work, d.building.wake, d.building.look) })
	if err := d.awaitRoot(ctx); err != nil {
		return err
	}
	if err := d.fs.Mount(d.set.Mount); err != nil {
		return control.WithHint(err, "is fuse3 installed, and may you mount at "+d.set.Mount+"? \"ls -l /dev/fuse\"")
	}
	d.setMounted(true)
	closeSocket, err := d.openSocket()
	if err != nil {
		return errors.Join(err, d.unmount(true))
	}
	defer closeSocket()
	if err := d.answers(); err != nil {
		return errors.Join(err, d.unmount(true))
	}
	d.log.Info("mounted", "at", d.set.Mount, "server", d.set.Server, "namespaces", len(d.all()))
	ready()
	select {
	case <-ctx.Done():
		err = d.unmount(true)
	case <-d.ended:
	case <-d.fs.Done():
		d.log.Info("unmounted")
	}
	d.setMounted(false)
	d.fs.Close()
	return errors.Join(err, d.sync())
}

// listingPatience is how long the first listing of the user's tree may stand still before it goes on in the background.
const listingPatience = 20 * time.Second

// awaitRoot waits for the first listing of the user's tree as long as it gets on, so that a new device shows
// a full tree at once.
func (d *Daemon) awaitRoot(ctx context.Context) error {
	root := d.space(d.me.Root)
	for listed, since := int64(0), time.Now(); root.journal.Cursor() == (dbfs.Cursor{}); {
		moved := root.journal.Moved()
		select {
		case <-moved:
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		switch n := d.listed(d.me.Root); {
		case n > listed: // one that begins again has to get further
			if listed, since = n, time.Now(); d.set.Listing != nil {
				d.set.Listing(n)
			}
		case time.Since(since) > listingPatience:
			d.log.Warn("the tree has not been listed yet: names in it cannot be told until the server answers")
			return nil
		}
	}
	return nil
}

// listed returns how many nodes of a namespace have been listed for the first time.
func (d *Daemon) listed(ns dbfs.NamespaceID) int64 {
	for _, sp := range d.syncer.Status().Spaces {
		if sp.NS == ns {
			return sp.Listed
		}
	}
	return 0
}

// answers makes sure that the mount answers a stat.
func (d *Daemon) answers() error {
	answered := make(chan error, 1)
	go func() {
		_, err := os.Stat(d.set.Mount)
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-time.After(20 * time.Second):
		return fmt.Errorf("the mount at %s does not answer: %w", d.set.Mount, dbfs.ErrBusy)
	}
}

// unmount takes the mount away. With force it does so even while programs use it: they keep
// what they have open, and the name leads to the directory below.
func (d *Daemon) unmount(force bool) error {
	var err error
	for range 20 {
		select {
		case <-d.fs.Done():
			return nil
		default:
		}
		if err = d.fs.Unmount(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	if force {
		return d.Abort()
	}
	return fmt.Errorf("%w: programs have files open in %s (%v)", dbfs.ErrBusy, d.set.Mount, err)
}

// Abort takes the mount away at once, whoever uses it.
func (d *Daemon) Abort() error {
	if !d.isMounted() {
		return nil
	}
	d.log.Warn("taking the mount away while it is in use", "mount", d.set.Mount)
	if err := unix.Unmount(d.set.Mount, unix.MNT_DETACH); err != nil && os.Geteuid() == 0 {
		return fmt.Errorf("detach %s: %w", d.set.Mount, err)
	}
	return nil
}

// tick makes what was recorded durable every second, and measures the rate of transfers.
func (d *Daemon) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := d.sync(); err != nil {
				d.log.Error("what was edited in the last second may not survive a loss of power", "err", err)
			}
			d.guard()
			d.rate.sample(d.sentBytes())
		case <-ctx.Done():
			return
		}
	}
}

// bytesFirst is the metadata database as journals have it: before edits are made durable, the
// bytes are that they name.
type bytesFirst struct {
	*cache.KV
	cache *cache.Cache
}

func (b bytesFirst) Sync() error { return b.cache.Sync() }

// recover mends what a crash has left. What a loss of power took was sealed after the last sync;
// its edits go back to what they were then. Before what they stood on may go, all is synced.
func (d *Daemon) recover() error {
	lost, err := d.cache.Lost()
	if err != nil {
		return err
	}
	for _, sp := range d.kept() {
		if err := sp.journal.GoBack(lost); err != nil {
			return err
		}
	}
	if err := d.cache.GiveUp(lost); err != nil {
		return err
	}
	if err := d.sync(); err != nil {
		d.log.Error("what was found unsynced may not survive a loss of power", "err", err)
	}
	if err := d.cache.Recover(d.needs); err != nil {
		return err
	}
	return d.keepPromises()
}

// sync makes all edits so far survive a loss of power.
func (d *Daemon) sync() error {
	var errs []error
	for _, sp := range d.kept() {
		errs = append(errs, sp.journal.Sync())
	}
	return errors.Join(errs...)
}

// close lets go of everything that build opened, in the opposite order.
func (d *Daemon) close() error {
	var errs []error
	if d.pins != nil {
		d.pins.close()
	}
	for _, sp := range d.kept() {
		errs = append(errs, sp.close())
	}
	if d.cache != nil {
		errs = append(errs, d.cache.Close())
	}
	if d.link != nil {
		errs = append(errs, d.link.close())
	}
	if d.kv != nil {
		errs = append(errs, d.kv.Close())
	}
	return errors.Join(errs...)
}

func (d *Daemon) setMounted(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mounted = on
}

func (d *Daemon) isMounted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mounted
}

// openSocket answers on the control socket until close.
func (d *Daemon) openSocket() (close func(), err error) {
	ln, err := control.Listen(d.set.Socket)
	if err != nil {
		return nil, err
	}
	srv := control.NewServer(d, d.log)
	served := make(chan struct{})
	go func() {
		srv.Serve(ln)
		served <- struct{}{}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			d.log.Warn("control socket", "err", err)
		}
		<-served
	}, nil
}
