package absence

import (
	"container/heap"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Config is the settings of an absence detector in a rule file.
type Config struct {
	// Gap is the silence that is too long; 0 learns it.
	Gap time.Duration `yaml:"gap"`
	// Quantile, Factor and Support make the learned limit; see the package
	// comment. MinGap and MaxGap bound it.
	Quantile float64       `yaml:"quantile"`
	Factor   float64       `yaml:"factor"`
	Support  int           `yaml:"support"`
	MinGap   time.Duration `yaml:"min_gap"`
	MaxGap   time.Duration `yaml:"max_gap"`
	// LearnFor and LearnCount are the time and the number of observations
	// from which on something is expected of an entity. A fixed gap waits
	// for LearnCount only.
	LearnFor   time.Duration `yaml:"learn_for"`
	LearnCount int           `yaml:"learn_count"`
	// Remember is the event time for which past silences are kept at least,
	// and twice of it at most.
	Remember time.Duration `yaml:"remember"`
	// DropAfter is the silence after which an entity is forgotten.
	DropAfter time.Duration `yaml:"drop_after"`
	// Noun is what an observation is in the reason, in the plural.
	Noun string `yaml:"noun"`
	// NounZH is Noun in Chinese, with its measure word: "个事件".
	NounZH string `yaml:"noun_zh"`
	// MaxKeys and MaxBytes bound the entities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{
		Quantile: 0.98, Factor: 1.5, Support: 2, MinGap: time.Hour, MaxGap: 7 * 24 * time.Hour,
		LearnFor: 14 * 24 * time.Hour, LearnCount: 200, Remember: 28 * 24 * time.Hour, DropAfter: 60 * 24 * time.Hour,
		Noun: "events", NounZH: "个事件", MaxKeys: 10_000, MaxBytes: 64 << 20,
	}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if c.Gap != 0 {
		if err := window.CheckWindow("gap", c.Gap, window.MaxWindow); err != nil {
			return err
		}
		if c.Gap < time.Second {
			return window.Bad("gap", "%s is shorter than a second", c.Gap)
		}
	}
	if !(c.Quantile > 0 && c.Quantile <= 1) {
		return window.Bad("quantile", "%v is not over 0 and at most 1", c.Quantile)
	}
	if !(c.Factor >= 1 && c.Factor <= 100) {
		return window.Bad("factor", "%v is not between 1 and 100: with less, usual silences would be too long", c.Factor)
	}
	if err := window.CheckRange("support", c.Support, 1, 1000); err != nil {
		return err
	}
	if err := window.CheckWindow("min_gap", c.MinGap, window.MaxWindow); err != nil {
		return err
	}
	if err := window.CheckWindow("max_gap", c.MaxGap, window.MaxWindow); err != nil {
		return err
	}
	if c.MaxGap < c.MinGap {
		return window.Bad("max_gap", "%s is shorter than min_gap, %s", c.MaxGap, c.MinGap)
	}
	if c.LearnFor < 0 || c.LearnFor > window.MaxWindow {
		return window.Bad("learn_for", "%s is not between 0 and %s", c.LearnFor, window.MaxWindow)
	}
	if err := window.CheckRange("learn_count", c.LearnCount, 1, 1_000_000); err != nil {
		return err
	}
	if err := window.CheckWindow("remember", c.Remember, window.MaxWindow); err != nil {
		return err
	}
	if c.Remember < c.MaxGap && c.Gap == 0 {
		return window.Bad("remember", "%s is shorter than max_gap, %s: such a silence would be forgotten before it can be usual", c.Remember, c.MaxGap)
	}
	if err := window.CheckWindow("drop_after", c.DropAfter, 10*window.MaxWindow); err != nil {
		return err
	}
	if longest := c.longest(); c.DropAfter <= longest {
		return window.Bad("drop_after", "%s is not longer than the longest limit, %s: entities would be forgotten before they are missed", c.DropAfter, longest)
	}
	if c.Noun == "" {
		return window.Bad("noun", "must not be empty")
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

func (c Config) longest() time.Duration {
	if c.Gap > 0 {
		return c.Gap
	}
	return c.MaxGap
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg   Config
	table *window.Table[state]
	queue queue
	floor int64 // entities last seen before it are forgotten
	mark  int64 // watermark
	drop  func(*window.Entry[state])
	ahead []*window.Entry[state] // entities whose last event is not copied yet
}

// class is past silences of about one length: how many in this epoch, and how
// many in the one before.
type class struct {
	n, before uint32
	no        uint8
}

func (c class) all() uint64 { return uint64(c.n) + uint64(c.before) }

type state struct {
	first, last int64
	seen        uint64
	epoch       int64   // of last: remember periods since 1970
	classes     []class // by number
	limit       int64   // 0 while nothing is expected
	usual       int64   // the longest usual silence, 0 with a fixed gap
	stale       bool    // silences came or went since the limit was worked out
	reported    bool    // this silence has had its verdict
	place       int     // in the queue, 1 for the first; 0 when not in it
	// The last event: as it came, until the detector has to let go of it, and
	// then a copy. A busy entity's is copied now and then, not each time.
	listed bool // in Detector.ahead: record is not the detector's own
	record event.Record
	id     string
	spare  []byte // for the copy
}

// The number of classes of silences, each a quarter of an octave of seconds:
// enough for 34 years.
const classes = 30 * 4

// classOf is the class of a silence of so many seconds.
func classOf(seconds int64) uint8 {
	if seconds < 4 {
		return uint8(max(seconds, 0)) // few seconds have their own
	}
	e := bits.Len64(uint64(seconds)) - 1
	return uint8(min(int64(e-1)*4+(seconds>>(e-2))&3, classes-1))
}

// longestOf is the longest silence of a class, in seconds.
func longestOf(no uint8) int64 {
	if no < 4 {
		return int64(no)
	}
	e, sub := int64(no/4)+1, int64(no%4)
	return (5+sub)<<(e-2) - 1
}

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c}
	d.drop = func(e *window.Entry[state]) { d.unqueue(e) }
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.queue, d.ahead = nil, nil
	d.floor, d.mark = window.Nanos(time.Time{}), window.Nanos(time.Time{})
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	if at < d.floor {
		return out
	}
	e, isNew := d.table.Touch(window.Bound(o.Key))
	s := &e.State
	if !isNew && s.last < d.floor {
		d.unqueue(e)
		*s, isNew = state{}, true // as if Advance had dropped it
	}
	switch {
	case isNew:
		s.first, s.last, s.seen = at, at, 1
		s.epoch = d.epoch(at)
	case at < s.last:
		s.seen++ // late: nothing newer is known by it
		s.first = min(s.first, at)
		return out
	default:
		if s.limit > 0 && !s.reported && at-s.last > s.limit {
			out = append(out, d.verdict(s))
		}
		s.seen++
		d.teach(s, at)
		s.last = at
	}
	d.keep(e, &o)
	d.expect(s)
	s.reported = false
	d.enqueue(e)
	d.table.Resize(e, s.size(), d.drop)
	return out
}

