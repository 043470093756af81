package syncer

import (
	"context"
	"errors"
	"time"

	"github.com/dbfs/dbfs"
)

// pullPatience is how long the poll is put off for namespaces that pull what they were just
// told of: usually less than the time that a second poll would take.
const pullPatience = time.Second

// poll holds the long poll: it hears which namespaces moved and lets them pull.
//
// A namespace that has been told of news, and has not got them yet, is left out of the next
// polls, which would be answered at once and again and again. It goes on by itself, and when
// it is there asks to be polled for again (space.watch).
func (s *Syncer) poll(ctx context.Context) {
	vain := 0 // polls in a row that told of news where there were none
	for failures := 0; s.gate(ctx) == nil; {
		wait, fruitless, err := s.pollOnce(ctx, s.wantsList() || failures > 0 || !s.isOnline())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = max(wait, backoff(failures, s.cfg.MaxBackoff))
			failures++
			s.setOnline(false, err)
			s.cfg.Log.Debug("poll failed", "err", err, "again in", wait)
		case fruitless:
			failures = 0
			if vain++; vain > 1 {
				wait = max(wait, backoff(vain, s.cfg.MaxBackoff))
			}
		default:
			failures, vain = 0, 0
		}
		if wait > 0 {
			sleep(ctx, wait, s.repoll)
		}
	}
}

// pollOnce asks once. After the server was out of reach it also asks what the account may
// see, and lets everybody look for what they missed.
func (s *Syncer) pollOnce(ctx context.Context, anew bool) (wait time.Duration, fruitless bool, err error) {
	if anew {
		if err := s.lookAnew(ctx); err != nil {
			return 0, false, err
		}
	}
	at := s.watched()
	if len(at) == 0 {
		sleep(ctx, s.cfg.PollTime, s.repoll)
		return 0, false, nil
	}
	hint, repolled, err := s.wait(ctx, at)
	if err != nil || repolled {
		return 0, false, err
	}
	return hint.Retry, s.spread(ctx, hint.Changed, at), nil
}

func (s *Syncer) lookAnew(ctx context.Context) error {
	list, err := s.cfg.Meta.Namespaces(ctx)
	if err != nil {
		return err
	}
	s.cfg.Namespaces(list)
	s.setOnline(true, nil)
	for _, sp := range s.all() {
		sp.look()
	}
	return nil
}

// watched returns the namespaces to poll for and where they are.
func (s *Syncer) watched() map[dbfs.NamespaceID]dbfs.Cursor {
	at := make(map[dbfs.NamespaceID]dbfs.Cursor)
	for _, sp := range s.all() {
		if c, ok := sp.watch(); ok {
			at[sp.journal.NS()] = c
		}
	}
	return at
}

// wait polls, until it is answered or what to poll for changes.
func (s *Syncer) wait(ctx context.Context, at map[dbfs.NamespaceID]dbfs.Cursor) (hint dbfs.Hint, repolled bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	again := errors.New("something else is to be polled for")
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-s.repoll:
			cancel(again)
		case <-ctx.Done():
		}
	}()
	hint, err = s.cfg.Notifier.Wait(ctx, at, s.cfg.PollTime)
	cancel(nil)
	<-watching
	if context.Cause(ctx) == again {
		return dbfs.Hint{}, true, nil
	}
	return hint, false, err
}

// spread lets the namespaces that have changed pull, and gives them a moment to. It reports
// whether nothing came of that: then what may be done in one of them has changed, perhaps, and
// what there is will be asked anew.
func (s *Syncer) spread(ctx context.Context, changed []dbfs.NamespaceID, at map[dbfs.NamespaceID]dbfs.Cursor) (fruitless bool) {
	var told []*space
	moved := false
	for _, ns := range changed {
		s.mu.Lock()
		sp := s.spaces[ns]
		s.mu.Unlock()
		switch {
		case sp == nil:
		case sp.journal.Reading() != at[ns]:
			moved = true // meanwhile; if there is more, the next poll says so
		default:
			sp.tell()
			told = append(told, sp)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	for _, sp := range told {
		sp.awaitPull(ctx)
		moved = moved || sp.journal.Reading() != at[sp.journal.NS()]
	}
	if moved || len(changed) == 0 {
		return false
	}
	s.mu.Lock()
	s.asked = true
	s.mu.Unlock()
	return true
}

// wantsList reports, once, whether somebody asked for a Refresh.
func (s *Syncer) wantsList() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = false
	return asked
}

func (s *Syncer) isOnline() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online
}

func (s *Syncer) setOnline(online bool, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.online != online {
		s.cfg.Log.Info("server", "reachable", online, "err", why)
	}
	s.online, s.polled = online, why
}
