package feishu

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher/callback"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/listen"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// listener hears of presses over the long connection of the open platform: it
// asks for an address and opens a WebSocket to it, so that no inbound address
// is needed.
type listener struct {
	spec Spec
	desk listen.Desk
	log  *slog.Logger
	post *wire.Poster
	seen listen.Once // event ids

	mu    sync.Mutex
	parts map[string][][]byte // of messages in several frames
}

// Limits of a listener.
const (
	maxParts    = 16      // frames of one message
	maxPartial  = 64      // messages that wait for the rest of them
	frameLimit  = 1 << 20 // bytes
	maxPresses  = 8       // at the same time
	toastWithin = 2 * time.Second
	defaultPing = 2 * time.Minute
)

// codeFault are answers for a connection that trying again can mend: busy, and
// an error of the platform's own.
var codeFault = map[int]bool{1: true, 1000040343: true}

// ErrRefused says that the platform refuses the app; trying again is in vain.
var ErrRefused = listen.ErrRefused

func newListener(s Spec, p responders.Presser, log *slog.Logger) *listener {
	if s.APIURL == "" {
		s.APIURL = defaultAPI
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("destination", s.Name)
	return &listener{spec: s, log: log, parts: map[string][][]byte{},
		desk: listen.Desk{Press: p, Log: log, Words: message.For(message.Language(s.Language), s.Location()), Within: toastWithin},
		post: wire.NewPoster("feishu", s.Name, wire.NewLimiter(1, 5, time.Minute), s.CallTimeout())}
}

// run listens until ctx ends, connecting again by itself, and returns nil then.
func (l *listener) run(ctx context.Context) error {
	defer l.post.Close()
	defer l.desk.Wait()
	return listen.Keep(ctx, l.log, l.connect)
}

// endpoint asks where to connect.
func (l *listener) endpoint(ctx context.Context) (address string, ping time.Duration, err error) {
	const method = "callback/ws/endpoint"
	body, err := json.Marshal(map[string]string{"AppID": l.spec.AppID, "AppSecret": l.spec.AppSecret.Reveal()})
	if err != nil {
		return "", 0, err
	}
	raw, err := l.post.JSON(ctx, method, l.spec.APIURL+"/"+method, http.Header{"Locale": {"zh"}}, body)
	if err != nil {
		return "", 0, err
	}
	var out struct {
		Code int
		Msg  string
		Data struct {
			URL          string
			ClientConfig struct{ PingInterval int }
		}
	}
	if json.Unmarshal(raw, &out) != nil || out.Code == 0 && out.Data.URL == "" {
		return "", 0, l.post.NoSense(method)
	}
	if out.Code != 0 {
		err := fmt.Errorf("%s: refused with %d %s", method, out.Code, text.Cut(text.Line(out.Msg), 100))
		if !codeFault[out.Code] {
			err = fmt.Errorf("%w: %w: check app_id and app_secret, and that the app gets events and callbacks by long connection", ErrRefused, err)
		}
		return "", 0, err
	}
	ping = defaultPing
	if s := out.Data.ClientConfig.PingInterval; s > 0 && s < 3600 {
		ping = time.Duration(s) * time.Second
	}
	return out.Data.URL, ping, nil
}

func (l *listener) connect(ctx context.Context) error {
	address, ping, err := l.endpoint(ctx)
	if err != nil {
		return err
	}
	conn, err := listen.Dial(ctx, address, l.spec.CallTimeout(), frameLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	running, ctx := ctx, conn.Context() // what a person asked for is not taken back by a broken line
	u, _ := url.Parse(address)
	service, _ := strconv.ParseInt(u.Query().Get("service_id"), 10, 32)
	write := func(f frame) error { return conn.Send(websocket.BinaryMessage, f.marshal()) }
	conn.Every(ping, func() error {
		return write(frame{Service: int32(service), Method: frameControl, Headers: []header{{"type", "ping"}}}) //nolint:gosec // parsed as 32 bits
	})
	l.log.Info("listening for presses of buttons")
	room := make(chan struct{}, maxPresses)
	for {
		kind, raw, err := conn.Read(3 * ping)
		if err != nil {
			return err
		}
		var f frame
		if kind != websocket.BinaryMessage || f.unmarshal(raw) != nil {
			l.log.Warn("a frame that makes no sense was ignored")
			continue
		}
		if f.Method != frameData || f.get("type") != "event" {
			continue
		}
		payload, whole := l.join(f)
		if !whole {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn.Go(func() {
			defer func() { <-room }()
			began := time.Now()
			data := l.hear(running, payload)
			f.Headers = append(f.Headers, header{"biz_rt", strconv.FormatInt(time.Since(began).Milliseconds(), 10)})
			f.Payload, _ = json.Marshal(map[string]any{"code": http.StatusOK, "headers": nil, "data": data}) // bytes are base64, as the platform wants
			if err := write(f); err != nil && ctx.Err() == nil {
				l.log.Warn("a press could not be acknowledged", "err", err)
			}
		})
	}
}

// join puts a message together that came in several frames.
func (l *listener) join(f frame) ([]byte, bool) {
	sum, _ := strconv.Atoi(f.get("sum"))
	if sum <= 1 {
		return f.Payload, true
	}
	seq, err := strconv.Atoi(f.get("seq"))
	id := f.get("message_id")
	if err != nil || seq < 0 || seq >= sum || sum > maxParts || id == "" {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parts[id] == nil {
		if len(l.parts) >= maxPartial {
			clear(l.parts) // presses whose rest never came
		}
		l.parts[id] = make([][]byte, sum)
	}
	have := l.parts[id]
	if len(have) != sum {
		return nil, false
	}
	have[seq] = f.Payload
	var out []byte
	for _, p := range have {
		if p == nil {
			return nil, false
		}
		out = append(out, p...)
	}
	delete(l.parts, id)
	return out, true
}

// hear has done what an event asks for, and returns what the person is shown.
// The platform waits three seconds; what takes longer is done all the same, and
// the card tells of it.
func (l *listener) hear(ctx context.Context, payload []byte) []byte {
	var ev callback.CardActionTriggerEvent
	if err := json.Unmarshal(payload, &ev); err != nil || ev.EventV2Base == nil || ev.EventV2Base.Header == nil || ev.EventV2Base.Header.EventType != "card.action.trigger" {
		return nil
	}
	if !l.seen.First(ev.EventV2Base.Header.EventID) {
		return nil
	}
	toast, ok := callback.Toast{Type: "info"}, false
	if toast.Content, ok = l.desk.Do(ctx, pressOf(ev.EventV2Base.Header.TenantKey, ev.Event)); !ok {
		toast.Type = "error"
	}
	b, err := json.Marshal(callback.CardActionTriggerResponse{Toast: &toast})
	if err != nil {
		return nil
	}
	return b
}

var openID = regexp.MustCompile(`^ou_[A-Za-z0-9]{6,64}$`)

// pressOf takes one of our buttons out of an event. What is none is Unclear: it is
// refused and recorded, as is who sits in the chat from another organisation than
// the app's.
func pressOf(tenant string, r *callback.CardActionTriggerRequest) responders.Press {
	if r == nil || r.Operator == nil || r.Action == nil {
		return responders.Press{Unclear: "it does not say who pressed what"}
	}
	if !openID.MatchString(r.Operator.OpenID) {
		return responders.Press{By: "feishu:" + text.Cut(text.Line(r.Operator.OpenID), 64), Unclear: "it does not say who pressed"}
	}
	field := func(k string) string {
		s, _ := r.Action.Value[k].(string)
		if len(s) > 255 {
			return ""
		}
		return text.Line(s)
	}
	p := responders.Press{By: "feishu:" + r.Operator.OpenID, Do: field("do"), AlertID: field("alert"), Ref: field("ref"), Hash: field("hash"), Choice: field("choice")}
	if len(r.Action.Option) <= 255 && r.Action.Option != "" {
		p.Choice = text.Line(r.Action.Option)
	}
	if p.Do == "" || p.AlertID == "" {
		p.Unclear = "it is no button of ours"
	}
	if t := r.Operator.TenantKey; t != nil && *t != "" && tenant != "" && *t != tenant {
		p.By, p.Unclear = "feishu:"+text.Cut(text.Line(*t), 64)+"/"+r.Operator.OpenID, "it comes from another organisation"
	}
	return p
}
