package rate

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a rate detector in a rule file.
type Config struct {
	// Bin is the time in which observations are counted: an hour, or a part
	// of one that fills it evenly.
	Bin time.Duration `yaml:"bin"`
	// Floor is the least count that can be unusual.
	Floor int `yaml:"floor"`
	// Deviations and Factor make the limit; see the package comment.
	Deviations float64 `yaml:"deviations"`
	Factor     float64 `yaml:"factor"`
	// MinHours is how many remembered hours are enough to speak of what is
	// usual at an hour of the week.
	MinHours int `yaml:"min_hours"`
	// ByHour false compares with all hours at once.
	ByHour bool `yaml:"by_hour"`
	// LearnFor and LearnHours are the time and the number of active hours
	// from which on an identity is judged.
	LearnFor   time.Duration `yaml:"learn_for"`
	LearnHours int           `yaml:"learn_hours"`
	// DropAfter is the silence after which an identity is forgotten.
	DropAfter time.Duration `yaml:"drop_after"`
	// Noun is what is counted in the reason, in the plural.
	Noun string `yaml:"noun"`
	// NounZH is Noun in Chinese, with its measure word: "次调用".
	NounZH string `yaml:"noun_zh"`
	// MaxKeys and MaxBytes bound the identities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{
		Bin: 10 * time.Minute, Floor: 100, Deviations: 8, Factor: 3, MinHours: 4, ByHour: true,
		LearnFor: 7 * 24 * time.Hour, LearnHours: 12, DropAfter: 60 * 24 * time.Hour, Noun: "events", NounZH: "个事件",
		MaxKeys: 50_000, MaxBytes: 128 << 20,
	}
}

// Weeks is how many active hours are remembered of each hour of the week.
const Weeks = 8

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if c.Bin < time.Minute || c.Bin > time.Hour || time.Hour%c.Bin != 0 {
		return window.Bad("bin", "%s is not a part of an hour from 1m on: 1m, 5m, 10m, 15m, 30m, 1h", c.Bin)
	}
	if err := window.CheckRange("floor", c.Floor, 1, 1_000_000_000); err != nil {
		return err
	}
	if !(c.Deviations >= 0 && c.Deviations <= 1000) {
		return window.Bad("deviations", "%v is not between 0 and 1000", c.Deviations)
	}
	if !(c.Factor >= 1 && c.Factor <= 1000) {
		return window.Bad("factor", "%v is not between 1 and 1000: with less, what is usual would be unusual", c.Factor)
	}
	if err := window.CheckRange("min_hours", c.MinHours, 1, 3*Weeks); err != nil {
		return err
	}
	if c.LearnFor < 0 || c.LearnFor > window.MaxWindow {
		return window.Bad("learn_for", "%s is not between 0 and %s", c.LearnFor, window.MaxWindow)
	}
	if err := window.CheckRange("learn_hours", c.LearnHours, 1, hoursOfWeek*Weeks); err != nil {
		return err
	}
	if err := window.CheckWindow("drop_after", c.DropAfter, 10*window.MaxWindow); err != nil {
		return err
	}
	if c.DropAfter <= c.LearnFor || c.DropAfter < time.Hour {
		return window.Bad("drop_after", "%s is not longer than an hour and than learn_for, %s", c.DropAfter, c.LearnFor)
	}
	if c.Noun == "" {
		return window.Bad("noun", "must not be empty")
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg   Config
	bin   int64
	table *window.Table[state]
	floor int64 // identities last seen before it are forgotten
	pool  []uint32
	dist  []uint32
}

const hoursOfWeek = 7 * 24

// slot is the fullest bins of the last active hours at one hour of the week,
// as classes of counts.
type slot struct {
	hour uint8 // of the week, 0 is Monday 00 UTC
	n    uint8 // classes in use
	past [Weeks]uint8
}

type state struct {
	first, last int64
	hours       uint32 // active hours taught
	slots       []slot // by hour

	hour    int64  // the open hour, since 1970
	fullest uint32 // its fullest bin
	bin     int64  // the open bin, since 1970
	count   uint32 // in it
	begun   int64  // its first observation
	marks   []window.Mark
	told    uint32 // the count told last in this run of unusual bins
	unusual bool   // the open bin is over the limit
	limit   int64  // of the open hour; 0 is not worked out, -1 is none yet
}

// kept is the most evidence of an open bin.
const kept = 10

// classOf is the class of a count: exact to 7, then four to an octave.
func classOf(n uint32) uint8 {
	if n < 8 {
		return uint8(n)
	}
	e := bits.Len32(n) - 1
	return uint8(8 + (e-3)*4 + int(n>>(e-2))&3)
}

// largestOf is the largest count of a class.
func largestOf(no uint8) uint32 {
	if no < 8 {
		return uint32(no)
	}
	e, sub := int(no-8)/4+3, uint64(no-8)%4
	return uint32((5+sub)<<(e-2) - 1)
}

// classes is how many there are.
const classes = 8 + 29*4

