// Package synth makes trails that nobody recorded: the ordinary life of many
// identities, and attacks from story files, for tests, demonstrations and
// rule work. The same settings give the same bytes.
package synth
