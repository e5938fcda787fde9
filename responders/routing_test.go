package responders_test

import (
	"context"
	"encoding/json"
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

// metAgain is a journal that meets older records of a history before the
// newest, as it may.
type metAgain struct{ lasting }

func (j metAgain) EachLast(ctx context.Context, kind string, yield func(string, Entry) error) error {
	ids, err := j.IDs(ctx, kind)
	if err != nil {
		return err
	}
	for _, id := range ids {
		h, err := j.History(ctx, kind, id)
		if err != nil {
			return err
		}
		for _, e := range h {
			if err := yield(id, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// A silence that was ended, and a notice that was sent after all, are that,
// however often their records are met.
func TestRecordsMetAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		soc.next = []fault{final}
		p := w.start([]Destination{{Notifier: soc}}, func(o *DispatcherOptions) { o.Journal = metAgain{lasting{faulty{w}}} })
		defer p.stop()
		after(time.Second)
		p.give(t, 1, w.plain("a1", "x.y", alert.High))
		after(time.Minute)
		if n, err := p.Requeue(ctxb, "soc"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		s, err := p.Mute(ctxb, "cli:bob", []string{"rule=x.z"}, time.Hour, "noise")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Unmute(ctxb, s.ID, "cli:bob"); err != nil {
			t.Fatal(err)
		}
		p.give(t, 2, w.plain("a2", "x.z", alert.High))
		after(time.Minute)
		if len(soc.of("a1")) != 1 || len(soc.of("a2")) != 1 {
			t.Errorf("told: %d %d", len(soc.of("a1")), len(soc.of("a2")))
		}
		all, err := p.Silences(ctxb)
		if err != nil || len(all) != 1 || all[0].EndedBy == "" {
			t.Errorf("%+v %v", all, err)
		}
		if u, err := p.Undelivered(ctxb); err != nil || len(u) != 0 {
			t.Errorf("%+v %v", u, err)
		}
	})
}

// What is silenced is in no digest either, and makes no storm of the rest: that
// goes by itself. When the silence ends it is a storm like others, without what
// was closed meanwhile.
func TestSilencedIsInNoDigest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}})
		defer p.stop()
		after(time.Second)
		p.give(t, 1, w.plain("first", "x.y", alert.High), w.plain("second", "x.z", alert.High))
		after(time.Minute)
		s, err := p.Mute(ctxb, "cli:bob", []string{"rule=x.y"}, 2*time.Hour, "maintenance")
		if err != nil {
			t.Fatal(err)
		}
		batch := []alert.Alert{w.plain("other", "x.z", alert.High)}
		for i := range 100 {
			batch = append(batch, w.plain(fmt.Sprintf("a%d", i), "x.y", alert.High))
		}
		p.give(t, 2, batch...)
		after(10 * time.Minute)
		if n := len(soc.all()); n != 3 || len(soc.of("other")) != 1 {
			t.Fatalf("%d messages while it is silenced: %s", n, soc.all()[n-1].last.Alert.Title)
		}
		if st := p.Stats()[0]; st.Held != 100 || st.Digested != 0 {
			t.Fatalf("%d held, %d in digests", st.Held, st.Digested)
		}
		if _, err := p.Triage(ctxb, "a7", TriageRequest{By: "cli:bob", Do: DoClose, Verdict: FalsePositive}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Unmute(ctxb, s.ID, "cli:bob"); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Minute)
		told := len(soc.all()) - 3
		for _, m := range soc.byRule(RuleDigest) {
			told += m.last.Alert.Count - 1
		}
		if told != 99 || len(soc.byRule(RuleDigest)) == 0 {
			t.Errorf("%d told when the silence was ended, %d digests", told, len(soc.byRule(RuleDigest)))
		}
	})
}

