package app

import (
	"bufio"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/synth"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// warmUp is how long the detectors may learn before alerts are counted.
const warmUp = 14

// Ordinary life must not page: of 500 identities over 30 days, fewer than five
// alerts of medium or above a day once the detectors have learned. In every
// run a tenth of it is played, with TRAILWARDEN_LONG the whole; the limit is
// the same, so the small one is a smoke test and the whole one the measure.
func TestNormalLifeIsQuiet(t *testing.T) {
	life := synth.Life{Identities: 50, Days: 20, Seed: 1, Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)}
	if os.Getenv("TRAILWARDEN_LONG") != "" {
		life.Identities, life.Days = 500, 30
	}
	path := filepath.Join(t.TempDir(), "life.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	n, err := synth.Write(w, life.Records)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	set := packWith(t, nil) // as shipped, without lists or geo data
	res, err := replay.Run(context.Background(), []string{path}, replay.RunConfig{Rules: set,
		Engine: detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Stats.RuleErrors > 0 || res.Stats.Parked > 0 || res.Stats.Events != int64(n) {
		t.Fatalf("not everything was evaluated: %s", res.Stats.JSON())
	}
	from := life.Start.AddDate(0, 0, warmUp)
	pages, signals, before := map[string]int{}, map[string]int{}, 0
	total := 0
	alerts, err := res.AllAlerts()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		switch {
		case a.Time.Before(from):
			before++
		case a.Severity < alert.Medium || a.Signal:
			signals[a.Rule]++
		default:
			pages[a.Rule]++
			total++
		}
	}
	days := float64(life.Days - warmUp)
	t.Logf("%d identities, %d days, %d events; %d alerts while learning", life.Identities, life.Days, n, before)
	t.Logf("after %d days: %.2f alerts of medium or above a day", warmUp, float64(total)/days)
	for _, rule := range slices.Sorted(maps.Keys(pages)) {
		t.Logf("  %-32s %.2f a day", rule, float64(pages[rule])/days)
	}
	for _, rule := range slices.Sorted(maps.Keys(signals)) {
		t.Logf("  %-32s %.2f a day (signal, pages nobody)", rule, float64(signals[rule])/days)
	}
	if float64(total)/days >= 5 {
		t.Errorf("%d alerts of medium or above in %.0f days: want fewer than 5 a day", total, days)
	}
}
