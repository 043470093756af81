// Package shield knows on whose behalf bytes are fetched, and refuses programs that would fetch everything: those that
// read all files that they find, to make little pictures of them or an index. They get names and attributes, and
// what is on this machine.
package shield

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

// A Shield knows the programs that have had bytes fetched since the mount. For concurrent use.
type Shield struct {
	rules Rules
	clock func() time.Time
	log   *slog.Logger
	book  *book

	mu     sync.Mutex      // guards what follows
	rates  map[int]*rate   // suspects, by PID
	warned map[string]bool // programs that the log names
}

// New returns a Shield that nobody has asked yet.
func New(rules Rules, clock func() time.Time, log *slog.Logger) *Shield {
	return &Shield{rules: rules, clock: clock, log: log, book: newBook(), rates: make(map[int]*rate), warned: make(map[string]bool)}
}

// Totals returns what each program has caused, the largest first.
func (s *Shield) Totals() []Total { return s.book.sums() }

// Refused returns of how many files programs got nothing.
func (s *Shield) Refused() int64 { return s.book.refused() }

// Causes returns who had which file fetched, as far as that is remembered, the latest first.
func (s *Shield) Causes() []Cause { return s.book.list() }

// Thread is the Asker for a thread that reads a file, or, if it writes, needs what it writes into.
func (s *Shield) Thread(tid int, f cache.File, writes bool) cache.Asker {
	return &asker{shield: s, tid: tid, file: f, writes: writes}
}

// Part is the Asker for a part of dbfs itself, or for a command that a person gave; it is never refused.
func (s *Shield) Part(name string, f cache.File) cache.Asker {
	a := &asker{shield: s, file: f, writes: true, program: Program{Name: name}}
	a.once.Do(func() {})
	return a
}

type asker struct {
	shield *Shield
	tid    int
	file   cache.File
	writes bool

	once    sync.Once // sees the program, while it waits for its bytes
	program Program
}

func (a *asker) seen() *Program {
	a.once.Do(func() { a.program = ProgramOf(a.tid) })
	return &a.program
}

// May implements cache.Asker.
func (a *asker) May() error {
	p := a.seen()
	if a.writes || !a.shield.refuses(p, a.file) {
		return nil
	}
	a.shield.book.note(a.file, p, 0, true, a.shield.clock())
	return fmt.Errorf("%s (pid %d) reads whatever it finds, and this would have to be fetched: %w", p.Name, p.PID, dbfs.ErrForbidden)
}

// Fetched implements cache.Asker.
func (a *asker) Fetched(n int) {
	a.shield.book.note(a.file, a.seen(), n, false, a.shield.clock())
}

func (s *Shield) refuses(p *Program, f cache.File) bool {
	switch s.rules.verdict(p) {
	case crawler:
	case suspect:
		if !s.exceeds(p.PID, f) {
			return false
		}
	default:
		return false
	}
	s.warn(p)
	return true
}

const maxRates = 1024

func (s *Shield) exceeds(pid int, f cache.File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rates[pid]
	if r == nil {
		if len(s.rates) >= maxRates {
			clear(s.rates)
		}
		r = &rate{}
		s.rates[pid] = r
	}
	return r.exceeds(f, s.clock())
}

// warn says once of each program that it gets no bytes.
func (s *Shield) warn(p *Program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned[p.Name] || len(s.warned) >= maxTotals {
		return
	}
	s.warned[p.Name] = true
	s.log.Info("a program that reads whatever it finds gets nothing fetched", "program", p.Name, "pid", p.PID, "command", p.Command)
}
