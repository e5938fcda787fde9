package chattest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time source that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func start(t *testing.T, opt Options) (*Server, *slack.Client) {
	t.Helper()
	s := New(opt)
	tr := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(tr.CloseIdleConnections)
	t.Cleanup(s.Close)
	return s, slack.New(DefaultBotToken, slack.OptionAppLevelToken(DefaultAppToken), slack.OptionAPIURL(s.APIURL()),
		slack.OptionHTTPClient(&http.Client{Transport: tr, Timeout: 10 * time.Second}))
}

func code(err error) string {
	var e slack.SlackErrorResponse
	if errors.As(err, &e) {
		return e.Err
	}
	return fmt.Sprint(err)
}

func text(s string) slack.MsgOption { return slack.MsgOptionText(s, false) }

func TestPostEditReadBack(t *testing.T) {
	s, api := start(t, Options{Unlimited: true})
	meta := slack.SlackMetadata{EventType: "x", EventPayload: map[string]any{"id": "1"}}
	ch, ts, err := api.PostMessage("#alerts", text("one\nmore"), slack.MsgOptionMetadata(meta), slack.MsgOptionDisableLinkUnfurl())
	if err != nil || ch != DefaultChannel || ts == "" {
		t.Fatalf("post: %q %q %v", ch, ts, err)
	}
	if _, _, err := api.PostMessage(ch, text("reply"), slack.MsgOptionTS(ts)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := api.UpdateMessage(ch, ts, text("two"), slack.MsgOptionMetadata(meta)); err != nil {
		t.Fatal(err)
	}
	ms := s.Messages("alerts")
	if len(ms) != 1 || ms[0].Text != "two" || len(ms[0].Edits) != 1 || ms[0].Edits[0].Text != "one\nmore" || len(ms[0].Replies) != 1 || ms[0].Replies[0].Text != "reply" {
		t.Fatalf("messages: %+v", ms)
	}
	if ms[0].Settings["unfurl_links"] != "false" {
		t.Errorf("settings: %v", ms[0].Settings)
	}
	h, err := api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: ch, IncludeAllMetadata: true})
	if err != nil || len(h.Messages) != 1 || h.Messages[0].Metadata.EventPayload["id"] != "1" || h.Messages[0].ReplyCount != 1 || h.Messages[0].Edited == nil {
		t.Fatalf("history: %+v %v", h, err)
	}
	if h, err := api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: ch}); err != nil || h.Messages[0].Metadata.EventType != "" {
		t.Errorf("metadata without asking for it: %+v %v", h, err)
	}
	r, _, _, err := api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: ch, Timestamp: ts})
	if err != nil || len(r) != 2 || r[1].ThreadTimestamp != ts {
		t.Fatalf("replies: %+v %v", r, err)
	}
	link, err := api.GetPermalink(&slack.PermalinkParameters{Channel: ch, Ts: ts})
	if err != nil || !strings.HasSuffix(link, "/archives/"+ch+"/p"+strings.ReplaceAll(ts, ".", "")) {
		t.Errorf("permalink %q %v", link, err)
	}
	if who, err := api.AuthTest(); err != nil || who.BotID == "" {
		t.Errorf("auth.test: %+v %v", who, err)
	}
}

