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
	"google.golang.org/protobuf/encoding/protowire"
)

// An example app of Feishu's and the chat that its robot is in.
const (
	FeishuAppID     = "cli_EXAMPLE0000001"
	FeishuAppSecret = "EXAMPLEfeishuSecretEXAMPLE"
	FeishuChat      = "oc_EXAMPLEchat0001"
	feishuPath      = "/feishu"
	feishuEditFor   = 14 * 24 * time.Hour
	feishuUUIDFor   = time.Hour
)

// FeishuURL is the address of the emulated open platform.
func (s *Server) FeishuURL() string { return s.app(feishuPath, s.serveFeishu) }

// FeishuMessage is a card that the app sent, in its present state.
type FeishuMessage struct {
	ID, To string // To is the chat (oc_…) or the person (ou_…)
	Card   json.RawMessage
	Edits  int
	// Replies are the texts under it.
	Replies []string
	at      time.Time
}

// feishu is the state of the emulated platform.
type feishu struct {
	messages []*FeishuMessage
	uuids    map[string]feishuDone
	tokens   int
	tickets  map[string]bool

	mu      sync.Mutex // of what follows
	conns   []*conn
	opened  int // since the start
	changed chan struct{}
	waiting map[string]chan []byte // by message id of the frame
	next    int
}

type feishuDone struct {
	id string
	at time.Time
}

// FeishuMessages are the cards in a chat or of a person, oldest first.
func (s *Server) FeishuMessages(to string) []FeishuMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []FeishuMessage
	for _, m := range s.fs.messages {
		if m.To == to {
			x := *m
			x.Replies = slices.Clone(m.Replies)
			out = append(out, x)
		}
	}
	return out
}

// FeishuRevoke ends every token that was given out.
func (s *Server) FeishuRevoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fs.tokens++
}

func (s *Server) feishuToken() string { return "t-EXAMPLE" + strconv.Itoa(s.fs.tokens) }

func feishuReply(code int, msg string, data any) reply {
	r := reply{body: map[string]any{"code": code, "msg": msg, "data": data}}
	if code != 0 {
		r.status, r.entry.Error = http.StatusBadRequest, strconv.Itoa(code)+" "+msg
	}
	return r
}

