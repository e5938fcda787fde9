package bus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// In a cluster an absence is believed when it has lasted, from the first answer
// on: how long that took to come says nothing.
func TestSure(t *testing.T) {
	const never = 1 << 20
	for name, c := range map[string]struct {
		replicas, from int // the look from which on it is there
		first          time.Duration
		least, most    time.Duration
		there          bool
	}{
		"one server":               {1, never, 0, 0, 0, false},
		"there":                    {3, 0, 0, 0, 0, true},
		"there later":              {3, 3, 0, 0, time.Second, true},
		"lost":                     {3, never, 0, doubtFor, doubtFor + 3*time.Second, false},
		"no answer, then a false":  {3, 1, 2 * doubtFor, 2 * doubtFor, 2*doubtFor + time.Second, true},
		"no answer, and then lost": {3, never, 2 * doubtFor, 3 * doubtFor, 3*doubtFor + 3*time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &Bus{cfg: Config{Replicas: c.replicas}}
				start, looks, missing := time.Now(), 0, false
				err := b.Sure(t.Context(), func(ctx context.Context) (bool, error) {
					if looks == 0 {
						if err := pause.For(ctx, c.first); err != nil {
							return false, err
						}
					}
					missing = looks < c.from
					looks++
					return missing, nil
				})
				if took := time.Since(start); err != nil || missing == c.there || took < c.least || took > c.most {
					t.Errorf("missing %v after %v and %d looks, %v", missing, took, looks, err)
				}
			})
		})
	}
	odd := errors.New("odd")
	b := &Bus{cfg: Config{Replicas: 3}}
	if err := b.Sure(t.Context(), func(context.Context) (bool, error) { return true, odd }); !errors.Is(err, odd) {
		t.Errorf("an error of the look: %v", err)
	}
}
