package responders_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

// robot is a chat whose messages cannot be edited.
type robot struct{ *chat }

func (robot) Static() {}

// Where nothing can be edited, people hear again of what matters, and a flood
// of repeats is silent.
func TestStaticDestinationTellsWhatMatters(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.chat("robot")
		p := w.start([]Destination{{Notifier: robot{c}}})
		defer p.stop()
		a := w.plain("a1", "root.login", alert.Medium)
		p.give(t, 1, a)
		synctest.Wait()
		tell := func(change func()) int {
			t.Helper()
			before := len(c.made("edit"))
			a.Revision++
			change()
			p.give(t, uint64(a.Revision)+1, a)
			time.Sleep(time.Hour)
			synctest.Wait()
			return len(c.made("edit")) - before
		}
		if n := tell(func() { a.Count, a.LastAt = 2, a.LastAt.Add(time.Second) }); n != 0 {
			t.Errorf("one more event: %d messages", n)
		}
		if n := tell(func() { a.SourceIP = "198.51.100.9" }); n != 0 {
			t.Errorf("another address: %d messages", n)
		}
		if n := tell(func() { a.Severity = alert.Critical }); n != 1 {
			t.Errorf("worse: %d messages", n)
		}
		if n := tell(func() { a.Severity = alert.High }); n != 0 {
			t.Errorf("better: %d messages", n)
		}
		a.Severity = alert.Critical
		if n := tell(func() { a.Count = 25 }); n != 1 {
			t.Errorf("ten times as many: %d messages", n)
		}
		for range 100 {
			if n := tell(func() { a.Count++ }); n != 0 {
				t.Fatalf("%d events: %d messages", a.Count, n)
			}
		}
		if len(c.of("a1")) != 1 {
			t.Errorf("%d first messages", len(c.of("a1")))
		}
	})
}
