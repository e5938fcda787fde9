package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
	slackapi "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/listen"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// click is one press of a button, and where.
type click struct {
	responders.Press

	user     string // "U…"
	team     string // the person's workspace, "T…"
	action   string // the button
	channel  string
	ts       string // the message
	actionTS string
}

// Limits of a Listener.
const (
	maxHandlers = 8   // clicks handled at the same time
	maxQueued   = 256 // acknowledged clicks waiting; more are not acknowledged, which Slack shows
	readLimit   = 1 << 20
)

// Listener receives the clicks of one workspace over Socket Mode.
type Listener struct {
	cfg     Config
	handle  responders.Presser
	log     *slog.Logger
	http    *http.Client
	api     *slackapi.Client
	seen    listen.Once            // envelopes and clicks
	team    atomic.Pointer[string] // the app's workspace, "" in an organisation of several; nil until asked
	online  atomic.Bool
	clicks  atomic.Uint64
	repeats atomic.Uint64
	refused atomic.Uint64
}

// NewListener returns a Listener, or what is wrong with cfg. A nil log is silent.
func NewListener(cfg Config, handle responders.Presser, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	switch {
	case cfg.AppToken == "":
		return nil, fmt.Errorf("slack destination %q: buttons need app_token: create an app-level token (xapp-…) with the scope connections:write", cfg.Name)
	case handle == nil:
		return nil, errors.New("slack: a Listener without a Presser")
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
	Clicks  uint64 // handed to the Presser
	Repeats uint64 // delivered again, acknowledged and dropped
	Refused uint64 // turned away because too many were waiting
}

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{Clicks: l.clicks.Load(), Repeats: l.repeats.Load(), Refused: l.refused.Load()}
}

// Run listens until ctx ends, reconnecting by itself, and returns nil then. An
// error is final: Slack refuses the app token. It returns after all calls of
// the Presser have returned.
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

	queue := make(chan click, maxQueued)
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

func (l *Listener) event(ctx context.Context, client *socketmode.Client, ev socketmode.Event, queue chan<- click) {
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
	var clicks []click
	if callback, ok := ev.Data.(slackapi.InteractionCallback); ok && ev.Type == socketmode.EventTypeInteractive {
		clicks = parse(callback)
	}
	if len(queue)+len(clicks) > cap(queue) && !l.seen.Met("envelope", ev.Request.EnvelopeID) {
		// Without an acknowledgement Slack tells the person that it failed, which it
		// did; nothing of it is remembered, so pressing again, or the same once more, counts.
		l.refused.Add(1)
		l.log.Error("too many clicks are waiting, one was refused", "alert_id", clicks[0].AlertID, "user", clicks[0].user, "action", clicks[0].Do)
		return
	}
	// Everything else with an envelope is acknowledged first: after three seconds
	// the person is told that it failed.
	if err := client.AckCtx(ctx, ev.Request.EnvelopeID, nil); err != nil {
		l.log.Warn("a click could not be acknowledged", "err", err)
	}
	if len(clicks) == 0 {
		return
	}
	if !l.seen.First("envelope", ev.Request.EnvelopeID) {
		l.repeats.Add(1)
		return
	}
	for _, c := range clicks {
		if !l.seen.First("click", c.actionTS, c.user, c.action, c.channel, c.ts) {
			l.repeats.Add(1)
			continue
		}
		queue <- c // there is room: nobody else puts anything in
		l.clicks.Add(1)
	}
}

// maxClickField bounds each text of a click; Slack's ids are far shorter.
const maxClickField = 255

// does says what each of our buttons asks for.
var does = map[string]string{
	ActionAcknowledge: responders.PressAcknowledge, ActionContain: responders.PressApprove, ActionDeny: responders.PressDeny, ActionUndo: responders.PressUndo,
	ActionReopen: responders.PressReopen, ActionAssign: responders.PressAssign, ActionMute: responders.PressMute, ActionClose: responders.PressClose,
	ActionAsk: responders.PressAsk, ActionYes: responders.PressYes, ActionNo: responders.PressNo, ActionMore: "",
}

