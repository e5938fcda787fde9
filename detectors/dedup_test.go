package detectors

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Against a memory that forgets nothing: what was never applied is never taken for
// a repeat, whatever the bounds; what was is recognised as long as it is within
// the horizon and the bound was not met; through snapshots at any moment, and with
// another horizon from then on.
func TestSeenForgetsNothingWithinItsHorizon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
		horizon := time.Duration(rapid.IntRange(1, 48).Draw(t, "hours")) * time.Hour
		limit := rapid.SampledFrom([]int{1, 20, 1000, 1000}).Draw(t, "max")
		s := newSeen(horizon, limit)
		all := map[[16]byte]time.Time{}
		mark, met := epoch.Add(-horizon), false
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"new", "new", "again", "again", "on", "restart"}).Draw(t, "step") {
			case "new":
				var key [16]byte
				binary.BigEndian.PutUint64(key[:], uint64(i))
				at := epoch.Add(time.Duration(rapid.IntRange(-72*60, 72*60).Draw(t, "minute")) * time.Minute)
				if rapid.Bool().Draw(t, "edge") {
					at = mark.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "hundredth"))*s.width/100 - horizon)
				}
				if s.add(key, at) {
					t.Fatalf("event %d at %v was never there and is taken for a repeat", i, at)
				}
				all[key] = at
			case "again":
				if len(all) == 0 {
					continue
				}
				var key [16]byte
				binary.BigEndian.PutUint64(key[:], uint64(i-rapid.IntRange(0, i).Draw(t, "back")))
				at, ok := all[key]
				if !ok {
					continue
				}
				known := s.add(key, at)
				if !known && !met && !at.Before(mark.Add(-horizon)) {
					t.Fatalf("event at %v is forgotten, %v before the watermark, with a horizon of %v", at, mark.Sub(at), horizon)
				}
			case "on":
				by := time.Duration(rapid.IntRange(0, 24*60).Draw(t, "minutes")) * time.Minute
				if rapid.Bool().Draw(t, "little") {
					by = time.Duration(rapid.IntRange(0, 200).Draw(t, "hundredth")) * s.width / 100
				}
				mark = mark.Add(by)
				s.advance(mark)
			case "restart":
				enc := &encoder{}
				s.snapshot(enc)
				if rapid.Bool().Draw(t, "other horizon") {
					horizon += time.Hour // what is forgotten stays so
					met = true
				}
				next := newSeen(horizon, limit)
				dec := &decoder{b: enc.b}
				if next.restore(dec); dec.err != nil {
					t.Fatal(dec.err)
				}
				again := &encoder{}
				if next.snapshot(again); string(again.b) != string(enc.b) {
					t.Fatal("a restored memory is another one")
				}
				s = next
			}
			if s.size >= limit {
				met = true
			}
			n := 0
			for _, set := range s.buckets {
				n += len(set)
			}
			if n != s.size || n > limit {
				t.Fatalf("%d remembered, %d counted, %d allowed", n, s.size, limit)
			}
		}
	})
}
