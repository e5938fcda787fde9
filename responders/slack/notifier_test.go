package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

func TestOneMessagePerIncident(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	cfg := config(s)
	cfg.AppToken = chattest.DefaultAppToken
	n := notifier(t, cfg)
	notice := sample()
	notice.Thread = responders.Said("evidence 1", "evidence 2")
	ref := mustPost(t, n, notice)
	if ref.Channel != chattest.DefaultChannel || ref.ID == "" {
		t.Fatalf("ref %+v", ref)
	}
	notice.Alert.Revision, notice.Alert.Count = 2, 9
	notice.Actions[0].State, notice.Actions[0].Undoable = responders.Done, true
	notice.Thread = responders.Said("contained by alice")
	if err := n.Update(context.Background(), ref, notice); err != nil {
		t.Fatal(err)
	}
	m := message1(t, s)
	if len(m.Edits) != 1 || m.TS != ref.ID {
		t.Errorf("edits %d, ts %s, want one edit of %s", len(m.Edits), m.TS, ref.ID)
	}
	if !strings.Contains(strings.Join(m.Lines(), "\n"), "✅ contained") {
		t.Errorf("after the edit: %q", m.Lines())
	}
	var replies []string
	for _, r := range m.Replies {
		replies = append(replies, r.Text)
	}
	if want := []string{"evidence 1", "evidence 2", "contained by alice"}; !slices.Equal(replies, want) {
		t.Errorf("thread %q, want %q", replies, want)
	}
	if m.Metadata == nil || m.Metadata.EventType != "trailwarden_alert" || m.Metadata.EventPayload["alert_id"] != notice.Alert.ID || m.Metadata.EventPayload["revision"] != float64(2) {
		t.Errorf("metadata %+v", m.Metadata)
	}
	if want := "map[mrkdwn:false parse:none unfurl_links:false unfurl_media:false]"; fmt.Sprint(m.Settings) != want {
		t.Errorf("sent with %v, want %s", m.Settings, want)
	}
	if got, want := n.Stats(), (Stats{Posts: 1, Edits: 1, Replies: 3}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// outcome is what a caller may conclude from an error.
func outcome(err error) string {
	var after *responders.RetryAfterError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &after) && errors.Is(err, responders.ErrRetry):
		return "after " + after.After.String()
	case errors.Is(err, responders.ErrRetry):
		return "retry"
	case errors.Is(err, responders.ErrInDoubt):
		return "in doubt"
	}
	return "final"
}

