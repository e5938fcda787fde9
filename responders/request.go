package responders

import (
	"context"
	"fmt"
	"slices"
)

// Offer is an action that a person may ask for about an alert.
type Offer struct {
	ID       string `json:"id"` // of the action
	Kind     string `json:"kind"`
	Describe string `json:"describe"` // the exact call
}

// offers works out the actions that can be asked for about an alert: of every
// kind that can be done here, on who acted and on what was acted on, as far as
// the alert names what the kind needs. What waits for an answer or was done already
// is not among them.
func (d *Dispatcher) offers(ctx context.Context, alertID, by string) ([]Action, error) {
	a, err := d.Stored(ctx, alertID)
	if err != nil {
		return nil, err
	}
	var out []Action
	if d.m.opts.MaxMode.bounded(Approve) != Approve || len(d.m.opts.Approvers) == 0 {
		return nil, nil // nothing would come of it
	}
	for _, kind := range d.m.Kinds() {
		for _, key := range []KeyOf{ActorKey, TargetKey} {
			step := PlaybookAction{Kind: kind, Key: key}
			for _, t := range targets(step, &a) {
				act := Playbook{Mode: Approve}.request(step, &a, t)
				act.Requester = by
				free, err := d.m.anew(ctx, &act)
				if err != nil {
					return nil, err
				}
				if free && !slices.ContainsFunc(out, func(o Action) bool { return o.ID == act.ID }) {
					out = append(out, act)
				}
			}
		}
	}
	return out, nil
}

// maxAgain bounds how often people ask for the same about one alert.
const maxAgain = 20

// anew gives a person's request an id of its own where earlier ones for the same came
// to nothing, as a dry-run does; false when one waits, is under way or is in force.
func (m *Machine) anew(ctx context.Context, a *Action) (bool, error) {
	for a.Again = 0; a.Again < maxAgain; a.Again++ {
		a.ID = ActionID(*a)
		r, seq, err := m.load(ctx, a.ID)
		if err != nil || seq == 0 {
			return err == nil, err
		}
		switch r.State {
		case Observed, Refused, Denied, Expired, Failed, Undone:
		default:
			return false, nil
		}
	}
	return false, nil
}

// Offers lists what a person may ask for about an alert; none where nothing
// may be changed or nobody could approve. Errors: ErrNoAlert.
func (d *Dispatcher) Offers(ctx context.Context, alertID string) ([]Offer, error) {
	acts, err := d.offers(ctx, alertID, "")
	if err != nil {
		return nil, err
	}
	out := make([]Offer, len(acts))
	for i, a := range acts {
		out[i] = Offer{ID: a.ID, Kind: a.Kind, Describe: d.m.describe(a)}
	}
	return out, nil
}

// Request asks for one of the Offers in a person's name. It is then an action
// like those of playbooks: guarded, and done when somebody else approves it.
// Errors: ErrNoAlert, ErrNoAction (not among the offers, or asked for
// already), ErrNotAllowed.
func (d *Dispatcher) Request(ctx context.Context, alertID, actionID, by string) (ActionDetail, error) {
	if by == "" || by == requesterPlaybook || by == machineName {
		return ActionDetail{}, fmt.Errorf("alert %s: %w: it is not said who asks", clip(alertID, 64), ErrNotAllowed)
	}
	acts, err := d.offers(ctx, alertID, by)
	if err != nil {
		return ActionDetail{}, err
	}
	i := slices.IndexFunc(acts, func(a Action) bool { return a.ID == actionID })
	if i < 0 {
		return ActionDetail{}, fmt.Errorf("%w that can be asked for about this alert: %q (asked for already, or not possible here)", ErrNoAction, clip(actionID, 64))
	}
	got, err := d.m.Propose(ctx, Proposal{Action: acts[i], Origin: Live})
	if err == nil {
		d.log.Info("action asked for", "action_id", got.ID, "alert_id", alertID, "by", by, "state", string(got.State))
	}
	return got, err
}
