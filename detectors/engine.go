package detectors

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// DefaultReorderMax is the most events that wait for the watermark, where nothing
// else is configured.
const DefaultReorderMax = 32_768

// EngineConfig bounds an engine. The zero value of a field is its default.
type EngineConfig struct {
	// Grace is how long, in event time, ordered work waits for events that
	// come late (default 2 s).
	Grace time.Duration
	// DedupHorizon is the event time during which a repeated record is
	// recognised (default 24 h), DedupMax the most records remembered for
	// that (default 1,000,000, about 30 bytes each).
	DedupHorizon time.Duration
	DedupMax     int
	// ReorderMax is the most events that wait for the watermark (default
	// 32,768). When there are more, the oldest are decided early.
	ReorderMax int
	// IdleAfter is the ingest time after which a shard that sent nothing no
	// longer holds the watermark back (default 5 s).
	IdleAfter time.Duration
	// HoldFor is the ingest time for which a shard that is known to have more
	// to give (see Behind) holds the watermark back without giving anything
	// while others do (default 2 min).
	HoldFor time.Duration
	// MaxLag is how long silence is taken for slow delivery (default 10 min).
	// When no shard has sent anything for longer, event time is taken to go
	// on at the pace of the ingest clock, MaxLag behind, so that absences are
	// noticed. A backlog that pauses is not silence, nor is a shard that is
	// behind: their time stands still.
	MaxLag time.Duration
	// FutureLimit is how far ahead of the ingest clock an event's time may
	// be before it is taken for a bad clock and cut there (default 5 min).
	// Without ticks there is no clock to compare with.
	FutureLimit time.Duration
	// Judge knows what permission changes mean; nil leaves policy facts
	// unknown. The engine calls it from one goroutine.
	Judge PolicyJudge
	// Except may withhold a detection, as an exception file says; it returns
	// the reason. Withheld detections are counted.
	Except func(ev *event.Event, d *alert.Detection) (reason string, withhold bool)
	// IncludeShadow makes detections of shadow rules too, for backtests.
	IncludeShadow bool
	// OnRuleError is told of each rule that could not be evaluated.
	OnRuleError func(RuleError)
	// Timer measures the ordered work of events that were evaluated by
	// EvaluateTimed; nil measures nothing.
	Timer *Timer
}

func (c *EngineConfig) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.Grace, 2*time.Second)
	set(&c.DedupHorizon, 24*time.Hour)
	set(&c.IdleAfter, 5*time.Second)
	set(&c.HoldFor, 2*time.Minute)
	set(&c.MaxLag, 10*time.Minute)
	set(&c.FutureLimit, 5*time.Minute)
	if c.DedupMax <= 0 {
		c.DedupMax = 1_000_000
	}
	if c.ReorderMax <= 0 {
		c.ReorderMax = DefaultReorderMax
	}
}

// EngineStats counts what an engine did, since it was made or since the start
// that its restored snapshot goes back to.
type EngineStats struct {
	Events     uint64 // applied, duplicates not counted
	Duplicates uint64 // dropped: the same record was applied before
	Late       uint64 // older than the watermark, or decided early for lack of room
	Spilled    uint64 // of these, decided early
	Forgotten  uint64 // events outside what the duplicate horizon can hold
	Future     uint64 // event time cut because it lay ahead of the ingest clock
	RuleErrors uint64 // rules not evaluated for an event
	Excepted   uint64 // detections withheld by an exception
	Detections uint64
	StateLost  uint64 // detectors whose state a restore could not take over
	Pending    int    // events waiting for the watermark
	Remembered int    // records in the duplicate horizon
	Watermark  time.Time
	Lineage    Stats // of what is remembered of who made whom
	Policies   Stats // of what the judge remembers
	ByRule     map[string]RuleStats
	Noise      map[string]alert.Noise // what rules in shadow would have made
	ByReason   map[string]uint64      // withheld detections by the reason that Except gave
}

