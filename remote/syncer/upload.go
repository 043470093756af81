package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/fault"
)

// piece is one chunk that a pending edit names, and where its bytes are.
type piece struct {
	node dbfs.NodeID
	i    int
	ref  dbfs.ChunkRef

	content *dbfs.Content // that it is chunk i of
	copy    *dbfs.Op      // the edit, if it has its bytes from a source
}

const (
	roundPieces = 512 // chunks that are checked in one request
	filePieces  = 16  // of one file in a round, so that a large file does not hold up small ones

	// roundTime is how long chunks that are not short are begun in a round: then what has come since has
	// its turn, and what is short of it goes first.
	roundTime = 2 * time.Second

	// leastWeight is what a chunk counts, at least, against the bytes that may be on their way: four
	// times as many small chunks go at once as whole ones, and their questions share round trips.
	leastWeight = dbfs.ChunkSize / 4
)

// upload puts the chunks of pending edits, round after round, as long as there are any.
func (sp *space) upload(ctx context.Context) {
	for failures := 0; sp.s.gate(ctx) == nil; {
		moved, retry := sp.journal.Moved(), sp.receipts.retried()
		begun := sp.s.cfg.Clock()
		pieces := sp.missing()
		if len(pieces) == 0 {
			failures = 0
			sp.receipts.fail(nil) // of what is not wanted any more
			sp.rounds.Add(1)
			took := sp.s.cfg.Clock().Sub(begun)
			select {
			case <-moved:
			case <-retry:
			case <-ctx.Done():
			}
			sp.gather(ctx, took)
			continue
		}
		err := sp.round(ctx, pieces)
		sp.rounds.Add(1)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			continue
		}
		wait := backoff(failures, sp.s.cfg.MaxBackoff)
		failures++
		sp.receipts.fail(err)
		level := sp.s.cfg.Log.Warn
		if temporary(err) {
			level = sp.s.cfg.Log.Debug
		}
		level("upload failed", "namespace", sp.journal.NS(), "err", err, "again in", wait)
		sp.tryAt(&sp.roundAt, wait)
		sleep(ctx, wait, retry)
	}
}

// missing returns the chunks of the next round: of what was bumped, alone, unless that fails; then it
// only comes first.
func (sp *space) missing() []piece {
	ahead := sp.lacking(each(sp.journal.Ahead()), roundPieces, nil)
	if len(ahead) > 0 && sp.receipts.failure() == nil {
		return ahead
	}
	return append(ahead, sp.lacking(sp.pending(), filePieces, ahead)...)
}

func each(ops []dbfs.Op) iter.Seq[*dbfs.Op] {
	return func(yield func(*dbfs.Op) bool) {
		for i := range ops {
			if !yield(&ops[i]) {
				return
			}
		}
	}
}

// lacking returns chunks of edits, so many of each at most, without those in but: of the oldest edits, short ones first, so that
// small files are soon through. Files that somebody is writing are left alone, unless the batch
// in flight names them: it does not change any more, and nothing goes on before it has got
// through.
func (sp *space) lacking(ops iter.Seq[*dbfs.Op], most int, but []piece) []piece {
	var pieces []piece
	seen := make(map[dbfs.ChunkID]bool)
	for _, p := range but {
		seen[p.ref.ID] = true
	}
	for op := range ops {
		if op.Content == nil {
			continue
		}
		if st := sp.journal.StateOf(op.Node); (st.Waits || st.Leaving) && !st.Sent {
			continue
		}
		if op.Src != nil && !sp.receipts.wants(op.Content) {
			continue
		}
		n := 0
		for i := range op.Content.Chunks.All() {
			ref := op.Content.Ref(i)
			if seen[ref.ID] || sp.receipts.has(ref.ID) {
				continue
			}
			seen[ref.ID] = true
			p := piece{node: op.Node, i: i, ref: ref, content: op.Content}
			if op.Src != nil {
				p.copy = op
			}
			pieces = append(pieces, p)
			if n++; n == most {
				break
			}
		}
		if len(pieces) >= roundPieces {
			pieces = pieces[:roundPieces]
			break
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.ref.Len, b.ref.Len) })
	return pieces
}

