// Package responders is what happens after an alert: the contracts of
// notifiers (a chat message a person reads) and executors (a change in the
// cloud), the playbooks that choose actions, the guards that may forbid them,
// and the state machine that journals every step before its effect.
//
// Order of things, never broken: the intent is durable in the journal, then
// the call is made, then the cloud is read back, then the outcome is
// journalled. A crash between any two leaves a record from which the next
// start goes on by reading the world first.
package responders
