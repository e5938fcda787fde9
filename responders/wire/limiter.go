package wire

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/responders"
)

// Limiter is a token bucket that can also be told to pause. Calls that would
// wait longer than maxWait are turned away with the time to come back: the
// queue belongs to the dispatcher, which is durable, not here.
type Limiter struct {
	perSecond float64
	burst     float64
	maxWait   time.Duration

	mu     sync.Mutex
	tokens float64
	last   time.Time
	until  time.Time // paused by the platform
}

func NewLimiter(perSecond float64, burst int, maxWait time.Duration) *Limiter {
	return &Limiter{perSecond: perSecond, burst: float64(burst), maxWait: maxWait, tokens: float64(burst)}
}

// Take waits for a token. The error is a *responders.RetryAfterError, or says
// that ctx ended; nothing was sent in either case.
func (l *Limiter) Take(ctx context.Context) error {
	l.mu.Lock()
	now := time.Now()
	if !l.last.IsZero() {
		l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.perSecond)
	}
	l.last = now
	wait := time.Duration(0)
	if l.tokens < 1 {
		wait = time.Duration((1 - l.tokens) / l.perSecond * float64(time.Second))
	}
	if pause := l.until.Sub(now); pause > wait {
		wait = pause
	}
	if wait > l.maxWait {
		l.mu.Unlock()
		return &responders.RetryAfterError{After: wait, Err: responders.ErrTurn}
	}
	l.tokens-- // may go below zero: those behind wait longer
	l.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if err := pause.For(ctx, wait); err != nil {
		l.mu.Lock()
		l.tokens++
		l.mu.Unlock()
		return fmt.Errorf("%w: %w", responders.ErrRetry, err)
	}
	return nil
}

// Pause keeps everything back for d.
func (l *Limiter) Pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := time.Now().Add(d); t.After(l.until) {
		l.until = t
	}
}
