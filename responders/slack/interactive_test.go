package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
)

// clicking is a posted message with buttons and a running Listener.
type clicking struct {
	s   *chattest.Server
	l   *Listener
	ref responders.MessageRef
	ctx context.Context
	end func() error // stops the Listener and returns what Run returned
}

func startClicking(t *testing.T, opt chattest.Options, h responders.Presser) *clicking {
	t.Helper()
	opt.Unlimited, opt.AckTimeout = true, 30*time.Second // machines are slow
	s := server(t, opt)
	cfg := config(s)
	cfg.AppToken = chattest.DefaultAppToken
	l, err := NewListener(cfg, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := mustPost(t, notifier(t, cfg), sample())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	run, stop := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() { result <- l.Run(run) }()
	end := sync.OnceValue(func() error { stop(); return <-result })
	t.Cleanup(func() { _ = end(); cancel() })
	if err := s.WaitConnected(ctx, 1); err != nil {
		t.Fatal(err)
	}
	return &clicking{s: s, l: l, ref: ref, ctx: ctx, end: end}
}

func (c *clicking) spec(action string) chattest.ClickSpec {
	return chattest.ClickSpec{User: "U0EXAMPLE1", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: action}
}

// eventually polls, for things that happen after an acknowledgement.
func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

func TestClick(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) {
		clicks <- c
		return "approved <!channel>", nil
	})
	if _, err := c.s.Click(c.ctx, c.spec(ActionContain)); err != nil {
		t.Fatal(err)
	}
	got := <-clicks
	if want := (responders.Press{By: "slack:U0EXAMPLE1", Do: responders.PressApprove, AlertID: sample().Alert.ID, Ref: "act-1"}); got != want {
		t.Errorf("click %+v, want %+v", got, want)
	}
	eventually(t, c.ctx, "the answer", func() bool { return len(c.s.Ephemerals()) == 1 })
	if e := c.s.Ephemerals()[0]; e.User != "U0EXAMPLE1" || e.Channel != c.ref.Channel || e.Text != "approved &lt;!channel&gt;" {
		t.Errorf("answer %+v", e)
	}
	eventually(t, c.ctx, "the hello", c.l.Connected)
	if err := c.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if c.l.Connected() {
		t.Error("connected after the end")
	}
}

// Who sits in a channel that is shared with another company presses for nothing, whatever
// it is; it is recorded who it was.
func TestClickFromAnotherWorkspace(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) {
		clicks <- c
		return "", nil
	})
	c.s.Script("auth.test", chattest.Refuse("internal_error")) // the first click counts for nothing, whoever it is
	for _, x := range []struct{ team, by, unclear string }{
		{"", "slack:U0EXAMPLE1", "Slack did not say which workspace is ours"},
		{"T0EXAMPLE99", "slack:T0EXAMPLE99/U0EXAMPLE1", "it comes from another workspace"},
		{"", "slack:U0EXAMPLE1", ""},
	} {
		spec := c.spec(ActionMute)
		spec.Team, spec.Choose = x.team, sample().Alert.ID+"|8h"
		if _, err := c.s.Click(c.ctx, spec); err != nil {
			t.Fatal(err)
		}
		if got := <-clicks; got.By != x.by || got.Unclear != x.unclear {
			t.Errorf("workspace %q: %+v", x.team, got)
		}
	}
}

// Menus say which alert, what was chosen, and whom.
func TestMenus(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) {
		clicks <- c
		return "", nil
	})
	id := sample().Alert.ID
	for _, x := range []struct {
		action, choose string
		want           responders.Press
	}{
		{ActionMute, id + "|8h", responders.Press{Do: responders.PressMute, AlertID: id, Choice: "8h"}},
		{ActionClose, id + "|false_positive", responders.Press{Do: responders.PressClose, AlertID: id, Choice: "false_positive"}},
		{ActionAssign, "U0EXAMPLE9", responders.Press{Do: responders.PressAssign, AlertID: id, Person: "slack:U0EXAMPLE9"}},
		{ActionMore, id + "|replay", responders.Press{Do: responders.PressReplay, AlertID: id}},
		{ActionMore, id + "|copy", responders.Press{Do: responders.PressCopy, AlertID: id}},
	} {
		spec := c.spec(x.action)
		spec.Choose = x.choose
		if _, err := c.s.Click(c.ctx, spec); err != nil {
			t.Fatal(err)
		}
		got := <-clicks
		x.want.By = "slack:U0EXAMPLE1"
		if got != x.want {
			t.Errorf("%s: %+v, want %+v", x.action, got, x.want)
		}
	}
	// What a modified client sends without a choice is nothing.
	spec := c.spec(ActionMute)
	spec.Forge, spec.Value = true, id
	if _, err := c.s.Click(c.ctx, spec); err != nil {
		t.Fatal(err)
	}
	if _, err := c.s.Click(c.ctx, c.spec(ActionAcknowledge)); err != nil {
		t.Fatal(err)
	}
	if got := <-clicks; got.Do != responders.PressAcknowledge {
		t.Errorf("a choice of nothing came through: %+v", got)
	}
}

