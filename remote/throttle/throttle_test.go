package throttle

import (
	"context"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"off":                              "off",
		"0":                                "off",
		"10M":                              "10M",
		"512":                              "512K",
		"1.5M":                             "1536K",
		"100b:off":                         "100B:off",
		"1M:5M":                            "1M:5M",
		"10MiB/s":                          "10M",
		"off:2G":                           "off:2G",
		"Mon-08:00,1M":                     "1M", // one entry holds all week
		"mon-08:00,1M:5M Friday-18:00,off": "Mon-08:00,1M:5M Fri-18:00,off",
	} {
		s, err := Parse(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, s, err, want)
		}
		if again, err := Parse(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q does not survive being written: %q, %v", text, again, err)
		}
	}
	for _, text := range []string{"", "fast", "1M:", ":", "-5", "1M:2M:3M", "NaN", "1e30P", "25:00,1M", "08:00", "08:00,1M 08:00,2M",
		"Foo-08:00,1M", "08:00,1M off", "0.0001B"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q is read as %q", text, s)
		}
	}
}

func TestTimetable(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.ParseInLocation("2006-01-02 15:04", text, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct{ schedule, now, want, next string }{
		{"08:00,1M 18:00,off", "2026-11-25 07:30", "off", "2026-11-25 08:00"},
		{"08:00,1M 18:00,off", "2026-11-25 08:00", "1M", "2026-11-25 09:00"},
		{"08:00,1M 18:00,off", "2026-11-25 17:59", "1M", "2026-11-25 18:00"},
		{"08:00,1M 18:00,off", "2026-11-28 23:59", "off", "2026-11-29 00:59"}, // Saturday: the week ends
		{"Mon-00:00,1M Fri-23:59,off", "2026-11-22 12:00", "off", "2026-11-22 13:00"},
		{"Mon-00:00,1M Fri-23:59,off", "2026-11-22 23:30", "off", "2026-11-23 00:00"},
		{"Mon-00:00,1M Fri-23:59,off", "2026-11-27 23:58", "1M", "2026-11-27 23:59"},
	} {
		s, err := Parse(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		r, next := s.At(at(c.now))
		if r.String() != c.want || !next.Equal(at(c.next)) {
			t.Errorf("%s at %s: %s until %s, want %s until %s", c.schedule, c.now, r, next.Format("2006-01-02 15:04"), c.want, c.next)
		}
	}
}

func TestLimiter(t *testing.T) {
	now := time.Date(2026, 11, 25, 7, 59, 0, 0, time.UTC)
	l := NewLimiter(func() time.Time { return now })
	soon := func(wait func(context.Context, int) error, pieces int) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range pieces {
			if wait(ctx, Piece) != nil {
				return false
			}
		}
		return true
	}
	if !soon(l.Up, 1000) || !soon(l.Down, 1000) {
		t.Error("without limits it waits")
	}
	s, err := Parse("08:00,16k:off 18:00,off")
	if err != nil {
		t.Fatal(err)
	}
	l.Set(s)
	if !soon(l.Up, 1000) {
		t.Error("it waits before the time")
	}
	now = now.Add(time.Minute)
	if _, r := l.Now(); r.Up != 16<<10 || r.Down != 0 {
		t.Errorf("at eight there is %v", r)
	}
	if soon(l.Up, 3) || !soon(l.Down, 1000) {
		t.Error("three seconds' worth went up in no time, or nothing comes down")
	}
	l.Set(Schedule{})
	if !soon(l.Up, 1000) {
		t.Error("it goes on waiting when the limit is gone")
	}
}