func (d *Detector) epoch(at int64) int64 { return at / int64(d.cfg.Remember) }

// teach adds the silence that ends at a time to what is known.
func (d *Detector) teach(s *state, at int64) {
	if d.cfg.Gap > 0 {
		return
	}
	if now := d.epoch(at); s.epoch < now {
		s.age(now - s.epoch)
		s.epoch, s.stale = now, true
	}
	if gap := (at - s.last) / int64(time.Second); gap > 0 {
		s.add(classOf(gap))
		s.stale = true
	}
}

// expect works out the limit after an observation.
func (d *Detector) expect(s *state) {
	switch {
	case s.seen < uint64(d.cfg.LearnCount):
		s.limit = 0
	case d.cfg.Gap > 0:
		s.limit = int64(d.cfg.Gap)
	case s.last-s.first < int64(d.cfg.LearnFor):
		s.limit = 0
	case s.stale || s.limit == 0:
		s.usual, s.stale = d.usual(s), false
		s.limit = min(max(product(s.usual, d.cfg.Factor), int64(d.cfg.MinGap)), int64(d.cfg.MaxGap))
	}
}

// product is a duration times a factor, without overflow.
func product(n int64, factor float64) int64 {
	if p := float64(n) * factor; p < math.MaxInt64/2 {
		return int64(p)
	}
	return math.MaxInt64 / 2
}

// age moves past silences on by some epochs; what is older than the epoch
// before is forgotten.
func (s *state) age(epochs int64) {
	kept := s.classes[:0]
	for _, c := range s.classes {
		c.before, c.n = c.n, 0
		if epochs == 1 && c.before > 0 {
			kept = append(kept, c)
		}
	}
	s.classes = kept
}

func (s *state) add(no uint8) {
	i := len(s.classes)
	for i > 0 && s.classes[i-1].no >= no {
		i--
	}
	if i == len(s.classes) || s.classes[i].no != no {
		s.classes = append(s.classes, class{})
		copy(s.classes[i+1:], s.classes[i:])
		s.classes[i] = class{no: no}
	}
	if s.classes[i].n < math.MaxUint32 {
		s.classes[i].n++
	}
}

// usual is the longest usual silence of an entity.
func (d *Detector) usual(s *state) int64 {
	var all float64
	for _, c := range s.classes {
		all += float64(c.all()) * float64(longestOf(c.no))
	}
	var times uint64
	var spent float64
	for i := len(s.classes) - 1; i >= 0; i-- {
		c := s.classes[i]
		times += c.all()
		spent += float64(c.all()) * float64(longestOf(c.no))
		if times >= uint64(d.cfg.Support) && spent >= (1-d.cfg.Quantile)*all {
			return longestOf(c.no) * int64(time.Second)
		}
	}
	return 0
}

// MaxRecord is the largest record that is kept of an entity's last event, in
// bytes. Of a larger one only what names the event is kept.
const MaxRecord = 8 << 10

