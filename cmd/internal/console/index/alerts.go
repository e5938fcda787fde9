package index

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/responders"
)

// Limits bound an Index. The zero value of a field is its default.
type Limits struct {
	Alerts  int // newest alerts by their last event; default 10,000, about 1.2 kB each
	Actions int // newest actions; default 5,000
	Events  int // newest events as they were stored; default 100,000, about 170 bytes each
}

// Alert is one line of a list: an alert without its evidence, and where it
// stands with people.
type Alert struct {
	ID        string                   `json:"id"`
	Rule      string                   `json:"rule"`
	Title     string                   `json:"title"`
	Reason    string                   `json:"reason"`
	TitleZH   string                   `json:"-"` // as alert.Alert has them
	ReasonZH  string                   `json:"-"`
	Severity  alert.Severity           `json:"severity"`
	Outcome   string                   `json:"outcome"`
	FirstAt   time.Time                `json:"first_at"`
	LastAt    time.Time                `json:"last_at"`
	Count     int                      `json:"count"`
	AccountID string                   `json:"account_id,omitempty"`
	Actor     alert.Actor              `json:"actor"`
	SourceIP  string                   `json:"source_ip,omitempty"`
	Target    alert.Target             `json:"target,omitzero"`
	TargetKey string                   `json:"target_key,omitempty"`
	State     responders.TriageState   `json:"state"`
	Owner     string                   `json:"owner,omitempty"`
	Verdict   responders.TriageVerdict `json:"verdict,omitempty"`
	Seq       uint64                   `json:"seq"` // of the last change
}

// Query narrows a list of alerts. The zero value lists all of them.
type Query struct {
	MinSeverity alert.Severity
	State       responders.TriageState // "" all; "unclosed" is Unclosed
	Owner       string
	Rule        string
	Account     string
	Text        string // in title, reason, actor, key, address, target, rule or id; any case
	Since       time.Time
	// Offset and Limit page the list; no limit when 0.
	Offset, Limit int
}

// Unclosed selects alerts that are open or acknowledged.
const Unclosed responders.TriageState = "unclosed"

// List is one page of alerts, newest last event first.
type List struct {
	Alerts []Alert
	Total  int // that match
	// Counts are the unclosed alerts of all, by severity.
	Counts map[alert.Severity]int
}

// Topic is a kind of change.
type Topic int

// The topics.
const (
	Alerts Topic = iota // alerts and what people make of them
	Actions
	Replays // counted here, not by the journal: it begins anew with the process
	topics
)

// Index holds everything. Make one with New.
type Index struct {
	limits Limits

	mu      sync.RWMutex
	alerts  map[string]*entry
	triage  map[string]responders.Triage // of alerts that are not there (yet)
	order   []*entry                     // newest last event first
	actions map[string]responders.ActionDetail
	seq     [topics]uint64
	changed chan struct{}
	ready   bool
	dropped int
	replays []admin.Replaying

	ev activity
}

type entry struct {
	Alert
	search string
	triage uint64 // sequence of the triage record
}

// New returns an empty index.
func New(l Limits) *Index {
	if l.Alerts <= 0 {
		l.Alerts = 10_000
	}
	if l.Actions <= 0 {
		l.Actions = 5000
	}
	if l.Events <= 0 {
		l.Events = 100_000
	}
	return &Index{limits: l, alerts: map[string]*entry{}, triage: map[string]responders.Triage{}, actions: map[string]responders.ActionDetail{},
		changed: make(chan struct{}), ev: activity{max: l.Events}}
}

// Apply takes one change of the journal. Changes of one thing come in order;
// one that is met again changes nothing.
func (x *Index) Apply(c responders.Change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := Alerts
	switch {
	case c.Alert != nil:
		x.putAlert(c)
	case c.Triage != nil:
		x.putTriage(c)
	case c.Action != nil:
		t = Actions
		if old, ok := x.actions[c.Action.ID]; ok && old.Seq >= c.Seq {
			return
		}
		x.actions[c.Action.ID] = *c.Action
		if len(x.actions) > x.limits.Actions+x.limits.Actions/10 {
			x.trimActions()
		}
	case c.Questions != nil: // pages that show them ask for themselves
	default:
		return
	}
	if c.Seq > x.seq[t] {
		x.seq[t] = c.Seq
		close(x.changed)
		x.changed = make(chan struct{})
	}
}

