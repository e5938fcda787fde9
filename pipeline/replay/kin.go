package replay

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Step is one kind of thing that was done: by whom, with what, from where, to
// what, and how it ended. Calls that differ in nothing but time are one step.
type Step struct {
	First   time.Time `json:"first_event"`
	Last    time.Time `json:"last_event"`
	Count   int64     `json:"count"`
	Actor   string    `json:"actor"`
	Key     string    `json:"key,omitempty"`
	Action  string    `json:"action"`          // service:name
	Given   string    `json:"given,omitempty"` // policy or group, or provider that a session comes by
	Target  string    `json:"target,omitempty"`
	Address string    `json:"address,omitempty"`
	Write   bool      `json:"write,omitempty"`
	Attempt bool      `json:"attempt,omitempty"` // refused or failed
	EventID string    `json:"event_id"`          // of the first
}

// Kinship is one identity, key or login and who made it.
type Kinship struct {
	// Depth is how many steps lie between it and the entity: 1 is what made
	// the entity, or what it made.
	Depth   int       `json:"depth"`
	Child   string    `json:"child"` // "user/…", "role/…", "key/…", "login/…", "idp/…", "policy/…", "mfa/…", or what was given: "AdministratorAccess on user/…"
	Of      string    `json:"of,omitempty"`
	Maker   string    `json:"maker"`
	WithKey string    `json:"with_key,omitempty"`
	Time    time.Time `json:"time"`
	EventID string    `json:"event_id"`
	Ended   *End      `json:"ended,omitempty"`
}

// The bounds of what is followed.
const (
	MaxSteps  = 2000
	maxBirths = 20_000
	maxKin    = 200
	maxDepth  = 16

	maxSessions = 5
)

// stepKey is what tells steps apart.
type stepKey struct {
	actor, key, action, given, target, address string
	write, attempt                             bool
}

// step books an event; what is over MaxSteps kinds is counted only.
func (t *Trail) step(n *note) {
	k := stepKey{n.identity, n.key, n.act, n.given, n.targ, n.address, n.write, n.attempt}
	if i, ok := t.kinds[k]; ok {
		s := &t.Steps[i]
		s.Count++
		if n.at.Before(s.First) {
			s.First, s.EventID = n.at, n.id
		}
		if n.at.After(s.Last) {
			s.Last = n.at
		}
		return
	}
	if len(t.Steps) >= MaxSteps {
		t.StepsCut++
		return
	}
	if t.kinds == nil {
		t.kinds = map[stepKey]int{}
	}
	t.kinds[k] = len(t.Steps)
	t.Steps = append(t.Steps, Step{n.at, n.at, 1, n.identity, n.key, n.act, n.given, n.targ, n.address, n.write, n.attempt, n.id})
}

// Telling returns at most n of the steps, in the order of time: what the alerts
// rest on first, then changes, refused calls and sign-ins, the rare before the
// usual.
func (t *Trail) Telling(n int, about []alert.Alert) []Step {
	evidence := map[string]bool{}
	for i := range about {
		for _, id := range about[i].EventIDs {
			evidence[id] = true
		}
	}
	rank := func(s *Step) int {
		switch {
		case evidence[s.EventID]:
			return 0
		case s.Write || s.Attempt || strings.Contains(s.Action, "Signin"):
			return 1
		}
		return 2
	}
	order := make([]int, len(t.Steps))
	for i := range order {
		order[i] = i
	}
	if n < len(order) {
		lists.Sort(order, func(a, b int) int {
			x, y := &t.Steps[a], &t.Steps[b]
			return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.Count, y.Count))
		})
		order = order[:n]
		slices.Sort(order)
	}
	out := make([]Step, 0, len(order))
	for _, i := range order {
		out = append(out, t.Steps[i])
	}
	return out
}

// born notes what any event of the run made or gave.
func (t *Trail) born(b *detectors.Birth) {
	list := &t.births
	if !detectors.Makes(b.Action) {
		list = &t.gifts
	}
	if len(*list) >= maxBirths {
		t.Cut = true
		return
	}
	*list = append(*list, b)
}

// turned notes what any event of the run ended or brought back.
func (t *Trail) turned(x *turn) {
	if t.turns == nil {
		t.turns = map[string][]*turn{}
	}
	if t.turnings == maxBirths {
		t.Cut = true
		return
	}
	t.turnings++
	t.turns[x.child] = append(t.turns[x.child], x)
}

