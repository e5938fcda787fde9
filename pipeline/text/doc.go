// Package text makes text written by strangers safe to show.
//
// User names, session names, user agents, policy texts, error messages: an
// attacker writes them, often before signing in, and they end in a chat
// message, a terminal, a spreadsheet. Every place that shows them goes through
// this package, so that there is one place to get it right.
//
// All functions are pure, safe for concurrent use, accept any bytes (invalid
// UTF-8 becomes U+FFFD) and never panic. Nothing is ever interpreted: the
// worst that hostile text can do is to look odd.
//
// Line and Block remove what a reader cannot see but a machine obeys: control
// characters, escapes, direction overrides, zero-width and other invisible
// characters. Terminal, Log, CSV, SlackPlain, Mrkdwn and Code then add what their
// medium needs. MaskKey and MaskAccount shorten identifiers for display.
package text
