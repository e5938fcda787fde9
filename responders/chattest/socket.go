package chattest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const linkPath = "/link/"

// Errors of Click.
var (
	// ErrNotConnected: no Socket Mode connection is open; Slack loses such a click.
	ErrNotConnected = errors.New("chattest: no open socket mode connection")
	// ErrNotAcked: no acknowledgement in time; the person sees an error.
	ErrNotAcked = errors.New("chattest: click was not acknowledged in time")
)

// sockets is the Socket Mode side of a Server.
type sockets struct {
	mu       sync.Mutex
	tickets  map[string]bool
	nextID   int
	conns    []*conn
	changed  chan struct{} // closed and replaced when conns changes
	pending  map[string]chan json.RawMessage
	sent     map[string][]byte // envelope id → frame, for Redeliver
	acked    map[string]int
	rotation int
	opened   int
	closed   bool
}

func (k *sockets) init() {
	k.tickets, k.pending = map[string]bool{}, map[string]chan json.RawMessage{}
	k.sent, k.acked, k.changed = map[string][]byte{}, map[string]int{}, make(chan struct{})
}

// conn is one WebSocket. Writes of frames are serialised by mu.
type conn struct {
	ws *websocket.Conn
	mu sync.Mutex
}

func (c *conn) send(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(frame)
}

// write wants mu held.
func (c *conn) write(frame []byte) error {
	_ = c.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// openConnection is apps.connections.open: an app token buys a one-use address.
func (s *Server) openConnection(q *request) reply {
	switch q.token {
	case s.opt.AppToken:
	case "":
		return refuse("not_authed")
	case s.opt.BotToken:
		return refuse("not_allowed_token_type")
	default:
		return refuse("invalid_auth")
	}
	s.socks.mu.Lock()
	s.socks.nextID++
	ticket := fmt.Sprintf("ticket-%d", s.socks.nextID)
	s.socks.tickets[ticket] = true
	s.socks.mu.Unlock()
	scheme := "ws"
	if q.tls {
		scheme = "wss"
	}
	return ok(map[string]any{"url": scheme + "://" + q.host + linkPath + "?ticket=" + ticket}, Entry{})
}

var upgrader = websocket.Upgrader{
	// slack-go sends the Origin of Slack, never ours.
	CheckOrigin: func(r *http.Request) bool {
		o := r.Header.Get("Origin")
		return o == "" || o == "https://api.slack.com"
	},
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	k := &s.socks
	ticket := r.URL.Query().Get("ticket")
	k.mu.Lock()
	valid := k.tickets[ticket]
	delete(k.tickets, ticket)
	k.mu.Unlock()
	if !valid {
		http.Error(w, "link_disabled", http.StatusForbidden)
		return
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	c := &conn{ws: ws}
	c.mu.Lock() // nothing may overtake the hello
	if !s.register(c) {
		c.mu.Unlock()
		return
	}
	defer s.wg.Done()
	defer k.remove(c)

	hello, _ := json.Marshal(map[string]any{
		"type": "hello", "num_connections": k.count(),
		"connection_info": map[string]any{"app_id": appID},
		"debug_info":      map[string]any{"host": "applink-example", "approximate_connection_time": 18060},
	})
	err = c.write(hello)
	c.mu.Unlock()
	if err != nil {
		return
	}

	stop := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() {
		t := time.NewTicker(s.opt.PingInterval)
		defer t.Stop()
		for {
			// The first ping goes out at once: clients measure from connect.
			if ws.WriteControl(websocket.PingMessage, []byte("Ping from applink-example"), time.Now().Add(5*time.Second)) != nil {
				return
			}
			select {
			case <-t.C:
			case <-stop:
				return
			}
		}
	})
	defer pings.Wait()
	defer close(stop)

	for {
		_, frame, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var ack struct {
			EnvelopeID string `json:"envelope_id"`
			Payload    json.RawMessage
		}
		if json.Unmarshal(frame, &ack) != nil || ack.EnvelopeID == "" || len(frame) >= 20<<10 {
			continue // Slack drops what it does not understand and what is too large
		}
		k.mu.Lock()
		k.acked[ack.EnvelopeID]++
		if ch := k.pending[ack.EnvelopeID]; ch != nil {
			select {
			case ch <- ack.Payload:
			default:
			}
		}
		k.mu.Unlock()
	}
}

func (k *sockets) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns)
}

