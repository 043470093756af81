package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/dbfs/dbfs/fs/shield"
	"github.com/dbfs/dbfs/remote/throttle"
)

// byteSize is a flag for a number of bytes: "10GiB", "500MB", "4096".
type byteSize int64

func (s *byteSize) Set(v string) error {
	n, err := humanize.ParseBytes(v)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size: write 10GiB, 500MB or a number of bytes", v)
	}
	*s = byteSize(n)
	return nil
}

func (s *byteSize) String() string {
	if *s == 0 {
		return "0"
	}
	return strings.ReplaceAll(humanize.IBytes(uint64(*s)), " ", "")
}

func (s *byteSize) Type() string { return "size" }

// limit is a flag for how fast transfers may be; see throttle.Parse.
type limit struct{ schedule *throttle.Schedule }

func (l *limit) Set(v string) error {
	s, err := throttle.Parse(v)
	if err == nil {
		l.schedule = &s
	}
	return err
}

func (l *limit) String() string {
	if l.schedule == nil {
		return ""
	}
	return l.schedule.String()
}

func (l *limit) Type() string { return "limit" }

// automatic is a flag for what happens by itself where it can: "auto", or "off".
type automatic struct{ off bool }

func (a *automatic) Set(v string) error {
	switch v {
	case "auto", "off":
		a.off = v == "off"
		return nil
	}
	return fmt.Errorf("%q is neither auto nor off", v)
}

func (a *automatic) String() string {
	if a.off {
		return "off"
	}
	return "auto"
}

func (a *automatic) Type() string { return "auto|off" }

// shieldRules is a flag for which programs get nothing downloaded; see shield.ParseRules.
type shieldRules struct {
	rules shield.Rules
	text  string
}

func (s *shieldRules) Set(v string) error {
	rules, err := shield.ParseRules(v)
	if err == nil {
		s.rules, s.text = rules, v
	}
	return err
}

// must sets what is known to be right.
func (s *shieldRules) must(v string) {
	if err := s.Set(v); err != nil {
		panic(err)
	}
}

func (s *shieldRules) String() string { return s.text }

func (s *shieldRules) Type() string { return "programs" }

// span is a flag for a length of time: "90s", "1h30m", "2d", or a bare number of seconds.
type span time.Duration

func (d *span) Set(v string) error {
	n, err := parseSpan(v)
	if err != nil {
		return err
	}
	*d = span(n)
	return nil
}

func (d *span) String() string { return time.Duration(*d).String() }
func (d *span) Type() string   { return "duration" }

func parseSpan(v string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a length of time: write 90s, 1h30m or 2d", v)
	unit, number := time.Second, v
	if days, ok := strings.CutSuffix(v, "d"); ok {
		unit, number = 24*time.Hour, days
	}
	if n, err := strconv.ParseFloat(number, 64); err == nil {
		if n < 0 || n > float64(math.MaxInt64/unit) || math.IsNaN(n) {
			return 0, bad
		}
		return time.Duration(n * float64(unit)), nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}
