package rules_test

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/detectors/distinct"
	"github.com/trailwarden/trailwarden/detectors/lastseen"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/detectors/threshold"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/rules"
)

func TestTry(t *testing.T) {
	fac := map[string]detectors.Factory{"threshold": threshold.Factory, "distinct": distinct.Factory, "first_seen": baseline.Factory, "sequence": sequence.Factory, "last_seen": lastseen.Factory}
	set, err := rules.Load(rules.LoadOptions{Dirs: []string{os.Getenv("TRYPACK")}, Factories: fac, Judge: newJudge, Clock: time.Now})
	if err != nil {
		if es, ok := err.(rules.Errors); ok {
			for _, e := range es {
				fmt.Println("LOAD", e)
			}
			t.Fatal("load")
		}
		t.Fatal(err)
	}
	n, bad := 0, 0
	per := map[string]int{}
	for _, r := range rules.Test(set) {
		n++
		per[r.Rule]++
		if !r.Pass {
			bad++
			why := r.Why
			if os.Getenv("WHY") == "" && len(why) > 0 {
				why = nil
			}
			fmt.Printf("FAIL %s:%d %s: %s\n%s\n", r.File, r.Line, r.Test, strings.Join(r.Failures, " | "), strings.Join(why, "\n"))
		}
	}
	for k, v := range per {
		if v < 3 {
			fmt.Println("FEW", k, v)
		}
	}
	fmt.Printf("rules %d tests %d failed %d\n", set.Len(), n, bad)
	for _, w := range rules.Lint(set) {
		fmt.Println("LINT", w)
	}
	if f := os.Getenv("REPLAY"); f != "" {
		for _, p := range strings.Split(f, ",") {
			res, err := replay.Run(context.Background(), []string{p}, replay.RunConfig{Rules: set})
			if err != nil {
				t.Fatal(err)
			}
			by := map[string]int{}
			for _, a := range res.Alerts {
				k := a.Rule
				if a.Signal {
					k += " (signal)"
				}
				by[k]++
				if strings.Contains(p, "scenarios") && (!a.Signal || os.Getenv("SIG") != "") {
					fmt.Println(a.FirstAt.Format(time.RFC3339), a.Rule, a.Severity, a.Outcome, a.Count, a.Title, "|", a.Reason)
					if os.Getenv("DET") != "" {
						fmt.Println("     ", a.Details)
					}
				}
				if want := os.Getenv("SHOW"); want != "" && a.Rule == want {
					fmt.Println(a.FirstAt.Format(time.RFC3339), a.Rule, a.Severity, a.Outcome, a.Count, a.Title, "|", a.Reason)
				}
			}
			var ks []string
			for k := range by {
				ks = append(ks, k)
			}
			sort.Strings(ks)
			fmt.Println("==", p, string(res.Stats.JSON()))
			for _, k := range ks {
				fmt.Printf("%6d %s\n", by[k], k)
			}
		}
	}
}
