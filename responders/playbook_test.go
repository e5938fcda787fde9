package responders_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

const playbooksYAML = `
- name: leaked-key
  mode: auto
- name: new-admins
  when: {rules: [iam.*], min_severity: high, accounts: ["1000*"]}
  mode: approve
  actions:
    - {kind: ram.disable_access_key, key: actor, params: {why: test}}
  guards: {max_evidence_age: 10m, per_account_hour: 1, protected: {users: [break-glass-*]}}
  approvers: [carol]
  approvals: 1
  expires: 1d
`

func TestPlaybooksFromYAML(t *testing.T) {
	var got []Playbook
	if err := yaml.Unmarshal([]byte(playbooksYAML), &got); err != nil {
		t.Fatal(err)
	}
	all := MergePlaybooks(DefaultPlaybooks(), got)
	if err := ValidatePlaybooks(all, []Approver{{Name: "carol"}}, Kinds()); err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	if !slices.Equal(names[:3], []string{"leaked-key", "new-admins", "found-key"}) || len(names) != len(DefaultPlaybooks())+1 {
		t.Fatalf("%v", names)
	}
	if p := all[0]; p.Mode != Auto || !p.Actions[0].RefusalIsEvidence || p.When.Rules[0] != "ak.leaked_in_use" {
		t.Fatalf("what is left out is not inherited: %+v", p)
	}
	if p := all[1]; p.When.MinSeverity != alert.High || p.Expires.Std() != 24*time.Hour || p.Guards.MaxEvidenceAge.Std() != 10*time.Minute {
		t.Fatalf("%+v", p)
	}
}

// Joining a group widens one's own rights without an attachment: nothing is there that
// granted-admin could take back, and a refusal would be an alert about nothing.
func TestGrantedAdminNeedsAnAttachment(t *testing.T) {
	for _, p := range MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "granted-admin", Mode: Approve}}) {
		if p.Name != "granted-admin" {
			continue
		}
		for event, want := range map[string]bool{"Ram:AttachPolicyToUser": true, "ResourceManager:AttachPolicy": true, "Ram:AddUserToGroup": false, "Ram:CreatePolicyVersion": false} {
			a := leakedAlert("a1", aliceAK, "alice", t0)
			a.Rule, a.Details = "policy.self_grant", map[string]any{"event": event}
			if Applies(p, &a, Units{}) != want {
				t.Errorf("%s: the playbook is for it: %t, want %t", event, !want, want)
			}
		}
		return
	}
	t.Fatal("there is no granted-admin")
}

func TestDefaultPlaybooksObserve(t *testing.T) {
	ps := DefaultPlaybooks()
	if err := ValidatePlaybooks(ps, nil, Kinds()); err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if p.Mode != Observe {
			t.Errorf("%s does more than observe", p.Name)
		}
	}
}

