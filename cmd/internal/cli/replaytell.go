package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// replayTeller tells the running program how far a replay has come, so that its
// console shows it. It never delays the replay: what could not be told in time is
// told with the next.
type replayTeller struct {
	c    *admin.Client
	stop chan struct{}
	done chan struct{}

	mu  sync.Mutex
	now admin.Replaying
}

// tellEvery is the time between two notes.
const tellEvery = time.Second

// tellReplay begins. That nobody listens in the folder state is found out now,
// and not after hours.
func tellReplay(ctx context.Context, state string, r admin.Replaying) (*replayTeller, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	r.ID, r.State, r.BytesTotal = hex.EncodeToString(id[:]), admin.ReplayReading, -1
	t := &replayTeller{c: admin.Dial(state), stop: make(chan struct{}), done: make(chan struct{}), now: r}
	if err := t.c.Replaying(ctx, r); err != nil {
		return nil, operationError(fmt.Errorf("--state: the replay would not be noted in the audit log: %w", err))
	}
	go func() {
		defer close(t.done)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-t.stop:
				return
			case <-tick.C:
				t.mu.Lock()
				now := t.now
				t.mu.Unlock()
				_ = t.c.Replaying(ctx, now) // it may be restarting
			}
		}
	}()
	return t, nil
}

// progress is told of all along.
func (t *replayTeller) progress(p replay.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.State = admin.ReplayRunning
	t.now.BytesRead, t.now.BytesTotal, t.now.Records, t.now.Detections, t.now.EventTime = p.BytesRead, p.BytesTotal, p.Records, p.Detections, p.EventTime
}

// end says what became of it.
func (t *replayTeller) end(ctx context.Context, s *replay.Stats, err error) {
	close(t.stop)
	<-t.done
	last := t.now
	if s != nil {
		last.BytesRead, last.Records, last.Detections, last.Events, last.Alerts = s.BytesRead, s.Records, s.Detections, s.Events, s.Alerts
		if s.LastEvent != nil {
			last.EventTime = *s.LastEvent
		}
	}
	switch {
	case err == nil:
		last.State = admin.ReplayDone
	case errors.Is(err, context.Canceled):
		last.State = admin.ReplayInterrupted
	default:
		last.State, last.Error = admin.ReplayFailed, err.Error()
	}
	// Also when it was interrupted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = t.c.Replaying(ctx, last)
}