func TestRefusals(t *testing.T) {
	s, api := start(t, Options{Unlimited: true, Channels: map[string]string{"C0EXAMPLE01": "a", "C0EXAMPLE02": "b", "C0EXAMPLE03": "c"}})
	_, ts, err := api.PostMessage("C0EXAMPLE01", text("x"))
	if err != nil {
		t.Fatal(err)
	}
	s.Archive("b")
	s.Leave("c")
	foreign := s.Inject("a", Content{Text: "other app"})
	post := func(ch string, o ...slack.MsgOption) error { _, _, err := api.PostMessage(ch, o...); return err }
	update := func(ch, ts string) error { _, _, _, err := api.UpdateMessage(ch, ts, text("y")); return err }
	as := func(token string) *slack.Client {
		tr := &http.Transport{DisableKeepAlives: true}
		return slack.New(token, slack.OptionAPIURL(s.APIURL()), slack.OptionHTTPClient(&http.Client{Transport: tr}))
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"unknown channel", post("C0EXAMPLE99", text("x")), "channel_not_found"},
		{"archived", post("C0EXAMPLE02", text("x")), "is_archived"},
		{"not a member", post("C0EXAMPLE03", text("x")), "not_in_channel"},
		{"empty", post("C0EXAMPLE01", text("")), "no_text"},
		{"edit of nothing", update("C0EXAMPLE01", "1.000001"), "message_not_found"},
		{"edit in another channel", update("C0EXAMPLE02", ts), "message_not_found"},
		{"edit by channel name", update("a", ts), "channel_not_found"},
		{"edit of another app's", update("C0EXAMPLE01", foreign), "cant_update_message"},
		{"no token", func() error { _, err := as("").AuthTest(); return err }(), "not_authed"},
		{"wrong token", func() error { _, err := as("xoxb-EXAMPLE-other").AuthTest(); return err }(), "invalid_auth"},
		{"app token", func() error { _, err := as(DefaultAppToken).AuthTest(); return err }(), "not_allowed_token_type"},
		{"unknown method", func() error { _, _, err := api.GetConversations(&slack.GetConversationsParameters{}); return err }(), "unknown_method"},
		{"no such thread", func() error {
			_, _, _, err := api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: "C0EXAMPLE01", Timestamp: "1.0"})
			return err
		}(), "thread_not_found"},
	} {
		if got := code(c.err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	plain := func(n int) *slack.TextBlockObject {
		return slack.NewTextBlockObject("plain_text", strings.Repeat("字", n), false, false)
	}
	sections := func(n, each int) []slack.Block {
		var out []slack.Block
		for range n {
			out = append(out, slack.NewSectionBlock(plain(each), nil, nil))
		}
		return out
	}
	button := func(id, value string, label int) slack.Block {
		return slack.NewActionBlock("", slack.NewButtonBlockElement(id, value, plain(label)))
	}
	fields := func(n, each int) []slack.Block {
		var fs []*slack.TextBlockObject
		for range n {
			fs = append(fs, plain(each))
		}
		return []slack.Block{slack.NewSectionBlock(nil, fs, nil)}
	}
	confirm := func(title, body, yes int) []slack.Block {
		b := slack.NewButtonBlockElement("a", "v", plain(3))
		b.Confirm = slack.NewConfirmationBlockObject(plain(title), plain(body), plain(yes), plain(2))
		return []slack.Block{slack.NewActionBlock("", b)}
	}
	for _, c := range []struct {
		name   string
		blocks []slack.Block
		want   string
	}{
		{"50 blocks", sections(50, 10), ""},
		{"51 blocks", sections(51, 10), "invalid_blocks"},
		{"section", sections(1, 3000), ""},
		{"section too long", sections(1, 3001), "invalid_blocks"},
		{"emoji count twice", []slack.Block{slack.NewSectionBlock(slack.NewTextBlockObject("plain_text", strings.Repeat("🦊", 1501), false, false), nil, nil)}, "invalid_blocks"},
		{"all together", sections(5, 2600), ""},
		{"all together too long", sections(5, 2601), "msg_blocks_too_long"},
		{"header", []slack.Block{slack.NewHeaderBlock(plain(150))}, ""},
		{"header too long", []slack.Block{slack.NewHeaderBlock(plain(151))}, "invalid_blocks"},
		{"header mrkdwn", []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject("mrkdwn", "x", false, false))}, "invalid_blocks"},
		{"10 fields", fields(6, 2000), ""},
		{"11 fields", fields(11, 10), "invalid_blocks"},
		{"field too long", fields(1, 2001), "invalid_blocks"},
		{"empty section", []slack.Block{slack.NewSectionBlock(nil, nil, nil)}, "invalid_blocks"},
		{"empty text", sections(1, 0), "invalid_blocks"},
		{"button", []slack.Block{button(strings.Repeat("i", 255), strings.Repeat("v", 2000), 75)}, ""},
		{"button text too long", []slack.Block{button("a", "v", 76)}, "invalid_blocks"},
		{"button value too long", []slack.Block{button("a", strings.Repeat("v", 2001), 7)}, "invalid_blocks"},
		{"action id too long", []slack.Block{button(strings.Repeat("i", 256), "v", 7)}, "invalid_blocks"},
		{"same action id", []slack.Block{slack.NewActionBlock("", slack.NewButtonBlockElement("a", "", plain(1)), slack.NewButtonBlockElement("a", "", plain(1)))}, "invalid_blocks"},
		{"no elements", []slack.Block{slack.NewActionBlock("")}, "invalid_blocks"},
		{"same block id", []slack.Block{slack.NewActionBlock("b", slack.NewButtonBlockElement("a", "", plain(1))), slack.NewActionBlock("b", slack.NewButtonBlockElement("a", "", plain(1)))}, "invalid_blocks"},
		{"confirm", confirm(100, 300, 30), ""},
		{"confirm title", confirm(101, 300, 30), "invalid_blocks"},
		{"confirm text", confirm(100, 301, 30), "invalid_blocks"},
		{"confirm button", confirm(100, 300, 31), "invalid_blocks"},
		{"context", []slack.Block{slack.NewContextBlock("", plain(10))}, ""},
		{"unknown block", []slack.Block{slack.NewFileBlock("", "x", "remote")}, "invalid_blocks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks, err := json.Marshal(c.blocks)
			if err != nil {
				t.Fatal(err)
			}
			check := func(where string, err error) {
				got := ""
				var le *LimitError
				if errors.As(err, &le) {
					got = le.Code
				}
				if got != c.want {
					t.Errorf("%s: %q (%v), want %q", where, got, err, c.want)
				}
			}
			check("blocks", Check("t", blocks, nil))
			attachment, _ := json.Marshal([]slack.Attachment{{Color: "#ffffff", Blocks: slack.Blocks{BlockSet: c.blocks}}})
			check("attachment", Check("t", nil, attachment))
		})
	}
	// and over the wire
	s, api := start(t, Options{Unlimited: true})
	_, _, err := api.PostMessage(DefaultChannel, text("t"), slack.MsgOptionBlocks(sections(51, 1)...))
	var e slack.SlackErrorResponse
	if !errors.As(err, &e) || e.Err != "invalid_blocks" || len(e.ResponseMetadata.Messages) == 0 {
		t.Errorf("over the wire: %v", err)
	}
	if _, _, err := api.PostMessage(DefaultChannel, text(strings.Repeat("字", MaxText+5))); err != nil {
		t.Fatal(err)
	}
	if got := len([]rune(s.Messages(DefaultChannel)[0].Text)); got != MaxText {
		t.Errorf("text of %d characters kept, want it cut at %d", got, MaxText)
	}
}

