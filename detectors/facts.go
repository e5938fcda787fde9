package detectors

import (
	"math/bits"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Facts is what the closed fields of an event say, one bit for each word: in
// every field exactly one bit is set. A set of allowed words is a Facts too,
// so asking whether an event can satisfy a rule is one AND NOT.
type Facts uint64

// FactField is one closed field: its name in rules and its words in order.
type FactField struct {
	Name  string
	Words []string
	shift uint
}

func (f *FactField) mask() Facts { return (1<<len(f.Words) - 1) << f.shift }

// The words of a boolean field.
var boolWords = []string{"false", "true"}

// factFields is in the order of the bits. Words follow the constants of
// package event, so that a bit's place is the constant's value.
var factFields = layout([]*FactField{
	{Name: "actor.type", Words: wordsOf(event.IdentityUnknown, event.System)},
	{Name: "actor.kind", Words: wordsOf(event.CallerUnknown, event.Service)},
	{Name: "actor.key_kind", Words: wordsOf(event.KeyNone, event.KeyOther)},
	{Name: "actor.session_mfa", Words: wordsOf(event.Unknown, event.No)},
	{Name: "source.kind", Words: wordsOf(event.AddressAbsent, event.AddressOther)},
	{Name: "event.rw", Words: wordsOf(event.RWUnknown, event.Write)},
	{Name: "outcome", Words: wordsOf(event.Success, event.Attempt)},
	{Name: "mfa", Words: wordsOf(event.Unknown, event.No)},
	{Name: "event.sensitive", Words: boolWords},
	{Name: "event.global", Words: boolWords},
	{Name: "actor.service_linked", Words: boolWords},
	{Name: "target.self", Words: boolWords},
	// Whether a text is there at all: the word is true when it is not "".
	{Name: "event.error_code", Words: boolWords},
	{Name: "event.insight_type", Words: boolWords},
	{Name: "actor.key", Words: boolWords},
	{Name: "target.type", Words: boolWords},
	{Name: "target.key", Words: boolWords},
	{Name: "actor.caller_account", Words: boolWords},
})

const (
	factActorType = iota
	factActorKind
	factKeyKind
	factSessionMFA
	factSourceKind
	factRW
	factOutcome
	factMFA
	factSensitive
	factGlobal
	factServiceLinked
	factSelf
	factErrorCode
	factInsight
	factKey
	factTarget
	factTargetKey
	factCaller
)

type word interface {
	~uint8
	String() string
}

// wordsOf lists the words of an enumeration from its first to its last value.
func wordsOf[T word](first, last T) []string {
	var out []string
	for v := first; ; v++ {
		out = append(out, v.String())
		if v == last {
			return out
		}
	}
}

func layout(fields []*FactField) []*FactField {
	var shift uint
	for _, f := range fields {
		f.shift = shift
		shift += uint(len(f.Words))
	}
	if shift > 64 {
		panic("detectors: the closed fields of an event need more than 64 bits")
	}
	return fields
}

var factByName = func() map[string]*FactField {
	m := make(map[string]*FactField, len(factFields))
	for _, f := range factFields {
		m[f.Name] = f
	}
	return m
}()

// allFacts allows every word of every field.
var allFacts = func() (all Facts) {
	for _, f := range factFields {
		all |= f.mask()
	}
	return all
}()

// ClosedField returns the closed field of that name in rules.
func ClosedField(name string) (*FactField, bool) {
	f, ok := factByName[name]
	return f, ok
}

// Allow returns the facts that allow these words of the field and any word of
// every other. Words the field does not have are left out.
func (f *FactField) Allow(words ...string) Facts {
	out := allFacts &^ f.mask()
	for _, w := range words {
		for i, have := range f.Words {
			if have == w {
				out |= 1 << (f.shift + uint(i))
			}
		}
	}
	return out
}

// normal checks that every field has a word left; a set that leaves a field
// none can never hold and becomes 0.
func (a Facts) normal() Facts {
	for _, f := range factFields {
		if a&f.mask() == 0 {
			return 0
		}
	}
	return a
}

// describe names the fields that are narrowed, for `rules list -v`.
func (a Facts) describe() []string {
	var out []string
	for _, f := range factFields {
		m := a & f.mask()
		if m == f.mask() {
			continue
		}
		var words []string
		for m != 0 {
			i := bits.TrailingZeros64(uint64(m))
			words = append(words, f.Words[uint(i)-f.shift])
			m &= m - 1
		}
		name := f.Name
		switch name {
		case "event.error_code", "event.insight_type", "actor.key", "target.type", "target.key", "actor.caller_account":
			if words[0] == "true" {
				out = append(out, name+" present")
			} else {
				out = append(out, name+" absent")
			}
			continue
		}
		for i, w := range words {
			if w == "" {
				words[i] = `""`
			}
		}
		out = append(out, name+" = "+strings.Join(words, "|"))
	}
	return out
}

// The place and the number of words of each field, where FactsOf finds them
// without following pointers.
var factShift, factWords = func() (shift, words [32]uint8) {
	for i, f := range factFields {
		shift[i], words[i] = uint8(f.shift), uint8(len(f.Words))
	}
	return shift, words
}()

func bit(field int, value uint8) Facts {
	if value >= factWords[field] {
		value = 0 // a value newer than this table counts as the unknown one
	}
	return 1 << ((factShift[field] + value) & 63)
}

func bitIf(field int, yes bool) Facts {
	s := factShift[field]
	if yes {
		s++
	}
	return 1 << (s & 63)
}

// FactsOf reads the closed fields of an event.
func FactsOf(ev *event.Event) Facts {
	return bit(factActorType, uint8(ev.Actor.Type)) |
		bit(factActorKind, uint8(ev.Actor.Kind)) |
		bit(factKeyKind, uint8(ev.Actor.KeyKind)) |
		bit(factSessionMFA, uint8(ev.Actor.SessionMFA)) |
		bit(factSourceKind, uint8(ev.Address.Kind)) |
		bit(factRW, uint8(ev.RW)) |
		bit(factOutcome, uint8(ev.Outcome)) |
		bit(factMFA, uint8(ev.MFA)) |
		bitIf(factSensitive, ev.Sensitive) |
		bitIf(factGlobal, ev.Global) |
		bitIf(factServiceLinked, ev.Actor.ServiceLinked) |
		bitIf(factSelf, TargetsSelf(ev)) |
		bitIf(factErrorCode, ev.ErrorCode != "") |
		bitIf(factInsight, ev.InsightType != "") |
		bitIf(factKey, ev.Actor.Key != "") |
		bitIf(factTarget, ev.Target.Type != "") |
		bitIf(factTargetKey, ev.Target.Key != "") |
		bitIf(factCaller, ev.Actor.CallerAccount != "")
}

// TargetsSelf says whether the event's target is its actor.
func TargetsSelf(ev *event.Event) bool {
	return ev.Target.ID != "" && ev.Target.ID == ev.Actor.ID
}
