package distinct

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a distinct count in a rule file.
type Config struct {
	// Count is how many different values make an episode, Window the time
	// they must fall into.
	Count  int           `yaml:"count"`
	Window time.Duration `yaml:"window"`
	// UnlessSuccess leaves out values that succeed: with an event that is a
	// success its value does not count, before and after it, for a window.
	// Successes are no observations otherwise.
	UnlessSuccess bool `yaml:"unless_success"`
	// Noun says in the reason what the values are, in the plural, for
	// example "users".
	Noun string `yaml:"noun"`
	// NounZH is Noun in Chinese, with its measure word: "个不同网络".
	NounZH string `yaml:"noun_zh"`
	// MaxValues is the most values counted exactly for one entity.
	MaxValues int `yaml:"max_values"`
	// MaxKeys and MaxBytes bound the entities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{Noun: "values", NounZH: "个不同的值", MaxValues: 10_000, MaxKeys: 50_000, MaxBytes: 64 << 20}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckRange("count", c.Count, 2, 10_000_000); err != nil {
		return err
	}
	if err := window.CheckWindow("window", c.Window, 31*24*time.Hour); err != nil {
		return err
	}
	if err := window.CheckRange("max_values", c.MaxValues, min(c.Count, 10_000), 10_000); err != nil {
		return err
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
	width int64
	table *window.Table[state]
	floor int64  // nothing older counts: the watermark less a window
	free  *value // values to be used again, by next
	spare int    // how many

	touched byte // see Warm
}

// value is one value of an entity, by its newest observation. The list is in
// the order of (time, value).
type value struct {
	text       string // it and the links are what is looked at to find one
	prev, next *value
	at         int64
	hash       uint32
	reported   bool
	succeeded  bool   // it does not count
	chain      *value // the next in state.index
	id         []byte // of its event; written over with the next
}

type state struct {
	n      int      // values held
	passed int      // of these, the ones that do not count
	index  []*value // of these by hash, once there are more than few
	root   value    // root.next is the oldest
	bytes  int
	sketch *sketch // counts while values that were dropped for lack of room are in the window
	cutAt  int64   // time of the newest of these

	episode  bool
	first    int64  // of the oldest value when it began
	events   uint64 // observations of the episode
	told     uint64 // of these, reported
	reported int    // values in the window at the last report
	fresh    int    // values in the window that were not reported
	lastAt   int64  // of the last report
	since    int64  // time of the oldest observation not reported
}

// The estimated sizes of a value without its texts, and of an entity besides
// what the table counts.
const (
	valueCost = 104
	stateCost = 140
	indexCost = 40
)

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c, width: int64(c.Window)}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor = window.Nanos(time.Time{})
}

func (s *state) init() {
	if s.root.next == nil {
		s.root.prev, s.root.next = &s.root, &s.root
	}
}

// few is how many values are looked through one by one: most entities have no
// more, and a map costs more than all else that is kept of them.
const few = 8

func (s *state) find(text string) *value {
	if s.index != nil {
		h := hash(text)
		for v := *s.slot(h); v != nil; v = v.chain {
			if v.hash == h && v.text == text {
				return v
			}
		}
		return nil
	}
	for v := s.root.prev; v != &s.root; v = v.prev {
		if v.text == text {
			return v
		}
	}
	return nil
}

func hash(text string) uint32 { return uint32(window.Hash(text)) }

// slot is where the values of a hash begin; there is a power of two of them.
func (s *state) slot(hash uint32) **value { return &s.index[hash&uint32(len(s.index)-1)] }

// enter puts a value into the index.
func (s *state) enter(v *value) {
	slot := s.slot(v.hash)
	v.chain, *slot = *slot, v
}

// leave takes a value out of the index.
func (s *state) leave(v *value) {
	slot := s.slot(v.hash)
	for *slot != v {
		slot = &(*slot).chain
	}
	*slot, v.chain = v.chain, nil
}

// add takes a value that is not held.
func (s *state) add(v *value) {
	s.n++
	s.bytes += valueCost + len(v.text) + len(v.id)
	v.hash = hash(v.text)
	s.put(v)
	if s.n <= few || s.n <= len(s.index) {
		if s.index != nil {
			s.enter(v)
		}
		return
	}
	s.index = make([]*value, max(2*few, 2*len(s.index)))
	for x := s.root.next; x != &s.root; x = x.next {
		s.enter(x)
	}
}

