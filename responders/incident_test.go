package responders_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/raced"
	. "github.com/trailwarden/trailwarden/responders"
)

// incidentStep is one thing that happens to an incident, its message, or us.
type incidentStep struct {
	what  string
	which int
	fault fault
	wait  time.Duration
}

var incidentSteps = []string{"repeat", "worse", "address", "acknowledge", "assign", "close", "reopen", "mute", "unmute", "restart", "fault", "wait", "late"}

// The incident message as a model. Whatever happens to incidents, to the
// platform's answers and to our process: each incident that may be told has
// exactly one message, in the end it says what is true, nothing is told while
// it is muted, and the thread stays bounded.
func TestIncidentMessageModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var plan []incidentStep
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			plan = append(plan, incidentStep{
				what: rapid.SampledFrom(incidentSteps).Draw(rt, "what"), which: rapid.IntRange(0, 2).Draw(rt, "which"),
				fault: rapid.SampledFrom([]fault{throttled, errBefore, lostBefore, lostAfter}).Draw(rt, "fault"),
				wait:  time.Duration(rapid.IntRange(0, 90).Draw(rt, "wait")) * time.Second,
			})
		}
		var wrong string
		bubble(t, func(t *testing.T, w *world) { wrong = runIncidents(t, w, plan) })
		if wrong != "" {
			rt.Fatalf("%s\nafter %v", wrong, plan)
		}
	})
}

func runIncidents(t *testing.T, w *world, plan []incidentStep) string {
	chat := w.chat("chat")
	dest := []Destination{{Notifier: chat, StormAt: -1}}
	p := w.start(dest)
	defer func() { p.stop() }()
	after(time.Second)
	now := map[string]alert.Alert{}
	triage := map[string]TriageState{}
	var seq uint64
	give := func(a alert.Alert) {
		a.Revision++
		now[a.ID] = a
		seq++
		p.give(t, seq, a)
	}
	id := func(i int) string { return fmt.Sprintf("incident-%d", i) }
	silence := map[int]string{}
	for i := range 2 { // the third comes late, if at all
		give(w.plain(id(i), fmt.Sprint("rule.", i), alert.Medium))
	}
	for _, s := range plan {
		a, known := now[id(s.which)]
		do := func(q TriageRequest, state TriageState) {
			q.By = "cli:bob"
			if _, err := p.Triage(ctxb, a.ID, q); err == nil && state != "" {
				triage[a.ID] = state
			}
		}
		switch {
		case s.what == "wait":
			after(s.wait)
		case s.what == "restart":
			p.stop()
			p = w.start(dest)
			synctest.Wait()
		case s.what == "fault":
			chat.set(func() { chat.next, chat.nextEdit = append(chat.next, s.fault), append(chat.nextEdit, s.fault) })
		case s.what == "late" && !known:
			give(w.plain(id(s.which), fmt.Sprint("rule.", s.which), alert.High))
		case s.what == "mute" && silence[s.which] == "":
			x, err := p.Mute(ctxb, "cli:bob", []string{fmt.Sprint("rule=rule.", s.which)}, 24*time.Hour, "model")
			if err != nil {
				return err.Error()
			}
			silence[s.which] = x.ID
		case s.what == "unmute" && silence[s.which] != "":
			if _, err := p.Unmute(ctxb, silence[s.which], "cli:bob"); err != nil {
				return err.Error()
			}
			delete(silence, s.which)
		case !known:
		case s.what == "repeat":
			a.Count, a.LastAt = a.Count+1, a.LastAt.Add(time.Second)
			give(a)
		case s.what == "worse":
			a.Severity = min(a.Severity+1, alert.Critical)
			give(a)
		case s.what == "address":
			a.SourceIP = fmt.Sprintf("198.51.100.%d", a.Revision)
			give(a)
		case s.what == "acknowledge":
			do(TriageRequest{Do: DoAcknowledge}, TriageAcknowledged)
		case s.what == "assign":
			do(TriageRequest{Do: DoAssign, Owner: "carol"}, "")
		case s.what == "close":
			do(TriageRequest{Do: DoClose, Verdict: Benign}, TriageClosed)
		case s.what == "reopen":
			do(TriageRequest{Do: DoReopen}, TriageOpen)
		}
	}
	after(2 * time.Hour) // faults are used up, backoffs and gaps are over
	for i := range 3 {
		a, known := now[id(i)]
		ms := chat.of(id(i))
		if !known {
			if len(ms) > 0 {
				return "a message of nothing"
			}
			continue
		}
		muted := silence[i] != ""
		dropped := triage[a.ID] == TriageClosed // closed while muted: not told any more
		switch {
		case len(ms) > 1:
			return fmt.Sprintf("%s has %d messages", a.ID, len(ms))
		case len(ms) == 0 && !muted && !dropped:
			return a.ID + " was never told"
		case len(ms) == 0:
			continue
		}
		last := ms[0].last
		if last.Alert.Revision != a.Revision || last.Alert.Count != a.Count || last.Alert.Severity != a.Severity {
			return fmt.Sprintf("%s says revision %d ×%d %s, is %d ×%d %s", a.ID, last.Alert.Revision, last.Alert.Count, last.Alert.Severity, a.Revision, a.Count, a.Severity)
		}
		if want := triage[a.ID]; want != "" && last.Triage.State != want {
			return fmt.Sprintf("%s says %s, is %s", a.ID, last.Triage.State, want)
		}
		if len(ms[0].thread) > 60 {
			return fmt.Sprintf("%d lines in a thread", len(ms[0].thread))
		}
		for _, l := range ms[0].thread {
			if strings.Contains(l, "possible repeat") {
				return "a platform that can be read back was told twice"
			}
		}
	}
	return ""
}