// parse takes our buttons out of a callback. Fields are one line of bounded
// length; a click without a user, an alert or a known action is none.
func parse(cb slackapi.InteractionCallback) []click {
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
	var out []click
	for _, a := range cb.ActionCallback.BlockActions {
		if a == nil {
			continue
		}
		do, ours := does[a.ActionID]
		if !ours {
			continue
		}
		c := click{user: field(cb.User.ID), action: a.ActionID, channel: field(channel), ts: field(cb.Container.MessageTs), actionTS: field(a.ActionTs),
			Press: responders.Press{Do: do, AlertID: field(part(a.Value, 0)), Ref: field(part(a.Value, 1)), Hash: field(part(a.Value, 2))}}
		c.By, c.team = "slack:"+c.user, field(cb.User.TeamID)
		switch a.ActionID {
		case ActionMute, ActionClose, ActionMore:
			c.AlertID, c.Choice = field(part(a.SelectedOption.Value, 0)), field(part(a.SelectedOption.Value, 1))
			if c.Choice == "" {
				continue
			}
			if a.ActionID == ActionMore {
				if c.Do, c.Choice = c.Choice, ""; c.Do != responders.PressReplay && c.Do != responders.PressCopy && c.Do != responders.PressLink {
					continue
				}
			}
		case ActionAssign:
			id, ours := strings.CutPrefix(a.BlockID, blockPrefix)
			if !ours {
				continue
			}
			c.AlertID = field(id)
			if p := field(a.SelectedUser); p != "" {
				c.Person = "slack:" + p
			}
		}
		if c.user != "" && c.AlertID != "" {
			out = append(out, c)
		}
	}
	return out
}

// serve has done what one click asks for and shows its answer to the person.
func (l *Listener) serve(ctx context.Context, c click) {
	w := l.cfg.words()
	switch stranger, err := l.stranger(ctx, c); {
	case err != nil:
		c.Unclear = "Slack did not say which workspace is ours"
		l.log.Warn("it is not known whose workspace a click comes from", "alert_id", c.AlertID, "user", c.user, "err", classify(l.cfg.Name, "auth.test", err))
	case stranger:
		c.By, c.Unclear = "slack:"+c.team+"/"+c.user, "it comes from another workspace"
	}
	reply, err := l.call(ctx, c)
	if err != nil {
		l.log.Warn("a click was not done", "alert_id", c.AlertID, "user", c.user, "action", c.Do, "err", err)
		reply = w.Failed(err)
	}
	if reply == "" || c.channel == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	_, err = l.api.PostEphemeralContext(ctx, c.channel, c.user,
		slackapi.MsgOptionText(text.Mrkdwn(reply, budgetText), false), slackapi.MsgOptionParse(false), slackapi.MsgOptionDisableMarkdown(),
		slackapi.MsgOptionDisableLinkUnfurl(), slackapi.MsgOptionDisableMediaUnfurl())
	if err != nil {
		l.log.Warn("the answer to a click could not be shown", "alert_id", c.AlertID, "user", c.user, "err", classify(l.cfg.Name, "chat.postEphemeral", err))
	}
}

// stranger says that somebody of another workspace pressed, who sits in a channel that is
// shared with it (Slack Connect). Workspaces of one organisation share their people.
// Where Slack does not say which workspace is ours, nobody's click counts, and it is
// asked again at the next one.
func (l *Listener) stranger(ctx context.Context, c click) (bool, error) {
	ours := l.team.Load()
	if ours == nil {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
		defer cancel()
		who, err := l.api.AuthTestContext(ctx)
		if err != nil {
			return false, err
		}
		if ours = &who.TeamID; who.EnterpriseID != "" {
			*ours = ""
		}
		l.team.Store(ours)
	}
	return *ours != "" && c.team != "" && c.team != *ours, nil
}

// call keeps a panic of the Presser from ending the process: a click is input
// from outside.
func (l *Listener) call(ctx context.Context, c click) (reply string, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("panic while handling a click", "alert_id", c.AlertID, "action", c.Do, "panic", p, "stack", string(debug.Stack()))
			reply, err = "", errors.New(l.cfg.words().Unavailable)
		}
	}()
	return l.handle(ctx, c.Press)
}

// part is one of the parts of a button's value: "alert|action|hash".
func part(value string, i int) string {
	if ps := strings.SplitN(value, "|", 3); i < len(ps) {
		return ps[i]
	}
	return ""
}
