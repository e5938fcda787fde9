// Package cli is the command line: flags, output and exit codes. What the
// commands do is in package app; here they are only parsed and printed.
//
// stdout is data, stderr is everything else. Exit codes: 0 fine, 1 findings
// or a failed check, 2 usage or bad configuration, 3 a dependency cannot be
// reached, 4 refused by policy, 130 interrupted.
package cli
