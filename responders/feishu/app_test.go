package feishu

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

func spec(s *chattest.Server) Spec {
	return Spec{
		Common: responders.Common{Name: "feishu", Timeout: responders.Duration(time.Second)},
		AppID:  chattest.FeishuAppID, AppSecret: chattest.FeishuAppSecret, ChatID: chattest.FeishuChat, APIURL: s.FeishuURL(),
	}
}

func rig(t *testing.T, edit ...func(*Spec)) (*chattest.Server, *App) {
	t.Helper()
	s := chattest.New(chattest.Options{Unlimited: true})
	t.Cleanup(s.Close)
	sp := spec(s)
	for _, f := range edit {
		f(&sp)
	}
	n, err := sp.Notifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := n.(*App)
	t.Cleanup(a.Close)
	return s, a
}

func one(t *testing.T, s *chattest.Server, to string) chattest.FeishuMessage {
	t.Helper()
	ms := s.FeishuMessages(to)
	if len(ms) != 1 {
		t.Fatalf("%d cards to %s", len(ms), to)
	}
	return ms[0]
}

// does lists what the buttons and menus of a card ask for.
func does(card json.RawMessage) string {
	var c struct {
		Elements []struct {
			Actions []struct{ Value map[string]string }
		}
	}
	_ = json.Unmarshal(card, &c)
	var out []string
	for _, e := range c.Elements {
		for _, a := range e.Actions {
			out = append(out, a.Value["do"])
		}
	}
	return strings.Join(out, " ")
}

// One card for an incident, edited in place; what grows is said under it, once.
func TestCard(t *testing.T) {
	s, a := rig(t)
	n := message.Sample(desttest.At)
	n.MayAsk = true
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if got := does(one(t, s, chattest.FeishuChat).Card); got != "acknowledge ask approve deny mute close" {
		t.Errorf("buttons %q", got)
	}
	n.MayAsk, n.Alert.Revision = false, 2
	n.Actions[0].State, n.Actions[0].Undoable = responders.Done, true
	n.Triage = responders.Triage{State: responders.TriageAcknowledged, Owner: "feishu:ou_EXAMPLE1", By: "feishu:ou_EXAMPLE1", At: desttest.At}
	n.Thread = []responders.Line{{Say: responders.SayAck, Args: []any{"feishu:ou_EXAMPLE1"}}}
	for range 2 { // the second is a repeat after an answer that was lost
		if err := a.Update(t.Context(), ref, n); err != nil {
			t.Fatal(err)
		}
	}
	m := one(t, s, chattest.FeishuChat)
	if got := does(m.Card); got != "undo mute close" || m.Edits != 2 {
		t.Errorf("buttons %q after %d edits", got, m.Edits)
	}
	if len(m.Replies) != 1 || m.Replies[0] != "acknowledged by feishu:ou_EXAMPLE1" {
		t.Errorf("replies %q", m.Replies)
	}
	n.Triage.State = responders.TriageClosed
	if err := a.Update(t.Context(), ref, n); err != nil {
		t.Fatal(err)
	}
	if got := does(one(t, s, chattest.FeishuChat).Card); got != "reopen undo" {
		t.Errorf("buttons %q when closed", got)
	}
}

func TestCardsGolden(t *testing.T) {
	for name, n := range desttest.Notices() {
		for _, lang := range []string{"en", "zh"} {
			s, a := rig(t, func(sp *Spec) { sp.Language = lang })
			ref, err := a.Post(t.Context(), n)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			n := n
			n.Alert.Revision++
			if err := a.Update(t.Context(), ref, n); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			q := responders.Question{ID: "q1", Person: "feishu:ou_EXAMPLE7", State: responders.Asked, At: desttest.At, Until: desttest.At.Add(time.Hour)}
			n.Question, n.Triage = &q, responders.Triage{}
			if _, err := a.Ask(t.Context(), n); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			m, asked := one(t, s, chattest.FeishuChat), one(t, s, "ou_EXAMPLE7")
			if name == "full" || name == "hostile" {
				desttest.Golden(t, "app."+name+"."+lang+".json", desttest.Indent(t, m.Card))
				desttest.Golden(t, "ask."+name+"."+lang+".json", desttest.Indent(t, asked.Card))
			}
			for _, x := range append(shown(t, m.Card), shown(t, asked.Card)...) {
				desttest.Inert(t, x, true, n.Link, "](") // which plain_text does not know
			}
			for _, x := range m.Replies {
				desttest.Inert(t, x, true)
			}
			if len(m.Card) > 30<<10 {
				t.Errorf("%s %s: %d bytes", name, lang, len(m.Card))
			}
		}
	}
}

// shown are the strings of a card that people see: not the values of buttons.
func shown(t *testing.T, card json.RawMessage) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(card, &v); err != nil {
		t.Fatal(err)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "value")
			for _, x := range v {
				strip(x)
			}
		case []any:
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return desttest.Strings(t, b)
}

