package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

func TestMatcher(t *testing.T) {
	ev, err := event.Parse([]byte(`{"eventId":"1","eventName":"CreateUser","serviceName":"Ram","eventTime":"2026-11-20T00:00:00Z","errorCode":"NoPermission","userIdentity":{"type":"ram-user","userName":"eve","accountId":"1000000000000001"},"recipientAccountId":"1000000000000001","eventVersion":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]bool{
		"": true, `outcome == "attempt"`: true, `outcome == "success"`: false, `event.name == "CreateUser" && actor.name == "eve"`: true,
		`event.service == "Sts"`: false,
	} {
		is, err := newMatcher(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if is(ev) != want {
			t.Errorf("%s: %v", expr, !want)
		}
	}
	for expr, want := range map[string]string{`outcme == "attempt"`: "outcome", `1 +`: "--match", `event.name`: "--match"} {
		if _, err := newMatcher(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

// What events say steers no terminal and no runner of a CI, whatever the form,
// and is still what they say.
func TestLinesOfJSONAreInert(t *testing.T) {
	name := "b\u009bb  \u202e ##vso[task.complete] <x>"
	record, err := json.MarshalIndent(map[string]string{"eventName": "CreateUser", "userAgent": name}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var ls bytes.Buffer
	a := alert.Alert{ID: "1", Rule: "r", Title: name, Severity: alert.High, EventIDs: []string{"e"}}
	if err := writeAlerts(&env{out: &ls}, "jsonl", []alert.Alert{a, a}); err != nil {
		t.Fatal(err)
	}
	var same bytes.Buffer
	if err := alert.WriteLine(&same, &a); err != nil {
		t.Fatal(err)
	}
	if ls.String() != same.String()+same.String() {
		t.Errorf("alerts ls:\n%s\nreplay:\n%s", ls.String(), same.String())
	}
	for what, c := range map[string]struct{ line, field string }{"tap": {oneJSONLine(record), "userAgent"}, "alerts ls": {same.String(), "title"}} {
		if strings.ContainsAny(c.line, "\u009b\u202e") || strings.Contains(c.line, "##vso[") || strings.Count(strings.TrimSpace(c.line), "\n") > 0 {
			t.Errorf("%s: %q", what, c.line)
		}
		var back map[string]any
		if err := json.Unmarshal([]byte(c.line), &back); err != nil || back[c.field] != name {
			t.Errorf("%s: %v: %s", what, err, cmp.Diff(name, back[c.field]))
		}
	}
}
