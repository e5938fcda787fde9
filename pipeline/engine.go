package pipeline

import (
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Engine is the evaluation of one partition as the worker needs it. It must be
// deterministic: equal calls give equal detections and equal state, or recovery
// gives other alerts than the first run. Called from one goroutine.
type Engine interface {
	// Behind tells, before each frame, which shards of its source had more to
	// give when it was stored; detectors.Engine says what that means.
	Behind(source string, shards []string, giving string)
	// Tick tells the ingest clock. It is called with each frame's stamp,
	// before the frame's events, and with stamps that only grow.
	Tick(now time.Time)
	// Ahead says, before an event, whether its time lies far ahead of those that
	// follow it; detectors.Engine says what that means.
	Ahead(far bool)
	// Apply evaluates one event. The engine may keep the event.
	Apply(ev *event.Event, shard string)
	// Take returns the detections since the last Take, in a fixed order.
	Take() []alert.Detection
	// Watermark is the event time before which everything is decided.
	Watermark() time.Time
	// Snapshot and Restore carry the whole state. Restore refuses what it
	// does not know.
	Snapshot() []byte
	Restore([]byte) error
	Stats() EngineStats
}

// EngineStats are totals that survive restarts because they are part of the
// engine's state.
type EngineStats struct {
	Events, Duplicates, Late, RuleErrors uint64
	Pending                              int // events that wait for the watermark
	// Excepted are withheld detections by reason, Noise what rules in shadow
	// would have made. They are not changed after the call.
	Excepted map[string]uint64
	Noise    map[string]alert.Noise
	// Evicted is how many entities each rule forgot to stay within its bounds, those
	// that forgot none left out.
	Evicted map[string]uint64
}

// Grouper folds detections into alerts; deterministic like the engine.
type Grouper interface {
	// Add returns the alert that changed, or nil when nothing did.
	Add(alert.Detection) *alert.Alert
	Advance(watermark time.Time)
	Snapshot() []byte
	Restore([]byte) error
}

// TimeEvery is every how many events of a partition one is measured rule by
// rule, where EngineConfig has a Timer: two looks at the clock for each rule cost
// about as much as the rules. A prime, so that traffic in groups does not hide.
const TimeEvery = 61

// DetectorEngines returns the maker of real engines for Config.NewEngine.
func DetectorEngines(set detectors.RuleSet, cfg func(partition int) detectors.EngineConfig) func(partition int) Engine {
	return func(p int) Engine {
		c := cfg(p)
		d := &detectorEngine{e: detectors.NewEngine(set, c), eval: detectors.NewEvaluator(set)}
		if c.Timer == nil {
			return d
		}
		return &measuredEngine{detectorEngine: d, timer: c.Timer}
	}
}

type detectorEngine struct {
	e    *detectors.Engine
	eval *detectors.Evaluator
}

// measuredEngine measures one event in TimeEvery.
type measuredEngine struct {
	*detectorEngine
	timer *detectors.Timer
	n     uint
}

func (m *measuredEngine) Apply(ev *event.Event, shard string) {
	if m.n++; m.n%TimeEvery != 0 {
		m.detectorEngine.Apply(ev, shard)
		return
	}
	m.e.Apply(m.eval.EvaluateTimed(ev, m.timer), shard)
}

func (d *detectorEngine) Behind(source string, shards []string, giving string) {
	d.e.Behind(source, shards, giving)
}
func (d *detectorEngine) Ahead(far bool)                      { d.e.Ahead(far) }
func (d *detectorEngine) Tick(now time.Time)                  { d.e.Tick(now) }
func (d *detectorEngine) Apply(ev *event.Event, shard string) { d.e.Apply(d.eval.Evaluate(ev), shard) }
func (d *detectorEngine) Take() []alert.Detection             { return d.e.Take() }
func (d *detectorEngine) Watermark() time.Time                { return d.e.Watermark() }
func (d *detectorEngine) Snapshot() []byte                    { return d.e.Snapshot() }
func (d *detectorEngine) Restore(b []byte) error              { return d.e.Restore(b) }
func (d *detectorEngine) Stats() EngineStats {
	s := d.e.Stats()
	return EngineStats{Events: s.Events, Duplicates: s.Duplicates, Late: s.Late, RuleErrors: s.RuleErrors, Pending: s.Pending, Excepted: s.ByReason, Noise: s.Noise, Evicted: s.Evicted()}
}