// Evicted is how many entities each rule forgot to stay within its bounds, those
// that forgot none left out; what no rule has for itself stands under LineageState and
// PolicyState.
func (s *EngineStats) Evicted() map[string]uint64 {
	var m map[string]uint64
	add := func(rule string, n uint64) {
		if n == 0 {
			return
		}
		if m == nil {
			m = make(map[string]uint64)
		}
		m[rule] = n
	}
	for rule, c := range s.ByRule {
		add(rule, c.Detector.Evicted)
	}
	add(LineageState, s.Lineage.Evicted)
	add(PolicyState, s.Policies.Evicted)
	return m
}

// What is remembered of who made whom, and of policies and who has them.
const (
	LineageState = "lineage"
	PolicyState  = "policies"
)

// RuleStats counts one rule. Rules that did nothing are left out.
type RuleStats struct {
	Matches  uint64 // detections, shadow ones included
	Errors   uint64
	Detector Stats
}

// advanceStep is the event time between two calls of Detector.Advance: fine
// enough for absence, coarse enough to cost nothing.
const advanceStep = 10 * time.Second

// Engine is the ordered part of detection, one per partition: it drops
// duplicates, keeps the watermark, and runs the detectors. Its results depend
// on the events, their shards and the ticks alone. Methods are called from
// one goroutine.
type Engine struct {
	cfg     EngineConfig
	set     RuleSet
	rules   []Rule
	session Session
	dets    []Detector // by rule number; nil without state
	hasty   []int32    // the numbers of those that are not Patient
	step    uint64     // counts the steps of the watermark
	told    []uint64   // by rule number: the step that a patient detector was told of

	seen    *seen
	shards  map[string]*shard
	lineage Lineage   // nil when the rules keep none
	near    *shard    // the last that sent something
	nearBy  string    // its name
	ahead   bool      // the next event is a bad clock's (see Ahead)
	behind  int       // shards that are known to have more to give
	now     time.Time // newest ingest stamp
	mark    time.Time // watermark
	stepped time.Time // last Advance
	coming  time.Time // the next Advance is not before it
	swept   time.Time // last Advance of the patient detectors
	pending reorder
	out     []alert.Detection
	lookers []Looker    // the detectors that are
	done    []Holder    // of events decided since the last letGo
	undone  int         // how many events that were
	outline event.Event // of the event at hand, for detectors
	verdict []Verdict
	pairs   []Pair

	fetchers []Fetcher     // by rule number; nil for the detectors that are none
	prepared int           // how many events are ready to be decided
	asked    []Observation // of these, by piece of their work
	fetch    []Fetcher     // who observes them, as fetchers
	touched  byte          // what was read to have it at hand; nobody asks for it

	observers [][]int32 // by rule number; nil when no rule observes others
	signals   []signal

	stats    EngineStats
	counts   []RuleStats
	excepted map[string]uint64 // withheld detections by reason
	noise    []*noise          // by rule number; nil for rules that speak
}

type shard struct {
	max    time.Time // newest event time; zero before the first
	active time.Time // ingest stamp of its last event
	idle   bool
	behind bool // it has more to give
}

// NewEngine returns an engine with empty state.
func NewEngine(set RuleSet, cfg EngineConfig) *Engine {
	cfg.defaults()
	cfg.withExceptions(set)
	e := &Engine{cfg: cfg, set: set, rules: set.Rules(), session: set.NewSession()}
	e.observers = observersOf(e.rules)
	e.reset()
	return e
}