// keep remembers the last event.
func (d *Detector) keep(e *window.Entry[state], o *detectors.Observation) {
	s := &e.State
	if !s.listed {
		s.spare = s.record.Bytes()
	}
	if o.Event == nil {
		s.id, s.record, s.listed = "", event.Record{}, false
		return
	}
	s.id, s.record = window.BoundID(o.Event.ID), o.Event.Record()
	if s.record.Len() > MaxRecord {
		s.record = event.RecordOf(outline(s.record.Bytes(), o.Event.Time))
	}
	if !s.listed {
		s.listed = true
		d.ahead = append(d.ahead, e)
	}
}

// LetGo implements detectors.Looker: it copies what last events there are.
func (d *Detector) LetGo() {
	for i, e := range d.ahead {
		if s := &e.State; s.listed {
			s.listed = false
			s.id = strings.Clone(s.id)
			if cap(s.spare) > 2*s.record.Len()+512 {
				s.spare = nil
			}
			s.record, s.spare = event.RecordOf(s.record.Append(s.spare[:0])), nil
		}
		d.ahead[i] = nil
	}
	d.ahead = d.ahead[:0]
}

// The estimated sizes of an entity besides what the table counts and its
// record, and of a class of silences.
const (
	stateCost = 160
	classCost = 12
)

func (s *state) size() int {
	return stateCost + cap(s.classes)*classCost + s.record.Len()
}

// deadline is the time after which an entity is missed.
func (s *state) deadline() int64 { return s.last + s.limit }

// queue is a heap of the entities that are expected, by deadline.
type queue []*window.Entry[state]

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i].State.deadline(), q[j].State.deadline()
	return a < b || a == b && q[i].Key < q[j].Key
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].State.place, q[j].State.place = i+1, j+1
}

func (q *queue) Push(x any) {
	e := x.(*window.Entry[state])
	*q = append(*q, e)
	e.State.place = len(*q)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.State.place = 0
	return e
}

// enqueue puts an entity where its deadline belongs.
func (d *Detector) enqueue(e *window.Entry[state]) {
	s := &e.State
	switch {
	case s.limit == 0 || s.reported:
		d.unqueue(e)
	case s.place > 0:
		heap.Fix(&d.queue, s.place-1)
	default:
		heap.Push(&d.queue, e)
	}
}

func (d *Detector) unqueue(e *window.Entry[state]) {
	if e.State.place > 0 {
		heap.Remove(&d.queue, e.State.place-1)
	}
}

func (d *Detector) verdict(s *state) detectors.Verdict {
	limit := time.Duration(s.limit)
	reason := fmt.Sprintf("no %s for more than %s, the last on %s", d.cfg.Noun, window.Span(limit), window.Time(s.last).Format("2006-01-02 15:04 UTC"))
	zh := fmt.Sprintf("已超过 %s没有新事件，最近一次为 %s", window.SpanZH(limit), window.Time(s.last).Format("2006-01-02 15:04 UTC"))
	details := map[string]any{
		"last_seen": window.RFC3339(s.last), "limit_seconds": int64(limit / time.Second), "observations": s.seen,
		"first_seen": window.RFC3339(s.first), "learned": d.cfg.Gap == 0,
	}
	if d.cfg.Gap == 0 {
		days := window.Plural(max((s.last-s.first)/int64(24*time.Hour), 1), "day")
		reason += fmt.Sprintf("; in %s and %s %s it was usually silent for %s at most", days, window.Count(s.seen), d.cfg.Noun, longest(s.usual))
		zh += fmt.Sprintf("；此前 %s 天、%s %s中，静默通常不超过 %s", window.Count(max((s.last-s.first)/int64(24*time.Hour), 1)), window.Count(s.seen), d.cfg.NounZH, longestZH(s.usual))
		details["usual_seconds"] = s.usual / int64(time.Second)
	}
	v := detectors.Verdict{
		Reason: reason, ReasonZH: zh, First: window.Time(s.last), Last: window.Time(s.deadline()), Count: 1,
		Details: map[string]any{"absence": details},
	}
	if s.id != "" {
		v.EventIDs = []string{strings.Clone(s.id)}
	}
	if s.record.Len() > 0 {
		// It was an event when it was kept, or a restored snapshot says so.
		if ev, err := event.Parse(s.record.Append(nil)); err == nil {
			v.Event = ev
		}
	}
	return v
}

func longest(usual int64) string {
	if usual < int64(time.Second) {
		return "a second"
	}
	return window.Span(time.Duration(usual))
}

func longestZH(usual int64) string {
	return window.SpanZH(max(time.Duration(usual), time.Second))
}

// Advance implements detectors.Detector: entities whose limit has passed have
// their verdict, in the order in which the limits passed; entities silent for
// longer than drop_after are forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.mark = max(d.mark, window.Nanos(watermark))
	for len(d.queue) > 0 && d.queue[0].State.deadline() < d.mark {
		e := heap.Pop(&d.queue).(*window.Entry[state])
		e.State.reported = true
		out = append(out, d.verdict(&e.State))
	}
	d.floor = max(d.floor, d.mark-int64(d.cfg.DropAfter))
	for e := d.table.Oldest(); e != nil && e.State.last < d.floor; e = d.table.Oldest() {
		d.unqueue(e)
		d.table.Remove(e)
	}
	return out
}

// Stats implements detectors.Detector.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted()}
}
