package dingtalk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/listen"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// listener hears of presses in Stream mode: it asks for an endpoint and a ticket
// and opens a WebSocket, so that no inbound address is needed.
//
// The platform's SDK is not linked: its client cannot be stopped, writes to one
// connection from several goroutines at once, retries for ever where the app is
// refused, and tells this host's address in its network.
type listener struct {
	spec Spec
	desk listen.Desk
	log  *slog.Logger
	post *wire.Poster
	seen listen.Once // message ids
	sure confirmed
	now  func() time.Time
}

// Limits of a listener.
const (
	topicCard  = "/v1.0/card/instances/callback"
	frameLimit = 1 << 20 // bytes
	maxPresses = 8       // at the same time
	pingEvery  = 30 * time.Second
	silentFor  = 90 * time.Second // a connection that says nothing for so long is dead
	sureWithin = time.Minute
	maxSure    = 256 // presses that wait for the second
)

// replyWithin leaves room in the two seconds that the platform waits; surePause is how
// soon after the first press a second one may come from the same double click.
// Only tests change them.
var (
	replyWithin = 1500 * time.Millisecond
	surePause   = time.Second
)

func newListener(s Spec, p responders.Presser, log *slog.Logger) *listener {
	s = s.filled()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("destination", s.Name)
	return &listener{spec: s, log: log, now: time.Now,
		desk: listen.Desk{Press: p, Log: log, Words: message.For(message.Language(s.Language), s.Location()), Within: replyWithin},
		post: wire.NewPoster("dingtalk", s.Name, wire.NewLimiter(1, 5, time.Minute), s.CallTimeout())}
}

// run listens until ctx ends, connecting again by itself, and returns nil then.
func (l *listener) run(ctx context.Context) error {
	defer l.post.Close()
	defer l.desk.Wait()
	return listen.Keep(ctx, l.log, l.connect)
}

// open asks where to connect. The ticket in the address is good for one connection
// within 90 seconds.
func (l *listener) open(ctx context.Context) (address string, err error) {
	const method = "gateway/connections/open"
	var out struct{ Endpoint, Ticket string }
	err = send(ctx, l.post, http.MethodPost, method, l.spec.APIURL+"/v1.0/"+method, nil, map[string]any{
		"clientId": l.spec.ClientID, "clientSecret": l.spec.ClientSecret.Reveal(), "ua": "trailwarden",
		"subscriptions": []map[string]string{{"type": "CALLBACK", "topic": topicCard}},
	}, &out)
	if errors.Is(err, errToken) { // none was sent: it is the app that is not accepted
		err = l.post.Fail(method, nil, errors.New("refused"), "401", hints[codeClient])
	}
	if err != nil {
		return "", refusing(err)
	}
	if out.Endpoint == "" || out.Ticket == "" {
		return "", l.post.NoSense(method)
	}
	return out.Endpoint + "?ticket=" + url.QueryEscape(out.Ticket), nil
}

// frame is what the platform sends; Data is JSON in a string.
type frame struct {
	Type    string            `json:"type"` // SYSTEM, CALLBACK
	Headers map[string]string `json:"headers"`
	Data    string            `json:"data"`
}

// answer is what it gets back.
type answer struct {
	Code    int               `json:"code"`
	Headers map[string]string `json:"headers"`
	Message string            `json:"message"`
	Data    string            `json:"data"`
}

