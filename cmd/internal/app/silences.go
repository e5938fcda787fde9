package app

import (
	"context"
	"time"

	"github.com/trailwarden/trailwarden/responders"
)

// Undelivered implements admin.Backend.
func (a *App) Undelivered(ctx context.Context) ([]responders.Undelivered, error) {
	if a.dispatcher == nil {
		return nil, errNoResponders
	}
	return a.dispatcher.Undelivered(ctx)
}

// Requeue implements admin.Backend.
func (a *App) Requeue(ctx context.Context, destination string) (int, error) {
	if a.dispatcher == nil {
		return 0, errNoResponders
	}
	return a.dispatcher.Requeue(ctx, destination)
}

// Silences implements admin.Backend.
func (a *App) Silences(ctx context.Context) ([]responders.Silence, error) {
	if a.dispatcher == nil {
		return nil, errNoResponders
	}
	return a.dispatcher.Silences(ctx)
}

// Mute implements admin.Backend.
func (a *App) Mute(ctx context.Context, by string, matchers []string, lasts time.Duration, comment string) (responders.Silence, error) {
	if a.dispatcher == nil {
		return responders.Silence{}, errNoResponders
	}
	return a.dispatcher.Mute(ctx, by, matchers, lasts, comment)
}

// Unmute implements admin.Backend.
func (a *App) Unmute(ctx context.Context, id, by string) (responders.Silence, error) {
	if a.dispatcher == nil {
		return responders.Silence{}, errNoResponders
	}
	return a.dispatcher.Unmute(ctx, id, by)
}
