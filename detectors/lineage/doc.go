// Package lineage remembers who made whom: which identity created an
// AccessKey, a user, a role or a way into the console, with which key, and
// what it made in turn.
//
// It learns from calls that succeeded: CreateAccessKey and its restoring from
// the recycle bin, CreateUser, CreateRole, a login profile made or a password
// set for somebody else, and AssumeRole, whose answer names the session's key.
// What the cloud's own services make is left out: everything would descend
// from them.
//
// From an event's actor the way back goes by its key, else by its login where
// the call has no key, else by the identity; each to who made it and with what
// key, and so on. A key that somebody made for themselves leads to the key it
// was made with. The root is the identity where the way ends: where nothing is
// known, after eight steps, or where what is known is older than Fresh before
// the event, since a user does not stay its maker's creature for ever. What is
// told of the first step has no such limit.
//
// Of two births of one child the later counts, of a birth after the event
// nothing is said, so that late events find what earlier ones would have.
//
// Memory: two tables, one for what lasts and one for the keys of role sessions,
// which are forgotten SessionFor after their birth; and for each maker its
// newest sixteen children with a count of all. About 450 bytes a birth, measured on
// the heap. The least recently learned make room and are counted: what was
// evicted is not known afterwards, and its descendants are roots of their own.
package lineage
