package responders

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Contain asks, in the name of a person, for one kind of action about an alert:
// a rung that no playbook asked for. Whoever asks cannot approve it; another
// approver does, and the guards hold as for any other. A parameter "key"
// chooses between the actor (default) and the target of the alert; the other
// parameters are the kind's own.
func (d *Dispatcher) Contain(ctx context.Context, a alert.Alert, kind, by string, params map[string]string) (ActionDetail, error) {
	if by == "" || by == requesterPlaybook || by == machineName {
		return ActionDetail{}, fmt.Errorf("contain: %w: it is not said who asks", ErrNotAllowed)
	}
	if !slices.Contains(d.m.kinds, kind) {
		return ActionDetail{}, fmt.Errorf("contain: %w: nothing here can do %q; want one of %s", ErrNotAllowed, clip(kind, 64), strings.Join(d.m.kinds, ", "))
	}
	if d.m.opts.MaxMode.rank() < Approve.rank() {
		return ActionDetail{}, fmt.Errorf("contain: %w: respond.mode is observe, so nothing is done", ErrNotAllowed)
	}
	step := PlaybookAction{Kind: kind, Key: ActorKey, RefusalIsEvidence: true}
	for k, v := range params {
		switch {
		case k == "key" && (v == string(ActorKey) || v == string(TargetKey)):
			step.Key = KeyOf(v)
		case k == "key":
			return ActionDetail{}, fmt.Errorf("contain: %w: key is %q; want actor or target", ErrNotAllowed, clip(v, 40))
		default:
			if step.Params == nil {
				step.Params = map[string]string{}
			}
			step.Params[k] = v
		}
	}
	p := Playbook{Mode: Approve, Actions: []PlaybookAction{step}}
	actions, err := d.resolve(ctx, p, &a)
	if err != nil {
		return ActionDetail{}, err
	}
	if len(actions) == 0 {
		return ActionDetail{}, fmt.Errorf("contain: %w: the alert names nobody whom %s could be done to", ErrNotAllowed, kind)
	}
	act := actions[0]
	act.Requester, act.After = by, ""
	if _, err := d.m.anew(ctx, &act); err != nil {
		return ActionDetail{}, err
	}
	return d.m.Propose(ctx, Proposal{Action: act, Origin: Live})
}
