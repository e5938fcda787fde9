package responders_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

// asks is a platform that can write to people alone; dm are those messages,
// under the question's id.
type asks struct {
	*chat

	dm *chat
}

func (w *world) asking(name string) *asks { return &asks{w.chat(name), w.chat(name + " dm")} }

func underQuestion(n Notice) Notice { n.Alert.ID = n.Question.ID; return n }

func (a *asks) Reaches(person string) bool { return strings.HasPrefix(person, "slack:") }
func (a *asks) Ask(ctx context.Context, n Notice) (MessageRef, error) {
	return a.dm.Post(ctx, underQuestion(n))
}

func (a *asks) UpdateQuestion(ctx context.Context, ref MessageRef, n Notice) error {
	return a.dm.Update(ctx, ref, underQuestion(n))
}

func (a *asks) FindQuestion(ctx context.Context, n Notice, since time.Time) (MessageRef, bool, error) {
	return a.dm.Find(ctx, n.Question.ID, since)
}

// askPolicy: alice is asked first, then her team's lead.
func askPolicy(o *DispatcherOptions) {
	o.Ask = AskPolicy{Owners: []Owner{{Identity: "ali*", People: []string{"slack:UALICE", "slack:ULEAD"}}}, Within: Duration(30 * time.Minute)}
}

func (p *process) state(t *testing.T, id, person string) AskState {
	t.Helper()
	qs, err := p.Questions(ctxb, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range qs {
		if q.Person == person {
			return q.State
		}
	}
	return ""
}

func (p *process) severity(t *testing.T, id string) alert.Severity {
	t.Helper()
	a, err := p.Stored(ctxb, id)
	if err != nil {
		t.Fatal(err)
	}
	return a.Severity
}

// Asked by a button, answered no: the incident becomes critical, those who
// hear of nothing less are told, and the thread says all of it.
func TestOwnerSaysNo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack, pager := w.asking("soc"), w.chat("pager")
		p := w.start([]Destination{{Notifier: slack}, {Notifier: pager, MinSeverity: alert.Critical}}, askPolicy)
		defer p.stop()
		p.give(t, 1, w.plain("a1", "x.y", alert.Medium))
		after(time.Second)
		if m := slack.of("a1"); len(m) != 1 || !m[0].last.MayAsk {
			t.Fatalf("the message does not offer to ask: %+v", m)
		}
		q, err := p.Ask(ctxb, "a1", AskRequest{By: "slack:UDAVE"})
		if err != nil || q.Person != "slack:UALICE" || q.State != Asked {
			t.Fatalf("%+v, %v", q, err)
		}
		if again, err := p.Ask(ctxb, "a1", AskRequest{By: "slack:UCAROL"}); err != nil || again.ID != q.ID {
			t.Fatalf("asked twice: %+v, %v", again, err)
		}
		after(time.Second)
		if n := len(slack.dm.all()); n != 1 || len(slack.all()) != 1 || len(pager.all()) != 0 {
			t.Fatalf("%d questions, %d messages, %d pages", n, len(slack.all()), len(pager.all()))
		}
		if m := slack.of("a1")[0]; m.last.MayAsk || len(m.last.Questions) != 1 {
			t.Errorf("the message still offers to ask: %+v", m.last)
		}
		// Whoever else says so, it is no answer, and it is on record.
		for _, who := range []string{"slack:UMALLORY", "machine", "", "slack:ualice"} {
			if _, err := p.Answer(ctxb, "a1", q.ID, who, true); !errors.Is(err, ErrNotAllowed) {
				t.Errorf("%q answers: %v", who, err)
			}
		}
		var clicks struct{ Clicks []Click }
		h, err := w.mem.History(ctxb, "click", q.ID)
		if err != nil || len(h) != 4 || json.Unmarshal(h[3].Data, &clicks) != nil || len(clicks.Clicks) != 4 || clicks.Clicks[0].By != "slack:UMALLORY" {
			t.Errorf("refused answers on record: %+v, %v", clicks, err)
		}
		if p.severity(t, "a1") != alert.Medium {
			t.Fatal("raised by somebody who was not asked")
		}
		if q, err = p.Answer(ctxb, "a1", q.ID, "slack:UALICE", false); err != nil || q.State != SaidNo {
			t.Fatalf("%+v, %v", q, err)
		}
		after(time.Minute)
		if p.severity(t, "a1") != alert.Critical {
			t.Error("not raised")
		}
		if m := pager.of("a1"); len(m) != 1 || m[0].last.Alert.Severity != alert.Critical {
			t.Errorf("the pager: %+v", m)
		}
		thread := strings.Join(slack.of("a1")[0].thread, "\n")
		for _, want := range []string{"slack:UALICE was asked “was this you?” by slack:UDAVE", "slack:UALICE says: no, it was not me", "severity medium → critical"} {
			if strings.Count(thread, want) != 1 {
				t.Errorf("%q is there %d times:\n%s", want, strings.Count(thread, want), thread)
			}
		}
		if last := slack.dm.all()[0].last.Question; last.State != SaidNo {
			t.Errorf("the question ends with %s", last.State)
		}
		// A no is not taken back by a button, and nobody else is asked.
		if _, err := p.Answer(ctxb, "a1", q.ID, "slack:UALICE", true); !errors.Is(err, ErrBadAsk) {
			t.Errorf("taken back: %v", err)
		}
		after(2 * time.Hour)
		if n := len(slack.dm.all()); n != 1 {
			t.Errorf("%d questions", n)
		}
		// More of the same does not make it harmless again.
		grown := w.plain("a1", "x.y", alert.Medium)
		grown.Revision, grown.Count = 2, 7
		p.give(t, 2, grown)
		after(time.Minute)
		if a, err := p.Stored(ctxb, "a1"); err != nil || a.Severity != alert.Critical || a.Count != 7 {
			t.Errorf("%s ×%d, %v", a.Severity, a.Count, err)
		}
		if last := slack.of("a1")[0].last.Alert; last.Severity != alert.Critical || last.Count != 7 {
			t.Errorf("the message says %s ×%d", last.Severity, last.Count)
		}
	})
}

