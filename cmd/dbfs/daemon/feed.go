package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
	"github.com/dbfs/dbfs/index"
	"github.com/dbfs/dbfs/journal"
)

// A feeder tells the index of one namespace what is in the view: everything once, in a walk
// at the start that skips what the index has, and from then on whatever changes. It reads
// bytes that are on this machine; with Settings.IndexAll it also downloads small files.
type feeder struct {
	d     *Daemon
	sp    *space
	index *index.Index

	running sync.WaitGroup
	cancel  context.CancelFunc
	wake    chan struct{} // cap 1
	rewalk  chan struct{} // cap 1: the index lost something
	hurry   chan struct{} // cap 1: somebody waits for what is queued

	owed time.Duration // of rest; of the goroutine that feeds

	mu      sync.Mutex // guards what follows
	queue   map[dbfs.NodeID]bool
	fed     chan struct{} // closed and replaced when what was queued has been fed
	walking bool
	walked  bool      // once, to the end: mounts has all there are
	oldest  time.Time // since when something waits; zero: nothing does
	mounts  map[dbfs.NodeID]dbfs.NamespaceID
	err     error
}

// maxFetch is the largest file that IndexAll downloads, in bytes.
const maxFetch = 1 << 20

// settle is how long a change waits for the next one of the same file.
const settle = 300 * time.Millisecond

func (d *Daemon) newFeeder(sp *space) (*feeder, error) {
	f := &feeder{
		d: d, sp: sp, wake: make(chan struct{}, 1), rewalk: make(chan struct{}, 1), hurry: make(chan struct{}, 1), fed: make(chan struct{}),
		queue: make(map[dbfs.NodeID]bool), mounts: make(map[dbfs.NodeID]dbfs.NamespaceID),
	}
	x, err := index.Open(filepath.Join(d.set.State, "index", sp.ns.ID.String()), index.Options{
		Tree: sp.journal, Source: localBytes{d, sp}, Log: d.log, OnLoss: func() { poke(f.rewalk) },
	})
	f.index = x
	return f, err
}

// startFeeding lets the feeders of all namespaces, now and later, work until ctx ends.
func (d *Daemon) startFeeding(ctx context.Context) {
	d.mu.Lock()
	d.feeders = ctx
	d.mu.Unlock()
	for _, sp := range d.kept() {
		sp.feed.start(ctx)
	}
}

func (f *feeder) start(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(ctx)
	f.running.Go(func() { f.run(ctx) })
}

func (f *feeder) close() error {
	if f.cancel != nil {
		f.cancel()
	}
	f.running.Wait()
	return f.index.Close()
}

// changed queues nodes that look different.
func (f *feeder) changed(changes []journal.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		f.queue[c.Node] = true
		if c.After != nil && c.After.Kind == dbfs.KindMount {
			f.mounts[c.Node] = c.After.Mount
		} else {
			delete(f.mounts, c.Node)
		}
		if c.After != nil {
			for _, link := range c.After.Links {
				f.queue[link] = true
			}
		}
	}
	if f.oldest.IsZero() {
		f.oldest = time.Now()
	}
	poke(f.wake)
}

// isLocal queues a node whose bytes have come to this machine.
func (f *feeder) isLocal(id dbfs.NodeID) { f.changed([]journal.Change{{Node: id}}) }

func (f *feeder) run(ctx context.Context) {
	listed := f.listed()
	f.walk(ctx)
	for ctx.Err() == nil {
		moved := f.sp.journal.Moved()
		if !listed && f.listed() { // of what the first listing shows nobody is told
			listed = true
			f.walk(ctx)
		}
		if listed {
			moved = nil
		}
		select {
		case <-moved:
		case <-f.wake:
			select {
			case <-time.After(settle):
			case <-f.hurry:
			case <-ctx.Done():
			}
			f.drain(ctx)
		case <-f.rewalk:
			f.walk(ctx)
		case <-ctx.Done():
		}
	}
}

// listed reports whether the tree has ever been listed.
func (f *feeder) listed() bool { return f.sp.journal.Cursor() != (dbfs.Cursor{}) }

