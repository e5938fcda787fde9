package risk

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a risk detector in a rule file.
type Config struct {
	// Threshold is the sum of weights at which there is a verdict, Window the
	// time over which signals are added up.
	Threshold int           `yaml:"threshold"`
	Window    time.Duration `yaml:"window"`
	// Weights are the weights of labels; Other is that of a label that is not
	// among them.
	Weights map[string]int `yaml:"weights"`
	Other   int            `yaml:"other"`
	// Steps are the weights of a rule with steps: more of Weights.
	Steps []Step `yaml:"steps"`
	// Repeat is how often one label counts in a window.
	Repeat int `yaml:"repeat"`
	// Distinct is how many different labels a verdict needs.
	Distinct int `yaml:"distinct"`
	// MaxSignals bounds the signals of an identity, MaxKeys and MaxBytes the
	// identities remembered.
	MaxSignals int `yaml:"max_signals"`
	MaxKeys    int `yaml:"max_keys"`
	MaxBytes   int `yaml:"max_bytes"`
}

// Step is one step of a rule, and its weight.
type Step struct {
	Name   string `yaml:"name"`
	NameZH string `yaml:"name_zh"` // Name in Chinese
	Weight int    `yaml:"weight"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{Window: 24 * time.Hour, Repeat: 1, Distinct: 2, MaxSignals: 64, MaxKeys: 50_000, MaxBytes: 64 << 20}
}

// MaxWeight is the largest weight, and the largest threshold.
const MaxWeight = 1_000_000

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckRange("threshold", c.Threshold, 1, MaxWeight); err != nil {
		return err
	}
	if err := window.CheckWindow("window", c.Window, 31*24*time.Hour); err != nil {
		return err
	}
	for _, label := range sortedKeys(c.Weights) {
		if err := checkLabel("weights", label, c.Weights[label]); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for i, s := range c.Steps {
		key := "steps." + strconv.Itoa(i)
		if err := checkLabel(key, s.Name, s.Weight); err != nil {
			return err
		}
		if _, twice := c.Weights[s.Name]; twice || names[s.Name] {
			return window.Bad(key+".name", "%q has two weights", window.Show(s.Name))
		}
		names[s.Name] = true
	}
	if err := window.CheckRange("other", c.Other, 0, MaxWeight); err != nil {
		return err
	}
	if err := window.CheckRange("repeat", c.Repeat, 1, 1000); err != nil {
		return err
	}
	if err := window.CheckRange("distinct", c.Distinct, 1, 64); err != nil {
		return err
	}
	if err := window.CheckRange("max_signals", c.MaxSignals, 2, 4096); err != nil {
		return err
	}
	if c.MaxSignals < c.Distinct || c.MaxSignals < c.Repeat {
		return window.Bad("max_signals", "%d is less than distinct or repeat", c.MaxSignals)
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

func sortedKeys(m map[string]int) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func checkLabel(key, label string, weight int) error {
	if label == "" || len(label) > window.MaxValue || strings.Contains(label, ":") {
		return window.Bad(key, "%q is no label: 1 to %d bytes without a colon", window.Show(label), window.MaxValue)
	}
	if _, err := strconv.Atoi(label); err == nil {
		return window.Bad(key, "the label %q is a number, and numbers are weights", label)
	}
	if weight < 1 || weight > MaxWeight {
		return window.Bad(key, "the weight %d of %q is not between 1 and %d", weight, window.Show(label), MaxWeight)
	}
	return nil
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg     Config
	width   int64
	weights map[string]int
	labels  map[string]string // one copy of each label of the settings
	table   *window.Table[state]
	floor   int64
	dropped uint64 // signals dropped for lack of room
}

// signal is one observation that counts.
type signal struct {
	window.Mark
	label  string
	weight int
}

type state struct {
	signals []signal // in time order
	told    int      // the risk told last; 0 when not over the threshold
}

// The estimated sizes of a signal without its id and of an identity besides
// what the table counts.
const (
	signalCost = 48
	stateCost  = 20
)

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c, width: int64(c.Window), weights: make(map[string]int), labels: make(map[string]string)}
	for label, w := range c.Weights {
		d.weights[label], d.labels[label] = w, label
	}
	for _, s := range c.Steps {
		d.weights[s.Name], d.labels[s.Name] = s.Weight, s.Name
	}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor, d.dropped = window.Nanos(time.Time{}), 0
}

// unlabelled is the label of a signal that is only a number.
const unlabelled = "other signals"

// read makes a signal of a value; ok is false when it weighs nothing.
func (d *Detector) read(value string) (s signal, ok bool) {
	label, number := unlabelled, value
	if i := strings.LastIndexByte(value, ':'); i >= 0 {
		label, number = value[:i], value[i+1:]
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		label = value
		if n = d.weights[label]; n == 0 {
			n = d.cfg.Other
		}
	}
	if n <= 0 || label == "" {
		return s, false
	}
	s.weight = min(n, MaxWeight)
	if known, ok := d.labels[label]; ok {
		s.label = known
	} else {
		s.label = window.BoundValue(label)
	}
	return s, true
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	s, ok := d.read(o.Value)
	if !ok || at < d.floor {
		return out
	}
	s.Mark = window.Mark{At: at, ID: window.ID(&o)}
	e, _ := d.table.Touch(window.Bound(o.Key))
	st := &e.State
	newest := at
	if n := len(st.signals); n > 0 {
		newest = max(newest, st.signals[n-1].At)
	}
	from := max(newest-d.width, d.floor)
	if at < from {
		return out // late, and older than the window
	}
	st.drop(from)
	if st.told > 0 && 2*st.risk() <= d.cfg.Threshold {
		st.told = 0
	}
	d.add(st, s)
	if risk := st.risk(); risk >= d.cfg.Threshold && (st.told == 0 || risk >= 2*st.told) && st.labels() >= d.cfg.Distinct {
		st.told = risk
		out = append(out, d.verdict(st, risk, &o))
	}
	d.table.Resize(e, st.size(), nil)
	return out
}

func (st *state) drop(from int64) {
	n := 0
	for n < len(st.signals) && st.signals[n].At < from {
		n++
	}
	st.signals = slices.Delete(st.signals, 0, n)
}

// add puts a signal in its place; of a label that is there too often, the
// oldest goes.
func (d *Detector) add(st *state, s signal) {
	i := len(st.signals)
	for i > 0 && s.Before(st.signals[i-1].Mark) {
		i--
	}
	if len(st.signals) == cap(st.signals) && len(st.signals) < 4 {
		// Grow by one at first: most identities have one signal or two.
		st.signals = append(make([]signal, 0, len(st.signals)+1), st.signals...)
	}
	st.signals = slices.Insert(st.signals, i, s)
	same, oldest := 0, -1
	for j := range st.signals {
		if st.signals[j].label == s.label {
			if same++; oldest < 0 {
				oldest = j
			}
		}
	}
	switch {
	case same > d.cfg.Repeat:
		st.signals = slices.Delete(st.signals, oldest, oldest+1)
	case len(st.signals) > d.cfg.MaxSignals:
		st.signals = slices.Delete(st.signals, 0, 1)
		d.dropped++
	}
}

func (st *state) risk() (sum int) {
	for i := range st.signals {
		sum += st.signals[i].weight
	}
	return sum
}

// labels is how many different labels there are.
func (st *state) labels() (n int) {
	for i := range st.signals {
		if !slices.ContainsFunc(st.signals[:i], func(s signal) bool { return s.label == st.signals[i].label }) {
			n++
		}
	}
	return n
}

func (st *state) size() int {
	n := stateCost + cap(st.signals)*signalCost
	for i := range st.signals {
		n += len(st.signals[i].ID)
	}
	return n
}

// part is what the signals of one label add.
type part struct {
	label  string
	weight int
	times  int
	last   int64
}

// parts lists the labels, the heaviest first.
func (st *state) parts() []part {
	var out []part
	for i := range st.signals {
		s := &st.signals[i]
		j := slices.IndexFunc(out, func(p part) bool { return p.label == s.label })
		if j < 0 {
			out = append(out, part{label: s.label})
			j = len(out) - 1
		}
		out[j].weight += s.weight
		out[j].times++
		out[j].last = s.At
	}
	lists.Sort(out, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.last, b.last), strings.Compare(a.label, b.label))
	})
	return out
}

// shown is how many parts a reason and the details name.
const (
	shownWords = 4
	shownParts = 20
)

func (d *Detector) labelZH(label string) string {
	for _, s := range d.cfg.Steps {
		if s.Name == label && s.NameZH != "" {
			return s.NameZH
		}
	}
	return window.Show(label)
}

func (d *Detector) verdict(st *state, risk int, o *detectors.Observation) detectors.Verdict {
	parts := st.parts()
	words, zh := make([]string, len(parts)), make([]string, len(parts))
	list := make([]any, 0, min(len(parts), shownParts))
	for i, p := range parts {
		words[i] = fmt.Sprintf("%s (%s)", window.Show(p.label), window.Count(p.weight))
		if p.times > 1 {
			words[i] = fmt.Sprintf("%s ×%d (%s)", window.Show(p.label), p.times, window.Count(p.weight))
		}
		zh[i] = d.labelZH(p.label) + strings.TrimPrefix(words[i], window.Show(p.label))
		if i < shownParts {
			list = append(list, map[string]any{"signal": window.Show(p.label), "weight": p.weight, "count": p.times, "last": window.RFC3339(p.last)})
		}
	}
	first, last := st.signals[0].At, st.signals[len(st.signals)-1].At
	marks := make([]window.Mark, len(st.signals))
	for i := range st.signals {
		marks[i] = st.signals[i].Mark
	}
	return detectors.Verdict{
		Reason:   fmt.Sprintf("risk %s of %s %s: %s", window.Count(risk), window.Count(d.cfg.Threshold), window.In(time.Duration(last-first)), window.List(words, shownWords)),
		ReasonZH: fmt.Sprintf("%s累计风险 %s（阈值 %s）：%s", window.InZH(time.Duration(last-first)), window.Count(risk), window.Count(d.cfg.Threshold), window.ListZH(zh, shownWords)),
		First:    window.Time(first), Last: window.Time(last), Count: len(st.signals), EventIDs: window.IDs(marks), Event: o.Event,
		Details: map[string]any{"risk": map[string]any{
			"sum": risk, "threshold": d.cfg.Threshold, "window_seconds": int64(d.cfg.Window / time.Second), "parts": list, "parts_total": len(parts),
		}},
	}
}

// Advance implements detectors.Detector: identities without a signal in the
// window are forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.floor = max(d.floor, window.Nanos(watermark)-d.width)
	for e := d.table.Oldest(); e != nil && e.State.newest() < d.floor; e = d.table.Oldest() {
		d.table.Remove(e)
	}
	return out
}

func (st *state) newest() int64 { return st.signals[len(st.signals)-1].At }

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector. Trimmed counts signals.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted(), Trimmed: d.dropped}
}

const magic = "TWRISK1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.dropped)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		st := &e.State
		enc.String(e.Key)
		enc.Uint(uint64(st.told))
		enc.Uint(uint64(len(st.signals)))
		last := int64(0)
		for i := range st.signals {
			s := &st.signals[i]
			enc.Int(s.At - last)
			enc.String(s.ID)
			enc.String(s.label)
			enc.Uint(uint64(s.weight))
			last = s.At
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("risk: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	d.floor, d.dropped = dec.Int(), dec.Uint()
	evicted := dec.Uint()
	low, high := window.Nanos(time.Time{}), window.Nanos(time.Unix(1<<40, 0))
	for range dec.Count(3) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		st := &e.State
		told := dec.Uint()
		n := dec.Count(4)
		if told > math.MaxInt32*2 || n == 0 || n > d.cfg.MaxSignals {
			dec.Fail("an identity that cannot be")
		}
		if dec.Err() != nil {
			break
		}
		st.told = int(told)
		st.signals = make([]signal, 0, n)
		last := int64(0)
		for range n {
			last += dec.Int()
			s := signal{Mark: window.Mark{At: last, ID: dec.String()}, label: dec.String()}
			weight := dec.Uint()
			k := len(st.signals)
			if last < low || last > high || len(s.ID) > window.MaxID || s.label == "" || len(s.label) > window.MaxValue || weight == 0 || weight > MaxWeight ||
				k > 0 && s.Before(st.signals[k-1].Mark) {
				dec.Fail("a signal that cannot be")
			}
			if dec.Err() != nil {
				return dec.Err()
			}
			if known, ok := d.labels[s.label]; ok {
				s.label = known
			}
			s.weight = int(weight)
			st.signals = append(st.signals, s)
		}
		d.table.Resize(e, st.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
