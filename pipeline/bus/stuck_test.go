package bus

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// lateServer is an embedded server that gets no turn for a while.
type lateServer struct{ after time.Duration }

func (l lateServer) InProcessConn() (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		_ = pause.For(context.Background(), l.after)
		if _, err := io.WriteString(server, "INFO {\"server_id\":\"late\",\"proto\":1,\"max_payload\":1048576}\r\n"); err != nil {
			return // nobody waits any more
		}
		for lines := bufio.NewScanner(server); lines.Scan(); {
			if lines.Text() == "PING" {
				_, _ = io.WriteString(server, "PONG\r\n")
			}
		}
	}()
	return client, nil
}

// On a busy machine the embedded server takes its time to answer for the first time;
// the program starts all the same.
func TestServerThatAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(t.TempDir())
		nc, err := nats.Connect("", cfg.inProcessOptions(lateServer{10 * time.Second}, func(error) {})...)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		synctest.Wait()
	})
}

// So does making what a new store needs on a slow disk.
func TestStreamsAreMadeSlowly(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	defer b.Close()
	if d := b.js.Options().DefaultTimeout; d < 30*time.Second {
		t.Errorf("a stream must be made within %s", d)
	}
}

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
		if h := b.Health(over); h.OK || h.Frozen || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "has not said for ") {
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
