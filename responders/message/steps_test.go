package message

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
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

// TestRefusedActionSaysWhatWasNotDone: an alert about one of our own actions names its
// kind and its key, not the number of the action.
func TestRefusedActionSaysWhatWasNotDone(t *testing.T) {
	n := responders.Notice{Alert: alert.Alert{Rule: responders.RuleActionRefused, Count: 1,
		Target:  &alert.Target{Type: "accesskey", ID: "LTAI5tEXAMPLEalice00001", Name: "LTAI5tEXAMPLEalice00001"},
		Details: map[string]any{"action": "0123456789abcdef0123456789abcdef", "kind": responders.KindDisableAccessKey}}}
	var got string
	for _, item := range For(English, nil).SixFields(n)[4].Items {
		for _, run := range item {
			got += run.Text
		}
	}
	if want := "ram.disable_access_key → accesskey LTAI…001"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestContextPartsCommands: two commands on one line are not one.
func TestContextPartsCommands(t *testing.T) {
	a := alert.Alert{Rule: "root.login_no_mfa", Runbook: alert.Runbook{EN: "Check first:\n  aliyun ram ListUsers\n  aliyun ram ListRoles\nThen ask.\n", ZH: "aliyun ram ListUsers\naliyun ram ListRoles"}}
	for lang, want := range map[Language]string{English: ": Check first: aliyun ram ListUsers; aliyun ram ListRoles; Then ask.", Chinese: ": aliyun ram ListUsers; aliyun ram ListRoles"} {
		if got := For(lang, nil).Context(a); !strings.HasSuffix(got, want) {
			t.Errorf("%v: %s", lang, got)
		}
	}
}