func (l *listener) connect(ctx context.Context) error {
	address, err := l.open(ctx)
	if err != nil {
		return err
	}
	conn, err := listen.Dial(ctx, address, l.spec.CallTimeout(), frameLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	running, ctx := ctx, conn.Context() // what a person asked for is not taken back by a broken line
	write := func(f frame, data string, code int) {
		b, _ := json.Marshal(answer{Code: code, Message: http.StatusText(code), Data: data, Headers: map[string]string{"messageId": f.Headers["messageId"], "contentType": "application/json"}})
		if err := conn.Send(websocket.TextMessage, b); err != nil && ctx.Err() == nil {
			l.log.Warn("an answer could not be sent", "err", err)
		}
	}
	conn.Every(pingEvery, func() error { return conn.Send(websocket.PingMessage, nil) })
	l.log.Info("listening for presses of buttons")
	room := make(chan struct{}, maxPresses)
	var answering sync.WaitGroup
	for {
		kind, raw, err := conn.Read(silentFor)
		if err != nil {
			return err
		}
		var f frame
		if kind != websocket.TextMessage || json.Unmarshal(raw, &f) != nil {
			l.log.Warn("a message that makes no sense was ignored")
			continue
		}
		switch topic := f.Headers["topic"]; {
		case f.Type == "SYSTEM" && topic == "ping":
			write(f, f.Data, http.StatusOK)
		case f.Type == "SYSTEM" && topic == "disconnect":
			answering.Wait() // it is still open for ten seconds
			return listen.ErrMoved
		case f.Type == "CALLBACK" && topic == topicCard:
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			answering.Add(1)
			conn.Go(func() {
				defer answering.Done()
				defer func() { <-room }()
				write(f, l.hear(running, f), http.StatusOK)
			})
		case f.Type != "SYSTEM":
			write(f, "{}", http.StatusNotFound) // we asked for nothing else
		}
	}
}

// hear has done what a press asks for, and returns the answer: what the person is
// shown, on their card alone. It changes nothing that everybody sees: that is for
// the dispatcher's edits, which an answer must not overtake.
func (l *listener) hear(ctx context.Context, f frame) string {
	reply := func(said string) string {
		var response any = map[string]any{}
		if said != "" {
			response = map[string]any{
				"cardUpdateOptions": map[string]bool{"updateCardDataByKey": true, "updatePrivateDataByKey": true},
				"userPrivateData":   map[string]any{"cardParamMap": map[string]string{varReply: fit([]string{said})}},
			}
		}
		b, err := json.Marshal(map[string]any{"response": response})
		if err != nil {
			return "{}"
		}
		return string(b)
	}
	if id := f.Headers["messageId"]; id != "" && !l.seen.First(id) {
		return reply("") // sent twice
	}
	p := l.read(f.Data)
	if p.Unclear == "" && (p.Do == responders.PressApprove || p.Do == responders.PressUndo) && !l.sure.second(p, l.now()) {
		return reply(l.desk.Words.Replies.Again)
	}
	said, _ := l.desk.Do(ctx, p)
	return reply(said)
}

// callback is a press as the platform sends it.
type callback struct {
	Type       string `json:"type"`
	OutTrackID string `json:"outTrackId"`
	CorpID     string `json:"corpId"`
	UserID     string `json:"userId"`
	UserIDType *int   `json:"userIdType"`
	Content    string `json:"content"` // JSON
}

type content struct {
	CardPrivateData struct {
		ActionIDs []string                   `json:"actionIds"`
		Params    map[string]json.RawMessage `json:"params"`
	} `json:"cardPrivateData"`
}

var (
	hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	refForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	// The platform may number a component's id.
	numbered = regexp.MustCompile(`_?[0-9]+$`)
)

// read takes one of our buttons out of a callback. What is not exactly one of them
// is Unclear: it is refused and recorded, and never guessed.
func (l *listener) read(data string) responders.Press {
	var c callback
	p := responders.Press{}
	unclear := func(format string, args ...any) responders.Press {
		p.Unclear = fmt.Sprintf(format, args...)
		return p
	}
	if json.Unmarshal([]byte(data), &c) != nil {
		return unclear("it is no callback of a card")
	}
	p.By = personPrefix + text.Cut(text.Line(c.UserID), 64)
	incident, ours := incidentOf(c.OutTrackID)
	p.AlertID = incident
	var in content
	switch {
	case c.Type != "actionCallback":
		return unclear("it is no press: type %q", text.Cut(text.Line(c.Type), 40))
	case !userID.MatchString(c.UserID) || c.UserIDType != nil && *c.UserIDType != 1:
		return unclear("it does not say who pressed")
	case c.CorpID != l.spec.CorpID:
		p.By = personPrefix + text.Cut(text.Line(c.CorpID), 64) + "/" + text.Cut(text.Line(c.UserID), 64)
		return unclear("it comes from another organisation")
	case !ours:
		return unclear("the card is none of ours")
	case json.Unmarshal([]byte(c.Content), &in) != nil:
		return unclear("what was pressed cannot be read")
	case len(in.CardPrivateData.ActionIDs) != 1:
		return unclear("%d buttons at once", len(in.CardPrivateData.ActionIDs))
	}
	params := map[string]string{}
	for _, k := range []string{"do", "ref", "hash", "choice"} {
		raw, ok := in.CardPrivateData.Params[k]
		if !ok {
			continue
		}
		var v string
		if json.Unmarshal(raw, &v) != nil || len(v) > 128 {
			return unclear("its parameter %s cannot be read", k)
		}
		params[k] = v
	}
	p.Do, p.Ref, p.Hash, p.Choice = params["do"], params["ref"], params["hash"], params["choice"]
	ok := p.Ref == "" || refForm.MatchString(p.Ref)
	switch p.Do {
	case responders.PressAcknowledge, responders.PressAsk, responders.PressReopen:
		ok = ok && p.Ref == "" && p.Hash == "" && p.Choice == ""
	case responders.PressApprove, responders.PressDeny, responders.PressUndo:
		ok = ok && p.Ref != "" && hashForm.MatchString(p.Hash) && p.Choice == ""
	case responders.PressYes, responders.PressNo:
		ok = ok && p.Ref != "" && p.Hash == "" && p.Choice == ""
	case responders.PressMute:
		ok = ok && p.Ref == "" && slices.Contains(muteFor[:], p.Choice)
	case responders.PressClose:
		ok = ok && p.Ref == "" && slices.Contains(verdicts[:], responders.TriageVerdict(p.Choice))
	default:
		do := p.Do
		p.Do = ""
		return unclear("unknown button %q", text.Cut(text.Line(do), 40))
	}
	if !ok {
		return unclear("the button %s does not say what it is about", p.Do)
	}
	if id, want := in.CardPrivateData.ActionIDs[0], actionID(p.Do, p.Choice); id != want && numbered.ReplaceAllString(id, "") != want {
		return unclear("the button is called %q and asks for %s: two buttons of the template are mixed up", text.Cut(text.Line(id), 40), want)
	}
	return p
}

// confirmed are presses that wait for the second: a card cannot ask "are you
// sure?". With several replicas a press may reach another, which asks once more.
type confirmed struct {
	mu    sync.Mutex
	first map[responders.Press]time.Time
}

// second says whether the same person pressed the same button within a minute, and
// not in the same double click: that was before anybody could read the question.
func (c *confirmed) second(p responders.Press, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.first[p]; ok && now.Sub(at) < surePause {
		return false
	} else if ok && now.Sub(at) < sureWithin {
		delete(c.first, p)
		return true
	}
	for k, at := range c.first {
		if now.Sub(at) >= sureWithin {
			delete(c.first, k)
		}
	}
	if c.first == nil || len(c.first) >= maxSure {
		c.first = map[responders.Press]time.Time{}
	}
	c.first[p] = now
	return false
}
