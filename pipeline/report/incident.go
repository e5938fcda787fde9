package report

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// incidentGap is how long an entity may be quiet within one incident, and patience
// where more than one word says that it is one: the actor and the target, or that the
// alert told who made the actor. Who has a way back in waits. hub is how many actors
// may share an address or a target before it says nothing about who belongs together:
// an office's way out, a bucket that everybody uses.
const (
	incidentGap = 24 * time.Hour
	patience    = 30 * 24 * time.Hour
	hub         = 8
)

// incident is alerts that share an actor, key, address or target, each within
// a day of the one before, or an actor and a target, or whose actor another one tells
// the making of, within a month.
type incident struct {
	N           int // 1 is the worst
	Level       int
	Title       string // of the worst alert, the earliest of these
	Alerts      int
	First, Last time.Time
	Who, From   string
}

// entity is one actor, key, address or target of the alerts.
type entity struct {
	Kind, Name  string
	Alerts      int
	Level       int
	First, Last time.Time
}

// words of an alert that tie it to others: the kind, and the word.
func ties(a *alert.Alert) [][2]string {
	out := [][2]string{{"Who", cmp.Or(a.Actor.ID, a.Actor.Name)}, {"Key", a.Actor.AccessKeyID}}
	if _, err := netip.ParseAddr(a.SourceIP); err == nil { // and not a word such as "Internal"
		out = append(out, [2]string{"Address", a.SourceIP})
	}
	if a.Target != nil {
		if t := (a.Target.ID); t != a.Actor.ID {
			out = append(out, [2]string{"Target", cmp.Or(t, a.Target.Name)})
		}
	}
	return slices.DeleteFunc(out, func(w [2]string) bool { return w[1] == "" })
}

// groups says which alerts belong together: each names another one of its group, or
// itself.
type groups []int

// root is the alert that names a group.
func (g groups) root(i int) int {
	for g[i] != i {
		g[i] = g[g[i]]
		i = g[i]
	}
	return i
}

// actorsOf counts, for every word, how many actors have it, little beyond hub.
func actorsOf(as []alert.Alert) map[string]map[string]bool {
	actors := map[string]map[string]bool{}
	for i := range as {
		for _, w := range ties(&as[i]) {
			if m := actors[w[1]]; m == nil {
				actors[w[1]] = map[string]bool{who(&as[i]): true}
			} else if len(m) <= hub {
				m[who(&as[i])] = true
			}
		}
	}
	return actors
}

// grouped ties alerts that have something in common.
func grouped(as []alert.Alert) groups {
	g := make(groups, len(as))
	for i := range g {
		g[i] = i
	}
	actors := actorsOf(as)
	type seen struct {
		alert int
		at    time.Time
	}
	last := map[string]seen{}
	// made is last of what alerts tell the making of. They are at least high: else all
	// would belong to whose work it is to make identities.
	made := map[string]seen{}
	for i := range as {
		a := &as[i]
		tie := func(word string, in map[string]seen, gap time.Duration) (s seen, ok bool) {
			if s, ok = in[word]; ok && a.FirstAt.Sub(s.at) <= gap {
				g[g.root(i)] = g.root(s.alert)
			}
			return s, ok
		}
		note := func(word string, gap time.Duration) {
			if s, ok := tie(word, last, gap); !ok || a.Time.After(s.at) {
				last[word] = seen{i, a.Time}
			}
		}
		for _, w := range ties(a) {
			// What an actor is in one alert it may be the target of in another.
			if len(actors[w[1]]) <= hub {
				note(w[1], incidentGap)
			}
		}
		if a.Target != nil && a.Target.ID != "" && a.Actor.ID != "" {
			note(a.Actor.ID+" "+a.Target.ID, patience)
		}
		tie(a.Actor.ID, made, patience)
		tie("key/"+a.Actor.AccessKeyID, made, patience)
		var kin struct {
			Made []struct{ Child string }
		}
		if level(a) >= alert.High && read(a.Details, "lineage", &kin) {
			for _, k := range kin.Made {
				if _, ok := made[k.Child]; !ok {
					made[k.Child] = seen{i, a.Time}
				}
			}
		}
	}
	return g
}

