package event

import "time"

// Brief is what has to be at hand of an event that only waits for its turn:
// when, which, and whether it took effect. The rest is in the record and is
// read again where it is needed, which is rare. A Brief is a tenth of an Event.
type Brief struct {
	ID, Recipient string
	Time          time.Time
	Outcome       Outcome
	raw           []byte
}

// Brief returns the event's. It shares the memory that the event does.
func (e *Event) Brief() Brief {
	return Brief{ID: e.ID, Recipient: e.Recipient, Time: e.Time, Outcome: e.Outcome, raw: e.raw}
}

// Event parses the record again, into memory that it shares with the record.
func (b *Brief) Event() *Event {
	ev, err := Parse(b.raw)
	if err != nil {
		// Only a Brief of an Event that was never parsed gets here.
		ev = &Event{ID: b.ID, Recipient: b.Recipient, Outcome: b.Outcome, raw: b.raw}
	}
	ev.Time = b.Time // which may be another than the record says
	return ev
}

// Outline makes *ev an event of which only the Brief's fields and the record
// are known. No other field of *ev is changed: use one that Outline alone
// writes to.
func (b *Brief) Outline(ev *Event) {
	ev.ID, ev.Recipient, ev.Time, ev.Outcome, ev.raw = b.ID, b.Recipient, b.Time, b.Outcome, b.raw
}

// Raw returns the record's JSON object. It must not be changed.
func (b *Brief) Raw() []byte { return b.raw }
