package shield

import (
	"time"

	"github.com/dbfs/dbfs/cache"
)

const (
	rateFiles  = 20          // that a suspect may have fetched
	rateWindow = time.Minute // within that time
	ratePause  = 10 * time.Minute
)

// A rate is what a suspect has asked for lately.
type rate struct {
	since time.Time // the window's begin
	files map[cache.File]bool
	until time.Time // it is refused until then
}

// exceeds notes that a file is asked for, and reports whether that is refused.
func (r *rate) exceeds(f cache.File, now time.Time) bool {
	if now.Before(r.until) {
		return true
	}
	if now.Sub(r.since) > rateWindow {
		r.since, r.files = now, make(map[cache.File]bool)
	}
	if r.files[f] {
		return false
	}
	if len(r.files) >= rateFiles {
		r.until = now.Add(ratePause)
		return true
	}
	r.files[f] = true
	return false
}
