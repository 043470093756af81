package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"golang.org/x/sys/unix"
)

// Tree answers where a node is now. It is asked for every candidate that a filter on
// paths or an order by path needs, from several goroutines, so it should be quick.
type Tree interface {
	// Path returns the node's path within the namespace, without a slash at its
	// beginning; false when it is not there any more.
	Path(node dbfs.NodeID) (string, bool)
}

// Source opens the bytes of a file that are on this machine.
type Source interface {
	// Open returns ErrOffline, at once, when some of the bytes are not here, and
	// ErrNotExist when the file is gone. It never downloads.
	Open(ctx context.Context, node dbfs.NodeID) (io.ReadCloser, error)
}

// Options of an index. Tree and Source are needed, the rest has defaults.
type Options struct {
	Tree        Tree
	Source      Source
	Cache       *Cache        // for pages of segments; nil: 8 MiB of its own
	MemoryBytes int           // of memory segments, in bytes; 0: 16 MiB
	FlushEvery  time.Duration // documents wait so long in memory at most; 0: one minute
	Log         *slog.Logger  // nil: nothing is logged
	OnLoss      func()        // called when a damaged segment had to be dropped: feed again. It must not wait for the index. May be nil
}

// An Index is the index of one namespace. Update, Remove and Advance come from one
// feeder; everything else may be called from several goroutines.
type Index struct {
	dir   string
	opt   Options
	lock  *os.File // held while the index is open
	stop  context.CancelFunc
	tasks sync.WaitGroup // flusher and merger
	flush chan struct{}  // of size one: wakes the flusher
	merge chan struct{}  // of size one: wakes the merger

	// feed is held by the feeder for a whole update; it is taken before the other two.
	feed sync.Mutex
	an   *analysis // guarded by feed; nil before the first text

	// commits is held while the files that count change: the manifest, and with mu the
	// segments. It is taken before mu.
	commits    sync.Mutex
	manifest   *manifest
	nextNumber uint64 // of files

	mu       sync.Mutex // guards what follows; never held while a file is written
	segments []*liveSegment
	mem      *memory
	memDead  *dead
	frozen   *cut // a memory segment on its way to disk; nil: none
	links    linkSet
	mark     []byte // the feeder's; nil: none
	saved    []byte // the mark in the manifest
	dirty    bool   // deaths or a mark are not in the manifest
	closed   bool
	losses   int           // how often something had to be dropped
	walked   int           // losses when Lost was last asked
	healed   int           // losses that a walk of the feeder has made good
	gone     []segmentRef  // dropped, but still in the manifest
	failed   error         // why the last flush failed; nil when it did not
	changed  chan struct{} // closed and made anew when frozen or failed change
}

// A liveSegment is a segment that counts, with its dead documents.
type liveSegment struct {
	*segment
	ref   segmentRef
	now   *dead // as readers see it
	cut   *dead // as it was when Index.frozen was frozen; meaningless without one
	saved *dead // as on disk
}

// A cut is the state that a flush makes last: everything the feeder had done when the
// memory segment was frozen.
type cut struct {
	mem     *memory
	now     *dead // of mem, as readers see it
	drop    *dead // of mem, at the cut
	mark    []byte
	nextDoc uint32
}