// pending goes through the edits in order, some at a time, as the first are mostly enough.
func (sp *space) pending() iter.Seq[*dbfs.Op] {
	return func(yield func(*dbfs.Op) bool) {
		for from := uint64(0); ; {
			ops, next := sp.journal.PendingRun(from, roundPieces)
			for op := range each(ops) {
				if !yield(op) {
					return
				}
			}
			if from = next; from == 0 {
				return
			}
		}
	}
}

// round asks for receipts and puts what the server does not have.
func (sp *space) round(ctx context.Context, pieces []piece) error {
	sp.setUploading(true)
	defer sp.setUploading(false)
	lacking, err := sp.ask(ctx, pieces)
	if err != nil {
		return err
	}
	return sp.putAll(ctx, lacking)
}

// ask keeps the receipts of what the server has, and returns the rest.
func (sp *space) ask(ctx context.Context, pieces []piece) (lacking []piece, err error) {
	ns := sp.journal.NS()
	refs := make([]dbfs.ChunkRef, len(pieces))
	for i, p := range pieces {
		refs[i] = p.ref
	}
	fault.Here(fault.UploadBegins)
	have, err := sp.s.cfg.Chunks.Check(ctx, ns, refs)
	if err != nil {
		return nil, fmt.Errorf("ask for %d chunks: %w", len(refs), err)
	}
	if len(have) != len(refs) {
		return nil, fmt.Errorf("asked for %d chunks, answered for %d: %w", len(refs), len(have), dbfs.ErrCorrupt)
	}
	for i, p := range pieces {
		if have[i] == "" {
			lacking = append(lacking, p)
			continue
		}
		sp.receipts.put(p.ref.ID, have[i])
		sp.count(0, int64(p.ref.Len))
	}
	return lacking, nil
}

// putAll puts several chunks at once, within the bytes that may be on their way. When one fails because of
// the network no more are begun, and those under way go on: a store that answers one of them "slow down"
// takes the others. One bad chunk does not keep the others back.
func (sp *space) putAll(ctx context.Context, pieces []piece) error {
	var group sync.WaitGroup
	room := semaphore.NewWeighted(int64(sp.s.cfg.Uploads) * dbfs.ChunkSize)
	var network, bad firstError
	bumps, begun := sp.bumps.Load(), sp.s.cfg.Clock()
	for _, p := range pieces {
		weight := sp.weight(p)
		if err := room.Acquire(ctx, weight); err != nil {
			network.set(err)
		}
		if network.get() != nil {
			break
		}
		if sp.bumps.Load() != bumps || p.ref.Len >= leastWeight && sp.s.cfg.Clock().Sub(begun) > roundTime {
			room.Release(weight)
			break
		}
		group.Go(func() {
			defer room.Release(weight)
			begun := time.Now()
			err := sp.put(ctx, p)
			sp.s.giveWay(ctx, time.Since(begun))
			if temporary(err) {
				network.set(err)
			} else {
				bad.set(err)
			}
		})
	}
	group.Wait()
	return errors.Join(network.get(), bad.get())
}

// weight is what a chunk counts against the bytes that may be on their way: all of them while it
// has to give way, since each that goes at the same time takes the machine, too.
func (sp *space) weight(p piece) int64 {
	if sp.s.cfg.Busy() {
		return int64(sp.s.cfg.Uploads) * dbfs.ChunkSize
	}
	return max(int64(p.ref.Len), leastWeight)
}

func (sp *space) put(ctx context.Context, p piece) error {
	raw, done, err := sp.s.cfg.Read(ctx, sp.journal.NS(), p.node, p.i, p.ref)
	if err != nil {
		if !sp.journal.Needs(p.ref.ID) {
			return nil // overwritten meanwhile: nobody wants it any more
		}
		if p.copy != nil && (errors.Is(err, dbfs.ErrNotExist) || errors.Is(err, dbfs.ErrCorrupt)) {
			sp.giveUp(*p.copy)
			return fmt.Errorf("chunk %s of node %s, a copy, is nowhere any more, and the copy is given up: %w (%v)", p.ref.ID, p.node, dbfs.ErrBusy, err)
		}
		return fmt.Errorf("chunk %s of node %s cannot be read from this disk: %w", p.ref.ID, p.node, err)
	}
	defer done()
	sp.fly(p.node, 1)
	receipt, err := sp.send(ctx, p, raw)
	sp.fly(p.node, -1)
	if err != nil {
		return fmt.Errorf("upload chunk %s: %w", p.ref.ID, err)
	}
	sp.receipts.put(p.ref.ID, receipt)
	sp.count(int64(len(raw)), 0)
	return nil
}

