package app

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// BenchmarkReplay runs the whole shipped pack over the file or folder named by
// TRAILWARDEN_PERF, or over the recorded intrusion.
func BenchmarkReplay(b *testing.B) {
	path := os.Getenv("TRAILWARDEN_PERF")
	if path == "" {
		path = "../../../testdata/scenarios/intrusion/events.jsonl.gz"
	}
	set, err := Rules{Pack: true}.Load()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	events := int64(0)
	for b.Loop() {
		res, err := replay.Run(context.Background(), []string{path}, replay.RunConfig{Rules: set,
			Engine: detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Minute}})
		if err != nil {
			b.Fatal(err)
		}
		events = res.Stats.Events
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
}