func TestErrorClasses(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault chattest.Fault
		want  string
	}{
		{"ok", chattest.Fault{}, "ok"},
		{"429", chattest.TooMany(30 * time.Second), "after 30s"},
		{"429 zero", chattest.TooMany(0), "after 1s"},
		{"429 for a week", chattest.TooMany(7 * 24 * time.Hour), "after 1h0m0s"},
		{"429 without header", chattest.TooMany(-1), "after 30s"},
		{"429 with words", chattest.Fault{Status: 429, Header: http.Header{"Retry-After": {"soon"}}}, "after 30s"},
		{"ratelimited in the body", chattest.Refuse("ratelimited"), "after 30s"},
		{"500", chattest.Status(500), "in doubt"},
		{"503 after the work", chattest.Status(503).After(), "in doubt"},
		{"408", chattest.Status(408), "in doubt"},
		{"403", chattest.Status(403), "final"},
		{"redirect", chattest.Fault{Status: 307, Header: http.Header{"Location": {"/elsewhere"}}}, "final"},
		{"invalid_auth", chattest.Refuse("invalid_auth"), "final"},
		{"channel_not_found", chattest.Refuse("channel_not_found"), "final"},
		{"token_revoked", chattest.Refuse("token_revoked"), "final"},
		{"unknown code", chattest.Refuse("something_new"), "final"},
		{"fatal_error", chattest.Refuse("fatal_error"), "in doubt"},
		{"internal_error", chattest.Refuse("internal_error"), "in doubt"},
		{"HTML", chattest.HTML(), "in doubt"},
		{"garbage", chattest.Garbage("}{"), "in doubt"},
		{"empty", chattest.Garbage(""), "in doubt"},
		{"cut short", chattest.Garbage(`{"ok":tr`), "in doubt"},
		{"another type", chattest.Garbage(`{"ok":"yes"}`), "in doubt"},
		{"empty object", chattest.Garbage(`{}`), "in doubt"},
		{"not ok without a code", chattest.Garbage(`{"ok":false}`), "in doubt"},
		{"ok without a stamp", chattest.Garbage(`{"ok":true,"channel":"C0EXAMPLE01"}`), "in doubt"},
		{"huge", chattest.Garbage(`{"ok":true,"x":"` + strings.Repeat("x", wire.MaxAnswer) + `","channel":"C","ts":"1"}`), "in doubt"},
		{"cut", chattest.Cut(), "in doubt"},
		{"answer dropped", chattest.DropAnswer(), "in doubt"},
		{"hang", chattest.Hang(), "in doubt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := server(t, chattest.Options{Unlimited: true})
			cfg := config(s)
			if c.name == "hang" {
				cfg.Timeout = time.Second // within which it must have been sent
			}
			n := notifier(t, cfg)
			s.Script("chat.postMessage", c.fault)
			_, err := n.Post(context.Background(), sample())
			if got := outcome(err); got != c.want {
				t.Errorf("post: %s (%v), want %s", got, err, c.want)
			}
			if got := s.Requests("chat.postMessage"); got != 1 {
				t.Errorf("%d requests: nothing may be retried inside", got)
			}
			if err != nil && strings.Contains(err.Error(), chattest.DefaultBotToken) {
				t.Errorf("the token is in the error: %v", err)
			}
			// edits alike
			ref := mustPost(t, notifier(t, config(s)), sample())
			s.Script("chat.update", c.fault)
			n = notifier(t, cfg)
			if got := outcome(n.Update(context.Background(), ref, sample())); got != c.want {
				t.Errorf("update: %s, want %s", got, c.want)
			}
		})
	}
}

func TestNotReachedIsRetry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	n := notifier(t, Config{Token: "xoxb-EXAMPLE", Channel: "C0EXAMPLE01", APIURL: "http://" + addr + "/api/"})
	if _, err := n.Post(context.Background(), sample()); outcome(err) != "retry" {
		t.Errorf("refused connection: %s (%v)", outcome(err), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.Post(ctx, sample()); outcome(err) != "retry" {
		t.Errorf("context ended before: %s (%v)", outcome(err), err)
	}
}

func TestPauseAfter429(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	s.Script("chat.postMessage", chattest.TooMany(30*time.Second))
	if _, err := n.Post(context.Background(), sample()); outcome(err) != "after 30s" {
		t.Fatal(err)
	}
	_, err := n.Post(context.Background(), sample())
	var after *responders.RetryAfterError
	if !errors.As(err, &after) || after.After > 30*time.Second || after.After < 20*time.Second {
		t.Errorf("during the pause: %v", err)
	}
	if s.Requests("chat.postMessage") != 1 {
		t.Errorf("%d requests: the pause was not kept", s.Requests("chat.postMessage"))
	}
	if n.Stats().Limited != 1 {
		t.Errorf("stats %+v", n.Stats())
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := wire.NewLimiter(1, 3, 2*time.Second)
		start := time.Now()
		var at []time.Duration
		for range 5 { // 3 at once, then one a second
			if err := l.Take(context.Background()); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(start))
		}
		if want := []time.Duration{0, 0, 0, time.Second, 2 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("turns at %v, want %v", at, want)
		}
		l.Pause(10 * time.Second)
		var after *responders.RetryAfterError
		if err := l.Take(context.Background()); !errors.As(err, &after) || after.After != 10*time.Second {
			t.Errorf("paused: %v", err)
		}
		time.Sleep(9 * time.Second) // synctest's clock
		before := time.Now()
		if err := l.Take(context.Background()); err != nil || time.Since(before) != time.Second {
			t.Errorf("at the end of the pause: %v after %v", err, time.Since(before))
		}
		time.Sleep(time.Hour)
		for range 3 {
			if err := l.Take(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := l.Take(ctx); outcome(err) != "retry" {
			t.Errorf("context ends while waiting: %v", err)
		}
		before = time.Now()
		if err := l.Take(context.Background()); err != nil || time.Since(before) != 900*time.Millisecond {
			t.Errorf("the turn given up was not given back: %v after %v", err, time.Since(before))
		}
	})
}

// TestBurstOfAlerts: a storm never exceeds the rate, and nothing is lost or
// sent twice by a caller that comes back when told.
func TestBurstOfAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := wire.NewLimiter(1, 4, 2*time.Second)
		start, sent := time.Now(), 0
		for sent < 600 {
			err := l.Take(context.Background())
			var after *responders.RetryAfterError
			switch {
			case err == nil:
				sent++
			case errors.As(err, &after):
				time.Sleep(after.After)
			default:
				t.Fatal(err)
			}
			if allowed := 4 + int(time.Since(start).Seconds()+0.001); sent > allowed {
				t.Fatalf("%d sent after %v, allowed %d", sent, time.Since(start), allowed)
			}
		}
		if d := time.Since(start); d > 600*time.Second {
			t.Errorf("600 messages took %v", d)
		}
	})
}

