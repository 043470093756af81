// Package throttle limits how many bytes a second are sent and fetched: always, or by the time of the week.
// A Schedule says how much, a Limiter lets transfers wait. The words are those of rclone's --bwlimit.
package throttle

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rates are bytes a second; 0: no limit.
type Rates struct{ Up, Down int64 }

// String writes the rates as Parse reads them.
func (r Rates) String() string {
	if r.Up == r.Down {
		return rateText(r.Up)
	}
	return rateText(r.Up) + ":" + rateText(r.Down)
}

// A Schedule is which rates hold when. The zero Schedule has no limits.
type Schedule struct {
	slots []slot // in order; each holds until the next, and the last into the week after
}

// A slot begins at a minute of the week, which begins with Sunday.
type slot struct {
	minute int
	rates  Rates
}

const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
)

// Parse reads a limit or a timetable:
//
//	10M               at most 10 MiB a second each way
//	1M:off            1 MiB a second up, no limit down
//	08:00,512k 18:00,off            by the time of day
//	Mon-08:00,1M:5M Fri-18:00,off   by the time of the week
//
// Numbers are KiB a second unless they end in B, K, M, G, T or P. The times are local ones.
func Parse(text string) (Schedule, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return Schedule{}, fmt.Errorf("no limit is given; write 1M, 1M:5M, off, or a timetable: '08:00,512k 18:00,off'")
	}
	if len(fields) == 1 && !strings.Contains(text, ",") {
		rates, err := parseRates(fields[0])
		return always(rates), err
	}
	var s Schedule
	for _, f := range fields {
		when, what, ok := strings.Cut(f, ",")
		if !ok {
			return Schedule{}, fmt.Errorf("%q is not an entry of a timetable; write TIME,LIMIT: 08:00,512k or Mon-08:00,1M:5M", f)
		}
		rates, err := parseRates(what)
		if err != nil {
			return Schedule{}, err
		}
		minutes, err := parseWhen(when)
		if err != nil {
			return Schedule{}, err
		}
		for _, m := range minutes {
			s.slots = append(s.slots, slot{m, rates})
		}
	}
	slices.SortStableFunc(s.slots, func(a, b slot) int { return a.minute - b.minute })
	for i := 1; i < len(s.slots); i++ {
		if s.slots[i].minute == s.slots[i-1].minute {
			return Schedule{}, fmt.Errorf("the timetable has two limits for %s", whenText(s.slots[i].minute))
		}
	}
	return s, nil
}

func always(r Rates) Schedule {
	if r == (Rates{}) {
		return Schedule{}
	}
	return Schedule{[]slot{{0, r}}}
}

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseWhen reads HH:MM, which is every day, or DAY-HH:MM, and returns the minutes of the week.
func parseWhen(text string) ([]int, error) {
	day, clock, named := strings.Cut(text, "-")
	if !named {
		clock = text
	}
	t, err := time.Parse("15:04", clock)
	if err != nil {
		return nil, fmt.Errorf("%q is not a time; write 08:00 or Mon-08:00", text)
	}
	minute := t.Hour()*60 + t.Minute()
	if named {
		i := slices.IndexFunc(days, func(d string) bool { return len(day) >= 3 && strings.HasPrefix(strings.ToLower(day), d) })
		if i < 0 {
			return nil, fmt.Errorf("%q is not a day; write Sun, Mon, Tue, Wed, Thu, Fri or Sat", day)
		}
		return []int{i*dayMinutes + minute}, nil
	}
	var all []int
	for i := range days {
		all = append(all, i*dayMinutes+minute)
	}
	return all, nil
}

func parseRates(text string) (r Rates, err error) {
	up, down, both := strings.Cut(text, ":")
	if r.Up, err = parseRate(up); err != nil {
		return Rates{}, err
	}
	r.Down = r.Up
	if both {
		r.Down, err = parseRate(down)
	}
	if err != nil {
		return Rates{}, err
	}
	return r, nil
}

const units = "BKMGTP"

func parseRate(text string) (int64, error) {
	wrong := fmt.Errorf("%q is not a limit; write bytes a second, as 512k or 1.5M, or off", text)
	if strings.EqualFold(text, "off") || text == "0" {
		return 0, nil
	}
	number, unit := strings.ToUpper(text), 1
	for _, suffix := range []string{"/S", "IB"} {
		number = strings.TrimSuffix(number, suffix)
	}
	if n := len(number); n > 0 {
		if i := strings.IndexByte(units, number[n-1]); i >= 0 {
			number, unit = number[:n-1], i
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		return 0, wrong
	}
	f *= math.Pow(1024, float64(unit))
	if f < 1 || f > 1<<60 {
		return 0, wrong
	}
	return int64(f), nil
}

func rateText(n int64) string {
	if n == 0 {
		return "off"
	}
	unit := 0
	for unit+1 < len(units) && n%1024 == 0 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + units[unit:unit+1]
}

func whenText(minute int) string {
	day := days[minute/dayMinutes]
	return fmt.Sprintf("%s-%02d:%02d", strings.ToUpper(day[:1])+day[1:], minute%dayMinutes/60, minute%60)
}

// String writes the schedule as Parse reads it.
func (s Schedule) String() string {
	switch {
	case len(s.slots) == 0:
		return "off"
	case len(s.slots) == 1:
		return s.slots[0].rates.String()
	}
	var b []string
	for _, x := range s.slots {
		b = append(b, whenText(x.minute)+","+x.rates.String())
	}
	return strings.Join(b, " ")
}

// At returns the rates that hold at a time, and when they may be others; the zero time: never.
func (s Schedule) At(now time.Time) (Rates, time.Time) {
	switch len(s.slots) {
	case 0:
		return Rates{}, time.Time{}
	case 1:
		return s.slots[0].rates, time.Time{}
	}
	minute := int(now.Weekday())*dayMinutes + now.Hour()*60 + now.Minute()
	next := slices.IndexFunc(s.slots, func(x slot) bool { return x.minute > minute })
	until := weekMinutes + s.slots[0].minute
	if next > 0 || next == 0 {
		until = s.slots[next].minute
	} else {
		next = len(s.slots)
	}
	held := s.slots[(next+len(s.slots)-1)%len(s.slots)]
	// Looking again at midnight, and never later than an hour, does with clocks that are set and with summer time.
	wait := min(time.Duration(until-minute)*time.Minute, time.Hour)
	return held.rates, now.Truncate(time.Minute).Add(wait)
}