// register counts c in, unless the server is closing.
func (s *Server) register(c *conn) (ok bool) {
	s.socks.change(func() {
		if ok = !s.socks.closed; ok {
			s.wg.Add(1)
			s.socks.opened++
			s.socks.conns = append(s.socks.conns, c)
		}
	})
	return ok
}

func (k *sockets) remove(c *conn) {
	k.change(func() { k.conns = slices.DeleteFunc(k.conns, func(o *conn) bool { return o == c }) })
}

func (k *sockets) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
}

// Connected returns the number of open Socket Mode connections.
func (s *Server) Connected() int { return s.socks.count() }

// WaitConnected waits until exactly n Socket Mode connections are open.
func (s *Server) WaitConnected(ctx context.Context, n int) error {
	return s.waitSockets(ctx, func(open, _ int) bool { return open == n })
}

// WaitOpened waits until Socket Mode connections were opened total times since
// the start and only the last is still open: how a test knows that its one
// client has come back, however fast.
func (s *Server) WaitOpened(ctx context.Context, total int) error {
	return s.waitSockets(ctx, func(open, opened int) bool { return open == 1 && opened == total })
}

func (s *Server) waitSockets(ctx context.Context, ok func(open, opened int) bool) error {
	for {
		s.socks.mu.Lock()
		open, opened, changed := len(s.socks.conns), s.socks.opened, s.socks.changed
		s.socks.mu.Unlock()
		if ok(open, opened) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("chattest: %d connections open, %d opened so far: %w", open, opened, ctx.Err())
		}
	}
}

// Refresh asks every connection to reconnect, as Slack does every few hours.
func (s *Server) Refresh() {
	frame := []byte(`{"type":"disconnect","reason":"refresh_requested","debug_info":{"host":"applink-example"}}`)
	for _, c := range s.snapshot() {
		_ = c.send(frame)
	}
}

// DropConnections cuts every Socket Mode connection without a word.
func (s *Server) DropConnections() { s.dropAll() }

func (s *Server) dropAll() {
	for _, c := range s.snapshot() {
		_ = c.ws.Close()
	}
}

// SendRaw sends a frame as it is to every connection.
func (s *Server) SendRaw(frame string) {
	for _, c := range s.snapshot() {
		_ = c.send([]byte(frame))
	}
}

func (s *Server) snapshot() []*conn {
	s.socks.mu.Lock()
	defer s.socks.mu.Unlock()
	return slices.Clone(s.socks.conns)
}

// ClickSpec is a click on a button of a message.
type ClickSpec struct {
	User     string // "U…"
	Team     string // the person's workspace; empty means the app's
	Channel  string // id or name
	TS       string // the message
	ActionID string // which of its buttons
	// ActionTS is when; empty means now. Two clicks with one ActionTS are one
	// click delivered twice.
	ActionTS string
	// Forge sends the click although the message has no such button, with
	// Value: what a modified client could do.
	Forge bool
	Value string
	// Choose is the value of the option chosen in a menu, or the person in a
	// users_select.
	Choose string
}