func TestFindAfterLostAnswer(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	since := time.Now()
	notice := sample()
	if ref, ok, err := n.Find(context.Background(), notice.Alert.ID, since); ok || err != nil {
		t.Fatalf("found %+v %v before anything was sent", ref, err)
	}
	s.Script("chat.postMessage", chattest.DropAnswer())
	if _, err := n.Post(context.Background(), notice); outcome(err) != "in doubt" {
		t.Fatalf("post: %v", err)
	}
	other := sample()
	other.Alert.ID = "another"
	mustPost(t, n, other)
	ref, ok, err := n.Find(context.Background(), notice.Alert.ID, since)
	if err != nil || !ok {
		t.Fatalf("not found: %v", err)
	}
	if err := n.Update(context.Background(), ref, notice); err != nil {
		t.Fatal(err)
	}
	ms := s.Messages(chattest.DefaultChannel)
	if len(ms) != 2 || ms[0].TS != ref.ID || len(ms[0].Edits) != 1 {
		t.Errorf("messages %+v", ms)
	}
	if _, ok, _ := n.Find(context.Background(), notice.Alert.ID, since.Add(time.Hour)); ok {
		t.Error("found a message older than asked for")
	}
	if n.Stats().Found != 1 {
		t.Errorf("stats %+v", n.Stats())
	}
}

func TestFindPagesAndTakesTheOldest(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	first := mustPost(t, n, sample())
	mustPost(t, n, sample()) // a duplicate
	for i := range 450 {
		s.Inject("alerts", chattest.Content{Text: fmt.Sprint(i)})
	}
	ref, ok, err := n.Find(context.Background(), sample().Alert.ID, time.Now())
	if err != nil || !ok || ref != first {
		t.Errorf("found %+v %v %v, want %+v", ref, ok, err, first)
	}
	if got := s.Requests("conversations.history"); got != 3 {
		t.Errorf("%d pages read, want 3", got)
	}
}

func TestFindIgnoresOtherApps(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	s.Inject("alerts", chattest.Content{Text: "fake", Metadata: &chattest.Metadata{EventType: metadataAlert, EventPayload: map[string]any{"alert_id": "x"}}})
	if ref, ok, err := n.Find(context.Background(), "x", time.Now()); ok || err != nil {
		t.Errorf("another app's message was taken for ours: %+v %v", ref, err)
	}
}