func (e *Engine) reset() {
	e.seen = newSeen(e.cfg.DedupHorizon, e.cfg.DedupMax)
	e.shards, e.behind = make(map[string]*shard), 0
	e.near, e.nearBy, e.ahead = nil, "", false
	e.now, e.mark, e.stepped, e.coming = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	e.pending = reorder{}
	e.out, e.done, e.undone, e.lookers = nil, nil, 0, nil
	e.stats = EngineStats{}
	e.excepted = nil
	e.noise = make([]*noise, len(e.rules))
	for i := range e.rules {
		if e.rules[i].Shadow {
			e.noise[i] = newNoise()
		}
	}
	e.signals = nil
	e.counts = make([]RuleStats, len(e.rules))
	if l, ok := e.set.(Liner); ok {
		e.lineage = l.NewLineage()
	}
	e.dets, e.fetchers = make([]Detector, len(e.rules)), make([]Fetcher, len(e.rules))
	e.hasty, e.step, e.told, e.swept = nil, 0, make([]uint64, len(e.rules)), time.Time{}
	for i := range e.rules {
		if e.rules[i].New != nil {
			e.dets[i] = e.rules[i].New()
			e.fetchers[i], _ = e.dets[i].(Fetcher)
			if l, ok := e.dets[i].(Looker); ok {
				e.lookers = append(e.lookers, l)
			}
			if _, ok := e.dets[i].(Patient); !ok {
				e.hasty = append(e.hasty, int32(i))
			}
		}
	}
}

// Apply takes an evaluated event in arrival order. Detections of rules
// without state are there at once; ordered work waits for the watermark. The
// shard is the sequence the event came in (an SLS shard, a file).
func (e *Engine) Apply(v Evaluated, shardName string) { e.ApplyAt(&v, shardName) }

// ApplyAt is Apply without the copy: *v is the engine's during the call, and
// holds nothing useful after it.
func (e *Engine) ApplyAt(v *Evaluated, shardName string) {
	ev, when := v.Event, v.Time()
	at := when
	if !e.now.IsZero() {
		if limit := e.now.Add(e.cfg.FutureLimit); at.After(limit) {
			at = limit
			e.stats.Future++
		}
	}
	if e.ahead {
		e.ahead = false
		if s := e.shards[shardName]; s != nil && !s.max.IsZero() && at.After(s.max.Add(e.cfg.FutureLimit)) {
			if at = s.max; at.Before(e.mark) {
				at = e.mark
			}
			e.stats.Future++
		}
	}
	// A repeated record also shows that the shard is alive and how far it
	// is, so it moves the watermark like any other.
	if e.seen.add(v.key, when) {
		e.stats.Duplicates++
		if v.Keeps() {
			e.decided(v.Hold)
		}
		e.progress(shardName, at)
		return
	}
	e.stats.Events++
	late := at.Before(e.mark)
	if late {
		e.stats.Late++
	}
	for i := range v.errs {
		e.fault(v.errs[i])
	}
	for i := range v.found {
		f := &v.found[i]
		f.det.Late = late
		if e.emit(f.rule, ev, f.det) {
			v.work = e.signalsOf(f.rule, ev, &f.det, v.work)
		}
	}
	if v.Keeps() {
		p := pending{at: at, ev: ev, brief: v.Brief, work: v.work, judge: v.judge, turn: v.turn, birth: v.birth, hold: v.Hold, timed: v.timed && e.cfg.Timer != nil}
		if late {
			e.process(&p, true, e.ask(&p, 0, true))
		} else {
			e.pending.push(&p)
			for e.pending.len() > e.cfg.ReorderMax {
				spilled := e.pending.pop()
				e.stats.Late++
				e.stats.Spilled++
				// What is decided early is in order with what was
				// decided before; only what is still to come may be
				// older.
				e.raise(spilled.at)
				e.process(&spilled, false, e.ask(&spilled, 0, false))
			}
		}
	}
	e.progress(shardName, at)
}

// Ahead says whether the next event's time lies far ahead of those that follow it. If
// it does of what its shard has given, too, by more than FutureLimit, it is a bad
// clock's, and the event counts as one of where the shard is: in a backlog it would
// make all that follow late.
func (e *Engine) Ahead(far bool) { e.ahead = far }

// progress notes that a shard has come to an event time.
func (e *Engine) progress(name string, at time.Time) {
	s := e.near
	if s == nil || name != e.nearBy {
		if s = e.shards[name]; s == nil {
			s = &shard{max: at}
			e.shards[strings.Clone(name)] = s
		}
		e.near, e.nearBy = s, strings.Clone(name)
	}
	s.active, s.idle = e.now, false
	if at.After(s.max) {
		s.max = at
	}
	low, _ := e.slowest()
	e.release(low.Add(-e.cfg.Grace))
}

