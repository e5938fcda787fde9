package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	slackapi "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Click is one press of a button.
type Click struct {
	// UserID is who pressed, as Slack says ("U…"). Whether that person may do
	// what the button asks for is for the Handler to decide.
	UserID   string
	ActionID string // ActionAcknowledge, ActionContain or ActionUndo
	AlertID  string
	// ActionRef and ActionHash name the action that the button was for, as
	// the person saw it; empty for Acknowledge.
	ActionRef, ActionHash string
	// Choice is what was chosen in a menu, Person whom ("U…").
	Choice, Person string
	Channel        string
	TS             string // the message
	At             time.Time
}

// Handler does what a click asks for. It is called after Slack has its
// acknowledgement, from several goroutines, once per click. reply is shown to
// the person alone, as is err; both are shown as plain text, empty shows nothing.
// ctx ends with Listener.Run.
type Handler func(ctx context.Context, c Click) (reply string, err error)

// Limits of a Listener.
const (
	maxHandlers   = 8    // clicks handled at the same time
	maxQueued     = 256  // acknowledged clicks waiting; more are refused with a note
	maxRemembered = 4096 // clicks remembered to recognise repeats
	readLimit     = 1 << 20
)

// Listener receives the clicks of one workspace over Socket Mode.
type Listener struct {
	cfg     Config
	handle  Handler
	log     *slog.Logger
	http    *http.Client
	api     *slackapi.Client
	seen    recent
	online  atomic.Bool
	clicks  atomic.Uint64
	repeats atomic.Uint64
	refused atomic.Uint64
}

// NewListener returns a Listener, or what is wrong with cfg. A nil log is silent.
func NewListener(cfg Config, handle Handler, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	switch {
	case cfg.AppToken == "":
		return nil, fmt.Errorf("slack destination %q: buttons need app_token: create an app-level token (xapp-…) with the scope connections:write", cfg.Name)
	case handle == nil:
		return nil, errors.New("slack: a Listener without a Handler")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	client := wire.NewClient(cfg.Timeout)
	client.Timeout = cfg.Timeout // apps.connections.open gets no deadline from slack-go
	return &Listener{
		cfg: cfg, handle: handle, log: log.With("destination", cfg.Name), http: client,
		api: slackapi.New(cfg.Token, slackapi.OptionAppLevelToken(cfg.AppToken), slackapi.OptionAPIURL(cfg.APIURL), slackapi.OptionHTTPClient(client)),
	}, nil
}

// Connected says whether clicks would arrive now.
func (l *Listener) Connected() bool { return l.online.Load() }

// ListenerStats counts what a Listener did since it was made.
type ListenerStats struct {
	Clicks  uint64 // handed to the Handler
	Repeats uint64 // delivered again, acknowledged and dropped
	Refused uint64 // turned away because too many were waiting
}

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{Clicks: l.clicks.Load(), Repeats: l.repeats.Load(), Refused: l.refused.Load()}
}

// Run listens until ctx ends, reconnecting by itself, and returns nil then. An
// error is final: Slack refuses the app token. It returns after all Handlers
// have returned.
func (l *Listener) Run(ctx context.Context) error {
	defer l.http.CloseIdleConnections()
	defer l.online.Store(false)
	for {
		err := l.run(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.Canceled):
			// slack-go sometimes reports the end of one connection like
			// this; the context that counts is alive.
			continue
		default:
			return classify(l.cfg.Name, "apps.connections.open", err)
		}
	}
}

func (l *Listener) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	client := socketmode.New(l.api, socketmode.OptionDialer(l.dialer()), socketmode.OptionReadLimit(readLimit))

	queue := make(chan Click, maxQueued)
	var workers, events sync.WaitGroup
	for range maxHandlers {
		workers.Go(func() {
			for c := range queue {
				l.serve(ctx, c)
			}
		})
	}
	events.Go(func() {
		defer close(queue)
		for {
			select {
			case ev := <-client.Events:
				l.event(ctx, client, ev, queue)
			case <-ctx.Done():
				return
			}
		}
	})
	err := client.RunContext(ctx)
	cancel()
	events.Wait()
	workers.Wait()
	return err
}

// dialer refuses to carry clicks in plaintext beyond loopback.
func (l *Listener) dialer() *websocket.Dialer {
	return &websocket.Dialer{
		HandshakeTimeout: l.cfg.Timeout,
		WriteBufferSize:  32 << 10,
		Proxy: func(r *http.Request) (*url.URL, error) {
			if (r.URL.Scheme == "http" || r.URL.Scheme == "ws") && !wire.Loopback(r.URL.Hostname()) {
				return nil, fmt.Errorf("plaintext WebSocket to %s refused", r.URL.Hostname())
			}
			return http.ProxyFromEnvironment(r)
		},
	}
}

