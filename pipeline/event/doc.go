// Package event is the event model: one parser for every shape in which an
// ActionTrail record is delivered, and the facts that rules, detectors and
// responders read from it.
//
// A record is the raw bytes of one audit entry; an [Event] is one parsed
// record. The package knows no library and imports nothing of ours, so that
// every other package may depend on it.
package event
