package travel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/absence"
	"github.com/trailwarden/trailwarden/detectors/travel"
	"github.com/trailwarden/trailwarden/rules"
)

func TestScratch(t *testing.T) {
	set, err := rules.Load(rules.LoadOptions{Dirs: []string{os.Getenv("TRYPACK")}, Factories: map[string]detectors.Factory{"travel": travel.Factory, "absence": absence.Factory}, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.Test(set) {
		if !r.Pass {
			t.Errorf("%s/%s: %s\n%v", r.Rule, r.Test, strings.Join(r.Failures, "; "), r.Alerts)
		}
	}
	for _, w := range rules.Lint(set) {
		fmt.Println("LINT", w)
	}
	for _, m := range rules.Mutate(set) {
		fmt.Printf("MUT %+v\n", m)
	}
}
