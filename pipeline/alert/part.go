package alert

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Part is an alert made of some of its detections. Parts of one alert can be
// kept anywhere and joined later, in any order: what comes out is what a
// Grouper makes of all the detections. A part that was packed stays so until
// more of it is asked for than where it belongs.
type Part struct {
	head   partHead
	whole  *group // nil while it is packed
	packed string // without the head
}

// partHead is what parts are put in order by.
type partHead struct {
	id, rule string
	time     time.Time
	severity Severity
}

func (p *Part) order() {
	a := &p.whole.alert
	p.head = partHead{a.ID, a.Rule, a.Time, a.Severity}
}

// Take returns what is open, by id, and leaves the grouper without it. Later
// detections of the same alerts make further parts.
func (g *Grouper) Take() []*Part {
	out := make([]*Part, 0, len(g.open))
	for _, a := range g.open {
		whole := *a
		p := &Part{whole: &whole}
		p.order()
		out = append(out, p)
	}
	clear(g.open)
	lists.Sort(out, func(a, b *Part) int { return strings.Compare(a.ID(), b.ID()) })
	return out
}

// ID is the id of the alert that it is a part of.
func (p *Part) ID() string { return p.head.id }

// Severity is the alert's as far as its parts are joined.
func (p *Part) Severity() Severity { return p.head.severity }

// Compare puts parts that are whole in the order of a replay's output.
func (p *Part) Compare(q *Part) int {
	x, y := &p.head, &q.head
	return cmp.Or(x.time.Compare(y.time), strings.Compare(x.rule, y.rule), strings.Compare(x.id, y.id))
}

// Alert is the alert as far as its parts are joined. The error is that a packed
// part is damaged.
func (p *Part) Alert() (*Alert, error) {
	if err := p.unpack(); err != nil {
		return nil, err
	}
	return p.whole.view(), nil
}

// Join adds what another part of the same alert has. The error is that a packed
// part is damaged; nothing is added then.
func (p *Part) Join(q *Part) error {
	if err := cmp.Or(p.unpack(), q.unpack()); err != nil {
		return err
	}
	g, o := p.whole, q.whole
	x, y := &g.alert, &o.alert
	first, last := x.FirstAt, x.LastAt
	if y.FirstAt.Before(first) {
		first = y.FirstAt
	}
	if y.LastAt.After(last) {
		last = y.LastAt
	}
	success := x.SuccessAt
	if y.SuccessAt.After(success) {
		success = y.SuccessAt
	}
	revision, count := x.Revision+y.Revision, x.Count+y.Count
	if o.lead.before(&g.lead) {
		g.lead, g.alert = o.lead, o.alert
	}
	x.Revision, x.Count, x.FirstAt, x.LastAt, x.Time, x.SuccessAt = revision, count, first, last, last, success
	for _, e := range o.evidence {
		g.witness(e)
	}
	for kind, list := range o.seen {
		for _, v := range list {
			g.note(kind, v)
		}
	}
	p.order()
	return nil
}

// Pack appends the part in a form for Unpack: a head, and behind it the whole
// (see appendGroup). A part that is packed already is copied. The error is that
// details have no JSON.
func (p *Part) Pack(to []byte) ([]byte, error) {
	h := &p.head
	to = appendNumber(appendTime(appendText(appendText(to, h.id), h.rule), h.time), int(h.severity))
	if p.whole == nil {
		return append(to, p.packed...), nil
	}
	return appendGroup(to, p.whole)
}

// ErrPart says that bytes are no packed part.
var ErrPart = errors.New("not a packed part of an alert")

// Unpack reads what Pack appended. Only the head is looked at:
// what is wrong with the rest shows when it is asked for.
func Unpack(data []byte) (*Part, error) {
	u := unpacker{rest: string(data)}
	p := &Part{head: partHead{u.text(), u.text(), u.time(), u.severity()}}
	if u.bad {
		return nil, ErrPart
	}
	p.packed = u.rest
	return p, nil
}

// unpack makes the part whole. Numbers in details come back as json.Number, so
// that nothing is rounded.
func (p *Part) unpack() error {
	if p.whole != nil {
		return nil
	}
	u := unpacker{rest: p.packed}
	g, err := u.group()
	if err != nil {
		return err
	}
	if a := &g.alert; a.ID != p.head.id || a.Rule != p.head.rule || !a.Time.Equal(p.head.time) || a.Severity != p.head.severity {
		return fmt.Errorf("%w: its head is of another", ErrPart)
	}
	p.whole, p.packed = g, ""
	return nil
}

// groupState is a group as it is stored.
type groupState struct {
	Alert    json.RawMessage     `json:"alert,omitempty"`
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
	a.lead.told()
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
