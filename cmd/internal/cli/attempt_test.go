package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// What was only attempted is told as that in every list, and what happened is
// not.
func TestAttemptsAreMarked(t *testing.T) {
	t.Parallel()
	lists := map[string]func(w io.Writer, a alert.Alert) error{
		"alerts ls": func(w io.Writer, a alert.Alert) error {
			printAlerts(&env{out: w, err: w}, []alert.Alert{a})
			return nil
		},
		"top": func(w io.Writer, a alert.Alert) error {
			printTop(w, admin.Status{}, admin.Status{}, time.Second, []alert.Alert{a})
			return nil
		},
		"replay": func(w io.Writer, a alert.Alert) error {
			return alertTable(w, &env{out: w, err: w}, []alert.Alert{a})
		},
		"rules backtest": func(w io.Writer, a alert.Alert) error {
			return backtestTable(w, &env{out: w, err: w}, &backtest{Rules: []verdictOf{{Samples: []alert.Alert{a}}}})
		},
		"rules backtest -o junit": func(w io.Writer, a alert.Alert) error {
			return backtestJUnit(w, nil, &backtest{Rules: []verdictOf{{Over: true, Samples: []alert.Alert{a}}}})
		},
		"rules backtest -o github": func(w io.Writer, a alert.Alert) error {
			return backtestGitHub(w, nil, &backtest{Rules: []verdictOf{{Samples: []alert.Alert{a}}}})
		},
		"rules diff": func(w io.Writer, a alert.Alert) error {
			return changesTable(w, []change{{Kind: "added", New: &a}}, "")
		},
		"rules diff, changed": func(w io.Writer, a alert.Alert) error {
			return changesTable(w, []change{{Kind: "changed", Old: &a, New: &a}}, "")
		},
	}
	for name, list := range lists {
		for outcome, want := range map[string]string{"attempt": "(attempt) ci-build called", "success": "ci-build called"} {
			var out bytes.Buffer
			if err := list(&out, alert.Alert{Outcome: outcome, Severity: alert.High, Reason: "ci-build called Ecs:RunInstances"}); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); !strings.Contains(got, want) || outcome == "success" && strings.Contains(got, "attempt") {
				t.Errorf("%s tells a %s as:\n%s", name, outcome, got)
			}
		}
	}
}
