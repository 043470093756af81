package sim

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Budget is many histories.
type Budget struct {
	First    uint64 // seed of the first; the others follow it
	Count    int
	Plan     string // "": all in turn
	Options  Options
	Workers  int           // histories at a time; 0: one for each processor
	Twice    int           // each history whose seed this divides is run twice, which must be the same; 0: none
	TwiceFor time.Duration // and none any more after so long; 0: to the end
	Enough   int           // violations after which the rest is left; 0: 10
	Done     func(n int)   // hears now and then how many are done, from any goroutine; may be nil
}

// A Report is what came of them.
type Report struct {
	Histories  int
	Twice      int // how many of them were run twice
	Violations []Result
	Coverage   Coverage
	Events     Events
	Took       time.Duration
	Trace      []string // of the last history, if Options want one
}

// Rate is how many histories ran in a second.
func (r *Report) Rate() float64 { return float64(r.Histories) / max(r.Took.Seconds(), 1e-9) }

// Many runs histories until they are done, enough of them have failed, or ctx ends.
func Many(ctx context.Context, b Budget) (Report, error) {
	if b.Workers == 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	if b.Enough == 0 {
		b.Enough = 10
	}
	m := &many{Budget: b, begun: time.Now(), report: Report{Coverage: make(Coverage), Events: make(Events)}}
	var wait sync.WaitGroup
	for range b.Workers {
		wait.Go(func() { m.work(ctx) })
	}
	wait.Wait()
	m.report.Took = time.Since(m.begun)
	slices.SortFunc(m.report.Violations, func(a, b Result) int { return int(int64(a.Seed - b.Seed)) })
	if m.err == nil {
		m.err = ctx.Err()
	}
	return m.report, m.err
}

type many struct {
	Budget
	begun time.Time
	next  atomic.Int64
	over  atomic.Bool

	mu     sync.Mutex // guards what follows
	report Report
	err    error
}

func (m *many) work(ctx context.Context) {
	for ctx.Err() == nil && !m.over.Load() {
		i := m.next.Add(1) - 1
		if i >= int64(m.Count) {
			return
		}
		seed := m.First + uint64(i)
		r, twice, err := m.one(seed)
		m.take(r, twice, err)
	}
}

// one runs one history, perhaps twice.
func (m *many) one(seed uint64) (r Result, twice bool, err error) {
	plan, ok := PlanOf(m.Plan, seed)
	if !ok {
		return r, false, fmt.Errorf("there is no plan %q", m.Plan)
	}
	if r, err = Run(seed, plan, m.Options); err != nil || !m.runsTwice(seed) {
		return r, false, err
	}
	again, err := Run(seed, plan, m.Options)
	if err == nil && r.Violation == "" && again.Hash != r.Hash {
		r.Property, r.Violation = "determinism", fmt.Sprintf("run twice, it went two ways: %016x and %016x", r.Hash, again.Hash)
	}
	return r, true, err
}

func (m *many) runsTwice(seed uint64) bool {
	return m.Twice > 0 && seed%uint64(m.Twice) == 0 && (m.TwiceFor == 0 || time.Since(m.begun) < m.TwiceFor)
}

func (m *many) take(r Result, twice bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = err
		m.over.Store(true)
		return
	}
	m.report.Histories++
	if twice {
		m.report.Twice++
	}
	m.report.Coverage.Add(r.Coverage)
	m.report.Trace = r.Trace
	for what, n := range r.Events {
		m.report.Events[what] += n
	}
	if r.Violation != "" {
		m.report.Violations = append(m.report.Violations, r)
		m.over.Store(m.over.Load() || len(m.report.Violations) >= m.Enough)
	}
	if m.Done != nil && m.report.Histories%16 == 0 {
		m.Done(m.report.Histories)
	}
}
