package dingtalk

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func spec(s *chattest.Server) Spec {
	return Spec{
		Common:   responders.Common{Name: "ding", Timeout: responders.Duration(time.Second)},
		ClientID: chattest.DingTalkClientID, ClientSecret: chattest.DingTalkClientSecret, CardTemplateID: chattest.DingTalkTemplate,
		OpenConversationID: chattest.DingTalkGroup, CorpID: chattest.DingTalkCorp, APIURL: s.DingTalkURL(),
	}
}

func rig(t *testing.T, edit ...func(*Spec)) (*chattest.Server, *App) {
	t.Helper()
	s := chattest.New(chattest.Options{Unlimited: true})
	t.Cleanup(s.Close)
	return s, app(t, s, edit...)
}

func app(t *testing.T, s *chattest.Server, edit ...func(*Spec)) *App {
	t.Helper()
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
	return a
}

func one(t *testing.T, s *chattest.Server, to string) chattest.DingTalkCard {
	t.Helper()
	cs := s.DingTalkCards(to)
	if len(cs) != 1 || cs[0].Delivered != 1 {
		t.Fatalf("to %s: %+v, want one card that came once", to, cs)
	}
	return cs[0]
}

// sample has an action whose approval is bound to a hash, as all have.
func sample() responders.Notice {
	n := message.Sample(desttest.At)
	n.Actions[0].ActionHash = hash
	return n
}

func buttonsOf(t *testing.T, v string) []button {
	t.Helper()
	var list []button
	if err := json.Unmarshal([]byte(v), &list); err != nil {
		t.Fatalf("%v in %s", err, v)
	}
	return list
}

// asks lists what the buttons of a card are called, in their order.
func asks(t *testing.T, c chattest.DingTalkCard) string {
	var out []string
	for _, v := range []string{varAct, varButtons, varMute, varClose} {
		for _, b := range buttonsOf(t, c.Data[v]) {
			out = append(out, b.Event.Params.ActionID)
		}
	}
	return strings.Join(out, " ")
}

// One card for an incident, edited in place; its buttons follow its state.
func TestCard(t *testing.T) {
	s, a := rig(t)
	n := sample()
	n.MayAsk = true
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	c := one(t, s, chattest.DingTalkGroup)
	const more = "mute_1h mute_8h mute_7d close_false_positive close_benign close_true_positive"
	if got := asks(t, c); got != "approve deny acknowledge ask "+more {
		t.Errorf("buttons %q", got)
	}
	if !strings.Contains(c.Data[varProposal], "UpdateAccessKey UserName=ci-deployer") {
		t.Errorf("the card does not say what the button does: %q", c.Data[varProposal])
	}
	n.MayAsk, n.Alert.Revision = false, 2
	n.Actions[0].State, n.Actions[0].Undoable = responders.Done, true
	n.Triage = responders.Triage{State: responders.TriageAcknowledged, Owner: "dingtalk:dana", By: "dingtalk:dana", At: desttest.At}
	n.Thread = []responders.Line{{Say: responders.SayAck, Args: []any{"dingtalk:dana"}}}
	for range 2 { // the second is a repeat after an answer that was lost
		if err := a.Update(t.Context(), ref, n); err != nil {
			t.Fatal(err)
		}
	}
	c = one(t, s, chattest.DingTalkGroup)
	if got := asks(t, c); got != "undo "+more || c.Edits != 2 {
		t.Errorf("buttons %q after %d edits", got, c.Edits)
	}
	if c.Data[varNews] != "acknowledged by dingtalk:dana" || !strings.Contains(c.Data[varStanding], "dingtalk:dana") {
		t.Errorf("news %q, standing %q", c.Data[varNews], c.Data[varStanding])
	}
	n.Triage.State, n.Thread = responders.TriageClosed, nil
	if err := a.Update(t.Context(), ref, n); err != nil {
		t.Fatal(err)
	}
	if c = one(t, s, chattest.DingTalkGroup); asks(t, c) != "undo reopen" || c.Data[varNews] != "acknowledged by dingtalk:dana" {
		t.Errorf("closed: %q, news %q", asks(t, c), c.Data[varNews])
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
			q := responders.Question{ID: "q1", Person: "dingtalk:grace", State: responders.Asked, At: desttest.At, Until: desttest.At.Add(time.Hour)}
			n.Question, n.Triage = &q, responders.Triage{}
			if _, err := a.Ask(t.Context(), n); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			c, asked := one(t, s, chattest.DingTalkGroup), one(t, s, "grace")
			if name == "full" || name == "hostile" {
				for kind, c := range map[string]chattest.DingTalkCard{"app": c, "ask": asked} {
					b, err := json.Marshal(c.Data)
					if err != nil {
						t.Fatal(err)
					}
					desttest.Golden(t, kind+"."+name+"."+lang+".json", desttest.Indent(t, b))
				}
			}
			if got := strings.Count(c.Data[varFacts], "\n"); got != 5 {
				t.Errorf("%s %s: %d lines of facts, want 6: %q", name, lang, got+1, c.Data[varFacts])
			}
			for _, c := range []chattest.DingTalkCard{c, asked} {
				for _, v := range variables {
					value, ok := c.Data[v.name]
					if ok == v.private {
						t.Errorf("%s %s: variable %s: set %t", name, lang, v.name, ok)
					}
					if v.typ != "buttonGroup" {
						desttest.Inert(t, value, true)
						continue
					}
					for _, b := range buttonsOf(t, value) {
						desttest.Inert(t, b.Text, false)
					}
				}
			}
			if !incidentIs(c.ID, n.Alert.ID) || !incidentIs(asked.ID, n.Alert.ID) {
				t.Errorf("%s: %s and %s do not name the incident", name, c.ID, asked.ID)
			}
		}
	}
}

