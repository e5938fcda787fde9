package message

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// TestContextNamesTheEntity: a command of the runbook is about whom the alert is.
func TestContextNamesTheEntity(t *testing.T) {
	a := alert.Alert{Rule: "user.created", Target: &alert.Target{Type: "user", ID: "user/1000000000000001/bob"},
		Runbook: alert.Runbook{EN: "See what it did:\n  trailwarden replay --entity <target> FILES", ZH: "查看:\n  trailwarden replay --entity <目标> FILES"}}
	for _, lang := range []Language{English, Chinese} {
		w := For(lang, nil)
		if got := w.Context(a); !strings.Contains(got, "--entity user/1000000000000001/bob FILES") {
			t.Errorf("%v: %s", lang, got)
		}
	}
}