func TestFindUnsupported(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	for name, prepare := range map[string]func() *Notifier{
		"webhook only": func() *Notifier { return notifier(t, Config{WebhookURL: s.WebhookURL()}) },
		"no scope": func() *Notifier {
			s.Script("conversations.history", chattest.Fault{Status: 200, Body: `{"ok":false,"error":"missing_scope","needed":"channels:history","provided":"chat:write"}`})
			return notifier(t, config(s))
		},
		"revoked": func() *Notifier {
			s.Script("auth.test", chattest.Refuse("token_revoked"))
			return notifier(t, config(s))
		},
	} {
		_, ok, err := prepare().Find(context.Background(), "x", time.Now())
		if ok || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v %v, want ErrUnsupported", name, ok, err)
		}
		if name == "no scope" && !strings.Contains(err.Error(), "channels:history") {
			t.Errorf("the error does not name the scope: %v", err)
		}
	}
	for _, f := range []chattest.Fault{chattest.Status(503), chattest.TooMany(time.Second), chattest.Garbage(`{}`)} {
		n := notifier(t, config(s))
		s.Script("conversations.history", f)
		if _, ok, err := n.Find(context.Background(), "x", time.Now()); ok || err == nil || errors.Is(err, errors.ErrUnsupported) || outcome(err) == "final" {
			t.Errorf("fault %+v: %v %v: may not be taken for an answer", f, ok, err)
		}
	}
}

func TestWebhookFallback(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	var log bytes.Buffer
	cfg := config(s)
	cfg.WebhookURL, cfg.AppToken = s.WebhookURL(), chattest.DefaultAppToken
	n, err := New(cfg, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	s.Script("chat.postMessage", chattest.Refuse("token_revoked"))
	first := sample()
	first.Thread = responders.Said("possible repeat")
	ref := mustPost(t, n, first)
	m := message1(t, s)
	if !slices.Contains(m.Lines(), "possible repeat") {
		t.Errorf("a webhook has no threads, but the line is not in the message either: %q", m.Lines())
	}
	if !m.Webhook || !strings.HasPrefix(m.Text, "HIGH · AccessKey used") {
		t.Errorf("message %+v", m)
	}
	if len(m.Buttons()) != 0 {
		t.Error("a webhook message has buttons that nobody can edit away")
	}
	notice := sample()
	notice.Thread = responders.Said("x")
	if err := n.Update(context.Background(), ref, notice); err != nil {
		t.Errorf("update: %v", err)
	}
	if got := n.Stats(); got.Webhook != 1 || got.WebhookEdits != 1 || got.Edits != 0 {
		t.Errorf("stats %+v", got)
	}
	if len(s.Messages("alerts")) != 1 || s.Requests("chat.update") != 0 {
		t.Error("the update posted something")
	}
	// Neither 429 nor doubt sends a message a second way.
	for _, f := range []chattest.Fault{chattest.TooMany(time.Second), chattest.Status(500)} {
		n := notifier(t, cfg)
		s.Script("chat.postMessage", f)
		if _, err := n.Post(context.Background(), sample()); err == nil || s.Requests("webhook") != 1 {
			t.Errorf("fault %+v: err %v, %d webhook requests", f, err, s.Requests("webhook"))
		}
	}
	for _, secret := range []string{"xoxb-", "xapp-", "EXAMPLEwebhook"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log contains %q: %s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "token_revoked") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}

func TestWebhookErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault chattest.Fault
		want  string
	}{
		{"429", chattest.TooMany(3 * time.Second), "after 3s"},
		{"500", chattest.Status(500), "in doubt"},
		{"portal", chattest.HTML(), "in doubt"},
		{"gone", chattest.Fault{Status: 410, Body: "channel_is_archived"}, "final"},
		{"no service", chattest.Fault{Status: 404, Body: "no_service"}, "final"},
		{"redirect", chattest.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, "final"},
		{"cut", chattest.Cut(), "in doubt"},
		{"hang", chattest.Hang(), "in doubt"},
		{"layout", chattest.Fault{Status: 400, Body: "invalid_blocks"}, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := server(t, chattest.Options{Unlimited: true})
			cfg := Config{Name: "hook", WebhookURL: s.WebhookURL(), Timeout: 5 * time.Second}
			if c.name == "hang" {
				cfg.Timeout = time.Second // within which it must have been sent
			}
			n := notifier(t, cfg)
			s.Script("webhook", c.fault)
			_, err := n.Post(context.Background(), sample())
			if outcome(err) != c.want {
				t.Errorf("%s (%v), want %s", outcome(err), err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "EXAMPLEwebhook") || strings.Contains(err.Error(), "services")) {
				t.Errorf("the webhook's address is in the error: %v", err)
			}
		})
	}
	// a dead webhook host: the address is a secret in that error too
	n := notifier(t, Config{WebhookURL: "http://127.0.0.1:1/services/T/B/EXAMPLEwebhook"})
	if _, err := n.Post(context.Background(), sample()); outcome(err) != "retry" || strings.Contains(err.Error(), "EXAMPLEwebhook") {
		t.Errorf("%s: %v", outcome(err), err)
	}
}