func TestRate(t *testing.T) {
	now := newClock()
	s, api := start(t, Options{Clock: now.Now, Burst: 2, Channels: map[string]string{"C0EXAMPLE01": "a", "C0EXAMPLE02": "b"}})
	post := func(ch string) error { _, _, err := api.PostMessage(ch, text("x")); return err }
	for i := range 2 {
		if err := post("C0EXAMPLE01"); err != nil {
			t.Fatalf("message %d of the burst: %v", i, err)
		}
	}
	var limited *slack.RateLimitedError
	if err := post("C0EXAMPLE01"); !errors.As(err, &limited) || limited.RetryAfter != time.Second {
		t.Fatalf("after the burst: %v", err)
	}
	if err := post("C0EXAMPLE02"); err != nil {
		t.Errorf("another channel: %v", err)
	}
	now.Add(time.Second)
	if err := post("C0EXAMPLE01"); err != nil {
		t.Errorf("a second later: %v", err)
	}
	_, ts, _ := api.PostMessage("C0EXAMPLE02", text("x"))
	n := 0
	for ; n < 200; n++ {
		if _, _, _, err := api.UpdateMessage("C0EXAMPLE02", ts, text("y")); errors.As(err, &limited) {
			break
		}
	}
	if n != tier3 {
		t.Errorf("%d edits in one minute, want %d", n, tier3)
	}
	if got := len(s.Messages("a")); got != 3 {
		t.Errorf("%d messages kept, want 3", got)
	}
}

