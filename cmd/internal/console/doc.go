// Package console is the web console: five screens for the people who answer
// alerts (Now, Alert, Entity, Rules, Actions), and the same facts as JSON under
// the same routes.
//
// Pages are rendered on the server and work without JavaScript, except what is
// live. Scripts and styles are files of our own origin, embedded, under a
// content security policy that allows nothing else.
//
// The console decides nothing. It reads what the index and the Backend say and
// hands requests of people on: whether a person may approve is decided by the
// action machine, as for every other way in; the role of a session only ever
// takes something away. Every text that comes from an event was written by a
// stranger: it reaches a page through html/template and pipeline/text alone.
package console
