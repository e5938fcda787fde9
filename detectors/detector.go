package detectors

import (
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Observation is one event that a rule's match let through, with the keys the
// rule asks its detector to look at.
type Observation struct {
	// Time is the event's time. Observations arrive in (Time, Event.ID)
	// order, except late ones, which have Late set.
	Time time.Time
	// Key is the entity that state belongs to (the rule's `by`), for example
	// an actor id. Never empty.
	Key string
	// Value is what is counted or remembered for detectors that look at one
	// (distinct, first_seen); empty otherwise.
	Value string
	// Event is the event in outline: ID, Recipient, Time, Outcome and Raw,
	// whatever else it may have in a test. It is valid during Observe only;
	// in a Verdict it stands for the whole event.
	Event *event.Event
	Late  bool
	// Hint is what a Fetcher answered for Key, or 0: never more than a way to be
	// quick.
	Hint uint32
	_    uint64 // 16 bytes at a time, it is copied without a rest
}

// Verdict is what a detector found at an observation or at a watermark.
type Verdict struct {
	// Reason completes the rule's sentence with the numbers that made it
	// fire, for example "7 failures in 4 minutes from 3 addresses".
	Reason string
	// ReasonZH says the same in Chinese.
	ReasonZH string
	// First and Last are the event times of the evidence.
	First, Last time.Time
	// EventIDs is the evidence in (time, id) order, at most MaxEvidence;
	// Count is how many events there were in all.
	EventIDs []string
	Count    int
	// Details goes under the alert's details, for example "baseline" with
	// what was usual. Values must be JSON-encodable and deterministic.
	Details map[string]any
	// Event is the event the verdict is about: the last evidence.
	Event *event.Event
}

// MaxEvidence bounds the event ids a verdict carries.
const MaxEvidence = 50

// Detector is one stateful decision over many events; one instance per rule
// and partition. Methods are called from one goroutine. State is bounded:
// what is evicted is counted, never silently dropped.
type Detector interface {
	// Observe takes one observation and appends what it finds to out.
	Observe(o Observation, out []Verdict) []Verdict
	// Advance tells that no observation before watermark will come except
	// late ones; absence and window ends are decided here, and state older
	// than the detector needs is dropped.
	Advance(watermark time.Time, out []Verdict) []Verdict
	// Snapshot returns the whole state in a versioned, deterministic
	// encoding; Restore replaces the state by one, and refuses a version or
	// content it does not know, leaving the detector empty.
	Snapshot() []byte
	Restore(data []byte) error
	Stats() Stats
}

// Looker is a detector that looks at records (Event.Raw) after Observe has
// returned. LetGo tells it that the memory of those observed so far is about
// to be reused: what it still needs of them it has to copy.
type Looker interface{ LetGo() }

// Fetcher is a detector that can be told which keys are about to be observed.
// What it knows of them lies far apart in memory: asked for many at a time, it is
// fetched side by side, and one by one when they are observed.
type Fetcher interface {
	// Fetch says where that is of a key. The answer comes back with the
	// observation (Observation.Hint), and may be out of date by then. It is 0
	// where there is nothing to say.
	Fetch(key string) (hint uint32)
	// Warm looks at what Fetch found, when all keys have been asked for and
	// before anything is observed. What a key's place in a table says must be
	// there before this can begin: at once with Fetch, one key after the other
	// would be waited for.
	Warm(hint uint32)
}

// Patient is a detector whose Advance never has a verdict, and for which two
// watermarks one after the other are the same as the later one. Telling it can
// wait until it observes again, or is looked at: most of many detectors see
// nothing of an event, and should cost nothing.
type Patient interface{ Patient() }

// Stats is what a detector holds.
type Stats struct {
	Keys    int    // entities remembered
	Bytes   int    // estimated size of the state
	Evicted uint64 // entities dropped to stay within bounds, since start
	Trimmed uint64 // of entities that stay, things dropped to stay within bounds: places, signals
}
