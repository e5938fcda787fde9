// Package rampolicy reads Alibaba Cloud RAM policies and proves what a change
// of one allows.
//
// Every test in a policy looks at one dimension of a request: its action, its
// resource, its principal, or one condition key. So each dimension is split
// into cells on which all tests of both documents are constant, with one
// witness per cell, and both documents are evaluated on the combinations
// (decide.go). Cells of patterns come from one walk through the subset
// construction of all globs together (cells.go). Combinations that the same
// statements match are looked at once.
//
// What is claimed: when Diff does not say expands, changes or unknown, there
// is no request that new allows and old refuses, under every reading of what
// the vendor leaves open (Reading); requests have actions of the vendor's
// form, <ram-code>:<name>. Conversely each finding has a request that shows
// it, evaluated again by a matcher that knows nothing of cells (eval.go);
// Confirmed says that it held without assumptions about conditions that cannot
// be evaluated. Outside of the claim are services that ignore a condition key,
// calls that need several permissions, access lists, and the vendor's edits of
// its own policies.
//
// Conditions that cannot be evaluated are opaque: both outcomes are tried, the
// same for the same condition. These are operators that RAM does not list
// (IfExists, Null), the set operators, and values that cannot be read.
//
// The work of a decision is counted and bounded, so hostile documents are
// cheap. Beyond the bound a few likely requests are tried, which often proves
// the expansion; else, and for documents whose meaning is doubtful (duplicate
// keys, elements that RAM's grammar does not have, a missing Resource or
// Principal), the verdict is unknown, which is to be handled as expanding.
// Placeholders like ${x} may stand for anything.
//
// What of RAM is not settled, and what Diff does about it:
//
//	letter case of resources     both readings; either expanding counts
//	absent key, negated operator both readings
//	star across the colon        both readings: "ecs*" is ecs:* or nothing
//	wildcards in trust           any account, critical
//	NotResource                  everything but the list, and doubtful
//	PassRole or AssumeRole       severity only: E13 to E20 want ram:PassRole
//	what ims:* still grants      what the same actions of ram: do, in severity
//	Allow in control policies    both readings: nothing, beside FullAliyunAccess,
//	                             or all that is left of it
//
// Names play no part: what is administrator is found by what is allowed
// (PowerOf), and the vendor's policies stand for their known documents
// (System). The catalogue of actions and the escalation paths E1 to E33 serve
// severity and words only.
//
// All functions are pure and safe for concurrent use.
package rampolicy