func (s *state) newest() int64 { return s.root.prev.at }

func (d *Detector) remove(s *state, v *value) {
	v.prev.next, v.next.prev = v.next, v.prev
	if s.n--; s.n < few/2 {
		s.index = nil
	} else if s.index != nil {
		s.leave(v)
	}
	s.bytes -= valueCost + len(v.text) + len(v.id)
	switch {
	case v.succeeded:
		s.passed--
	case s.episode && !v.reported:
		s.fresh--
	}
	if d.spare < maxSpare {
		*v = value{id: v.id[:0], next: d.free}
		d.free = v
		d.spare++
	}
}

// maxSpare bounds the values that are kept to be used again.
const maxSpare = 1024

// value returns an unused value.
func (d *Detector) value() *value {
	v := d.free
	if v == nil {
		return &value{}
	}
	d.free, v.next = v.next, nil
	d.spare--
	return v
}

// eventID is an observation's event id as it is kept.
func eventID(o *detectors.Observation) string {
	if o.Event == nil {
		return ""
	}
	return window.BoundID(o.Event.ID)
}

// put places v by its time; equal times are ordered by text.
func (s *state) put(v *value) {
	after := s.root.prev
	for after != &s.root && (after.at > v.at || after.at == v.at && after.text > v.text) {
		after = after.prev
	}
	v.prev, v.next = after, after.next
	after.next.prev, after.next = v, v
}

// Fetch implements detectors.Fetcher.
func (d *Detector) Fetch(key string) uint32 { return d.table.Fetch(key) }

// Warm implements detectors.Fetcher.
func (d *Detector) Warm(hint uint32) {
	e := d.table.At(hint)
	if e != nil && e.State.root.next != nil {
		d.touched += byte(e.State.root.next.at) + byte(e.State.root.prev.at)
	}
}

// Observe implements detectors.Detector. An empty value is no value.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	if o.Value == "" || at < d.floor {
		return out
	}
	e, _ := d.table.TouchHint(window.Bound(o.Key), o.Hint)
	s := &e.State
	s.init()
	newest := at
	if s.n > 0 {
		newest = max(newest, s.newest())
	}
	from := max(newest-d.width, d.floor)
	if at < from {
		return out // late, and older than the window
	}
	text := window.BoundValue(o.Value)
	success := d.cfg.UnlessSuccess && o.Event != nil && o.Event.Outcome == event.Success
	if s.passed > 0 && !success {
		if v := s.find(text); v != nil && v.succeeded && v.at >= from {
			return out
		}
	}
	for v := s.root.next; v != &s.root && v.at < from; v = s.root.next {
		d.remove(s, v)
	}
	if s.sketch != nil && s.cutAt < from {
		s.sketch = nil // all that is in the window is held again
	}
	if s.episode && !s.atLeast((d.cfg.Count+1)/2, from) {
		s.end()
	}
	v := s.find(text)
	if success {
		d.succeed(s, v, text, at)
		d.table.Resize(e, s.size(), nil)
		return out
	}
	switch {
	case v == nil:
		v = d.value()
		v.text, v.at, v.id = text, at, append(v.id, eventID(&o)...)
		s.add(v)
		if s.episode {
			s.fresh++
		}
		if s.n > d.cfg.MaxValues {
			old := s.root.next
			if old == v {
				old = v.next
			}
			if s.sketch == nil {
				s.sketch, s.cutAt = &sketch{}, old.at
				for x := s.root.next; x != &s.root; x = x.next {
					if !x.succeeded {
						s.sketch.add(x.text, x.at)
					}
				}
			}
			s.cutAt = max(s.cutAt, old.at)
			d.remove(s, old)
		}
	case at >= v.at:
		v.prev.next, v.next.prev = v.next, v.prev
		id := eventID(&o)
		s.bytes += len(id) - len(v.id)
		v.at, v.id = at, append(v.id[:0], id...)
		s.put(v)
	}
	if s.sketch != nil {
		s.sketch.add(text, at)
	}
	full := s.atLeast(d.cfg.Count, from)
	switch {
	case s.episode:
		if s.events == s.told || at < s.since {
			s.since = at
		}
		s.events++
		if !full || s.fresh == 0 {
			break
		}
		// So many observations cannot be more values, so that the estimate,
		// which is work, is asked for now and then only.
		if seen := s.reported + int(s.events-s.told); newest-s.lastAt < d.width && seen < 2*s.reported {
			break
		}
		if total := s.total(from); total >= 2*s.reported || newest-s.lastAt >= d.width {
			out = append(out, d.verdict(s, total, &o))
			s.report(newest, total)
		}
	case full:
		s.episode = true
		s.first = s.oldest().at
		s.since, s.fresh = s.first, s.n-s.passed
		s.events = uint64(s.fresh)
		total := s.total(from)
		out = append(out, d.verdict(s, total, &o))
		s.report(newest, total)
	}
	d.table.Resize(e, s.size(), nil)
	return out
}

