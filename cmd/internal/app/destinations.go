package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/trailwarden/trailwarden/responders"
)

// listener hears of the buttons of one destination.
type listener struct {
	name string
	run  func(context.Context) error
}

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
		if h, ok := p.Spec.(responders.Hearer); ok {
			run, err := h.Hear(a.presser(p.Spec.Base()), a.log)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Path, err)
			}
			if run != nil {
				a.listeners = append(a.listeners, listener{p.Spec.Base().Name, run})
			}
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
