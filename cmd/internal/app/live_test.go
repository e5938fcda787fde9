package app

import (
	"context"
	"log/slog"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
)

// runApp runs the program of a configuration until the test ends, and fails
// the test when it ends with an error. change, which may be nil, is made to
// the configuration before.
func runApp(t testing.TB, ctx context.Context, path string, change func(*config.Config)) *App {
	t.Helper()
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	a, err := New(ctx, Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}
