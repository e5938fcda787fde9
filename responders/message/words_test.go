package message

import (
	"fmt"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

func TestCatalogueComplete(t *testing.T) {
	states := []responders.State{
		responders.Proposed, responders.Approved, responders.Executing, responders.Done, responders.Failed, responders.InDoubt, responders.Refused,
		responders.Observed, responders.Denied, responders.Expired, responders.Undoing, responders.Undone,
	}
	for lang, w := range catalogue {
		for _, s := range states {
			if w.State[s] == "" {
				t.Errorf("%s: no words for state %s", lang, s)
			}
		}
		for i := range alert.Severities() {
			if w.Severity[alert.Severity(i+1)] == "" {
				t.Errorf("%s: no word for severity %d", lang, i+1)
			}
		}
		for typ := range catalogue[English].Types {
			if w.Types[typ] == "" {
				t.Errorf("%s: no word for %s", lang, typ)
			}
		}
		if len(w.Triage) != 3 || len(w.Verdict) != 3 {
			t.Errorf("%s: states of triage are missing", lang)
		}
		for _, s := range []string{
			w.Owner, w.Assign, w.Mute, w.Reopen, w.MuteHours[0], w.MuteHours[1], w.MuteHours[2], w.FalsePositive, w.Benign, w.TruePositive, w.Open,
			w.Account, w.Session, w.Target, w.Rule, w.Incident, w.Runbook, w.Events, w.Span, w.More, w.Undo, w.Approve, w.ThreadMore, w.Attempt, w.DaysOld,
			w.ZoneName, w.Ack, w.Contain, w.UndoButton, w.ContainTitle, w.UndoTitle, w.AreSure, w.Yes, w.No, w.ClickFailed, w.Unavailable,
		} {
			if s == "" {
				t.Errorf("%s: a word is missing", lang)
			}
		}
	}
}

// Why a press was refused is said in the language of its chat.
func TestFailedInBothLanguages(t *testing.T) {
	err := fmt.Errorf("approve action 0123456789ab: %w: not an approver for this account", responders.ErrNotAllowed)
	for lang, want := range map[Language]string{
		English: "That did not work: approve action 0123456789ab: not allowed: not an approver for this account",
		Chinese: "未能完成：不能批准处置 0123456789ab：不是该账号的审批人",
	} {
		if got := For(lang, nil).Failed(err); got != want {
			t.Errorf("%s: %q, want %q", lang, got, want)
		}
	}
}