// So it is for what is old, as after a restart in a long silence.
func TestSilencedAndOldIsInNoDigest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}})
		after(time.Second)
		if _, err := p.Mute(ctxb, "cli:bob", []string{"rule=x.y"}, 20*time.Hour, "maintenance"); err != nil {
			t.Fatal(err)
		}
		p.give(t, 1, w.plain("a1", "x.y", alert.Medium))
		after(2 * time.Hour)
		p.stop()
		p = w.start([]Destination{{Notifier: soc}})
		defer p.stop()
		after(17 * time.Hour)
		if n := len(soc.all()); n != 0 {
			t.Fatalf("%d messages while it is silenced: %s", n, soc.all()[0].last.Alert.Title)
		}
		after(2 * time.Hour)
		if d := soc.byRule(RuleDigest); len(d) != 1 || d[0].last.Alert.Count != 1 {
			t.Errorf("%d digests when the silence had ended", len(d))
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
			"ourselves":  func() (Silence, error) { return p.Mute(ctxb, "a", []string{"rule=self.group"}, time.Hour, "c") },
			"for ever":   func() (Silence, error) { return p.Mute(ctxb, "a", []string{"rule=x"}, 1e6*time.Hour, "c") },
			"everything": func() (Silence, error) { return p.Mute(ctxb, "a", nil, time.Hour, "c") },
			"nearly":     func() (Silence, error) { return p.Mute(ctxb, "a", []string{"account!=prod"}, time.Hour, "c") },
			"all rules":  func() (Silence, error) { return p.Mute(ctxb, "a", []string{`rule=~".*"`, "actor!=x"}, time.Hour, "c") },
			"no label":   func() (Silence, error) { return p.Mute(ctxb, "a", []string{"color=red"}, time.Hour, "c") },
			"unknown":    func() (Silence, error) { return p.Unmute(ctxb, "0123", "a") },
		} {
			if _, err := f(); !errors.Is(err, ErrBadSilence) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := p.Mute(ctxb, "a", []string{"rule=x"}, 100*24*time.Hour, "c"); err == nil || !strings.Contains(err.Error(), "for 100d: want 1m to 90d") {
			t.Errorf("what was asked for is told otherwise: %v", err)
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

// A closed incident inhibits nothing more, also after a restart.
func TestClosedInhibitsNothing(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			soc := w.chat("soc")
			opt := tree(t, route.Config{
				Route:   route.Node{Receiver: "soc"},
				Inhibit: []route.Inhibit{{Source: []string{"severity=critical"}, Target: []string{"severity!=critical"}, Equal: []string{"actor"}}},
			}, "soc")
			p := w.start([]Destination{{Notifier: soc}}, opt)
			defer func() { p.stop() }()
			p.give(t, 1, w.plain("big", "a.b", alert.Critical))
			p.give(t, 2, w.plain("small", "c.d", alert.Medium))
			after(time.Minute)
			if len(soc.of("small")) != 0 {
				t.Fatal("not inhibited")
			}
			if restart {
				p.stop()
				p = w.deaf(t)
			}
			if _, err := p.Triage(ctxb, "big", TriageRequest{By: "cli:bob", Do: DoClose, Verdict: FalsePositive}); err != nil {
				t.Fatal(err)
			}
			if restart {
				p = w.start([]Destination{{Notifier: soc}}, opt)
			}
			after(time.Second)
			if len(soc.of("small")) != 1 {
				t.Error("still inhibited by what is closed")
			}
		})
	}
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

// What people do with a group's message is done with each incident of it, also
// those that it does not list; what was closed before stays as it is, and one
// more incident asks for people again.
func TestGroupTriage(t *testing.T) {
	defer SetMaxMembers(2, 10)()
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}}, tree(t, route.Config{Route: route.Node{Receiver: "soc", GroupBy: []string{"rule"}}}, "soc"))
		defer p.stop()
		after(time.Hour) // groups begin anew at multiples of repeat_interval
		give := func(seq uint64, id string) {
			t.Helper()
			p.give(t, seq, w.plain(id, "user.created", alert.Medium))
			after(time.Minute)
		}
		do := func(id string, q TriageRequest) {
			t.Helper()
			q.By = "slack:U1"
			if _, err := p.Triage(ctxb, id, q); err != nil {
				t.Fatal(err)
			}
			after(time.Second)
		}
		states := func(want string) {
			t.Helper()
			var got []string
			for _, id := range []string{"a0", "a1", "a2", "a3", soc.all()[0].first.Alert.ID} {
				x, err := p.TriageOf(ctxb, id)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.TrimSpace(string(x.State)+" "+string(x.Verdict)))
			}
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("they are %s\nwant %s", s, want)
			}
		}
		for i, id := range []string{"a0", "a1", "a2"} {
			give(uint64(i+1), id)
		}
		g := soc.all()[0].first.Alert.ID
		do("a0", TriageRequest{Do: DoClose, Verdict: Benign})
		states("closed benign, open, open, open, open")
		if _, err := p.Triage(ctxb, g, TriageRequest{By: "slack:U1", Do: DoClose}); !errors.Is(err, ErrBadTriage) {
			t.Error(err)
		}
		states("closed benign, open, open, open, open")
		do(g, TriageRequest{Do: DoAcknowledge})
		states("closed benign, acknowledged, acknowledged, open, acknowledged")
		if m := soc.all()[0].last; m.Triage.State != TriageAcknowledged {
			t.Errorf("the message does not show at once that it was acknowledged: %+v", m.Triage)
		}
		give(4, "a3")
		states("closed benign, acknowledged, acknowledged, open, open")
		if s := strings.Join(soc.all()[0].thread, "\n"); !strings.Contains(s, "reopened by machine; an incident of it is open") {
			t.Errorf("the thread says %q", s)
		}
		do(g, TriageRequest{Do: DoClose, Verdict: TruePositive})
		states("closed benign, closed true_positive, closed true_positive, closed true_positive, closed true_positive")
		do(g, TriageRequest{Do: DoReopen})
		states("closed benign, open, open, open, open")
	})
}