// slowest returns the least event time of the shards that are not idle, if
// there are any.
func (e *Engine) slowest() (low time.Time, live bool) {
	if len(e.shards) == 1 && e.near != nil {
		return e.near.max, !e.near.idle
	}
	for _, s := range e.shards {
		if !s.idle && (!live || s.max.Before(low)) {
			low, live = s.max, true
		}
	}
	return low, live
}

// Behind tells which shards of a source have records that were not handed in
// yet: the program was down, or reads a backlog. Their events may be older than
// what other shards bring, so they hold the watermark back, seen before or not,
// for HoldFor at most. It replaces what was said of the source's shards before.
// Shards are named source + "/" + something. giving is the shard whose records
// come next, "" for none: it was not idle, however long it was quiet. It is
// called before the Tick that goes with those records.
func (e *Engine) Behind(source string, shards []string, giving string) {
	if s := e.shards[giving]; s != nil {
		if s.idle && s.behind {
			// Nothing could be read; the others are on their way, too.
			for _, o := range e.shards {
				if o.behind {
					o.idle, o.active = false, time.Time{}
				}
			}
		}
		s.idle, s.active = false, time.Time{} // Tick sets it to now
	} else if giving != "" {
		e.shards[strings.Clone(giving)] = &shard{}
	}
	if e.behind == 0 && len(shards) == 0 {
		return
	}
	for _, name := range shards {
		s := e.shards[name]
		if s == nil {
			s = &shard{}
			e.shards[strings.Clone(name)] = s
		}
		if !s.behind {
			e.behind++
			s.behind, s.idle = true, false
			s.active = time.Time{} // from now on, however long nothing came before
		}
	}
	for name, s := range e.shards {
		if s.behind && strings.HasPrefix(name, source) && strings.HasPrefix(name[len(source):], "/") && !slices.Contains(shards, name) {
			e.behind--
			s.behind = false
			if s.max.IsZero() && name != giving {
				delete(e.shards, name) // it had nothing for this partition
				e.near, e.nearBy = nil, ""
			}
		}
	}
}

// blindFor is how long a shard that is behind and gives nothing keeps silence from
// being taken for silence. Its source may be gone for good.
const blindFor = 24 * time.Hour

// Tick tells the ingest clock. Shards that have sent nothing for a while no
// longer hold the watermark back; when no shard sends, everything pending is
// decided.
func (e *Engine) Tick(now time.Time) {
	if !now.After(e.now) {
		return
	}
	pause := now.Sub(e.now) - e.cfg.HoldFor/8
	e.now = now
	var high, active time.Time
	blind := false
	for _, s := range e.shards {
		if s.behind && pause > 0 && !s.active.IsZero() {
			// While the program was down nobody could give anything. That
			// is not told apart from a pause: of each a part counts.
			s.active = s.active.Add(pause)
		}
		if s.active.IsZero() {
			s.active = now
		}
		limit := e.cfg.IdleAfter
		if s.behind {
			limit = max(limit, e.cfg.HoldFor)
			blind = blind || now.Sub(s.active) < blindFor
		}
		if now.Sub(s.active) >= limit {
			s.idle = true
		}
		if s.max.After(high) {
			high = s.max
		}
		if s.active.After(active) {
			active = s.active
		}
	}
	if low, live := e.slowest(); live {
		e.release(low.Add(-e.cfg.Grace))
		return
	}
	if !high.IsZero() {
		e.release(high.Add(1))
		if !blind {
			e.release(high.Add(now.Sub(active) - e.cfg.MaxLag))
		}
	}
}

