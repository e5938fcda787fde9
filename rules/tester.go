package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// TestResult is what came of one test of one rule.
type TestResult struct {
	Rule     string        `json:"rule"`
	Test     string        `json:"test"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Pass     bool          `json:"pass"`
	Failures []string      `json:"failures,omitempty"` // one sentence each
	Why      []string      `json:"why,omitempty"`      // of a failed test: each event with each part of the condition
	Alerts   []alert.Alert `json:"alerts,omitempty"`   // of a failed test: what there was
}

// Test runs the tests of every rule whose id one of the patterns matches
// ("signin.*"); without patterns of every rule, those that are off too. Each
// test runs its rule alone, with end of input, so that everything pending is
// decided.
func Test(set *Set, patterns ...string) []TestResult {
	var out []TestResult
	for _, r := range set.all {
		if len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p string) bool { return globID(p, r.id()) }) {
			continue
		}
		tests := r.tests()
		for i := range tests {
			out = append(out, set.runTest(r, &tests[i]))
		}
	}
	return out
}

// only is the set with one rule, and what a test says about lists and places.
func (s *Set) only(r *rule, t *testDoc) *Set {
	one := s.with(t)
	one.rules, one.all = []*rule{r}, []*rule{r}
	if r.signals != nil {
		for _, o := range s.all {
			if o.id() != r.id() && o.signals == nil && r.observes(o.id()) {
				one.rules, one.all = append(one.rules, o), append(one.all, o)
			}
		}
	}
	one.build()
	return one
}

// with is the set without rules, with what a test says about lists and
// places.
func (s *Set) with(t *testDoc) *Set {
	one := &Set{tables: s.tables, lists: s.lists, geo: s.geo, judge: s.judge, kin: s.kin, hash: s.hash}
	if t != nil && len(t.Lists) > 0 {
		one.lists = make(map[string]*list)
		for name, entries := range t.Lists {
			one.lists[name] = newList(entries)
		}
	}
	if t != nil && len(t.Geo) > 0 {
		one.geo = newTestGeo(t.Geo)
	}
	if t != nil && len(t.Owners) > 0 {
		table := &ownerTable{of: map[string]Ownership{}, at: map[string]string{}}
		for id, o := range t.Owners {
			table.add(&file{}, 0, id, o.Owner.value, o.Team.value, o.Production.value, func(string, string, string, ...any) {}) // checked at load
		}
		one.owners = &Owners{of: table.of}
	}
	return one
}

type testGeo struct {
	nets map[netip.Prefix]geoDoc
	set  netset
}

func newTestGeo(docs map[string]geoDoc) *testGeo {
	g := &testGeo{nets: make(map[netip.Prefix]geoDoc)}
	for network, d := range docs {
		if p, ok := parseNetwork(network); ok {
			g.nets[p] = d
			g.set.add(p)
		}
	}
	return g
}

// Lookup implements detectors.Geo: the longest network counts.
func (g *testGeo) Lookup(a netip.Addr) (country string, asn uint32, org string, ok bool) {
	for _, bits := range slices.Backward(g.set.bits) {
		if p, err := a.Prefix(bits); err == nil {
			if d, ok := g.nets[p]; ok {
				return d.Country, d.ASN, d.Org, true
			}
		}
	}
	return "", 0, "", false
}

// endOfTime keeps a test's watermark back until the input ends.
const endOfTime = 100 * 365 * 24 * time.Hour

func (s *Set) runTest(r *rule, t *testDoc) TestResult {
	res := TestResult{Rule: r.id(), Test: t.Name.value, File: r.file.path, Line: t.Name.node.Line}
	fail := func(format string, args ...any) { res.Failures = append(res.Failures, fmt.Sprintf(format, args...)) }

	one := s.only(r, t)
	records, err := t.records()
	if err != nil {
		fail("%s", err)
		return res
	}
	var events []*event.Event
	for i, rec := range records {
		ev, err := event.Parse(rec)
		if err != nil {
			fail("event %d is no event: %s", i+1, err)
			return res
		}
		events = append(events, ev)
	}
	alerts, faults := one.replay(events)
	alerts = lists.Keep(alerts, func(a *alert.Alert) bool { return a.Rule == r.id() })
	for _, f := range faults {
		fail("%s", f)
	}
	check(&t.Expect, alerts, fail)
	res.Pass = len(res.Failures) == 0
	if !res.Pass {
		res.Alerts = alerts
		for i, ev := range events {
			if i == 5 {
				res.Why = append(res.Why, fmt.Sprintf("… and %d more events", len(events)-i))
				break
			}
			for _, line := range one.explain(r, ev) {
				res.Why = append(res.Why, fmt.Sprintf("event %d %s: %s", i+1, ev.Name, line))
			}
		}
	}
	return res
}

func (s *Set) newJudge() detectors.PolicyJudge {
	if s.judge == nil {
		return nil
	}
	return s.judge()
}

// replay runs events through the set and returns its alerts.
func (s *Set) replay(events []*event.Event) ([]alert.Alert, []string) {
	var faults []string
	cfg := detectors.EngineConfig{
		Grace: endOfTime, DedupHorizon: endOfTime, IncludeShadow: true,
		OnRuleError: func(e detectors.RuleError) { faults = append(faults, e.Error()) },
	}
	cfg.Judge = s.newJudge()
	engine := detectors.NewEngine(s, cfg)
	eval := s.NewEvaluator()
	group := alert.NewGrouper(alert.GrouperConfig{})
	for _, ev := range events {
		engine.Apply(eval.Evaluate(ev), "test")
	}
	engine.Close()
	for _, d := range engine.Take() {
		group.Add(d)
	}
	return group.All(), faults
}

// check compares alerts with what a test expects.
func check(want *expectDoc, got []alert.Alert, fail func(string, ...any)) {
	if len(got) != *want.Alerts {
		fail("%d alerts, want %d", len(got), *want.Alerts)
	}
	same := func(i int, what, have string, want *string) {
		if want != nil && have != *want {
			fail("alert %d: %s is %q, want %q", i+1, what, have, *want)
		}
	}
	for i := range got {
		a := &got[i]
		if want.Severity != "" {
			same(i, "severity", a.Severity.String(), &want.Severity)
		}
		if want.Outcome != "" {
			same(i, "outcome", a.Outcome, &want.Outcome)
		}
		same(i, "actor", a.Actor.Name, want.Actor)
		name := ""
		if a.Target != nil {
			name = a.Target.Name
		}
		same(i, "target", name, want.Target)
		same(i, "target_key", a.TargetKey, want.TargetKey)
		same(i, "source_ip", a.SourceIP, want.SourceIP)
		if want.Count != nil && a.Count != *want.Count {
			fail("alert %d: count is %d, want %d", i+1, a.Count, *want.Count)
		}
		for _, x := range want.TitleContains {
			if !strings.Contains(a.Title, x) {
				fail("alert %d: title %q lacks %q", i+1, a.Title, x)
			}
		}
		for _, x := range want.ReasonContains {
			if !strings.Contains(a.Reason, x) {
				fail("alert %d: reason %q lacks %q", i+1, a.Reason, x)
			}
		}
		for _, x := range want.ReasonLacks {
			if strings.Contains(a.Reason, x) {
				fail("alert %d: reason %q contains %q", i+1, a.Reason, x)
			}
		}
		for _, k := range want.Details {
			if _, ok := a.Details[k]; !ok {
				fail("alert %d: details lack %q", i+1, k)
			}
		}
	}
}