func incidentIs(track, want string) bool {
	got, ok := incidentOf(track)
	return ok && got == want
}

// What every button says fits into the value of a variable, at the longest.
func TestButtonsFit(t *testing.T) {
	for _, lang := range []string{"en", "zh"} {
		_, a := rig(t, func(sp *Spec) { sp.Language = lang })
		n := sample()
		n.MayAsk, n.Link = true, "https://console.example.com/"+strings.Repeat("x", maxLink-30)
		n.Actions[0].ID = strings.Repeat("f", 32)
		n.Actions = append(n.Actions, responders.ActionView{ID: strings.Repeat("e", 32), ActionHash: hash, State: responders.Done, Undoable: true, Describe: "x"})
		for _, list := range [][]button{a.card(n).act, append(a.card(n).buttons, a.card(n).link...), a.card(n).mute, a.card(n).shut} {
			if got := len(buttonsOf(t, group(list))); got != len(list) || got == 0 {
				t.Errorf("%s: %d of %d buttons fit", lang, got, len(list))
			}
		}
	}
}

// The template that people draw has exactly the variables that are sent.
func TestTemplate(t *testing.T) {
	b, err := os.ReadFile("../../deploy/dingtalk/card.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Variables []struct {
			Name, Type, Component, About string
			Private                      bool
		}
		Mock map[string]any
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Variables) != len(variables) {
		t.Fatalf("%d variables in the file, %d here", len(f.Variables), len(variables))
	}
	for i, v := range variables {
		x := f.Variables[i]
		if x.Name != v.name || x.Type != v.typ || x.Private != v.private || x.Component == "" || x.About == "" {
			t.Errorf("%d: %+v, want %+v", i, x, v)
		}
		if _, ok := f.Mock[v.name]; !ok {
			t.Errorf("no mock data for %s", v.name)
		}
	}
	for _, name := range []string{varAct, varButtons, varMute, varClose} {
		raw, err := json.Marshal(f.Mock[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range buttonsOf(t, string(raw)) {
			if x.Event.Params.ActionID != actionID(x.Event.Params.Params["do"], x.Event.Params.Params["choice"]) {
				t.Errorf("mock button %+v", x)
			}
		}
	}
}

// What is lost on the way is looked for, and comes once.
func TestOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		fault  chattest.Fault
		want   string
	}{
		{"429", "dingtalk.create", chattest.TooMany(7 * time.Second), "later"},
		{"too often", "dingtalk.create", chattest.Fault{Status: 403, Body: `{"code":"Forbidden.AccessDenied.QpsLimitForAppkeyAndApi","message":"qps"}`}, "later"},
		{"month used up", "dingtalk.create", chattest.Fault{Status: 403, Body: `{"code":"Forbidden.AccessDenied.ApiCountLimitForOrg","message":"quota"}`}, "later"},
		{"busy", "dingtalk.create", chattest.Fault{Status: 500, Body: `{"code":"system.busy","message":"system.busy"}`}, "retry"},
		{"500", "dingtalk.create", chattest.Status(500), "doubt"},
		{"503 after the work", "dingtalk.create", chattest.Status(503).After(), "doubt"},
		{"cut", "dingtalk.create", chattest.Cut(), "doubt"},
		{"answer dropped after the work", "dingtalk.create", chattest.DropAnswer(), "doubt"},
		{"hangs", "dingtalk.create", chattest.Hang(), "doubt"},
		{"hangs after the work", "dingtalk.create", chattest.Hang().After(), "doubt"},
		{"page of a rate limit", "dingtalk.create", chattest.Garbage(`{"status":1111,"wait":5,"punish":"deny"}`), "doubt"},
		{"html", "dingtalk.create", chattest.HTML(), "doubt"},
		{"no permission", "dingtalk.create", chattest.Fault{Status: 403, Body: `{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied","message":"x"}`}, "final"},
		{"403", "dingtalk.create", chattest.Status(403), "final"},
		{"not delivered", "dingtalk.create", chattest.Garbage(`{"success":true,"result":{"outTrackId":"x","deliverResults":[{"success":false,"errorMsg":"robot not in group"}]}}`), "final"},
		{"not delivered yet", "dingtalk.create", chattest.Garbage(`{"success":true,"result":{"outTrackId":"x","deliverResults":[{"success":false,"errorMsg":"SYSTEM_ERROR"}]}}`), "retry"},
		{"token: 429", "dingtalk.token", chattest.TooMany(7 * time.Second), "later"},
		{"token: 500", "dingtalk.token", chattest.Status(500), "retry"},
		{"token: cut", "dingtalk.token", chattest.Cut(), "retry"},
		{"token: garbage", "dingtalk.token", chattest.Garbage("<html>"), "retry"},
		{"token: empty", "dingtalk.token", chattest.Garbage("{}"), "retry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a := rig(t)
			s.Script(c.method, c.fault)
			n := sample()
			_, err := a.Post(t.Context(), n)
			if got := desttest.Outcome(err); got != c.want {
				t.Fatalf("%s: %v, want %s", got, err, c.want)
			}
			if strings.Contains(err.Error(), chattest.DingTalkClientSecret) || strings.Contains(err.Error(), "EXAMPLEtoken") {
				t.Errorf("a secret is in %v", err)
			}
			switch c.want {
			case "doubt": // as the dispatcher does
				ref, found, err := a.FindNotice(t.Context(), n, desttest.At)
				if err == nil && !found {
					ref, err = a.Post(t.Context(), n)
				}
				if err != nil || ref.ID != one(t, s, chattest.DingTalkGroup).ID {
					t.Errorf("%+v, %v", ref, err)
				}
			case "retry":
				if _, err := a.Post(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				one(t, s, chattest.DingTalkGroup)
			}
		})
	}
	s, a := rig(t)
	n := sample()
	for _, copy := range []int{0, 2} { // told again because nobody took it up
		n.Copy = copy
		if _, err := a.Post(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.DingTalkCards(chattest.DingTalkGroup)); got != 2 {
		t.Errorf("%d cards, want the first and the reminder", got)
	}
	// A token that ends before its time is replaced.
	s.DingTalkRevoke()
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
	// An edit may be made again whatever became of it; a card that is gone is gone.
	for _, f := range []chattest.Fault{chattest.DropAnswer(), chattest.Status(502), chattest.HTML()} {
		s.Script("dingtalk.update", f)
		if err := a.Update(t.Context(), responders.MessageRef{ID: a.trackID(n)}, n); desttest.Outcome(err) != "retry" {
			t.Errorf("%v", err)
		}
	}
	if err := a.Update(t.Context(), responders.MessageRef{ID: "gone"}, n); desttest.Outcome(err) != "final" {
		t.Errorf("a card that is gone: %v", err)
	}
	q := responders.Question{ID: "q1", Person: "dingtalk:grace", State: responders.Asked, At: desttest.At, Until: desttest.At.Add(time.Hour)}
	n.Question = &q
	s.Script("dingtalk.create", chattest.DropAnswer())
	if _, err := a.Ask(t.Context(), n); desttest.Outcome(err) != "doubt" {
		t.Errorf("%v", err)
	}
	ref, found, err := a.FindQuestion(t.Context(), n, desttest.At)
	if err != nil || !found {
		t.Errorf("%t, %v", found, err)
	}
	q.State = responders.SaidNo
	if err := a.UpdateQuestion(t.Context(), ref, n); err != nil {
		t.Error(err)
	}
	if c := one(t, s, "grace"); asks(t, c) != "" || c.Edits != 2 {
		t.Errorf("%q after %d edits", asks(t, c), c.Edits)
	}
}

