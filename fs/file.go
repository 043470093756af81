package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/fault"
	"github.com/dbfs/dbfs/journal"
)

// A file is an inode that is open: its handles share it. It reads from a body, one version
// of the file, until somebody writes; from then on everybody reads and writes the draft.
//
// A file that another device changes while it is open here goes on as it was, under its
// old inode number, and the name gets a new one (detach): what is read through one handle is
// one version. What its writers have written becomes a conflicted copy when it is sealed.
type file struct {
	fs  *FS
	ino uint64

	fresh    sync.Once    // the first that opens it makes sure that the kernel has no other bytes
	sealing  sync.Mutex   // one seal at a time
	reading  sync.RWMutex // held for reading by reads under way: a body is not closed under them
	mu       sync.RWMutex // guards what follows; taken after sealing and reading
	space    *space       // changes when the file moves to another namespace
	id       dbfs.NodeID
	handles  int
	writers  int
	alike    bool          // the kernel has no other bytes than these
	told     version       // 0, or what the kernel has been told that it is, by who opened it
	closed   bool          // after the last handle: whoever opens it again makes a new file
	held     bool          // the journal holds back edits of id until the last writer has closed
	base     dbfs.Content  // what was opened or, since, recorded last
	sealed   *dbfs.Content // what the draft holds, if it is sealed and could not be recorded
	stand    cache.File    // not zero: what the cache knows draft and body by; see begin and settleIn
	spare    bool          // nobody else knows the stand
	body     *cache.Body   // nil: nobody has read yet, or there is a draft
	draft    *cache.Draft  // nil: nobody has written yet
	sources  []dbfs.NodeID // files of which the draft shares chunks
	mtime    int64         // nanoseconds, of the draft; set by writes and by utimens
	own      *dbfs.Node    // not nil: the name is gone or leads elsewhere, and this is how the handles see it
	nameless bool          // it has never had a name; see tmpfile.go
	deleted  bool          // removed here: what is written is nobody's business any more
	backing  int32         // the kernel's number of the file that it has been lent; 0: none; see lend.go
	loan     *cache.Loan   // nil: it is not lent, or the draft has it
	mappers  int           // handles through which a file that is lent may be mapped for writing
	watched  bool          // somebody looks whether it still is
	asOf     time.Time     // of the file that is lent, when mtime was set; see stored
	wear     wear          // since it was last offered to be sent
}

// node returns the file as its handles see it.
func (f *file) node() (dbfs.Node, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.nodeLocked()
}

// look returns the file as node does, and the namespace that it is in.
func (f *file) look() (*space, dbfs.Node, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.nodeLocked()
	return f.space, n, err
}

// at returns the namespace that the file is in.
func (f *file) at() *space {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.space
}

func (f *file) nodeLocked() (dbfs.Node, error) {
	var n dbfs.Node
	if f.own != nil {
		n = *f.own
	} else {
		var err error
		n, err = f.space.journal.Node(f.id)
		if errors.Is(err, dbfs.ErrNotExist) { // and detach will follow
			if _, g, ok := f.fs.ghost(f.ino); ok {
				n, err = g, nil
			}
		}
		if err != nil {
			return n, stale(err)
		}
	}
	if f.handles == 0 && f.draft == nil && f.own == nil && n.Ino == f.ino {
		return n, nil // nobody has it open: base is of some time before
	}
	n.Ino = f.ino
	n.Content = f.base // what the name shows may be newer by now
	if f.draft != nil {
		n.Attr.MTime = f.mtime
		if size := f.draft.Size(); size != f.base.Size || f.draft.Dirty() || f.sealed != nil {
			n.Content = dbfs.Content{Size: size} // for stat; its chunks are not known yet
		}
	}
	return n, nil
}

// key is what the cache knows the file's bytes by. Called with mu held.
func (f *file) key() cache.File {
	if f.stand != (cache.File{}) {
		return f.stand
	}
	return f.nodeFile()
}

// nodeFile names the node that the file is. Called with mu held.
func (f *file) nodeFile() cache.File { return cache.File{NS: f.space.ns, Node: f.id} }

// readAt reads what the handles see. It may wait for the network, and then only keeps the
// first write to the file waiting.
func (f *file) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	f.reading.RLock()
	defer f.reading.RUnlock()
	if err := f.openBody(); err != nil {
		return 0, err
	}
	f.mu.RLock()
	draft, body := f.draft, f.body
	f.mu.RUnlock()
	n, err := 0, error(nil)
	if draft != nil {
		n, err = draft.ReadAt(ctx, p, off)
	} else {
		n, err = body.ReadAt(ctx, p, off)
	}
	if err == io.EOF { // by itself: a lost connection's is wrapped, and no end of the file
		err = nil
	}
	return n, err
}

