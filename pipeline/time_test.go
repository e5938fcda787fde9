package pipeline

import (
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// A record that does not say when it happened is taken to be of when it came.
func TestRecordWithoutTime(t *testing.T) {
	stamp := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	var p event.Parser
	for rec, want := range map[string]time.Time{
		`{"eventId":"1","eventName":"X"}`:                                    stamp,
		`{"eventId":"1","eventName":"X","eventTime":"2026-11-20T01:02:03Z"}`: time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC),
	} {
		var ev event.Event
		if err := parseOne(&p, []byte(rec), stamp, &ev); err != nil || !ev.Time.Equal(want) {
			t.Errorf("%s: %v %v, want %v", rec, ev.Time, err, want)
		}
	}
}
