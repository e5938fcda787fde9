package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// notify tells systemd how things are, where systemd asked: READY once when
// everything runs, the watchdog while the parts answer, and in words what is
// wrong. Being blind is told and is no reason to be restarted; not answering
// within half of the watchdog's time is. The function it returns says that the
// program stops.
func notify(ctx context.Context, log *slog.Logger, status func(context.Context) (admin.Status, error)) func() {
	tell := func(state string) bool {
		sent, err := daemon.SdNotify(false, state)
		if err != nil {
			log.Warn("systemd could not be told", "error", err)
		}
		return sent
	}
	if !tell(daemon.SdNotifyReady) {
		return func() {} // nobody asked
	}
	every := 10 * time.Second
	if d, err := daemon.SdWatchdogEnabled(false); err == nil && d > 0 {
		every = d / 3
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			next := every
			look, end := context.WithTimeout(ctx, every)
			s, err := status(look)
			end()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				line := "ready"
				if len(s.Problems) > 0 {
					// As after every start, before the first read: what is over should not be told for long.
					line, next = s.Problems[0], min(every, time.Second)
				}
				tell(daemon.SdNotifyWatchdog + "\nSTATUS=" + text.Line(line))
			}
			if pause.For(ctx, next) != nil {
				return
			}
		}
	}()
	return func() {
		tell(daemon.SdNotifyStopping)
		cancel()
		<-done
	}
}
