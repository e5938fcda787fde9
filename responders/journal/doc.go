// Package journal keeps the append-only memory of the responders: what was
// asked, what was decided, what was done and what came of it.
//
// There are two implementations of responders.Journal, held to one test
// suite: JetStream, durable before Append returns (the stream ACTIONS with
// one subject for each history, "act.<kind>.<id>"), and Memory, for tests and
// for commands that act on nothing.
//
// Order. Records of one (kind, id) are totally ordered and each is appended
// only on top of the record that its author had seen: that compare-and-swap
// is what decides every race between two responders. Between histories no
// order is promised.
//
// Chain. Every record carries the hash of the record before it in its history
// and its own hash, so that a changed, removed or inserted record breaks
// Verify. The hashes are not signed: whoever can rewrite the whole store can
// rewrite the chain too. Guard the store, or export it elsewhere.
//
// Subjects never carry text that an event could have brought: every byte
// outside [A-Za-z0-9-] of an id is written as "_" and two hex digits.
package journal
