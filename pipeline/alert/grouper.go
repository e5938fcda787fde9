package alert

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// MaxEvidence bounds the event ids of an alert; Count says how many there were.
const MaxEvidence = 50

// maxSeen bounds each list of further values (addresses, targets, actors) of
// an alert.
const maxSeen = 20

// seenKey is the detail under which an alert lists values that differ between
// its detections.
const seenKey = "seen"

// GrouperConfig bounds a Grouper. The zero value of a field is its default.
type GrouperConfig struct {
	// Max is the most alerts that are still open to further detections
	// (default 20,000, from 1 to 8 kB each). When there are more, those
	// whose window is oldest are closed first.
	Max int
	// Keep is the event time after its window's end during which an alert
	// still takes late detections (default 24 h).
	Keep time.Duration
}

// Grouper folds detections into alerts: detections with one rule and key
// within one window, counted from the Unix epoch, are one alert. The result
// does not depend on the order in which they are added. Methods are called
// from one goroutine.
type Grouper struct {
	cfg    GrouperConfig
	open   map[string]*group
	closed uint64
	mark   time.Time
}

// group is an alert in the making.
type group struct {
	alert    Alert // without what is derived below
	lead     lead
	end      time.Time
	evidence []evidence
	seen     map[string][]string
}

// lead identifies the detection that gives the alert its words: the most
// severe, success before attempt, most events, then the earliest. The rest
// breaks ties, so that no two different detections are equal.
type lead struct {
	Severity Severity
	Outcome  event.Outcome
	Count    int
	At       time.Time
	ID       string // first event id
	Reason   string
	ReasonZH string `json:",omitempty"`
	Details  string // as JSON; see told

	details map[string]any // what Details is made of, as long as nobody asked
}

type evidence struct {
	at time.Time
	id string
}

func (e evidence) before(f evidence) bool {
	if !e.at.Equal(f.at) {
		return e.at.Before(f.at)
	}
	return e.id < f.id
}

// NewGrouper returns an empty grouper.
func NewGrouper(cfg GrouperConfig) *Grouper {
	if cfg.Max <= 0 {
		cfg.Max = 20_000
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 24 * time.Hour
	}
	return &Grouper{cfg: cfg, open: make(map[string]*group)}
}

// window returns the start of the window that t lies in, and its end.
func window(t time.Time, size time.Duration) (start, end time.Time) {
	if size <= 0 {
		size = time.Hour
	}
	n := t.UnixNano()
	b := n / int64(size)
	if n < 0 && n%int64(size) != 0 {
		b--
	}
	start = time.Unix(0, b*int64(size)).UTC()
	return start, start.Add(size)
}

// Window is the window of the alert that a detection belongs to.
func Window(d *Detection) (start, end time.Time) { return window(d.Time, d.Window) }

