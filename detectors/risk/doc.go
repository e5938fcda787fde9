// Package risk adds up weak signals of one identity: none of them is worth an
// alert, together they are.
//
// An observation's value says what was seen and what it weighs:
//
//	label          a signal with the weight that the settings give it
//	label:weight   a signal with its own weight, for example "denied:5"
//	weight         a whole number; all of these share one label
//
// A rule with steps observes the name of the step that an event met; the
// weights then stand with the steps. A label that no weight is known for counts
// as other, which is 0 when not set: it says nothing.
//
// The risk is the sum of the weights of the signals of the last window. One
// label counts at most repeat times in it, the newest ones, so that a thousand
// refused calls are one kind of trouble and not a thousand; distinct asks for
// so many different labels besides. The observation that brings the risk to the
// threshold has the verdict, with the parts that made it. The next verdict comes
// when the risk is twice what was told, or reaches the threshold again after it
// had fallen to half of it.
//
// A window of length w that ends at time t holds what happened from t-w to t,
// both included. Late observations take their place in time if they are not
// older than the identity's window.
//
// State is, for each identity, the signals that count, at most max_signals of
// them, the oldest making room: about 260 bytes with one, 450 with three and
// 1,550 with ten, measured on the heap with 36-character ids. The least recently
// seen identities make room.
package risk
