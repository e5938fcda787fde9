package threshold

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a threshold in a rule file.
type Config struct {
	// Count is how many observations make an episode, Window the time they
	// must fall into.
	Count  int           `yaml:"count"`
	Window time.Duration `yaml:"window"`
	// Noun says in the reason what is counted, in the plural, for example
	// "failed sign-ins".
	Noun string `yaml:"noun"`
	// NounZH is Noun in Chinese, with its measure word: "次登录失败".
	NounZH string `yaml:"noun_zh"`
	// MaxKeys and MaxBytes bound the entities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{Noun: "events", NounZH: "个事件", MaxKeys: 50_000, MaxBytes: 64 << 20}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckRange("count", c.Count, 1, 10_000); err != nil {
		return err
	}
	if err := window.CheckWindow("window", c.Window, 31*24*time.Hour); err != nil {
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
	floor int64 // nothing older counts: the watermark less a window
}

// state is one entity. marks holds the newest observations in time order, at
// most Count; ids only of those that can be evidence.
type state struct {
	marks    []window.Mark
	episode  bool // reported and still going on
	first    int64
	total    uint64        // observations of the episode
	reported uint64        // of these, reported
	lastAt   int64         // time of the last report
	since    int64         // time of the oldest observation not reported
	pending  []window.Mark // newest observations not reported
}

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

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	m := window.Mark{At: window.Nanos(o.Time), ID: window.ID(&o)}
	if m.At < d.floor {
		return out // late, and older than every window
	}
	e, _ := d.table.Touch(window.Bound(o.Key))
	s := &e.State
	newest := m.At
	if n := len(s.marks); n > 0 && s.marks[n-1].At > newest {
		newest = s.marks[n-1].At
	}
	from := max(newest-d.width, d.floor)
	if m.At < from {
		return out // late, and older than the window
	}
	s.drop(from)
	if s.episode && len(s.marks) < (d.cfg.Count+1)/2 {
		s.end()
	}
	s.marks = window.Insert(s.marks, m)
	if len(s.marks) > d.cfg.Count {
		s.marks = append(s.marks[:0], s.marks[1:]...)
	}
	full := len(s.marks) >= d.cfg.Count
	switch {
	case s.episode:
		if s.total == s.reported || m.At < s.since {
			s.since = m.At
		}
		s.total++
		s.pending = window.Insert(s.pending, m)
		if len(s.pending) > detectors.MaxEvidence {
			s.pending = append(s.pending[:0], s.pending[1:]...)
		}
		if fresh := s.total - s.reported; full && (fresh >= s.reported || newest-s.lastAt >= d.width) {
			out = append(out, d.verdict(s, s.pending, s.since, &o))
			s.report(newest)
		}
	case full:
		s.episode, s.first, s.total = true, s.marks[0].At, uint64(len(s.marks))
		out = append(out, d.verdict(s, s.marks, s.first, &o))
		s.report(newest)
	}
	d.table.Resize(e, s.size(), nil)
	return out
}

func (s *state) drop(from int64) {
	n := 0
	for n < len(s.marks) && s.marks[n].At < from {
		n++
	}
	s.marks = append(s.marks[:0], s.marks[n:]...)
}

func (s *state) end() {
	s.episode, s.first, s.total, s.reported, s.lastAt, s.since, s.pending = false, 0, 0, 0, 0, 0, nil
}

func (s *state) report(at int64) {
	s.reported, s.lastAt, s.pending = s.total, at, nil
}

// stateCost is the estimated size of an entity besides what the table counts.
const stateCost = 60

func (s *state) size() int {
	n := stateCost + (cap(s.marks)+cap(s.pending))*window.MarkCost
	for i := range s.marks {
		n += len(s.marks[i].ID)
	}
	for i := range s.pending {
		n += len(s.pending[i].ID)
	}
	return n
}

func (d *Detector) verdict(s *state, evidence []window.Mark, first int64, o *detectors.Observation) detectors.Verdict {
	last := s.marks[len(s.marks)-1].At
	fresh := s.total - s.reported
	reason := fmt.Sprintf("%s %s %s", window.Count(s.total), d.cfg.Noun, window.In(time.Duration(last-s.first)))
	zh := window.InZH(time.Duration(last-s.first)) + " " + window.Count(s.total) + " " + d.cfg.NounZH
	if s.reported > 0 {
		reason += fmt.Sprintf(", %s since the last report", window.Count(fresh))
		zh += "，其中 " + window.Count(fresh) + " " + d.cfg.NounZH + "为上次告警后新增"
	}
	return detectors.Verdict{
		Reason:   reason,
		ReasonZH: zh,
		First:    window.Time(first),
		Last:     window.Time(last),
		EventIDs: window.IDs(evidence),
		Count:    int(fresh),
		Details: map[string]any{"threshold": map[string]any{
			"count": d.cfg.Count, "window_seconds": int64(d.cfg.Window / time.Second), "total": s.total,
			"since": window.RFC3339(s.first),
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

func (s *state) newest() int64 { return s.marks[len(s.marks)-1].At }

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted()}
}

const magic = "TWTHRESHOLD1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		s := &e.State
		enc.String(e.Key)
		window.PutMarks(enc, s.marks)
		enc.Bool(s.episode)
		if s.episode {
			enc.Int(s.first)
			enc.Uint(s.total)
			enc.Uint(s.reported)
			enc.Int(s.lastAt)
			enc.Int(s.since)
			window.PutMarks(enc, s.pending)
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("threshold: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	d.floor = dec.Int()
	evicted := dec.Uint()
	for range dec.Count(3) {
		key := dec.String()
		e, isNew := d.table.Touch(window.Bound(key))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		s := &e.State
		if s.marks = window.GetMarks(dec, d.cfg.Count); len(s.marks) == 0 {
			dec.Fail("an entity without events")
		}
		if s.episode = dec.Bool(); s.episode {
			s.first, s.total, s.reported, s.lastAt, s.since = dec.Int(), dec.Uint(), dec.Uint(), dec.Int(), dec.Int()
			if s.reported > s.total || s.total > 1<<62 {
				dec.Fail("an episode reported more than it has")
			}
			s.pending = window.GetMarks(dec, detectors.MaxEvidence)
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, s.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
