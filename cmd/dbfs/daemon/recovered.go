package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/journal"
)

// Edits that cannot be sent, because the account has lost the namespace or may only read it, or
// because they cannot be reconciled with it, would stay on this disk for ever, or vanish from
// sight. What they hold is exported as new files to "Recovered from NAMESPACE DATE" at the top of the
// user's own tree, which is synced like everything else. In this order:
//
//	1  the bytes are written as a new file's, and sealed
//	2  the root's journal records the file, with its content, under an id that is made of the
//	   edit's: if the id is known, that has been done, and is not done again
//	3  bytes and record are made durable
//	4  the edits are dropped from the namespace's journal
//
// What was to be moved here from another namespace, and is there still as it was, is not exported: with
// the edits dropped it is back there.
//
// A crash between any two repeats what is missing. What has been edited between 1 and 4 is not
// dropped, and exported anew. A file of which not all bytes are here, and cannot be fetched any
// more, is not exported; its edits are kept, shown under attention, and go on if the
// namespace comes back.

// A recovery is what has been exported of a namespace on one day.
type recovery struct {
	Namespace string    `json:"namespace"`
	Dir       string    `json:"dir"` // its name at the top
	Files     int       `json:"files"`
	Time      time.Time `json:"time"`
	Why       string    `json:"why"`
}

var recoveriesKey = []byte("@recovered")

// maxRecoveries is how many are remembered.
const maxRecoveries = 100

// recoverAll exports what cannot be sent.
func (d *Daemon) recoverAll(ctx context.Context) {
	for sp, why := range d.unsendable() {
		if err := d.recoverEdits(ctx, sp, why); err != nil && ctx.Err() == nil {
			d.log.Error("unsent edits are kept on this disk, because they could not be exported", "namespace", d.named(sp), "err", err)
		}
	}
}

// unsendable returns the namespaces with edits that cannot be sent, and why.
func (d *Daemon) unsendable() map[*space]string {
	found := make(map[*space]string)
	for _, sp := range d.gone() {
		found[sp] = "which this account has no more"
	}
	for _, st := range d.syncer.Status().Spaces {
		sp := d.space(st.NS)
		switch {
		case sp == nil:
		case errors.Is(st.Err, journal.ErrUnfit):
			found[sp] = "whose edits here did not fit what it has become"
		case st.NS == d.me.Root:
		case st.Role < dbfs.RoleWrite:
			found[sp] = "which this account may only read"
		}
	}
	for sp := range found {
		if sp.journal.Backlog().Edits == 0 {
			delete(found, sp)
		}
	}
	return found
}

// recoverEdits exports what the pending edits of a namespace hold, and drops them.
func (d *Daemon) recoverEdits(ctx context.Context, sp *space, why string) error {
	root := d.space(d.me.Root)
	if root == nil || root.journal.Cursor() == (dbfs.Cursor{}) {
		return fmt.Errorf("your own tree is not known yet: %w", dbfs.ErrOffline)
	}
	all, drop, err := sp.journal.Salvage()
	if err != nil {
		return err
	}
	x := &export{d: d, from: sp, root: root, dir: recoveredName(d.named(sp), time.Now())}
	var failed []error
	for _, s := range all {
		if d.staysBehind(&s) {
			drop = append(drop, s.Ops...)
			continue
		}
		if err := x.one(ctx, &s); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.Path, err))
			continue
		}
		drop = append(drop, s.Ops...)
	}
	if len(failed) > 0 { // what is kept may stand on the others' directories, moves and deletes
		drop = slices.DeleteFunc(drop, func(op dbfs.Op) bool { return op.Content == nil })
	}
	if x.files > 0 {
		if err := d.remember(recovery{d.named(sp), x.dir, x.files, time.Now(), why}); err != nil {
			return err
		}
		d.log.Warn("unsent edits could not be sent and were exported", "namespace", d.named(sp), "to", "/"+x.dir, "files", x.files)
	}
	err = d.sync()
	if err == nil {
		err = sp.journal.Abandon(drop)
	}
	return errors.Join(append(failed, err)...)
}

// recoveredName is what the directory is called.
func recoveredName(namespace string, when time.Time) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == '/' {
			return '_'
		}
		return r
	}, namespace)
	return fmt.Sprintf("Recovered from %.150s %s", strings.ToValidUTF8(clean, "_"), when.Format(time.DateOnly))
}

// export puts things from one namespace into a directory of the root.
type export struct {
	d          *Daemon
	from, root *space
	dir        string
	files      int // that were made
}

// one exports one thing, unless that has been done.
func (x *export) one(ctx context.Context, s *journal.Salvaged) error {
	id := exportID(x.from.journal.NS(), s)
	known, err := x.root.journal.Known(id)
	if err != nil || known {
		return err
	}
	place := path.Join(x.dir, s.Path)
	if s.Node.Kind == dbfs.KindDir {
		_, err := x.mkdir(place)
		return err
	}
	parent, err := x.mkdir(path.Dir(place))
	if err != nil {
		return err
	}
	made := journal.NewNode{Kind: s.Node.Kind, Attr: s.Node.Attr, Target: s.Node.Target, Device: s.Node.Device, ID: id}
	if s.Node.Kind == dbfs.KindFile {
		draft, content, err := x.bytes(ctx, s, id)
		if err != nil {
			return err
		}
		defer draft.Close()
		made.Content = &content
	}
	return x.create(parent, path.Base(place), made)
}

