package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// On a full disk the server was seen to wait for a lock that it holds itself. The
// program ends all the same, and nobody else takes the directory before it has.
func TestServerThatDoesNotEnd(t *testing.T) {
	cfg := testConfig(t.TempDir())
	b := open(t, cfg)
	end, goOn, ended := b.endServer, make(chan struct{}), make(chan struct{})
	b.endServer = func() { defer close(ended); <-goOn; end() }
	b.closeWithin = time.Millisecond
	b.Close()
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("opened beside a server that still runs: %v", err)
	}
	close(goOn)
	<-ended
	b.release() // as the end of the process would
	open(t, cfg).Close()
}

// A server that never says how it is does not hold up who asks, is asked once, and
// after a while counts as frozen, so that the process ends and is started again.
func TestServerThatDoesNotAnswer(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	defer b.Close()
	if h := b.Health(t.Context()); !h.OK || h.Frozen {
		t.Fatalf("at first: %+v", h)
	}
	look, goOn, asked := b.healthz, make(chan struct{}), 0
	b.healthz = func() (bool, string) { asked++; <-goOn; return look() }
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if h := b.Health(over); h.OK || h.Frozen || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "has not said for 0s how it is") {
			t.Fatalf("at once: %+v", h)
		}
	}
	b.asking.Lock()
	q := b.question
	q.asked = q.asked.Add(-stuckAfter)
	b.asking.Unlock()
	if h := b.Health(over); h.OK || !h.Frozen {
		t.Errorf("after %s: %+v", stuckAfter, h)
	}
	close(goOn)
	<-q.done
	if asked != 1 {
		t.Errorf("asked %d times while one question was open", asked)
	}
	if h := b.Health(t.Context()); !h.OK || h.Frozen {
		t.Errorf("when it answers again: %+v", h)
	}
}