// Open opens the index in dir, or makes an empty one. What is damaged or was written by a
// newer version is dropped; Lost then says so and Mark starts from nothing. ErrLocked:
// somebody has it open.
func Open(dir string, opt Options) (*Index, error) {
	opt = opt.withDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	x := &Index{
		dir: dir, opt: opt, lock: lock, changed: make(chan struct{}),
		flush: make(chan struct{}, 1), merge: make(chan struct{}, 1),
	}
	if err := x.load(); err != nil {
		x.release()
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	x.stop = stop
	x.tasks.Go(func() { x.flusher(ctx) })
	x.tasks.Go(func() { x.merger(ctx) })
	wake(x.merge)
	return x, nil
}

func (o Options) withDefaults() Options {
	if o.Cache == nil {
		o.Cache = NewCache(8 << 20)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 16 << 20
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnLoss == nil {
		o.OnLoss = func() {}
	}
	return o
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: another process has this index open", dbfs.ErrLocked)
	}
	return f, nil
}

// load opens what the manifest names, drops what cannot be used and removes the rest.
func (x *Index) load() error {
	s, err := loadManifest(x.dir)
	if unusable(err) {
		x.lose("manifest", err)
	} else if err != nil {
		return err
	}
	if s.nextDoc > maxDocs {
		x.lose("document numbers are used up", nil)
		s = state{}
	}
	for _, ref := range s.segments {
		seg, err := x.openLive(ref)
		if unusable(err) {
			x.lose("segment", err)
		} else if err != nil {
			return err
		} else {
			x.segments = append(x.segments, seg)
		}
	}
	x.orderSegments()
	s.segments = s.segments[:0:0]
	for _, seg := range x.segments {
		s.segments = append(s.segments, seg.ref)
		s.nextDoc = max(s.nextDoc, uint32(seg.foot.hi))
		x.nextNumber = max(x.nextNumber, seg.ref.number+1)
	}
	if x.losses > 0 {
		s.mark = nil
	}
	if x.manifest, err = newManifest(x.dir, s); err != nil {
		return err
	}
	x.mark, x.saved = s.mark, s.mark
	x.mem = newMemory(s.nextDoc)
	x.removeUnknown()
	return x.loadLinks()
}

// maxDocs is where the numbers of documents are taken to be used up; the index then
// starts anew when it is opened.
const maxDocs = 1<<32 - 1<<28

// unusable reports whether err means data that only feeding again can replace.
func unusable(err error) bool {
	return errors.Is(err, dbfs.ErrCorrupt) || errors.Is(err, dbfs.ErrVersion) || errors.Is(err, fs.ErrNotExist)
}

func (x *Index) lose(what string, err error) {
	x.losses++
	x.opt.Log.Warn("part of the search index is dropped and has to be fed again", "what", what, "dir", x.dir, "err", err)
}

func (x *Index) openLive(ref segmentRef) (*liveSegment, error) {
	seg, err := openSegment(filepath.Join(x.dir, ref.fileName()), x.opt.Cache)
	if err != nil {
		return nil, err
	}
	live := &liveSegment{segment: seg, ref: ref}
	if ref.dead != 0 {
		if live.saved, err = readDead(filepath.Join(x.dir, ref.deadName()), seg.size()); err != nil {
			seg.release()
			return nil, err
		}
	}
	live.now = live.saved.share()
	return live, nil
}

// orderSegments sorts the segments by their documents; one that overlaps another, which
// no writer of ours leaves behind, is dropped.
func (x *Index) orderSegments() {
	slices.SortFunc(x.segments, func(a, b *liveSegment) int { return int(int64(a.foot.hi) - int64(b.foot.hi)) })
	hi := uint64(0)
	x.segments = slices.DeleteFunc(x.segments, func(s *liveSegment) bool {
		if s.foot.lo < hi {
			x.lose("segment", fmt.Errorf("%w: %s overlaps another", dbfs.ErrCorrupt, s.ref.fileName()))
			s.release()
			return true
		}
		hi = s.foot.hi
		return false
	})
}

// removeUnknown deletes files of ours that do not count: what a crash left behind.
func (x *Index) removeUnknown() {
	known := map[string]bool{}
	for _, s := range x.segments {
		known[s.ref.fileName()], known[s.ref.deadName()] = true, true
	}
	names, err := os.ReadDir(x.dir)
	if err != nil {
		x.opt.Log.Warn("look for files that do not count", "dir", x.dir, "err", err)
	}
	for _, e := range names {
		switch filepath.Ext(e.Name()) {
		case ".seg", ".del", ".tmp":
			if !known[e.Name()] {
				x.remove(e.Name())
			}
		}
	}
}

func (x *Index) remove(name string) {
	if err := os.Remove(filepath.Join(x.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.opt.Log.Warn("remove a file that does not count", "err", err)
	}
}

// loadLinks finds the names that do not stand right behind their content.
func (x *Index) loadLinks() error {
	for _, s := range slices.Clone(x.segments) {
		err := s.eachRow(func(i int, r row) {
			if r.is(isName) && !s.now.has(i) {
				x.links.add(r)
			}
		})
		if unusable(err) {
			x.forget(s, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// eachRow reads all rows in order, past the cache.
func (s *segment) eachRow(fn func(i int, r row)) error {
	r := pageReader{p: s.pages, passing: true}
	for i := range s.size() {
		b, err := r.read(int64(s.foot.rows)+int64(i)*rowSize, rowSize)
		if err != nil {
			return err
		}
		fn(i, decodeRow(b))
	}
	return nil
}

// Close writes what is in memory to disk, stops the background work and closes the files.
// It returns why the writing failed; the index is closed all the same.
func (x *Index) Close() error {
	err := x.Flush(context.Background())
	x.mu.Lock()
	closed := x.closed
	x.closed = true
	x.mu.Unlock()
	if closed {
		return nil
	}
	x.stop()
	x.tasks.Wait()
	x.release()
	return err
}

func (x *Index) release() {
	for _, s := range x.segments {
		s.release()
	}
	if x.manifest != nil {
		x.manifest.close()
	}
	x.lock.Close()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A Stats says how large an index is.
type Stats struct {
	Names    int   `json:"names"`    // files and directories
	Contents int   `json:"contents"` // distinct contents that were looked into
	Tokens   int64 `json:"tokens"`
	Segments int   `json:"segments"`
	Disk     int64 `json:"disk"`   // bytes of segment files
	Memory   int   `json:"memory"` // bytes of memory segments
}

// Stats counts: names that lead to something, and of the rest dead documents, too.
func (x *Index) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := Stats{Segments: len(x.segments), Memory: x.mem.size()}
	if x.frozen != nil {
		st.Memory += x.frozen.mem.size()
	}
	for _, s := range x.segments {
		st.Contents += int(s.foot.contents)
		st.Names += int(s.foot.docs-s.foot.contents) - s.deadNames()
		st.Disk += int64(s.foot.sums)
		st.Tokens += int64(s.foot.tokens)
	}
	gone := []*dead{x.memDead}
	if x.frozen != nil {
		gone = []*dead{x.frozen.now, x.memDead}
	}
	for k, p := range x.memories() {
		for i, r := range p.rows {
			if r.is(isContent) {
				st.Contents++
			} else if !gone[k].has(i) {
				st.Names++
			}
		}
		st.Tokens += int64(p.tokens)
	}
	return st
}

// deadNames counts the names among the dead documents. What cannot be read counts as alive.
func (s *liveSegment) deadNames() int {
	n := 0
	s.now.each(func(i int) {
		if r, err := s.rowAt(i); err == nil && !r.is(isContent) {
			n++
		}
	})
	return n
}

// memories returns the memory segments as they are now, ascending. x.mu is held.
func (x *Index) memories() []*memoryView {
	if x.frozen != nil {
		return []*memoryView{x.frozen.mem.view(), x.mem.view()}
	}
	return []*memoryView{x.mem.view()}
}

// fileExt returns the extension of a name, lower-case and without its dot.
func fileExt(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return strings.ToLower(name[i+1:])
	}
	return ""
}