func (sp *space) setUploading(on bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.uploading = on
}

func (sp *space) count(sent, dedup int64) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.sent += sent
	sp.dedup += dedup
}

// firstError keeps the first error it is given.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (e *firstError) set(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *firstError) get() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// receipts remembers which chunks the server has, for as long as it promises to keep them
// for us.
type receipts struct {
	clock func() time.Time

	mu    sync.Mutex // guards what follows
	known map[dbfs.ChunkID]receipt
	asked map[dbfs.ChunkID]bool // the server wants them, although a copy's source should have them
	err   error                 // why the last round failed; nil: it did not
	new   chan struct{}         // closed and replaced when receipts arrive
	again chan struct{}         // closed and replaced by retry
}

type receipt struct {
	receipt dbfs.Receipt
	until   time.Time
}

// receiptLife is how long a receipt is trusted: less than the day it is good for, so that a
// commit does not find it just expired.
const receiptLife = 20 * time.Hour

func newReceipts(clock func() time.Time) *receipts {
	return &receipts{clock: clock, known: make(map[dbfs.ChunkID]receipt), asked: make(map[dbfs.ChunkID]bool), new: make(chan struct{}), again: make(chan struct{})}
}

func (r *receipts) put(id dbfs.ChunkID, rec dbfs.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[id] = receipt{rec, r.clock().Add(receiptLife)}
	r.err = nil
	close(r.new)
	r.new = make(chan struct{})
}

func (r *receipts) has(id dbfs.ChunkID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.known[id]
	return ok && rec.until.After(r.clock())
}

func (r *receipts) have(refs []dbfs.ChunkRef) bool {
	for _, ref := range refs {
		if !r.has(ref.ID) {
			return false
		}
	}
	return true
}

// want notes that the server has asked for chunks that a copy should find in its source.
func (r *receipts) want(ids []dbfs.ChunkID) {
	r.mu.Lock()
	for _, id := range ids {
		r.asked[id] = true
	}
	r.mu.Unlock()
	r.retry()
}

// wants reports whether the server has asked for chunks of a content.
func (r *receipts) wants(c *dbfs.Content) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked) > 0 && slices.ContainsFunc(c.Chunks.IDs(), func(id dbfs.ChunkID) bool { return r.asked[id] })
}

// of returns the receipts of all chunks that the ops name, each once.
func (r *receipts) of(ops []dbfs.Op) []dbfs.Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []dbfs.Receipt
	seen := make(map[dbfs.ChunkID]bool)
	for _, op := range ops {
		if op.Content == nil {
			continue
		}
		for _, id := range op.Content.Chunks.IDs() {
			if rec, ok := r.known[id]; ok && !seen[id] {
				seen[id] = true
				all = append(all, rec.receipt)
			}
		}
	}
	return all
}

// drop forgets the receipts of chunks that a commit was refused for want of, as far as it
// was sent them: one that has arrived since is good.
func (r *receipts) drop(ids []dbfs.ChunkID, sent []dbfs.Receipt) {
	stale := make(map[dbfs.Receipt]bool, len(sent))
	for _, rec := range sent {
		stale[rec] = true
	}
	r.mu.Lock()
	for _, id := range ids {
		if rec, ok := r.known[id]; ok && stale[rec.receipt] {
			delete(r.known, id)
		}
	}
	r.mu.Unlock()
	r.retry()
}

// forget drops the receipts of chunks that nobody needs any more.
func (r *receipts) forget(needed func(dbfs.ChunkID) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.known {
		if !needed(id) {
			delete(r.known, id)
		}
	}
	for id := range r.asked {
		if !needed(id) {
			delete(r.asked, id)
		}
	}
}

func (r *receipts) clear() {
	r.mu.Lock()
	clear(r.known)
	r.mu.Unlock()
	r.retry()
}

func (r *receipts) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *receipts) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *receipts) arrived() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.new
}

func (r *receipts) retry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.again)
	r.again = make(chan struct{})
}

func (r *receipts) retried() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.again
}
