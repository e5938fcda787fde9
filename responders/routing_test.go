package responders_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/route"
)

func tree(t *testing.T, c route.Config, names ...string) func(*DispatcherOptions) {
	t.Helper()
	r, err := route.New(c, names)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *DispatcherOptions) { o.Routes = r }
}

func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestTreeChoosesDestinations(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc, ops, pager := w.chat("soc"), w.chat("ops"), w.chat("pager")
		p := w.start([]Destination{{Notifier: soc}, {Notifier: ops}, {Notifier: pager}}, tree(t, route.Config{Route: route.Node{Receiver: "ops", Routes: []route.Node{
			{Receiver: "pager", Matchers: []string{"severity=critical"}, Continue: true},
			{Receiver: "soc", Matchers: []string{`rule=~"root\..*"`}},
		}}}, "soc", "ops", "pager"))
		defer p.stop()
		p.give(t, 1, w.plain("a1", "root.login", alert.Critical), w.plain("a2", "root.login", alert.High), w.plain("a3", "user.created", alert.High))
		after(time.Minute)
		for _, c := range []struct {
			chat *chat
			want string
		}{{pager, "a1"}, {soc, "a1 a2"}, {ops, "a3"}} {
			var got []string
			for _, m := range c.chat.all() {
				got = append(got, m.first.Alert.ID)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s got %q, want %q", c.chat.name, s, c.want)
			}
		}
	})
}

// A silenced alert is not told, not forgotten, and told when the silence ends
// while it still fires; over a restart too.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}})
		after(time.Second)
		s, err := p.Mute(ctxb, "slack:U1", []string{"rule=root.login", "severity!=critical"}, 2*time.Hour, "planned work")
		if err != nil {
			t.Fatal(err)
		}
		p.give(t, 1, w.plain("a1", "root.login", alert.High), w.plain("a2", "root.login", alert.Critical), w.plain("a3", "user.created", alert.High))
		after(time.Minute)
		if len(soc.of("a1")) != 0 || len(soc.of("a2")) != 1 || len(soc.of("a3")) != 1 {
			t.Fatalf("told: %d %d %d", len(soc.of("a1")), len(soc.of("a2")), len(soc.of("a3")))
		}
		if st := p.Stats()[0]; st.Held != 1 {
			t.Errorf("%d held", st.Held)
		}
		p.stop()
		p = w.start([]Destination{{Notifier: soc}})
		defer func() { p.stop() }()
		after(time.Hour)
		if len(soc.of("a1")) != 0 {
			t.Fatal("told after a restart")
		}
		after(time.Hour)
		if len(soc.of("a1")) != 1 {
			t.Fatal("not told when the silence had ended")
		}
		// Ended early: told at once.
		s, err = p.Mute(ctxb, "cli:bob", []string{"rule=x.y"}, 24*time.Hour, "noise")
		if err != nil {
			t.Fatal(err)
		}
		p.give(t, 2, w.plain("a4", "x.y", alert.High))
		after(time.Minute)
		if _, err := p.Unmute(ctxb, s.ID, "cli:bob"); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if len(soc.of("a4")) != 1 {
			t.Error("not told when the silence was ended")
		}
		all, err := p.Silences(ctxb)
		if err != nil || len(all) != 2 {
			t.Errorf("%v %v", all, err)
		}
	})
}

func TestSilencedAndClosedIsNotToldLater(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}})
		defer p.stop()
		after(time.Second)
		if _, err := p.Mute(ctxb, "cli:bob", []string{"rule=x.y"}, 48*time.Hour, "noise"); err != nil {
			t.Fatal(err)
		}
		p.give(t, 1, w.plain("a1", "x.y", alert.High))
		p.give(t, 2, w.plain("a2", "x.y", alert.High))
		if _, err := p.Triage(ctxb, "a2", TriageRequest{By: "cli:bob", Do: DoClose, Verdict: FalsePositive}); err != nil {
			t.Fatal(err)
		}
		after(49 * time.Hour)
		if n := len(soc.all()); n != 0 {
			t.Errorf("%d old messages", n)
		}
		// The tool's own troubles are never muted.
		if _, err := p.Mute(ctxb, "cli:bob", []string{`rule=~"self.*"`}, time.Hour, "x"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMuteRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.start(nil)
		defer p.stop()
		after(time.Second)
		for name, f := range map[string]func() (Silence, error){
			"nobody":     func() (Silence, error) { return p.Mute(ctxb, "", []string{"rule=x"}, time.Hour, "c") },
			"no comment": func() (Silence, error) { return p.Mute(ctxb, "a", []string{"rule=x"}, time.Hour, " ") },
			"for ever":   func() (Silence, error) { return p.Mute(ctxb, "a", []string{"rule=x"}, 1e6*time.Hour, "c") },
			"everything": func() (Silence, error) { return p.Mute(ctxb, "a", nil, time.Hour, "c") },
			"no label":   func() (Silence, error) { return p.Mute(ctxb, "a", []string{"color=red"}, time.Hour, "c") },
			"unknown":    func() (Silence, error) { return p.Unmute(ctxb, "0123", "a") },
		} {
			if _, err := f(); !errors.Is(err, ErrBadSilence) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestInhibition(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}}, tree(t, route.Config{
			Route:   route.Node{Receiver: "soc"},
			Inhibit: []route.Inhibit{{Source: []string{"severity=critical"}, Target: []string{"severity!=critical"}, Equal: []string{"actor"}}},
		}, "soc"))
		defer p.stop()
		p.give(t, 1, w.plain("big", "a.b", alert.Critical))
		p.give(t, 2, w.plain("small", "c.d", alert.Medium))
		other := w.plain("other", "c.d", alert.Medium)
		other.Actor.Name = "bob"
		p.give(t, 3, other)
		after(10 * time.Minute)
		if len(soc.of("big")) != 1 || len(soc.of("other")) != 1 || len(soc.of("small")) != 0 {
			t.Fatalf("told: %d %d %d", len(soc.of("big")), len(soc.of("other")), len(soc.of("small")))
		}
		after(time.Hour) // the source is over
		if len(soc.of("small")) != 1 {
			t.Error("not told when nothing inhibited it any more")
		}
	})
}