func (f *file) openBody() error {
	f.mu.RLock()
	open := f.draft != nil || f.body != nil
	f.mu.RUnlock()
	if open {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draft != nil || f.body != nil {
		return nil
	}
	body, err := f.fs.cfg.Cache.Open(f.key(), f.base)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.id, err)
	}
	f.body = body
	return nil
}

// begin makes the draft that the first write wants. It takes the body's place: nobody reads
// the version before any more, so it may be changed where it lies.
func (f *file) begin() error {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draft != nil {
		return nil
	}
	n, err := f.nodeLocked()
	if err != nil {
		return err
	}
	if f.body != nil {
		if err := f.body.Close(); err != nil {
			return err
		}
		f.body = nil
	}
	draft, err := f.beginDraft(f.key(), f.base)
	if errors.Is(err, dbfs.ErrBusy) {
		// Somebody still writes to the version before this one, under the inode that it had. Chunks
		// are found by what they hold, so this draft can do with any name until it is closed.
		f.stand, f.spare = cache.File{NS: f.space.ns, Node: dbfs.NewNodeID(f.fs.cfg.Clock())}, true
		draft, err = f.fs.cfg.Cache.Draft(f.key(), f.base)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.id, err)
	}
	f.draft, f.mtime = draft, n.Attr.MTime
	f.noteStored()
	if begun := f.fs.cfg.Begun; begun != nil && f.base.Size > cache.SmallSize && f.own == nil {
		begun(f.space.ns, f.id)
	}
	return f.fs.dropCapability(f.space, n)
}

func (f *file) writeAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off+int64(len(p)) > dbfs.MaxFileSize {
		return 0, fmt.Errorf("write up to byte %d; a file may have %d: %w", off+int64(len(p)), int64(dbfs.MaxFileSize), dbfs.ErrTooLarge)
	}
	draft, err := f.writable()
	if err != nil {
		return 0, err
	}
	n, err := draft.WriteAt(ctx, p, off)
	if n > 0 {
		f.wasWritten()
	}
	return n, err
}

func (f *file) truncate(ctx context.Context, size int64) error {
	if size > dbfs.MaxFileSize {
		return fmt.Errorf("truncate to %d bytes; a file may have %d: %w", size, int64(dbfs.MaxFileSize), dbfs.ErrTooLarge)
	}
	draft, err := f.writable()
	if err != nil {
		return err
	}
	if err := f.truncateDraft(ctx, draft, size); err != nil {
		return err
	}
	f.wasWritten()
	return nil
}

// truncateDraft seals first what is promised of the bytes that go: a crash brings them back or not, but
// nothing between.
func (f *file) truncateDraft(ctx context.Context, draft *cache.Draft, size int64) error {
	if size < draft.Size() {
		f.sealing.Lock()
		defer f.sealing.Unlock()
		if draft.Promised() {
			if err := f.sealLocked(ctx); err != nil {
				return err
			}
		}
	}
	return draft.Truncate(ctx, size)
}

// zero makes a range zeros, as far as the file reaches.
func (f *file) zero(ctx context.Context, off, n int64) error {
	draft, err := f.writable()
	if err != nil {
		return err
	}
	if err := draft.Zero(ctx, off, n); err != nil {
		return err
	}
	f.wasWritten()
	return nil
}

// next returns where the next hole or the next data is, at or after off; false: nowhere.
func (f *file) next(off int64, hole bool) (int64, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.draft != nil && hole:
		return f.draft.NextHole(off)
	case f.draft != nil:
		return f.draft.NextData(off)
	case hole:
		return cache.NextHole(f.base, off)
	}
	return cache.NextData(f.base, off)
}

func (f *file) writable() (*cache.Draft, error) {
	f.mu.RLock()
	draft := f.draft
	f.mu.RUnlock()
	if draft != nil {
		return draft, nil
	}
	err := f.begin()
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.draft, err
}

// wasWritten notes that the draft was changed, just now.
func (f *file) wasWritten() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wear.written.IsZero() {
		f.fs.watchOver(f)
	}
	f.wear.written = time.Now()
	f.setMTimeLocked(f.fs.cfg.Clock().UnixNano())
}

// setMTime gives the draft, if there is one, its modification time.
func (f *file) setMTime(t int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setMTimeLocked(t)
}

func (f *file) setMTimeLocked(t int64) {
	f.mtime = t
	f.noteStored()
	if f.own != nil {
		f.own.Attr.MTime = t
	}
}

// setOwnAttr changes attributes of a file whose name is gone.
func (f *file) setOwnAttr(mask dbfs.AttrMask, attr dbfs.Attr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.own == nil {
		return
	}
	f.own.Attr.Set(mask, attr)
	if mask&dbfs.AttrMTime != 0 {
		f.mtime = attr.MTime
		f.noteStored()
	}
}

