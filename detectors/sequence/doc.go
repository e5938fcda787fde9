// Package sequence finds steps that follow one another for one entity: four
// failed sign-ins and then a successful one within 15 minutes.
//
// An observation's value is the name of the step that its event matched; an
// event that matches several steps is observed once for each, and is evidence
// for at most one of two steps that follow one another.
//
// Steps are met in order when for each step there are count events of it after
// the last event of the step before, up to the event that completes it. Its
// within, when set, bounds the time from the completion of the step before to
// its own completion; for the first step, from its first event to its last. An
// absent step stands between two others and must not occur between the
// completions of both. All evidence lies in the detector's within. With
// require: k, order does not matter: k of the steps must be met, each with its
// count, in the detector's within.
//
// The event that completes the last step has the verdict at once. What is not
// later than it is then used up, so that the same failures do not make a second
// alert. A late observation takes its place in time among the events kept and
// can complete a sequence whose end was seen before; the verdict is then about
// the late event. Events are kept from the first one on that a sequence can
// begin with; of the later steps that come without one, the last 4,096 of all
// entities are at hand for a first step that comes late.
//
// State is, for each entity, the events of the last within, at most
// max_events of them, the oldest making room: about 230 bytes with one event
// and 80 more for each further one, measured on the heap with 36-character
// ids. The least recently seen entities make room.
package sequence
