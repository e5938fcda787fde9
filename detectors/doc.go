// Package detectors is the engine: the contract of stateful detectors, the
// dispatch index and the pure step from events to detections.
//
// Nothing here reads the wall clock, draws random numbers or depends on map
// order: time comes from events and from the watermark, so that live and
// replay are one code path and the same input gives the same bytes.
package detectors