func (x *Index) putAlert(c responders.Change) {
	a := c.Alert
	if responders.OnlyMessage(a.Rule) {
		return
	}
	e := x.alerts[a.ID]
	if e == nil {
		e = &entry{}
		e.State = responders.TriageOpen
		if t, ok := x.triage[a.ID]; ok {
			e.State, e.Owner, e.Verdict = t.State, t.Owner, t.Verdict
			delete(x.triage, a.ID)
		}
		x.alerts[a.ID] = e
	} else {
		x.unlink(e)
	}
	e.ID, e.Rule, e.Title, e.Reason, e.Severity, e.Outcome = a.ID, a.Rule, a.Title, a.Reason, a.Severity, a.Outcome
	e.TitleZH, e.ReasonZH = a.TitleZH, a.ReasonZH
	e.FirstAt, e.LastAt, e.Count, e.AccountID, e.Actor, e.SourceIP, e.TargetKey = a.FirstAt, a.LastAt, a.Count, a.AccountID, a.Actor, a.SourceIP, a.TargetKey
	e.Target = alert.Target{}
	if a.Target != nil {
		e.Target = *a.Target
	}
	e.Seq = max(e.Seq, c.Seq)
	e.search = strings.ToLower(strings.Join([]string{a.Title, a.Reason, a.Actor.Name, a.Actor.ID, a.Actor.AccessKeyID, a.SourceIP, e.Target.Name, a.TargetKey, a.Rule, a.ID, a.AccountID, a.TitleZH, a.ReasonZH}, "\x00"))
	i := sort.Search(len(x.order), func(i int) bool { return !before(x.order[i], e) })
	x.order = slices.Insert(x.order, i, e)
	if len(x.order) > x.limits.Alerts {
		last := x.order[len(x.order)-1]
		x.order = x.order[:len(x.order)-1]
		delete(x.alerts, last.ID)
		x.dropped++
	}
}

// before says whether a stands above b in the list.
func before(a, b *entry) bool {
	if !a.LastAt.Equal(b.LastAt) {
		return a.LastAt.After(b.LastAt)
	}
	return a.ID < b.ID
}

func (x *Index) unlink(e *entry) {
	i := sort.Search(len(x.order), func(i int) bool { return !before(x.order[i], e) })
	if i < len(x.order) && x.order[i] == e {
		x.order = slices.Delete(x.order, i, i+1)
	}
}

func (x *Index) putTriage(c responders.Change) {
	e := x.alerts[c.AlertID]
	if e == nil {
		if len(x.triage) < x.limits.Alerts {
			x.triage[c.AlertID] = responders.Triage{State: c.Triage.State, Owner: c.Triage.Owner, Verdict: c.Triage.Verdict}
		}
		return
	}
	if c.Seq < e.triage {
		return
	}
	e.triage, e.Seq = c.Seq, max(e.Seq, c.Seq)
	e.State, e.Owner, e.Verdict = c.Triage.State, c.Triage.Owner, c.Triage.Verdict
}

func (x *Index) trimActions() {
	all := slices.Collect(maps.Values(x.actions))
	lists.Sort(all, newestAction)
	for _, d := range all[x.limits.Actions:] {
		delete(x.actions, d.ID)
	}
}

func newestAction(a, b responders.ActionDetail) int {
	if c := b.ProposedAt.Compare(a.ProposedAt); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// CaughtUp says that everything stored before the start has been applied.
func (x *Index) CaughtUp() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ready {
		return
	}
	x.ready = true
	close(x.changed)
	x.changed = make(chan struct{})
}

// Ready says whether CaughtUp was called; until then lists are incomplete.
func (x *Index) Ready() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.ready
}

// Seq is the sequence of the last change of a topic, and a channel that is
// closed at the next change of any.
func (x *Index) Seq() (seqs [3]uint64, changed <-chan struct{}) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return [3]uint64{x.seq[Alerts], x.seq[Actions], x.seq[Replays]}, x.changed
}

// List returns one page of alerts.
func (x *Index) List(q Query) List {
	text := strings.ToLower(strings.TrimSpace(q.Text))
	x.mu.RLock()
	defer x.mu.RUnlock()
	l := List{Alerts: []Alert{}, Counts: map[alert.Severity]int{}}
	for _, e := range x.order {
		if e.State != responders.TriageClosed {
			l.Counts[e.Severity]++
		}
		if e.Severity < q.MinSeverity || q.Rule != "" && e.Rule != q.Rule || q.Account != "" && e.AccountID != q.Account ||
			q.Owner != "" && e.Owner != q.Owner || !q.Since.IsZero() && e.LastAt.Before(q.Since) {
			continue
		}
		switch q.State {
		case "", e.State:
		case Unclosed:
			if e.State == responders.TriageClosed {
				continue
			}
		default:
			continue
		}
		if text != "" && !strings.Contains(e.search, text) {
			continue
		}
		if l.Total >= q.Offset && (q.Limit == 0 || len(l.Alerts) < q.Limit) {
			l.Alerts = append(l.Alerts, e.Alert)
		}
		l.Total++
	}
	return l
}