// hourOfWeek of an hour since 1970, which began on a Thursday.
func hourOfWeek(hour int64) uint8 {
	return uint8(((hour+3*24)%hoursOfWeek + hoursOfWeek) % hoursOfWeek)
}

// div rounds down, also before 1970.
func div(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c, bin: int64(c.Bin)}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor = window.Nanos(time.Time{})
}

// weight is how often an observation counts.
func weight(value string) uint32 {
	if value == "" {
		return 1
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n == 0 {
		return 1
	}
	return uint32(n)
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	if at < d.floor {
		return out
	}
	e, isNew := d.table.Touch(window.Bound(o.Key))
	s := &e.State
	bin := div(at, d.bin)
	switch {
	case isNew || s.last < d.floor:
		*s = state{first: at, last: at, hour: div(at, int64(time.Hour)), bin: bin, begun: at}
	case bin < s.bin:
		return out // late: its bin has ended
	case bin > s.bin:
		d.turn(s, bin, at)
	}
	s.last, s.begun = max(s.last, at), min(s.begun, at)
	s.count += min(weight(o.Value), math.MaxUint32-s.count)
	s.fullest = max(s.fullest, s.count)
	if int64(s.count) > int64(d.cfg.Floor)-kept {
		s.marks = window.Insert(s.marks, window.Mark{At: at, ID: window.ID(&o)})
		if len(s.marks) > kept {
			s.marks = append(s.marks[:0], s.marks[1:]...)
		}
	}
	if int64(s.count) >= int64(d.cfg.Floor) {
		if s.limit == 0 {
			s.limit = -1
			if u, ok := d.usual(s); ok {
				s.limit = int64(u.limit)
			}
		}
		if s.limit > 0 && int64(s.count) > s.limit {
			s.unusual = true
			if s.told == 0 || uint64(s.count) >= 2*uint64(s.told) {
				s.told = s.count
				out = append(out, d.verdict(s, &o))
			}
		}
	}
	d.table.Resize(e, s.size(), nil)
	return out
}

// turn closes the open bin, and its hour when that has ended.
func (d *Detector) turn(s *state, bin, at int64) {
	if !s.unusual || bin > s.bin+1 {
		s.told = 0
	}
	s.unusual = false
	if hour := div(at, int64(time.Hour)); hour != s.hour {
		s.teach(hourOfWeek(s.hour), classOf(s.fullest))
		s.hour, s.fullest, s.limit = hour, 0, 0
	}
	s.bin, s.count, s.begun, s.marks = bin, 0, at, nil
}

// teach remembers an hour's fullest bin.
func (s *state) teach(hour, class uint8) {
	if s.hours < math.MaxUint32 {
		s.hours++
	}
	i, ok := slices.BinarySearchFunc(s.slots, hour, func(x slot, h uint8) int { return int(x.hour) - int(h) })
	if !ok {
		if len(s.slots) == cap(s.slots) {
			// Grow by a working day, not by doubling.
			s.slots = append(make([]slot, 0, len(s.slots)+8), s.slots...)
		}
		s.slots = slices.Insert(s.slots, i, slot{hour: hour})
	}
	x := &s.slots[i]
	if x.n == Weeks {
		copy(x.past[:], x.past[1:])
		x.n--
	}
	x.past[x.n] = class
	x.n++
}

// usual is what an identity usually does.
type usual struct {
	low, median, high, limit uint32
	hours                    int  // how many hours say so
	thisHour                 bool // they are of this hour of the week
}

// usual works out what is usual in the open hour; ok is false when not enough
// was learned before it. It is the same for the whole hour.
func (d *Detector) usual(s *state) (u usual, ok bool) {
	if s.hours < uint32(d.cfg.LearnHours) || s.hour*int64(time.Hour)-s.first < int64(d.cfg.LearnFor) {
		return u, false
	}
	d.pool = d.pool[:0]
	if d.cfg.ByHour {
		now := int(hourOfWeek(s.hour))
		for i := range s.slots {
			x := &s.slots[i]
			if away := (int(x.hour) - now + hoursOfWeek) % hoursOfWeek; away <= 1 || away == hoursOfWeek-1 {
				d.add(x)
			}
		}
		u.thisHour = len(d.pool) >= d.cfg.MinHours
	}
	if !u.thisHour {
		d.pool = d.pool[:0]
		for i := range s.slots {
			d.add(&s.slots[i])
		}
	}
	p := d.pool
	u.hours = len(p)
	slices.Sort(p)
	u.low, u.median, u.high = p[(len(p)-1)/10], p[len(p)/2], p[len(p)-1-(len(p)-1)/10]
	d.dist = d.dist[:0]
	for _, x := range p {
		d.dist = append(d.dist, max(x, u.median)-min(x, u.median))
	}
	slices.Sort(d.dist)
	mad := float64(d.dist[len(d.dist)/2])
	limit := max(float64(u.median)+d.cfg.Deviations*1.4826*mad, d.cfg.Factor*float64(u.high))
	u.limit = uint32(min(limit, math.MaxUint32))
	return u, true
}

func (d *Detector) add(x *slot) {
	for _, c := range x.past[:x.n] {
		d.pool = append(d.pool, largestOf(c))
	}
}

// The estimated sizes of a slot, and of an identity besides what the table
// counts.
const (
	slotCost  = 10
	stateCost = 110
)

func (s *state) size() int {
	n := stateCost + cap(s.slots)*slotCost + cap(s.marks)*window.MarkCost
	for i := range s.marks {
		n += len(s.marks[i].ID)
	}
	return n
}

func (d *Detector) verdict(s *state, o *detectors.Observation) detectors.Verdict {
	u, _ := d.usual(s)
	when, whenZH := "in any hour", "任意时段"
	if u.thisHour {
		when, whenZH = "at this hour", "该时段"
	}
	span := window.Count(u.low)
	if u.high != u.low {
		span += "–" + window.Count(u.high)
	}
	reason := fmt.Sprintf("%s %s in %s; usually %s %s (%s)", window.Count(s.count), d.cfg.Noun, window.Span(d.cfg.Bin), span, when, window.Plural(int64(u.hours), "hour"))
	zh := fmt.Sprintf("%s内 %s %s；%s通常为 %s（依据 %s 小时的记录）", window.SpanZH(d.cfg.Bin), window.Count(s.count), d.cfg.NounZH, whenZH, span, window.Count(int64(u.hours)))
	last := s.marks[len(s.marks)-1].At
	return detectors.Verdict{
		Reason: reason, ReasonZH: zh, First: window.Time(s.begun), Last: window.Time(last), Count: int(s.count), EventIDs: window.IDs(s.marks),
		Event: o.Event,
		Details: map[string]any{"rate": map[string]any{
			"count": s.count, "bin_seconds": int64(d.cfg.Bin / time.Second), "usual_low": u.low, "usual_median": u.median,
			"usual_high": u.high, "limit": u.limit, "hours": u.hours, "this_hour": u.thisHour, "since": window.RFC3339(s.first),
		}},
	}
}

// Advance implements detectors.Detector: identities silent for longer than
// drop_after are forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.floor = max(d.floor, window.Nanos(watermark)-int64(d.cfg.DropAfter))
	for e := d.table.Oldest(); e != nil && e.State.last < d.floor; e = d.table.Oldest() {
		d.table.Remove(e)
	}
	return out
}

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted()}
}

