package leaktest

import (
	"testing"
	"time"
)

// tests are what a package's tests do, and their exit code.
type tests func() int

func (f tests) Run() int { return f() }

func TestRun(t *testing.T) {
	stop := make(chan struct{})
	for _, x := range []struct {
		name string
		do   tests
		want int
	}{
		{"nothing is left", func() int { return 0 }, 0},
		{"tests that fail", func() int { return 3 }, 3},
		{"a goroutine that does not end", func() int { go func() { <-stop }(); return 0 }, 1},
	} {
		if got := run(x.do, time.Second); got != x.want {
			t.Errorf("%s: exit code %d, want %d", x.name, got, x.want)
		}
	}
	close(stop)
}