// Click presses a button: it sends the interactive envelope to one open
// connection and waits for the acknowledgement. It returns the envelope id.
// The errors are ErrNotConnected, ErrNotAcked, or that there is no such button.
func (s *Server) Click(ctx context.Context, spec ClickSpec) (envelope string, err error) {
	s.mu.Lock()
	c := s.channel(spec.Channel)
	if c == nil {
		s.mu.Unlock()
		return "", fmt.Errorf("chattest: no channel %q", spec.Channel)
	}
	m := c.find(spec.TS)
	var btn Button
	switch {
	case m == nil && !spec.Forge:
		s.mu.Unlock()
		return "", fmt.Errorf("chattest: no message %s in %s", spec.TS, c.id)
	case spec.Forge:
		btn = Button{ActionID: spec.ActionID, BlockID: "forged", Value: spec.Value}
	default:
		buttons := m.Buttons()
		i := slices.IndexFunc(buttons, func(b Button) bool { return b.ActionID == spec.ActionID })
		if i < 0 {
			s.mu.Unlock()
			return "", fmt.Errorf("chattest: message %s has no button %q", spec.TS, spec.ActionID)
		}
		btn = buttons[i]
		if btn.Menu == "static_select" || btn.Menu == "overflow" {
			if !slices.Contains(btn.Options, spec.Choose) {
				s.mu.Unlock()
				return "", fmt.Errorf("chattest: menu %q has no option %q", spec.ActionID, spec.Choose)
			}
		}
	}
	s.socks.mu.Lock()
	s.socks.nextID++
	n := s.socks.nextID
	s.socks.mu.Unlock()
	trigger := fmt.Sprintf("%d.EXAMPLE.trigger", n)
	s.triggers[trigger] = true
	actionTS := spec.ActionTS
	if actionTS == "" {
		actionTS = s.stamp()
	}
	act := map[string]any{"type": "button", "action_id": btn.ActionID, "block_id": btn.BlockID, "action_ts": actionTS}
	switch btn.Menu {
	case "":
		act["value"], act["text"], act["style"] = btn.Value, map[string]any{"type": "plain_text", "text": btn.Text}, btn.Style
	case "users_select":
		act["type"], act["selected_user"] = btn.Menu, spec.Choose
	default:
		act["type"], act["selected_option"] = btn.Menu, map[string]any{"value": spec.Choose, "text": map[string]any{"type": "plain_text", "text": "chosen"}}
	}
	payload := map[string]any{
		"type": "block_actions", "api_app_id": appID, "trigger_id": trigger,
		"team": map[string]any{"id": teamID, "domain": "example"},
		"user": map[string]any{"id": spec.User, "username": strings.ToLower(spec.User), "team_id": cmp.Or(spec.Team, teamID)},
		"container": map[string]any{
			"type": "message", "message_ts": spec.TS, "channel_id": c.id, "is_ephemeral": false,
		},
		"channel": map[string]any{"id": c.id, "name": c.name},
		"state":   map[string]any{"values": map[string]any{}},
		"actions": []any{act},
	}
	if btn.inAttachment {
		payload["container"].(map[string]any)["type"] = "message_attachment"
		payload["container"].(map[string]any)["attachment_id"] = 1
	}
	if m != nil {
		payload["message"] = c.wire(m, true)
	}
	now := s.opt.Clock().UTC()
	s.mu.Unlock()

	envelope = "envelope-" + strconv.Itoa(n)
	frame, err := json.Marshal(map[string]any{
		"type": "interactive", "envelope_id": envelope, "accepts_response_payload": false, "payload": payload,
	})
	if err != nil {
		return "", fmt.Errorf("chattest: %w", err)
	}
	s.socks.mu.Lock()
	s.socks.sent[envelope] = frame
	s.socks.mu.Unlock()
	err = s.Redeliver(ctx, envelope)
	e := Entry{Time: now, Method: "click", Channel: c.id, TS: spec.TS, Text: spec.ActionID + " by " + spec.User, OK: err == nil}
	if err != nil {
		e.Error = err.Error()
	}
	s.journal(e)
	return envelope, err
}

// Redeliver sends an envelope again and waits for its acknowledgement.
func (s *Server) Redeliver(ctx context.Context, envelope string) error {
	k := &s.socks
	ack := make(chan json.RawMessage, 1)
	k.mu.Lock()
	frame := k.sent[envelope]
	var c *conn
	if len(k.conns) > 0 {
		k.rotation++
		c = k.conns[k.rotation%len(k.conns)] // any one of the open connections
	}
	k.pending[envelope] = ack
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.pending, envelope)
		k.mu.Unlock()
	}()
	switch {
	case frame == nil:
		return fmt.Errorf("chattest: no envelope %q", envelope)
	case c == nil:
		return ErrNotConnected
	}
	if err := c.send(frame); err != nil {
		return fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	t := time.NewTimer(s.opt.AckTimeout)
	defer t.Stop()
	select {
	case <-ack:
		return nil
	case <-t.C:
		return ErrNotAcked
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Acks counts the acknowledgements of an envelope.
func (s *Server) Acks(envelope string) int {
	s.socks.mu.Lock()
	defer s.socks.mu.Unlock()
	return s.socks.acked[envelope]
}