// succeed notes that a value succeeded; v is where it is held, if it is.
func (d *Detector) succeed(s *state, v *value, text string, at int64) {
	if v == nil {
		v = d.value()
		v.text, v.at, v.succeeded = text, at, true
		s.add(v)
		s.passed++
		if s.n > d.cfg.MaxValues {
			d.remove(s, s.root.next)
		}
		return
	}
	if !v.succeeded {
		v.succeeded = true
		s.passed++
		if s.episode && !v.reported {
			s.fresh--
		}
	}
	if at > v.at {
		v.prev.next, v.next.prev = v.next, v.prev
		v.at = at
		s.put(v)
	}
}

// oldest is the oldest value that counts; there must be one.
func (s *state) oldest() *value {
	v := s.root.next
	for v.succeeded {
		v = v.next
	}
	return v
}

func (s *state) size() int {
	n := stateCost + s.bytes
	if s.n > few {
		n += indexCost * max(s.n, 2*few)
	}
	if s.sketch != nil {
		n += s.sketch.size()
	}
	return n
}

// atLeast says whether so many different values are in the window.
func (s *state) atLeast(n int, from int64) bool {
	return s.n-s.passed >= n || s.sketch != nil && s.total(from) >= n
}

// total is how many different values are in the window: exact as long as all of
// them are held.
func (s *state) total(from int64) int {
	if s.sketch == nil {
		return s.n - s.passed
	}
	return max(s.sketch.since(from), s.n-s.passed)
}

func (s *state) end() {
	s.episode, s.first, s.events, s.told, s.reported, s.fresh, s.lastAt, s.since = false, 0, 0, 0, 0, 0, 0, 0
	for v := s.root.next; v != &s.root; v = v.next {
		v.reported = false
	}
}

func (s *state) report(at int64, total int) {
	s.reported, s.told, s.lastAt, s.fresh = total, s.events, at, 0
	for v := s.root.prev; v != &s.root; v = v.prev {
		v.reported = true
	}
}

// shown is how many values a verdict names.
const shown = 20

func (d *Detector) verdict(s *state, total int, o *detectors.Observation) detectors.Verdict {
	var fresh []*value
	for v := s.root.next; v != &s.root; v = v.next {
		if !v.reported && !v.succeeded {
			fresh = append(fresh, v)
		}
	}
	if len(fresh) > detectors.MaxEvidence {
		fresh = fresh[len(fresh)-detectors.MaxEvidence:]
	}
	ids := make([]string, 0, len(fresh))
	var marks []window.Mark
	for _, v := range fresh {
		marks = window.Insert(marks, window.Mark{At: v.at, ID: string(v.id)})
	}
	for _, m := range marks {
		if m.ID != "" && (len(ids) == 0 || ids[len(ids)-1] != m.ID) {
			ids = append(ids, m.ID)
		}
	}
	if len(fresh) > shown {
		fresh = fresh[len(fresh)-shown:]
	}
	names := make([]any, len(fresh))
	words := make([]string, len(fresh))
	for i, v := range fresh {
		names[i], words[i] = v.text, window.Show(v.text)
	}
	last, first := s.newest(), s.oldest().at
	about, added := "", s.fresh
	if s.sketch != nil {
		// The oldest are not held: the episode may be older than these.
		about, first = "about ", max(min(first, s.first), last-d.width)
		added = round(max(added, total-s.reported))
		total = round(total)
	}
	reason := fmt.Sprintf("%s%s different %s %s", about, window.Count(total), d.cfg.Noun, window.In(time.Duration(last-first)))
	aboutZH := ""
	if about != "" {
		aboutZH = "约 "
	}
	zh := window.InZH(time.Duration(last-first)) + " " + aboutZH + window.Count(total) + " " + d.cfg.NounZH
	if s.reported > 0 {
		zh += "（" + aboutZH + window.Count(added) + " " + d.cfg.NounZH + "为上次告警后新增）"
		reason += fmt.Sprintf(", %s%s new since the last report", about, window.Count(added))
	}
	if len(words) > 5 {
		words = words[:5]
		reason += ", for example " + window.List(words, 0)
		zh += "，例如 " + window.ListZH(words, 0)
	} else {
		reason += " (" + window.List(words, 0) + ")"
		zh += "：" + window.ListZH(words, 0)
	}
	return detectors.Verdict{
		Reason:   reason,
		ReasonZH: zh,
		First:    window.Time(s.since),
		Last:     window.Time(last),
		EventIDs: ids,
		Count:    max(int(s.events-s.told), len(ids)),
		Details: map[string]any{"distinct": map[string]any{
			"count": d.cfg.Count, "window_seconds": int64(d.cfg.Window / time.Second), "total": total,
			"new_values": names, "since": window.RFC3339(s.first), "exact": s.sketch == nil,
		}},
		Event: o.Event,
	}
}

