package app

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain wants every goroutine to end with what started it.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		// The SLS SDK's heartbeat sleeps out its interval after its worker has
		// ended: give it time, then insist.
		var err error
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			if err = goleak.Find(); err == nil {
				break
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
