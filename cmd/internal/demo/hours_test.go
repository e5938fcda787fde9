package demo

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// Whenever somebody plays it, every act is seen and the days before are quiet:
// the story's office hours, and what the rules think of nights and weekends, lie
// differently around its end each time.
func TestStoryAtAnyHour(t *testing.T) {
	set, err := app.Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	from, step := time.Date(2027, 2, 26, 0, 0, 0, 0, time.UTC), time.Duration(raced.Size(67, 3*67))*time.Hour // over the end of a month
	for end := from; end.Before(from.AddDate(0, 0, 14)); end = end.Add(step) {
		s := Write(end)
		var b bytes.Buffer
		for _, r := range s.All() {
			b.Write(r.JSON)
			b.WriteByte('\n')
		}
		res, err := replay.Run(context.Background(), []string{"-"}, replay.RunConfig{Rules: set, Engine: detectors.EngineConfig{Judge: app.NewJudge()}, Options: replay.Options{Stdin: &b}})
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := res.AllAlerts()
		res.Close()
		if err != nil {
			t.Fatal(err)
		}
		rules := map[string]bool{}
		for _, a := range alerts {
			rules[a.Rule] = true
			if a.FirstAt.Before(s.Acts[0].Records[0].Time) {
				t.Errorf("%s: an alert in the ordinary days: %s at %s", end.Format("Mon 15:04"), a.Rule, a.FirstAt)
			}
		}
		for _, a := range s.Acts {
			if !rules[a.Rule] {
				t.Errorf("%s: no alert of %s; there are %v", end.Format("Mon 15:04"), a.Rule, rules)
			}
		}
	}
}
