package rules_test

import (
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
)

// newJudge makes the judge of permission changes for tests of the pack.
func newJudge() detectors.PolicyJudge { return account.New(account.Config{}) }
