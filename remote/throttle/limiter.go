package throttle

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Piece is how many bytes at most one call of Up or Down is about.
const Piece = 16 << 10

// A Limiter lets transfers wait for their turn, by a schedule that may change at any time. All methods
// may be called from several goroutines.
type Limiter struct {
	clock    func() time.Time
	up, down *rate.Limiter

	mu       sync.Mutex // guards what follows
	schedule Schedule
	rates    Rates
	until    time.Time // when to look at the schedule again; zero: never
}

// NewLimiter returns a limiter without limits.
func NewLimiter(clock func() time.Time) *Limiter {
	return &Limiter{clock: clock, up: rate.NewLimiter(rate.Inf, Piece), down: rate.NewLimiter(rate.Inf, Piece)}
}

// Set makes a schedule hold from now on. What waits already waits as long as it was told to, a Piece's time.
func (l *Limiter) Set(s Schedule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule = s
	l.look(l.clock())
}

// Now returns the schedule, and the rates that hold at the moment.
func (l *Limiter) Now() (Schedule, Rates) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	return l.schedule, l.rates
}

// turn looks at the schedule when it is time. Called with mu held.
func (l *Limiter) turn() {
	if now := l.clock(); !l.until.IsZero() && !now.Before(l.until) {
		l.look(now)
	}
}

// look puts the rates of a time in force. Called with mu held.
func (l *Limiter) look(now time.Time) {
	l.rates, l.until = l.schedule.At(now)
	for r, n := range map[*rate.Limiter]int64{l.up: l.rates.Up, l.down: l.rates.Down} {
		limit := rate.Inf
		if n > 0 {
			limit = rate.Limit(n)
		}
		r.SetLimit(limit)
	}
}

// Up waits until n more bytes may be sent, at most a Piece.
func (l *Limiter) Up(ctx context.Context, n int) error { return l.wait(ctx, l.up, n) }

// Down waits until n more bytes may be fetched, at most a Piece.
func (l *Limiter) Down(ctx context.Context, n int) error { return l.wait(ctx, l.down, n) }

func (l *Limiter) wait(ctx context.Context, r *rate.Limiter, n int) error {
	l.mu.Lock()
	l.turn()
	l.mu.Unlock()
	return r.WaitN(ctx, n)
}
