package cli

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/report"
)

// TestHeldAlertsShowNowhere: in no format can be seen whether alerts waited in
// memory or in a file, where their details lose their Go types; nor whether a
// report had a list or a stream of them.
func TestHeldAlertsShowNowhere(t *testing.T) {
	set, err := app.Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, held := range []int{0, 1} {
		res, err := replay.Run(context.Background(), []string{"../../../testdata/scenarios/intrusion/events.jsonl.gz"}, replay.RunConfig{Rules: set, Held: held,
			Engine: detectors.EngineConfig{Judge: app.NewJudge(), Grace: 15 * time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := res.AllAlerts()
		if err != nil || len(alerts) < 5 {
			t.Fatal(len(alerts), err)
		}
		stats := res.Stats
		stats.Seconds, stats.PeakRSSBytes = 0, 0
		same := func(name string, write func(*bytes.Buffer) error) {
			t.Helper()
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if want, ok := all[name]; ok && !bytes.Equal(want, b.Bytes()) {
				t.Errorf("%s differs, %d held", name, held)
			}
			all[name] = b.Bytes()
		}
		same("jsonl", func(b *bytes.Buffer) error { return alertLines(b, res.Alerts()) })
		for _, format := range report.Formats() {
			same(format, func(b *bytes.Buffer) error { return report.Writer(format)(b, report.In{Alerts: alerts, Stats: stats}) })
			if report.Streams(format) {
				same(format, func(b *bytes.Buffer) error {
					return report.Writer(format)(b, report.In{Stream: res.Alerts(), Stats: stats})
				})
			}
		}
		res.Close()
	}
}