// seal records what has been written since the last time. When it returns, a crash of the
// daemon cannot undo it. Others may write meanwhile; what they write is for the next time.
func (f *file) seal(ctx context.Context) error {
	f.sealing.Lock()
	defer f.sealing.Unlock()
	return f.sealLocked(ctx)
}

// sealLocked is seal, with sealing held.
func (f *file) sealLocked(ctx context.Context) error {
	f.mu.RLock()
	draft, deleted, unrecorded := f.draft, f.deleted, f.sealed != nil
	f.mu.RUnlock()
	if draft == nil || deleted {
		return nil
	}
	if err := f.sealDraft(ctx, draft, unrecorded); err != nil {
		return err
	}
	return draft.Recorded()
}

func (f *file) sealDraft(ctx context.Context, draft *cache.Draft, unrecorded bool) error {
	if unrecorded { // or its chunks, which nobody else names, would be let go
		news, err := f.record()
		f.fs.changes.add(f.at().ns, news)
		if err != nil {
			return err
		}
	}
	if draft.Dirty() {
		f.stored()
		content, err := draft.Seal(ctx)
		if err != nil {
			return fmt.Errorf("seal %s: %w", f.id, err)
		}
		f.setSealed(&content)
		fault.Here(fault.SealedUnrecorded)
	}
	news, err := f.record()
	f.fs.changes.add(f.at().ns, news)
	return err
}

func (f *file) setSealed(c *dbfs.Content) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = c
}

// record writes down what is sealed and returns what the kernel has to be told: it asked for a
// write, not for other names. If it fails, the next seal tries again.
func (f *file) record() ([]journal.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deleted || f.sealed == nil {
		return nil, nil
	}
	content := *f.sealed
	n, err := f.space.journal.Write(f.id, f.base, content, f.mtime)
	if errors.Is(err, dbfs.ErrNotExist) {
		f.deleted = true // between the write and now, and here
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", f.id, err)
	}
	was := f.base
	f.base, f.sealed = content, nil
	f.tellSources()
	f.notePages()
	switch {
	case n.ID == f.id && f.own == nil:
		return nil, nil
	case n.ID == f.id && n.Ino != f.ino: // the node goes on under another inode, and so do its bytes
		old := n
		old.Content = was
		return []journal.Change{{Node: n.ID, Before: &old, After: &n, Remote: true}}, nil
	}
	return f.follow(n)
}

// follow lets the file go on as a node: another one, which its writers' bytes have become, or
// its own, which had been removed elsewhere and is back. The node takes the inode that the
// kernel has, so that there is one for everybody who opens it, and the node before gets
// another. It returns what the kernel has to be told. Called with mu held.
func (f *file) follow(to dbfs.Node) ([]journal.Change, error) {
	j := f.space.journal
	from := f.id
	if from != to.ID && f.held {
		j.Hold(to.ID)
		j.Release(from)
	}
	f.id = to.ID
	f.promiseStray()
	if to.Ino != f.ino && f.fs.openFile(to.Ino) != nil { // somebody was faster, and has the name
		to.Deleted = true
		f.own = &to
		return nil, nil
	}
	f.own = nil
	var errs []error
	if from != to.ID {
		// Also if it is deleted: it may come back.
		if old, err := j.Node(from); err != nil || old.Ino == f.ino {
			if _, err := j.NewInode(from); err != nil && !errors.Is(err, dbfs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if to.Ino != f.ino {
		errs = append(errs, j.SetInode(to.ID, f.ino))
	}
	return f.fs.whereabouts(f.space, from, to.ID), errors.Join(errs...)
}

// followTo lets the file go on as another node if it stands for from. A conflicted copy has the bytes of who wrote; readers keep the version they opened. A node
// that was adopted is the same inode, for everybody.
func (f *file) followTo(from dbfs.NodeID, to dbfs.Node) ([]journal.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id != from || f.own != nil || f.draft == nil && to.Ino != f.ino {
		return nil, nil
	}
	return f.follow(to)
}

// is reports whether the file's handles stand for that node.
func (f *file) is(id dbfs.NodeID) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.id == id
}

// isCurrent reports whether the file has the bytes that its node has now.
func (f *file) isCurrent() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.own != nil {
		return false
	}
	n, err := f.space.journal.Node(f.id)
	return err == nil && f.base.Equal(n.Content)
}

// pagesAre reports whether the kernel has no other bytes of the file than its version, and
// notes that it has none from now on.
func (f *file) pagesAre() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := versionOf(f.base)
	was := f.fs.pages.are(f.ino, v)
	f.fs.pages.set(f.ino, v)
	f.alike = true
	return was
}

// wasTold notes that the kernel has let go of what it knew of the file, and asks for that version.
func (f *file) wasTold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = versionOf(f.base)
}

// isTold reports whether the kernel has been told of a version by who opened the file.
func (f *file) isTold(c dbfs.Content) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.told == versionOf(c)
}

