// Package detectors is the engine: the contract of stateful detectors, the
// dispatch index and the pure step from events to detections.
//
// An event passes two stages. An Evaluator, one per goroutine, finds the rules
// that the event can meet and evaluates those without state; any number of
// evaluators work in parallel. The Engine of the event's partition takes the
// results in arrival order: it drops repeated records, passes detections of
// rules without state on at once, and holds what needs order (detectors, rules
// that read policy facts) until the watermark has passed the event's time.
//
// The watermark is the least event time that a shard has come to, less the
// grace; it never goes back. Ordered work is done by (event time, event id,
// recipient), so it does not depend on how events within the grace arrived.
// What comes later than that is done at once, marked late and counted. Shards
// that sent nothing for a while, by the ingest clock that Tick tells, do not
// hold the watermark back.
//
// A Timer measures rules with a clock that its maker hands in, of the events
// that the caller chooses; it decides nothing.
//
// Nothing here reads the wall clock, draws random numbers or depends on map
// order: time comes from events and from the watermark, so that live and
// replay are one code path and the same input gives the same bytes. A rule or
// detector that panics is counted and reported for that event; the others go
// on. The whole state of an engine, with its detectors, is one versioned
// snapshot.
package detectors
