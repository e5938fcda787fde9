// Package app is the only wiring: explicit lists of detectors, sources,
// notifiers and executors, put together from a configuration. What runs is
// visible on one screen.
package app
