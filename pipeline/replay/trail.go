package replay

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Trail is what a run saw of one entity: what it did, from where, with which
// keys, what made it and what it made. It is counted from the events, whether
// a rule matched or not.
type Trail struct {
	Entity   string    `json:"entity"`
	Events   int64     `json:"events"`   // by it or on it
	By       int64     `json:"by"`       // of these, by it
	Attempts int64     `json:"attempts"` // of these, refused or failed
	First    time.Time `json:"first_event"`
	Last     time.Time `json:"last_event"`
	// Each list is by count, then by word; what is over MaxTally words is
	// left out and counted under "(others)".
	Identities []Tally `json:"identities"` // as alerts name them
	Keys       []Tally `json:"keys"`
	Addresses  []Tally `json:"addresses"`
	Regions    []Tally `json:"regions"`
	Actions    []Tally `json:"actions"` // service:name
	Targets    []Tally `json:"targets"`
	// Made is what was made by it, or what made it, oldest first.
	Made []Lineage `json:"lineage"`
	// Origin is who made it, who made that one, and so on, nearest first;
	// Offspring what it made, what that made, each before what it made in turn.
	Origin    []Kinship `json:"origin,omitempty"`
	Offspring []Kinship `json:"offspring,omitempty"`
	// Open is what was made by or for it, or by what it made, and had not ended by the
	// end of what was read, in the order to close it: keys and logins first.
	Open []string `json:"open,omitempty"`
	// Sessions is how many sessions that others of these began made nothing
	// themselves, which are not in Offspring; LastSessions are the latest.
	Sessions     int      `json:"sessions,omitempty"`
	LastSessions []string `json:"last_sessions,omitempty"`
	// Cut says that more was made than is kept.
	Cut bool `json:"lineage_cut,omitempty"`
	// Steps are what was done, by the time of the first; StepsCut is how many
	// events were of no step that is kept.
	Steps    []Step `json:"steps"`
	StepsCut int64  `json:"steps_cut,omitempty"`

	ticks    map[int64]int64
	ids      map[string]struct{} // of events by it or on it
	kinds    map[stepKey]int     // of Steps
	births   []*detectors.Birth  // of the whole run
	gifts    []*detectors.Birth  // so
	turns    map[string][]*turn  // so, by what they end or bring back
	turnings int                 // how many these are
}

// Tally is how often a word was met, and when.
type Tally struct {
	Word  string    `json:"word"`
	Count int64     `json:"count"`
	First time.Time `json:"first_event"`
	Last  time.Time `json:"last_event"`
}

// Lineage is one thing that came from another: a user, key, role, policy or
// login profile that was created, attached or assumed.
type Lineage struct {
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	WithKey string    `json:"with_key,omitempty"` // AccessKey id it was made with; none from the console
	Action  string    `json:"action"`             // service:name
	Target  string    `json:"target"`
	Key     string    `json:"key,omitempty"` // AccessKey id that was made
	EventID string    `json:"event_id"`
	Attempt bool      `json:"attempt,omitempty"`
	Given   string    `json:"given,omitempty"` // policy or group, or provider that a session comes by
	Ended   *End      `json:"ended,omitempty"`

	child string
	by    bool // the entity made it
}

// End is when something that was made ended, and by whom: it was deleted, switched off
// or taken away.
type End struct {
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	EventID string    `json:"event_id"`
}

// The bounds of a trail.
const (
	MaxTally   = 200
	maxLineage = 1000
	maxTrailID = 500_000
)

// note is what a worker writes down of an event that concerns the entity.
type note struct {
	at                                            time.Time
	id, identity, key, address, region, act, targ string
	madeKey, given, child                         string
	by, attempt, made, write                      bool
}

// noteOf copies what a trail needs; the event's memory is reused.
func noteOf(ev *event.Event, e *entity) note {
	a, t := &ev.Actor, &ev.Target
	n := note{at: ev.Time, id: strings.Clone(ev.ID), identity: strings.Clone(a.ID), key: strings.Clone(a.Key), region: strings.Clone(ev.Region),
		address: strings.Clone(ev.Address.Text), targ: strings.Clone(cmp.Or(t.ID, t.Name)), attempt: ev.Outcome == event.Attempt,
		by: e.acted(ev), write: ev.RW == event.Write}
	n.act = ev.Service + ":" + ev.Name
	n.made = makes(ev)
	_, n.given = given(ev)
	n.given = strings.Clone(n.given)
	if n.made {
		n.madeKey, n.child = strings.Clone(t.Key), subject(ev)
	}
	return n
}

// makes says that an act brings something into being that can act, or gives
// it power: what an investigation follows.
func makes(ev *event.Event) bool {
	if detectors.Makes(ev.Action) {
		return true // what detection follows too
	}
	act := string(ev.Action)
	for _, end := range []string{".create", ".attach", ".add_user", ".add", ".bind"} {
		if strings.HasSuffix(act, end) {
			return true
		}
	}
	return strings.HasPrefix(act, "iam.") && strings.HasPrefix(ev.NameFold, "create")
}

