package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// ErrRefused says that the platform refuses the app; trying again is in vain.
var ErrRefused = errors.New("the platform refuses the app")

// ErrMoved says that the platform asked for a new connection: nothing is wrong.
var ErrMoved = errors.New("the platform asks for a new connection")

// Limits.
const (
	maxDown     = time.Minute // between two attempts
	maxSeen     = 4096        // names that a Once remembers
	maxReply    = 300         // of what a person is shown, in UTF-16 units
	pressWithin = time.Minute // a press is given up after that
	writeWithin = 10 * time.Second
)

// Keep connects until ctx ends, again and again, ever more slowly while it does not
// last, and returns nil then; or the error of connect that is ErrRefused.
func Keep(ctx context.Context, log *slog.Logger, connect func(context.Context) error) error {
	wait := time.Second
	for {
		began := time.Now()
		err := connect(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRefused):
			return err
		}
		if time.Since(began) > maxDown {
			wait = time.Second // it had worked
		}
		if errors.Is(err, ErrMoved) {
			log.Info("a new connection for presses of buttons, as the platform asks")
		} else {
			log.Warn("no connection for presses of buttons, trying again", "after", wait, "err", err)
		}
		if pause.For(ctx, wait/2+rand.N(wait/2)) != nil {
			return nil
		}
		wait = min(2*wait, maxDown)
	}
}

// Conn is one WebSocket. Reading is for one goroutine; Send may be called by any.
type Conn struct {
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	write  sync.Mutex
}

// Dial opens a WebSocket by TLS (to loopback also without), of frames of at most
// limit bytes. When ctx ends it is closed, which ends the reading. Its address
// may hold a secret: it is in no error.
func Dial(ctx context.Context, address string, within time.Duration, limit int64) (*Conn, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "wss" && (u.Scheme != "ws" || !wire.Loopback(u.Hostname())) {
		return nil, errors.New("an address that cannot be used: want wss")
	}
	dialer := &websocket.Dialer{HandshakeTimeout: within, Proxy: http.ProxyFromEnvironment}
	ws, resp, err := dialer.DialContext(ctx, address, nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", wire.Redact(err))
	}
	ws.SetReadLimit(limit)
	c := &Conn{ws: ws}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.wg.Go(func() {
		<-c.ctx.Done()
		_ = ws.Close()
	})
	return c, nil
}

// Context ends with the connection.
func (c *Conn) Context() context.Context { return c.ctx }

// Go runs f, which must return when the connection's context ends; Close waits for it.
func (c *Conn) Go(f func()) { c.wg.Go(f) }

// Close ends the connection and waits for all that Go has started.
func (c *Conn) Close() {
	c.cancel()
	c.wg.Wait()
}

// Read returns the next message, which must come within a time; whatever comes
// from the other side, a pong too, begins that time anew.
func (c *Conn) Read(within time.Duration) (kind int, b []byte, err error) {
	fresh := func(string) error { return c.ws.SetReadDeadline(time.Now().Add(within)) }
	_ = fresh("")
	c.ws.SetPongHandler(fresh)
	kind, b, err = c.ws.ReadMessage()
	if err != nil {
		err = fmt.Errorf("connection: %w", err)
	}
	return kind, b, err
}

// Send writes one message (websocket.TextMessage, BinaryMessage, PingMessage).
func (c *Conn) Send(kind int, b []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.ws.SetWriteDeadline(time.Now().Add(writeWithin))
	return c.ws.WriteMessage(kind, b)
}

// Every calls f at once and then every d until the connection ends; an error of
// f ends it.
func (c *Conn) Every(d time.Duration, f func() error) {
	c.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			if f() != nil {
				c.cancel()
				return
			}
			select {
			case <-c.ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// Once remembers what was met by its name, in one part or more: the last 4,096.
// It is safe for concurrent use.
type Once struct {
	mu    sync.Mutex
	seen  map[string]bool
	order []string
}

// Met says whether it is remembered.
func (o *Once) Met(name ...string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[strings.Join(name, "\x00")]
}

// First says whether it was not met before, and remembers it.
func (o *Once) First(name ...string) bool {
	id := strings.Join(name, "\x00")
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[id] {
		return false
	}
	if o.seen == nil {
		o.seen = map[string]bool{}
	}
	o.seen[id] = true
	if o.order = append(o.order, id); len(o.order) > maxSeen {
		delete(o.seen, o.order[0])
		o.order = o.order[1:]
	}
	return true
}

// Desk has presses done. It is safe for concurrent use.
type Desk struct {
	Press responders.Presser
	Words *message.Words
	Log   *slog.Logger
	// Within is how long the person is kept waiting for what became of it.
	Within time.Duration

	presses sync.WaitGroup
}

// Do has a press done and returns what the person is shown, as one line, and
// whether it went well. What takes longer than Within is done all the same: a
// broken connection does not take back what a person asked for.
func (d *Desk) Do(ctx context.Context, p responders.Press) (said string, ok bool) {
	type result struct {
		said string
		err  error
	}
	done := make(chan result, 1)
	d.presses.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, pressWithin)
		defer cancel()
		defer func() {
			if x := recover(); x != nil {
				d.Log.Error("panic while handling a press", "alert_id", p.AlertID, "do", p.Do, "panic", x)
				done <- result{err: errors.New(d.Words.Unavailable)}
			}
		}()
		said, err := d.Press(ctx, p)
		if err != nil {
			d.Log.Warn("a press was not done", "alert_id", p.AlertID, "by", p.By, "do", p.Do, "err", err)
		}
		done <- result{said, err}
	})
	t := time.NewTimer(d.Within)
	defer t.Stop()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return message.One(d.Words.Failed(r.err), maxReply), false
		case r.said != "":
			return message.One(r.said, maxReply), true
		}
		return d.Words.ClickOK, true
	case <-t.C:
		return d.Words.Working, true
	}
}

// Wait waits for the presses that are being done.
func (d *Desk) Wait() { d.presses.Wait() }