func TestRedirectDoesNotCarryTheToken(t *testing.T) {
	reached := make(chan string, 1)
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		select {
		case reached <- r.Form.Get("token"):
		default:
		}
	}))
	defer thief.Close()
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	s.Script("chat.postMessage", chattest.Fault{Status: 308, Header: http.Header{"Location": {thief.URL}}})
	if _, err := n.Post(context.Background(), sample()); outcome(err) != "final" {
		t.Errorf("%v", err)
	}
	select {
	case <-reached:
		t.Error("the redirect was followed")
	default:
	}
}

func TestLayoutRefused(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	s.Script("chat.postMessage", chattest.Refuse("invalid_blocks"))
	ref := mustPost(t, n, sample())
	if m := message1(t, s); len(m.Blocks) != 0 || !strings.HasPrefix(m.Text, "HIGH · AccessKey used") {
		t.Errorf("message %+v", m)
	}
	s.Script("chat.update", chattest.Refuse("msg_blocks_too_long"))
	if err := n.Update(context.Background(), ref, sample()); err != nil {
		t.Error(err)
	}
	if n.Stats().PlainText != 2 {
		t.Errorf("stats %+v", n.Stats())
	}
}

// lines is n distinct thread lines.
func lines(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s %d", prefix, i))
	}
	return out
}

func thread1(t *testing.T, s *chattest.Server) []string {
	t.Helper()
	var out []string
	for _, r := range message1(t, s).Replies {
		out = append(out, r.Text)
	}
	return out
}

func TestThreadSharesRepliesAndIsCapped(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	cfg := config(s)
	cfg.ThreadCap = 4
	n := notifier(t, cfg)
	notice := sample()
	notice.Thread = responders.Said(lines("first", 5)...) // 2 + 2 + 1
	ref := mustPost(t, n, notice)
	want := []string{"first 0 first 1", "first 2 first 3", "first 4"}
	if got := thread1(t, s); !slices.Equal(got, want) {
		t.Errorf("thread %q, want %q", got, want)
	}
	grow := func(rev int, ls ...string) {
		t.Helper()
		notice.Alert.Revision, notice.Thread = rev, responders.Said(ls...)
		if err := n.Update(context.Background(), ref, notice); err != nil {
			t.Fatal(err)
		}
	}
	grow(2, "last")
	grow(3, "over 1", "over 2")
	grow(4, "over 3")
	grow(4, "over 3") // repeated
	want = append(want, "last", "… and 3 more updates, last 06:02 UTC")
	if got := thread1(t, s); !slices.Equal(got, want) {
		t.Errorf("thread %q, want %q", got, want)
	}
	// After a restart the counter goes on.
	n = notifier(t, cfg)
	grow(5, "over 4", "over 5")
	want[len(want)-1] = "… and 5 more updates, last 06:02 UTC"
	if got := thread1(t, s); !slices.Equal(got, want) {
		t.Errorf("after a restart: thread %q, want %q", got, want)
	}
}