// Without scripts the emulator holds the rate of a standard organisation, which
// the destination stays below by itself.
func TestRate(t *testing.T) {
	s := chattest.New(chattest.Options{})
	defer s.Close()
	a := app(t, s)
	n := sample()
	for i := range appBurst + 5 {
		n.Copy = 2 * i
		if _, err := a.Post(t.Context(), n); err != nil {
			t.Fatalf("card %d: %v", i, err)
		}
	}
}

func TestSpec(t *testing.T) {
	good := Spec{Common: responders.Common{Name: "d"}, ClientID: "dingx", ClientSecret: "s", CardTemplateID: chattest.DingTalkTemplate, OpenConversationID: chattest.DingTalkGroup, CorpID: "dingEXAMPLE"}
	if f := good.Check(); len(f) != 0 {
		t.Error(f)
	}
	bad := Spec{Common: responders.Common{Name: "d"}, ClientID: "dingx", OpenConversationID: "general", APIURL: "http://api.dingtalk.com", Webhook: "https://x", CardTemplateID: "a b"}
	got := ""
	for _, f := range bad.Check() {
		got += f.Field + " "
	}
	if got != "client_secret card_template_id open_conversation_id corp_id webhook api_url " {
		t.Error(got)
	}
	if run, err := (Spec{}).Hear(nil, nil); run != nil || err != nil {
		t.Error("a robot hears of nothing")
	}
	if b, err := json.Marshal(Spec{ClientSecret: "EXAMPLEsecret"}); err != nil || strings.Contains(string(b), "EXAMPLEsecret") {
		t.Errorf("%s, %v", b, err)
	}
}

