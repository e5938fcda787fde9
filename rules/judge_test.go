package rules_test

import "github.com/trailwarden/trailwarden/detectors"

// newJudge makes the judge of permission changes for tests of the pack. nil
// leaves out the rules that read policy facts: they are tested where the
// judge is wired in (`trailwarden rules test`).
func newJudge() detectors.PolicyJudge { return nil }