func TestThreadOwedByPost(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	notice := sample()
	notice.Thread = responders.Said(lines("l", 3)...)
	s.Script("chat.postMessage", chattest.Fault{}, chattest.Fault{}, chattest.Status(503)) // the second reply fails
	ref := mustPost(t, n, notice)
	if got := thread1(t, s); !slices.Equal(got, []string{"l 0"}) {
		t.Fatalf("thread %q", got)
	}
	notice.Alert.Revision, notice.Thread = 2, nil
	if err := n.Update(context.Background(), ref, notice); err != nil {
		t.Fatal(err)
	}
	if got := thread1(t, s); !slices.Equal(got, []string{"l 0", "l 1", "l 2"}) {
		t.Errorf("thread %q", got)
	}
}

func TestDeletedMessageGetsNoReplies(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	ref := mustPost(t, n, sample())
	s.Remove("alerts", ref.ID)
	notice := sample()
	notice.Thread = responders.Said("x")
	if err := n.Update(context.Background(), ref, notice); outcome(err) != "final" || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("%s: %v", outcome(err), err)
	}
	if ms := s.Messages("alerts"); len(ms) != 0 {
		t.Errorf("the replies went to the channel: %+v", ms)
	}
}

// TestExactlyOnce drives a caller that does what the contract says through
// random faults and restarts: one message, each line once, the last state shown.
func TestExactlyOnce(t *testing.T) {
	faults := []func() chattest.Fault{
		func() chattest.Fault { return chattest.Fault{} }, func() chattest.Fault { return chattest.Fault{} },
		chattest.DropAnswer, chattest.Cut, func() chattest.Fault { return chattest.Status(500) }, func() chattest.Fault { return chattest.Status(502).After() },
		chattest.HTML, func() chattest.Fault { return chattest.HTML().After() }, func() chattest.Fault { return chattest.Refuse("fatal_error") },
		func() chattest.Fault { return chattest.Refuse("internal_error").After() },
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := chattest.New(chattest.Options{Unlimited: true})
		defer s.Close()
		for _, method := range []string{"chat.postMessage", "chat.update", "conversations.history", "conversations.replies", "auth.test"} {
			for range rapid.IntRange(0, 6).Draw(rt, method) {
				s.Script(method, faults[rapid.IntRange(0, len(faults)-1).Draw(rt, "fault")]())
			}
		}
		newNotifier := func() *Notifier {
			n, err := New(config(s), nil)
			if err != nil {
				rt.Fatal(err)
			}
			return n
		}
		n := newNotifier()
		defer func() { n.Close() }()
		since := time.Now()
		notice := sample()
		notice.Thread = responders.Said(lines("rev 1", rapid.IntRange(0, 3).Draw(rt, "lines"))...)
		restart := func() {
			if rapid.IntRange(0, 4).Draw(rt, "restart") == 0 {
				n.Close()
				n = newNotifier()
			}
		}
		until := func(f func() (bool, error)) {
			for range 200 {
				if done, err := f(); done {
					return
				} else if err != nil && outcome(err) == "final" {
					rt.Fatalf("final: %v", err)
				}
			}
			rt.Fatal("never came through")
		}
		var ref responders.MessageRef
		doubt := false
		until(func() (bool, error) {
			if doubt {
				r, ok, err := n.Find(context.Background(), notice.Alert.ID, since)
				if err != nil {
					return false, err
				}
				if ref = r; ok {
					return true, nil
				}
				doubt = false
			}
			r, err := n.Post(context.Background(), notice)
			doubt = errors.Is(err, responders.ErrInDoubt)
			ref = r
			return err == nil, err
		})
		// A message that was found has no thread yet: the next update brings
		// the lines again, as the dispatcher's notice does.
		want := message.For(English, nil).ThreadLines(notice.Thread)
		until(func() (bool, error) {
			err := n.Update(context.Background(), ref, notice)
			return err == nil, err
		})
		for rev := 2; rev <= 3; rev++ {
			notice.Alert.Revision, notice.Alert.Count = rev, rev*10
			notice.Thread = responders.Said(lines(fmt.Sprintf("rev %d", rev), rapid.IntRange(0, 3).Draw(rt, "lines"))...)
			want = append(want, message.For(English, nil).ThreadLines(notice.Thread)...)
			until(func() (bool, error) {
				restart()
				err := n.Update(context.Background(), ref, notice)
				return err == nil, err
			})
		}
		ms := s.Messages("alerts")
		if len(ms) != 1 {
			rt.Fatalf("%d messages, want one", len(ms))
		}
		if got := strings.Join(ms[0].Lines(), " "); !strings.Contains(got, "30 events") {
			rt.Fatalf("the last state is not shown: %s", got)
		}
		var got []string
		for _, r := range ms[0].Replies {
			got = append(got, r.Text)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("thread %q, want %q", got, want)
		}
	})
}

