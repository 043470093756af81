package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote/throttle"
)

// throttleKey is the row of the limit that was set last, in the words of throttle.Parse.
var throttleKey = []byte("@throttle")

// newLimiter returns a limiter with the limit that this start is given, or else the one that was set last.
func newLimiter(kv dbfs.KV, given *throttle.Schedule) (*throttle.Limiter, error) {
	l := throttle.NewLimiter(time.Now)
	if given != nil {
		l.Set(*given)
		return l, setValue(kv, throttleKey, []byte(given.String()))
	}
	text, err := getValue(kv, throttleKey)
	if errors.Is(err, dbfs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := throttle.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the limit of transfers: %v", dbfs.ErrCorrupt, err)
	}
	l.Set(s)
	return l, nil
}

// Throttle sets the limit of transfers, unless it is to be told only.
func (d *Daemon) Throttle(_ context.Context, req control.ThrottleRequest) (*control.Throttle, error) {
	if req.Limit != "" {
		s, err := throttle.Parse(req.Limit)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", dbfs.ErrInvalid, err)
		}
		if err := setValue(d.kv, throttleKey, []byte(s.String())); err != nil {
			return nil, err
		}
		d.set.limiter.Set(s)
	}
	return d.throttled(), nil
}

// throttled says what transfers are limited to.
func (d *Daemon) throttled() *control.Throttle {
	s, now := d.set.limiter.Now()
	return &control.Throttle{Limit: s.String(), Up: now.Up, Down: now.Down}
}
