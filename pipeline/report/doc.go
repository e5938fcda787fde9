// Package report writes what a replay found, for people and for other tools.
//
//   - HTML: one self-contained file that opens offline, prints, and reads
//     without its script
//   - Markdown: the same in short, for tickets
//   - CSV: one row per alert, safe to open in a spreadsheet
//   - OCSF: Detection Finding events (class 2004), one JSON object a line
//   - Timesketch: one JSON object a line for each first and last evidence
//
// The same input gives the same bytes: nothing is read from the clock, and
// durations and memory of the run are left out. Names, addresses, user agents
// and policy texts come from attackers. In the forms that people read, what
// cannot be seen is shown by its code point, everything is cut to a bounded
// length, and nothing is ever markup. In OCSF and Timesketch values are as
// they were recorded: machines compare them.
//
// The package knows alerts and statistics only; it can reach neither a rule
// nor a responder. All functions are safe for concurrent use.
package report
