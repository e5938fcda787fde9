// Package rules loads, checks, compiles, lints and tests rule files, and
// embeds the shipped pack. A rule is one YAML file with a typed expression,
// texts, an optional detector and its own tests. Every fault of every file is
// reported at once with file, line, column and a suggestion; a set with any
// fault is refused whole.
//
// The package knows expressions and files; what runs the rules is package
// detectors, which knows neither.
//
// # Loading
//
// A program starts with it, and nothing can be evaluated before its end. Files
// are taken apart on all cores while what they say is compiled in their order,
// so that faults, warnings and tables do not depend on who was first. What a
// test of this package proves of the shipped rules is not proved again at every
// start: that their tests are well-formed, and that no expression is slow.
// Their tests, more than half of their text, are read when somebody asks.
package rules
