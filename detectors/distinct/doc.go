// Package distinct finds many different values of one entity in a short time:
// one address that fails as five users, one key that calls fifteen kinds of
// API.
//
// Values are counted exactly, up to MaxValues (10,000) for an entity; beyond,
// the value seen longest ago makes room, and as long as one that did is in the
// window a HyperLogLog counts, within 1.6 % as a rule (one standard deviation);
// the verdict then says "about". An episode begins with the observation that makes the number of different
// values in the window reach Count, and has a verdict at once. Growth is
// reported sparsely: when the values reported have doubled, or when a window
// has passed and there are new ones. It ends when at most half of Count is
// left in the window. Each verdict stands for what the ones before did not
// report, and names the new values.
//
// With unless_success, what succeeds does not count: of users who fail from one
// network, those who get in from there, before or after, are people who mistype.
//
// State is, for each entity, the values of the window with the time and event
// of their last observation: about 820 bytes with two values, 1,400 with six,
// measured on the heap with 36-character ids;
// 300 KB more while the HyperLogLog counts. The least recently seen entities make room.
package distinct