func TestGroup(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}}, tree(t, route.Config{Route: route.Node{Receiver: "soc", GroupBy: []string{"rule"}}}, "soc"))
		defer p.stop()
		after(time.Hour) // groups begin anew at multiples of repeat_interval
		for i := range 20 {
			p.give(t, uint64(i+1), w.plain(fmt.Sprintf("a%d", i), "user.created", alert.Medium))
		}
		after(29 * time.Second)
		if n := len(soc.all()); n != 0 {
			t.Fatalf("%d messages within group_wait", n)
		}
		after(time.Minute)
		ms := soc.all()
		if len(ms) != 1 || ms[0].last.Alert.Count != 20 || !strings.Contains(ms[0].last.Alert.Title, `20 incidents: rule="user.created"`) {
			t.Fatalf("%d messages: %+v", len(ms), ms[0].last.Alert)
		}
		// More of them are edits, at most one every group_interval.
		for i := range 100 {
			p.give(t, uint64(i+21), w.plain(fmt.Sprintf("b%d", i), "user.created", alert.Medium))
			after(3 * time.Second)
		}
		after(6 * time.Minute)
		ms = soc.all()
		if edits := len(soc.made("edit")); len(ms) != 1 || edits > 2 || ms[0].last.Alert.Count != 120 {
			t.Errorf("%d messages, %d edits, %d incidents", len(ms), edits, ms[0].last.Alert.Count)
		}
		// What is acted on has its own message, whatever the tree says.
		p.give(t, 200, w.leaked("leak"))
		after(10 * time.Second)
		if len(soc.of("leak")) != 1 {
			t.Error("an incident with an action is hidden in a group")
		}
	})
}

// An incident that fires and that nobody takes up is told again; one that
// somebody took up is not.
func TestRepeatInterval(t *testing.T) {
	for _, ack := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			soc := w.chat("soc")
			opt := tree(t, route.Config{Route: route.Node{Receiver: "soc"}}, "soc")
			p := w.start([]Destination{{Notifier: soc}}, opt)
			p.give(t, 1, w.plain("a1", "x.y", alert.High))
			after(time.Minute)
			if ack {
				if _, err := p.Triage(ctxb, "a1", TriageRequest{By: "cli:bob", Do: DoAcknowledge}); err != nil {
					t.Fatal(err)
				}
			}
			after(3 * time.Hour)
			p.stop() // the time runs on over a restart
			p = w.start([]Destination{{Notifier: soc}}, opt)
			defer p.stop()
			after(2 * time.Hour)
			ms := soc.of("a1")
			if want := map[bool]int{false: 2, true: 1}[ack]; len(ms) != want {
				t.Fatalf("acknowledged %v: %d messages", ack, len(ms))
			}
			if !ack && !strings.Contains(strings.Join(ms[1].thread, " "), "still open") {
				t.Errorf("%q", ms[1].thread)
			}
			after(100 * time.Hour)
			if n := len(soc.of("a1")); n > 6 {
				t.Errorf("%d messages in four days", n)
			}
		})
	}
}

func TestMuteTimeInterval(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		now := time.Now().UTC() // virtual: midnight
		end := now.Add(90 * time.Minute)
		c, err := route.ParseClock("00:00", end.Format("15:04"))
		if err != nil {
			t.Fatal(err)
		}
		p := w.start([]Destination{{Notifier: soc}}, tree(t, route.Config{
			Route:     route.Node{Receiver: "soc", Routes: []route.Node{{Matchers: []string{"severity!=critical"}, MuteTimeIntervals: []string{"night"}}}},
			Intervals: map[string][]route.Interval{"night": {{Times: []route.Clock{c}}}},
		}, "soc"))
		defer p.stop()
		p.give(t, 1, w.plain("a1", "x.y", alert.High), w.plain("a2", "x.y", alert.Critical))
		after(time.Hour)
		if len(soc.of("a1")) != 0 || len(soc.of("a2")) != 1 {
			t.Fatalf("in the night: %d %d", len(soc.of("a1")), len(soc.of("a2")))
		}
		after(time.Hour)
		if len(soc.of("a1")) != 1 {
			t.Error("not told in the morning")
		}
	})
}
