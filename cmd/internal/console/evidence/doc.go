// Package evidence keeps the records that alerts rest on, in one small file for
// each alert, so that an alert of last week can still be judged by what it saw:
// the stream of events forgets within hours, on a busy account within minutes.
// What is kept is bounded in bytes and in time, and the oldest goes first. It is
// a convenience, never a source of truth: a file that is damaged or gone costs a
// look into the log store.
package evidence
