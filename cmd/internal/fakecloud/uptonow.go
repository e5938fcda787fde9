package fakecloud

import (
	"fmt"
	"regexp"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// A time as ActionTrail writes it, in the fields of a record and in the JSON
// that some of them hold as text.
var times = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z`)

// UpToNow moves every time in the records by one whole number of seconds, such
// that the newest event happened at now, and leaves all else as it is. Freshness,
// which the doctor and the guards of containment look at, then means what it does
// in a cloud. The records are changed in place. Records that are no events keep
// out of the choice of the newest, and are moved with the others.
func UpToNow(records [][]byte, now time.Time) error {
	var newest time.Time
	for _, r := range records {
		_ = event.Unwrap(r, func(one []byte) bool {
			if ev, err := event.Parse(one); err == nil && ev.Time.After(newest) {
				newest = ev.Time
			}
			return true
		})
	}
	if newest.IsZero() {
		if len(records) == 0 {
			return nil
		}
		return fmt.Errorf("none of the %d records is an event with a time", len(records))
	}
	by := now.Sub(newest).Truncate(time.Second)
	for i, r := range records {
		records[i] = times.ReplaceAllFunc(r, func(b []byte) []byte {
			t, err := time.Parse(time.RFC3339, string(b))
			if err != nil {
				return b // 31 February: a text that only looks like a time
			}
			return t.Add(by).AppendFormat(nil, time.RFC3339)
		})
	}
	return nil
}
