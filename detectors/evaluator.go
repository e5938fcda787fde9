package detectors

import (
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Evaluator is the part of detection that needs no state: which rules an
// event can meet, and whether it matches. One per goroutine; any number of
// evaluators may work on one rule set at once.
type Evaluator struct {
	rules   []Rule
	session Session
	lookup  lookup
	judges  bool // some rule reads policy facts
	pairs   []Pair

	observers [][]int32 // as the engine's
}

// NewEvaluator returns an evaluator for the set.
func NewEvaluator(set RuleSet) *Evaluator {
	e := &Evaluator{rules: set.Rules(), session: set.NewSession(), lookup: lookup{index: set.Index()}}
	e.observers = observersOf(e.rules)
	for i := range e.rules {
		e.judges = e.judges || e.rules[i].Policy
	}
	return e
}

// Evaluated is what an Evaluator found out about an event, to be handed to
// the Engine of the event's partition.
type Evaluated struct {
	Event *event.Event
	found []found
	work  []work
	errs  []RuleError
	judge bool
	told  bool     // a rule of found is observed by others
	key   [16]byte // hashed here, where evaluators work in parallel
}

// found is the detection of a rule without state.
type found struct {
	rule int32
	det  alert.Detection
}

// work is what a rule does in event-time order: it observes a pair, or is
// evaluated then (deferred) because it reads policy facts.
type work struct {
	rule     int32
	deferred bool
	pair     Pair
}

// Keeps says that the engine may hold on to the event and its record after
// Apply returns, so that neither may be reused by the caller.
func (v *Evaluated) Keeps() bool { return v.judge || v.told || len(v.work) > 0 }

// Matches counts the rules without state that matched.
func (v *Evaluated) Matches() int { return len(v.found) }

// Evaluate applies the rules to an event. It allocates nothing for rules that
// do not match. The result refers to the event.
func (e *Evaluator) Evaluate(ev *event.Event) Evaluated {
	v := Evaluated{Event: ev, judge: e.judges && PolicyAction(ev.Action), key: ev.DedupKey()}
	cands := e.lookup.find(ev)
	if len(cands) == 0 {
		return v
	}
	facts, begun := FactsOf(ev), false
	for _, c := range cands {
		if facts&^c.allowed != 0 {
			continue
		}
		r := &e.rules[c.rule]
		if r.Policy {
			v.work = append(v.work, work{rule: c.rule, deferred: true})
			continue
		}
		if !begun {
			e.session.Begin(ev)
			begun = true
		}
		e.one(&v, c.rule, r)
	}
	return v
}

// one evaluates a rule on the event of the session.
func (e *Evaluator) one(v *Evaluated, rule int32, r *Rule) {
	ok, err := matchOne(e.session, int(rule))
	switch {
	case err == nil && !ok:
		return
	case err == nil && r.New == nil:
		var d alert.Detection
		if d, err = detectOne(e.session, int(rule), nil, Pair{}); err == nil {
			v.found = append(v.found, found{rule: rule, det: d})
			v.told = v.told || observed(e.observers, rule)
		}
	case err == nil:
		e.pairs, err = pairsOne(e.session, int(rule), e.pairs[:0])
		if err == nil {
			for _, p := range e.pairs {
				v.work = append(v.work, work{rule: rule, pair: p})
			}
		}
	}
	if err != nil {
		v.errs = append(v.errs, RuleError{Rule: r.ID, EventID: v.Event.ID, Err: err})
	}
}

func matchOne(s Session, rule int) (ok bool, err error) {
	defer guard(&err)
	return s.Match(rule)
}

func pairsOne(s Session, rule int, out []Pair) (_ []Pair, err error) {
	defer guard(&err)
	return s.Pairs(rule, out)
}

func detectOne(s Session, rule int, v *Verdict, on Pair) (d alert.Detection, err error) {
	defer guard(&err)
	return s.Detection(rule, v, on)
}
