package detectors

import (
	"encoding/binary"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/snapshot"
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
				enc := snapshot.NewEncoder("")
				s.snapshot(enc)
				bytes := enc.Seal()
				if rapid.Bool().Draw(t, "other horizon") {
					horizon += time.Hour // what is forgotten stays so
					met = true
				}
				next := newSeen(horizon, limit)
				dec, err := snapshot.Open(bytes, "")
				if err != nil {
					t.Fatal(err)
				}
				if next.restore(dec); dec.End() != nil {
					t.Fatal(dec.End())
				}
				again := snapshot.NewEncoder("")
				if next.snapshot(again); string(again.Seal()) != string(bytes) {
					t.Fatal("a restored memory is another one")
				}
				s = next
			}
			if s.size >= limit {
				met = true
			}
			n := 0
			for _, set := range s.buckets {
				n += set.len()
			}
			if n != s.size || n > limit {
				t.Fatalf("%d remembered, %d counted, %d allowed", n, s.size, limit)
			}
		}
	})
}

// Against a map: keys of all kinds, those that differ in little, and the one that
// is zero.
func TestPropKeySet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, want := newKeySet(rapid.IntRange(0, 100).Draw(t, "room")), map[[16]byte]bool{}
		if (*keySet)(nil).len() != 0 || (*keySet)(nil).has([16]byte{}) {
			t.Fatal("no set has something")
		}
		if rapid.Bool().Draw(t, "known secret") {
			// As if somebody knew where his keys go: slow, and still right.
			set.secret = [2]uint64{}
		}
		for range rapid.IntRange(0, 300).Draw(t, "n") {
			var key [16]byte
			if rapid.Bool().Draw(t, "any") {
				copy(key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
			} else {
				key[rapid.IntRange(0, 15).Draw(t, "at")] = byte(rapid.IntRange(0, 40).Draw(t, "byte"))
			}
			if set.has(key) != want[key] {
				t.Fatalf("%x: has it %v", key, set.has(key))
			}
			if rapid.IntRange(0, 4).Draw(t, "look") == 0 {
				continue
			}
			if set.add(key) == want[key] {
				t.Fatalf("%x: new %v", key, !want[key])
			}
			want[key] = true
		}
		have := map[[16]byte]bool{}
		for _, key := range set.keys {
			have[key] = true
		}
		if !maps.Equal(have, want) || set.len() != len(want) {
			t.Fatalf("%d keys, %d of them told, want %d", set.len(), len(have), len(want))
		}
	})
}

func BenchmarkSeen(b *testing.B) {
	s := newSeen(24*time.Hour, 1_000_000)
	epoch := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	var key [16]byte
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		at := epoch.Add(time.Duration(i) * 100 * time.Millisecond)
		binary.LittleEndian.PutUint64(key[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(key[8:], uint64(i)*0xd6e8feb86659fd93)
		s.add(key, at)
		s.advance(at)
		i++
	}
}