// A yes closes nothing unless the policy says so, and then only what nobody
// looks at, is not worse than allowed, and was not contained.
func TestOwnerSaysYes(t *testing.T) {
	for _, c := range []struct {
		name    string
		upTo    string
		sev     alert.Severity
		prepare func(t *testing.T, p *process)
		leaked  bool
		want    TriageState
	}{
		{name: "no policy", sev: alert.Medium, want: TriageOpen},
		{name: "policy", upTo: "medium", sev: alert.Medium, want: TriageClosed},
		{name: "too severe", upTo: "medium", sev: alert.High, want: TriageOpen},
		{name: "somebody looks at it", upTo: "high", sev: alert.Medium, want: TriageAcknowledged, prepare: func(t *testing.T, p *process) {
			if _, err := p.Triage(ctxb, "a1", TriageRequest{By: "cli:dave", Do: DoAcknowledge}); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "contained", upTo: "high", sev: alert.High, leaked: true, want: TriageOpen},
		{name: "another says no", upTo: "high", sev: alert.Medium, want: TriageOpen, prepare: func(t *testing.T, p *process) {
			q, err := p.Ask(ctxb, "a1", AskRequest{By: "cli:dave", Person: "slack:UBOB"})
			if err == nil {
				_, err = p.Answer(ctxb, "a1", q.ID, "slack:UBOB", false)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.asking("soc")
				p := w.start([]Destination{{Notifier: slack}}, askPolicy, func(o *DispatcherOptions) { o.Ask.CloseUpTo = c.upTo })
				defer p.stop()
				a := w.plain("a1", "x.y", c.sev)
				if c.leaked {
					a = w.leaked("a1")
					a.Severity = c.sev
				}
				p.give(t, 1, a)
				after(time.Minute)
				q, err := p.Ask(ctxb, "a1", AskRequest{By: "slack:UDAVE"})
				if err != nil {
					t.Fatal(err)
				}
				if c.prepare != nil {
					c.prepare(t, p)
				}
				after(time.Second)
				if _, err := p.Answer(ctxb, "a1", q.ID, "slack:UALICE", true); err != nil {
					t.Fatal(err)
				}
				after(time.Minute)
				tr, err := p.TriageOf(ctxb, "a1")
				if err != nil || tr.State != c.want {
					t.Errorf("%s, %v, want %s", tr.State, err, c.want)
				}
				if tr.State == TriageClosed && (tr.Verdict != Benign || tr.By != "slack:UALICE") {
					t.Errorf("closed as %s by %s", tr.Verdict, tr.By)
				}
				if thread := strings.Join(slack.of("a1")[0].thread, "\n"); strings.Count(thread, "whoever holds that identity may hold the chat account too") != 1 {
					t.Errorf("it does not say whose word that is:\n%s", thread)
				}
				// Second thoughts open it again and make it critical.
				if _, err := p.Answer(ctxb, "a1", q.ID, "slack:UALICE", false); err != nil {
					t.Fatal(err)
				}
				after(time.Minute)
				if tr, err := p.TriageOf(ctxb, "a1"); err != nil || tr.State == TriageClosed || p.severity(t, "a1") != alert.Critical {
					t.Errorf("after the no: %s, %v", tr.State, err)
				}
			})
		})
	}
}

