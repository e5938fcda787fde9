package bus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// heard is a logger that tells of each line.
func heard() (*slog.Logger, <-chan string) {
	lines := make(chan string, 64)
	w := writer(func(b []byte) (int, error) {
		select {
		case lines <- string(b):
		default:
		}
		return len(b), nil
	})
	return slog.New(slog.NewTextHandler(w, nil)), lines
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// A server that comes later than the program is waited for, which is said.
func TestOpenWaitsForAServer(t *testing.T) {
	s := startExternal(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var up atomic.Bool
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !up.Load() {
				c.Close() // as a port does behind which nothing runs yet
				continue
			}
			to, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				c.Close()
				continue
			}
			go func() { _, _ = io.Copy(to, c); to.Close() }()
			go func() { _, _ = io.Copy(c, to); c.Close() }()
		}
	}()
	cfg := external("nats://" + l.Addr().String())
	log, lines := heard()
	cfg.Logger = log
	opened := make(chan error, 1)
	go func() {
		b, err := Open(t.Context(), cfg)
		if err == nil {
			b.Close()
		}
		opened <- err
	}()
	for line := range lines {
		if strings.Contains(line, "waiting for a server of nats.url") {
			break
		}
	}
	up.Store(true)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

// What no waiting mends is said at once, and what does not come after a while.
func TestOpenEndsWithWords(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	gone.Close()
	cfg := external("nats://" + nobody)
	cfg.connectWithin = 50 * time.Millisecond
	_, err = Open(t.Context(), cfg)
	wantErr(t, err, nats.ErrNoServers, "no server of nats.url (nats://"+nobody+")", "start it")

	cfg.connectWithin = time.Hour
	log, lines := heard()
	cfg.Logger = log
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-lines; cancel() }()
	if _, err = Open(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("asked to end while it waits: %v", err)
	}

	guarded := startExternal(t, func(o *server.Options) { o.Users = []*server.User{{Username: "a", Password: "EXAMPLE"}} })
	cfg = external("nats://" + guarded.Addr().String())
	cfg.connectWithin = time.Hour
	_, err = Open(t.Context(), cfg)
	wantErr(t, err, nats.ErrAuthorization, "Authorization Violation")
}

// A server without JetStream was waited for without end and without a word.
func TestOpenWithoutJetStream(t *testing.T) {
	s := startExternal(t, func(o *server.Options) { o.JetStream = false })
	cfg := external("nats://" + s.Addr().String())
	log, lines := heard()
	cfg.Logger, cfg.connectWithin = log, 400*time.Millisecond
	_, err := Open(t.Context(), cfg)
	wantErr(t, err, ErrUnknown, "JetStream of nats.url has not answered", "switch it on")
	for line := range lines {
		if strings.Contains(line, "waiting for JetStream") {
			return
		}
	}
}
