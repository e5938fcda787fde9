// Package index is what the console knows, in memory: a bounded summary of
// alerts, of what people made of them, of actions, and of the newest events by
// who did them. It is fed by following the journal and the event stream and
// can always be made anew from them, so it holds no truth of its own.
//
// An Index is safe for concurrent use. Readers get copies.
package index
