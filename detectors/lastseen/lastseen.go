package lastseen

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a last_seen detector in a rule file.
type Config struct {
	// Idle is the silence after which an observation is a verdict.
	Idle time.Duration `yaml:"idle"`
	// DropAfter is the silence after which an entity is forgotten: what
	// comes back later counts as new. 0 keeps entities for ten times Idle.
	DropAfter time.Duration `yaml:"drop_after"`
	// Noun is what an observation is in the reason, in the singular.
	Noun string `yaml:"noun"`
	// NounZH is Noun in Chinese, with its measure word: "次调用".
	NounZH string `yaml:"noun_zh"`
	// MaxKeys and MaxBytes bound the entities remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{Idle: 90 * 24 * time.Hour, Noun: "call", NounZH: "次调用", MaxKeys: 500_000, MaxBytes: 128 << 20}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckWindow("idle", c.Idle, 10*window.MaxWindow); err != nil {
		return err
	}
	if c.DropAfter != 0 && c.DropAfter < c.Idle {
		return window.Bad("drop_after", "%s is shorter than idle, %s: nothing could ever wake up", c.DropAfter, c.Idle)
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
	table *window.Table[state]
	floor int64 // entities last seen before it are forgotten

	touched byte // see Warm
}

type state struct {
	first, last int64
	seen        uint64
}

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	if c.DropAfter == 0 {
		c.DropAfter = min(10*c.Idle, 10*window.MaxWindow)
	}
	d := &Detector{cfg: c}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor = window.Nanos(time.Time{})
}

// Fetch implements detectors.Fetcher.
func (d *Detector) Fetch(key string) uint32 { return d.table.Fetch(key) }

// Warm implements detectors.Fetcher.
func (d *Detector) Warm(hint uint32) {
	if e := d.table.At(hint); e != nil {
		d.touched += byte(e.State.last)
	}
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	if at < d.floor {
		return out
	}
	e, isNew := d.table.TouchHint(window.Bound(o.Key), o.Hint)
	s := &e.State
	if isNew || s.last < d.floor {
		*s = state{first: at, last: at}
	} else if idle := at - s.last; idle >= int64(d.cfg.Idle) {
		out = append(out, d.verdict(s, time.Duration(idle), &o))
	}
	s.first, s.last = min(s.first, at), max(s.last, at)
	s.seen++
	d.table.Resize(e, 0, nil)
	return out
}

func (d *Detector) verdict(s *state, idle time.Duration, o *detectors.Observation) detectors.Verdict {
	v := detectors.Verdict{
		Reason: fmt.Sprintf("first %s after %s of silence (last one on %s, %s seen since %s)",
			d.cfg.Noun, window.Span(idle), window.Day(s.last), window.Plural(s.seen, d.cfg.Noun), window.Day(s.first)),
		ReasonZH: fmt.Sprintf("静默 %s后首次出现（上次为 %s，自 %s 起共 %s %s）",
			window.SpanZH(idle), window.Day(s.last), window.Day(s.first), window.Count(s.seen), d.cfg.NounZH),
		First: o.Time, Last: o.Time, Count: 1, Event: o.Event,
		Details: map[string]any{"last_seen": map[string]any{
			"idle_days": int64(idle / (24 * time.Hour)), "last_seen": window.RFC3339(s.last),
			"first_seen": window.RFC3339(s.first), "observations": s.seen,
		}},
	}
	if id := window.ID(o); id != "" {
		v.EventIDs = []string{id}
	}
	return v
}

// Advance implements detectors.Detector: entities silent for longer than
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

const magic = "TWLASTSEEN1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		enc.String(e.Key)
		enc.Int(e.State.first)
		enc.Int(e.State.last - e.State.first)
		enc.Uint(e.State.seen)
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("last_seen: %w", err)
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
	for range dec.Count(4) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		first, age, seen := dec.Int(), dec.Int(), dec.Uint()
		if dec.Err() == nil && (!isNew || age < 0 || first+age < first || seen == 0) {
			dec.Fail("an entity that cannot be, or is there twice")
		}
		if dec.Err() != nil {
			break
		}
		e.State = state{first: first, last: first + age, seen: seen}
		d.table.Resize(e, 0, nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
