package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Part is an alert made of some of its detections. Parts of one alert can be
// kept anywhere and joined later, in any order: what comes out is what a
// Grouper makes of all the detections.
type Part struct{ group }

// Take returns what is open, by id, and leaves the grouper without it. Later
// detections of the same alerts make further parts.
func (g *Grouper) Take() []*Part {
	out := make([]*Part, 0, len(g.open))
	for _, a := range g.open {
		out = append(out, &Part{*a})
	}
	clear(g.open)
	lists.Sort(out, func(a, b *Part) int { return strings.Compare(a.ID(), b.ID()) })
	return out
}

// ID is the id of the alert that it is a part of.
func (p *Part) ID() string { return p.alert.ID }

// Severity is the alert's as far as its parts are joined.
func (p *Part) Severity() Severity { return p.alert.Severity }

// Compare puts parts that are whole in the order of a replay's output.
func (p *Part) Compare(q *Part) int { return compare(&p.alert, &q.alert) }

// Alert is the alert as far as its parts are joined.
func (p *Part) Alert() *Alert { return p.view() }

// Join adds what another part of the same alert has.
func (p *Part) Join(q *Part) {
	x, y := &p.alert, &q.alert
	first, last := x.FirstAt, x.LastAt
	if y.FirstAt.Before(first) {
		first = y.FirstAt
	}
	if y.LastAt.After(last) {
		last = y.LastAt
	}
	revision, count := x.Revision+y.Revision, x.Count+y.Count
	if q.lead.before(p.lead) {
		p.lead, p.alert = q.lead, q.alert
	}
	x.Revision, x.Count, x.FirstAt, x.LastAt, x.Time = revision, count, first, last, last
	for _, e := range q.evidence {
		p.witness(e)
	}
	for kind, list := range q.seen {
		for _, v := range list {
			p.note(kind, v)
		}
	}
}

// MarshalJSON keeps a part for UnmarshalJSON.
func (p *Part) MarshalJSON() ([]byte, error) {
	st, err := p.state()
	if err != nil {
		return nil, err
	}
	return json.Marshal(st)
}

// UnmarshalJSON reads what MarshalJSON wrote. Numbers in details come back as
// json.Number, so that nothing is rounded.
func (p *Part) UnmarshalJSON(data []byte) error {
	var st groupState
	if err := json.Unmarshal(data, &st); err != nil {
		return err
	}
	g, err := st.group()
	if err == nil {
		p.group = *g
	}
	return err
}

// groupState is a group as it is stored.
type groupState struct {
	Alert    json.RawMessage     `json:"alert"`
	Lead     lead                `json:"lead"`
	End      time.Time           `json:"end"`
	Evidence [][2]string         `json:"evidence,omitempty"` // time, id
	Seen     map[string][]string `json:"seen,omitempty"`
}

func (a *group) state() (groupState, error) {
	raw, err := MarshalStored(&a.alert)
	if err != nil {
		return groupState{}, err
	}
	s := groupState{Alert: raw, Lead: a.lead, End: a.end, Seen: a.seen}
	for _, e := range a.evidence {
		s.Evidence = append(s.Evidence, [2]string{e.at.Format(time.RFC3339Nano), e.id})
	}
	return s, nil
}

func (s *groupState) group() (*group, error) {
	x, err := UnmarshalStored(s.Alert)
	if err != nil {
		return nil, err
	}
	x.EventIDs = nil
	a := &group{alert: x, lead: s.Lead, end: s.End, seen: s.Seen}
	for _, e := range s.Evidence {
		at, err := time.Parse(time.RFC3339Nano, e[0])
		if err != nil {
			return nil, fmt.Errorf("evidence of %s: %w", x.ID, err)
		}
		a.evidence = append(a.evidence, evidence{at: at, id: e[1]})
	}
	// JSON replaces what is not valid UTF-8, which can change the order.
	sort.Slice(a.evidence, func(i, j int) bool { return a.evidence[i].before(a.evidence[j]) })
	for kind := range a.seen {
		slices.Sort(a.seen[kind])
		a.seen[kind] = slices.Compact(a.seen[kind])
	}
	return a, nil
}
