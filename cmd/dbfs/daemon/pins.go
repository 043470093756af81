package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

// pins is what the user wants to be on this device, and the goroutine that sees to it: that
// all of it is here, and that the cache keeps it. What is wanted is said of nodes, so that it
// goes with them when they are moved; what is below a node that was spoken of is wanted too,
// whenever it comes. The nearest rule above a file decides.
//
// The rules lie in the metadata database. What the cache keeps is derived from them, so that a
// cache that was deleted is filled again.
type pins struct {
	d       *Daemon
	running sync.WaitGroup
	cancel  context.CancelFunc
	wake    chan struct{} // cap 1

	mu     sync.Mutex // guards what follows
	rules  map[cache.File]pinRule
	queue  map[cache.File]bool // to be looked at, with everything below them
	full   error               // why the last file did not fit; nil: everything fits
	failed error               // why another one is not here, for more than want of a network
}

// A pinRule says what is to become of what is below a node.
type pinRule struct {
	Version int      `json:"version"`         // 1
	Off     bool     `json:"off,omitempty"`   // evicted as usual, whatever is said further up
	Globs   []string `json:"globs,omitempty"` // not empty: only files whose names match one are kept
}

// keeps reports whether a file of that name is to be kept.
func (r pinRule) keeps(name string) bool {
	if r.Off || len(r.Globs) == 0 {
		return !r.Off
	}
	return slices.ContainsFunc(r.Globs, func(glob string) bool {
		match, err := path.Match(glob, name)
		return match && err == nil
	})
}

var pinPrefix = []byte("@pin/")

// pinKey is pinPrefix, the namespace and the node; the value is the rule as JSON.
func pinKey(f cache.File) []byte {
	return fmt.Appendf(slices.Clone(pinPrefix), "%s/%s", f.NS, f.Node)
}

// storedPin is how a rule is found again: its key is text for people.
type storedPin struct {
	NS   dbfs.NamespaceID `json:"ns"`
	Node dbfs.NodeID      `json:"node"`
	pinRule
}

func openPins(d *Daemon) (*pins, error) {
	p := &pins{d: d, wake: make(chan struct{}, 1), rules: make(map[cache.File]pinRule), queue: make(map[cache.File]bool)}
	return p, d.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(pinPrefix, nil, func(k, v []byte) bool {
			var r storedPin
			err := json.Unmarshal(v, &r)
			if err == nil && r.Version != 1 {
				err = fmt.Errorf("%w %d", dbfs.ErrVersion, r.Version)
			}
			if err != nil { // no reason not to mount
				d.log.Error("a pin cannot be read and counts for nothing", "pin", string(k), "err", err)
				p.failed = fmt.Errorf("a pin cannot be read: %w", err)
				return true
			}
			p.rules[cache.File{NS: r.NS, Node: r.Node}] = r.pinRule
			return true
		})
	})
}

// set says something of a node, or with nil nothing any more; durable when it returns.
func (p *pins) set(f cache.File, rule *pinRule) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var value []byte
	if rule != nil {
		var err error
		if value, err = json.Marshal(storedPin{f.NS, f.Node, *rule}); err != nil {
			return err
		}
	}
	err := p.d.kv.Update(func(txn dbfs.Txn) error {
		if rule == nil {
			return txn.Delete(pinKey(f))
		}
		return txn.Set(pinKey(f), value)
	})
	if err == nil {
		err = p.d.kv.Sync()
	}
	if err != nil {
		return fmt.Errorf("store a pin: %w", err)
	}
	if rule == nil {
		delete(p.rules, f)
	} else {
		p.rules[f] = *rule
	}
	p.queue[f] = true
	poke(p.wake)
	return nil
}

func (p *pins) rule(f cache.File) (pinRule, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.rules[f]
	return r, ok
}

// all returns the nodes that something is said of.
func (p *pins) all() []cache.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.rules))
}

func (p *pins) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rules) > 0
}

