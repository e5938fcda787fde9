package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

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
	return "", fmt.Errorf("unknown button %q", c.ActionID)
}