// The figures of DESIGN.md: what ten thousand equal alerts make people read.
func TestMessagesOfAStorm(t *testing.T) {
	n := raced.Size(10_000, 1_500)
	for _, c := range []struct {
		name            string
		dst             func(*chat) Destination
		same            bool
		posts, edits    int // at most
		digestsCoverAll bool
	}{
		{"one incident, chat that edits", func(c *chat) Destination { return Destination{Notifier: c, Gap: time.Second} }, true, 1, 150, false},
		{"one incident, robot", func(c *chat) Destination { return Destination{Notifier: robot{c}, Gap: 3 * time.Second} }, true, 1, 5, false},
		{"ten thousand incidents of one rule", func(c *chat) Destination { return Destination{Notifier: c, Gap: time.Second} }, false, 40, 0, true},
	} {
		bubble(t, func(t *testing.T, w *world) {
			slack := w.chat("chat")
			p := w.start([]Destination{c.dst(slack)})
			defer p.stop()
			a := w.plain("storm", "root.login", alert.High)
			if c.same {
				for i := 1; i <= n; i++ {
					a.Revision, a.Count, a.LastAt = i, i, a.LastAt.Add(100*time.Millisecond)
					p.give(t, uint64(i), a)
					if i%100 == 0 {
						time.Sleep(10 * time.Second) // ten a second
					}
				}
			} else {
				var batch []alert.Alert
				for i := range n {
					batch = append(batch, w.plain(fmt.Sprintf("storm-%d", i), "root.login", alert.High))
				}
				p.give(t, 1, batch...)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			posts, edits, covered := len(slack.all()), len(slack.made("edit")), 0
			for _, m := range slack.all() {
				if covered++; m.first.Alert.Rule == RuleDigest {
					covered += m.first.Alert.Count - 1
				}
			}
			t.Logf("%s: %d messages, %d edits or follow-ups for %d alerts", c.name, posts, edits, n)
			if posts > c.posts || edits > c.edits {
				t.Errorf("%s: %d messages and %d edits, at most %d and %d", c.name, posts, edits, c.posts, c.edits)
			}
			if c.digestsCoverAll && covered != n {
				t.Errorf("%s: %d of %d incidents are told", c.name, covered, n)
			}
			if c.same && edits > 0 && slack.of("storm")[0].last.Alert.Count < n/10 {
				t.Errorf("%s: the message ends at ×%d", c.name, slack.of("storm")[0].last.Alert.Count)
			}
		})
	}
}