// round keeps the three digits of an estimate that mean something.
func round(n int) int {
	unit := 1
	for n/unit >= 1000 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
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
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted()}
}

// The encoding, and the one before it, which has no sketch.
const (
	magic  = "TWDISTINCT2\n"
	magic1 = "TWDISTINCT1\n"
)

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		s := &e.State
		enc.String(e.Key)
		enc.Bool(s.sketch != nil)
		if s.sketch != nil {
			enc.Int(s.cutAt)
			s.sketch.encode(enc)
		}
		enc.Uint(uint64(s.n))
		for v := s.root.next; v != &s.root; v = v.next {
			enc.String(v.text)
			enc.Int(v.at)
			enc.String(string(v.id))
			enc.Bool(v.reported)
			if d.cfg.UnlessSuccess {
				enc.Bool(v.succeeded)
			}
		}
		enc.Bool(s.episode)
		if s.episode {
			enc.Int(s.first)
			enc.Uint(s.events)
			enc.Uint(s.told)
			enc.Uint(uint64(s.reported))
			enc.Int(s.lastAt)
			enc.Int(s.since)
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("distinct: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic, magic1)
	if err != nil {
		return err
	}
	old := dec.Magic() == magic1
	d.floor = dec.Int()
	evicted := dec.Uint()
	for range dec.Count(4) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		s := &e.State
		s.init()
		cut := dec.Bool()
		if cut && !old {
			s.cutAt = dec.Int()
			s.sketch = decodeSketch(dec)
		}
		n := dec.Count(4)
		if n > d.cfg.MaxValues || n == 0 {
			dec.Fail("%d values of one entity", n)
		}
		for range n {
			v := &value{text: dec.String(), at: dec.Int(), id: []byte(dec.String()), reported: dec.Bool()}
			v.succeeded = d.cfg.UnlessSuccess && dec.Bool()
			if dec.Err() != nil {
				break
			}
			last := s.root.prev
			if s.find(v.text) != nil || v.text == "" || last != &s.root && (last.at > v.at || last.at == v.at && last.text > v.text) {
				dec.Fail("values twice or out of order")
				break
			}
			s.add(v)
			switch {
			case v.succeeded:
				s.passed++
			case !v.reported:
				s.fresh++
			}
		}
		if cut && old && dec.Err() == nil {
			// What was dropped is lost; what is held goes on from here.
			s.sketch, s.cutAt = &sketch{}, s.root.next.at
			for v := s.root.next; v != &s.root; v = v.next {
				s.sketch.add(v.text, v.at)
			}
		}
		if s.episode = dec.Bool(); s.episode {
			s.first, s.events, s.told = dec.Int(), dec.Uint(), dec.Uint()
			reported := dec.Uint()
			s.lastAt, s.since = dec.Int(), dec.Int()
			if reported > 1<<40 || s.told > s.events || s.events > 1<<62 {
				dec.Fail("an episode reported more than it has")
			}
			s.reported = int(reported)
		} else {
			s.fresh = 0
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, s.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