// deciding returns the rule that decides about a node: its own or the nearest above it, through
// the mount of its namespace; found is false if there is none.
func (p *pins) deciding(sp *space, n dbfs.Node) (r pinRule, found bool, err error) {
	if !p.any() {
		return pinRule{}, false, nil
	}
	for {
		if r, ok := p.rule(cache.File{NS: sp.journal.NS(), Node: n.ID}); ok {
			return r, true, nil
		}
		if sp, n, err = p.d.above(sp, n); errors.Is(err, dbfs.ErrNotExist) {
			return pinRule{}, false, nil
		} else if err != nil {
			return pinRule{}, false, err
		}
	}
}

// wants reports whether a file is to be on this device. ErrOffline: that is not known yet.
func (p *pins) wants(sp *space, n dbfs.Node) (bool, error) {
	r, found, err := p.deciding(sp, n)
	return found && r.keeps(n.Name), err
}

// above returns the directory that a node is in: of a namespace's root, the one where the namespace
// is mounted. ErrNotExist: there is none. ErrOffline: nobody has looked yet.
func (d *Daemon) above(sp *space, n dbfs.Node) (*space, dbfs.Node, error) {
	id := n.Parent
	if n.IsRoot() {
		root := d.space(d.me.Root)
		if sp == root {
			return sp, n, dbfs.ErrNotExist
		}
		at, mounted := root.feed.mounted(sp.journal.NS())
		if !mounted && !root.feed.knowsMounts() {
			return sp, n, fmt.Errorf("where namespace %s is mounted is not known yet: %w", sp.journal.NS(), dbfs.ErrOffline)
		}
		if !mounted {
			return sp, n, dbfs.ErrNotExist
		}
		sp, id = root, at
	}
	n, err := sp.journal.Node(id)
	return sp, n, err
}

// changed hears which nodes look different.
func (p *pins) changed(ns dbfs.NamespaceID, changes []journal.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rules) == 0 {
		return
	}
	for _, c := range changes {
		p.queue[cache.File{NS: ns, Node: c.Node}] = true
	}
	poke(p.wake)
}

// entered hears that a namespace is here, for the first time or again.
func (p *pins) entered(ns dbfs.NamespaceID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rules) == 0 {
		return
	}
	p.queue[cache.File{NS: ns, Node: dbfs.RootNode}] = true
	for f := range p.rules {
		if f.NS == ns {
			p.queue[f] = true
		}
	}
	poke(p.wake)
}

// retry lets what could not be done be tried at once.
func (p *pins) retry() { poke(p.wake) }

func (p *pins) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.running.Go(func() { p.run(ctx) })
}

func (p *pins) close() {
	if p.cancel != nil {
		p.cancel()
	}
	p.running.Wait()
}

// run looks at everything once, and then at what changes. What cannot be had now is tried
// again, after a while that doubles.
func (p *pins) run(ctx context.Context) {
	p.begin()
	for wait := time.Second; ctx.Err() == nil; {
		if len(p.look(ctx)) == 0 {
			wait = time.Second
			select {
			case <-p.wake:
				sleep(ctx, settle)
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Minute)
		case <-p.wake: // something else is wanted, or may work now
			sleep(ctx, settle)
		case <-ctx.Done():
		}
	}
}

