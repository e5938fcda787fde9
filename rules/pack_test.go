package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/absence"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/detectors/distinct"
	"github.com/trailwarden/trailwarden/detectors/lastseen"
	"github.com/trailwarden/trailwarden/detectors/peer"
	"github.com/trailwarden/trailwarden/detectors/rate"
	"github.com/trailwarden/trailwarden/detectors/risk"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/detectors/threshold"
	"github.com/trailwarden/trailwarden/detectors/travel"
	"github.com/trailwarden/trailwarden/rules"
)

var factories = map[string]detectors.Factory{
	"threshold": threshold.Factory, "distinct": distinct.Factory, "first_seen": baseline.Factory, "sequence": sequence.Factory, "last_seen": lastseen.Factory,
	"absence": absence.Factory, "travel": travel.Factory, "rate": rate.Factory, "risk": risk.Factory, "peer": peer.Factory,
}

// What is not done each time that the shipped rules are loaded, their files pass
// when they are loaded as anybody's: their tests are right, and no expression is
// slow.
func TestPackIsLikeAnyRules(t *testing.T) {
	files, err := rules.PackFiles()
	if err != nil {
		t.Fatal(err)
	}
	any, err := rules.Load(rules.LoadOptions{Files: files, Factories: factories, Judge: newJudge, Lineage: newLineage, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(rules.LoadOptions{Pack: true, Factories: factories, Judge: newJudge, Lineage: newLineage, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	want := any.List()
	for i := range want {
		want[i].File = "rules/pack/" + want[i].File
		if want[i].Tests < rules.PackTests {
			t.Errorf("%s has %d tests", want[i].ID, want[i].Tests)
		}
	}
	if d := cmp.Diff(want, set.List()); d != "" {
		t.Errorf("loaded as shipped rules they are other ones:\n%s", d)
	}
}

// TestPack holds the shipped rules to their own tests.
func TestPack(t *testing.T) {
	set, err := rules.Load(rules.LoadOptions{Pack: true, Factories: factories, Judge: newJudge, Lineage: newLineage, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ordered := map[string]bool{}
	for _, in := range set.List() {
		ordered[in.ID] = in.Ordered && in.Detector == ""
	}
	for _, r := range rules.Test(set) {
		if ordered[r.Rule] && newJudge() == nil {
			continue
		}
		t.Run(r.Rule+"/"+strings.ReplaceAll(r.Test, " ", "_"), func(t *testing.T) {
			if !r.Pass {
				t.Errorf("%s:%d: %s\n%s", r.File, r.Line, strings.Join(r.Failures, "\n"), strings.Join(r.Why, "\n"))
			}
		})
	}
}

// What is said to CIS is no more than the rules do: where a recommendation wants
// to hear of every change, a change that is not dangerous, which the rules pass
// over in their own tests, makes it met in part.
func TestControlsAreMetInPart(t *testing.T) {
	set, err := rules.Load(rules.LoadOptions{Pack: true, Factories: factories, Judge: newJudge, Lineage: newLineage, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var part []string
	for _, c := range rules.Controls(set) {
		if !c.Met {
			t.Errorf("%s is open: %s", c.ID, c.Reason)
		}
		if c.Part {
			part = append(part, c.ID)
		}
		if c.Part && strings.HasPrefix(c.About, "changes of ") {
			t.Errorf("%s is about %q, part %v", c.ID, c.About, c.Part)
		}
	}
	if d := cmp.Diff([]string{"2.10", "2.12", "2.13", "2.14", "2.15", "2.21", "2.22"}, part); d != "" {
		t.Error(d)
	}
}
