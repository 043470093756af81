package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/journal"
)

// keepPromises records what programs had synced in files that were open when the last process ended. It
// comes before anybody can write, and may be cut short and repeated.
func (d *Daemon) keepPromises() error {
	promises, err := d.cache.Promises()
	if err != nil {
		return err
	}
	journals := make(map[dbfs.NamespaceID]*journal.Journal)
	for _, sp := range d.kept() {
		journals[sp.journal.NS()] = sp.journal
	}
	for _, p := range promises {
		j := journals[p.For.NS]
		if j == nil {
			d.log.Error("what was synced in an open file stays in the state directory: its namespace is not here", "name", p.Name, "namespace", p.For.NS, "node", p.For.Node)
			continue
		}
		if err := d.keepPromise(j, p); err != nil {
			return fmt.Errorf("record what was synced in %q: %w", p.Name, err)
		}
	}
	return nil
}

// keepPromise seals a draft that was promised, unless it has been, and records it.
func (d *Daemon) keepPromise(j *journal.Journal, p cache.Promise) error {
	if p.Sealed != nil {
		if err := d.recordPromised(j, &p, p.Base, *p.Sealed); err != nil {
			return err
		}
		return d.cache.Drop(p)
	}
	draft, err := d.cache.Resume(&p)
	if err != nil {
		return err
	}
	if !draft.Dirty() {
		d.log.Error("what was synced in an open file is not there: the record of its bytes is damaged", "name", p.Name, "node", p.For.Node)
		return draft.Close()
	}
	content, err := draft.Seal(context.Background())
	if err == nil {
		err = d.recordPromised(j, &p, p.Base, content)
	}
	if err == nil {
		err = draft.Recorded()
	}
	if err != nil {
		return err // the promise is not broken: the next start goes on
	}
	if err = draft.Close(); err == nil && p.File != p.For {
		err = d.cache.Forget(p.File)
	}
	return err
}

// recordPromised gives the file what was promised of it. If nobody knows the file any more, there is a
// new one at the top of the namespace.
func (d *Daemon) recordPromised(j *journal.Journal, p *cache.Promise, base, content dbfs.Content) error {
	stem := strings.ToValidUTF8(p.Name[:min(len(p.Name), 200)], "")
	_, err := j.Write(p.For.Node, base, content, p.MTime)
	for n := 1; errors.Is(err, dbfs.ErrNotExist) || errors.Is(err, dbfs.ErrExist); n++ {
		name := stem + " (recovered)"
		if n > 1 {
			name = fmt.Sprintf("%s (recovered %d)", stem, n)
		}
		what := journal.NewNode{Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o600, MTime: p.MTime}, Content: &content}
		_, err = j.Create(dbfs.RootNode, name, what)
	}
	if err == nil {
		d.log.Info("what was synced in an open file when the last process ended is recorded", "name", p.Name, "bytes", content.Size)
	}
	return err
}