// ID is the id of the alert that a detection belongs to: a hash of its rule,
// its key and its window. It is the same whatever came before.
func ID(d *Detection) string {
	start, end := window(d.Time, d.Window)
	h := fnv.New128a()
	for _, s := range []string{d.Rule, d.Key, start.Format(time.RFC3339Nano), end.Format(time.RFC3339Nano)} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Add folds a detection in and returns the alert as it is now. The alert is a
// copy that later additions do not change.
func (g *Grouper) Add(d Detection) *Alert { return g.fold(&d).view() }

// Fold is Add for those who do not want to see the alert yet.
func (g *Grouper) Fold(d *Detection) { g.fold(d) }

func (g *Grouper) fold(d *Detection) *group {
	id := ID(d)
	a := g.open[id]
	if a == nil {
		_, end := window(d.Time, d.Window)
		a = &group{end: end}
		a.alert = Alert{Schema: Schema, ID: id, Rule: d.Rule}
		g.open[id] = a
		if len(g.open) > g.cfg.Max {
			g.close(len(g.open)-g.cfg.Max, a)
		}
	}
	a.add(d)
	return a
}

func leadOf(d *Detection) lead {
	l := lead{Severity: d.Severity, Outcome: d.Outcome, Count: d.Count, At: d.FirstAt, Reason: d.Reason, ReasonZH: d.ReasonZH}
	if len(d.EventIDs) > 0 {
		l.ID = d.EventIDs[0]
	}
	l.details = d.Details
	return l
}

// told returns the details as JSON. Hardly ever do two detections have all the
// rest in common, so that they have to be compared.
func (l *lead) told() string {
	if len(l.details) > 0 {
		if b, err := json.Marshal(l.details); err == nil {
			l.Details = string(b)
		}
		l.details = nil
	}
	return l.Details
}

// before says whether l's words are preferred to those of m.
func (l *lead) before(m *lead) bool {
	switch {
	case l.Severity != m.Severity:
		return l.Severity > m.Severity
	case l.Outcome != m.Outcome:
		return l.Outcome == event.Success
	case l.Count != m.Count:
		return l.Count > m.Count
	case !l.At.Equal(m.At):
		return l.At.Before(m.At)
	case l.ID != m.ID:
		return l.ID < m.ID
	case l.Reason != m.Reason:
		return l.Reason < m.Reason
	case l.ReasonZH != m.ReasonZH:
		return l.ReasonZH < m.ReasonZH
	default:
		return l.told() < m.told()
	}
}

func (a *group) add(d *Detection) {
	x := &a.alert
	first := x.Revision == 0
	x.Revision++
	x.Count += max(d.Count, len(d.EventIDs))
	if first || d.FirstAt.Before(x.FirstAt) {
		x.FirstAt = d.FirstAt
	}
	if first || d.Time.After(x.LastAt) {
		x.LastAt, x.Time = d.Time, d.Time
	}
	if d.Outcome == event.Success && d.Time.After(x.SuccessAt) {
		x.SuccessAt = d.Time
	}
	if l := leadOf(d); first || l.before(&a.lead) {
		a.lead = l
		x.RuleVersion, x.Pack, x.Title, x.Reason, x.Severity = d.RuleVersion, d.Pack, d.Title, d.Reason, d.Severity
		x.TitleZH, x.ReasonZH = d.TitleZH, d.ReasonZH
		x.Outcome, x.AccountID, x.Actor, x.SourceIP = d.Outcome.String(), d.AccountID, d.Actor, d.SourceIP
		x.Target = nil
		if d.Target != (Target{}) {
			t := d.Target
			x.Target = &t
		}
		x.Attack, x.Details, x.Runbook = d.Attack, d.Details, d.Runbook
		x.TargetKey, x.Playbook, x.Signal = d.TargetKey, d.Playbook, d.Signal
	}
	for i, id := range d.EventIDs {
		// Only the first and the last event's times are known; what lies
		// between is put at the first.
		at := d.FirstAt
		if i == len(d.EventIDs)-1 {
			at = d.Time
		}
		a.witness(evidence{at: at, id: id})
	}
	a.note("source_ip", d.SourceIP)
	a.note("actor", d.Actor.ID)
	a.note("access_key_id", d.Actor.AccessKeyID)
	a.note("target", d.Target.ID)
	a.note("target_key", d.TargetKey)
	a.note("outcome", d.Outcome.String())
}

// witness keeps the first MaxEvidence events by (time, id), each once at its
// earliest time. Which these are does not depend on the order of additions: an
// event that was dropped comes back only if it turns out to be earlier.
func (a *group) witness(e evidence) {
	for i := range a.evidence {
		if a.evidence[i].id == e.id {
			if !e.at.Before(a.evidence[i].at) {
				return
			}
			a.evidence = slices.Delete(a.evidence, i, i+1)
			break
		}
	}
	i := sort.Search(len(a.evidence), func(i int) bool { return e.before(a.evidence[i]) })
	if i >= MaxEvidence {
		return
	}
	a.evidence = slices.Insert(a.evidence, i, e)
	if len(a.evidence) > MaxEvidence {
		a.evidence = a.evidence[:MaxEvidence]
	}
}

// note keeps the first maxSeen values of a kind in the order of the alphabet,
// which again does not depend on the order of additions.
func (a *group) note(kind, value string) {
	if value == "" {
		return
	}
	list := a.seen[kind]
	i, ok := slices.BinarySearch(list, value)
	if ok || i >= maxSeen {
		return
	}
	list = slices.Insert(list, i, strings.Clone(value))
	if len(list) > maxSeen {
		list = list[:maxSeen]
	}
	if a.seen == nil {
		a.seen = make(map[string][]string)
	}
	a.seen[kind] = list
}

// view makes the alert that people see.
func (a *group) view() *Alert {
	x := a.alert
	x.EventIDs = make([]string, len(a.evidence))
	for i, e := range a.evidence {
		x.EventIDs[i] = e.id
	}
	if x.Target != nil {
		t := *x.Target
		x.Target = &t
	}
	seen := map[string]any{}
	for kind, list := range a.seen {
		if len(list) > 1 {
			seen[kind] = slices.Clone(list)
		}
	}
	x.Details = maps.Clone(x.Details)
	if len(seen) > 0 {
		if x.Details == nil {
			x.Details = make(map[string]any, 1)
		}
		x.Details[seenKey] = seen
	}
	return &x
}

// Advance closes alerts whose window ended long enough before the watermark:
// no detection can belong to them any more except very late ones, which make
// the alert anew under the same id.
func (g *Grouper) Advance(watermark time.Time) {
	if !watermark.After(g.mark) {
		return
	}
	g.mark = watermark
	limit := watermark.Add(-g.cfg.Keep)
	for id, a := range g.open {
		if a.end.Before(limit) {
			delete(g.open, id)
			g.closed++
		}
	}
}

// close closes the n alerts with the oldest windows, but not keep.
func (g *Grouper) close(n int, keep *group) {
	all := make([]*group, 0, len(g.open))
	for _, a := range g.open {
		if a != keep {
			all = append(all, a)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if !all[i].end.Equal(all[j].end) {
			return all[i].end.Before(all[j].end)
		}
		return all[i].alert.ID < all[j].alert.ID
	})
	// A tenth at once, so that a flood does not sort for every detection.
	n = min(max(n, g.cfg.Max/10), len(all))
	for _, a := range all[:n] {
		delete(g.open, a.alert.ID)
		g.closed++
	}
}

// Len is the number of alerts still open; Closed counts those closed since
// the start, for lack of room too.
func (g *Grouper) Len() int { return len(g.open) }

// Closed counts the alerts that no longer take detections.
func (g *Grouper) Closed() uint64 { return g.closed }

// All returns the open alerts ordered by (time, rule, id).
func (g *Grouper) All() []Alert {
	out := make([]Alert, 0, len(g.open))
	for _, a := range g.open {
		out = append(out, *a.view())
	}
	Sort(out)
	return out
}

// Sort puts alerts in the order of a replay's output: time, rule, id.
func Sort(alerts []Alert) {
	lists.Sort(alerts, func(a, b Alert) int { return compare(&a, &b) })
}

func compare(a, b *Alert) int {
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Rule, b.Rule), strings.Compare(a.ID, b.ID))
}

// Equal says whether two alerts are the same in everything but the number of
// revisions it took to make them.
func Equal(a, b *Alert) bool {
	x, y := *a, *b
	x.Revision, y.Revision = 0, 0
	return reflect.DeepEqual(x, y)
}