// CloseShard says that a shard has ended: it no longer holds the watermark
// back.
func (e *Engine) CloseShard(name string) {
	s := e.shards[name]
	if s == nil {
		return
	}
	if s.behind {
		e.behind--
	}
	delete(e.shards, name)
	e.near, e.nearBy = nil, ""
	// When it was the last, the watermark stays: shards to come may join
	// what it brought.
	if low, live := e.slowest(); live {
		e.release(low.Add(-e.cfg.Grace))
	}
}

// Close says that no event will come any more: everything pending is decided.
func (e *Engine) Close() {
	high := e.mark
	for _, s := range e.shards {
		if s.max.After(high) {
			high = s.max
		}
	}
	if at := e.pending.newest(); at.After(high) {
		high = at
	}
	if !high.IsZero() {
		e.release(high.Add(1))
		e.advance(e.mark)
	}
	e.letGo()
}

// release moves the watermark and decides what is older.
func (e *Engine) release(mark time.Time) {
	if !mark.After(e.mark) {
		return
	}
	for e.pending.dueBefore(mark) {
		asked := e.asked[:e.prepare(mark)]
		for n := e.prepared; n > 0; n-- {
			p := e.pending.first()
			e.raise(p.at)
			works := len(p.work)
			e.process(p, false, asked[:works])
			asked = asked[works:]
			e.pending.drop()
		}
	}
	e.raise(mark)
	e.seen.advance(e.mark)
}

// raise moves the watermark and, when it enters a new step, tells the
// detectors. It is called before each event in order, so that what a detector
// sees does not depend on how the events arrived.
func (e *Engine) raise(mark time.Time) {
	if mark.After(e.mark) {
		e.mark = mark
	}
	if e.mark.Before(e.coming) {
		return
	}
	if step := e.mark.Truncate(advanceStep); step.After(e.stepped) {
		e.advance(step)
	}
}

func (e *Engine) advance(to time.Time) {
	e.stepped, e.coming = to, to.Truncate(advanceStep).Add(advanceStep)
	for _, n := range e.noise {
		if n != nil {
			n.advance(to)
		}
	}
	if e.lineage != nil {
		e.lineage.Advance(to)
	}
	e.step++
	for _, i := range e.hasty {
		verdicts, err := advanceOne(e.dets[i], to, e.verdict[:0])
		if err != nil {
			e.fault(RuleError{Rule: e.rules[i].ID, Err: err})
			continue
		}
		e.verdicts(i, verdicts, &pending{at: to}, Pair{}, false)
	}
	if to.Sub(e.swept) >= sweepEvery {
		e.sweep()
	}
	e.drain()
}

// sweepEvery is the event time after which patient detectors are told the
// watermark although they see nothing, so that they forget.
const sweepEvery = time.Hour

// sweep tells all patient detectors the watermark.
func (e *Engine) sweep() {
	e.swept = e.stepped
	for i, d := range e.dets {
		if _, ok := d.(Patient); ok {
			if err := e.catchUp(int32(i)); err != nil {
				e.fault(RuleError{Rule: e.rules[i].ID, Err: err})
			}
		}
	}
}

// catchUp tells a patient detector the watermark if it was not told.
func (e *Engine) catchUp(rule int32) error {
	if e.told[rule] == e.step || e.stepped.IsZero() {
		return nil
	}
	e.told[rule] = e.step
	d, ok := e.dets[rule].(Patient)
	if !ok {
		return nil
	}
	_, err := advanceOne(d.(Detector), e.stepped, nil)
	return err
}

// keepDecided is how many decided events detectors may go on looking at. What
// they copy then of the last record of each entity is the less, the more they are.
const keepDecided = 1024

// decided notes that an event is decided; now and then, that memory of the
// ones before is given back.
func (e *Engine) decided(h Holder) {
	if h != nil {
		e.done = append(e.done, h)
	}
	if e.undone++; e.undone >= keepDecided {
		e.letGo()
	}
}

// letGo gives back the memory of the events that are decided.
func (e *Engine) letGo() {
	e.undone = 0
	for _, d := range e.lookers {
		d.LetGo()
	}
	for i, h := range e.done {
		e.done[i] = nil
		h.Release()
	}
	e.done = e.done[:0]
}

