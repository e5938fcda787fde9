package detectors

import (
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Index says which rules an event can match. Its static part, shared by all
// evaluators, files each rule under the values of the fields that its
// condition demands; an evaluator keeps, for each kind of event that it has
// met, the rules left after the condition was evaluated for that kind,
// together with the facts each of them still demands. An event then costs one
// map look-up and one AND for each of these rules.
type Index struct {
	conds  []Cond
	by     [3]map[string][]int32
	always []int32
	how    []string
}

// NewIndex files conditions; the number of a rule is its place in conds.
func NewIndex(conds []Cond) *Index {
	ix := &Index{conds: conds, how: make([]string, len(conds))}
	for f := range ix.by {
		ix.by[f] = make(map[string][]int32)
	}
	for i := range conds {
		demands, ok := conds[i].demands()
		if !ok {
			ix.always = append(ix.always, int32(i))
			ix.how[i] = "any event"
		} else {
			var words [3][]string
			for _, d := range demands {
				ix.by[d.field][d.value] = append(ix.by[d.field][d.value], int32(i))
				words[d.field] = append(words[d.field], d.value)
			}
			var how []string
			for _, f := range []NameField{ByName, ByAction, ByService} {
				if len(words[f]) > 0 {
					how = append(how, f.String()+" = "+strings.Join(words[f], "|"))
				}
			}
			ix.how[i] = strings.Join(how, " or ")
			if len(demands) == 0 {
				ix.how[i] = "no event"
			}
		}
		if conds[i].overall().normal() == 0 {
			ix.how[i] = "no event"
			continue
		}
		if extra := conds[i].overall().describe(); len(extra) > 0 {
			ix.how[i] += "; " + strings.Join(extra, ", ")
		}
	}
	return ix
}

// overall is the facts that c demands whatever the kind of the event.
func (c *Cond) overall() Facts {
	switch c.op {
	case opFacts:
		return c.facts
	case opAnd:
		all := allFacts
		for i := range c.kids {
			all &= c.kids[i].overall()
		}
		return all
	case opOr:
		var some Facts
		for i := range c.kids {
			some |= c.kids[i].overall()
		}
		return some
	case opNot:
		if k := &c.kids[0]; k.op == opFacts {
			_, no := k.under(&kind{})
			return no
		}
	}
	return allFacts
}

// Describe says in words how a rule is found, for people who write rules.
func (ix *Index) Describe(rule int) string { return ix.how[rule] }

// Never says that no event can match the rule: its conditions contradict each
// other.
func (ix *Index) Never(rule int) bool {
	d, ok := ix.conds[rule].demands()
	return ok && len(d) == 0 || ix.conds[rule].overall().normal() == 0
}

// candidate is a rule that events of one kind can match if they have one of
// the allowed facts in every field; they match it for certain if they have one
// of the certain facts in every field.
type candidate struct {
	rule    int32
	allowed Facts
	certain Facts
}

// candidates evaluates the filed rules for one kind of event.
func (ix *Index) candidates(k *kind) []candidate {
	var out []candidate
	add := func(rules []int32) {
		for _, r := range rules {
			if may, _ := ix.conds[r].under(k); may != 0 {
				must, _ := ix.conds[r].certain(k)
				out = append(out, candidate{rule: r, allowed: may, certain: must})
			}
		}
	}
	add(ix.by[ByName][k.name])
	add(ix.by[ByAction][k.action])
	add(ix.by[ByService][k.service])
	add(ix.always)
	// A rule can be filed under several of the event's values. This is done once for each
	// kind of event.
	lists.Sort(out, func(a, b candidate) int { return int(a.rule - b.rule) })
	return slices.CompactFunc(out, func(a, b candidate) bool { return a.rule == b.rule })
}

// maxKinds bounds the kinds an evaluator remembers: event names come from
// outside, and a stranger could make up any number of them.
const maxKinds = 8192

// lookup is an evaluator's memory of the index. In front of the map are the
// kinds met last, each in the one place where its hash puts it.
type lookup struct {
	index *Index
	kinds map[kind]*known
	front [1024]*known
}

// known is what is known of a kind.
type known struct {
	kind  kind // its texts are in no record's memory
	cands []candidate
	// What the action alone decides: whether the judge has to look at the event,
	// and whether something may be born by it.
	judged, makes bool
	turn          uint8    // as turn says
	kept          []string // by the session, if it is a Kinder
}

// place is where in front a kind is.
func (l *lookup) place(ev *event.Event) **known {
	h := event.Bucket(ev.NameFold) + 3*event.Bucket(ev.ServiceFold) + uint64(len(ev.Action))
	return &l.front[h%uint64(len(l.front))]
}

// find returns what is known of the event's kind.
func (l *lookup) find(ev *event.Event) *known {
	k := kind{name: ev.NameFold, action: string(ev.Action), service: ev.ServiceFold}
	at := l.place(ev)
	if *at != nil && (*at).kind == k {
		return *at
	}
	is := l.kinds[k]
	if is == nil {
		if l.kinds == nil || len(l.kinds) >= maxKinds {
			l.kinds = make(map[kind]*known)
		}
		is = &known{kind: kind{strings.Clone(k.name), strings.Clone(k.action), strings.Clone(k.service)}, judged: judged(ev.Action), makes: Makes(ev.Action), turn: turn(ev.Action)}
		is.cands = l.index.candidates(&is.kind)
		l.kinds[is.kind] = is
	}
	*at = is
	return is
}