// summing is an incident that is being added up.
type summing struct {
	incident
	lead      int // the alert that its title is from
	who, from []string
}

// incidentsOf groups alerts, the worst first; of is the number of each one's incident.
func incidentsOf(l lang, as []alert.Alert) (out []incident, of []int) {
	g := grouped(as)
	by := map[int]*summing{}
	who := whoIn(as)
	known := map[string]bool{}
	words := func(list []string, kind string, r int, s string) []string {
		if x := kind + strconv.Itoa(r) + " " + s; s != "" && !known[x] {
			list, known[x] = append(list, s), true
		}
		return list
	}
	for i := range as {
		a, r := &as[i], g.root(i)
		n := by[r]
		if n == nil {
			n = &summing{incident: incident{First: a.FirstAt, Last: a.Time}}
			by[r] = n
		}
		n.Alerts++
		if v := int(level(a)); v > n.Level {
			n.Level, n.Title, n.lead = v, firstOf(l.title(a), a.Rule), i
		}
		if a.FirstAt.Before(n.First) {
			n.First = a.FirstAt
		}
		if a.Time.After(n.Last) {
			n.Last = a.Time
		}
		n.who, n.from = words(n.who, "who", r, who(a)), words(n.from, "from", r, a.SourceIP)
	}
	order := make([]int, 0, len(by))
	for r, n := range by {
		n.Who, n.From = joined(n.who), joined(n.from)
		order = append(order, r)
	}
	lists.Sort(order, func(a, b int) int {
		x, y := by[a], by[b]
		return cmp.Or(cmp.Compare(y.Level, x.Level), cmp.Compare(y.Alerts, x.Alerts), x.First.Compare(y.First), cmp.Compare(x.lead, y.lead))
	})
	for k, r := range order {
		by[r].N = k + 1
		out = append(out, by[r].incident)
	}
	of = make([]int, len(as))
	for i := range as {
		of[i] = by[g.root(i)].N
	}
	return out, of
}

// entitiesOf lists who and what the alerts are about, the worst first.
func entitiesOf(as []alert.Alert) []entity {
	by := map[[2]string]*entity{}
	for i := range as {
		a := &as[i]
		for _, w := range ties(a) {
			e := by[w]
			if e == nil {
				e = &entity{Kind: w[0], Name: w[1], First: a.FirstAt, Last: a.Time}
				by[w] = e
			}
			e.Alerts++
			e.Level = max(e.Level, int(level(a)))
			if a.FirstAt.Before(e.First) {
				e.First = a.FirstAt
			}
			if a.Time.After(e.Last) {
				e.Last = a.Time
			}
		}
	}
	out := make([]entity, 0, len(by))
	for _, e := range by {
		out = append(out, *e)
	}
	lists.Sort(out, func(a, b entity) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(b.Alerts, a.Alerts), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

// trailRow is a row of what the entity asked about did, or of who made whom.
type trailRow struct {
	First, Last      time.Time
	Who, What, Whom  string
	From, Key        string
	Count            int64
	Attempt, Changes bool
}

// stepsOf are at most n steps of a trail.
func stepsOf(in *In, n int) (rows []trailRow, more int) {
	for _, s := range in.Trail.Telling(n, in.Alerts) {
		rows = append(rows, trailRow{s.First, s.Last, s.Actor, strings.TrimSpace(s.Action + " " + s.Given), s.Target, s.Address, s.Key, s.Count, s.Attempt, s.Write})
	}
	return rows, len(in.Trail.Steps) - len(rows)
}

// kinOf are the makers of the entity, furthest first, and then what it made.
func kinOf(l lang, t *replay.Trail) (rows []trailRow) {
	for _, list := range [2][]replay.Kinship{t.Origin, t.Offspring} {
		for i := range list {
			k := &list[i]
			whom := k.Of
			if k.Ended != nil {
				whom = strings.TrimSpace(whom + " " + l.t("(ended %s by %s)", stamp(k.Ended.Time), k.Ended.Actor))
			}
			rows = append(rows, trailRow{First: k.Time, Last: k.Time, Who: k.Maker, Key: k.WithKey, What: l.given(k.Child), Whom: whom})
		}
	}
	lists.Sort(rows, func(a, b trailRow) int { return a.First.Compare(b.First) })
	return rows
}
