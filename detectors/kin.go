package detectors

import (
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Birth says who made a credential or an identity, and with what.
type Birth struct {
	// Child is what was made: an identity in the form of event.Actor.ID, or
	// KeyChild or LoginChild of one.
	Child string
	// Of is whose credential it is, in the form of event.Actor.ID; empty for
	// an identity and where the event does not say.
	Of string
	// Maker is who made it, Key the AccessKey it was done with; Key is empty
	// for a call from the console.
	Maker, Key string
	Action     event.Action
	Event      string // the event's id
	At         time.Time
	// Session marks the key of a role session, which ends by itself.
	Session bool
}

// KeyChild and LoginChild are the names of an AccessKey and of a user's way
// into the console among children.
func KeyChild(id string) string { return "key/" + id }

// LoginChild is the name of a user's way into the console.
func LoginChild(user string) string { return "login/" + user }

// Makes says whether an act makes a credential or an identity.
func Makes(a event.Action) bool {
	switch a {
	case event.ActIAMAccessKeyCreate, event.ActIAMAccessKeyRestore, event.ActIAMUserCreate, event.ActIAMRoleCreate,
		event.ActIAMLoginProfileCreate, event.ActIAMLoginProfileUpdate,
		event.ActSTSAssumeRole, event.ActSTSAssumeRoleSAML, event.ActSTSAssumeRoleOIDC:
		return true
	}
	return false
}

// BirthOf reads what an event made; nil when it made nothing, failed, or does
// not say what. What the cloud's own services make is left out: everything
// would descend from them. A password that somebody sets for another is a new
// way in; one's own is not.
func BirthOf(ev *event.Event) *Birth {
	if !Makes(ev.Action) || ev.Outcome != event.Success || ev.Actor.ID == "" || ev.Actor.Kind == event.Service {
		return nil
	}
	b := Birth{Of: ev.Target.ID}
	switch ev.Action {
	case event.ActIAMUserCreate, event.ActIAMRoleCreate:
		b.Child, b.Of = ev.Target.ID, ""
	case event.ActIAMLoginProfileCreate, event.ActIAMLoginProfileUpdate:
		if ev.Target.ID != "" && !TargetsSelf(ev) {
			b.Child = LoginChild(ev.Target.ID)
		}
	default:
		if k := ev.Target.Key; k != "" && !event.Masked(k) {
			b.Child = KeyChild(k)
		}
		b.Session = strings.HasPrefix(string(ev.Action), "sts.")
	}
	if b.Child == "" || b.Child == ev.Actor.ID {
		return nil
	}
	// The event's strings share memory with its record.
	b.Child, b.Of = strings.Clone(b.Child), strings.Clone(b.Of)
	b.Maker, b.Key, b.Event = strings.Clone(ev.Actor.ID), strings.Clone(ev.Actor.Key), strings.Clone(ev.ID)
	b.Action, b.At = ev.Action, ev.Time
	return &b
}

// Kin is what is known of where an event's actor comes from, in the words that
// rules read under `lineage.`.
type Kin struct {
	// Known: it is known who made the actor's key, login or the actor itself.
	Known bool
	// Child is which of these, By who made it, ByKey with what.
	Child, By, ByKey string
	Action           event.Action
	// Age is the time from then to the event; -1 when not known.
	Age time.Duration
	// Root is the identity at the beginning: from the actor, who made it, who
	// made that one, as long as it was lately. The actor's own id when nothing
	// is known, so that it is never empty for an event with an actor.
	Root string
	// Depth is how many steps lead to Root.
	Depth int
	// Made is how much the actor's key, or the actor without one, has made.
	Made int
	// Sentence says the first step in words; empty when nothing is known.
	Sentence string
}

// Lineage remembers who made whom. It is part of an engine, which calls it
// from one goroutine: Learn in event-time order, except for late events, and
// what is known afterwards must not depend on the order of events that both
// have happened.
type Lineage interface {
	Learn(b *Birth)
	// Of is what is known of an event's actor at the event's time.
	Of(ev *event.Event) Kin
	// Tell is the same at length, for an alert's details; nil when nothing is
	// known. JSON-encodable and deterministic.
	Tell(ev *event.Event) map[string]any
	// Advance tells the watermark.
	Advance(watermark time.Time)
	Snapshotter
	Stats() Stats
}

// Liner is a RuleSet whose rules read lineage: an engine then keeps one.
type Liner interface{ NewLineage() Lineage }

// StrangerKin is what is known of an event's actor by the event alone.
func StrangerKin(ev *event.Event) Kin {
	k := Kin{Age: -1}
	if ev != nil {
		k.Root = ev.Actor.ID
	}
	return k
}
