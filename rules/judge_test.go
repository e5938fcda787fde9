package rules_test

import (
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/detectors/lineage"
)

// newJudge makes the judge of permission changes for tests of the pack.
func newJudge() detectors.PolicyJudge { return account.New(account.Config{}) }

// newLineage makes the memory of who made whom for them.
func newLineage() detectors.Lineage { return lineage.New(lineage.Config{}) }