// A group counts each incident once, however often it goes on, also those that
// it does not list; and one that an earlier version stored goes on.
func TestGroupCountsOnce(t *testing.T) {
	defer SetMaxMembers(5, 10)()
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}}, tree(t, route.Config{Route: route.Node{Receiver: "soc", GroupBy: []string{"rule"}}}, "soc"))
		defer p.stop()
		after(time.Hour) // groups begin anew at multiples of repeat_interval
		seq := uint64(0)
		give := func(from, to, revision int) {
			t.Helper()
			for i := from; i < to; i++ {
				a := w.plain(fmt.Sprintf("a%d", i), "user.created", alert.Medium)
				a.Revision = revision
				seq++
				p.give(t, seq, a)
			}
			after(6 * time.Minute)
		}
		count := func() int {
			t.Helper()
			ms := soc.all()
			if len(ms) != 1 {
				t.Fatalf("%d messages", len(ms))
			}
			return ms[0].last.Alert.Count
		}
		give(0, 15, 1)
		for r := range 3 {
			give(0, 15, r+2)
		}
		if n := count(); n != 15 {
			t.Errorf("15 incidents are told as %d", n)
		}
		id := soc.all()[0].first.Alert.ID
		h, err := w.mem.History(ctxb, "alert", id)
		if err != nil {
			t.Fatal(err)
		}
		var rec map[string]json.RawMessage
		last := h[len(h)-1]
		if err := json.Unmarshal(last.Data, &rec); err != nil || rec["others"] == nil {
			t.Fatal("what is not listed is not kept", err)
		}
		delete(rec, "others")
		data, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.mem.Append(ctxb, "alert", id, data, last.Seq); err != nil {
			t.Fatal(err)
		}
		for r := range 3 {
			give(0, 6, r+5)
		}
		if n := count(); n != 16 { // it could not know the sixth
			t.Errorf("%d incidents after an earlier version", n)
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

// Waiting to be told again keeps nothing else from being shown: neither what
// is new of the incident itself, nor, when memory is full of such, others.
func TestReminderDelaysNothing(t *testing.T) {
	defer SetMaxItems(8)()
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc, StormAt: -1}}, tree(t, route.Config{Route: route.Node{Receiver: "soc"}}, "soc"))
		defer p.stop()
		a := w.plain("a1", "x.y", alert.High)
		p.give(t, 1, a)
		after(time.Minute)
		a.Revision, a.Count = 2, 2
		p.give(t, 2, a)
		after(time.Minute)
		if m := soc.of("a1"); len(m) != 1 || m[0].last.Alert.Count != 2 {
			t.Fatalf("%d messages, a repeat waits for the reminder", len(m))
		}
		for i := range 30 {
			p.give(t, uint64(i+3), w.plain(fmt.Sprint("b", i), "x.y", alert.High))
			after(time.Minute)
			if len(soc.of(fmt.Sprint("b", i))) != 1 {
				t.Fatalf("incident %d waits until others have been told again", i)
			}
		}
		if s := p.Stats()[0]; s.Waiting != 0 {
			t.Errorf("%d wait", s.Waiting)
		}
	})
}