// Nobody answers: one after the other is asked, then the incident is raised.
// A late answer still counts.
func TestNobodyAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.asking("soc")
		p := w.start([]Destination{{Notifier: slack}}, askPolicy)
		p.give(t, 1, w.plain("a1", "x.y", alert.Medium))
		q, err := p.Ask(ctxb, "a1", AskRequest{By: "slack:UDAVE"})
		if err != nil {
			t.Fatal(err)
		}
		after(29 * time.Minute)
		if len(slack.dm.all()) != 1 || p.state(t, "a1", "slack:UALICE") != Asked {
			t.Fatal("too early")
		}
		p.stop() // the time runs on over a restart
		p = w.start([]Destination{{Notifier: slack}}, askPolicy)
		defer func() { p.stop() }()
		after(2 * time.Minute)
		if p.state(t, "a1", "slack:UALICE") != Silent || p.state(t, "a1", "slack:ULEAD") != Asked || len(slack.dm.all()) != 2 {
			t.Fatalf("alice %s, lead %s, %d questions", p.state(t, "a1", "slack:UALICE"), p.state(t, "a1", "slack:ULEAD"), len(slack.dm.all()))
		}
		if p.severity(t, "a1") != alert.Medium {
			t.Error("raised while the next person has time")
		}
		after(31 * time.Minute)
		if p.state(t, "a1", "slack:ULEAD") != Silent || p.severity(t, "a1") != alert.High {
			t.Errorf("lead %s, severity %s", p.state(t, "a1", "slack:ULEAD"), p.severity(t, "a1"))
		}
		after(24 * time.Hour)
		if len(slack.dm.all()) != 2 {
			t.Errorf("%d questions", len(slack.dm.all()))
		}
		if x, err := p.Answer(ctxb, "a1", q.ID, "slack:UALICE", false); err != nil || x.State != SaidNo {
			t.Fatalf("late: %+v, %v", x, err)
		}
		if p.severity(t, "a1") != alert.Critical {
			t.Error("a late no is no news")
		}
	})
}