const magic = "TWRATE1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.bin)
	enc.Int(d.floor)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		s := &e.State
		enc.String(e.Key)
		enc.Int(s.first)
		enc.Int(s.last - s.first)
		enc.Uint(uint64(s.hours))
		enc.Int(s.hour)
		enc.Uint(uint64(s.fullest))
		enc.Int(s.bin)
		enc.Uint(uint64(s.count))
		enc.Int(s.begun)
		enc.Uint(uint64(s.told))
		enc.Bool(s.unusual)
		window.PutMarks(enc, s.marks)
		enc.Uint(uint64(len(s.slots)))
		for i := range s.slots {
			x := &s.slots[i]
			enc.Raw([]byte{x.hour, x.n})
			enc.Raw(x.past[:x.n])
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("rate: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	if dec.Int() != d.bin {
		dec.Fail("it counts in bins of another length than the settings ask for")
	}
	d.floor = dec.Int()
	evicted := dec.Uint()
	low, high := window.Nanos(time.Time{}), window.Nanos(time.Unix(1<<40, 0))
	for range dec.Count(13) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		s := &e.State
		first, age := dec.Int(), dec.Int()
		*s = state{hours: dec.Uint32(), hour: dec.Int(), fullest: dec.Uint32(), bin: dec.Int(), count: dec.Uint32(), begun: dec.Int(), told: dec.Uint32(), unusual: dec.Bool()}
		s.marks = window.GetMarks(dec, kept)
		if dec.Err() != nil {
			break
		}
		if first < low || first > high || age < 0 || age > high-first {
			dec.Fail("times that cannot be")
			break
		}
		s.first, s.last = first, first+age
		if s.bin != div(s.last, d.bin) || s.hour != div(s.last, int64(time.Hour)) || div(s.begun, d.bin) != s.bin || s.count == 0 || s.fullest < s.count {
			dec.Fail("an open bin that cannot be")
			break
		}
		n := dec.Count(3)
		if n > hoursOfWeek {
			dec.Fail("more hours than a week has")
			break
		}
		sum := 0
		for range n {
			head := dec.Raw(2)
			x := slot{hour: head[0], n: head[1]}
			if x.hour >= hoursOfWeek || x.n == 0 || x.n > Weeks || len(s.slots) > 0 && x.hour <= s.slots[len(s.slots)-1].hour {
				dec.Fail("an hour of the week that cannot be")
				break
			}
			copy(x.past[:], dec.Raw(int(x.n)))
			for _, c := range x.past[:x.n] {
				if c == 0 || c >= classes {
					dec.Fail("a count that cannot be")
				}
			}
			sum += int(x.n)
			s.slots = append(s.slots, x)
		}
		if uint64(sum) > uint64(s.hours) || sum == 0 && s.hours > 0 {
			dec.Fail("more hours remembered than there were")
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, s.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
