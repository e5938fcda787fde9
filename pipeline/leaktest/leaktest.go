// Package leaktest runs a package's tests and wants every goroutine to end with
// what started it, where goroutines of the SLS SDK are among them. It is for
// tests; a package without them calls goleak itself.
package leaktest

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test: the SDK's
// heartbeat sleeps out its interval after its worker has ended, and its first
// requests for a checkpoint may sleep longer.
const patience = 20 * time.Second

// Run runs the tests and returns the exit code, 1 when they passed and left a
// goroutine behind.
func Run(m interface{ Run() int }) int { return run(m, patience) }

func run(m interface{ Run() int }, patience time.Duration) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = goleak.Find(); err == nil { // which itself waits a little
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
