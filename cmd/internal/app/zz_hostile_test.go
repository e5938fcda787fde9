package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/responders/slack"
)

type fx struct{ t *testing.T }

func (fx) Kind() string                       { return responders.KindDisableAccessKey }
func (fx) Permissions() []string              { return nil }
func (fx) Describe(a responders.Action) string { return "disable " + a.Target.AccessKeyID }
func (fx) Read(context.Context, responders.Action) (json.RawMessage, error) { return json.RawMessage(`{"s":"Active"}`), nil }
func (f fx) Execute(_ context.Context, a responders.Action, p json.RawMessage) (responders.Result, error) {
	f.t.Logf("EXECUTED on %s", a.Target.AccessKeyID)
	return responders.Result{Changed: true, Prior: p}, nil
}
func (fx) Verify(context.Context, responders.Action) (bool, json.RawMessage, error) { return true, nil, nil }
func (fx) Undo(context.Context, responders.Action, json.RawMessage) (responders.Result, error) { return responders.Result{}, nil }

func TestHostileClick(t *testing.T) {
	ctx := context.Background()
	m, err := responders.NewMachine(responders.MachineOptions{Journal: &journal.Memory{}, Executors: []responders.Executor{fx{t}}, MaxMode: responders.Approve,
		Approvers: []responders.Approver{{Name: "a", IDs: []string{"slack:UA"}}, {Name: "b", IDs: []string{"slack:UB"}}},
		Self: func(context.Context) ([]responders.Identity, error) { return []responders.Identity{{AccountID: "1", RoleName: "tw"}}, nil}})
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range []string{"LTAI5tEXAMPLEnewkey001", "LTAI5tEXAMPLEprodkey01"} {
		a := responders.Action{Kind: responders.KindDisableAccessKey, AlertID: "al1", Mode: responders.Approve, Evidence: responders.Evidence{EventIDs: []string{"e"}, Time: time.Now(), Outcome: "success"},
			Target: responders.ActionTarget{AccountID: "1", PrincipalType: "ram-user", UserName: []string{"bob", "prod"}[i], AccessKeyID: k}}
		if _, err := m.Propose(ctx, responders.Proposal{Action: a, Origin: responders.Live}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	app := &App{machine: m, log: slog.Default()}
	// both people look at ONE message whose confirm dialog says "disable LTAI5tEXAMPLEnewkey001"
	for _, u := range []string{"UA", "UB"} {
		r, err := app.click(ctx, slack.Click{UserID: u, ActionID: slack.ActionContain, AlertID: "al1"})
		t.Logf("%s confirms 'disable LTAI5tEXAMPLEnewkey001' -> reply %q err %v", u, r, err)
	}
	_, _ = m.Sweep(ctx)
}
