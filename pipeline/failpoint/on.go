//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

var (
	name string
	left atomic.Int64
)

func init() {
	n := "1"
	name, n, _ = strings.Cut(os.Getenv("FAILPOINT")+"=1", "=")
	n, _, _ = strings.Cut(n, "=")
	k, err := strconv.Atoi(n)
	if err != nil || k < 1 {
		panic("FAILPOINT: want name or name=n")
	}
	left.Store(int64(k))
}

// Hit ends the process when it is its turn.
func Hit(at string) {
	if at != name || left.Add(-1) != 0 {
		return
	}
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // until the signal is delivered
}

// Heartbeat is what the variable HEARTBEAT says, d when it is not set.
func Heartbeat(d time.Duration) time.Duration {
	s := os.Getenv("HEARTBEAT")
	if s == "" {
		return d
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic("HEARTBEAT: want a duration")
	}
	return d
}