func advanceOne(d Detector, to time.Time, out []Verdict) (_ []Verdict, err error) {
	defer guard(&err)
	return d.Advance(to, out), nil
}

// process does the ordered work of one event; asked is what detectors are to
// observe of it.
func (e *Engine) process(p *pending, late bool, asked []Observation) {
	if p.birth != nil && e.lineage != nil {
		e.learn(p)
	}
	var facts PolicyFacts
	if p.judge && e.cfg.Judge != nil {
		var err error
		var began int64
		if p.timed {
			began = e.cfg.Timer.now()
		}
		facts, err = judgeOne(e.cfg.Judge, p.whole())
		if p.timed {
			e.cfg.Timer.judge.add(e.cfg.Timer.now() - began)
		}
		if err != nil {
			e.fault(RuleError{Rule: "policy judge", EventID: strings.Clone(p.id()), Err: err})
		}
	}
	e.look(p)
	if p.timed {
		e.timeWorks(e.cfg.Timer, p, facts, asked, late)
	} else {
		e.workAll(p, facts, asked, late)
	}
	e.drain()
	e.decided(p.hold)
}

func (e *Engine) workAll(p *pending, facts PolicyFacts, asked []Observation, late bool) {
	for next := 0; next < len(p.work); next++ {
		// A panic ends one rule, not the others.
		if err := e.works(p, facts, asked, late, &next); err != nil {
			e.fault(RuleError{Rule: e.rules[p.work[next].rule].ID, EventID: strings.Clone(p.id()), Err: err})
		}
	}
}

// look makes an event the one that detectors are shown. They see no more of it
// than is kept of one that waits, even if this one is whole: what they decide
// must not depend on that.
func (e *Engine) look(p *pending) {
	if p.ev != nil {
		p.ev.Outline(&e.outline)
	} else {
		p.brief.Outline(&e.outline)
	}
}

// atOnce is how many events are prepared at a time.
const atOnce = 32

// prepare makes the events ready that are decided next: e.prepared of them. It
// writes down what detectors are to observe of each, and returns how many
// observations these are. Little of what is needed is in the processor's cache:
// the events have waited for long, and detectors know of thousands of keys. One
// by one each of these would be waited for; read one after the other, and for no
// more than that, they are fetched from memory side by side.
func (e *Engine) prepare(mark time.Time) (observations int) {
	e.prepared = 0
	for p := range e.pending.soon(mark, atOnce) {
		e.prepared++
		if p.brief != nil {
			e.touched += byte(p.brief.Outcome) + first(p.brief.ID)
		}
		if n := len(p.work); n > 0 {
			e.touched += byte(p.work[0].rule) + byte(p.work[n-1].rule)
		}
	}
	for p := range e.pending.soon(mark, e.prepared) {
		e.ask(p, observations, false)
		observations += len(p.work)
	}
	e.fetchAll(observations)
	return observations
}

// first reads the beginning of a text.
func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// fetchAll has detectors fetch what they know of the keys that they will observe:
// first where it is, then what it is.
// If one panics the others do without; it will when it observes, too, and that is
// told.
func (e *Engine) fetchAll(observations int) {
	var err error
	defer guard(&err)
	for i, f := range e.fetch[:observations] {
		if f != nil {
			e.asked[i].Hint = f.Fetch(e.asked[i].Key)
		}
	}
	for i, f := range e.fetch[:observations] {
		if f != nil && e.asked[i].Hint != 0 {
			f.Warm(e.asked[i].Hint)
		}
	}
}

// ask writes down what detectors are to observe of an event, from e.asked[from]
// on. Who copied an observation right after it was written, part by part, would
// have to wait until the parts are in memory.
func (e *Engine) ask(p *pending, from int, late bool) []Observation {
	for len(e.asked) < from+len(p.work) {
		e.asked = append(e.asked, Observation{Event: &e.outline})
		e.fetch = append(e.fetch, nil)
	}
	for i := range p.work {
		w, o := &p.work[i], &e.asked[from+i]
		o.Time, o.Late, o.Hint = p.at, late, 0
		o.Key, o.Value = w.pair.Key, w.pair.Value
		e.touched += first(o.Key) + first(o.Value)
		e.fetch[from+i] = e.fetchers[w.rule]
	}
	return e.asked[from : from+len(p.work)]
}