// Whoever cannot be asked is no dead end.
func TestQuestionNotDelivered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.asking("soc")
		slack.dm.next = []fault{final} // the first person left the company
		p := w.start([]Destination{{Notifier: slack}}, askPolicy)
		defer p.stop()
		p.give(t, 1, w.plain("a1", "x.y", alert.Medium))
		after(time.Second) // what is asked before the first message is told by that
		if _, err := p.Ask(ctxb, "a1", AskRequest{By: "slack:UDAVE"}); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if p.state(t, "a1", "slack:UALICE") != Unasked || p.state(t, "a1", "slack:ULEAD") != Asked {
			t.Fatalf("alice %s, lead %s", p.state(t, "a1", "slack:UALICE"), p.state(t, "a1", "slack:ULEAD"))
		}
		thread := strings.Join(slack.of("a1")[0].thread, "\n")
		if !strings.Contains(thread, "slack:UALICE could not be asked") {
			t.Errorf("nobody is told:\n%s", thread)
		}
		if n := len(slack.byRule(RuleUndelivered)); n != 0 {
			t.Errorf("%d alerts that the channel is dead", n)
		}
		// A closed incident needs no answer.
		if _, err := p.Triage(ctxb, "a1", TriageRequest{By: "cli:dave", Do: DoClose, Verdict: Benign}); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		if p.state(t, "a1", "slack:ULEAD") != Withdrawn || p.severity(t, "a1") != alert.Medium {
			t.Errorf("lead %s, severity %s", p.state(t, "a1", "slack:ULEAD"), p.severity(t, "a1"))
		}
	})
}

func TestAskRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.asking("soc")
		p := w.start([]Destination{{Notifier: slack}}, askPolicy)
		defer p.stop()
		var batch []alert.Alert
		for i := range 8 {
			batch = append(batch, w.plain(fmt.Sprintf("a%d", i), "x.y", alert.Medium))
		}
		stranger := w.plain("b1", "x.y", alert.Medium)
		stranger.Actor.Name, stranger.Actor.Session = "bob", "alice" // a session name is what the caller says
		self := w.plain("b2", "self.blind", alert.High)
		after(time.Second)
		p.give(t, 1, append(batch, stranger, self)...)
		for id, want := range map[string]error{"b1": ErrBadAsk, "b2": ErrBadAsk, "nosuch": ErrNoAlert} {
			if _, err := p.Ask(ctxb, id, AskRequest{By: "cli:dave"}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", id, err, want)
			}
		}
		if _, err := p.Ask(ctxb, "a0", AskRequest{}); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("nobody asks: %v", err)
		}
		if _, err := p.Ask(ctxb, "a0", AskRequest{By: "cli:dave", Person: "mail:alice"}); !errors.Is(err, ErrBadAsk) {
			t.Errorf("nobody can ask: %v", err)
		}
		for i := range 8 {
			_, err := p.Ask(ctxb, fmt.Sprintf("a%d", i), AskRequest{By: "cli:dave"})
			if want := i < 5; (err == nil) != want {
				t.Errorf("question %d to one person: %v", i, err)
			}
		}
	})
}

// The owner is asked by itself where the policy says so, once however often
// the alert comes, and never about the past.
func TestAskByItself(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.asking("soc")
		p := w.start([]Destination{{Notifier: slack}}, askPolicy, func(o *DispatcherOptions) {
			o.Ask.Auto = &AskAuto{MinSeverity: "medium", Rules: []string{"x.*"}}
		})
		defer p.stop()
		old := w.plain("old", "x.y", alert.High)
		old.Time, old.LastAt = w.clock.Now().Add(-2*time.Hour), w.clock.Now().Add(-2*time.Hour)
		p.give(t, 1, w.plain("a1", "x.y", alert.Medium), w.plain("other", "z.y", alert.Medium), w.plain("low", "x.y", alert.Low), old)
		if err := p.HandleFrom(ctxb, Backfill, 0, 2, []alert.Alert{w.plain("past", "x.y", alert.High)}); err != nil {
			t.Fatal(err)
		}
		grown := w.plain("a1", "x.y", alert.Medium)
		grown.Revision, grown.Count = 2, 2
		p.give(t, 3, grown)
		after(time.Minute)
		if ms := slack.dm.all(); len(ms) != 1 || ms[0].last.Question.By != "playbook" || len(slack.of("a1")) != 1 {
			t.Errorf("%d questions", len(ms))
		}
		if qs, err := p.Questions(ctxb, "a1"); err != nil || len(qs) != 1 {
			t.Errorf("%+v, %v", qs, err)
		}
	})
}

