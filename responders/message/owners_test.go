package message

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Who answers stands beside who did it and what it was done to, where a table
// says so and only there.
func TestOwnersAreShown(t *testing.T) {
	w := For(English, nil)
	a := alert.Alert{Actor: alert.Actor{Name: "alice"}, Target: &alert.Target{Type: "user", Name: "bob"}}
	join := func(items []Item) string {
		return Field{Items: items}.String()
	}
	if got := join(w.whoItems(a)) + join(w.didItems(a)); strings.Contains(got, "owner") || strings.Contains(got, "production") {
		t.Errorf("nothing is known: %q", got)
	}
	a.Details = map[string]any{"owners": map[string]any{
		"actor":  map[string]any{"owner": "alice@example.com\u202e<!channel>", "team": "payments", "production": true},
		"target": map[string]any{"production": true},
	}}
	who, did := join(w.whoItems(a)), join(w.didItems(a))
	if !strings.Contains(who, "owner alice@example.com") || !strings.Contains(who, "(payments) · production") || strings.Contains(who, "\u202e") {
		t.Errorf("who: %q", who)
	}
	if !strings.HasSuffix(did, "production") || strings.Contains(did, "owner") {
		t.Errorf("did: %q", did)
	}
	a.Details = map[string]any{"owners": map[string]any{"actor": map[string]any{"team": "payments", "production": false}}}
	if got := join(For(Chinese, nil).whoItems(a)); !strings.Contains(got, "负责人 payments") || strings.Contains(got, "生产") {
		t.Errorf("a team alone: %q", got)
	}
}
