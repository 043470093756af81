package daemon

import (
	"cmp"
	"slices"

	"github.com/dbfs/dbfs"
)

// A namespace that the account has no more, for a moment perhaps, is left: neither shown nor
// synced. Its space stays as it is, because programs may still have files of it open, and
// because its journal says which unsent bytes must be kept until they have been exported: see
// recovered.go. After a restart it is still left as long as edits of it are pending. If it
// comes back it goes on from there.

// leave stops showing and syncing a namespace.
func (d *Daemon) leave(sp *space) {
	id := sp.journal.NS()
	d.log.Warn("namespace gone", "namespace", d.named(sp), "unsent edits kept", sp.journal.Backlog().Edits)
	d.mu.Lock()
	delete(d.spaces, id)
	d.left[id] = sp
	d.mu.Unlock()
	d.fs.Remove(id)
	d.syncer.Remove(id) // before it can be added again
}

// openLeft opens the namespaces that were left when the daemon last ran, as far as they have
// something unsent.
func (d *Daemon) openLeft() error {
	for _, ns := range d.me.Left {
		sp, err := d.load(ns)
		if err != nil {
			return err
		}
		if sp.journal.Backlog().Edits == 0 {
			if err := sp.close(); err != nil {
				return err
			}
			continue
		}
		d.mu.Lock()
		d.left[ns.ID] = sp
		d.mu.Unlock()
	}
	return nil
}

// known returns the space of a namespace, shown or left; nil if there is none.
func (d *Daemon) known(id dbfs.NamespaceID) *space {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cmp.Or(d.spaces[id], d.left[id])
}

// kept returns all namespaces, shown and left.
func (d *Daemon) kept() []*space { return append(d.all(), d.gone()...) }

// gone returns those that are left, in order of id.
func (d *Daemon) gone() []*space {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []*space
	for _, sp := range d.left {
		gone = append(gone, sp)
	}
	slices.SortFunc(gone, func(a, b *space) int { return cmp.Compare(a.journal.NS(), b.journal.NS()) })
	return gone
}

// leftList returns what they were when the account had them.
func (d *Daemon) leftList() []dbfs.Namespace {
	var list []dbfs.Namespace
	for _, sp := range d.gone() {
		d.mu.Lock()
		list = append(list, sp.ns)
		d.mu.Unlock()
	}
	return list
}