// What was dropped when a silence ended is told when it goes on, is reopened
// or grows worse; also when we were stopped in between.
func TestDroppedIsToldWhenItGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		close, told bool
		then        func(p *process, a alert.Alert) (alert.Alert, error)
	}{
		"nothing":              {then: func(_ *process, a alert.Alert) (alert.Alert, error) { return a, nil }},
		"old, new event":       {told: true, then: func(_ *process, a alert.Alert) (alert.Alert, error) { a.LastAt = time.Now(); return a, nil }},
		"closed, another fact": {close: true, then: func(_ *process, a alert.Alert) (alert.Alert, error) { a.LastAt = time.Now(); return a, nil }},
		"closed, worse":        {close: true, told: true, then: func(_ *process, a alert.Alert) (alert.Alert, error) { a.Severity = alert.Critical; return a, nil }},
		"closed, reopened": {close: true, told: true, then: func(p *process, a alert.Alert) (alert.Alert, error) {
			_, err := p.Triage(ctxb, a.ID, TriageRequest{By: "cli:bob", Do: DoReopen})
			a.LastAt = time.Now()
			return a, err
		}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", restart), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					soc := w.chat("soc")
					dest := []Destination{{Notifier: soc}}
					p := w.start(dest)
					defer func() { p.stop() }()
					after(time.Second)
					if _, err := p.Mute(ctxb, "cli:bob", []string{"rule=x.y"}, 26*time.Hour, strings.Repeat("noise ", 200)); err != nil {
						t.Fatal(err)
					}
					a := w.plain("a1", "x.y", alert.High)
					p.give(t, 1, a)
					after(time.Hour)
					if s := p.Stats()[0]; s.Held != 1 {
						t.Fatalf("held %d times", s.Held)
					}
					if c.close {
						if _, err := p.Triage(ctxb, "a1", TriageRequest{By: "cli:bob", Do: DoClose, Verdict: Benign}); err != nil {
							t.Fatal(err)
						}
					}
					after(26 * time.Hour)
					if len(soc.all()) != 0 {
						t.Fatal("told although it was over")
					}
					if restart { // recorded, and then the process ends before anything is shown
						p.stop()
						p = w.deaf(t)
					}
					a, err := c.then(p, a)
					if err != nil {
						t.Fatal(err)
					}
					a.Revision = 2
					p.give(t, 2, a)
					if restart {
						p = w.start(dest)
					}
					after(time.Minute)
					if got := len(soc.of("a1")) == 1; got != c.told {
						t.Errorf("told: %v, want %v", got, c.told)
					}
				})
			})
		}
	}
}

// deaf is a process that takes alerts and shows nothing.
func (w *world) deaf(t *testing.T) *process {
	t.Helper()
	m, err := NewMachine(w.options())
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDispatcher(DispatcherOptions{Journal: w.journal(), Machine: m, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return &process{d, m, func() {}}
}

// Where messages cannot be edited, every incident of a group is told of.
func TestGroupOnARobot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.chat("robot")
		p := w.start([]Destination{{Notifier: robot{c}}}, tree(t, route.Config{Route: route.Node{Receiver: "robot", GroupBy: []string{"rule"}}}, "robot"))
		defer p.stop()
		after(time.Hour) // groups begin anew at multiples of repeat_interval
		tried := w.plain("a1", "user.created", alert.Medium)
		tried.Outcome = "attempt"
		p.give(t, 1, tried)
		after(time.Minute)
		p.give(t, 2, w.plain("a2", "user.created", alert.Medium))
		after(6 * time.Minute)
		if a := c.all()[0].last.Alert; strings.Count(a.Reason, " · (attempt) ") != 1 || strings.Count(a.ReasonZH, " · （尝试）") != 1 {
			t.Errorf("one of two was only attempted: %s, %s", a.Reason, a.ReasonZH)
		}
		if ms := c.all(); len(ms) != 1 || ms[0].last.Alert.Count != 2 {
			t.Fatalf("%d messages, the second incident is told nowhere", len(ms))
		}
		again := w.plain("a2", "user.created", alert.Medium)
		again.Revision, again.Count, again.LastAt = 2, 2, time.Now()
		p.give(t, 3, again)
		after(6 * time.Minute)
		if n := len(c.made("edit")); n != 1 {
			t.Errorf("%d messages for one repeat", n-1)
		}
	})
}
