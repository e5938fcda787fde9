package detectors

import (
	"slices"
	"strconv"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Signals says that a rule's detector observes what other rules detect, in
// place of events: the chains and sums that are built from weak signals.
type Signals struct {
	// Rules are the ids of the rules observed.
	Rules []string
	// UpTo is the highest severity observed.
	UpTo alert.Severity
	// Weighted adds to the observation's value, which is the id of the rule,
	// a colon and what a detection of its severity weighs.
	Weighted bool
}

// signalWeight is what a detection of a severity weighs in a sum.
func signalWeight(s alert.Severity) int {
	switch s {
	case alert.Info:
		return 1
	case alert.Low:
		return 2
	case alert.Medium:
		return 4
	case alert.High:
		return 8
	default:
		return 16
	}
}

// observersOf lists for each rule the numbers of the rules that observe it. A
// rule that observes is itself observed by none, so nothing goes in circles;
// nor is a rule in shadow.
func observersOf(rules []Rule) [][]int32 {
	var out [][]int32
	for i := range rules {
		s := rules[i].Signals
		if s == nil || rules[i].New == nil {
			continue
		}
		for j := range rules {
			r := &rules[j]
			if r.Signals == nil && !r.Shadow && slices.Contains(s.Rules, r.ID) {
				if out == nil {
					out = make([][]int32, len(rules))
				}
				out[j] = append(out[j], int32(i))
			}
		}
	}
	return out
}

// observed is whether a rule is observed.
func observed(observers [][]int32, rule int32) bool {
	return observers != nil && len(observers[rule]) > 0
}

// signal is a detection on its way to the rules that observe it.
type signal struct {
	rule int32
	p    pending
	pair Pair
	late bool
}

// signalsOf appends the work that a detection makes for the rules that
// observe its rule. The session speaks of the event afterwards.
func (e *Engine) signalsOf(rule int32, ev *event.Event, d *alert.Detection, out []work) []work {
	if ev == nil || !observed(e.observers, rule) {
		return out
	}
	e.session.Begin(ev)
	for _, f := range e.observers[rule] {
		r := &e.rules[f]
		if d.Severity > r.Signals.UpTo {
			continue
		}
		ok, err := matchOne(e.session, int(f))
		if err == nil && ok {
			e.pairs, err = pairsOne(e.session, int(f), e.pairs[:0])
		}
		if err != nil {
			e.fault(RuleError{Rule: r.ID, EventID: strings.Clone(ev.ID), Err: err})
			continue
		}
		if !ok {
			continue
		}
		for _, pair := range e.pairs {
			pair.Value = e.rules[rule].ID
			if r.Signals.Weighted {
				pair.Value += ":" + strconv.Itoa(signalWeight(d.Severity))
			}
			out = append(out, work{rule: f, pair: pair})
		}
	}
	return out
}

// tell hands a detection made in event-time order to the rules that observe
// it, after what is being done now.
func (e *Engine) tell(rule int32, at pending, d *alert.Detection, late bool) {
	for _, w := range e.signalsOf(rule, at.ev, d, nil) {
		e.signals = append(e.signals, signal{rule: w.rule, p: at, pair: w.pair, late: late})
	}
}

// drain lets rules observe what was told.
func (e *Engine) drain() {
	for i := 0; i < len(e.signals); i++ {
		s := e.signals[i]
		if err := e.hear(&s); err != nil {
			e.fault(RuleError{Rule: e.rules[s.rule].ID, EventID: strings.Clone(s.p.id()), Err: err})
		}
	}
	clear(e.signals)
	e.signals = e.signals[:0]
}

func (e *Engine) hear(s *signal) (err error) {
	defer guard(&err)
	e.look(&s.p)
	e.observe(s.rule, &s.p, &Observation{Time: s.p.at, Key: s.pair.Key, Value: s.pair.Value, Event: &e.outline, Late: s.late})
	return nil
}