// exportID is the id of what an edit's content becomes. It is the same each time.
func exportID(ns dbfs.NamespaceID, s *journal.Salvaged) dbfs.NodeID {
	b := binary.BigEndian.AppendUint64([]byte("recovered"), uint64(ns))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Last.Device))
	b = binary.BigEndian.AppendUint64(b, s.Last.N)
	content := s.Node.Content.ContentID()
	sum := sha256.Sum256(append(b, content[:]...))
	return dbfs.NodeID(sum[:16])
}

// mkdir makes a directory of the root, with those above it, unless it is there.
func (x *export) mkdir(p string) (dbfs.NodeID, error) {
	at := dbfs.RootNode
	for _, name := range strings.Split(p, "/") {
		n, err := x.root.journal.Child(at, name)
		for try := 2; err == nil && n.Kind != dbfs.KindDir; try++ {
			name = fmt.Sprintf("%.240s %d", name, try)
			n, err = x.root.journal.Child(at, name)
		}
		if errors.Is(err, dbfs.ErrNotExist) {
			if n, err = x.root.journal.Create(at, name, journal.NewNode{Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755, MTime: time.Now().UnixNano()}}); err == nil {
				x.d.appeared(x.root, n)
			}
		}
		if err != nil {
			return at, err
		}
		at = n.ID
	}
	return at, nil
}

// create records a new file or symlink, beside what has its name already.
func (x *export) create(parent dbfs.NodeID, name string, what journal.NewNode) error {
	stem, ext := name, path.Ext(name)
	if ext != name {
		stem = strings.TrimSuffix(name, ext)
	}
	for try := 1; ; try++ {
		if try > 1 {
			name = fmt.Sprintf("%.230s %d%s", stem, try, ext)
		}
		n, err := x.root.journal.Create(parent, name, what)
		if errors.Is(err, dbfs.ErrExist) {
			if known, err := x.root.journal.Known(what.ID); known || err != nil {
				return err
			}
			continue
		}
		if err == nil {
			x.files++
			x.d.appeared(x.root, n)
		}
		return err
	}
}

// bytes writes a file's bytes as those of another one. The draft keeps them until it is closed.
func (x *export) bytes(ctx context.Context, s *journal.Salvaged, id dbfs.NodeID) (*cache.Draft, dbfs.Content, error) {
	content := s.Node.Content
	file := cache.File{NS: x.from.journal.NS(), Node: s.Node.ID}
	body, err := x.d.cache.Open(file, content)
	if err != nil {
		return nil, dbfs.Content{}, err
	}
	defer body.Close()
	ctx = x.d.behalfOf(ctx, "dbfs recovered", file)
	draft, err := x.d.cache.Draft(cache.File{NS: x.root.journal.NS(), Node: id}, dbfs.Content{})
	if err != nil {
		return nil, dbfs.Content{}, err
	}
	copied, err := copyBytes(ctx, draft, body, content)
	if err == nil && !copied.Equal(content) {
		err = fmt.Errorf("%w: it was read as %s, not as %s", dbfs.ErrCorrupt, copied.ContentID(), content.ContentID())
	}
	if err != nil {
		return nil, dbfs.Content{}, errors.Join(err, draft.Close())
	}
	return draft, content, nil
}

func copyBytes(ctx context.Context, to *cache.Draft, from *cache.Body, content dbfs.Content) (dbfs.Content, error) {
	if err := to.Truncate(ctx, content.Size); err != nil {
		return dbfs.Content{}, err
	}
	buf := make([]byte, min(content.Size, dbfs.ChunkSize))
	for i := range content.Chunks.All() {
		off := int64(i) * dbfs.ChunkSize
		p := buf[:dbfs.ChunkLen(content.Size, i)]
		if n, err := from.ReadAt(ctx, p, off); n < len(p) {
			return dbfs.Content{}, errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := to.WriteAt(ctx, p, off); err != nil {
			return dbfs.Content{}, err
		}
	}
	return to.Seal(ctx)
}

// recoveries returns what has been exported and is still where it was put, oldest first.
func (d *Daemon) recoveries() ([]recovery, error) {
	var all []recovery
	b, err := getValue(d.kv, recoveriesKey)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if errors.Is(err, dbfs.ErrNotExist) {
		err = nil
	}
	root := d.space(d.me.Root)
	return slices.DeleteFunc(all, func(r recovery) bool {
		_, err := root.journal.Child(dbfs.RootNode, r.Dir)
		return errors.Is(err, dbfs.ErrNotExist)
	}), err
}

// remember adds to what has been exported. Of one directory there is one record.
func (d *Daemon) remember(r recovery) error {
	all, err := d.recoveries()
	if err != nil {
		return err
	}
	for _, old := range all {
		if old.Dir == r.Dir {
			r.Files += old.Files
		}
	}
	all = append(slices.DeleteFunc(all, func(old recovery) bool { return old.Dir == r.Dir }), r)
	b, err := json.Marshal(all[max(0, len(all)-maxRecoveries):])
	if err != nil {
		return err
	}
	return setValue(d.kv, recoveriesKey, b)
}

// recoveredAttention tells of what has been exported, until somebody has moved or removed it.
func (d *Daemon) recoveredAttention(st *control.Status) {
	all, err := d.recoveries()
	if err != nil {
		d.log.Warn("what has been recovered is not known", "err", err)
	}
	for _, r := range all {
		st.Attention = append(st.Attention, control.Attention{
			Kind: "recovered", Path: "/" + r.Dir, Since: r.Time,
			Message: fmt.Sprintf("%d unsent %s of %q, %s, %s in \"/%s\"; move what you want to keep, and remove that folder",
				r.Files, plural(r.Files, "file", "files"), r.Namespace, r.Why, plural(r.Files, "is", "are"), r.Dir),
		})
	}
}
