package window

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Span says a duration in words, in the largest unit that has at least two of
// it, else exactly one of the next: "6 minutes", "1 hour", "41 days".
func Span(d time.Duration) string {
	if d < 0 {
		d = -d
	}
	units := []struct {
		d    time.Duration
		name string
	}{
		{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"},
	}
	for i, u := range units {
		if 10*d >= 19*u.d || d >= u.d && (d%u.d == 0 || i == len(units)-1) {
			return Plural(int64((d+u.d/2)/u.d), u.name)
		}
	}
	if d == 0 {
		return "the same moment"
	}
	return "less than a second"
}

// In puts a span after what happened in it: "in 6 minutes", or "at the same
// moment".
func In(d time.Duration) string {
	if d == 0 {
		return "at the same moment"
	}
	return "in " + Span(d)
}

// Count writes a number with thousands apart: "1,204".
func Count[N ~int | ~int64 | ~uint32 | ~uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural counts things: "1 minute", "2 minutes".
func Plural[N ~int | ~int64 | ~uint32 | ~uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// List joins words: "a", "a and b", "a, b and 3 others".
func List(words []string, max int) string {
	if len(words) > max && max > 0 {
		rest := len(words) - max
		words = append(append([]string(nil), words[:max]...), Plural(rest, "other"))
	}
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// shownRunes is how much of a hostile text a reason shows.
const shownRunes = 64

// Show makes a text that somebody else chose fit for a sentence: no control
// or direction characters, at most 64 characters. Whoever prints it still
// escapes it for where it goes.
func Show(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean && len(s) <= shownRunes {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == shownRunes {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// Day writes the day of a time.
func Day(n int64) string { return Time(n).Format(time.DateOnly) }

// RFC3339 writes a time as alerts do.
func RFC3339(n int64) string { return Time(n).Format(time.RFC3339) }

// Ratio rounds a share for display: 0.714.
func Ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	r, _ := strconv.ParseFloat(fmt.Sprintf("%.3f", float64(part)/float64(whole)), 64)
	return r
}
