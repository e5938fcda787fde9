package app

import (
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/detectors/distinct"
	"github.com/trailwarden/trailwarden/detectors/lastseen"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/detectors/threshold"
)

// factories are the detectors that rules may ask for, by their type word.
var factories = map[string]detectors.Factory{
	"threshold":  threshold.Factory,
	"distinct":   distinct.Factory,
	"first_seen": baseline.Factory,
	"sequence":   sequence.Factory,
	"last_seen":  lastseen.Factory,
}