// hearing is a running listener.
func hearing(t *testing.T, s *chattest.Server, p responders.Presser, edit ...func(*Spec)) (ctx context.Context, end func() error) {
	t.Helper()
	sp := spec(s)
	for _, f := range edit {
		f(&sp)
	}
	run, err := sp.Hear(p, nil)
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

// patient is an emulator that waits longer for answers than DingTalk does, where
// that is not what a test is about: machines are slow.
func patient(t *testing.T) *chattest.Server {
	s := chattest.New(chattest.Options{Unlimited: true, AckTimeout: 30 * time.Second})
	t.Cleanup(s.Close)
	return s
}

// A press comes with who, what and for which action; the person sees the reply on
// their card, and nobody else does.
func TestPresses(t *testing.T) {
	s := patient(t)
	a := app(t, s)
	n := sample()
	n.MayAsk = true
	n.Actions = append(n.Actions, responders.ActionView{ID: "act-2", ActionHash: hash, State: responders.Done, Undoable: true, Describe: "x"})
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	presses := make(chan responders.Press, 20)
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
	if err := s.WaitDingTalk(ctx, 1); err != nil {
		t.Fatal(err)
	}
	again := message.For(message.English, nil).Replies.Again
	for _, c := range []struct {
		button, user string
		want         responders.Press // Do empty: none
		reply        string
	}{
		{"approve", "dana", responders.Press{}, again},
		{"approve", "emre", responders.Press{}, again}, // each for themselves
		{"approve", "dana", responders.Press{Do: "approve", Ref: "act-1", Hash: hash}, "done"},
		{"approve", "dana", responders.Press{}, again}, // once
		{"undo", "dana", responders.Press{}, again},
		{"undo", "dana", responders.Press{Do: "undo", Ref: "act-2", Hash: hash}, "done"},
		{"mute_8h", "dana", responders.Press{Do: "mute", Choice: "8h"}, "done 8h"},
		{"close_benign", "dana", responders.Press{Do: "close", Choice: "benign"}, "done benign"},
		{"ask", "dana", responders.Press{Do: "ask"}, "done"},
		{"deny", "dana", responders.Press{Do: "deny", Ref: "act-1", Hash: hash}, "That did not work: not allowed: ‹at id=all›‹/at›"},
		{"acknowledge", "dana", responders.Press{Do: "acknowledge"}, "That did not work: an internal error; use trailwarden action on the command line"},
	} {
		reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: c.user, Card: ref.ID, Button: c.button})
		if err != nil || reply != c.reply {
			t.Errorf("%s: %q, %v; want %q", c.button, reply, err, c.reply)
		}
		if c.want.Do == "" {
			continue
		}
		c.want.By, c.want.AlertID = "dingtalk:"+c.user, n.Alert.ID
		if got := <-presses; got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	private := one(t, s, chattest.DingTalkGroup).Private
	if private["emre"][varReply] != again || len(private["emre"]) != 1 || !strings.Contains(private["dana"][varReply], "internal error") {
		t.Errorf("%v", private)
	}
	// One push delivered twice is one press.
	for range 2 {
		if _, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "mute_1h", MessageID: "m1"}); err != nil {
			t.Error(err)
		}
	}
	if len(presses) != 1 {
		t.Errorf("%d presses, want 1", len(presses))
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// "Are you sure?" is answered by a second press after it could be read: a double
// click is one press, and neither another person nor another action confirms.
func TestConfirmed(t *testing.T) {
	defer func(d time.Duration) { surePause = d }(surePause)
	surePause = time.Second
	var c confirmed
	p := responders.Press{By: "dingtalk:dana", Do: responders.PressApprove, AlertID: "a", Ref: "act-1", Hash: hash}
	other, stale := p, p
	other.By, stale.Hash = "dingtalk:emre", strings.Repeat("1", 64)
	at := time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		after time.Duration
		press responders.Press
		want  bool
	}{
		{0, p, false}, {200 * time.Millisecond, p, false}, {999 * time.Millisecond, p, false},
		{2 * time.Second, other, false}, {2 * time.Second, stale, false}, {3 * time.Second, p, true},
		{4 * time.Second, p, false}, {64 * time.Second, p, false}, {66 * time.Second, p, true},
	} {
		if got := c.second(x.press, at.Add(x.after)); got != x.want {
			t.Errorf("after %s: %t, want %t", x.after, got, x.want)
		}
	}
	for i := range 10 * maxSure {
		p.Ref = strconv.Itoa(i)
		c.second(p, at.Add(2*time.Minute))
	}
	if len(c.first) > maxSure {
		t.Errorf("%d presses are remembered", len(c.first))
	}
}