// close says of what was made when it ended, and what is open.
func (t *Trail) close() {
	for _, turns := range t.turns {
		lists.Sort(turns, func(a, b *turn) int {
			return cmp.Or(a.end.Time.Compare(b.end.Time), strings.Compare(a.end.EventID, b.end.EventID))
		})
	}
	ended := func(child string, made time.Time) *End {
		turns := t.turns[child]
		if len(turns) == 0 {
			return nil
		}
		if last := turns[len(turns)-1]; last.off && !last.end.Time.Before(made) {
			return &last.end
		}
		return nil
	}
	seen := map[string]bool{}
	open := func(child, shown string, end *End) {
		if end == nil && child != "" && !seen[child] {
			seen[child] = true
			t.Open = append(t.Open, shown)
		}
	}
	for i := range t.Made {
		if m := &t.Made[i]; !m.Attempt && !strings.HasPrefix(m.Key, "STS.") {
			m.Ended = ended(m.child, m.Time)
			shown := m.child
			if m.Key != "" && m.Target != "" {
				shown += " of " + m.Target
			}
			open(m.child, shown, m.Ended)
		}
	}
	for _, l := range [2][]Kinship{t.Origin, t.Offspring} {
		for i := range l {
			k := &l[i]
			k.Ended = ended(k.Child, k.Time)
		}
	}
	for i := range t.Offspring {
		if k := &t.Offspring[i]; !strings.HasPrefix(k.Child, "key/STS.") {
			shown := k.Child
			if k.Of != "" && !strings.HasPrefix(k.Child, "login/") {
				shown += " of " + k.Of
			}
			open(k.Child, shown, k.Ended)
		}
	}
	rank := func(s string) int {
		kind, _, _ := strings.Cut(s, "/")
		if i := slices.Index([]string{"key", "login", "mfa", "idp", "", "role", "user"}, kind); i >= 0 {
			return i
		}
		return 4 // what was given
	}
	lists.Sort(t.Open, func(a, b string) int { return rank(a) - rank(b) })
}

// relate follows the births up to the beginning and down to the end. A session
// counts where it made something itself; of others the last few are named.
func (t *Trail) relate() {
	t.births = append(t.births, t.gifts...)
	lists.Sort(t.births, func(a, b *detectors.Birth) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event), strings.Compare(a.Child, b.Child))
	})
	of, by := map[string][]*detectors.Birth{}, map[string][]*detectors.Birth{}
	for _, b := range t.births {
		of[b.Child] = append(of[b.Child], b)
		by[b.Maker] = append(by[b.Maker], b)
		if b.Key != "" {
			by[detectors.KeyChild(b.Key)] = append(by[detectors.KeyChild(b.Key)], b)
		}
	}
	// The entity by the names that births have for it.
	names, asked := map[string]bool{}, newEntity(t.Entity)
	for _, b := range t.births {
		for _, n := range [...]string{b.Child, b.Of, b.Maker, detectors.KeyChild(b.Key)} {
			word := n[strings.LastIndexByte(n, '/')+1:]
			if asked.is(n) || asked.is(word) {
				names[n] = true
			}
		}
	}
	kin := func(b *detectors.Birth, depth int) Kinship {
		return Kinship{Depth: depth, Child: b.Child, Of: b.Of, Maker: b.Maker, WithKey: b.Key, Time: b.At, EventID: b.Event}
	}
	seen := map[*detectors.Birth]bool{}
	var up func(name string, depth int)
	up = func(name string, depth int) {
		for _, b := range of[name] {
			if seen[b] || depth > maxDepth || len(t.Origin) >= maxKin {
				continue
			}
			seen[b] = true
			t.Origin = append(t.Origin, kin(b, depth))
			if b.Key != "" {
				up(detectors.KeyChild(b.Key), depth+1)
			}
			up(b.Maker, depth+1)
		}
	}
	var idle []*detectors.Birth // sessions that made nothing themselves
	var down func(name string, depth int)
	child := func(b *detectors.Birth, name string, depth int) {
		if seen[b] || depth > maxDepth || len(t.Offspring) >= maxKin {
			return
		}
		seen[b] = true
		if b.Session && len(by[b.Child]) == 0 {
			if depth > 1 { // its own are among what it did
				idle = append(idle, b)
			}
			return
		}
		t.Offspring = append(t.Offspring, kin(b, depth))
		down(b.Child, depth+1)
		// What a new login or key is used for is done by whom it is of.
		if b.Of != "" && b.Of != name && strings.HasPrefix(b.Child, "login/") {
			down(b.Of, depth+1)
		}
	}
	down = func(name string, depth int) {
		for _, b := range by[name] {
			child(b, name, depth)
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	for _, n := range sorted {
		up(n, 1)
		// Who gave it a credential made it too, in a way.
		for _, b := range t.births {
			if b.Of == n && !b.Session && !seen[b] && len(t.Origin) < maxKin {
				seen[b] = true
				t.Origin = append(t.Origin, kin(b, 1))
				up(b.Maker, 2)
			}
		}
	}
	for _, n := range sorted {
		down(n, 1)
	}
	// An address or a session is no maker by its name.
	made := map[string]bool{}
	for i := range t.Made {
		if t.Made[i].by {
			made[t.Made[i].EventID] = true
		}
	}
	for _, b := range t.births {
		if made[b.Event] {
			child(b, b.Maker, 1)
		}
	}
	lists.Sort(idle, func(a, b *detectors.Birth) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Event, b.Event), strings.Compare(a.Child, b.Child))
	})
	t.Sessions = len(idle)
	for _, b := range idle[:min(len(idle), maxSessions)] {
		t.LastSessions = append(t.LastSessions, b.Child)
	}
}
