// Package lastseen finds entities that wake up: an AccessKey that nobody used
// for 90 days makes a call.
//
// For each entity it keeps the first and the last time it was seen and how
// often. An observation that comes at least idle after the one before is a
// verdict. The first observation of an entity says nothing: it may be new, or
// older than what this process has seen. A late observation is judged like any
// other by what was known when it came.
//
// The entities that matter here are the ones seen longest ago, and they are
// the first to go when there is no room: give max_keys room for all the
// entities there are, about 150 bytes each, measured on the heap with
// 27-character keys. What was evicted is counted.
package lastseen