func TestAckComesBeforeTheWork(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	c := startClicking(t, chattest.Options{}, func(ctx context.Context, _ responders.Press) (string, error) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return "", nil
	})
	// Click returns when the acknowledgement is there, while the work hangs.
	if _, err := c.s.Click(c.ctx, c.spec(ActionAcknowledge)); err != nil {
		t.Fatal(err)
	}
	<-entered
	close(release)
}

// With too many waiting, a click is not acknowledged, so that Slack tells the
// person; pressed again when there is room, it counts. None is lost unsaid.
func TestTooManyClicks(t *testing.T) {
	release := make(chan struct{})
	var served atomic.Int64
	c := startClicking(t, chattest.Options{}, func(ctx context.Context, _ responders.Press) (string, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		served.Add(1)
		return "", nil
	})
	click := func(ctx context.Context, n int) error {
		spec := c.spec(ActionAcknowledge)
		spec.ActionTS = fmt.Sprintf("1800000000.%06d", n)
		_, err := c.s.Click(ctx, spec)
		return err
	}
	// The handlers take some of them out of the queue, sooner or later.
	n := 0
	for ; c.l.Stats().Refused == 0; n++ {
		ctx, cancel := context.WithCancel(c.ctx)
		done := make(chan error, 1)
		go func() { done <- click(ctx, n) }()
		eventually(t, c.ctx, "an acknowledgement or none", func() bool { return len(done) > 0 || c.l.Stats().Refused > 0 })
		cancel()
		if err := <-done; err != nil && c.l.Stats().Refused == 0 {
			t.Fatal(err)
		}
	}
	n--
	if n < maxQueued || n > maxQueued+maxHandlers {
		t.Errorf("refused after %d", n)
	}
	close(release)
	eventually(t, c.ctx, "those that were acknowledged", func() bool { return served.Load() == int64(n) })
	if err := click(c.ctx, n); err != nil {
		t.Fatal(err)
	}
	eventually(t, c.ctx, "the refused one, pressed again", func() bool { return served.Load() == int64(n+1) })
}

func TestRepeatsAreOneClick(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) { clicks <- c; return "", nil })
	spec := c.spec(ActionContain)
	spec.ActionTS = "1800000000.000001"
	id, err := c.s.Click(c.ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.s.Redeliver(c.ctx, id); err != nil { // same envelope
		t.Fatal(err)
	}
	if _, err := c.s.Click(c.ctx, spec); err != nil { // another envelope, same click
		t.Fatal(err)
	}
	if _, err := c.s.Click(c.ctx, c.spec(ActionContain)); err != nil { // pressed again
		t.Fatal(err)
	}
	eventually(t, c.ctx, "two clicks", func() bool { return c.l.Stats().Clicks == 2 })
	<-clicks
	<-clicks
	if got := c.l.Stats(); got.Repeats != 2 || len(clicks) != 0 {
		t.Errorf("stats %+v, %d more clicks", got, len(clicks))
	}
	if c.s.Acks(id) != 2 {
		t.Errorf("%d acknowledgements of 2 deliveries", c.s.Acks(id))
	}
}

func TestForgedAndForeignClicks(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) { clicks <- c; return "", nil })
	for _, spec := range []chattest.ClickSpec{
		{User: "U1", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: "another_app", Forge: true, Value: "x"},
		{User: "U1", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: ActionContain, Forge: true, Value: ""},
		{User: "U1", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: ActionContain, Forge: true, Value: strings.Repeat("x", 2000)},
		{User: "", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: ActionContain, Forge: true, Value: "x"},
	} {
		if _, err := c.s.Click(c.ctx, spec); err != nil { // acknowledged all the same
			t.Errorf("%+v: %v", spec, err)
		}
	}
	c.s.SendRaw(`{"type":"interactive","envelope_id":"e","payload":"nonsense"}`)
	c.s.SendRaw(`}{`)
	c.s.SendRaw(`{"type":"something_new","envelope_id":"e2"}`)
	if _, err := c.s.Click(c.ctx, chattest.ClickSpec{User: "U2", Channel: c.ref.Channel, TS: c.ref.ID, ActionID: ActionUndo, Forge: true, Value: "a\u202e\nb"}); err != nil {
		t.Fatal(err)
	}
	if got := <-clicks; got.By != "slack:U2" || got.AlertID != "a b" {
		t.Errorf("click %+v: only the last is one, cleaned", got)
	}
}

