package daemon

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// Who writes to a part of a file depends on the rest of the version that was there: if others write to
// it meanwhile, the conflicted copy is made of both. As long as not all of that version is on this
// machine it must stay readable at the server, for longer than it keeps versions. A little that is
// missing is fetched; for more, the version is held there, and the hold asked for anew
// every week, until everything that was edited in the namespace is sent. So it is with a version whose
// chunks a copy shares, but that nothing is fetched for it: to copy what is not here costs no download.
//
// What is held is written down first, so that it is asked for again after a restart, and let go in the end.
type building struct {
	d *Daemon

	mu   sync.Mutex // guards what follows
	news []begun
	wake chan struct{} // cap 1
}

// begun is a version of a file on which something that is not sent yet may come to depend.
type begun struct {
	file   cache.File
	shared bool // a copy has its chunks; else somebody writes to it
}

// held is a row @building/<ns>-<node>-<rev>.
type held struct {
	Version int              `json:"version"` // 1
	NS      dbfs.NamespaceID `json:"ns"`
	Node    dbfs.NodeID      `json:"node"`
	Rev     dbfs.JID         `json:"rev"`
	Asked   time.Time        `json:"asked,omitzero"` // zero: not yet
}

const (
	fetchRest  = 64 << 20           // bytes that are fetched rather than held
	renewEvery = 7 * 24 * time.Hour // less than dbfs.HoldTime
	maxNews    = 1000               // files that wait to be looked at; of more nobody asks
)

var buildingPrefix = []byte("@building/")

func (h *held) key() []byte {
	id := append(append([]byte{}, h.Node[:]...), fmt.Sprintf("-%d", h.Rev)...)
	return append(append([]byte{}, buildingPrefix...), h.NS.String()+"-"+hex.EncodeToString(id)...)
}

func newBuilding(d *Daemon) *building { return &building{d: d, wake: make(chan struct{}, 1)} }

// begun hears that somebody begins to write to a version of a file. It only queues.
func (b *building) begun(ns dbfs.NamespaceID, node dbfs.NodeID) {
	b.queue(begun{file: cache.File{NS: ns, Node: node}})
}

// shared hears that a copy shares chunks of a version of a file. It only queues.
func (b *building) shared(ns dbfs.NamespaceID, node dbfs.NodeID) {
	b.queue(begun{file: cache.File{NS: ns, Node: node}, shared: true})
}

func (b *building) queue(one begun) {
	b.mu.Lock()
	// A large file is copied by many requests.
	if n := len(b.news); n < maxNews && (n == 0 || b.news[n-1] != one) {
		b.news = append(b.news, one)
	}
	b.mu.Unlock()
	poke(b.wake)
}

// look takes up what was begun, renews and lets go.
func (b *building) look(ctx context.Context) {
	b.mu.Lock()
	news := b.news
	b.news = nil
	b.mu.Unlock()
	for _, one := range news {
		if err := b.note(ctx, one); err != nil {
			b.d.log.Warn("the version that is being written to may not stay readable", "node", one.file.Node, "err", err)
		}
	}
	rows, err := b.rows()
	for i := range rows {
		err = errors.Join(err, b.keep(ctx, &rows[i]))
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, dbfs.ErrOffline) {
		b.d.log.Warn("versions that are being written to are not held", "err", err)
	}
}

// note fetches what is missing of a file, or writes down that its version is to be held.
func (b *building) note(ctx context.Context, one begun) error {
	f := one.file
	sp := b.d.space(f.NS)
	if sp == nil {
		return nil
	}
	base, ok := sp.journal.AtServer(f.Node)
	if !ok {
		return nil
	}
	local, err := b.d.cache.Residency(f, base.Content)
	if err != nil || local >= base.Content.Size {
		return err
	}
	if !one.shared && base.Content.Size-local <= fetchRest {
		if _, err := b.d.warm(ctx, "dbfs, to send a change as a difference", sp, base); err == nil {
			return nil
		}
	}
	return b.write(&held{Version: 1, NS: f.NS, Node: f.Node, Rev: base.Revs.Content})
}

// keep asks for a hold, or ends it.
func (b *building) keep(ctx context.Context, h *held) error {
	sp := b.d.known(h.NS)
	over := sp == nil || sp.journal.Backlog().Edits == 0 && !sp.journal.StateOf(h.Node).Open
	switch {
	case over && h.Asked.IsZero(), sp == nil:
		return b.forget(h)
	case over:
		err := b.d.link.holding.LetGo(ctx, h.NS, h.Node, h.Rev)
		if err != nil && !final(err) {
			return err
		}
		return b.forget(h)
	case time.Since(h.Asked) < renewEvery:
		return nil
	}
	err := b.d.link.holding.Hold(ctx, h.NS, h.Node, h.Rev)
	if err != nil && final(err) {
		b.d.log.Warn("the server does not hold a version that is being written to", "node", h.Node, "version", h.Rev, "err", err)
		return b.forget(h)
	}
	if err != nil {
		return err
	}
	h.Asked = time.Now()
	return b.write(h)
}

// final reports whether asking again changes nothing.
func final(err error) bool {
	return errors.Is(err, dbfs.ErrNotExist) || errors.Is(err, dbfs.ErrForbidden) || errors.Is(err, dbfs.ErrReadOnly) ||
		errors.Is(err, dbfs.ErrInvalid) || errors.Is(err, dbfs.ErrUnsupported)
}

func (b *building) write(h *held) error {
	v, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return setValue(b.d.kv, h.key(), v)
}

func (b *building) forget(h *held) error {
	return b.d.kv.Update(func(txn dbfs.Txn) error { return txn.Delete(h.key()) })
}

// rows returns what is written down.
func (b *building) rows() ([]held, error) {
	var all []held
	var bad error
	err := b.d.kv.View(func(txn dbfs.Txn) error {
		return txn.Scan(buildingPrefix, nil, func(k, v []byte) bool {
			var h held
			if err := json.Unmarshal(v, &h); err != nil || h.Version != 1 {
				bad = fmt.Errorf("%w: what is held under %q: %v", dbfs.ErrCorrupt, k, err)
				return true
			}
			all = append(all, h)
			return true
		})
	})
	return all, errors.Join(bad, err)
}