// works does the work of an event from next on.
func (e *Engine) works(p *pending, facts PolicyFacts, asked []Observation, late bool, next *int) (err error) {
	defer guard(&err)
	begun := false
	for ; *next < len(p.work); *next++ {
		w := &p.work[*next]
		if !w.deferred {
			e.observe(w.rule, p, &asked[*next])
			begun = false // building a detection moves the session
			continue
		}
		if !begun {
			e.session.Begin(p.whole())
			e.session.SetPolicy(facts)
			e.speakOfKin(p.whole())
		}
		begun = e.deferred(w.rule, p, late)
	}
	return nil
}

// deferred evaluates a policy rule on the event of the session; it reports
// whether the session still speaks of it.
func (e *Engine) deferred(rule int32, p *pending, late bool) bool {
	r := &e.rules[rule]
	ok, err := matchOne(e.session, int(rule))
	if err == nil && !ok {
		return true
	}
	if err == nil && r.New == nil {
		var d alert.Detection
		if d, err = detectOne(e.session, int(rule), nil, Pair{}); err == nil {
			d.Late = late
			e.tellKin(p.whole(), &d)
			if e.emit(rule, p.whole(), d) && observed(e.observers, rule) {
				e.tell(rule, pending{at: p.at, ev: p.whole()}, &d, late)
				return false
			}
			return true
		}
	}
	if err == nil {
		e.pairs, err = pairsOne(e.session, int(rule), e.pairs[:0])
		if err == nil {
			for _, pair := range e.pairs {
				e.observe(rule, p, &Observation{Time: p.at, Key: pair.Key, Value: pair.Value, Event: &e.outline, Late: late})
			}
			return false
		}
	}
	e.fault(RuleError{Rule: r.ID, EventID: strings.Clone(p.id()), Err: err})
	return true
}

// learn tells the lineage what an event made.
func (e *Engine) learn(p *pending) {
	var err error
	func() {
		defer guard(&err)
		e.lineage.Learn(p.birth)
	}()
	if err != nil {
		e.fault(RuleError{Rule: "lineage", EventID: strings.Clone(p.id()), Err: err})
	}
}

// speakOfKin tells the session where the actor of its event comes from.
func (e *Engine) speakOfKin(ev *event.Event) {
	if e.lineage != nil && ev != nil {
		e.session.SetKin(e.lineage.Of(ev))
	}
}

// tellKin adds to a detection that is made in event-time order where its actor
// comes from. What is decided at once cannot say it: whether the birth was known
// by then would depend on how the events arrived.
func (e *Engine) tellKin(ev *event.Event, d *alert.Detection) {
	if e.lineage == nil || ev == nil || d.Actor == (alert.Actor{}) { // one that is about nobody in particular
		return
	}
	if t := e.lineage.Tell(ev); t != nil {
		details := maps.Clone(d.Details)
		if details == nil {
			details = make(map[string]any, 1)
		}
		details["lineage"] = t
		d.Details = details
	}
}

func judgeOne(j PolicyJudge, ev *event.Event) (f PolicyFacts, err error) {
	defer guard(&err)
	return j.Judge(ev), nil
}

func (e *Engine) observe(rule int32, p *pending, o *Observation) {
	if e.told[rule] != e.step {
		if err := e.catchUp(rule); err != nil {
			e.fault(RuleError{Rule: e.rules[rule].ID, Err: err})
		}
	}
	if verdicts := e.dets[rule].Observe(*o, e.verdict[:0]); len(verdicts) > 0 {
		e.verdicts(rule, verdicts, p, Pair{Key: o.Key, Value: o.Value}, o.Late)
	}
}

