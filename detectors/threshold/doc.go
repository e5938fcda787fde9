// Package threshold finds many observations of one entity in a short time:
// ten failed sign-ins of one user in ten minutes.
//
// An entity's episode begins with the observation that makes the count reach
// the threshold: that observation has a verdict at once. While it goes on,
// growth is reported sparsely: when the episode has doubled since the last
// report, or when a whole window has passed since then. It ends when at most
// half the threshold is left in the window. The verdicts of an episode do not
// overlap: each stands for the events that the ones before did not report.
//
// A window of length w that ends at time t holds what happened from t-w to t,
// both included. Late observations take their place in time if they are not
// older than the entity's window, and are left out otherwise.
//
// State is, for each entity, the newest Count times and event ids at most:
// about 300 bytes with one event in the window, 470 with three, 1,050 with
// nine, measured on the heap with 36-character ids. The least recently seen
// entities make room.
package threshold