// What is not exactly one of our buttons is refused, says why, and asks for
// nothing.
func TestUnclear(t *testing.T) {
	s := patient(t)
	a := app(t, s)
	n := sample()
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	presses := make(chan responders.Press, 1)
	ctx, _ := hearing(t, s, func(_ context.Context, p responders.Press) (string, error) {
		presses <- p
		if p.Unclear == "" {
			return "", errors.New("it was taken for a press")
		}
		return "", errors.New("refused: " + p.Unclear)
	})
	if err := s.WaitDingTalk(ctx, 1); err != nil {
		t.Fatal(err)
	}
	content := func(ids []string, params map[string]any) func(map[string]any) {
		return func(m map[string]any) {
			b, _ := json.Marshal(map[string]any{"cardPrivateData": map[string]any{"actionIds": ids, "params": params}})
			m["content"], m["value"] = string(b), string(b)
		}
	}
	with := func(k string, v any) func(map[string]any) { return func(m map[string]any) { m[k] = v } }
	approve := map[string]any{"do": "approve", "ref": "act-1", "hash": hash}
	but := func(k string, v any) map[string]any {
		out := map[string]any{}
		for x, y := range approve {
			out[x] = y
		}
		out[k] = v
		return out
	}
	for name, c := range map[string]struct {
		edit func(map[string]any)
		want string
		by   string
	}{
		"another organisation":     {with("corpId", "dingEVILcorp"), "another organisation", "dingtalk:dingEVILcorp/dana"},
		"no organisation":          {with("corpId", ""), "another organisation", "dingtalk:/dana"},
		"union id":                 {with("userIdType", 2), "who pressed", ""},
		"nobody":                   {with("userId", ""), "who pressed", "dingtalk:"},
		"a name that is none":      {with("userId", "dana emre"), "who pressed", "dingtalk:dana emre"},
		"not a press":              {with("type", "something"), "no press", ""},
		"a card of somebody else":  {with("outTrackId", "approval-1"), "none of ours", ""},
		"no content":               {with("content", "}{"), "cannot be read", ""},
		"value alone":              {func(m map[string]any) { delete(m, "content") }, "cannot be read", ""},
		"no button":                {content(nil, approve), "0 buttons", ""},
		"two buttons":              {content([]string{"approve", "deny"}, approve), "2 buttons", ""},
		"mixed up":                 {content([]string{"deny"}, approve), "mixed up", ""},
		"a component of nobody's":  {content([]string{"single_button_node_x"}, approve), "mixed up", ""},
		"without parameters":       {content([]string{"approve"}, nil), "unknown button", ""},
		"unknown":                  {content([]string{"explode"}, map[string]any{"do": "explode"}), "unknown button", ""},
		"approve without a hash":   {content([]string{"approve"}, but("hash", "")), "does not say", ""},
		"approve with a bad hash":  {content([]string{"approve"}, but("hash", strings.Repeat("G", 64))), "does not say", ""},
		"approve nothing":          {content([]string{"approve"}, but("ref", "")), "does not say", ""},
		"approve something hidden": {content([]string{"approve"}, but("ref", "act-1\nact-2")), "does not say", ""},
		"approve with a choice":    {content([]string{"approve"}, but("choice", "x")), "does not say", ""},
		"a number for an action":   {content([]string{"approve"}, but("ref", 7)), "cannot be read", ""},
		"too long":                 {content([]string{"approve"}, but("ref", strings.Repeat("x", 200))), "cannot be read", ""},
		"mute for ever":            {content([]string{"mute_87600h"}, map[string]any{"do": "mute", "choice": "87600h"}), "does not say", ""},
		"close as anything":        {content([]string{"close_x"}, map[string]any{"do": "close", "choice": "x"}), "does not say", ""},
		"reopen with an action":    {content([]string{"reopen"}, map[string]any{"do": "reopen", "ref": "act-1"}), "does not say", ""},
		"yes to no question":       {content([]string{"yes"}, map[string]any{"do": "yes"}), "does not say", ""},
	} {
		reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "approve", Edit: c.edit})
		if err != nil || !strings.Contains(reply, c.want) {
			t.Errorf("%s: %q, %v; want %q", name, reply, err, c.want)
			continue
		}
		desttest.Inert(t, reply, false)
		if p := <-presses; p.Unclear == "" || c.by != "" && p.By != c.by {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// A component's number is taken off, so that a template may hold ours twice.
	if reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "deny", Edit: content([]string{"deny_2"}, but("do", "deny"))}); err != nil || !strings.Contains(reply, "taken for a press") {
		t.Errorf("%q, %v", reply, err)
	}
	<-presses
	// What does not come as a press at all is answered, or not, and harms nothing.
	if _, _, err := s.DingTalkPush(ctx, "", "", "}{"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		kind, topic, data string
		code              int
		answer            string
	}{
		{"SYSTEM", "ping", `{"opaque":"x1"}`, 200, `{"opaque":"x1"}`},
		{"CALLBACK", "/v1.0/im/bot/messages/get", "{}", 404, "{}"},
		{"EVENT", "*", "{}", 404, "{}"},
	} {
		if code, answer, err := s.DingTalkPush(ctx, c.kind, c.topic, c.data); err != nil || code != c.code || answer != c.answer {
			t.Errorf("%s %s: %d %q, %v", c.kind, c.topic, code, answer, err)
		}
	}
	if _, answer, err := s.DingTalkPush(ctx, "CALLBACK", chattest.DingTalkTopic, "[]"); err != nil || !strings.Contains(answer, "no callback of a card") {
		t.Errorf("%q, %v", answer, err)
	}
	<-presses
}