func TestAnyNoticeIsTaken(t *testing.T) {
	raced.Checks(t, raced.Size(math.MaxInt, 25))
	s := server(t, chattest.Options{Unlimited: true})
	cfg := config(s)
	cfg.AppToken, cfg.ThreadCap = chattest.DefaultAppToken, 1000
	n := notifier(t, cfg)
	n.edits = wire.NewLimiter(1000, 1000, 0) // not what is tested here
	rapid.Check(t, func(rt *rapid.T) {
		notice := drawNotice(rt)
		before := n.Stats()
		ref, err := n.Post(context.Background(), notice)
		if err != nil {
			rt.Fatalf("post: %v", err)
		}
		if err := n.Update(context.Background(), ref, notice); err != nil {
			rt.Fatalf("update: %v", err)
		}
		if n.Stats().PlainText != before.PlainText {
			rt.Fatal("Slack refused the layout")
		}
		s.Remove("alerts", ref.ID)
	})
}

func TestConfig(t *testing.T) {
	good := Config{Name: "x", Token: "xoxb-EXAMPLE", Channel: "C0123456789"}
	with := func(f func(*Config)) Config { c := good; f(&c); return c }
	for _, c := range []struct {
		name string
		cfg  Config
		want string // part of the error, "" for none
	}{
		{"token", good, ""},
		{"webhook", Config{WebhookURL: "https://hooks.slack.com/services/T/B/EXAMPLE"}, ""},
		{"loopback", with(func(c *Config) { c.APIURL = "http://127.0.0.1:1/api" }), ""},
		{"loopback 6", with(func(c *Config) { c.APIURL = "http://[::1]:1/api" }), ""},
		{"nothing", Config{}, "neither token nor webhook"},
		{"user token", with(func(c *Config) { c.Token = "xoxp-EXAMPLE" }), "xoxb-"},
		{"channel name", with(func(c *Config) { c.Channel = "#alerts" }), "channel's id"},
		{"app token", with(func(c *Config) { c.AppToken = "xoxb-EXAMPLE" }), "xapp-"},
		{"app token alone", Config{AppToken: "xapp-EXAMPLE", WebhookURL: "https://h.example/x"}, "app_token without token"},
		{"language", with(func(c *Config) { c.Language = "fr" }), "en or zh"},
		{"plaintext", with(func(c *Config) { c.APIURL = "http://slack.com/api/" }), "plaintext to slack.com refused"},
		{"plaintext webhook", Config{WebhookURL: "http://hooks.example/SECRET"}, "plaintext"},
		{"credentials in the address", with(func(c *Config) { c.APIURL = "https://u:SECRET@h.example/" }), "credentials"},
		{"no address", with(func(c *Config) { c.APIURL = "SECRET" }), "not an address"},
		{"other scheme", with(func(c *Config) { c.APIURL = "ftp://h.example/" }), "scheme"},
	} {
		_, err := New(c.cfg, nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "SECRET"):
			t.Errorf("%s: a secret is in the error: %v", c.name, err)
		}
	}
	secret := Config{Name: "n", Token: "xoxb-SECRET", AppToken: "xapp-SECRET", WebhookURL: "https://h/SECRET"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cfg", secret)
	for _, out := range []string{secret.String(), fmt.Sprintf("%v %+v %#v", secret, secret, secret), log.String()} {
		if strings.Contains(out, "SECRET") {
			t.Errorf("printed: %s", out)
		}
	}
}