func (s *Server) serveFeishu(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, feishuPath)
	id, isReply := strings.CutSuffix(strings.TrimPrefix(path, "/open-apis/im/v1/messages/"), "/reply")
	switch {
	case path == "/open-apis/auth/v3/tenant_access_token/internal" && r.Method == http.MethodPost:
		s.serve(w, r, "feishu.token", (*Server).feishuAuth)
	case path == "/open-apis/im/v1/messages" && r.Method == http.MethodPost:
		s.serve(w, r, "feishu.create", (*Server).feishuCreate)
	case strings.HasPrefix(path, "/open-apis/im/v1/messages/") && isReply && r.Method == http.MethodPost:
		s.serve(w, r, "feishu.reply", func(s *Server, q *request) reply { return s.feishuAnswer(q, id) })
	case strings.HasPrefix(path, "/open-apis/im/v1/messages/") && r.Method == http.MethodPatch:
		s.serve(w, r, "feishu.patch", func(s *Server, q *request) reply { return s.feishuPatch(q, id) })
	case path == "/callback/ws/endpoint" && r.Method == http.MethodPost:
		s.serve(w, r, "feishu.endpoint", (*Server).feishuEndpoint)
	case path == "/ws":
		s.serveFeishuSocket(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (q *request) str(key string) string {
	var out string
	_ = json.Unmarshal(q.json[key], &out)
	return out
}

func (s *Server) feishuAuth(q *request) reply {
	if q.str("app_id") != FeishuAppID || q.str("app_secret") != FeishuAppSecret {
		return feishuReply(10003, "invalid param", nil)
	}
	return reply{body: map[string]any{"code": 0, "msg": "ok", "tenant_access_token": s.feishuToken(), "expire": 7200}}
}

func (s *Server) feishuAllowed(q *request) (reply, bool) {
	if q.token != s.feishuToken() {
		return feishuReply(99991663, "Invalid access token for authorization", nil), false
	}
	if wait, ok := s.take("feishu", 50, 50); !ok {
		r := tooMany(wait)
		r.body = map[string]any{"code": 99991400, "msg": "request trigger frequency limit"}
		return r, false
	}
	return reply{}, true
}

// feishuCard reads a card and says what the platform would refuse.
func feishuCard(content string) (json.RawMessage, string) {
	var c struct {
		Config struct {
			UpdateMulti bool `json:"update_multi"`
		}
		Header   json.RawMessage
		Elements []struct {
			Tag     string
			Actions []struct{ Tag string }
		}
	}
	switch {
	case len(content) > feishuBody:
		return nil, "card larger than 30 KB"
	case json.Unmarshal([]byte(content), &c) != nil || len(c.Elements) == 0:
		return nil, "card is not a card"
	case !c.Config.UpdateMulti:
		return nil, "config.update_multi is needed to edit it"
	}
	for _, e := range c.Elements {
		if e.Tag == "action" && len(e.Actions) == 0 {
			return nil, "an action without components"
		}
	}
	return json.RawMessage(content), ""
}

func (s *Server) feishuCreate(q *request) reply {
	if r, ok := s.feishuAllowed(q); !ok {
		return r
	}
	to, uuid := q.str("receive_id"), q.str("uuid")
	want := map[string]string{"chat_id": "oc_", "open_id": "ou_"}[q.query.Get("receive_id_type")]
	if want == "" || !strings.HasPrefix(to, want) {
		return feishuReply(230001, "Your request contains an invalid request parameter, ext=invalid receive_id.", nil)
	}
	if want == "oc_" && to != FeishuChat {
		return feishuReply(230002, "Bot can NOT be out of the chat.", nil)
	}
	if q.str("msg_type") != "interactive" || len(uuid) > 50 {
		return feishuReply(230001, "invalid msg_type or uuid", nil)
	}
	card, wrong := feishuCard(q.str("content"))
	if wrong != "" {
		return feishuReply(230099, "Failed to create card content, ext="+wrong, nil)
	}
	now := s.opt.Clock()
	if d, ok := s.fs.uuids[uuid]; ok && uuid != "" && now.Sub(d.at) < feishuUUIDFor {
		return feishuReply(0, "success", map[string]any{"message_id": d.id}) // once within an hour
	}
	m := &FeishuMessage{ID: fmt.Sprintf("om_EXAMPLE%06d", len(s.fs.messages)+1), To: to, Card: card, at: now}
	s.fs.messages = append(s.fs.messages, m)
	s.fs.uuids[uuid] = feishuDone{m.ID, now}
	r := feishuReply(0, "success", map[string]any{"message_id": m.ID})
	r.entry.Channel, r.entry.TS = to, m.ID
	return r
}

func (s *Server) feishuFind(id string) *FeishuMessage {
	for _, m := range s.fs.messages {
		if m.ID == id {
			return m
		}
	}
	return nil
}

func (s *Server) feishuPatch(q *request, id string) reply {
	if r, ok := s.feishuAllowed(q); !ok {
		return r
	}
	m := s.feishuFind(id)
	switch {
	case m == nil:
		return feishuReply(230001, "ext=invalid message_id", nil)
	case s.opt.Clock().Sub(m.at) > feishuEditFor:
		return feishuReply(230031, "The message is too old to be edited", nil)
	}
	card, wrong := feishuCard(q.str("content"))
	if wrong != "" {
		return feishuReply(230099, "Failed to create card content, ext="+wrong, nil)
	}
	m.Card = card
	m.Edits++
	return feishuReply(0, "success", map[string]any{})
}

func (s *Server) feishuAnswer(q *request, id string) reply {
	if r, ok := s.feishuAllowed(q); !ok {
		return r
	}
	m := s.feishuFind(id)
	var content struct{ Text string }
	if m == nil || q.str("msg_type") != "text" || json.Unmarshal([]byte(q.str("content")), &content) != nil || content.Text == "" {
		return feishuReply(230001, "ext=invalid reply", nil)
	}
	uuid, now := q.str("uuid"), s.opt.Clock()
	if d, ok := s.fs.uuids[uuid]; !ok || uuid == "" || now.Sub(d.at) >= feishuUUIDFor {
		m.Replies = append(m.Replies, content.Text)
		s.fs.uuids[uuid] = feishuDone{id + "/" + strconv.Itoa(len(m.Replies)), now}
	}
	return feishuReply(0, "success", map[string]any{"message_id": s.fs.uuids[uuid].id})
}

func (s *Server) feishuEndpoint(q *request) reply {
	_ = json.Unmarshal(q.raw, &q.json) // the platform's own client does not say that it is JSON
	if q.str("AppID") != FeishuAppID || q.str("AppSecret") != FeishuAppSecret {
		return reply{body: map[string]any{"code": 1000040344, "msg": "incorrect app_secret"}}
	}
	ticket := fmt.Sprintf("EXAMPLE%d", len(s.fs.tickets)+1)
	s.fs.tickets[ticket] = true
	return reply{body: map[string]any{"code": 0, "msg": "", "data": map[string]any{
		"URL":          "ws://" + q.host + feishuPath + "/ws?device_id=1&service_id=33&ticket=" + ticket,
		"ClientConfig": map[string]int{"ReconnectCount": -1, "ReconnectInterval": 1, "ReconnectNonce": 0, "PingInterval": 30},
	}}}
}

func (s *Server) serveFeishuSocket(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	s.mu.Lock()
	good := s.fs.tickets[ticket]
	s.fs.tickets[ticket] = false
	s.mu.Unlock()
	if !good {
		w.Header().Set("Handshake-Status", "514")
		http.Error(w, "auth failed", http.StatusForbidden)
		return
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	c := &conn{ws: ws}
	change := func(f func()) {
		s.fs.mu.Lock()
		defer s.fs.mu.Unlock()
		f()
		close(s.fs.changed)
		s.fs.changed = make(chan struct{})
	}
	s.wg.Add(1)
	defer s.wg.Done()
	change(func() { s.fs.conns, s.fs.opened = append(s.fs.conns, c), s.fs.opened+1 })
	defer change(func() { s.fs.conns = slices.DeleteFunc(s.fs.conns, func(x *conn) bool { return x == c }) })
	go func() {
		<-s.closing
		_ = ws.Close()
	}()
	for {
		_, raw, err := ws.ReadMessage()
		if err != nil {
			return
		}
		f := decodeFrame(raw)
		if f.method == 0 && f.headers["type"] == "ping" {
			_ = c.binary(encodeFrame(frameOf{method: 0, headers: map[string]string{"type": "pong"}, payload: []byte(`{"PingInterval":30,"ReconnectCount":-1,"ReconnectInterval":1}`)}))
			continue
		}
		s.fs.mu.Lock()
		if ch := s.fs.waiting[f.headers["message_id"]]; ch != nil {
			select {
			case ch <- f.payload:
			default:
			}
		}
		s.fs.mu.Unlock()
	}
}

func (c *conn) binary(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return c.ws.WriteMessage(websocket.BinaryMessage, b)
}

// WaitFeishu waits until n long connections of the app were opened since the
// start, however many have ended.
func (s *Server) WaitFeishu(ctx context.Context, n int) error {
	for {
		s.fs.mu.Lock()
		opened, changed := s.fs.opened, s.fs.changed
		s.fs.mu.Unlock()
		if opened >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("chattest: %d long connections were opened: %w", opened, ctx.Err())
		}
	}
}

// DropFeishu cuts the long connections.
func (s *Server) DropFeishu() {
	s.fs.mu.Lock()
	defer s.fs.mu.Unlock()
	for _, c := range s.fs.conns {
		_ = c.ws.Close()
	}
}

// FeishuPress is a press of a button of a card, or a choice in a menu of it.
type FeishuPress struct {
	User    string // "ou_…"
	Message string
	Do      string // the value's "do"
	Option  string // of a menu
	// EventID is the event's; empty is a new one. The same twice is one press
	// delivered twice.
	EventID string
	// Value forges a value that no button has.
	Value map[string]any
	// Tenant is the organisation of who presses; empty is the app's own.
	Tenant string
	// Frames cuts the event into so many frames.
	Frames int
}

// Press sends a press to one of the long connections, as the platform does, and
// returns the toast that the person sees.
func (s *Server) Press(ctx context.Context, p FeishuPress) (kind, toast string, err error) {
	value := p.Value
	s.mu.Lock()
	m := s.feishuFind(p.Message)
	if m == nil {
		s.mu.Unlock()
		return "", "", errors.New("chattest: no such card")
	}
	tag := "button"
	if value == nil {
		var c struct {
			Elements []struct {
				Actions []struct {
					Tag     string
					Value   map[string]any
					Options []struct{ Value string }
				}
			}
		}
		_ = json.Unmarshal(m.Card, &c)
		for _, e := range c.Elements {
			for _, a := range e.Actions {
				if a.Value["do"] == p.Do && (p.Option == "" || slices.ContainsFunc(a.Options, func(o struct{ Value string }) bool { return o.Value == p.Option })) {
					value, tag = a.Value, a.Tag
				}
			}
		}
	}
	to := m.To
	s.mu.Unlock()
	if value == nil {
		return "", "", fmt.Errorf("chattest: the card has no button %q", p.Do)
	}
	s.fs.mu.Lock()
	s.fs.next++
	id := "EXAMPLEmsg" + strconv.Itoa(s.fs.next)
	ack := make(chan []byte, 1)
	s.fs.waiting[id] = ack
	var c *conn
	if len(s.fs.conns) > 0 {
		c = s.fs.conns[s.fs.next%len(s.fs.conns)] // one of them, at random
	}
	s.fs.mu.Unlock()
	defer func() {
		s.fs.mu.Lock()
		delete(s.fs.waiting, id)
		s.fs.mu.Unlock()
	}()
	if c == nil {
		return "", "", ErrNotConnected
	}
	if p.EventID == "" {
		p.EventID = "EXAMPLEevent" + id
	}
	payload, err := json.Marshal(map[string]any{
		"schema": "2.0",
		"header": map[string]any{"event_id": p.EventID, "token": "", "create_time": "1800000000000000", "event_type": "card.action.trigger", "tenant_key": "EXAMPLE", "app_id": FeishuAppID},
		"event": map[string]any{
			"operator": map[string]any{"tenant_key": cmp.Or(p.Tenant, "EXAMPLE"), "open_id": p.User}, "token": "c-EXAMPLE", "host": "im_message",
			"action":  map[string]any{"value": value, "tag": tag, "option": p.Option, "timezone": "Asia/Shanghai"},
			"context": map[string]any{"open_message_id": p.Message, "open_chat_id": to},
		},
	})
	if err != nil {
		return "", "", err
	}
	n := max(p.Frames, 1)
	for i := range n {
		part := payload[i*len(payload)/n : (i+1)*len(payload)/n]
		h := map[string]string{"type": "event", "message_id": id, "trace_id": "EXAMPLE", "sum": strconv.Itoa(n), "seq": strconv.Itoa(i), "timestamp": "1800000000000"}
		if err := c.binary(encodeFrame(frameOf{service: 33, method: 1, headers: h, payload: part})); err != nil {
			return "", "", err
		}
	}
	t := time.NewTimer(s.opt.AckTimeout)
	defer t.Stop()
	select {
	case raw := <-ack:
		var out struct {
			Code int
			Data []byte
		}
		if err := json.Unmarshal(raw, &out); err != nil || out.Code != http.StatusOK {
			return "", "", fmt.Errorf("chattest: answered %s", raw)
		}
		var r struct {
			Toast struct{ Type, Content string }
		}
		if len(out.Data) > 0 {
			err = json.Unmarshal(out.Data, &r)
		}
		return r.Toast.Type, r.Toast.Content, err
	case <-t.C:
		return "", "", ErrNotAcked
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
}

// frameOf is a frame of the long connection: pbbp2.Frame of the platform.
type frameOf struct {
	service, method uint64
	headers         map[string]string
	payload         []byte
}

func encodeFrame(f frameOf) []byte {
	var b []byte
	for n, v := range map[protowire.Number]uint64{1: 7, 2: 7, 3: f.service, 4: f.method} {
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	for k, v := range f.headers {
		x := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), k)
		x = protowire.AppendString(protowire.AppendTag(x, 2, protowire.BytesType), v)
		b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), x)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, 8, protowire.BytesType), f.payload)
}

// decodeFrame reads a frame; of one that makes no sense, what was read.
func decodeFrame(b []byte) frameOf {
	f := frameOf{headers: map[string]string{}}
	for len(b) > 0 {
		n, typ, l := protowire.ConsumeTag(b)
		if l < 0 {
			return f
		}
		b = b[l:]
		switch typ {
		case protowire.VarintType:
			v, l := protowire.ConsumeVarint(b)
			if l < 0 {
				return f
			}
			switch n {
			case 3:
				f.service = v
			case 4:
				f.method = v
			}
			b = b[l:]
		case protowire.BytesType:
			v, l := protowire.ConsumeBytes(b)
			if l < 0 {
				return f
			}
			switch n {
			case 5:
				var kv [3]string
				for len(v) > 0 {
					k, _, m := protowire.ConsumeTag(v)
					if m < 0 {
						return f
					}
					s, w := protowire.ConsumeBytes(v[m:])
					if w < 0 {
						return f
					}
					if k < 3 {
						kv[k] = string(s)
					}
					v = v[m+w:]
				}
				f.headers[kv[1]] = kv[2]
			case 8:
				f.payload = slices.Clone(v)
			}
			b = b[l:]
		default:
			return f
		}
	}
	return f
}
