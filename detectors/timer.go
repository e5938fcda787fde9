package detectors

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Spent sums up how long one piece of work took, each time that it was looked
// at. Safe for concurrent use.
type Spent struct{ times, total, worst atomic.Int64 }

func (s *Spent) add(ns int64) {
	ns = max(ns, 0)
	s.times.Add(1)
	s.total.Add(ns)
	for was := s.worst.Load(); ns > was && !s.worst.CompareAndSwap(was, ns); was = s.worst.Load() {
	}
}

// Read returns how often the work was looked at, how long it took in all, and
// the longest of them.
func (s *Spent) Read() (times uint64, total, worst time.Duration) {
	return uint64(s.times.Load()), time.Duration(s.total.Load()), time.Duration(s.worst.Load())
}

// RuleTime is what a rule took: Match when events arrived, its condition and
// what it has to say where it holds; Order in event-time order, what its
// detector observed, or the whole rule where it reads policy facts. The hourly
// sweeps of detectors and what they fetch beforehand are in neither.
type RuleTime struct{ Match, Order Spent }

// Timer measures what the rules of one set cost, event by event that the caller
// chooses: to evaluate an event by EvaluateTimed has it measured there and in
// the engine that it is given to, if its EngineConfig has the Timer too. Time
// decides nothing; the same comes out with a timer and without. One timer may
// serve any number of evaluators and engines at once.
type Timer struct {
	now   func() int64
	rules []*RuleTime
	judge *Spent
}

// NewTimer returns a timer for the rules of set. now is a clock that only grows,
// in nanoseconds. of is asked once for each rule where its time is added up,
// judge is what the policy judge took.
func NewTimer(set RuleSet, now func() int64, of func(rule string) *RuleTime, judge *Spent) *Timer {
	t := &Timer{now: now, judge: judge}
	for i := range set.Rules() {
		t.rules = append(t.rules, of(set.Rules()[i].ID))
	}
	return t
}

// EvaluateTimed is Evaluate for an event that is measured.
func (e *Evaluator) EvaluateTimed(ev *event.Event, t *Timer) (v Evaluated) {
	e.evaluate(&v, ev, &e.arena, t)
	v.timed = true
	return v
}

// time is each for one candidate, measured.
func (e *Evaluator) time(t *Timer, v *Evaluated, is *known, facts Facts, begun *bool, next *int) error {
	cands := is.cands[:*next+1]
	c := &cands[*next]
	if facts&^c.allowed != 0 || e.rules[c.rule].Policy {
		return e.each(v, is, cands, facts, begun, next) // not evaluated here
	}
	if !*begun {
		// It is shared by all, not the first one's.
		e.begin(v.Event, is)
		*begun = true
	}
	began := t.now()
	err := e.each(v, is, cands, facts, begun, next)
	t.rules[c.rule].Match.add(t.now() - began)
	return err
}

// timeWorks does the work of an event piece by piece, each measured.
func (e *Engine) timeWorks(t *Timer, p *pending, facts PolicyFacts, asked []Observation, late bool) {
	one := *p
	for i := range p.work {
		one.work = p.work[:i+1]
		next, began := i, t.now()
		err := e.works(&one, facts, asked, late, &next)
		t.rules[p.work[i].rule].Order.add(t.now() - began)
		if err != nil {
			e.fault(RuleError{Rule: e.rules[p.work[i].rule].ID, EventID: strings.Clone(p.id()), Err: err})
		}
	}
}
