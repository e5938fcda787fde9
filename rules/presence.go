package rules

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Presence counts how often each field has a value in a sample of events, so
// that a rule's author knows what can be relied on. Not safe for concurrent
// use.
type Presence struct {
	session *session
	events  int
	fields  map[string]*seenField
	params  map[string]*seenField
}

// PresenceField is how often a field, or a request parameter, had a value.
type PresenceField struct {
	Name   string   `json:"name"` // "actor.key", or `param("UserName")`
	Events int      `json:"events"`
	Share  float64  `json:"share"`            // of all events, 0 to 1
	Values []string `json:"values,omitempty"` // the commonest values of a field with few, most common first
}

type seenField struct {
	n      int
	values map[string]int // nil when there are too many
}

// maxSeenValues is how many different values of a field are told apart;
// maxSeenParams how many parameters are counted.
const (
	maxSeenValues = 12
	maxSeenParams = 2000
)

// NewPresence returns a counter without events. The set says where addresses
// are.
func NewPresence(set *Set) *Presence {
	return &Presence{session: newSession(set), fields: map[string]*seenField{}, params: map[string]*seenField{}}
}

// Add counts one event.
func (p *Presence) Add(ev *event.Event) {
	p.events++
	s := p.session
	s.Begin(ev)
	s.fill()
	e := s.env
	e.Source.IP, e.Source.Network, e.Source.Country, e.Source.Org, e.Source.ASN, e.Source.Place = s.ip(), s.network(), e.Country(), e.Org(), e.ASN(), e.Place()
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("expr")
		switch {
		case strings.HasPrefix(name, "__"), name == "policy", name == "lineage", name == "verdict", f.Type.Kind() == reflect.Func:
		case f.Type.Kind() == reflect.Struct:
			for j := range f.Type.NumField() {
				if sub := f.Type.Field(j).Tag.Get("expr"); !strings.HasPrefix(sub, "__") {
					p.count(p.fields, name+"."+sub, v.Field(i).Field(j))
				}
			}
		default:
			p.count(p.fields, name, v.Field(i))
		}
	}
	ev.EachParam(func(name, value string) bool {
		if _, known := p.params[name]; known || len(p.params) < maxSeenParams {
			p.count(p.params, strings.Clone(name), reflect.ValueOf(value))
		}
		return true
	})
}

func (p *Presence) count(m map[string]*seenField, name string, v reflect.Value) {
	f := m[name]
	if f == nil {
		f = &seenField{values: map[string]int{}}
		m[name] = f
	}
	text := fmt.Sprint(v.Interface())
	if v.IsZero() || text == "unknown" || (name == "event.hour" || name == "event.weekday") && v.Int() < 0 {
		return
	}
	f.n++
	if f.values != nil {
		f.values[strings.Clone(tame(text, 40))]++
		if len(f.values) > maxSeenValues {
			f.values = nil
		}
	}
}

// Events is how many were counted.
func (p *Presence) Events() int { return p.events }

// Fields returns the fields in the order of Fields, then the request
// parameters that occurred, the commonest first.
func (p *Presence) Fields() []PresenceField {
	var out []PresenceField
	row := func(name string, f *seenField) {
		r := PresenceField{Name: name, Events: f.n}
		if p.events > 0 {
			r.Share = float64(f.n) / float64(p.events)
		}
		r.Values = slices.SortedFunc(maps.Keys(f.values), func(a, b string) int {
			if d := f.values[b] - f.values[a]; d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		if len(r.Values) > 5 {
			r.Values = append(r.Values[:5:5], "…")
		}
		out = append(out, r)
	}
	for _, f := range Fields() {
		if s := p.fields[f.Name]; s != nil {
			row(f.Name, s)
		}
	}
	names := slices.SortedFunc(maps.Keys(p.params), func(a, b string) int {
		if d := p.params[b].n - p.params[a].n; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		// Values of parameters belong to whoever sent them; names are enough.
		row(fmt.Sprintf("param(%q)", tame(name, 60)), &seenField{n: p.params[name].n})
	}
	return out
}