// verdicts turns what a detector found into detections.
func (e *Engine) verdicts(rule int32, found []Verdict, p *pending, on Pair, late bool) {
	e.verdict = found[:0]
	for i := range found {
		v := &found[i]
		about := v.Event
		if about == nil || about == &e.outline {
			about = p.whole()
		}
		e.session.Begin(about)
		e.speakOfKin(about)
		d, err := detectOne(e.session, int(rule), v, on)
		if err != nil {
			id := ""
			if about != nil {
				id = strings.Clone(about.ID)
			}
			e.fault(RuleError{Rule: e.rules[rule].ID, EventID: id, Err: err})
			continue
		}
		d.Late = late
		e.tellKin(about, &d)
		if e.emit(rule, about, d) && observed(e.observers, rule) {
			e.tell(rule, pending{at: p.at, ev: about}, &d, late)
		}
		*v = Verdict{} // do not keep its event alive in the scratch space
	}
}

// emit hands a detection on, unless its rule is in shadow or an exception
// withholds it; it reports whether it did.
func (e *Engine) emit(rule int32, ev *event.Event, d alert.Detection) bool {
	e.counts[rule].Matches++
	if e.cfg.Except != nil {
		if reason, withhold := e.cfg.Except(ev, &d); withhold {
			e.stats.Excepted++
			if e.excepted == nil {
				e.excepted = make(map[string]uint64)
			}
			e.excepted[reason]++
			return false
		}
	}
	if e.rules[rule].Shadow && !e.cfg.IncludeShadow {
		e.noise[rule].add(&d)
		return false
	}
	e.stats.Detections++
	e.out = append(e.out, d)
	return true
}

func (e *Engine) fault(err RuleError) {
	e.stats.RuleErrors++
	for i := range e.rules {
		if e.rules[i].ID == err.Rule {
			e.counts[i].Errors++
			break
		}
	}
	if e.cfg.OnRuleError != nil {
		e.cfg.OnRuleError(err)
	}
}

// Take returns the detections made since the last call: in arrival order for
// rules without state, in event-time order for the others.
func (e *Engine) Take() []alert.Detection {
	out := e.out
	e.out = nil
	return out
}

// Reuse gives back the list that Take returned: nothing refers to it any more.
func (e *Engine) Reuse(taken []alert.Detection) {
	if clear(taken); len(e.out) == 0 {
		e.out = taken[:0]
	}
}

// Detectors yields the detectors with the ids of their rules, in the order of
// the rules: to be looked at, not to be given observations.
func (e *Engine) Detectors() iter.Seq2[string, Detector] {
	return func(yield func(string, Detector) bool) {
		e.sweep()
		for i, d := range e.dets {
			if d != nil && !yield(e.rules[i].ID, d) {
				return
			}
		}
	}
}

// Watermark is the event time before which everything is decided.
func (e *Engine) Watermark() time.Time { return e.mark }

// Stats returns counters and sizes.
func (e *Engine) Stats() EngineStats {
	e.sweep()
	s := e.stats
	s.Pending = e.pending.len()
	s.Remembered = e.seen.size
	s.Forgotten = e.seen.lost
	s.Watermark = e.mark
	if e.lineage != nil {
		s.Lineage = e.lineage.Stats()
	}
	if j, ok := e.cfg.Judge.(interface{ Stats() Stats }); ok {
		s.Policies = j.Stats()
	}
	s.ByReason = maps.Clone(e.excepted)
	for i, n := range e.noise {
		if n == nil {
			continue
		}
		if s.Noise == nil {
			s.Noise = make(map[string]alert.Noise)
		}
		s.Noise[e.rules[i].ID] = n.told(e.mark)
	}
	s.ByRule = make(map[string]RuleStats)
	for i, c := range e.counts {
		if d := e.dets[i]; d != nil {
			c.Detector = d.Stats()
		}
		if c != (RuleStats{}) {
			s.ByRule[e.rules[i].ID] = c
		}
	}
	return s
}
