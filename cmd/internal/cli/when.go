package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/rules"
)

// parseWhen reads a time as people write it: RFC 3339, a date (UTC midnight),
// a span back from now ("24h", "-24h", "90d"), now, today or yesterday.
func parseWhen(s string, now time.Time) (time.Time, error) {
	now = now.UTC()
	day := now.Truncate(24 * time.Hour)
	switch s {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	case "today":
		return day, nil
	case "yesterday":
		return day.AddDate(0, 0, -1), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := rules.ParseDuration(strings.TrimPrefix(s, "-")); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time; write 2026-11-20, 2026-11-20T08:00:00Z, 24h (ago), 90d (ago), today or yesterday", s)
}