// Alert returns one alert by its id or an unambiguous beginning of at least
// six characters.
func (x *Index) Alert(id string) (Alert, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if e := x.alerts[id]; e != nil {
		return e.Alert, true
	}
	if len(id) < 6 {
		return Alert{}, false
	}
	var found *entry
	for _, e := range x.order {
		if strings.HasPrefix(e.ID, id) {
			if found != nil {
				return Alert{}, false
			}
			found = e
		}
	}
	if found == nil {
		return Alert{}, false
	}
	return found.Alert, true
}

// Similar returns other alerts that share the rule or somebody in it (the
// actor, a key, the address), newest first, since a time, at most n; total
// says how many there are.
func (x *Index) Similar(a Alert, since time.Time, n int) (list []Alert, total int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	same := func(v, w string) bool { return v != "" && v == w }
	for _, e := range x.order {
		if e.LastAt.Before(since) {
			break
		}
		if e.ID == a.ID || !(e.Rule == a.Rule || same(e.Actor.ID, a.Actor.ID) || same(e.Actor.AccessKeyID, a.Actor.AccessKeyID) ||
			same(e.SourceIP, a.SourceIP) || same(e.TargetKey, a.TargetKey) || same(e.Actor.AccessKeyID, a.TargetKey) || same(e.TargetKey, a.Actor.AccessKeyID)) {
			continue
		}
		if total++; len(list) < n {
			list = append(list, e.Alert)
		}
	}
	return list, total
}

// About returns the alerts that name an entity, newest first.
func (x *Index) About(kind, id string, n int) []Alert {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []Alert
	for _, e := range x.order {
		hit := false
		switch kind {
		case KindActor:
			hit = e.Actor.ID == id || e.Target.ID == id
		case KindKey:
			hit = e.Actor.AccessKeyID == id || e.TargetKey == id
		case KindIP:
			hit = e.SourceIP == id
		}
		if hit {
			if out = append(out, e.Alert); len(out) == n {
				break
			}
		}
	}
	return out
}

// Actions returns the actions that match, newest proposal first; nil states
// are all.
func (x *Index) Actions(states ...responders.State) []responders.ActionDetail {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := []responders.ActionDetail{}
	for _, d := range x.actions {
		if len(states) == 0 || slices.Contains(states, d.State) {
			out = append(out, d)
		}
	}
	lists.Sort(out, newestAction)
	return out
}

// RuleDays is how many days a rule's sparkline covers.
const RuleDays = 30

// RuleCount is how often a rule raised an alert, as far as alerts are kept.
type RuleCount struct {
	Last     time.Time     `json:"last,omitzero"`
	Day      int           `json:"day"`  // in the last 24 hours
	Week     int           `json:"week"` // 7 days
	Quarter  int           `json:"quarter"`
	Days     [RuleDays]int `json:"days"` // the last 30 days, oldest first
	True     int           `json:"true_positives"`
	False    int           `json:"false_positives"`
	Harmless int           `json:"benign"`
}

// Rules counts alerts by rule, by the time of their last event against now.
func (x *Index) Rules(now time.Time) map[string]RuleCount {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := map[string]RuleCount{}
	for _, e := range x.order {
		c := out[e.Rule]
		age := now.Sub(e.LastAt)
		if e.LastAt.After(c.Last) {
			c.Last = e.LastAt
		}
		if age < 24*time.Hour {
			c.Day++
		}
		if age < 7*24*time.Hour {
			c.Week++
		}
		if age < 90*24*time.Hour {
			c.Quarter++
		}
		if d := int(max(age, 0) / (24 * time.Hour)); d < RuleDays {
			c.Days[RuleDays-1-d]++
		}
		switch e.Verdict {
		case responders.TruePositive:
			c.True++
		case responders.FalsePositive:
			c.False++
		case responders.Benign:
			c.Harmless++
		}
		out[e.Rule] = c
	}
	return out
}

// Held says how many alerts are held, and how many older ones had to go.
func (x *Index) Held() (alerts, dropped int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.order), x.dropped
}
