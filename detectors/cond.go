package detectors

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Cond is what could be read out of a rule's expression about the fields that
// the index knows: a tree over and, or, not, and tests of one field. Parts
// that could not be read are Any: they may be true or false. A Cond is never
// stronger than its expression, so the index may only leave out rules that
// cannot match.
type Cond struct {
	op    condOp
	kids  []Cond
	facts Facts           // opFacts: words that make it true
	field NameField       // opName
	set   map[string]bool // opName: values that make it true, nil when test decides
	test  func(string) bool
	list  string // opList
}

type condOp uint8

const (
	opAny condOp = iota
	opTrue
	opFalse
	opAnd
	opOr
	opNot
	opFacts
	opName
	opList  // asks a list whose name is in list
	opUnset // asks a list that is not there: false, today
)

// NameField is a field that says what kind of event it is. Values are in
// lower case.
type NameField uint8

// The fields of an event's kind.
const (
	ByName    NameField = iota // event.name
	ByAction                   // action
	ByService                  // event.service
)

func (f NameField) String() string { return [...]string{"event.name", "action", "event.service"}[f] }

// Any may be true or false.
func Any() Cond { return Cond{} }

// Const is always true or always false.
func Const(v bool) Cond {
	if v {
		return Cond{op: opTrue}
	}
	return Cond{op: opFalse}
}

// And, Or and Not combine.
func And(kids ...Cond) Cond { return Cond{op: opAnd, kids: kids} }

// Or is true when one of kids is.
func Or(kids ...Cond) Cond { return Cond{op: opOr, kids: kids} }

// Not is the opposite of c.
func Not(c Cond) Cond { return Cond{op: opNot, kids: []Cond{c}} }

// OneOf is true when the closed field has one of the words.
func OneOf(f *FactField, words ...string) Cond { return Cond{op: opFacts, facts: f.Allow(words...)} }

// Named is true when the field has one of the values (lower case).
func Named(f NameField, values ...string) Cond {
	set := make(map[string]bool, len(values))
	for _, v := range values {
		set[v] = true
	}
	return Cond{op: opName, field: f, set: set}
}

// NamedLike is true when test of the field's value is: a pure function.
func NamedLike(f NameField, test func(string) bool) Cond {
	return Cond{op: opName, field: f, test: test}
}

// List asks whether something is in a named list, or whether there is such a
// list: it is false when there is none. See Settle.
func List(name string) Cond { return Cond{op: opList, list: name} }

// Settle returns c for a set in which the lists exist of which exists says so.
func (c Cond) Settle(exists func(list string) bool) Cond {
	if c.op == opList {
		if !exists(c.list) {
			return Cond{op: opUnset}
		}
		return Any()
	}
	if len(c.kids) > 0 {
		kids := make([]Cond, len(c.kids))
		for i := range c.kids {
			kids[i] = c.kids[i].Settle(exists)
		}
		c.kids = kids
	}
	return c
}

// Single says that c is one test of what the index knows, or the opposite of
// one: where an event of some kind and facts may make it true, it does.
func (c Cond) Single() bool {
	switch c.op {
	case opTrue, opFalse, opUnset, opFacts, opName:
		return true
	case opNot:
		return c.kids[0].op != opNot && c.kids[0].Single()
	}
	return false
}

// kind is what decides which rules an event can meet before its facts.
type kind struct {
	name, action, service string
}

func (k *kind) value(f NameField) string {
	switch f {
	case ByAction:
		return k.action
	case ByService:
		return k.service
	default:
		return k.name
	}
}

