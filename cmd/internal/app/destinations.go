package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/slack"
)

// destinations makes what the configuration's notify section lists.
func (a *App) destinations() ([]responders.Destination, error) {
	var out []responders.Destination
	for _, p := range a.cfg.Notify.Destinations() {
		d, err := responders.NewDestination(p.Spec, a.log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Path, err)
		}
		if c, ok := d.Notifier.(interface{ Close() }); ok {
			a.closers = append(a.closers, c.Close)
		}
		if s, ok := p.Spec.(slack.Spec); ok && s.AppToken != "" {
			l, err := slack.NewListener(s.Config(), a.click, a.log)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Path, err)
			}
			a.listeners = append(a.listeners, l)
		}
		out = append(out, d)
	}
	return out, nil
}

// linkTo makes links to an incident in the console at base; nil without one.
func linkTo(base string) func(string) string {
	if base == "" {
		return nil
	}
	base = strings.TrimRight(base, "/")
	return func(alertID string) string { return base + "/alerts/" + url.PathEscape(alertID) }
}

// click is a button in Slack. Who may do what is decided by the machine.
func (a *App) click(ctx context.Context, c slack.Click) (string, error) {
	by := "slack:" + c.UserID
	actions, err := a.machine.ForAlert(ctx, c.AlertID)
	if err != nil {
		return "", err
	}
	switch c.ActionID {
	case slack.ActionContain:
		for _, d := range actions {
			if d.ID == c.ActionRef && d.State == responders.Proposed {
				d, err := a.machine.Approve(ctx, d.ID, by, c.ActionHash)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s: %s", d.Describe, d.State), nil
			}
		}
		return "This no longer waits for approval; look at the message again.", nil
	case slack.ActionUndo:
		for _, d := range actions {
			if d.ID == c.ActionRef && d.Undoable {
				d, err := a.machine.Undo(ctx, d.ID, by)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s: %s", d.Describe, d.State), nil
			}
		}
		return "This can no longer be undone; look at the message again.", nil
	case slack.ActionAcknowledge:
		if _, err := a.dispatcher.Triage(ctx, c.AlertID, responders.TriageRequest{By: by, Do: responders.DoAcknowledge}); err != nil {
			return "", err
		}
		return "Acknowledged.", nil
	}
	return a.triageClick(ctx, c, by)
}

// triageClick is what people do with an alert itself.
func (a *App) triageClick(ctx context.Context, c slack.Click, by string) (string, error) {
	q := responders.TriageRequest{By: by}
	switch c.ActionID {
	case slack.ActionReopen:
		q.Do = responders.DoReopen
	case slack.ActionAssign:
		q.Do = responders.DoAssign
		if c.Person != "" {
			q.Owner = "slack:" + c.Person
		}
	case slack.ActionClose:
		q.Do, q.Verdict = responders.DoClose, responders.TriageVerdict(c.Choice)
	case slack.ActionMute:
		return a.muteClick(ctx, c, by)
	default:
		return "", fmt.Errorf("unknown button %q", c.ActionID)
	}
	t, err := a.dispatcher.Triage(ctx, c.AlertID, q)
	if err != nil {
		return "", err
	}
	if t.Owner != "" {
		return fmt.Sprintf("%s, owner %s", t.State, t.Owner), nil
	}
	return string(t.State), nil
}

// muteClick silences the rule for the actor of an alert: the narrowest that a
// menu can offer.
func (a *App) muteClick(ctx context.Context, c slack.Click, by string) (string, error) {
	var lasts responders.Duration
	if err := lasts.UnmarshalText([]byte(c.Choice)); err != nil {
		return "", err
	}
	x, _, err := a.dispatcher.Alert(ctx, c.AlertID)
	if err != nil {
		return "", err
	}
	matchers := []string{"rule=" + x.Rule, "account_id=" + x.AccountID}
	if x.Actor.Name != "" {
		matchers = append(matchers, `actor="`+x.Actor.Name+`"`)
	}
	s, err := a.dispatcher.Mute(ctx, by, matchers, lasts.Std(), "muted from the message of incident "+x.ID)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Muted until %s: %s. It is contained and counted as before. To end it: trailwarden mute expire %s",
		s.Until.Format(time.RFC3339), strings.Join(matchers, " "), s.ID), nil
}