// notePages notes of which version the kernel has bytes: of what it wrote, unless some are
// older. What is written to a file that is lent it does not have. Called with mu held.
func (f *file) notePages() {
	if f.alike && f.backing == 0 {
		f.fs.pages.set(f.ino, versionOf(f.base))
	} else {
		f.fs.pages.set(f.ino, 0)
	}
}

// sync makes what has been written survive a loss of power.
func (f *file) sync(ctx context.Context) error {
	promised, err := f.promise()
	if err != nil {
		return fmt.Errorf("sync %s: %w", f.id, err)
	}
	if !promised {
		if err := f.sealForSync(ctx); err != nil {
			return err
		}
	}
	return f.at().journal.Sync()
}

// sealForSync seals what a program says to be as it should be. It is sent when the file has been quiet, or
// is closed.
func (f *file) sealForSync(ctx context.Context) error {
	f.sealing.Lock()
	defer f.sealing.Unlock()
	f.mu.RLock()
	draft, w, now := f.draft, f.wear, time.Now()
	f.mu.RUnlock()
	if err := f.sealLocked(ctx); err != nil {
		return err
	}
	if w.sealsNext(now) {
		f.offer(w)
	} else {
		f.wasSynced(now)
	}
	if draft != nil {
		if err := draft.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", f.id, err)
		}
	}
	return nil
}

// detach cuts the file off from its name, which leads to another version or nowhere now. With
// deleted it was removed here, and what is written to it from now on is nobody's business.
func (f *file) detach(as dbfs.Node, deleted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.detachLocked(as, deleted)
}

func (f *file) detachLocked(as dbfs.Node, deleted bool) {
	as.Deleted = true
	as.Content = f.base
	f.own = &as
	f.deleted = f.deleted || deleted
	f.promiseStray()
	if f.deleted && f.held { // the node may go on, with other bytes
		f.held = false
		f.space.journal.Release(f.id)
	}
}

// errClosed says of a file that its last handle has just been closed: it is no more.
var errClosed = errors.New("closed")

// enter counts one more handle. ESTALE: the node has got another inode number since this one
// led to it, which may be another node's by now.
func (f *file) enter(writer bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if f.handles == 0 && f.draft == nil && f.own == nil {
		// Only now that changes from elsewhere are told to this file is its version looked up:
		// one that came just before would be missed otherwise.
		if n, err := f.space.journal.Node(f.id); err == nil {
			if n.Ino != f.ino {
				f.closed = true
				return syscall.ESTALE
			}
			f.base = n.Content
		}
	}
	if f.handles == 0 && f.draft == nil {
		f.alike = f.fs.pages.are(f.ino, versionOf(f.base))
	}
	f.handles++
	if writer {
		f.writers++
	}
	if writer && !f.held && !f.deleted {
		f.held = true
		f.space.journal.Hold(f.id)
	}
	return nil
}

// leave counts one handle less. What the last writer wrote is recorded and may be sent; after
// the last handle the file is closed, and read says whether a body was read.
//
// While others write nothing is recorded: the kernel sends the end of a handle some time
// after the close, when the next writer may be half way through.
func (f *file) leave(writer bool) (closed, read bool, err error) {
	if f.lastWriter(writer) { // while its handle counts, so that nobody closes the file under it
		err = f.seal(context.Background())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handles--
	if f.writers == 0 && f.held {
		f.held = false
		f.space.journal.Release(f.id)
	}
	if f.handles > 0 || f.closed || f.unsealed() {
		return false, false, err
	}
	f.closed = true
	return true, f.body != nil, errors.Join(err, f.close())
}

// lastWriter counts one writer less, and reports whether it was the last and left something
// to be recorded.
func (f *file) lastWriter(writer bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !writer {
		return false
	}
	f.writers--
	return f.writers == 0 && f.unsealed()
}

// unsealed reports whether there are bytes that no edit names yet. Called with mu held.
func (f *file) unsealed() bool {
	return f.draft != nil && !f.deleted && (f.sealed != nil || f.draft.Dirty())
}

// abandon records what was written and closes the file, whoever still has it open.
func (f *file) abandon() error {
	err := f.seal(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.closed {
		return err
	}
	f.closed = true
	return f.close()
}

// close lets go of draft and body. Called with mu held.
func (f *file) close() error {
	errs := []error{f.endLoan()}
	if f.draft != nil {
		if f.draft.Dirty() || f.sealed != nil { // nobody wants it, but the kernel has some of it
			f.fs.pages.set(f.ino, 0)
		}
		errs = append(errs, f.draft.Close())
	}
	if f.body != nil {
		errs = append(errs, f.body.Close())
	}
	if f.spare {
		errs = append(errs, f.fs.cfg.Cache.Forget(f.key()))
	}
	f.draft, f.body = nil, nil
	return errors.Join(errs...)
}
