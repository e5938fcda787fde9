package slack

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

// questionOf is a notice that asks.
func questionOf(n responders.Notice, state responders.AskState) responders.Notice {
	q := responders.Question{ID: "q0123456789abcdef", Person: "slack:U0EXAMPLE7", By: "slack:U0EXAMPLE1", At: eventTime, Until: eventTime.Add(30 * time.Minute), State: state, Since: eventTime}
	n.Questions, n.Question = []responders.Question{q}, &q
	return n
}

func asker(t *testing.T, opt chattest.Options) (*chattest.Server, *Notifier) {
	t.Helper()
	opt.Unlimited = true
	s := server(t, opt)
	cfg := config(s)
	cfg.AppToken = chattest.DefaultAppToken
	return s, notifier(t, cfg)
}

// A question goes to the person alone, is found again, and ends with its answer.
func TestQuestion(t *testing.T) {
	s, n := asker(t, chattest.Options{})
	notice := questionOf(sample(), responders.Asked)
	if _, ok, err := n.FindQuestion(t.Context(), notice, time.Now()); ok || err != nil {
		t.Fatalf("found before it was sent: %v", err)
	}
	ref, err := n.Ask(t.Context(), notice)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Messages(chattest.DefaultChannel); len(got) != 0 {
		t.Errorf("the channel sees the question: %+v", got)
	}
	buttons := func() string {
		var out []string
		for _, b := range s.Messages("D0EXAMPLE7")[0].Buttons() {
			if b.Value != notice.Alert.ID+"|"+notice.Question.ID {
				t.Errorf("button %s holds %q", b.ActionID, b.Value)
			}
			out = append(out, b.ActionID)
		}
		return strings.Join(out, " ")
	}
	if got := buttons(); got != ActionYes+" "+ActionNo {
		t.Errorf("buttons %q", got)
	}
	found, ok, err := n.FindQuestion(t.Context(), notice, time.Now())
	if !ok || err != nil || found != ref {
		t.Errorf("found %+v, %v, %v; want %+v", found, ok, err, ref)
	}
	// Another question to the same person is not this one.
	other := questionOf(sample(), responders.Asked)
	other.Question.ID = "qother"
	if _, ok, err := n.FindQuestion(t.Context(), other, time.Now()); ok || err != nil {
		t.Errorf("another question was found: %v", err)
	}
	for _, c := range []struct {
		state  responders.AskState
		triage responders.TriageState
		want   string
		says   string
	}{
		{responders.Silent, "", ActionYes + " " + ActionNo, "still helps"},
		{responders.SaidYes, "", ActionNo, "answered: yes"},
		{responders.SaidYes, responders.TriageClosed, ActionNo, "answered: yes"},
		{responders.SaidNo, "", "", "answered: no"},
		{responders.SaidNo, responders.TriageClosed, "", "answered: no"},
		{responders.Asked, responders.TriageClosed, "", "no answer is needed"},
		{responders.Withdrawn, "", "", "no answer is needed"},
	} {
		x := questionOf(sample(), c.state)
		x.Triage.State = c.triage
		if err := n.UpdateQuestion(t.Context(), ref, x); err != nil {
			t.Fatal(err)
		}
		if got := buttons(); got != c.want {
			t.Errorf("%s %s: buttons %q, want %q", c.state, c.triage, got, c.want)
		}
		if all := strings.Join(s.Messages("D0EXAMPLE7")[0].Lines(), "\n"); !strings.Contains(all, c.says) {
			t.Errorf("%s %s: %s", c.state, c.triage, all)
		}
	}
	if len(s.Messages("D0EXAMPLE7")) != 1 {
		t.Error("more than one message")
	}
}

func TestQuestionGolden(t *testing.T) {
	for _, lang := range []Language{English, Chinese} {
		for name, notice := range map[string]responders.Notice{"ask.full": sample(), "ask.hostile": hostileNotice()} {
			notice.Triage = responders.Triage{}
			r := renderer{w: message.For(lang, nil), buttons: true}
			fallback, blocks := r.question(questionOf(notice, responders.Asked))
			out, c := payloadOf(t, rendered{text: fallback, blocks: blocks})
			desttest.Golden(t, name+"."+string(lang)+".json", out)
			if err := chattest.Check(c.Text, c.Blocks, nil); err != nil {
				t.Error(err)
			}
			checkInert(t, c)
			if lang == English && !slices.ContainsFunc(c.Lines(), func(l string) bool { return strings.Contains(l, "whoever took over the identity") }) {
				t.Error("it does not say that the account may be the intruder's")
			}
		}
	}
}

// Whom it cannot reach it does not try, and what fails is classified as it is
// for messages.
func TestQuestionFails(t *testing.T) {
	s, n := asker(t, chattest.Options{Users: []string{"U0EXAMPLE7"}})
	for who, want := range map[string]bool{"slack:U0EXAMPLE7": true, "slack:W0EXAMPLE7": true, "slack:C0EXAMPLE7": false, "slack:U1,U2": false, "cli:dana": false, "dana": false, "": false} {
		if n.Reaches(who) != want {
			t.Errorf("reaches %q: %v", who, !want)
		}
	}
	plainConfig := config(s)
	if notifier(t, plainConfig).Reaches("slack:U0EXAMPLE7") {
		t.Error("without buttons nobody can answer")
	}
	gone := questionOf(sample(), responders.Asked)
	gone.Question.Person = "slack:U0GONE"
	if _, err := n.Ask(t.Context(), gone); desttest.Outcome(err) != "final" {
		t.Errorf("a person who is not there: %v", err)
	}
	notice := questionOf(sample(), responders.Asked)
	s.Script("conversations.open", chattest.DropAnswer())
	if _, err := n.Ask(t.Context(), notice); desttest.Outcome(err) != "retry" {
		t.Errorf("nothing was said, and yet: %v", err)
	}
	s.Script("chat.postMessage", chattest.DropAnswer())
	if _, err := n.Ask(t.Context(), notice); desttest.Outcome(err) != "doubt" {
		t.Errorf("%v", err)
	}
	if _, ok, err := n.FindQuestion(t.Context(), notice, time.Now()); !ok || err != nil {
		t.Errorf("not found: %v", err)
	}
	// Without the right to read direct messages it says that it cannot know.
	_, blind := asker(t, chattest.Options{Scopes: []string{"chat:write", "channels:history", "im:write"}})
	if _, _, err := blind.FindQuestion(t.Context(), notice, time.Now()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
