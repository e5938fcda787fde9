package detectors

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// What is measured of a rule in shadow is what a grouper would have made, whatever
// the order, and survives a snapshot.
func TestNoiseIsWhatAGrouperMakes(t *testing.T) {
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		n, g := newNoise(), alert.NewGrouper(alert.GrouperConfig{})
		n.advance(start)
		for range rapid.IntRange(0, 60).Draw(t, "detections") {
			at := start.Add(time.Duration(rapid.IntRange(0, 5*24*60).Draw(t, "minute")) * time.Minute)
			who := fmt.Sprintf("user/%d", rapid.IntRange(0, 5).Draw(t, "who"))
			d := alert.Detection{Rule: "r", Time: at, FirstAt: at, Severity: alert.Low, Key: who, Window: time.Hour, EventIDs: []string{at.String()}, Actor: alert.Actor{ID: who}}
			n.add(&d)
			g.Add(d)
		}
		want := alert.Noise{Since: start, Until: start.Add(5 * 24 * time.Hour)}
		days, actors := map[time.Time]int{}, map[string]int{}
		for _, a := range g.All() {
			want.Alerts++
			days[a.FirstAt.Truncate(24*time.Hour)]++
			actors[a.Actor.ID]++
		}
		for d := start; d.Before(want.Until.Add(24 * time.Hour)); d = d.Add(24 * time.Hour) {
			if days[d] > 0 {
				want.Days = append(want.Days, alert.NoiseDay{Day: d, Alerts: days[d]})
			}
		}
		for id, c := range actors {
			want.Actors = append(want.Actors, alert.NoiseActor{ID: id, Alerts: c})
		}
		alert.SortActors(want.Actors)
		if d := cmp.Diff(want, n.told(want.Until)); d != "" {
			t.Fatalf("grouper (-) and measure (+):\n%s", d)
		}
		enc := snapshot.NewEncoder("")
		n.snapshot(enc)
		dec, err := snapshot.Open(enc.Seal(), "")
		if err != nil {
			t.Fatal(err)
		}
		back := restoreNoise(dec)
		if d := cmp.Diff(n.told(want.Until), back.told(want.Until)); d != "" || dec.End() != nil {
			t.Fatalf("after a snapshot: %v\n%s", dec.End(), d)
		}
	})
}

// It stays small: what is long past goes, actors are the commonest, and joined
// partitions add up.
func TestNoiseIsBounded(t *testing.T) {
	n := newNoise()
	at := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for i := range 20_000 {
		at = at.Add(10 * time.Minute)
		who := fmt.Sprintf("user/%d", i)
		if i%2 == 0 {
			who = "user/loud"
		}
		d := alert.Detection{Rule: "r", Time: at, Key: fmt.Sprint(i), Window: time.Hour, Actor: alert.Actor{ID: who}}
		n.add(&d)
		n.advance(at)
	}
	got := n.told(at)
	if got.Alerts != 20_000 || len(got.Days) > noiseDays+1 || len(n.open) > noiseOpen || len(got.Actors) != alert.MaxNoiseActors || got.Actors[0].ID != "user/loud" || got.Actors[0].Alerts < 10_000 {
		t.Errorf("%d alerts, %d days, %d open, actors %v", got.Alerts, len(got.Days), len(n.open), got.Actors)
	}
	sum := got.Join(got)
	if sum.Alerts != 40_000 || sum.Days[0].Alerts != 2*got.Days[0].Alerts || !sum.Since.Equal(got.Since) || len(sum.Actors) != alert.MaxNoiseActors {
		t.Errorf("joined: %d alerts, %+v", sum.Alerts, sum.Days[0])
	}
}
