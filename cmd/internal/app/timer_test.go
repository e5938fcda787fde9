package app

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Whether rules are measured changes neither what they find nor their state.
func TestTimerChangesNothing(t *testing.T) {
	set := packWith(t, nil)
	m := newMeters()
	var now int64
	timer := detectors.NewTimer(set, func() int64 { now++; return now }, func(rule string) *detectors.RuleTime {
		if m.rules[rule] == nil {
			m.rules[rule] = &detectors.RuleTime{}
		}
		return m.rules[rule]
	}, &m.judge)
	cfg := detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Second, IncludeShadow: true}
	plain, eval := detectors.NewEngine(set, cfg), detectors.NewEvaluator(set)
	cfg.Judge, cfg.Timer = NewJudge(), timer
	timed, teval := detectors.NewEngine(set, cfg), detectors.NewEvaluator(set)
	r := rand.New(rand.NewPCG(3, 11))
	at, found := benchEpoch, 0
	for n := range 3000 {
		at = at.Add(time.Duration(r.IntN(90)) * time.Second)
		late := time.Duration(0)
		if r.IntN(20) == 0 {
			late = time.Duration(r.IntN(120)) * time.Minute
		}
		rec := costRecord(nil, r, n, r.IntN(12), at.Add(-late))
		if n%7 == 0 {
			rec = bytes.Replace(rec, []byte(`"eventName":"`), []byte(`"eventName":"AttachPolicyToUser","was":"`), 1)
			rec = bytes.Replace(rec, []byte(`"serviceName":"`), []byte(`"serviceName":"Ram","at":"`), 1)
		}
		ev, err := event.Parse(bytes.Clone(rec))
		if err != nil {
			t.Fatal(err)
		}
		same, err := event.Parse(bytes.Clone(rec))
		if err != nil {
			t.Fatal(err)
		}
		plain.Apply(eval.Evaluate(ev), "s/0")
		if n%2 == 0 {
			timed.Apply(teval.EvaluateTimed(same, timer), "s/0")
		} else {
			timed.Apply(teval.Evaluate(same), "s/0")
		}
		if n%500 == 499 {
			a, b := plain.Take(), timed.Take()
			found += len(a)
			if d := cmp.Diff(a, b); d != "" {
				t.Fatalf("after %d events (-plain +timed):\n%s", n, d)
			}
		}
	}
	if !bytes.Equal(plain.Snapshot(), timed.Snapshot()) {
		t.Error("the states differ")
	}
	if found == 0 {
		t.Error("nothing was found: the test proves nothing")
	}
	match, order, share := 0, 0, 0.0
	for _, x := range m.ruleTimes() {
		// The clock moves by one at each look, so each time is one.
		for _, k := range []admin.Took{x.Match, x.Order} {
			if k.Times > 0 && (k.Mean() != 1 || k.Worst != time.Duration(1).Seconds()) {
				t.Errorf("%s: %+v", x.Rule, k)
			}
		}
		if x.Match.Times > 0 {
			match++
		}
		if x.Order.Times > 0 {
			order++
		}
		share += x.Share
	}
	judged, _, _ := m.judge.Read()
	if match < 10 || order < 10 || judged == 0 {
		t.Errorf("%d rules measured on arrival, %d in order, the judge %d times", match, order, judged)
	}
	if share < 0.999 || share > 1.001 {
		t.Errorf("the shares are %v of all", share)
	}
}

// What is measured goes on when the rules change, and what is gone is forgotten.
func TestTimesFollowTheRules(t *testing.T) {
	m := newMeters()
	all := packWith(t, nil)
	m.timer(all)
	first := all.Rules()[0].ID
	if len(m.rules) != len(all.Rules()) {
		t.Fatalf("%d times for %d rules", len(m.rules), len(all.Rules()))
	}
	kept := m.rules[first]
	m.timer(&hasty{RuleSet: all, rules: all.Rules()[:3]})
	if len(m.rules) != 3 || m.rules[first] != kept {
		t.Errorf("%d times, the first kept: %v", len(m.rules), m.rules[first] == kept)
	}
}

func TestJoinRuleTimes(t *testing.T) {
	a := []admin.RuleTime{{Rule: "a", Match: admin.Took{Times: 2, Seconds: 1, Worst: 0.75}}, {Rule: "b", Order: admin.Took{Times: 1, Seconds: 4, Worst: 4}}}
	b := []admin.RuleTime{{Rule: "a", Match: admin.Took{Times: 1, Seconds: 2, Worst: 2}, Order: admin.Took{Times: 1, Seconds: 1, Worst: 1}}}
	want := []admin.RuleTime{
		{Rule: "a", Match: admin.Took{Times: 3, Seconds: 3, Worst: 2}, Order: admin.Took{Times: 1, Seconds: 1, Worst: 1}, Share: 0.5},
		{Rule: "b", Order: admin.Took{Times: 1, Seconds: 4, Worst: 4}, Share: 0.5}}
	if d := cmp.Diff(want, admin.JoinRuleTimes(a, b)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, admin.JoinRuleTimes(b, a)); d != "" {
		t.Error(d)
	}
	if got := (admin.Took{}).Mean(); got != 0 {
		t.Error(got)
	}
}

// What it costs to measure one event; live one in pipeline.TimeEvery is.
func BenchmarkTimer(b *testing.B) {
	set := packWith(b, nil)
	m := newMeters()
	timer := m.timer(set)
	events := make([]*event.Event, 512)
	r := rand.New(rand.NewPCG(5, 5))
	for i := range events {
		ev, err := event.Parse(costRecord(nil, r, i, r.IntN(50), benchEpoch.Add(time.Duration(i)*time.Second)))
		if err != nil {
			b.Fatal(err)
		}
		events[i] = ev
	}
	for name, apply := range map[string]func(e *detectors.Engine, v *detectors.Evaluator, ev *event.Event){
		"plain": func(e *detectors.Engine, v *detectors.Evaluator, ev *event.Event) { e.Apply(v.Evaluate(ev), "s/0") },
		"measured": func(e *detectors.Engine, v *detectors.Evaluator, ev *event.Event) {
			e.Apply(v.EvaluateTimed(ev, timer), "s/0")
		},
	} {
		b.Run(name, func(b *testing.B) {
			eng, eval := detectors.NewEngine(set, detectors.EngineConfig{Timer: timer, Grace: 15 * time.Second}), detectors.NewEvaluator(set)
			n := 0
			for b.Loop() {
				ev := *events[n%len(events)]
				ev.ID, ev.Time = strconv.Itoa(n), benchEpoch.Add(time.Duration(n)*time.Second)
				apply(eng, eval, &ev)
				n++
			}
		})
	}
}
