package robot

import (
	"time"

	"github.com/trailwarden/trailwarden/responders/wire"
)

// Impatient makes a robot that turns a call away at once when its turn has not
// come: a test does not wait.
func (r *Robot) Impatient() {
	r.post.Limit = wire.NewLimiter(r.platform.PerSecond, r.platform.Burst, 0)
}

// SetClock sets the time of signatures.
func (r *Robot) SetClock(now func() time.Time) { r.now = now }

// Kind is the platform.
func (r *Robot) Kind() Platform { return r.platform }