// What takes longer than the platform waits is done all the same, also when
// the connection breaks meanwhile; and the connection comes back.
func TestSlowPressAndReconnect(t *testing.T) {
	s := patient(t)
	a := app(t, s)
	ref, err := a.Post(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	defer func(d time.Duration) { replyWithin = d }(replyWithin)
	replyWithin = 200 * time.Millisecond
	release, done := make(chan struct{}), make(chan error, 1)
	ctx, _ := hearing(t, s, func(ctx context.Context, p responders.Press) (string, error) {
		if p.Do != responders.PressDeny {
			return "quick", nil
		}
		<-release
		done <- ctx.Err()
		return "late", nil
	})
	if err := s.WaitDingTalk(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "deny"}); err != nil || !strings.Contains(reply, "being done") {
		t.Errorf("%q, %v", reply, err)
	}
	s.Script("dingtalk.open", chattest.Status(503), chattest.Garbage("}{"))
	s.DropDingTalk()
	if err := s.WaitDingTalk(ctx, 2); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("the press was given up: %v", err)
	}
	if _, _, err := s.DingTalkPush(ctx, "SYSTEM", "disconnect", `{"reason":"connection is expired"}`); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitDingTalk(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "acknowledge"}); err != nil || reply != "quick" && !strings.Contains(reply, "being done") {
		t.Errorf("%q, %v", reply, err)
	}
}

