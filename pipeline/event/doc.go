// Package event is the event model: one parser for every shape in which an
// ActionTrail record is delivered, and the facts that rules, detectors and
// responders read from it.
//
// A record is the raw bytes of one audit entry; an [Event] is one parsed
// record. [Unwrap] finds the records in what a source delivers (arrays,
// LookupEvents answers, SLS logs, CloudEvents), [Parse] reads one. The package
// knows no library and imports nothing of ours, so that every other package
// may depend on it.
//
// Parsing is one pass over the bytes that checks the whole JSON grammar,
// takes the fields above and remembers where the sub-documents stand.
// Parameters, responses and additional data are decoded when asked for, and
// never kept, so that an Event may be read by several goroutines at once.
//
// What the record does not say stays zero. A record without eventTime (some
// published ones have none) has a zero Time.
//
// The tables behind it are data: actions.txt folds the cloud's twin services
// into canonical actions and says where each has its target; events.txt lists
// the event names that rules may use.
package event
