package ram

import (
	"context"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// Every rung of the ladder goes the whole way through the machine, over the SDK:
// proposed, approved by a person, done, read back, and undone by another process from
// what the journal says of the state before, down to the byte.
func TestLadderThroughTheMachine(t *testing.T) {
	done := map[string]bool{}
	for _, a := range cases() {
		t.Run(a.Kind+"/"+a.Target.PrincipalType+a.Target.Params["group"], func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			mem := &journal.Memory{}
			process := func() *responders.Machine {
				m, err := responders.NewMachine(responders.MachineOptions{
					Journal: mem, Executors: r.c.Executors(), MaxMode: responders.Approve,
					Approvers: []responders.Approver{{Name: "dana", IDs: []string{"cli:dana"}}},
					Self: func(context.Context) ([]responders.Identity, error) {
						return []responders.Identity{{AccountID: acct, RoleName: "trailwarden-responder"}, {AccountID: acct, UserName: ownUser, AccessKeyID: ownKey}}, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Recover(ctx); err != nil {
					t.Fatal(err)
				}
				return m
			}
			until := func(m *responders.Machine, id string, want responders.State) responders.ActionDetail {
				t.Helper()
				for {
					if _, err := m.Sweep(ctx); err != nil {
						t.Fatal(err)
					}
					d, err := m.Show(ctx, id)
					if err != nil {
						t.Fatal(err)
					}
					switch d.State {
					case want:
						return d
					case responders.Failed, responders.Refused, responders.Expired:
						t.Fatalf("%s: %s", d.State, d.Reason)
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
			switch p := a.Target.Params; {
			case a.Kind == responders.KindSetPolicyVersion, a.Kind == responders.KindStartTrail, a.Kind == responders.KindDetachPolicy && p["group"] != "":
				// What is about a group, a policy or a trail names no principal: a guard's rule.
				a.Target = responders.ActionTarget{AccountID: acct, Params: p}
			}
			before := r.cloud.State()
			m := process()
			a.AlertID, a.Rule, a.Playbook, a.Mode = "a1", "test.rule", "test", responders.Approve
			a.Evidence = responders.Evidence{EventIDs: []string{"e1"}, Time: time.Now(), Outcome: "success"}
			d, err := m.Propose(ctx, responders.Proposal{Action: a, Origin: responders.Live})
			if err != nil || d.State != responders.Proposed {
				t.Fatalf("%s %s, %v", d.State, d.Reason, err)
			}
			sameState(t, before, r.cloud.State())
			if _, err := m.Approve(ctx, d.ID, "cli:dana", d.ActionHash); err != nil {
				t.Fatal(err)
			}
			until(m, d.ID, responders.Done)
			if string(r.cloud.State()) == string(before) {
				t.Fatal("nothing changed")
			}
			m = process() // what the first one knew is gone
			if _, err := m.Undo(ctx, d.ID, "cli:dana"); err != nil {
				t.Fatal(err)
			}
			until(m, d.ID, responders.Undone)
			sameState(t, before, r.cloud.State())
			done[a.Kind] = true
		})
	}
	for _, k := range responders.Kinds() {
		if !done[k] {
			t.Errorf("no action of kind %s went this way", k)
		}
	}
}