// Several answer at once: one state, and what a no says holds.
func TestAnswersAtOnce(t *testing.T) {
	w, d, _ := triageWorld(t)
	opts := DispatcherOptions{Journal: w.mem, Machine: w.machine(func(o *MachineOptions) { o.Journal = w.mem }), Now: w.clock.Now, Destinations: []Destination{{Notifier: w.asking("soc")}}}
	askPolicy(&opts)
	d, err := NewDispatcher(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Handle(t.Context(), 0, 1, []alert.Alert{w.plain("a1", "x.y", alert.Medium)}); err != nil {
		t.Fatal(err)
	}
	q, err := d.Ask(t.Context(), "a1", AskRequest{By: "cli:dave"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := d.Answer(ctxb, "a1", q.ID, "slack:UALICE", i%2 == 0); err != nil && !errors.Is(err, ErrBadAsk) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	qs, err := d.Questions(ctxb, "a1")
	if err != nil || qs[0].State != SaidNo || !qs[0].Settled {
		t.Errorf("%+v, %v", qs, err)
	}
	if a, err := d.Stored(ctxb, "a1"); err != nil || a.Severity != alert.Critical {
		t.Errorf("%s, %v", a.Severity, err)
	}
}

// Killed, or without an answer of the journal, at every append: each person is
// asked once, and all that follows from silence and from a no has followed.
func TestAskCrashEverywhere(t *testing.T) {
	for _, f := range []fault{dieBefore, dieAfter, errBefore, errAfter} {
		t.Run(string(f), func(t *testing.T) {
			for n := 1; n < 60; n++ {
				hit := false
				bubble(t, func(t *testing.T, w *world) {
					slack := w.asking("soc")
					w.onAppend = func(i int, _ string) fault {
						if i == n {
							hit = true
							return f
						}
						return none
					}
					p := w.start([]Destination{{Notifier: slack}}, askPolicy)
					defer func() { p.stop() }()
					// insist is a person, or the reader of alerts, who tries again.
					insist := func(what string, do func() error) {
						for range 20 {
							if w.isDead() {
								p.stop()
								w.revive()
								p = w.start([]Destination{{Notifier: slack}}, askPolicy)
								synctest.Wait()
							}
							if do() == nil {
								return
							}
							after(time.Second)
						}
						t.Fatalf("%s at append %d: never", what, n)
					}
					insist("handle", func() error { return p.Handle(ctxb, 0, 1, []alert.Alert{w.plain("a1", "x.y", alert.Medium)}) })
					after(5 * time.Second)
					insist("ask", func() error { _, err := p.Ask(ctxb, "a1", AskRequest{By: "cli:dave"}); return err })
					after(5 * time.Second)
					insist("look", func() error { _, err := p.Questions(ctxb, "a1"); return err }) // a supervisor starts it again at once
					after(31 * time.Minute)
					insist("look", func() error { _, err := p.Questions(ctxb, "a1"); return err })
					after(time.Minute)
					insist("answer", func() error {
						qs, err := p.Questions(ctxb, "a1")
						if err != nil {
							return err
						}
						i := slices.IndexFunc(qs, func(q Question) bool { return q.Person == "slack:ULEAD" })
						if i < 0 {
							return errors.New("not asked")
						}
						_, err = p.Answer(ctxb, "a1", qs[i].ID, "slack:ULEAD", false)
						return err
					})
					after(time.Minute)
					insist("look", func() error { _, err := p.Questions(ctxb, "a1"); return err })
					after(time.Minute)
					what := fmt.Sprintf("%s at append %d", f, n)
					asked := map[string]int{}
					for _, m := range slack.dm.all() {
						asked[m.first.Question.Person]++
						if want := map[string]AskState{"slack:UALICE": Silent, "slack:ULEAD": SaidNo}[m.first.Question.Person]; m.last.Question.State != want {
							t.Fatalf("%s: %s reads %s", what, m.first.Question.Person, m.last.Question.State)
						}
					}
					if len(asked) != 2 || asked["slack:UALICE"] != 1 || asked["slack:ULEAD"] != 1 {
						t.Fatalf("%s: asked %v", what, asked)
					}
					ms := slack.of("a1")
					if len(ms) != 1 || len(slack.all()) != 1 || ms[0].last.Alert.Severity != alert.Critical || p.severity(t, "a1") != alert.Critical {
						t.Fatalf("%s: %d messages, severity %s", what, len(ms), ms[0].last.Alert.Severity)
					}
					qs, err := p.Questions(ctxb, "a1")
					if err != nil || len(qs) != 2 || !qs[0].Settled || !qs[1].Settled || len(ms[0].last.Questions) != 2 || ms[0].last.Questions[1].State != SaidNo {
						t.Fatalf("%s: %+v, %v", what, qs, err)
					}
					for _, s := range p.Stats() {
						if s.Waiting != 0 {
							t.Fatalf("%s: %+v", what, s)
						}
					}
				})
				if !hit {
					if n < 15 {
						t.Fatalf("only %d appends: the arrows are not all there", n-1)
					}
					return
				}
			}
			t.Fatal("never a run without a fault")
		})
	}
}

// The tables of owners say who is asked where no entry of the policy does.
func TestPeopleOfTheTables(t *testing.T) {
	p := AskPolicy{Owners: []Owner{{Identity: "ci-*", People: []string{"slack:UCI"}}}, People: map[string][]string{"bob@example.com": {"slack:UBOB"}, "payments": {"slack:UPAY", "slack:ULEAD"}}}
	for _, c := range []struct {
		name, owner, team string
		want              string
	}{
		{"ci-build", "bob@example.com", "payments", "slack:UCI"},
		{"web", "bob@example.com", "payments", "slack:UBOB"},
		{"web", "eve@example.com", "payments", "slack:UPAY slack:ULEAD"},
		{"web", "feishu:ou_EXAMPLE1", "payments", "feishu:ou_EXAMPLE1"},
		{"web", "eve@example.com", "nobody", ""},
		{"web", "", "", ""},
	} {
		a := alert.Alert{Actor: alert.Actor{Name: c.name}, Details: map[string]any{"owners": map[string]any{"actor": map[string]any{"owner": c.owner, "team": c.team}}}}
		if got := strings.Join(p.PeopleFor(&a), " "); got != c.want {
			t.Errorf("%s of %s in %s: %q, want %q", c.name, c.owner, c.team, got, c.want)
		}
	}
	if f := (AskPolicy{People: map[string][]string{"x": {"bob"}, "y": nil}}).Faults(); len(f) != 2 {
		t.Errorf("%v", f)
	}
}

func TestAskPolicyFaults(t *testing.T) {
	good := AskPolicy{Owners: []Owner{{Identity: "ci-*", People: []string{"slack:U0"}}}, OnNo: "high", OnSilence: "low", CloseUpTo: "high", Auto: &AskAuto{MinSeverity: "low"}}
	if f := good.Faults(); len(f) != 0 {
		t.Errorf("%v", f)
	}
	bad := AskPolicy{Owners: []Owner{{People: []string{"alice"}}, {Identity: "x"}}, OnNo: "terrible", CloseUpTo: "critical", Within: -1, Auto: &AskAuto{MinSeverity: "much"}}
	got := map[string]bool{}
	for _, f := range bad.Faults() {
		got[f.Field] = true
	}
	for _, want := range []string{"within", "on_no", "close_up_to", "auto.min_severity", "owners[0].identity", "owners[0].people", "owners[1].people"} {
		if !got[want] {
			t.Errorf("%s is not found", want)
		}
	}
}
