// Package listen is what destinations have in common that hear of presses over a
// connection which they open themselves: a WebSocket that is opened again when
// it breaks, each press once, and an answer to the person in the time that the
// platform gives.
package listen