func TestFaults(t *testing.T) {
	var mu sync.Mutex
	var entries []Entry
	s, api := start(t, Options{Unlimited: true, Journal: func(e Entry) { mu.Lock(); defer mu.Unlock(); entries = append(entries, e) }})
	post := func(s string) error { _, _, err := api.PostMessage(DefaultChannel, text(s)); return err }
	s.Script("chat.postMessage", Refuse("is_archived"), TooMany(7*time.Second), TooMany(-1), Status(503), Garbage("}{"), HTML(), Cut(), DropAnswer(), Status(502).After(), Fault{})

	if got := code(post("1")); got != "is_archived" {
		t.Errorf("refused: %s", got)
	}
	var limited *slack.RateLimitedError
	if err := post("2"); !errors.As(err, &limited) || limited.RetryAfter != 7*time.Second {
		t.Errorf("429: %v", err)
	}
	var status slack.StatusCodeError
	if err := post("3"); !errors.As(err, &status) || status.Code != 429 {
		t.Errorf("429 without header: %v", err)
	}
	if err := post("4"); !errors.As(err, &status) || status.Code != 503 {
		t.Errorf("503: %v", err)
	}
	var syntax *json.SyntaxError
	for _, n := range []string{"5", "6"} {
		if err := post(n); !errors.As(err, &syntax) {
			t.Errorf("garbage %s: %v", n, err)
		}
	}
	for _, n := range []string{"7", "8"} {
		var u *url.Error
		if err := post(n); !errors.As(err, &u) {
			t.Errorf("connection cut %s: %v", n, err)
		}
	}
	if err := post("9"); !errors.As(err, &status) || status.Code != 502 {
		t.Errorf("502 after the work: %v", err)
	}
	for _, n := range []string{"10", "11"} {
		if err := post(n); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	var kept []string
	for _, m := range s.Messages(DefaultChannel) {
		kept = append(kept, m.Text)
	}
	if got := strings.Join(kept, " "); got != "8 9 10 11" {
		t.Errorf("accepted %q, want those whose answer was dropped and those that worked", got)
	}
	if s.Requests("chat.postMessage") != 11 {
		t.Errorf("%d requests", s.Requests("chat.postMessage"))
	}
	var log []string
	mu.Lock()
	defer mu.Unlock()
	for _, e := range entries {
		log = append(log, fmt.Sprintf("%s/%v/%s/%s", e.Text, e.OK, e.Error, e.Fault))
	}
	want := "1/false/is_archived/is_archived 2/false/status 429/status 429 3/false/status 429/status 429 4/false/status 503/status 503 " +
		"5/false/status 200/status 200 6/false/status 200/status 200 7/false/cut/cut 8/true//dropped 9/true//status 502 10/true// 11/true//"
	if got := strings.Join(log, " "); got != want {
		t.Errorf("journal\n got %s\nwant %s", got, want)
	}

	s.Script("chat.postMessage", Hang())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { _, _, err := api.PostMessageContext(ctx, DefaultChannel, text("hang")); done <- err }()
	for s.Requests("chat.postMessage") < 12 {
		select {
		case err := <-done:
			t.Fatalf("answered: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("hang: %v", err)
	}
}

func TestHistoryPages(t *testing.T) {
	now := newClock()
	_, api := start(t, Options{Unlimited: true, Clock: now.Now})
	var stamps []string
	for i := range 7 {
		_, ts, err := api.PostMessage(DefaultChannel, text(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		stamps = append(stamps, ts)
		if i%2 == 0 {
			now.Add(time.Second)
		}
	}
	read := func(p slack.GetConversationHistoryParameters) string {
		p.ChannelID = DefaultChannel
		var out []string
		for {
			h, err := api.GetConversationHistory(&p)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range h.Messages {
				out = append(out, m.Text)
			}
			if p.Cursor = h.ResponseMetaData.NextCursor; p.Cursor == "" {
				return strings.Join(out, "")
			}
		}
	}
	if got := read(slack.GetConversationHistoryParameters{Limit: 3}); got != "6543210" {
		t.Errorf("all pages: %s", got)
	}
	if got := read(slack.GetConversationHistoryParameters{Oldest: stamps[2], Latest: stamps[5]}); got != "43" {
		t.Errorf("exclusive: %s", got)
	}
	if got := read(slack.GetConversationHistoryParameters{Oldest: stamps[2], Latest: stamps[5], Inclusive: true, Limit: 1}); got != "5432" {
		t.Errorf("inclusive: %s", got)
	}
	if _, err := api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: DefaultChannel, Cursor: "nope"}); code(err) != "invalid_cursor" {
		t.Errorf("bad cursor: %v", err)
	}
}

func TestWebhook(t *testing.T) {
	s, _ := start(t, Options{Unlimited: true})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(u string, m *slack.WebhookMessage) error {
		return slack.PostWebhookCustomHTTPContext(context.Background(), u, client, m)
	}
	if err := send(s.WebhookURL(), &slack.WebhookMessage{Text: "hi"}); err != nil {
		t.Fatal(err)
	}
	if ms := s.Messages(DefaultChannel); len(ms) != 1 || ms[0].Text != "hi" || !ms[0].Webhook {
		t.Errorf("messages: %+v", ms)
	}
	var status slack.StatusCodeError
	if err := send(s.WebhookURL(), &slack.WebhookMessage{}); !errors.As(err, &status) || status.Code != 400 {
		t.Errorf("empty: %v", err)
	}
	if err := send(s.WebhookURL()+"x", &slack.WebhookMessage{Text: "x"}); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("unknown webhook: %v", err)
	}
}

// listen runs a real Socket Mode client that acknowledges and reports clicks.
func listen(t *testing.T, api *slack.Client, ack bool) (clicks chan slack.InteractionCallback, stop func()) {
	t.Helper()
	sm := socketmode.New(api)
	ctx, cancel := context.WithCancel(context.Background())
	clicks = make(chan slack.InteractionCallback, 10)
	var wg sync.WaitGroup
	wg.Go(func() { _ = sm.RunContext(ctx) })
	wg.Go(func() {
		for {
			select {
			case ev := <-sm.Events:
				if ev.Type == socketmode.EventTypeInteractive {
					if ack {
						_ = sm.AckCtx(ctx, ev.Request.EnvelopeID, nil)
					}
					clicks <- ev.Data.(slack.InteractionCallback)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return clicks, stop
}

func postButton(t *testing.T, api *slack.Client) string {
	t.Helper()
	_, ts, err := api.PostMessage(DefaultChannel, text("t"), slack.MsgOptionAttachments(slack.Attachment{Color: "#ff0000", Blocks: slack.Blocks{BlockSet: []slack.Block{
		slack.NewActionBlock("row", slack.NewButtonBlockElement("go", "incident-1", slack.NewTextBlockObject("plain_text", "Go", false, false))),
	}}}))
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestSocketMode(t *testing.T) {
	s, api := start(t, Options{Unlimited: true, PingInterval: 20 * time.Millisecond})
	ts := postButton(t, api)
	ctx := deadline(t)
	click := ClickSpec{User: "U0EXAMPLE1", Channel: "alerts", TS: ts, ActionID: "go"}
	if _, err := s.Click(ctx, click); !errors.Is(err, ErrNotConnected) {
		t.Fatalf("a click without a connection: %v", err)
	}
	clicks, stop := listen(t, api, true)
	if err := s.WaitConnected(ctx, 1); err != nil {
		t.Fatal(err)
	}
	id, err := s.Click(ctx, click)
	if err != nil {
		t.Fatal(err)
	}
	cb := <-clicks
	a := cb.ActionCallback.BlockActions[0]
	if cb.User.ID != "U0EXAMPLE1" || a.ActionID != "go" || a.Value != "incident-1" || a.BlockID != "row" || a.ActionTs == "" ||
		cb.Container.MessageTs != ts || cb.Container.ChannelID != DefaultChannel || cb.Container.Type != "message_attachment" || cb.TriggerID == "" || cb.Message.Timestamp != ts {
		t.Errorf("callback: %+v", cb)
	}
	if s.Acks(id) != 1 {
		t.Errorf("%d acknowledgements", s.Acks(id))
	}
	// the modal that a click may open, once
	view := slack.ModalViewRequest{Type: slack.VTModal, Title: slack.NewTextBlockObject("plain_text", "T", false, false), Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewDividerBlock()}}}
	if _, err := api.OpenView(cb.TriggerID, view); err != nil {
		t.Error(err)
	}
	if _, err := api.OpenView(cb.TriggerID, view); code(err) != "invalid_trigger_id" {
		t.Errorf("a trigger used twice: %v", err)
	}
	if len(s.Views()) != 1 {
		t.Errorf("%d views", len(s.Views()))
	}
	// a refresh reconnects, and clicks arrive again
	s.Refresh()
	if err := s.WaitOpened(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Redeliver(ctx, id); err != nil {
		t.Fatal(err)
	}
	<-clicks
	if _, err := s.Click(ctx, ClickSpec{User: "U", Channel: "alerts", TS: ts, ActionID: "other"}); err == nil || errors.Is(err, ErrNotConnected) {
		t.Errorf("a button that is not there: %v", err)
	}
	stop()
	if err := s.WaitConnected(ctx, 0); err != nil {
		t.Fatal(err)
	}
}

func TestClickOverHTTP(t *testing.T) {
	s, api := start(t, Options{Unlimited: true})
	ts := postButton(t, api)
	clicks, _ := listen(t, api, true)
	if err := s.WaitConnected(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.URL() + MessagesPath)
	if err != nil {
		t.Fatal(err)
	}
	var ms []Message
	if err := json.NewDecoder(resp.Body).Decode(&ms); err != nil || len(ms) != 1 || ms[0].TS != ts {
		t.Errorf("messages %+v %v", ms, err)
	}
	resp.Body.Close()
	post := func(ct, body string) int {
		resp, err := client.Post(s.URL()+ClickPath, ct, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	body := fmt.Sprintf(`{"user":"U0EXAMPLE1","channel":"alerts","ts":%q,"action_id":"go"}`, ts)
	if got := post("text/plain", body); got != http.StatusUnsupportedMediaType {
		t.Errorf("as a form would: %d", got)
	}
	if got := post("application/json", strings.Replace(body, `"go"`, `"no"`, 1)); got != http.StatusConflict {
		t.Errorf("no such button: %d", got)
	}
	if got := post("application/json", body); got != http.StatusOK {
		t.Errorf("click: %d", got)
	}
	if cb := <-clicks; cb.User.ID != "U0EXAMPLE1" {
		t.Errorf("callback %+v", cb.User)
	}
}

func TestNotAcknowledged(t *testing.T) {
	s, api := start(t, Options{Unlimited: true, AckTimeout: 30 * time.Millisecond})
	ts := postButton(t, api)
	listen(t, api, false)
	ctx := deadline(t)
	if err := s.WaitConnected(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Click(ctx, ClickSpec{User: "U", Channel: "alerts", TS: ts, ActionID: "go"}); !errors.Is(err, ErrNotAcked) {
		t.Errorf("got %v", err)
	}
}

func TestSocketNeedsATicket(t *testing.T) {
	s, api := start(t, Options{})
	resp, err := http.Get(s.URL() + linkPath + "?ticket=guess")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
	bot := slack.New(DefaultBotToken, slack.OptionAppLevelToken(DefaultBotToken), slack.OptionAPIURL(s.APIURL()), slack.OptionHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
	if _, _, err := bot.StartSocketModeContext(deadline(t)); code(err) != "not_allowed_token_type" {
		t.Errorf("a bot token: %v", err)
	}
	if _, u, err := api.StartSocketModeContext(deadline(t)); err != nil || !strings.HasPrefix(u, "ws://127.0.0.1:") {
		t.Errorf("open: %q %v", u, err)
	}
}

func TestRobots(t *testing.T) {
	now := newClock()
	s, _ := start(t, Options{Clock: now.Now, RobotSecrets: map[string]string{"dingtalk": "SECexample", "feishu": "example"}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(path, body string) string {
		resp, err := client.Post(s.URL()+RobotPath+path, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out struct{ Errcode, Code int }
		b, _ := io.ReadAll(resp.Body)
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		return fmt.Sprint(out.Errcode + out.Code)
	}
	ding := func(secret string) string {
		stamp := fmt.Sprint(now.Now().UnixMilli())
		return "dingtalk?" + url.Values{"access_token": {"t"}, "timestamp": {stamp}, "sign": {sign(secret, stamp+"\n"+secret)}}.Encode()
	}
	const dingBody = `{"msgtype":"text","text":{"content":"hi"}}`
	fei := func(secret string) string {
		stamp := fmt.Sprint(now.Now().Unix())
		return fmt.Sprintf(`{"timestamp":%q,"sign":%q,"msg_type":"text","content":{"text":"hi"}}`, stamp, sign(stamp+"\n"+secret, ""))
	}
	const wecomBody = `{"msgtype":"text","text":{"content":"hi"}}`
	for _, c := range []struct{ name, path, body, want string }{
		{"dingtalk", ding("SECexample"), dingBody, "0"},
		{"dingtalk wrong secret", ding("SECother"), dingBody, "310000"},
		{"dingtalk unsigned", "dingtalk?access_token=t", dingBody, "310000"},
		{"feishu", "feishu", fei("example"), "0"},
		{"feishu wrong secret", "feishu", fei("other"), "19021"},
		{"wecom", "wecom?key=k", wecomBody, "0"},
		{"wecom without key", "wecom", wecomBody, "93000"},
		{"wecom too long", "wecom?key=k", `{"msgtype":"text","text":{"content":"` + strings.Repeat("x", 2049) + `"}}`, "40058"},
	} {
		if got := send(c.path, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, p := range []string{"dingtalk", "feishu", "wecom"} {
		if ms := s.RobotMessages(p); len(ms) != 1 || ms[0].Type != "text" {
			t.Errorf("%s took %+v", p, ms)
		}
	}
	// the 21st message in a minute silences the robot for ten
	for range 19 {
		send(ding("SECexample"), dingBody)
	}
	if got := send(ding("SECexample"), dingBody); got != "130101" {
		t.Errorf("21st: %s", got)
	}
	now.Add(9 * time.Minute)
	if got := send(ding("SECexample"), dingBody); got != "130101" {
		t.Errorf("nine minutes later: %s", got)
	}
	now.Add(2 * time.Minute)
	if got := send(ding("SECexample"), dingBody); got != "0" {
		t.Errorf("eleven minutes later: %s", got)
	}
}

func TestStampsAreUnique(t *testing.T) {
	s, api := start(t, Options{Unlimited: true, Clock: newClock().Now})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				if _, _, err := api.PostMessage(DefaultChannel, text("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, m := range s.Messages(DefaultChannel) {
		if seen[m.TS] {
			t.Errorf("stamp %s twice", m.TS)
		}
		seen[m.TS] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d messages", len(seen))
	}
}

// FuzzCheck: any blocks are accepted or refused, never a panic, and what is
// accepted is within the limits however its parts are counted.
func FuzzCheck(f *testing.F) {
	f.Add("t", []byte(`[{"type":"header","text":{"type":"plain_text","text":"x"}}]`), []byte(`[{"color":"#fff","blocks":[{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"x"}}]}]}]`))
	f.Add("", []byte(`[{"type":"context","elements":[{"type":"mrkdwn","text":"<!here>"}]}]`), []byte(``))
	f.Add("", []byte(`null`), []byte(`[{}]`))
	f.Fuzz(func(t *testing.T, text string, blocks, attachments []byte) {
		err := Check(text, blocks, attachments)
		c := Content{Text: text, Blocks: blocks, Attachments: attachments}
		buttons, lines := c.Buttons(), c.Lines()
		c.Live()
		if err != nil {
			return
		}
		total := 0
		for _, l := range lines[:len(lines)-len(buttons)] {
			total += units(l)
		}
		if total > MaxBlockText {
			t.Fatalf("%d characters accepted", total)
		}
		for _, b := range buttons {
			if units(b.Text) > MaxButtonText || units(b.Value) > MaxButtonValue {
				t.Fatalf("button accepted: %+v", b)
			}
		}
	})
}
