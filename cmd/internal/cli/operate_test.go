package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// Whatever an action is about is named: a group, a policy and a trail, too.
func TestActionNamesItsTarget(t *testing.T) {
	for _, tc := range []struct {
		target responders.ActionTarget
		want   string
	}{
		{responders.ActionTarget{UserName: "alice", AccessKeyID: "LTAI5tEXAMPLEalice00001"}, "user alice of account 1000000000000001, key LTAI5tEXAMPLEalice00001"},
		{responders.ActionTarget{UserName: "alice", Params: map[string]string{"group": "admins"}}, "user alice of account 1000000000000001"},
		{responders.ActionTarget{RoleName: "deployer"}, "role deployer of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"group": "admins", "policy_name": "AdministratorAccess"}}, "group admins of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"policy_name": "tools", "version_id": "v1"}}, "policy tools of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"trail": "audit"}}, "trail audit of account 1000000000000001"},
		{responders.ActionTarget{}, "of account 1000000000000001"},
	} {
		tc.target.AccountID = "1000000000000001"
		var out bytes.Buffer
		d := responders.ActionDetail{}
		d.Action.Target = tc.target
		printAction(&env{out: &out}, d)
		if !strings.Contains(out.String(), "\ntarget     "+tc.want+"\n") {
			t.Errorf("%+v: want %q\n%s", tc.target, tc.want, out.String())
		}
	}
}

// People read an alert in words, whatever strangers wrote into it; who acts on it at
// three in the morning sees where it stands and what to do.
func TestPrintAlert(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	d := admin.AlertDetail{Alert: alert.Alert{ID: "00000000000000000000000000000001", Title: "A key\x1b[2J", Reason: "eve did it", Outcome: "attempt", Severity: alert.High, Rule: "x.y", RuleVersion: 3,
		FirstAt: at, LastAt: at.Add(time.Hour), Count: 12, Actor: alert.Actor{Name: "eve\nstate      closed", Type: "ram-user"}, SourceIP: "203.0.113.7", TargetKey: "LTAI5tEXAMPLEbob0000001",
		EventIDs: strings.Fields("e1 e2 e3 e4 e5 e6 e7 e8 e9 e10 e11 e12"), Runbook: alert.Runbook{EN: "Look.\n  aliyun ram GetUser --UserName eve"}},
		Triage:    responders.Triage{State: responders.TriageClosed, Verdict: responders.Benign, Owner: "carol", Steps: []responders.TriageStep{{At: at, By: "slack:U1", Do: responders.DoClose, Verdict: responders.Benign, Note: "a\ntest"}}},
		Questions: []responders.Question{{Person: "slack:U2", State: responders.Asked, Since: at}},
		Actions:   []responders.ActionDetail{{ActionView: responders.ActionView{ID: "abc", State: responders.Proposed, Describe: "UpdateAccessKey"}, Next: "approve it"}},
	}
	var out bytes.Buffer
	printAlert(&env{out: &out}, &d)
	want := `alert      00000000000000000000000000000001
severity   HIGH
title      A key[2J
reason     (attempt) eve did it
when       2026-11-20 10:00:00Z to 2026-11-20 11:00:00Z ×12
who        eve state closed, ram-user
from       203.0.113.7
target     LTAI5tEXAMPLEbob0000001
rule       x.y v3
events     12: e1 e2 e3 e4 e5 e6 e7 e8 e9 e10
state      closed as benign, owner carol
·          2026-11-20 10:00:00Z, close by slack:U1, benign, a test
asked      2026-11-20 10:00:00Z, slack:U2: asked
action     abc, proposed, UpdateAccessKey
next       approve it
do         Look.
             aliyun ram GetUser --UserName eve
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