func TestInspect(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	in, err := notifier(t, config(s)).Inspect(context.Background())
	if err != nil || in.User != "trailwarden" || in.Team != "Example" || in.Missing != nil || in.Channel != nil || in.Buttons != nil {
		t.Errorf("%+v %v", in, err)
	}
	cfg := config(s)
	cfg.Token = "xoxb-EXAMPLE-wrong"
	_, err = notifier(t, cfg).Inspect(context.Background())
	if outcome(err) != "final" || !strings.Contains(err.Error(), "copy the bot token") || strings.Contains(err.Error(), cfg.Token) {
		t.Errorf("%s: %v", outcome(err), err)
	}
	if s.Requests("chat.postMessage") != 0 {
		t.Error("a look sent a message")
	}

	weak := server(t, chattest.Options{Unlimited: true, Scopes: []string{"chat:write"}})
	in, err = notifier(t, config(weak)).Inspect(context.Background())
	if err != nil || !slices.Equal(in.Missing, []string{ScopeHistory}) || in.Channel == nil || !strings.Contains(in.Channel.Error(), "scope needed: channels:history") {
		t.Errorf("%+v %v", in, err)
	}
	gone := config(s)
	gone.Channel, gone.AppToken = "C0EXAMPLE99", "xapp-EXAMPLE-wrong"
	in, err = notifier(t, gone).Inspect(context.Background())
	if err != nil || in.Channel == nil || !strings.Contains(in.Channel.Error(), "channel_not_found") || in.Buttons == nil || strings.Contains(in.Buttons.Error(), gone.AppToken) {
		t.Errorf("%+v %v", in, err)
	}
}

func TestChineseThread(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	cfg := config(s)
	cfg.Language, cfg.ThreadCap = Chinese, 1
	n := notifier(t, cfg)
	notice := sample()
	notice.Thread = responders.Said("证据一", "证据二")
	mustPost(t, n, notice)
	if got, want := thread1(t, s), []string{"证据一", "……另有 1 条更新，最近 14:02 北京时间"}; !slices.Equal(got, want) {
		t.Errorf("thread %q, want %q", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	n := notifier(t, config(s))
	done := make(chan error)
	for i := range 8 {
		go func() {
			notice := sample()
			notice.Alert.ID = fmt.Sprint(i)
			notice.Thread = responders.Said("a", "b")
			ref, err := n.Post(context.Background(), notice)
			if err == nil {
				err = n.Update(context.Background(), ref, notice)
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, m := range s.Messages("alerts") {
		if len(m.Replies) != 2 || len(m.Edits) != 1 {
			t.Errorf("message %s has %d replies and %d edits", m.TS, len(m.Replies), len(m.Edits))
		}
	}
}

func TestThreadMemoryIsBounded(t *testing.T) {
	var ts threads
	for i := range maxThreads + 100 {
		ts.get(responders.MessageRef{ID: fmt.Sprint(i)})
	}
	if len(ts.byRef) != maxThreads || len(ts.order) != maxThreads {
		t.Errorf("%d threads remembered, want %d", len(ts.byRef), maxThreads)
	}
}

// BenchmarkRender is the cost of laying one alert out, without the network.
func BenchmarkRender(b *testing.B) {
	r, n := renderer{w: message.For(English, nil), buttons: true}, sample()
	b.ReportAllocs()
	for b.Loop() {
		m := r.render(n)
		if _, err := json.Marshal(m.attachments); err != nil {
			b.Fatal(err)
		}
	}
}