// under evaluates c for events of one kind. It returns the facts under which
// c may be true and those under which it may be false; 0 means never.
func (c *Cond) under(k *kind) (yes, no Facts) {
	switch c.op {
	case opTrue:
		return allFacts, 0
	case opFalse, opUnset:
		return 0, allFacts
	case opFacts:
		yes = c.facts.normal()
		// The complement within the one field that is narrowed.
		for _, f := range factFields {
			m := f.mask()
			if c.facts&m != m {
				return yes, (allFacts&^m | m&^c.facts).normal()
			}
		}
		return yes, 0
	case opName:
		v, hit := k.value(c.field), false
		if c.set != nil {
			hit = c.set[v]
		} else {
			hit = c.test(v)
		}
		if hit {
			return allFacts, 0
		}
		return 0, allFacts
	case opNot:
		yes, no = c.kids[0].under(k)
		return no, yes
	case opAnd:
		yes = allFacts
		for i := range c.kids {
			y, n := c.kids[i].under(k)
			yes = (yes & y).normal()
			no |= n
		}
		return yes, no
	case opOr:
		no = allFacts
		for i := range c.kids {
			y, n := c.kids[i].under(k)
			no = (no & n).normal()
			yes |= y
		}
		return yes, no
	default:
		return allFacts, allFacts
	}
}

// certain evaluates c for events of one kind. It returns facts under which c
// is true for certain, and facts under which it is false; 0 where there are no
// such facts to be told. An event whose facts are within yes matches.
func (c *Cond) certain(k *kind) (yes, no Facts) {
	switch c.op {
	case opTrue, opFalse, opUnset, opFacts, opName:
		return c.under(k) // of a single test, what may be is
	case opNot:
		yes, no = c.kids[0].certain(k)
		return no, yes
	case opAnd:
		yes = allFacts
		for i := range c.kids {
			y, n := c.kids[i].certain(k)
			yes = (yes & y).normal()
			no = wider(no, n)
		}
		return yes, no
	case opOr:
		no = allFacts
		for i := range c.kids {
			y, n := c.kids[i].certain(k)
			no = (no & n).normal()
			yes = wider(yes, y)
		}
		return yes, no
	default:
		return 0, 0
	}
}

// wider returns the one of two sets that more events are in, or a set of the
// events of both where there is one.
func wider(a, b Facts) Facts {
	differ := 0
	for _, f := range factFields {
		if (a^b)&f.mask() != 0 {
			differ++
		}
	}
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	case differ <= 1:
		return a | b
	case bits.OnesCount64(uint64(a)) >= bits.OnesCount64(uint64(b)):
		return a
	}
	return b
}

// demand is one value of one field.
type demand struct {
	field NameField
	value string
}

// demands returns a list of which c needs one to be true, or false when there
// is no such list: under and the most selective part's, under or the union of
// all parts'.
func (c *Cond) demands() ([]demand, bool) {
	switch c.op {
	case opFalse:
		return nil, true
	case opName:
		if c.set == nil {
			return nil, false
		}
		var out []demand
		for _, v := range sorted(c.set) {
			out = append(out, demand{c.field, v})
		}
		return out, true
	case opAnd:
		var best []demand
		found := false
		for i := range c.kids {
			if d, ok := c.kids[i].demands(); ok && (!found || weight(d) < weight(best)) {
				best, found = d, true
			}
		}
		return best, found
	case opOr:
		var out []demand
		for i := range c.kids {
			d, ok := c.kids[i].demands()
			if !ok {
				return nil, false
			}
			out = append(out, d...)
		}
		lists.Sort(out, func(a, b demand) int {
			if a.field != b.field {
				return int(a.field) - int(b.field)
			}
			return strings.Compare(a.value, b.value)
		})
		return slices.Compact(out), true
	}
	return nil, false
}

// weight guesses how many events meet one of the demands: a service is in far
// more events than a name or an act.
func weight(d []demand) int {
	n := 0
	for _, x := range d {
		if x.field == ByService || x.value == "" {
			n += 100
		} else {
			n++
		}
	}
	return n
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for v := range set {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// Overall says whether c leaves a word of a closed field possible, whatever
// kind of event it is.
func (c *Cond) Overall(field, word string) bool {
	f, ok := factByName[field]
	return !ok || c.overall()&f.mask()&f.Allow(word) != 0
}

// Possible says whether an event of this name, action and service (lower
// case) can satisfy c.
func (c *Cond) Possible(name, action, service string) bool {
	yes, _ := c.under(&kind{name: name, action: action, service: service})
	return yes != 0
}