// An app that is refused is not tried for ever.
func TestRefusedApp(t *testing.T) {
	s, _ := rig(t)
	sp := spec(s)
	sp.ClientSecret = "EXAMPLEwrong"
	run, err := sp.Hear(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context()); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "EXAMPLEwrong") {
		t.Errorf("%v", err)
	}
	if _, err := Inspect(t.Context(), sp, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "client_secret is wrong") {
		t.Errorf("%v", err)
	}
	if buttons, err := Inspect(t.Context(), spec(s), nil); buttons != nil || err != nil {
		t.Errorf("%v, %v", buttons, err)
	}
}

// A card's id gives its incident back, whatever that is called; no other text is
// a card's id of ours.
func TestTrackIDs(t *testing.T) {
	_, a := rig(t)
	rapid.Check(t, func(t *rapid.T) {
		n := responders.Notice{Copy: rapid.IntRange(0, 999).Draw(t, "copy")}
		n.Alert.ID = rapid.OneOf(rapid.StringMatching(`[0-9a-f]{32}`), rapid.StringMatching(`[A-Za-z0-9-]{1,100}`), rapid.StringN(1, 32, 128)).Draw(t, "id")
		q := n
		q.Question = &responders.Question{ID: rapid.String().Draw(t, "question")}
		for _, id := range []string{a.trackID(n), a.questionID(q)} {
			if got, ok := incidentOf(id); !ok || got != n.Alert.ID {
				t.Fatalf("%q of %q: %q, %t", id, n.Alert.ID, got, ok)
			}
		}
		if other := n; true {
			other.Copy++
			if a.trackID(other) == a.trackID(n) {
				t.Fatal("two copies have one id")
			}
		}
		junk := rapid.String().Draw(t, "junk")
		if _, ok := incidentOf(junk); ok && !strings.HasPrefix(junk, "tw1.") {
			t.Fatalf("%q is ours", junk)
		}
	})
}

// Whatever comes, nothing but a button of ours is a press.
func FuzzPress(f *testing.F) {
	sp := Spec{ClientID: "x", CorpID: chattest.DingTalkCorp}
	l := newListener(sp, nil, nil)
	f.Add(`{"type":"actionCallback","outTrackId":"tw1.00000000.0.i5d41402abc4b2a76b9719d911017c592","corpId":"dingEXAMPLEcorp01","userId":"dana","content":"{\"cardPrivateData\":{\"actionIds\":[\"mute_1h\"],\"params\":{\"do\":\"mute\",\"choice\":\"1h\"}}}"}`)
	f.Add(`{"type":"actionCallback","userIdType":"1"}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, data string) {
		p := l.read(data)
		if p.Unclear != "" {
			return
		}
		known := []string{"acknowledge", "ask", "reopen", "approve", "deny", "undo", "yes", "no", "mute", "close"}
		if !slices.Contains(known, p.Do) || p.AlertID == "" || !userID.MatchString(strings.TrimPrefix(p.By, personPrefix)) {
			t.Fatalf("%q is %+v", data, p)
		}
		if slices.Contains(known[3:6], p.Do) && (p.Ref == "" || len(p.Hash) != 64) {
			t.Fatalf("%q is %+v", data, p)
		}
	})
}