func TestReconnects(t *testing.T) {
	clicks := make(chan responders.Press, 10)
	c := startClicking(t, chattest.Options{PingInterval: 50 * time.Millisecond}, func(_ context.Context, c responders.Press) (string, error) { clicks <- c; return "", nil })
	opened := 1
	for name, disturb := range map[string]func(){
		"refresh": c.s.Refresh,
		"cut":     c.s.DropConnections,
		"failing open": func() {
			c.s.Script("apps.connections.open", chattest.Status(503), chattest.TooMany(0), chattest.Garbage("}{"))
			c.s.DropConnections()
		},
	} {
		disturb()
		opened++
		if err := c.s.WaitOpened(c.ctx, opened); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := c.s.Click(c.ctx, c.spec(ActionContain)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-clicks
	}
}

func TestHandlerErrorsAndPanics(t *testing.T) {
	c := startClicking(t, chattest.Options{}, func(_ context.Context, c responders.Press) (string, error) {
		if c.Do == responders.PressAcknowledge {
			panic("boom")
		}
		return "", errors.New("you may not approve\n<@U1>")
	})
	if _, err := c.s.Click(c.ctx, c.spec(ActionContain)); err != nil {
		t.Fatal(err)
	}
	eventually(t, c.ctx, "the first answer", func() bool { return len(c.s.Ephemerals()) == 1 })
	if _, err := c.s.Click(c.ctx, c.spec(ActionAcknowledge)); err != nil {
		t.Fatal(err)
	}
	eventually(t, c.ctx, "the second answer", func() bool { return len(c.s.Ephemerals()) == 2 })
	es := c.s.Ephemerals()
	if want := "That did not work: you may not approve &lt;@U1&gt;"; es[0].Text != want {
		t.Errorf("answer %q, want %q", es[0].Text, want)
	}
	if !strings.Contains(es[1].Text, "internal error") || strings.Contains(es[1].Text, "boom") {
		t.Errorf("answer to a panic %q", es[1].Text)
	}
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

func TestWrongAppTokenEndsRun(t *testing.T) {
	s := server(t, chattest.Options{})
	cfg := config(s)
	cfg.AppToken = "xapp-EXAMPLE-wrong"
	l, err := NewListener(cfg, func(context.Context, responders.Press) (string, error) { return "", nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Run(context.Background())
	if outcome(err) != "final" || !strings.Contains(err.Error(), "invalid_auth") || strings.Contains(err.Error(), cfg.AppToken) {
		t.Errorf("%s: %v", outcome(err), err)
	}
}

func TestPlaintextSocketRefused(t *testing.T) {
	l := &Listener{cfg: Config{}.withDefaults()}
	proxy := l.dialer().Proxy
	for url, refused := range map[string]bool{
		"ws://127.0.0.1:1/": false, "http://localhost/": false, "https://wss-primary.slack.com/": false, "ws://wss-primary.slack.com/": true, "http://192.0.2.1/": true,
	} {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proxy(req); (err != nil) != refused {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestNewListenerNeedsToken(t *testing.T) {
	if _, err := NewListener(Config{Token: "xoxb-EXAMPLE", Channel: "C0123456789"}, func(context.Context, responders.Press) (string, error) { return "", nil }, nil); err == nil || !strings.Contains(err.Error(), "connections:write") {
		t.Errorf("%v", err)
	}
	if _, err := NewListener(Config{Token: "xoxb-EXAMPLE", AppToken: "xapp-EXAMPLE", Channel: "C0123456789"}, nil, nil); err == nil {
		t.Error("a Listener without a Presser")
	}
}

// FuzzClick: any payload is parsed to bounded, clean clicks or none.
func FuzzClick(f *testing.F) {
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U1"},"container":{"message_ts":"1.2","channel_id":"C1"},"actions":[{"type":"button","action_id":"tw_contain","block_id":"b","value":"id","action_ts":"1800000000.5"}]}`))
	f.Add([]byte(`{"type":"block_actions","actions":[{"action_id":"tw_undo","block_id":"b","action_ts":"-1.x"}]}`))
	f.Add([]byte(`{"type":"view_submission"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var cb slackapi.InteractionCallback
		if json.Unmarshal(data, &cb) != nil {
			return
		}
		for _, c := range parse(cb) {
			if c.user == "" || c.By != "slack:"+c.user || c.AlertID == "" || c.Do == "" || len(c.AlertID) > 3*maxClickField || strings.ContainsAny(c.By+c.AlertID+c.Ref+c.Hash+c.Choice+c.Person+c.channel+c.ts, "\n\x00\x1b") {
				t.Fatalf("click %+v", c)
			}
		}
	})
}