// begin queues what was ever spoken of, and what the cache keeps from before.
func (p *pins) begin() {
	files := p.all()
	err := p.d.cache.KeptFiles(func(f cache.File) bool {
		files = append(files, f)
		return true
	})
	if err != nil {
		p.d.log.Warn("what is to stay in the cache is not known before the next start", "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range files {
		p.queue[f] = true
	}
}

// look goes through what is queued, and returns what is still to be done, which is queued again.
func (p *pins) look(ctx context.Context) []cache.File {
	p.mu.Lock()
	queue := p.queue
	p.queue = make(map[cache.File]bool)
	p.mu.Unlock()
	var again []cache.File
	var full, failed error
	var collecting sync.Mutex
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(4) // so that the time that a question takes is not waited out for each small file
	each := func(sp *space, n dbfs.Node) {
		group.Go(func() error {
			collecting.Lock()
			room := full == nil
			collecting.Unlock()
			err := p.keep(ctx, sp, n, room)
			if err == nil {
				return nil
			}
			collecting.Lock()
			defer collecting.Unlock()
			switch {
			case errors.Is(err, dbfs.ErrNoSpace):
				full = err
			case !temporary(err) && failed == nil:
				failed = fmt.Errorf("%s is pinned and not here: %w", n.Name, err)
				p.d.log.Warn("a pinned file is not here", "node", n.ID, "err", err)
			}
			again = append(again, cache.File{NS: sp.journal.NS(), Node: n.ID})
			return nil
		})
	}
	for f := range queue {
		sp := p.d.space(f.NS)
		if sp == nil {
			if p.d.known(f.NS) == nil { // lost for good
				p.d.cache.Unkeep(f) // if that fails it is tried again by the next start
			}
			continue
		}
		n, err := sp.journal.Node(f.Node)
		if errors.Is(err, dbfs.ErrNotExist) {
			err = p.d.cache.Unkeep(f)
		} else if err == nil {
			err = p.d.walk(ctx, sp, n, each)
		}
		if err != nil && ctx.Err() == nil {
			if !temporary(err) {
				p.d.log.Warn("a pin is tried again later", "err", err)
			}
			collecting.Lock()
			again = append(again, f)
			collecting.Unlock()
		}
	}
	group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full, p.failed = full, failed
	for _, f := range again {
		p.queue[f] = true
	}
	return again
}

// keep makes the cache keep a file and, while there is room, brings what is missing of it, or
// lets go of it.
func (p *pins) keep(ctx context.Context, sp *space, n dbfs.Node, room bool) error {
	f := cache.File{NS: sp.journal.NS(), Node: n.ID}
	wanted, err := p.wants(sp, n)
	if err != nil {
		return err
	}
	if !wanted {
		return p.d.cache.Unkeep(f)
	}
	if err := p.d.cache.Keep(f, n.Content); err != nil {
		return err
	}
	if !room {
		return dbfs.ErrNoSpace
	}
	_, err = p.d.warm(ctx, "dbfs pin", sp, n)
	return err
}

// warm brings a file's bytes on somebody's behalf, lets the index have them, and returns how many came.
func (d *Daemon) warm(ctx context.Context, who string, sp *space, n dbfs.Node) (came int64, err error) {
	f := cache.File{NS: sp.journal.NS(), Node: n.ID}
	if local, err := d.cache.Residency(f, n.Content); err != nil || local >= n.Content.Size {
		return 0, err
	}
	if d.syncer.Status().Paused {
		return 0, fmt.Errorf("transfers are paused: %w", dbfs.ErrOffline)
	}
	err = d.cache.Warm(d.behalfOf(ctx, who, f), f, n.Content, func(n int64) { came += n })
	if came > 0 {
		sp.feed.isLocal(n.ID)
	}
	return came, err
}

// walk calls fn with every file at or below a node, through the mounts of other namespaces.
func (d *Daemon) walk(ctx context.Context, sp *space, n dbfs.Node, fn func(*space, dbfs.Node)) error {
	if n.Kind == dbfs.KindMount {
		other := d.space(n.Mount)
		if other == nil {
			return nil // it is looked at when it comes
		}
		root, err := other.journal.Node(dbfs.RootNode)
		if err != nil {
			return err
		}
		sp, n = other, root
	}
	n, err := sp.journal.Behind(n)
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case n.Kind == dbfs.KindFile:
		fn(sp, n)
	}
	if !n.Kind.IsDir() {
		return nil
	}
	nodes, err := sp.journal.Children(n.ID)
	if err != nil {
		return err
	}
	for _, child := range nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.walk(ctx, sp, child, fn); err != nil {
			return err
		}
	}
	return nil
}

// attention returns what a person should know of the pins.
func (p *pins) attention() []control.Attention {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []control.Attention
	if p.full != nil {
		all = append(all, control.Attention{
			Kind: "disk", Message: "what is pinned does not fit: make room on the disk, mount with a larger --cache-size, or unpin something",
			Command: "dbfs pin ls",
		})
	}
	if p.failed != nil {
		all = append(all, control.Attention{Kind: "error", Message: p.failed.Error(), Command: "dbfs pin ls"})
	}
	return all
}
