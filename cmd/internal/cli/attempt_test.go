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

// The account has a column where alerts are of several, and none where it is one;
// what would steer a terminal does not, also there.
func TestAccountsColumn(t *testing.T) {
	one := alert.Alert{ID: "0123456789abcdef", Rule: "ak.created", AccountID: "1000000000000001", Count: 1, Reason: "alice created a key"}
	other := one
	other.AccountID = "1000000000000002\x1b[31m"
	for name, show := range map[string]func(*bytes.Buffer, []alert.Alert){
		"list":   func(w *bytes.Buffer, as []alert.Alert) { printAlerts(&env{out: w, err: w}, as) },
		"replay": func(w *bytes.Buffer, as []alert.Alert) { _ = alertTable(w, &env{out: w, err: w}, as) },
	} {
		var b bytes.Buffer
		show(&b, []alert.Alert{one, one})
		if s := b.String(); strings.Contains(s, "ACCOUNT") || strings.Contains(s, one.AccountID) {
			t.Errorf("%s of one account:\n%s", name, s)
		}
		b.Reset()
		show(&b, []alert.Alert{one, other})
		if s := b.String(); !strings.Contains(s, "ACCOUNT") || !strings.Contains(s, one.AccountID) || !strings.Contains(s, "1000000000000002") || strings.Contains(s, "\x1b") {
			t.Errorf("%s of two accounts:\n%q", name, s)
		}
	}
}
