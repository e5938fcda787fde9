package route

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Interval is a recurring time, in Alertmanager's words. Everything that is
// given must fit; what is not given always does.
type Interval struct {
	Times    []Clock
	Weekdays []Range // 0 is Sunday
	Days     []Range // of the month; negative from its end
	Months   []Range
	Years    []Range
	Location *time.Location // UTC when nil
}

// Clock is a part of a day, minutes after midnight; End is not in it.
type Clock struct{ Start, End int }

// Range is from one number to another, both in it.
type Range struct{ From, To int }

// Contains says whether t lies in the interval.
func (i Interval) Contains(t time.Time) bool {
	loc := i.Location
	if loc == nil {
		loc = time.UTC
	}
	t = t.In(loc)
	within := func(rs []Range, v int) bool {
		for _, r := range rs {
			if v >= r.From && v <= r.To {
				return true
			}
		}
		return len(rs) == 0
	}
	minute := t.Hour()*60 + t.Minute()
	ok := len(i.Times) == 0
	for _, c := range i.Times {
		ok = ok || minute >= c.Start && minute < c.End
	}
	if !ok || !within(i.Weekdays, int(t.Weekday())) || !within(i.Months, int(t.Month())) || !within(i.Years, t.Year()) {
		return false
	}
	if len(i.Days) == 0 {
		return true
	}
	length := time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, loc).Day()
	for _, r := range i.Days {
		from, to := r.From, r.To
		if from < 0 {
			from += length + 1
		}
		if to < 0 {
			to += length + 1
		}
		if t.Day() >= from && t.Day() <= to {
			return true
		}
	}
	return false
}

// ParseClock reads "09:00" and "17:30"; "24:00" is the end of a day.
func ParseClock(start, end string) (Clock, error) {
	one := func(s string) (int, error) {
		h, m, ok := strings.Cut(s, ":")
		hh, err1 := strconv.Atoi(h)
		mm, err2 := strconv.Atoi(m)
		if !ok || err1 != nil || err2 != nil || len(s) != 5 || hh < 0 || hh > 24 || mm < 0 || mm > 59 || hh == 24 && mm != 0 {
			return 0, fmt.Errorf("time %q: want 00:00 to 24:00", s)
		}
		return hh*60 + mm, nil
	}
	a, err := one(start)
	if err != nil {
		return Clock{}, err
	}
	b, err := one(end)
	if err != nil {
		return Clock{}, err
	}
	if a >= b {
		return Clock{}, fmt.Errorf("times %s to %s: the end must be after the start; write two for a night", start, end)
	}
	return Clock{a, b}, nil
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

var months = []string{"", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

// ParseWeekdays reads "monday:friday" or "sunday".
func ParseWeekdays(s string) (Range, error) { return parseRange(s, "weekday", weekdays, 0, 6) }

// ParseMonths reads "january:march", "5" or "december".
func ParseMonths(s string) (Range, error) { return parseRange(s, "month", months, 1, 12) }

// ParseDays reads "1:5", "15" or "-3:-1".
func ParseDays(s string) (Range, error) {
	r, err := parseRange(s, "day of the month", nil, -31, 31)
	if err == nil && (r.From == 0 || r.To == 0) {
		err = fmt.Errorf("day of the month %q: there is no day 0", s)
	}
	return r, err
}

// ParseYears reads "2026" or "2026:2028".
func ParseYears(s string) (Range, error) { return parseRange(s, "year", nil, 1, 9999) }

func parseRange(s, what string, names []string, least, most int) (Range, error) {
	one := func(p string) (int, bool) {
		for i, n := range names {
			if n != "" && strings.EqualFold(n, p) {
				return i, true
			}
		}
		v, err := strconv.Atoi(p)
		return v, err == nil && v >= least && v <= most && (what != "weekday")
	}
	a, b, two := strings.Cut(s, ":")
	from, ok := one(a)
	to := from
	if two && ok {
		to, ok = one(b)
	}
	if !ok || to < from && (from < 0) == (to < 0) {
		return Range{}, fmt.Errorf("%s %q: not one, nor a range first:last", what, s)
	}
	return Range{from, to}, nil
}