// drain feeds what is queued.
func (f *feeder) drain(ctx context.Context) {
	f.mu.Lock()
	queue := f.queue
	f.queue = make(map[dbfs.NodeID]bool)
	f.mu.Unlock()
	cursor := f.sp.journal.Cursor()
	for id := range queue {
		if ctx.Err() != nil {
			return
		}
		begun := time.Now()
		f.feed(ctx, id)
		f.giveWay(ctx, time.Since(begun))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.oldest = time.Time{}
		f.index.Advance(mark(cursor))
	}
	close(f.fed)
	f.fed = make(chan struct{})
}

// giveWay rests after work that took so long, some times as long, as far as somebody makes a
// crowd of changes: the index takes about as much of a core as they do. Who searches does not wait for that.
func (f *feeder) giveWay(ctx context.Context, took time.Duration) {
	const share, longest, step = 4, time.Second, 10 * time.Millisecond
	f.owed = min(f.owed+share*took, longest)
	for ; f.owed > step && f.d.busy(); f.owed -= step {
		select {
		case <-time.After(step):
		case <-f.hurry:
			poke(f.hurry)
			f.owed = 0
			return
		case <-ctx.Done():
			return
		}
	}
}

// catchUp returns when the index has what was changed before, or after a while: who searches for
// what they have just written is to find it.
func (f *feeder) catchUp(ctx context.Context) {
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for {
		f.mu.Lock()
		current, fed := f.oldest.IsZero(), f.fed
		f.mu.Unlock()
		if current {
			return
		}
		poke(f.hurry)
		select {
		case <-fed:
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// mark is how far the log has been fed, as the index keeps it. Edits that the server has not
// taken are fed again after a crash, whatever the mark.
func mark(c dbfs.Cursor) []byte {
	b := binary.BigEndian.AppendUint32(nil, c.Epoch)
	return binary.BigEndian.AppendUint64(b, uint64(c.JID))
}

func (f *feeder) feed(ctx context.Context, id dbfs.NodeID) {
	n, err := f.sp.journal.Node(id)
	if errors.Is(err, dbfs.ErrNotExist) {
		err = f.index.Remove(id)
	} else if err == nil {
		err = f.update(ctx, n)
	}
	f.failed(err)
}

func (f *feeder) failed(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	first := f.err == nil
	f.err = err
	f.mu.Unlock()
	if first {
		f.d.log.Warn("a file could not be indexed", "err", err)
	}
}

// walk feeds the whole view, as far as the index does not have it, and removes from the index
// what is not there any more.
func (f *feeder) walk(ctx context.Context) {
	f.setWalking(true)
	defer f.setWalking(false)
	f.index.Lost()
	seen := make(map[dbfs.NodeID]struct{})
	err := f.sp.journal.Nodes(func(n dbfs.Node) bool {
		seen[n.ID] = struct{}{}
		if n.Kind == dbfs.KindMount {
			f.mu.Lock()
			f.mounts[n.ID] = n.Mount
			f.mu.Unlock()
		}
		if !n.IsRoot() {
			f.failed(f.update(ctx, n))
		}
		return ctx.Err() == nil
	})
	if err == nil && ctx.Err() == nil {
		_, err = f.index.Sweep(ctx, func(id dbfs.NodeID) bool {
			if _, ok := seen[id]; ok {
				return true
			}
			_, err := f.sp.journal.Node(id) // made since
			return !errors.Is(err, dbfs.ErrNotExist)
		})
	}
	f.failed(err)
	if err == nil && ctx.Err() == nil {
		f.mu.Lock()
		f.walked = true
		f.mu.Unlock()
		f.d.pins.retry()
	}
}

// knowsMounts reports whether all mounts are known.
func (f *feeder) knowsMounts() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.walked
}

func (f *feeder) setWalking(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.walking = on
}

// update feeds one node, with its bytes if the index wants them and they are here.
func (f *feeder) update(ctx context.Context, n dbfs.Node) error {
	id, name := n.ID, n.Name
	n, err := f.sp.journal.Behind(n)
	switch {
	case errors.Is(err, dbfs.ErrNotExist): // just now: the news of that will follow
		return nil
	case err != nil:
		return err
	}
	file := index.File{Node: id, Name: name, MTime: n.Attr.MTime}
	if n.Kind == dbfs.KindFile {
		file.Size, file.Content = n.Content.Size, n.Content.ContentID()
		known, err := f.index.HasContent(file.Content)
		if err != nil {
			return err
		}
		if !known {
			if file.Text, err = f.text(ctx, n); err != nil {
				return err
			}
		}
	}
	if file.Text == nil {
		if has, err := f.index.Has(file); has || err != nil {
			return err
		}
	}
	return f.index.Update(file)
}

// text returns the first bytes of a file, or nil where they are not here.
func (f *feeder) text(ctx context.Context, n dbfs.Node) ([]byte, error) {
	if n.Content.Size == 0 {
		return []byte{}, nil
	}
	file := cache.File{NS: f.sp.journal.NS(), Node: n.ID}
	body, err := f.d.cache.Open(file, n.Content)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	ctx = f.d.behalfOf(ctx, "dbfs mount --index-all", file)
	buf := make([]byte, min(n.Content.Size, index.MaxText))
	// Most files that are no text show it at once, and need not be read to the end.
	head := buf[:min(len(buf), 4096)]
	fetch := f.d.set.IndexAll && n.Content.Size <= maxFetch
	if err := readFull(ctx, body, head, 0, fetch); err != nil {
		return nil, notHere(err)
	}
	if !index.IsText(head) {
		return head, nil
	}
	if err := readFull(ctx, body, buf[len(head):], int64(len(head)), fetch); err != nil {
		return nil, notHere(err)
	}
	return buf, nil
}

func readFull(ctx context.Context, body *cache.Body, p []byte, off int64, fetch bool) error {
	if len(p) == 0 {
		return nil
	}
	n, err := 0, error(nil)
	if fetch {
		n, err = body.ReadAt(ctx, p, off)
	} else {
		n, err = body.ReadLocalAt(p, off)
	}
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// notHere turns "not on this machine" into no error: only the name is indexed then.
func notHere(err error) error {
	if errors.Is(err, dbfs.ErrOffline) {
		return nil
	}
	return err
}

// waiting returns how many changed nodes the index does not show yet, and since when.
func (f *feeder) waiting() (n int, since time.Time, walking bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue), f.oldest, f.walking
}

// mounted returns the node at which another namespace is mounted in this one.
func (f *feeder) mounted(ns dbfs.NamespaceID) (dbfs.NodeID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, target := range f.mounts {
		if target == ns {
			return id, true
		}
	}
	return dbfs.NodeID{}, false
}

// wasRead hears of files that were read through the mount: their bytes may be new here.
func (d *Daemon) wasRead(ns dbfs.NamespaceID, id dbfs.NodeID) {
	if sp := d.space(ns); sp != nil {
		sp.feed.isLocal(id)
	}
}

// localBytes lets an index read files without downloading anything.
type localBytes struct {
	d  *Daemon
	sp *space
}

// Open opens the bytes of a file if all of them are on this machine.
func (l localBytes) Open(ctx context.Context, id dbfs.NodeID) (io.ReadCloser, error) {
	n, err := l.sp.journal.Node(id)
	if err == nil {
		n, err = l.sp.journal.Behind(n)
	}
	if err != nil {
		return nil, err
	}
	if n.Kind != dbfs.KindFile {
		return nil, dbfs.ErrNotExist
	}
	file := cache.File{NS: l.sp.journal.NS(), Node: n.ID}
	local, err := l.d.cache.Residency(file, n.Content)
	if err != nil {
		return nil, err
	}
	if local < n.Content.Size {
		return nil, dbfs.ErrOffline
	}
	body, err := l.d.cache.Open(file, n.Content)
	if err != nil {
		return nil, err
	}
	return &localReader{body: body}, nil
}

type localReader struct {
	body *cache.Body
	off  int64
}

func (r *localReader) Read(p []byte) (int, error) {
	n, err := r.body.ReadLocalAt(p, r.off)
	r.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (r *localReader) Close() error { return r.body.Close() }

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wheneverWoken calls fn at once, whenever it is woken, and every minute, until ctx ends.
func wheneverWoken(ctx context.Context, wake <-chan struct{}, fn func(context.Context)) {
	for ctx.Err() == nil {
		fn(ctx)
		select {
		case <-wake:
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