func TestPlaybookErrorsNameTheField(t *testing.T) {
	step := []PlaybookAction{{Kind: "k"}}
	for want, p := range map[string]Playbook{
		"playbooks[0].name":                      {Name: "a b", Actions: step},
		"playbooks[0].mode":                      {Name: "p", Mode: "Auto", Actions: step},
		"playbooks[0].when.rules[1]":             {Name: "p", When: When{Rules: []string{"a", ""}}, Actions: step},
		"playbooks[0].when.accounts[0]":          {Name: "p", When: When{Accounts: []string{"prod"}}, Actions: step},
		"playbooks[0].actions: none":             {Name: "p"},
		"playbooks[0].actions[1].kind":           {Name: "p", Actions: []PlaybookAction{{Kind: "k"}, {}}},
		"playbooks[0].actions[0].kind: \"x\"":    {Name: "p", Actions: []PlaybookAction{{Kind: "x"}}},
		"playbooks[0].actions[0].key":            {Name: "p", Actions: []PlaybookAction{{Kind: "k", Key: "both"}}},
		"playbooks[0].guards.per_hour":           {Name: "p", Actions: step, Guards: GuardOverrides{PerHour: -1}},
		"playbooks[0].guards.protected.users[0]": {Name: "p", Actions: step, Guards: GuardOverrides{Protected: Protected{Users: []string{""}}}},
		"playbooks[0].approvers[0]":              {Name: "p", Actions: step, Approvers: []string{"nobody"}},
		"playbooks[0].approvals":                 {Name: "p", Actions: step, Approvals: 11},
		"playbooks[0].expires":                   {Name: "p", Actions: step, Expires: Duration(8 * 24 * time.Hour)},
		"approve needs 2 people":                 {Name: "p", Actions: step, Mode: Approve, Approvals: 2},
	} {
		err := ValidatePlaybooks([]Playbook{p}, []Approver{{Name: "carol"}}, []string{"k"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	twice := Playbook{Name: "p", Actions: step}
	if err := ValidatePlaybooks([]Playbook{twice, twice}, nil, nil); err == nil || !strings.Contains(err.Error(), "playbooks[1].name") {
		t.Error(err)
	}
	if err := (Playbook{Name: "p", Mode: "x"}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not both errors: %v", err)
	}
}

func TestApproverErrors(t *testing.T) {
	for want, as := range map[string][]Approver{
		"approvers[0].name":        {{}},
		"approvers[0].ids[0]":      {{Name: "a", IDs: []string{"alice"}}},
		"approvers[1].ids[0]":      {{Name: "a", IDs: []string{"cli:x"}}, {Name: "b", IDs: []string{"cli:x"}}},
		"approvers[1].name":        {{Name: "a"}, {Name: "a"}},
		"approvers[0].accounts[0]": {{Name: "a", Accounts: []string{"prod"}}},
	} {
		if err := ValidateApprovers(as); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What each playbook acts on, for the alerts that it is for.
func TestPlan(t *testing.T) {
	byName := map[string]Playbook{}
	for _, p := range DefaultPlaybooks() {
		byName[p.Name] = p
	}
	a := leakedAlert("a1", aliceAK, "alice", t0)
	got := Plan(byName["leaked-key"], &a)
	want := ActionTarget{AccountID: account, PrincipalType: "ram-user", UserName: "alice", AccessKeyID: aliceAK}
	if len(got) != 1 || targetText(got[0].Target) != targetText(want) || !got[0].Evidence.RefusalIsEvidence || got[0].Evidence.Outcome != "attempt" || got[0].ID != ActionID(got[0]) {
		t.Fatalf("%+v", got)
	}

	c := leakedAlert("a2", aliceAK, "alice", t0)
	c.Rule, c.TargetKey, c.Outcome = "ak.created_for_other", bobAK, "success"
	c.Target = &alert.Target{Type: "user", ID: "user/" + account + "/bob", Name: "bob"}
	got = Plan(byName["new-key-for-other"], &c)
	if len(got) != 1 || got[0].Target.UserName != "bob" || got[0].Target.AccessKeyID != bobAK || got[0].Evidence.RefusalIsEvidence {
		t.Fatalf("%+v", got)
	}
	c.Target = nil // whose key it is is not said: an action that the guards refuse
	if got = Plan(byName["new-key-for-other"], &c); len(got) != 1 || got[0].Target.UserName != "" {
		t.Fatalf("%+v", got)
	}
	c.Target, c.TargetKey = &alert.Target{Type: "policy", Name: "AdministratorAccess"}, ""
	if got = Plan(byName["new-key-for-other"], &c); len(got) != 0 {
		t.Fatalf("an alert about no key asks for %+v", got)
	}

	r := leakedAlert("a3", "STS.EXAMPLEtoken000000001", "x", t0)
	r.Actor = alert.Actor{Type: "assumed-role", ID: "role/" + account + "/deployer", Name: "deployer", Role: "deployer", AccessKeyID: "STS.EXAMPLEtoken000000001"}
	if got = Plan(byName["suspicious-key"], &r); got[0].Target.PrincipalType != "assumed-role" || got[0].Target.RoleName != "deployer" || got[0].Target.UserName != "" {
		t.Fatalf("%+v", got)
	}

	root := leakedAlert("a4", aliceAK, "root", t0)
	root.Actor = alert.Actor{Type: "root-account", ID: "root/" + account, Name: "root", AccessKeyID: aliceAK}
	if got = Plan(byName["leaked-key"], &root); got[0].Target.PrincipalType != "root-account" {
		t.Fatalf("%+v", got)
	}

	p := byName["leaked-key"]
	plain := Plan(p, &a)[0]
	p.Actions = []PlaybookAction{{Kind: KindDisableAccessKey, Params: map[string]string{"x": "y"}}}
	if with := Plan(p, &a)[0]; with.Target.Params["x"] != "y" || with.ID == plain.ID {
		t.Fatal("the settings of a step are not part of the action")
	}

	many := leakedAlert("a5", aliceAK, "alice", t0)
	for range 1000 {
		many.EventIDs = append(many.EventIDs, "E")
	}
	if got = Plan(byName["leaked-key"], &many); len(got[0].Evidence.EventIDs) > 32 {
		t.Fatal("evidence is not bounded")
	}
}

func targetText(t ActionTarget) string {
	return strings.Join([]string{t.AccountID, t.PrincipalType, t.UserName, t.RoleName, t.AccessKeyID}, "|")
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "7d": 7 * 24 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0, "0d": 0} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%s: %s %v", text, d, err)
		}
	}
	for _, text := range []string{"", "7", "-1h", "-1d", "1.5d", "9999999d", "d", "soon"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %s", text, d)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, int64(300*24*time.Hour)).Draw(t, "d"))
		var back Duration
		if err := back.UnmarshalText([]byte(d.String())); err != nil || back != d {
			t.Fatalf("%s comes back as %s: %v", d, back, err)
		}
	})
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-1, 1000).Draw(t, "n")
		d := Backoff(rapid.String().Draw(t, "id"), n, time.Second, time.Minute)
		if d < 800*time.Millisecond || d > 72*time.Second {
			t.Fatalf("try %d: %s", n, d)
		}
	})
	if Backoff("a", 3, time.Second, time.Minute) < 3*time.Second {
		t.Fatal("does not grow")
	}
}
