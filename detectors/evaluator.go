package detectors

import (
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Evaluator is the part of detection that needs no state: which rules an
// event can meet, and whether it matches. One per goroutine; any number of
// evaluators may work on one rule set at once.
type Evaluator struct {
	rules   []Rule
	session Session
	match   func(rule int) (bool, error)     // for what the index lets through
	may     func(rule int, judged bool) bool // the same, of what is decided in order
	begin   func(*event.Event, *known)       // the session
	lookup  lookup
	judges  bool // some rule reads policy facts
	births  bool // lineage is kept
	pairs   []Pair
	works   []work // the chunk being filled
	arena   Arena  // of Evaluate
	keyer   event.Keyer

	observers [][]int32 // as the engine's
}

// workChunk is how many pieces of work are allocated at a time, maxWork how
// many one event makes as a rule.
const (
	workChunk = 640
	maxWork   = 24
)

// NewEvaluator returns an evaluator for the set.
func NewEvaluator(set RuleSet) *Evaluator {
	e := &Evaluator{rules: set.Rules(), session: set.NewSession(), lookup: lookup{index: set.Index()}, arena: Arena{shared: true}}
	e.match, e.may = e.session.Match, func(int, bool) bool { return true }
	if l, ok := e.session.(Leaver); ok {
		e.match, e.may = l.MatchLeft, l.MayMatch
	}
	e.begin = func(ev *event.Event, _ *known) { e.session.Begin(ev) }
	if k, ok := e.session.(Kinder); ok {
		e.begin = func(ev *event.Event, is *known) { k.BeginKind(ev, &is.kept) }
	}
	e.observers = observersOf(e.rules)
	if l, ok := set.(Liner); ok {
		e.births = l.NewLineage() != nil
	}
	for i := range e.rules {
		e.judges = e.judges || e.rules[i].Policy
	}
	return e
}

// Passing is for events that an engine of this process alone will see, which is
// neither restored nor makes a snapshot: their keys are made faster.
func (e *Evaluator) Passing() { e.keyer.Passing = true }

// Evaluated is what an Evaluator found out about an event, to be handed to
// the Engine of the event's partition.
type Evaluated struct {
	// Event is nil where the engine needs no more of it than Brief has.
	Event *event.Event
	Brief *event.Brief
	// Hold, when not nil, owns the event's memory: where Keeps says so, the
	// engine releases it once, when it has decided the event.
	Hold  Holder
	found []found
	work  []work
	errs  []RuleError
	judge bool
	birth *Birth   // what it made, where the rules keep lineage
	told  bool     // a rule of found is observed by others
	whole bool     // some of the work needs the whole event
	timed bool     // the engine is to measure it
	turn  uint8    // of its second, as turn says
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
func (v *Evaluated) Keeps() bool { return v.judge || v.birth != nil || v.told || len(v.work) > 0 }

// Shorten replaces the event by its brief where that is enough for the engine,
// and says whether it did: the event may be reused then, not the record.
// Nothing in b may share the event's own memory.
func (v *Evaluated) Shorten(b *event.Brief) bool {
	if v.judge || v.whole || len(v.found) > 0 {
		return false
	}
	v.Event, v.Brief = nil, b
	return true
}

// Whole returns the event, from its record if need be.
func (v *Evaluated) Whole() *event.Event {
	if v.Event == nil {
		return v.Brief.Event()
	}
	return v.Event
}

// Own gives the event memory of its own, so that nothing has to be held.
func (v *Evaluated) Own() {
	v.Event, v.Brief, v.Hold = v.Whole().Clone(), nil, nil
	v.work = slices.Clone(v.work)
}

// Time is the event's.
func (v *Evaluated) Time() time.Time {
	if v.Event == nil {
		return v.Brief.Time
	}
	return v.Event.Time
}

// ID is the event's id.
func (v *Evaluated) ID() string {
	if v.Event == nil {
		return v.Brief.ID
	}
	return v.Event.ID
}

// Matches counts the rules without state that matched.
func (v *Evaluated) Matches() int { return len(v.found) }

// Evaluate applies the rules to an event. It allocates nothing for rules that
// do not match. The result refers to the event.
func (e *Evaluator) Evaluate(ev *event.Event) (v Evaluated) {
	e.evaluate(&v, ev, &e.arena, nil)
	return v
}

// Arena is memory for what is found out about events. One that is given to
// EvaluateIn may be Reset when the engine has released all of these.
type Arena struct {
	chunks [][]work
	used   int // chunks before it are full
	shared bool
}

// Reset makes the memory free.
func (a *Arena) Reset() {
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.used = 0
}

// room returns a chunk that takes what one event makes as a rule.
func (a *Arena) room() *[]work {
	for ; a.used < len(a.chunks); a.used++ {
		if c := &a.chunks[a.used]; cap(*c)-len(*c) >= maxWork {
			return c
		}
	}
	if a.shared {
		// Never reset: what is full is left to the collector.
		a.chunks, a.used = a.chunks[:0], 0
	}
	a.chunks = append(a.chunks, make([]work, 0, workChunk))
	return &a.chunks[a.used]
}

// EvaluateIn is Evaluate with the result in *v and its memory in an arena.
func (e *Evaluator) EvaluateIn(v *Evaluated, ev *event.Event, a *Arena) { e.evaluate(v, ev, a, nil) }

func (e *Evaluator) evaluate(v *Evaluated, ev *event.Event, a *Arena, t *Timer) {
	is := e.lookup.find(ev)
	*v = Evaluated{Event: ev, judge: e.judges && is.judged && !rarely(ev), turn: is.turn, key: e.keyer.DedupKey(ev)}
	if e.births && is.makes {
		v.birth = BirthOf(ev)
	}
	cands := is.cands
	if len(cands) == 0 {
		return
	}
	chunk := a.room()
	e.works = *chunk
	from := len(e.works)
	facts, begun, next := FactsOf(ev), false, 0
	for next < len(cands) {
		// A panic ends one rule, not the others.
		var err error
		if t == nil {
			err = e.each(v, is, cands, facts, &begun, &next)
		} else {
			err = e.time(t, v, is, facts, &begun, &next)
		}
		if err != nil {
			e.fault(v, cands[next].rule, err)
			next++
		}
	}
	if n := len(e.works); n > from {
		v.work = e.works[from:n:n]
		*chunk = e.works
	}
}

// each evaluates the candidates from next on.
func (e *Evaluator) each(v *Evaluated, is *known, cands []candidate, facts Facts, begun *bool, next *int) (err error) {
	defer guard(&err)
	for ; *next < len(cands); *next++ {
		c := &cands[*next]
		if facts&^c.allowed != 0 {
			continue
		}
		r := &e.rules[c.rule]
		if !*begun {
			e.begin(v.Event, is)
			*begun = true
		}
		if r.Policy {
			if e.may(int(c.rule), v.judge) {
				e.works = append(e.works, work{rule: c.rule, deferred: true})
				v.whole = true
			}
			continue
		}
		// The event's kind and facts alone may make the condition true.
		if c.certain == 0 || facts&^c.certain != 0 {
			ok, err := e.match(int(c.rule))
			if err != nil {
				e.fault(v, c.rule, err)
			}
			if !ok || err != nil {
				continue
			}
		}
		if err := e.matched(v, c.rule, r); err != nil {
			e.fault(v, c.rule, err)
		}
	}
	return nil
}

// matched says what a rule that matched has to say, or has to observe.
func (e *Evaluator) matched(v *Evaluated, rule int32, r *Rule) (err error) {
	if r.New == nil {
		var d alert.Detection
		if d, err = e.session.Detection(int(rule), nil, Pair{}); err == nil {
			v.found = append(v.found, found{rule: rule, det: d})
			v.told = v.told || observed(e.observers, rule)
		}
		return err
	}
	if e.pairs, err = e.session.Pairs(int(rule), e.pairs[:0]); err == nil {
		for _, p := range e.pairs {
			e.works = append(e.works, work{rule: rule, pair: p})
		}
	}
	return err
}

func (e *Evaluator) fault(v *Evaluated, rule int32, err error) {
	v.errs = append(v.errs, RuleError{Rule: e.rules[rule].ID, EventID: strings.Clone(v.Event.ID), Err: err})
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
