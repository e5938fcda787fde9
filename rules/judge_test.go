package rules_test

import "github.com/trailwarden/trailwarden/detectors"

func newJudge() detectors.PolicyJudge { return nil }
