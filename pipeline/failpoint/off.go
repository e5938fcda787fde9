//go:build !failpoint

package failpoint

import "time"

// Hit does nothing.
func Hit(string) {}

// Heartbeat is d.
func Heartbeat(d time.Duration) time.Duration { return d }
