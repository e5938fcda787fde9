// Package pause waits, and ends waiting when there is no need any more.
package pause

import (
	"context"
	"time"
)

// For waits for d. It returns ctx's error when ctx ends before.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