func (t *Trail) add(n *note) {
	t.Events++
	if n.by {
		t.By++
	}
	if n.attempt {
		t.Attempts++
	}
	if t.First.IsZero() || n.at.Before(t.First) {
		t.First = n.at
	}
	if n.at.After(t.Last) {
		t.Last = n.at
	}
	t.ticks[n.at.Unix()/tick]++
	t.step(n)
	if n.id != "" && len(t.ids) < maxTrailID {
		t.ids[n.id] = struct{}{}
	}
	for _, x := range []struct {
		list *[]Tally
		word string
	}{{&t.Identities, n.identity}, {&t.Keys, n.key}, {&t.Addresses, n.address}, {&t.Regions, n.region}, {&t.Actions, n.act}, {&t.Targets, n.targ}} {
		if x.word != "" {
			tally(x.list, x.word, n.at)
		}
	}
	if n.made {
		if len(t.Made) >= maxLineage {
			t.Cut = true
			return
		}
		t.Made = append(t.Made, Lineage{Time: n.at, Actor: n.identity, WithKey: n.key, Action: n.act, Target: n.targ, Key: n.madeKey, EventID: n.id, Attempt: n.attempt, Given: n.given, child: n.child, by: n.by})
	}
}

// tally counts a word in a list that is short, or full.
func tally(list *[]Tally, word string, at time.Time) {
	i := slices.IndexFunc(*list, func(t Tally) bool { return t.Word == word })
	if i < 0 {
		if len(*list) >= MaxTally {
			word = "(others)"
			if i = slices.IndexFunc(*list, func(t Tally) bool { return t.Word == word }); i >= 0 {
				(*list)[i].count(at)
				return
			}
		}
		*list = append(*list, Tally{Word: word, First: at, Last: at})
		i = len(*list) - 1
	}
	(*list)[i].count(at)
}

func (t *Tally) count(at time.Time) {
	t.Count++
	if at.Before(t.First) {
		t.First = at
	}
	if at.After(t.Last) {
		t.Last = at
	}
}

// finish puts the lists in order.
func (t *Trail) finish() {
	for _, l := range [][]Tally{t.Identities, t.Keys, t.Addresses, t.Regions, t.Actions, t.Targets} {
		lists.Sort(l, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Word, b.Word)) })
	}
	lists.Sort(t.Steps, func(a, b Step) int {
		return cmp.Or(a.First.Compare(b.First), strings.Compare(a.EventID, b.EventID), strings.Compare(a.Action, b.Action))
	})
	t.relate()
	t.close()
	t.kinds, t.births, t.gifts, t.turns = nil, nil, nil, nil
	lists.Sort(t.Made, func(a, b Lineage) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.EventID, b.EventID))
	})
}

// Histogram counts the trail's events in n stretches of equal length from
// from to to.
func (t *Trail) Histogram(from, to time.Time, n int) []int64 {
	return histogram(maps.All(t.ticks), from, to, n)
}

// Hours counts the trail's events by hour of the day, in UTC.
func (t *Trail) Hours() [24]int64 {
	var out [24]int64
	for k, n := range t.ticks {
		out[((k*tick/3600)%24+24)%24] += n
	}
	return out
}

// tick is how finely events are counted over time, in seconds.
const tick = 600

// Ticks is how many stretches a histogram of a time range can have at most
// without inventing detail.
func Ticks(from, to time.Time) int {
	return int(to.Unix()/tick-from.Unix()/tick) + 1
}

func histogram(ticks func(func(int64, int64) bool), from, to time.Time, n int) []int64 {
	out := make([]int64, n)
	first, width := from.Unix()/tick, int64(Ticks(from, to))
	for h, c := range ticks {
		if i := (h - first) * int64(n) / max(width, 1); h >= first && i < int64(n) {
			out[i] += c
		}
	}
	return out
}

// Is says that a word names the entity.
func (t *Trail) Is(word string) bool { return newEntity(t.Entity).is(word) }

// Concerns says whether an alert is about the entity: it is named there, or
// one of the alert's events is the entity's.
func (t *Trail) Concerns(a *alert.Alert) bool {
	words := []string{a.Actor.ID, a.Actor.Name, a.Actor.AccessKeyID, a.Actor.Role, a.SourceIP, a.AccountID, a.TargetKey}
	if a.Target != nil {
		words = append(words, a.Target.ID, a.Target.Name)
	}
	e := newEntity(t.Entity)
	if slices.ContainsFunc(words, e.is) {
		return true
	}
	return slices.ContainsFunc(a.EventIDs, func(id string) bool { _, ok := t.ids[id]; return ok })
}
