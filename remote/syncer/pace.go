package syncer

import (
	"context"
	"time"
)

// While somebody unpacks an archive, the upload of each file that it has written takes more of
// the machine than the writing does: on two cores, with the server on the same machine, 10,000
// files took four times as long to make as with transfers paused. So transfers give way while changes
// come in a crowd: one chunk at a time, with a rest after each that is some times as long as it took. They
// have their share always, and everything as soon as the crowd has passed; a change that comes
// alone is sent at once.

const (
	giveWayShare = 4           // a rest is so many times as long as the work before it
	longestRest  = time.Second // whatever the work was
	restStep     = 10 * time.Millisecond
)

// giveWay rests after work that took so long, as far as somebody is busy.
func (s *Syncer) giveWay(ctx context.Context, took time.Duration) {
	rest := min(giveWayShare*took, longestRest)
	for end := time.Now().Add(rest); s.cfg.Busy() && ctx.Err() == nil; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		sleep(ctx, min(left, restStep), nil)
	}
}