// What is lost on the way is sent again, and comes once.
func TestOnce(t *testing.T) {
	desttestFailures := func(t *testing.T, method string, call func(a *App) error) {
		for _, c := range []struct {
			name  string
			fault chattest.Fault
			want  string
		}{
			{"429", chattest.TooMany(7 * time.Second), "later"},
			{"500", chattest.Status(500), "retry"},
			{"503 after the work", chattest.Status(503).After(), "retry"},
			{"cut", chattest.Cut(), "retry"},
			{"answer dropped after the work", chattest.DropAnswer(), "retry"},
			{"hangs after the work", chattest.Hang().After(), "retry"},
			{"garbage", chattest.Garbage("<html>"), "retry"},
			{"403", chattest.Status(403), "final"},
		} {
			t.Run(method+"/"+c.name, func(t *testing.T) {
				s, a := rig(t)
				s.Script(method, c.fault)
				err := call(a)
				if got := desttest.Outcome(err); got != c.want {
					t.Fatalf("%s: %v, want %s", got, err, c.want)
				}
				if strings.Contains(err.Error(), chattest.FeishuAppSecret) || strings.Contains(err.Error(), "t-EXAMPLE") {
					t.Errorf("a secret is in %v", err)
				}
				if c.want == "retry" {
					if err := call(a); err != nil {
						t.Fatal(err)
					}
					one(t, s, chattest.FeishuChat)
				}
			})
		}
	}
	post := func(a *App) error { _, err := a.Post(context.Background(), message.Sample(desttest.At)); return err }
	desttestFailures(t, "feishu.create", post)
	desttestFailures(t, "feishu.token", post)
	s, a := rig(t)
	n := message.Sample(desttest.At)
	for _, copy := range []int{0, 2} { // told again because nobody took it up
		n.Copy = copy
		if _, err := a.Post(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.FeishuMessages(chattest.FeishuChat)); got != 2 {
		t.Errorf("%d cards, want the first and the reminder", got)
	}
	// A token that ends before its time is replaced.
	s.FeishuRevoke()
	n.Copy = 4
	if _, err := a.Post(t.Context(), n); desttest.Outcome(err) != "retry" {
		t.Errorf("%v", err)
	}
	if _, err := a.Post(t.Context(), n); err != nil {
		t.Error(err)
	}
	if _, _, err := a.Find(t.Context(), "x", time.Now()); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if err := a.Update(t.Context(), responders.MessageRef{ID: "om_gone"}, n); desttest.Outcome(err) != "final" {
		t.Errorf("a card that is gone: %v", err)
	}
}

func TestSpec(t *testing.T) {
	good := Spec{Common: responders.Common{Name: "f"}, AppID: "cli_x", AppSecret: "s", ChatID: "oc_EXAMPLE1", APIURL: "https://open.larksuite.com"}
	if f := good.Check(); len(f) != 0 {
		t.Error(f)
	}
	bad := Spec{Common: responders.Common{Name: "f"}, AppID: "cli_x", ChatID: "general", APIURL: "http://open.larksuite.com", Webhook: "https://x"}
	got := ""
	for _, f := range bad.Check() {
		got += f.Field + " "
	}
	if got != "app_secret chat_id webhook api_url " {
		t.Error(got)
	}
	if run, err := (Spec{}).Hear(nil, nil); run != nil || err != nil {
		t.Error("a robot hears of nothing")
	}
}

// hearing is a running listener.
func hearing(t *testing.T, s *chattest.Server, p responders.Presser) (ctx context.Context, end func() error) {
	t.Helper()
	run, err := spec(s).Hear(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	inner, stop := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() { result <- run(inner) }()
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		stop()
		return <-result
	}
	t.Cleanup(func() { _ = end(); cancel() })
	return ctx, end
}

// A press comes with who, what and for which action; the person sees the reply.
func TestPresses(t *testing.T) {
	s, a := rig(t)
	n := message.Sample(desttest.At)
	n.Actions[0].ActionHash = "hash"
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	presses := make(chan responders.Press, 10)
	ctx, end := hearing(t, s, func(_ context.Context, p responders.Press) (string, error) {
		presses <- p
		switch p.Do {
		case responders.PressDeny:
			return "", errors.New("not allowed: <at id=all></at>")
		case responders.PressAcknowledge:
			panic("boom")
		}
		return "done " + p.Choice, nil
	})
	if err := s.WaitFeishu(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		press       chattest.FeishuPress
		want        responders.Press
		kind, toast string
	}{
		{chattest.FeishuPress{Do: "approve"}, responders.Press{Do: "approve", Ref: "act-1", Hash: "hash"}, "info", "done"},
		{chattest.FeishuPress{Do: "approve", Frames: 4}, responders.Press{Do: "approve", Ref: "act-1", Hash: "hash"}, "info", "done"},
		{chattest.FeishuPress{Do: "mute", Option: "8h"}, responders.Press{Do: "mute", Choice: "8h"}, "info", "done 8h"},
		{chattest.FeishuPress{Do: "close", Option: "benign"}, responders.Press{Do: "close", Choice: "benign"}, "info", "done benign"},
		{chattest.FeishuPress{Do: "deny"}, responders.Press{Do: "deny", Ref: "act-1", Hash: "hash"}, "error", "That did not work: not allowed: ‹at id=all›‹/at›"},
		{chattest.FeishuPress{Do: "acknowledge"}, responders.Press{Do: "acknowledge"}, "error", "That did not work: an internal error; use trailwarden action on the command line"},
	} {
		c.press.User, c.press.Message = "ou_EXAMPLE1", ref.ID
		c.want.By, c.want.AlertID = "feishu:ou_EXAMPLE1", n.Alert.ID
		kind, toast, err := s.Press(ctx, c.press)
		if err != nil || kind != c.kind || toast != c.toast {
			t.Errorf("%s: %s %q, %v", c.press.Do, kind, toast, err)
		}
		if got := <-presses; got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	// What no button of ours says, and whom the platform does not name, comes as
	// unclear, which is refused; a press that comes twice is one.
	for _, p := range []chattest.FeishuPress{
		{User: "ou_EXAMPLE1", Value: map[string]any{"do": ""}},
		{User: "ou_EXAMPLE1", Value: map[string]any{"do": "approve", "alert": 7}},
		{User: "ou_EXAMPLE1", Value: map[string]any{"do": "approve", "alert": strings.Repeat("x", 300)}},
		{User: "", Value: map[string]any{"do": "approve", "alert": "a"}},
		{User: "ou_<at>", Value: map[string]any{"do": "approve", "alert": "a"}},
		{User: "ou_EXAMPLE1", Do: "approve", Tenant: "ELSEWHERE"},
		{User: "ou_EXAMPLE1", Do: "approve", EventID: "e1"},
		{User: "ou_EXAMPLE1", Do: "approve", EventID: "e1"},
	} {
		p.Message = ref.ID
		if _, _, err := s.Press(ctx, p); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	unclear, clear := 0, 0
	for len(presses) > 0 {
		if p := <-presses; p.Unclear != "" {
			unclear++
		} else {
			clear++
		}
	}
	if unclear != 6 || clear != 1 {
		t.Errorf("%d presses and %d that are unclear, want 1 and 6", clear, unclear)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// What takes longer than the platform waits is done all the same, also when
// the connection breaks meanwhile; and the connection comes back.
func TestSlowPressAndReconnect(t *testing.T) {
	s, a := rig(t)
	ref, err := a.Post(t.Context(), message.Sample(desttest.At))
	if err != nil {
		t.Fatal(err)
	}
	release, done := make(chan struct{}), make(chan error, 1)
	ctx, _ := hearing(t, s, func(ctx context.Context, p responders.Press) (string, error) {
		if p.Do == responders.PressUndo {
			return "quick", nil
		}
		<-release
		done <- ctx.Err()
		return "late", nil
	})
	if err := s.WaitFeishu(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, toast, err := s.Press(ctx, chattest.FeishuPress{User: "ou_EXAMPLE1", Message: ref.ID, Do: "approve"}); err != nil || !strings.Contains(toast, "being done") {
		t.Errorf("%q, %v", toast, err)
	}
	s.Script("feishu.endpoint", chattest.Status(503), chattest.Garbage("}{"))
	s.DropFeishu()
	if err := s.WaitFeishu(ctx, 2); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("the press was given up: %v", err)
	}
}

func TestRefusedApp(t *testing.T) {
	s, _ := rig(t)
	sp := spec(s)
	sp.AppSecret = "EXAMPLEwrong"
	run, err := sp.Hear(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context()); err == nil || strings.Contains(err.Error(), "EXAMPLEwrong") || !strings.Contains(err.Error(), "app_secret") {
		t.Errorf("%v", err)
	}
}

func TestFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := frame{SeqID: rapid.Uint64().Draw(t, "seq"), LogID: rapid.Uint64().Draw(t, "log"), Service: rapid.Int32().Draw(t, "service"), Method: rapid.Int32().Draw(t, "method"),
			Encoding: rapid.String().Draw(t, "encoding"), Type: rapid.String().Draw(t, "type"), LogIDNew: rapid.String().Draw(t, "new"), Payload: []byte(rapid.String().Draw(t, "payload"))}
		for range rapid.IntRange(0, 5).Draw(t, "headers") {
			f.Headers = append(f.Headers, header{rapid.String().Draw(t, "key"), rapid.String().Draw(t, "value")})
		}
		var g frame
		if err := g.unmarshal(f.marshal()); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(f)
		b, _ := json.Marshal(g)
		if string(a) != string(b) {
			t.Fatalf("%s\n%s", a, b)
		}
	})
}

func FuzzFrame(f *testing.F) {
	x := frame{Method: frameData, Headers: []header{{"type", "event"}, {"sum", "2"}, {"seq", "1"}, {"message_id", "m"}}, Payload: []byte(`{"header":{"event_type":"card.action.trigger"}}`)}
	f.Add(x.marshal())
	f.Add([]byte{0x2a, 0xff})
	l := newListener(Spec{AppID: "x"}, func(context.Context, responders.Press) (string, error) { return "", nil }, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		var f frame
		if f.unmarshal(b) != nil {
			return
		}
		if payload, ok := l.join(f); ok {
			l.hear(t.Context(), payload)
		}
	})
}
