package sequence

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a sequence in a rule file.
type Config struct {
	// Within is the time that all evidence must fall into.
	Within time.Duration `yaml:"within"`
	Steps  []Step        `yaml:"steps"`
	// Require, when over 0, asks for that many of the steps in any order.
	Require int `yaml:"require"`
	// MaxEvents is the most events kept for one entity.
	MaxEvents int `yaml:"max_events"`
	// MaxKeys and MaxBytes bound the entities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Step is one step of a sequence.
type Step struct {
	Name string `yaml:"name"`
	// NameZH is Name in Chinese.
	NameZH string `yaml:"name_zh"`
	// Count is how many events make the step, 1 when not given.
	Count int `yaml:"count"`
	// Within bounds the time since the step before; 0 leaves it open.
	Within time.Duration `yaml:"within"`
	// Absent steps must not occur.
	Absent bool `yaml:"absent"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{MaxEvents: 128, MaxKeys: 50_000, MaxBytes: 64 << 20}
}

func (s Step) count() int { return max(s.Count, 1) }

const maxSteps = 16

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckWindow("within", c.Within, 31*24*time.Hour); err != nil {
		return err
	}
	if len(c.Steps) < 2 || len(c.Steps) > maxSteps {
		return window.Bad("steps", "a sequence has 2 to %d steps, this has %d", maxSteps, len(c.Steps))
	}
	sum, positive := 0, 0
	names := map[string]bool{}
	for i, s := range c.Steps {
		key := "steps." + strconv.Itoa(i)
		if s.Name == "" || len(s.Name) > window.MaxValue {
			return window.Bad(key+".name", "a step needs a name of at most %d bytes", window.MaxValue)
		}
		if names[s.Name] {
			return window.Bad(key+".name", "two steps are named %q", s.Name)
		}
		names[s.Name] = true
		if err := window.CheckRange(key+".count", s.Count, 0, 1000); err != nil {
			return err
		}
		if s.Within < 0 || s.Within > c.Within {
			return window.Bad(key+".within", "%s is not between 0 and the sequence's within, %s", s.Within, c.Within)
		}
		if s.Absent {
			switch {
			case i == 0 || i == len(c.Steps)-1:
				return window.Bad(key+".absent", "the first and the last step must occur")
			case s.Count > 1 || s.Within > 0:
				return window.Bad(key+".absent", "a step that must not occur has neither count nor within")
			case c.Require > 0:
				return window.Bad(key+".absent", "require has no order, so nothing can be between two steps")
			}
			continue
		}
		positive++
		sum += s.count()
	}
	if c.Require < 0 || c.Require > positive {
		return window.Bad("require", "%d is not between 1 and the number of steps, %d", c.Require, positive)
	}
	if c.Require > 0 {
		for i, s := range c.Steps {
			if s.Within > 0 {
				return window.Bad("steps."+strconv.Itoa(i)+".within", "require has no order, so steps have no within of their own")
			}
		}
	}
	if err := window.CheckRange("max_events", c.MaxEvents, 2, 4096); err != nil {
		return err
	}
	if c.MaxEvents < 2*sum {
		return window.Bad("max_events", "%d is too few for steps that need %d events: want at least %d", c.MaxEvents, sum, 2*sum)
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg    Config
	width  int64
	chain  []link // the steps that must occur, in order
	table  *window.Table[state]
	passed passed
	floor  int64
	paths  [][]path // scratch of match
}

// link is a step that must occur, with the absent ones before it.
type link struct {
	step   int
	absent []int
}

// seen is one event of one step.
type seen struct {
	window.Mark
	step int
}

// before orders events by time, and what is of one second by steps: which came first is not
// known, since ids say nothing, and a program takes all the steps within a second.
func (a seen) before(b seen) bool {
	return a.At < b.At || a.At == b.At && (a.step < b.step || a.step == b.step && a.ID < b.ID)
}

// same says whether both are one event.
func (a seen) same(b seen) bool { return a.Mark == b.Mark && a.ID != "" }

type state struct {
	events []seen // in order
}

func (s *state) newest() int64 { return s.events[len(s.events)-1].At }

// The estimated sizes of an event without its id, and of an entity besides
// what the table counts.
const (
	eventCost = 32
	stateCost = 20
)

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c, width: int64(c.Within)}
	var absent []int
	for i, s := range c.Steps {
		if s.Absent {
			absent = append(absent, i)
			continue
		}
		d.chain = append(d.chain, link{step: i, absent: absent})
		absent = nil
	}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.passed = passed{}
	d.floor = window.Nanos(time.Time{})
}

// step is the number of the step of a name, or -1. They are few, and to look
// through them is quicker than a map.
func (d *Detector) step(name string) int {
	for i := range d.cfg.Steps {
		if d.cfg.Steps[i].Name == name {
			return i
		}
	}
	return -1
}

// Observe implements detectors.Detector. A value that names no step is passed
// over.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	step := d.step(o.Value)
	at := window.Nanos(o.Time)
	if step < 0 || at < d.floor {
		return out
	}
	key := window.Bound(o.Key)
	// An entity is kept only from an event on that a sequence can begin with:
	// the later steps are often what everybody does all day. The last of them are
	// at hand for a first step that comes late, or behind them within a second.
	first := d.cfg.Require == 0 && step == d.chain[0].step
	if d.cfg.Require == 0 && !first && !o.Late {
		if e := d.table.Get(key); e == nil || e.State.newest() < d.floor {
			d.passed.add(key, at, step, &o)
			return out
		}
	}
	e, _ := d.table.Touch(key)
	s := &e.State
	newest := at
	if len(s.events) > 0 {
		newest = max(newest, s.newest())
	}
	from := max(newest-d.width, d.floor)
	if at < from {
		return out // late, and older than the window
	}
	n := 0
	for n < len(s.events) && s.events[n].At < from {
		n++
	}
	s.events = slices.Delete(s.events, 0, n)
	ev := seen{Mark: window.Mark{At: at, ID: window.ID(&o)}, step: step}
	i := len(s.events)
	for i > 0 && ev.before(s.events[i-1]) {
		i--
	}
	if i > 0 && s.events[i-1] == ev {
		return out // the same observation again
	}
	s.events = slices.Insert(s.events, i, ev)
	if first {
		d.passed.take(key, ev, at+d.width, o.Late, func(x seen) {
			k := len(s.events)
			for k > 0 && x.before(s.events[k-1]) {
				k--
			}
			s.events = slices.Insert(s.events, k, x)
		})
	}
	if over := len(s.events) - d.cfg.MaxEvents; over > 0 {
		s.events = slices.Delete(s.events, 0, over)
		i -= over
	}
	for p := max(i, 0); p < len(s.events); p++ {
		found, ok := d.complete(s.events, p)
		if !ok {
			continue
		}
		out = append(out, d.verdict(found, &o))
		s.events = slices.Delete(s.events, 0, p+1)
		break
	}
	if len(s.events) == 0 {
		d.table.Remove(e)
		return out
	}
	d.table.Resize(e, s.size(), nil)
	return out
}

// passed is the last later steps of entities that had no first one, the oldest
// making room: a list of at most maxPassed, used as a ring when it is full.
type passed struct {
	list []later
	next int // the oldest, when the list is full
}

// later is one of them; without a key it was taken.
type later struct {
	key  string
	at   int64
	step int
	id   []byte // written over with the next
}

func (x *later) seen() seen {
	return seen{Mark: window.Mark{At: x.at, ID: string(x.id)}, step: x.step}
}

// maxPassed is how many are remembered. A first step is late by a minute or
// two; in that time one partition of eight sees so many at some 200 events a second.
const (
	maxPassed  = 4096
	passedCost = 64 // bytes of one, without those of its id; the key is another's
)

func (p *passed) add(key string, at int64, step int, o *detectors.Observation) {
	i := p.next
	if len(p.list) < maxPassed {
		i = len(p.list)
		p.list = append(p.list, later{})
	} else {
		p.next = (p.next + 1) % maxPassed
	}
	x := &p.list[i]
	x.key, x.at, x.step, x.id = key, at, step, x.id[:0]
	if o.Event != nil {
		x.id = append(x.id, window.BoundID(o.Event.ID)...)
	}
}

// take gives those of an entity that are after an event, up to a time, to f,
// the oldest first, and remembers them no longer. Of an event that is not late none
// is older than they are: those of its second are looked at, the last ones of the list.
func (p *passed) take(key string, after seen, until int64, late bool, f func(seen)) {
	i := 0
	if !late {
		for i = len(p.list); i > 0 && p.list[(p.next+i-1)%len(p.list)].at >= after.At; i-- {
		}
	}
	for ; i < len(p.list); i++ {
		x := &p.list[(p.next+i)%len(p.list)]
		if x.key != key || x.at > until {
			continue
		}
		if ev := x.seen(); after.before(ev) {
			f(ev)
			x.key = ""
		}
	}
}

// from yields those that are not older, the oldest first.
func (p *passed) from(floor int64) iter.Seq[*later] {
	return func(yield func(*later) bool) {
		for i := range p.list {
			if x := &p.list[(p.next+i)%len(p.list)]; x.key != "" && x.at >= floor && !yield(x) {
				return
			}
		}
	}
}

func (s *state) size() int {
	n := stateCost + cap(s.events)*eventCost
	for i := range s.events {
		n += len(s.events[i].ID)
	}
	return n
}

// evidence is the events of one step.
type evidence struct {
	step   int
	events []seen
}

// complete says whether the event at p completes the sequence, and with what.
func (d *Detector) complete(events []seen, p int) ([]evidence, bool) {
	if d.cfg.Require > 0 {
		return d.anyOrder(events, p)
	}
	if events[p].step != d.chain[len(d.chain)-1].step {
		return nil, false
	}
	return d.inOrder(events, p)
}

// path is the best way to complete a step at an event: the one that began
// last. from is the event that completed the step before.
type path struct {
	start int64
	from  int
}

const never = math.MinInt64

// inOrder looks at all ways to meet the steps with the last one completed at
// p. Of the ways to one event the one that began last is never worse.
func (d *Detector) inOrder(events []seen, p int) ([]evidence, bool) {
	for len(d.paths) < len(d.chain) {
		d.paths = append(d.paths, nil)
	}
	for k, l := range d.chain {
		d.paths[k] = slices.Grow(d.paths[k][:0], p+1)[:p+1]
		need, limit := d.cfg.Steps[l.step].count(), int64(d.cfg.Steps[l.step].Within)
		met := false
		for i := 0; i <= p; i++ {
			best := path{start: never, from: -1}
			if events[i].step == l.step {
				if k == 0 {
					best.start = begin(events, i, l.step, need, limit)
				} else {
					best = d.extend(events, i, k, need, limit)
				}
			}
			met = met || best.start != never
			d.paths[k][i] = best
		}
		if !met {
			return nil, false // nor can the steps behind it
		}
	}
	last := len(d.chain) - 1
	if start := d.paths[last][p].start; start == never || events[p].At-start > d.width {
		return nil, false
	}
	out := make([]evidence, len(d.chain))
	for k, i := last, p; k >= 0; k-- {
		l := d.chain[k]
		from := d.paths[k][i].from
		ev := evidence{step: l.step}
		for j := i; j > from && len(ev.events) < d.cfg.Steps[l.step].count(); j-- {
			if events[j].step == l.step && (from < 0 || !events[j].same(events[from])) {
				ev.events = append(ev.events, events[j])
			}
		}
		slices.Reverse(ev.events)
		out[k] = ev
		i = from
	}
	return out, true
}

// begin returns when the first step began that is completed at i.
func begin(events []seen, i, step, need int, limit int64) int64 {
	for j := i; j >= 0; j-- {
		if events[j].step != step {
			continue
		}
		if need--; need == 0 {
			if limit > 0 && events[i].At-events[j].At > limit {
				return never
			}
			return events[j].At
		}
	}
	return never
}

// extend returns the best way to complete step k at i.
func (d *Detector) extend(events []seen, i, k, need int, limit int64) path {
	best := path{start: never, from: -1}
	l, before := d.chain[k], d.chain[k-1].step
	have := 0
	for j := i; j >= 0; j-- {
		if limit > 0 && events[i].At-events[j].At > limit {
			break
		}
		if events[j].step == before && !events[j].same(events[i]) {
			n := have
			// The event at j may have matched this step too.
			for q := j + 1; q < i && events[q].At == events[j].At; q++ {
				if events[q].step == l.step && events[q].same(events[j]) {
					n--
				}
			}
			blocked := false
			for q := j + 1; q < i && len(l.absent) > 0; q++ {
				if slices.Contains(l.absent, events[q].step) && !events[q].same(events[j]) && !events[q].same(events[i]) {
					blocked = true
					break
				}
			}
			if way := d.paths[k-1][j].start; n >= need && !blocked && way > best.start {
				best = path{start: way, from: j}
			}
		}
		if events[j].step == l.step {
			have++
		}
	}
	return best
}

// anyOrder looks for enough steps in the window that ends at p.
func (d *Detector) anyOrder(events []seen, p int) ([]evidence, bool) {
	out := make([]evidence, 0, len(d.chain))
	helps := false
	for _, l := range d.chain {
		need := d.cfg.Steps[l.step].count()
		ev := evidence{step: l.step}
		for j := p; j >= 0 && events[p].At-events[j].At <= d.width && len(ev.events) < need; j-- {
			if events[j].step == l.step {
				ev.events = append(ev.events, events[j])
			}
		}
		if len(ev.events) < need {
			continue
		}
		slices.Reverse(ev.events)
		out = append(out, ev)
		helps = helps || l.step == events[p].step
	}
	return out, helps && len(out) >= d.cfg.Require
}

func (d *Detector) verdict(found []evidence, o *detectors.Observation) detectors.Verdict {
	var marks []window.Mark
	var words, zh []string
	steps := make([]any, len(found))
	for i, ev := range found {
		name := d.cfg.Steps[ev.step].Name
		w := name
		if len(ev.events) > 1 {
			w += " ×" + strconv.Itoa(len(ev.events))
		}
		words = append(words, w)
		zh = append(zh, cmp.Or(d.cfg.Steps[ev.step].NameZH, name)+strings.TrimPrefix(w, name))
		for _, x := range ev.events {
			marks = window.Insert(marks, x.Mark)
		}
		steps[i] = map[string]any{
			"name": name, "count": len(ev.events),
			"first": window.RFC3339(ev.events[0].At), "last": window.RFC3339(ev.events[len(ev.events)-1].At),
		}
	}
	marks = slices.CompactFunc(marks, func(a, b window.Mark) bool { return a == b && a.ID != "" })
	text, textZH := strings.Join(words, ", then "), strings.Join(zh, "，随后")
	if d.cfg.Require > 0 {
		text, textZH = window.List(words, 0), window.ListZH(zh, 0)
	}
	first, last := marks[0].At, marks[len(marks)-1].At
	return detectors.Verdict{
		Reason:   text + ", " + window.In(time.Duration(last-first)),
		ReasonZH: textZH + "，" + window.TookZH(time.Duration(last-first)),
		First:    window.Time(first), Last: window.Time(last),
		EventIDs: window.IDs(marks), Count: len(marks),
		Details: map[string]any{"sequence": map[string]any{
			"steps": steps, "within_seconds": int64(d.cfg.Within / time.Second),
		}},
		Event: o.Event,
	}
}

// Advance implements detectors.Detector: entities whose window is empty are
// forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.floor = max(d.floor, window.Nanos(watermark)-d.width)
	for e := d.table.Oldest(); e != nil && e.State.newest() < d.floor; e = d.table.Oldest() {
		d.table.Remove(e)
	}
	return out
}

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes() + cap(d.passed.list)*passedCost, Evicted: d.table.Evicted()}
}

// magic begins a snapshot. The first version has no later steps of entities
// without a first one; it is read as if there had been none.
const (
	magic    = "TWSEQUENCE2\n"
	magicOne = "TWSEQUENCE1\n"
)

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Uint(uint64(len(d.cfg.Steps)))
	enc.Int(d.floor)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		enc.String(e.Key)
		enc.Uint(uint64(len(e.State.events)))
		for _, ev := range e.State.events {
			enc.Int(ev.At)
			enc.String(ev.ID)
			enc.Uint(uint64(ev.step))
		}
	}
	n := 0
	for range d.passed.from(d.floor) {
		n++
	}
	enc.Uint(uint64(n))
	for x := range d.passed.from(d.floor) {
		enc.String(x.key)
		enc.Int(x.at)
		enc.String(string(x.id))
		enc.Uint(uint64(x.step))
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("sequence: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic, magicOne)
	if err != nil {
		return err
	}
	one := dec.Magic() == magicOne
	if n := dec.Uint(); n != uint64(len(d.cfg.Steps)) {
		dec.Fail("it is of a sequence with %d steps", n)
	}
	d.floor = dec.Int()
	evicted := dec.Uint()
	for range dec.Count(5) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		s := &e.State
		n := dec.Count(3)
		if dec.Err() == nil && (!isNew || n == 0 || n > d.cfg.MaxEvents) {
			dec.Fail("an entity that cannot be, or is there twice")
		}
		if dec.Err() != nil {
			break
		}
		s.events = make([]seen, n)
		for i := range s.events {
			ev := seen{Mark: window.Mark{At: dec.Int(), ID: dec.String()}}
			step := dec.Uint()
			ev.step = int(min(step, maxSteps))
			// Earlier versions had those of a second in another order.
			if dec.Err() == nil && (ev.step >= len(d.cfg.Steps) || len(ev.ID) > window.MaxID || i > 0 && (s.events[i-1].At > ev.At || s.events[i-1] == ev && ev.ID != "")) {
				dec.Fail("an event that cannot be, or is out of order")
			}
			if dec.Err() != nil {
				break
			}
			s.events[i] = ev
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, s.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	if one {
		return dec.End()
	}
	n := dec.Count(4)
	if n > maxPassed {
		dec.Fail("%d later steps without a first one", n)
	}
	for range n {
		x := later{key: window.Bound(dec.String()), at: dec.Int(), id: []byte(dec.String())}
		step := dec.Uint()
		x.step = int(min(step, maxSteps))
		if dec.Err() == nil && (x.key == "" || x.step >= len(d.cfg.Steps) || x.step == d.chain[0].step || d.cfg.Require > 0 || len(x.id) > window.MaxID || x.at < d.floor) {
			dec.Fail("a later step that cannot be")
		}
		if dec.Err() != nil {
			break
		}
		d.passed.list = append(d.passed.list, x)
	}
	return dec.End()
}
