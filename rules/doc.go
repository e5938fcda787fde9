// Package rules loads, checks, compiles, lints and tests rule files, and
// embeds the shipped pack. A rule is one YAML file with a typed expression,
// texts, an optional detector and its own tests. Every fault of every file is
// reported at once with file, line, column and a suggestion; a set with any
// fault is refused whole.
//
// The package knows expressions and files; what runs the rules is package
// detectors, which knows neither.
package rules
