package fs

import (
	"context"
	"maps"
	"sync"
	"time"
)

// What is written is sealed and sent when its last writer closes. Databases, logs and disk images stay open
// for days, so what their programs have synced is sealed, too:
//
//   - when the file has been quiet for a while after an fsync: nobody is in the middle of something
//   - by an fsync itself, where they follow one another without end: the program says that all is well now
//   - when somebody waits for it (SealSynced)
//
// and what was never synced when the file has been quiet for long. Until then what an fsync has promised
// is in the draft (see cache.Promise).
const (
	quietAfterSync  = 2 * time.Second
	quietAfterWrite = time.Minute
	sealEvery       = 15 * time.Second
	lookEvery       = 500 * time.Millisecond
)

// wear is how a file that is open for writing has been used since it was offered to be sent.
type wear struct {
	written time.Time // the last write; zero: none
	synced  time.Time // the first fsync; zero: none
	misled  bool      // what was promised is promised of another node than the file is now
}

// isDue reports whether what was written is to be sealed now, in between.
func (w wear) isDue(now time.Time) bool {
	switch {
	case w.misled:
		return true
	case w.written.IsZero() && w.synced.IsZero():
		return false
	case w.synced.IsZero():
		return now.Sub(w.written) >= quietAfterWrite
	}
	return now.Sub(w.written) >= quietAfterSync && now.Sub(w.synced) >= quietAfterSync
}

// sealsNext reports whether the next fsync is to seal.
func (w wear) sealsNext(now time.Time) bool {
	return !w.synced.IsZero() && now.Sub(w.synced) >= sealEvery
}

// A sealer looks after the open files that have something unsealed. The zero sealer is ready.
type sealer struct {
	mu      sync.Mutex       // guards what follows
	files   map[*file]uint64 // and how often they were added
	looking bool
}

// watchOver sees to it that what was written to a file is sealed in the end. It may be called with f.mu held.
func (fs *FS) watchOver(f *file) {
	s := &fs.sealer
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = make(map[*file]uint64)
	}
	s.files[f]++
	if !s.looking {
		s.looking = true
		fs.telling.Go(fs.lookAfter)
	}
}

// lookAfter runs while there are files to look after.
func (fs *FS) lookAfter() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-fs.done:
			return
		}
		files := fs.sealer.list()
		for f := range files {
			f.sealIf(func(w wear) bool { return w.isDue(time.Now()) })
		}
		if fs.sealer.rest(files) {
			return
		}
	}
}

func (s *sealer) list() map[*file]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.files)
}

// rest forgets which of the files that were listed have nothing to look after, unless they were added again
// since, and reports whether there are no others. No lock of a file is taken with the sealer's.
func (s *sealer) rest(files map[*file]uint64) bool {
	maps.DeleteFunc(files, func(f *file, _ uint64) bool { return !f.isSettled() })
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, n := range files {
		if s.files[f] == n {
			delete(s.files, f)
		}
	}
	s.looking = len(s.files) > 0
	return !s.looking
}

// isSettled reports whether nothing has been written since the last offer, or nobody will want it.
func (f *file) isSettled() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.closed || f.deleted || f.wear == wear{}
}

// SealSynced seals what programs have synced in files that they have open, so that it can be sent.
func (fs *FS) SealSynced() {
	for f := range fs.sealer.list() {
		f.sealIf(func(w wear) bool { return !w.synced.IsZero() })
	}
}

// sealIf seals what was written if due says so of it, and lets it be sent though somebody has the file open.
func (f *file) sealIf(due func(wear) bool) {
	f.sealing.Lock()
	defer f.sealing.Unlock()
	f.mu.RLock()
	w := f.wear
	yes := !f.closed && due(w)
	f.mu.RUnlock()
	if !yes {
		return
	}
	if err := f.sealLocked(context.Background()); err != nil {
		f.fs.cfg.Log.Warn("what was written to an open file could not be sealed; it is tried again", "node", f.id, "err", err)
		f.mu.Lock()
		f.wear.written = time.Now() // and not at once
		f.mu.Unlock()
		return
	}
	f.offer(w)
}

// offer lets be sent what was just sealed; w is how the file had been used before that. Called with sealing held.
func (f *file) offer(w wear) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wear.written.Equal(w.written) {
		f.wear.written = time.Time{}
	}
	f.wear.synced, f.wear.misled = time.Time{}, false
	if f.held && !f.deleted {
		f.space.journal.Offer(f.id)
	}
}

// promise makes what has been written survive a loss of power without sealing it; the journal has to be
// synced after it. It reports false where that cannot be, or is to be no more.
func (f *file) promise() (bool, error) {
	f.sealing.Lock()
	defer f.sealing.Unlock()
	f.mu.RLock()
	draft, of, w := f.draft, f.nodeFile(), f.wear
	fit := draft != nil && !f.deleted && f.sealed == nil && f.own == nil && !f.nameless
	f.mu.RUnlock()
	now := time.Now()
	if !fit || w.sealsNext(now) {
		return false, nil
	}
	name := ""
	if n, err := f.node(); err == nil {
		name = n.Name
	}
	done, err := draft.Promise(of, name)
	if !done {
		return false, err
	}
	f.wasSynced(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.own != nil || f.nodeFile() != of { // it lost its name meanwhile, when there was nothing to break yet
		f.promiseStray()
	}
	return true, nil
}

// wasSynced notes an fsync.
func (f *file) wasSynced(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wear.synced.IsZero() {
		f.wear.synced = now
		f.fs.watchOver(f)
	}
}

// promiseStray sees to what may be promised of a file that no longer is what it was promised as: of one that
// was deleted nothing is; of another node nothing is promised yet, so it is sealed soon. Called with mu held.
func (f *file) promiseStray() {
	switch {
	case f.draft == nil:
	case f.deleted:
		if err := f.draft.BreakPromise(); err != nil {
			f.fs.cfg.Log.Warn("a deleted file that was synced comes back as a recovered one if this process crashes", "node", f.id, "err", err)
		}
	case f.draft.Promised():
		f.wear.misled = true
		f.fs.watchOver(f)
	}
}
