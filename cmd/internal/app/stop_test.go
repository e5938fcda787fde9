package app

import (
	"testing"
	"time"
)

// However long the sources take to stop, working off ends in time for the program to
// end within 10 s of being asked to.
func TestDrainUntil(t *testing.T) {
	asked := time.Now()
	for took, want := range map[time.Duration]time.Duration{0: 8 * time.Second, 2 * time.Second: 8 * time.Second, 6 * time.Second: 8 * time.Second, 8 * time.Second: 9 * time.Second} {
		if got := drainUntil(asked, asked.Add(took)).Sub(asked); got != want {
			t.Errorf("sources stopped after %s: drained until %s, want %s", took, got, want)
		}
	}
}