func (l *Listener) event(ctx context.Context, client *socketmode.Client, ev socketmode.Event, queue chan<- Click) {
	switch ev.Type {
	case socketmode.EventTypeHello:
		l.online.Store(true)
		l.log.Info("listening for clicks")
	case socketmode.EventTypeConnecting:
		l.online.Store(false)
	case socketmode.EventTypeConnectionError:
		if e, ok := ev.Data.(*slackapi.ConnectionErrorEvent); ok {
			err := classify(l.cfg.Name, "apps.connections.open", e.ErrorObj)
			l.log.Warn("no connection for clicks, trying again", "attempt", e.Attempt, "after", e.Backoff, "err", err)
		}
	case socketmode.EventTypeErrorBadMessage:
		l.log.Warn("a frame that makes no sense was ignored")
	case socketmode.EventTypeErrorWriteFailed:
		l.log.Warn("an acknowledgement could not be sent")
	}
	if ev.Request == nil || ev.Request.EnvelopeID == "" {
		return
	}
	// Everything with an envelope is acknowledged first: after three seconds
	// the person is told that it failed.
	if err := client.AckCtx(ctx, ev.Request.EnvelopeID, nil); err != nil {
		l.log.Warn("a click could not be acknowledged", "err", err)
	}
	callback, ok := ev.Data.(slackapi.InteractionCallback)
	if !ok || ev.Type != socketmode.EventTypeInteractive {
		return
	}
	clicks := parse(callback, time.Now())
	if len(clicks) == 0 {
		return
	}
	if !l.seen.first("envelope", ev.Request.EnvelopeID) {
		l.repeats.Add(1)
		return
	}
	for _, c := range clicks {
		if !l.seen.first("click", c.actionTS, c.UserID, c.ActionID, c.Channel, c.TS) {
			l.repeats.Add(1)
			continue
		}
		select {
		case queue <- c.Click:
			l.clicks.Add(1)
		default:
			l.refused.Add(1)
			l.log.Error("too many clicks are waiting, one was dropped", "alert_id", c.AlertID, "user", c.UserID, "action", c.ActionID)
		}
	}
}

type stampedClick struct {
	Click
	actionTS string
}

// maxClickField bounds each text of a click; Slack's ids are far shorter.
const maxClickField = 255

// parse takes our buttons out of a callback. Fields are one line of bounded
// length; a click without a user, an alert or a known action is none.
func parse(cb slackapi.InteractionCallback, now time.Time) []stampedClick {
	if cb.Type != slackapi.InteractionTypeBlockActions {
		return nil
	}
	field := func(s string) string {
		if len(s) > maxClickField {
			return ""
		}
		return text.Line(s)
	}
	channel := cb.Container.ChannelID
	if channel == "" {
		channel = cb.Channel.ID
	}
	var out []stampedClick
	for _, a := range cb.ActionCallback.BlockActions {
		if a == nil {
			continue
		}
		switch a.ActionID {
		case ActionAcknowledge, ActionContain, ActionUndo, ActionReopen, ActionAssign, ActionMute, ActionClose:
		default:
			continue
		}
		c := stampedClick{actionTS: field(a.ActionTs), Click: Click{
			UserID: field(cb.User.ID), ActionID: a.ActionID, AlertID: field(part(a.Value, 0)), ActionRef: field(part(a.Value, 1)), ActionHash: field(part(a.Value, 2)), Channel: field(channel), TS: field(cb.Container.MessageTs),
			At: parseStamp(a.ActionTs, now),
		}}
		switch a.ActionID {
		case ActionMute, ActionClose:
			c.AlertID, c.Choice = field(part(a.SelectedOption.Value, 0)), field(part(a.SelectedOption.Value, 1))
			if c.Choice == "" {
				continue
			}
		case ActionAssign:
			id, ours := strings.CutPrefix(a.BlockID, blockPrefix)
			if !ours {
				continue
			}
			c.AlertID, c.Person = field(id), field(a.SelectedUser)
		}
		if c.UserID != "" && c.AlertID != "" {
			out = append(out, c)
		}
	}
	return out
}

// parseStamp reads Slack's seconds.micros; what cannot be read is now.
func parseStamp(s string, now time.Time) time.Time {
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return now.UTC()
	}
	micros, err := strconv.ParseInt((frac + "000000")[:6], 10, 64)
	if err != nil || micros < 0 {
		micros = 0
	}
	return time.Unix(n, micros*1000).UTC()
}

// serve runs the Handler for one click and shows its answer to the person.
func (l *Listener) serve(ctx context.Context, c Click) {
	w := l.cfg.words()
	reply, err := l.call(ctx, c)
	if err != nil {
		l.log.Warn("a click was not done", "alert_id", c.AlertID, "user", c.UserID, "action", c.ActionID, "err", err)
		reply = fmt.Sprintf(w.ClickFailed, err)
	}
	if reply == "" || c.Channel == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	_, err = l.api.PostEphemeralContext(ctx, c.Channel, c.UserID,
		slackapi.MsgOptionText(text.Mrkdwn(reply, budgetText), false), slackapi.MsgOptionParse(false), slackapi.MsgOptionDisableMarkdown(),
		slackapi.MsgOptionDisableLinkUnfurl(), slackapi.MsgOptionDisableMediaUnfurl())
	if err != nil {
		l.log.Warn("the answer to a click could not be shown", "alert_id", c.AlertID, "user", c.UserID, "err", classify(l.cfg.Name, "chat.postEphemeral", err))
	}
}

// call keeps a panic of the Handler from ending the process: a click is input
// from outside.
func (l *Listener) call(ctx context.Context, c Click) (reply string, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("panic while handling a click", "alert_id", c.AlertID, "action", c.ActionID, "panic", p, "stack", string(debug.Stack()))
			reply, err = "", errors.New(l.cfg.words().Unavailable)
		}
	}()
	return l.handle(ctx, c)
}

// recent remembers the last keys.
type recent struct {
	mu    sync.Mutex
	set   map[string]bool
	order []string
	next  int
}

// first says whether the key was not seen among the last maxRemembered.
func (r *recent) first(parts ...string) bool {
	key := strings.Join(parts, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil {
		r.set, r.order = map[string]bool{}, make([]string, 0, maxRemembered)
	}
	if r.set[key] {
		return false
	}
	if len(r.order) < maxRemembered {
		r.order = append(r.order, key)
	} else {
		delete(r.set, r.order[r.next])
		r.order[r.next] = key
		r.next = (r.next + 1) % maxRemembered
	}
	r.set[key] = true
	return true
}

// part is one of the parts of a button's value: "alert|action|hash".
func part(value string, i int) string {
	if ps := strings.SplitN(value, "|", 3); i < len(ps) {
		return ps[i]
	}
	return ""
}
