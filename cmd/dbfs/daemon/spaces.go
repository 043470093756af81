package daemon

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// space is a namespace and what this client has of it.
type space struct {
	ns      dbfs.Namespace // guarded by Daemon.mu
	journal *journal.Journal
	feed    *feeder
}

// open opens a namespace from the disk, and shows and syncs it.
func (d *Daemon) open(ns dbfs.Namespace) error {
	sp, err := d.load(ns)
	if err != nil {
		return err
	}
	d.enter(sp, ns)
	d.mu.Lock()
	feeding := d.feeders
	d.mu.Unlock()
	if feeding != nil {
		sp.feed.start(feeding)
	}
	return nil
}

// load opens a namespace's journal and index.
func (d *Daemon) load(ns dbfs.Namespace) (*space, error) {
	sp := &space{ns: ns}
	rootIno := uint64(0)
	if ns.ID == d.me.Root {
		rootIno = cache.RootInode
	}
	j, err := journal.Open(journal.Config{
		Guard: d.budget(), HoldID: d.holdID,
		NS: ns.ID, KV: bytesFirst{d.kv, d.cache}, Tree: cache.NewTree(ns.ID, ns.Names), Names: ns.Names, Device: d.me.Device, Name: d.set.Device,
		Inodes: d.inodes.Reserve, RootIno: rootIno, Clock: time.Now, Log: d.log.With("namespace", ns.Name),
		Observe: func(changes []journal.Change) { d.changed(sp, changes) },
		Unpin: func(refs []dbfs.ChunkRef) {
			if err := d.cache.Unpin(refs); err != nil {
				d.log.Warn("chunks that are at the server stay in the state directory until the next start", "err", err)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	sp.journal = j
	sp.feed, err = d.newFeeder(sp)
	return sp, err
}

// enter shows and syncs a namespace, as the account has it now.
func (d *Daemon) enter(sp *space, ns dbfs.Namespace) {
	d.mu.Lock()
	sp.ns = ns
	d.spaces[ns.ID] = sp
	delete(d.left, ns.ID)
	d.mu.Unlock()
	d.pins.entered(ns.ID)
	d.fs.Add(sp.journal, ns.Role)
	d.syncer.Add(sp.journal, ns.Role)
}

// changed hears of every node of a namespace that looks different.
func (d *Daemon) changed(sp *space, changes []journal.Change) {
	d.pace.changed(changes, time.Now())
	d.fs.Changed(sp.journal.NS(), changes)
	if sp.feed != nil {
		sp.feed.changed(changes)
	}
	d.pins.changed(sp.journal.NS(), changes)
	for _, c := range changes {
		if c.After != nil && c.After.Kind == dbfs.KindMount {
			d.syncer.Refresh()
		}
	}
}

// setNamespaces hears from the server what the account has now.
func (d *Daemon) setNamespaces(list []dbfs.Namespace) {
	have := make(map[dbfs.NamespaceID]bool)
	for _, ns := range list {
		have[ns.ID] = true
		sp := d.known(ns.ID)
		if sp == nil {
			if err := d.open(ns); err != nil {
				d.log.Error("a namespace cannot be opened", "namespace", ns.Name, "err", err)
			}
			continue
		}
		d.enter(sp, ns)
	}
	for _, sp := range d.all() {
		if id := sp.journal.NS(); !have[id] && id != d.me.Root {
			d.leave(sp)
		}
	}
	poke(d.lost)
	d.me.Namespaces, d.me.Left = list, d.leftList()
	if err := d.keep(d.me); err != nil {
		d.log.Error("the list of namespaces is not stored", "err", err)
	}
}

func (sp *space) close() error {
	if sp.feed == nil {
		return nil
	}
	return sp.feed.close()
}

func (d *Daemon) space(id dbfs.NamespaceID) *space {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spaces[id]
}

// all returns the namespaces in order of id.
func (d *Daemon) all() []*space {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*space
	for _, id := range slices.Sorted(maps.Keys(d.spaces)) {
		all = append(all, d.spaces[id])
	}
	return all
}

func (d *Daemon) named(sp *space) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sp.ns.Name
}

// mayWrite returns ErrReadOnly where the account may only read: an edit would wait for ever.
func (d *Daemon) mayWrite(sp *space) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sp.ns.Role < dbfs.RoleWrite {
		return fmt.Errorf("namespace %s: you may read here, not write: %w", sp.ns.Name, dbfs.ErrReadOnly)
	}
	return nil
}

// needs reports whether a pending edit of any namespace, left ones too, names a chunk.
func (d *Daemon) needs(id dbfs.ChunkID) bool {
	for _, sp := range d.kept() {
		if sp.journal.Needs(id) {
			return true
		}
	}
	return false
}

// find follows a drive path: "/a/b" from the top of the user's tree, through the mounts of
// other namespaces, or "team:/a" from the top of the namespace of that name.
func (d *Daemon) find(path string) (*space, dbfs.Node, error) {
	sp, names, err := d.begin(path)
	if err != nil {
		return nil, dbfs.Node{}, err
	}
	n, err := sp.journal.Node(dbfs.RootNode)
	for _, name := range names {
		if err == nil {
			n, err = sp.journal.Child(n.ID, name)
		}
		if err == nil && n.Kind == dbfs.KindMount {
			if sp = d.space(n.Mount); sp == nil {
				return nil, n, fmt.Errorf("%s: its namespace is not here: %w", path, dbfs.ErrOffline)
			}
			n, err = sp.journal.Node(dbfs.RootNode)
		}
	}
	if err == nil {
		n, err = sp.journal.Behind(n)
	}
	if errors.Is(err, dbfs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", path, dbfs.ErrNotExist)
	}
	return sp, n, err
}
