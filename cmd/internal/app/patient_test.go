package app

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// hasty is a rule set whose detectors are told every watermark at once.
type hasty struct {
	detectors.RuleSet
	rules []detectors.Rule
}

func (h *hasty) Rules() []detectors.Rule { return h.rules }

type told struct{ detectors.Detector } // without Patient

func hastySet(set detectors.RuleSet) *hasty {
	h := &hasty{RuleSet: set, rules: append([]detectors.Rule(nil), set.Rules()...)}
	for i := range h.rules {
		if f := h.rules[i].New; f != nil {
			h.rules[i].New = func() detectors.Detector { return told{f()} }
		}
	}
	return h
}

// That a patient detector is told the watermark later changes neither what it
// finds nor what it holds.
func TestPatientDetectorsAreToldInTime(t *testing.T) {
	plain := packWith(t, nil)
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 7))
		sets := []detectors.RuleSet{plain, hastySet(plain)}
		engines := make([]*detectors.Engine, 2)
		evals := make([]*detectors.Evaluator, 2)
		for i, s := range sets {
			engines[i] = detectors.NewEngine(hideLineage{s}, detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Second})
			evals[i] = detectors.NewEvaluator(hideLineage{s})
		}
		found := 0
		at := benchEpoch
		for n := range 4000 {
			// Bursts, and pauses of up to two days.
			switch r.IntN(100) {
			case 0:
				at = at.Add(time.Duration(r.IntN(48)) * time.Hour)
			case 1, 2, 3:
				at = at.Add(time.Duration(r.IntN(90)) * time.Minute)
			default:
				at = at.Add(time.Duration(r.IntN(20)) * time.Second)
			}
			late := time.Duration(0)
			if r.IntN(20) == 0 {
				late = time.Duration(r.IntN(120)) * time.Minute
			}
			rec := costRecord(nil, r, n, r.IntN(12), at.Add(-late))
			for i := range engines {
				ev, err := event.Parse(bytes.Clone(rec))
				if err != nil {
					t.Fatal(err)
				}
				engines[i].Apply(evals[i].Evaluate(ev), "s/0")
			}
			if n%500 == 499 {
				a, b := engines[0].Take(), engines[1].Take()
				found += len(a)
				if d := cmp.Diff(b, a); d != "" {
					t.Fatalf("after %d events (-told at once +patient):\n%s", n, d)
				}
			}
			if n%2000 == 1999 && !bytes.Equal(engines[0].Snapshot(), engines[1].Snapshot()) {
				t.Fatalf("after %d events the states differ", n)
			}
		}
		if found == 0 {
			t.Error("nothing was found: the test proves nothing")
		}
	}
}

// hideLineage leaves out what a wrapped set would not have.
type hideLineage struct{ detectors.RuleSet }
