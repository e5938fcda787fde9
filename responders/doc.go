// Package responders is what happens after an alert: the contracts of
// notifiers (a chat message a person reads) and executors (a change in the
// cloud), the playbooks that choose actions, the guards that may forbid them,
// and the state machine that journals every step before its effect.
//
// Order of things, never broken: the intent is durable in the journal, then
// the call is made, then the cloud is read back, then the outcome is
// journalled. A crash between any two leaves a record from which the next
// start goes on by reading the world first.
//
// The parts. Playbook says what is asked for, Guard what is forbidden. Machine
// carries an action through its states: every state is a record that holds
// the whole state, appended on top of the one that its author had read, so
// that whoever appends first decides every race, also between processes; one
// more such record, the ledger, decides caps and conflicts for all of them.
// Dispatcher takes alerts (durable when Handle returns), has the machine asked
// for their actions, and shows each alert once at each Destination, later
// revisions as edits. Its notices are records of the same kind: pending,
// started before the call, sent with how to find the message again.
//
// Time. Freshness of evidence is event time against the clock that was passed
// in; nothing here calls time.Now by itself, except the timers that wait.
//
// What is not promised: a platform that cannot be read back (a plain webhook)
// may show a message again after a lost answer, marked as such; lines in a
// thread may repeat after a crash between an edit and its record; and two
// processes that both queue the same incidents may each put one into a digest.
package responders
