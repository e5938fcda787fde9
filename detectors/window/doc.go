// Package window holds what stateful detectors share: a bounded table of
// entities, event times as numbers, evidence, and the words of reasons. Nothing
// here reads the clock or depends on map order.
package window
